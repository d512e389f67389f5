import { maxPool2d, meanOverSpace } from '../../../kernels/index.ts';
import type { ErrorCases } from './error-case.ts';

export const poolingErrors: ErrorCases = {
  maxPool2d: [
    {
      message: /^maxPool2d: expected x \[B, C, H, W\], got \[3, 4, 4\]$/,
      call: (_, tensor) => maxPool2d(tensor([3, 4, 4]), { kernel: 2 }),
    },
    {
      message: /^maxPool2d: expected a kernel that is a positive integer, got 0$/,
      call: (_, tensor) => maxPool2d(tensor([1, 3, 4, 4]), { kernel: 0 }),
    },
    {
      message: /^maxPool2d: expected a stride that is a positive integer, got 1\.5$/,
      call: (_, tensor) => maxPool2d(tensor([1, 3, 4, 4]), { kernel: 2, stride: 1.5 }),
    },
    {
      message: /^maxPool2d: expected a padding from 0 to 1, got 2$/,
      call: (_, tensor) => maxPool2d(tensor([1, 3, 4, 4]), { kernel: 3, padding: 2 }),
    },
    {
      message: /^maxPool2d: expected an image that a window of 5 fits, got 4 x 9$/,
      call: (_, tensor) => maxPool2d(tensor([1, 3, 4, 9]), { kernel: 5 }),
    },
    {
      message: /^maxPool2d: expected an image that a window of 2 fits, got 5 x 0$/,
      call: (_, tensor) => maxPool2d(tensor([1, 1, 5, 0]), { kernel: 2, stride: 1, padding: 1 }),
    },
  ],
  meanOverSpace: [
    {
      message: /^meanOverSpace: expected x \[B, C, H, W\], got \[3, 4\]$/,
      call: (_, tensor) => meanOverSpace(tensor([3, 4])),
    },
    {
      message: /^meanOverSpace: expected pixels, got 0 x 4$/,
      call: (_, tensor) => meanOverSpace(tensor([1, 3, 0, 4])),
    },
  ],
};
