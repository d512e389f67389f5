import { type Activation, groupNorm, layerNorm, softmax } from '../../../kernels/index.ts';
import type { ErrorCases } from './error-case.ts';

export const normalizationErrors: ErrorCases = {
  layerNorm: [
    {
      message: /^layerNorm: expected x \[\.\.\., D\], got \[\]$/,
      call: (_, tensor) => layerNorm(tensor([]), tensor([1]), tensor([1])),
    },
    {
      message: /^layerNorm: expected weight \[4\], got \[3\]$/,
      call: (_, tensor) => layerNorm(tensor([2, 4]), tensor([3]), tensor([4])),
    },
    {
      message: /^layerNorm: expected bias \[4\], got \[1, 4\]$/,
      call: (_, tensor) => layerNorm(tensor([2, 4]), tensor([4]), tensor([1, 4])),
    },
    {
      message: /^layerNorm: expected x in float32, got int32$/,
      call: (_, tensor) => layerNorm(tensor([2, 4], 'int32'), tensor([4]), tensor([4])),
    },
  ],
  groupNorm: [
    {
      message: /^groupNorm: expected x \[B, C, H, W\], got \[2, 4\]$/,
      call: (_, tensor) => groupNorm(tensor([2, 4]), 2, tensor([4]), tensor([4])),
    },
    {
      message: /^groupNorm: expected groups that divide 4 channels, got 3$/,
      call: (_, tensor) => groupNorm(tensor([2, 4, 1, 1]), 3, tensor([4]), tensor([4])),
    },
    {
      message: /^groupNorm: expected weight \[4\], got \[2\]$/,
      call: (_, tensor) => groupNorm(tensor([2, 4, 1, 1]), 2, tensor([2]), tensor([4])),
    },
    {
      message: /^groupNorm: expected bias \[4\], got \[2\]$/,
      call: (_, tensor) => groupNorm(tensor([2, 4, 1, 1]), 2, tensor([4]), tensor([2])),
    },
    {
      message: /^groupNorm: expected one of linear, .*, got "no"$/,
      call: (_, tensor) =>
        groupNorm(tensor([2, 4, 1, 1]), 2, tensor([4]), tensor([4]), { activation: 'no' as Activation }),
    },
  ],
  softmax: [
    {
      message: /^softmax: expected x \[\.\.\., K\], got \[\]$/,
      call: (_, tensor) => softmax(tensor([])),
    },
    {
      message: /^softmax: expected x in float32, got int32$/,
      call: (_, tensor) => softmax(tensor([3], 'int32')),
    },
  ],
};
