import {
  attention,
  attentionWithPositions,
  attentionWithPositionsAndWeights,
  attentionWithWeights,
} from '../../../kernels/index.ts';
import type { ErrorCases } from './error-case.ts';

export const attentionErrors: ErrorCases = {
  attention: [
    {
      message: /^attention: expected query \[B, Tq, N \* d\], got \[3, 8\]$/,
      call: (_, tensor) => attention(tensor([3, 8]), tensor([1, 3, 8]), tensor([1, 3, 8]), { heads: 2 }),
    },
    {
      message: /^attention: expected key \[1, Tk, 8\], got \[1, 5, 12\]$/,
      call: (_, tensor) => attention(tensor([1, 3, 8]), tensor([1, 5, 12]), tensor([1, 5, 8]), { heads: 2 }),
    },
    {
      message: /^attention: expected value \[1, 5, N \* dv\], got \[1, 4, 8\]$/,
      call: (_, tensor) => attention(tensor([1, 3, 8]), tensor([1, 5, 8]), tensor([1, 4, 8]), { heads: 2 }),
    },
    {
      message: /^attention: expected heads that divide 8 and 9 channels, got 2$/,
      call: (_, tensor) => attention(tensor([1, 3, 8]), tensor([1, 5, 8]), tensor([1, 5, 9]), { heads: 2 }),
    },
    {
      message: /^attention: expected heads that divide 8 and 8 channels, got 0$/,
      call: (_, tensor) => attention(tensor([1, 3, 8]), tensor([1, 5, 8]), tensor([1, 5, 8]), { heads: 0 }),
    },
    {
      message: /^attention: expected at least one key and channel, got value \[1, 0, 8\]$/,
      call: (_, tensor) => attention(tensor([1, 3, 8]), tensor([1, 0, 8]), tensor([1, 0, 8]), { heads: 2 }),
    },
    {
      message: /^attention: expected key mask \[1, 5\], got \[1, 3\]$/,
      call: (_, tensor) =>
        attention(tensor([1, 3, 8]), tensor([1, 5, 8]), tensor([1, 5, 8]), { heads: 2, keyMask: tensor([1, 3]) }),
    },
    {
      message: /^attention: expected key mask in float32, got int32$/,
      call: (_, tensor) =>
        attention(tensor([1, 3, 8]), tensor([1, 5, 8]), tensor([1, 5, 8]), {
          heads: 2,
          keyMask: tensor([1, 5], 'int32'),
        }),
    },
  ],
  attentionWithWeights: [
    {
      message: /^attentionWithWeights: expected key \[2, Tk, 8\], got \[1, 5, 8\]$/,
      call: (_, tensor) => attentionWithWeights(tensor([2, 3, 8]), tensor([1, 5, 8]), tensor([1, 5, 8]), { heads: 2 }),
    },
  ],
  attentionWithPositions: [
    {
      message: /^attentionWithPositions: expected query position \[1, 3, 8\], got \[3, 8\]$/,
      call: (_, tensor) =>
        attentionWithPositions(
          tensor([1, 3, 8]),
          tensor([3, 8]),
          tensor([1, 5, 8]),
          tensor([1, 5, 8]),
          tensor([1, 5, 8]),
          {
            heads: 2,
          },
        ),
    },
    {
      message: /^attentionWithPositions: expected key position \[1, 5, 8\], got \[1, 5, 4\]$/,
      call: (_, tensor) =>
        attentionWithPositions(
          tensor([1, 3, 8]),
          tensor([1, 3, 8]),
          tensor([1, 5, 8]),
          tensor([1, 5, 4]),
          tensor([1, 5, 8]),
          {
            heads: 2,
          },
        ),
    },
  ],
  attentionWithPositionsAndWeights: [
    {
      message: /^attentionWithPositionsAndWeights: expected value \[1, 5, N \* dv\], got \[5, 8\]$/,
      call: (_, tensor) =>
        attentionWithPositionsAndWeights(
          tensor([1, 3, 8]),
          tensor([1, 3, 8]),
          tensor([1, 5, 8]),
          tensor([1, 5, 8]),
          tensor([5, 8]),
          { heads: 2 },
        ),
    },
  ],
};
