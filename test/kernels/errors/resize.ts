import { downsampleMask, resizeBilinear, resizeNearest } from '../../../kernels/index.ts';
import type { ErrorCases } from './error-case.ts';

export const resizeErrors: ErrorCases = {
  resizeNearest: [
    {
      message: /^resizeNearest: expected x \[B, C, H, W\], got \[2, 2\]$/,
      call: (_, tensor) => resizeNearest(tensor([2, 2]), [4, 4]),
    },
    {
      message: /^resizeNearest: expected a height that is a positive integer, got 0$/,
      call: (_, tensor) => resizeNearest(tensor([1, 1, 2, 2]), [0, 4]),
    },
    {
      message: /^resizeNearest: expected pixels, got 0 x 2$/,
      call: (_, tensor) => resizeNearest(tensor([1, 1, 0, 2]), [4, 4]),
    },
    {
      message: /^resizeNearest: expected residual \[B, 3, 4, 4\], got \[1, 2, 4, 4\]$/,
      call: (_, tensor) => resizeNearest(tensor([1, 3, 2, 2]), [4, 4], { residual: tensor([1, 2, 4, 4]) }),
    },
    {
      message: /^resizeNearest: expected a residual whose batch divides 3, got \[2, 1, 4, 4\]$/,
      call: (_, tensor) => resizeNearest(tensor([3, 1, 2, 2]), [4, 4], { residual: tensor([2, 1, 4, 4]) }),
    },
  ],
  resizeBilinear: [
    {
      message: /^resizeBilinear: expected x \[B, C, H, W\], got \[2, 2, 2\]$/,
      call: (_, tensor) => resizeBilinear(tensor([2, 2, 2]), [4, 4]),
    },
    {
      message: /^resizeBilinear: expected a width that is a positive integer, got NaN$/,
      call: (_, tensor) => resizeBilinear(tensor([1, 1, 2, 2]), [4, Number.NaN]),
    },
  ],
  downsampleMask: [
    {
      message: /^downsampleMask: expected mask \[B, H, W\], got \[1, 1, 8, 8\]$/,
      call: (_, tensor) => downsampleMask(tensor([1, 1, 8, 8]), [2, 2]),
    },
    {
      message: /^downsampleMask: expected mask in float32, got int32$/,
      call: (_, tensor) => downsampleMask(tensor([1, 8, 8], 'int32'), [2, 2]),
    },
  ],
};
