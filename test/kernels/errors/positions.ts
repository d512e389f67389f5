import { learnedPositions, sinePositions, sinePositionsHalfPixel, sineQueries } from '../../../kernels/index.ts';
import type { ErrorCases } from './error-case.ts';

export const positionsErrors: ErrorCases = {
  sinePositions: [
    {
      message: /^sinePositions: expected mask \[B, h, w\], got \[3, 4\]$/,
      call: (_, tensor) => sinePositions(tensor([3, 4]), { features: 128 }),
    },
    {
      message: /^sinePositions: expected features that is a positive integer, got 0$/,
      call: (_, tensor) => sinePositions(tensor([1, 3, 4]), { features: 0 }),
    },
  ],
  sinePositionsHalfPixel: [
    {
      message: /^sinePositionsHalfPixel: expected mask in float32, got int32$/,
      call: (_, tensor) => sinePositionsHalfPixel(tensor([1, 3, 4], 'int32'), { features: 128 }),
    },
  ],
  sineQueries: [
    {
      message: /^sineQueries: expected coordinates \[B, T, C\], got \[3, 2\]$/,
      call: (_, tensor) => sineQueries(tensor([3, 2]), { features: 128 }),
    },
    {
      message: /^sineQueries: expected an order of coordinates from 0 to 1, got \[1,2\]$/,
      call: (_, tensor) => sineQueries(tensor([1, 3, 2]), { features: 128, order: [1, 2] }),
    },
  ],
  learnedPositions: [
    {
      message: /^learnedPositions: expected columns \[R, 4\], got \[50, 5\]$/,
      call: (_, tensor) => learnedPositions(tensor([50, 4]), tensor([50, 5]), [1, 3, 4]),
    },
    {
      message: /^learnedPositions: expected \[B, H, W\] with a .* of at most \[50, 50\], got \[1, 3, 51\]$/,
      call: (_, tensor) => learnedPositions(tensor([50, 4]), tensor([50, 4]), [1, 3, 51]),
    },
    {
      message: /^learnedPositions: expected \[B, H, W\] with .*, got \[1, -1, 1\.5\]$/,
      call: (_, tensor) => learnedPositions(tensor([50, 4]), tensor([50, 4]), [1, -1, 1.5]),
    },
  ],
};
