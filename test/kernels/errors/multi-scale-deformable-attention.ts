import type { DataType, Tensor } from '../../../engine/index.ts';
import {
  type DeformableAttentionOptions,
  multiScaleDeformableAttention,
  multiScaleDeformableAttentionWithWeights,
} from '../../../kernels/index.ts';
import type { ErrorCases } from './error-case.ts';

type MakeTensor = (shape: readonly number[], dtype?: DataType) => Tensor;

/** A call that is right but for what is given: 3 queries of 2 heads, 2 points in maps of 6 x 8 and 3 x 4. */
function call(
  operation: typeof multiScaleDeformableAttention | typeof multiScaleDeformableAttentionWithWeights,
  changed: { value?: number[]; offsets?: number[]; logits?: number[]; references?: number[] },
  options: Partial<Omit<DeformableAttentionOptions, 'keyMask'>> & { keyMask?: number[] } = {},
) {
  return (_: unknown, tensor: MakeTensor) => {
    const { keyMask, ...others } = options;
    return operation(
      tensor(changed.value ?? [1, 60, 8]),
      tensor(changed.offsets ?? [1, 3, 16]),
      tensor(changed.logits ?? [1, 3, 8]),
      tensor(changed.references ?? [1, 3, 2, 2]),
      {
        heads: 2,
        points: 2,
        levels: [
          [6, 8],
          [3, 4],
        ],
        keyMask: keyMask === undefined ? undefined : tensor(keyMask),
        ...others,
      },
    );
  };
}

const attention = multiScaleDeformableAttention;

export const multiScaleDeformableAttentionErrors: ErrorCases = {
  multiScaleDeformableAttention: [
    {
      message: /^multiScaleDeformableAttention: expected feature maps of 59 cells, got \[6, 8\] \+ \[3, 4\]$/,
      call: call(attention, { value: [1, 59, 8] }),
    },
    {
      message: /^multiScaleDeformableAttention: expected heads that divide 8 channels, got 3$/,
      call: call(attention, {}, { heads: 3 }),
    },
    {
      message: /^multiScaleDeformableAttention: expected points that is a positive integer, got 0$/,
      call: call(attention, {}, { points: 0 }),
    },
    {
      message: /^multiScaleDeformableAttention: expected offsets \[1, T, 16\], got \[1, 3, 8\]$/,
      call: call(attention, { offsets: [1, 3, 8] }),
    },
    {
      message: /^multiScaleDeformableAttention: expected weight logits \[1, 3, 8\], got \[1, 4, 8\]$/,
      call: call(attention, { logits: [1, 4, 8] }),
    },
    {
      message: /^multiScaleDeformableAttention: expected references \[B, T, L, 2 or 4\], got \[1, 3, 2, 3\]$/,
      call: call(attention, { references: [1, 3, 2, 3] }),
    },
    {
      message: /^multiScaleDeformableAttention: expected references \[1, 3, 2, 4\], got \[1, 3, 4\]$/,
      call: call(attention, { references: [1, 3, 4] }),
    },
    {
      message: /^multiScaleDeformableAttention: expected key mask \[1, 60\], got \[1, 48\]$/,
      call: call(attention, {}, { keyMask: [1, 48] }),
    },
  ],
  multiScaleDeformableAttentionWithWeights: [
    {
      message: /^multiScaleDeformableAttentionWithWeights: expected value \[B, S, N \* dh\], got \[60, 8\]$/,
      call: call(multiScaleDeformableAttentionWithWeights, { value: [60, 8] }),
    },
  ],
};
