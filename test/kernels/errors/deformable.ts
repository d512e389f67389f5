import { encoderReferencePoints, twoStageProposals, validRatios } from '../../../kernels/index.ts';
import type { ErrorCases } from './error-case.ts';

export const deformableErrors: ErrorCases = {
  validRatios: [
    { message: /^validRatios: expected at least one mask, got none$/, call: () => validRatios([]) },
    {
      message: /^validRatios: expected mask \[2, h, w\], got \[1, 3, 4\]$/,
      call: (_, tensor) => validRatios([tensor([2, 6, 8]), tensor([1, 3, 4])]),
    },
    {
      message: /^validRatios: expected feature maps of 0 cells, got \[0, 4\]$/,
      call: (_, tensor) => validRatios([tensor([2, 0, 4])]),
    },
  ],
  encoderReferencePoints: [
    {
      message: /^encoderReferencePoints: expected ratios \[B, 2, 2\], got \[1, 3, 2\]$/,
      call: (_, tensor) =>
        encoderReferencePoints(tensor([1, 3, 2]), [
          [6, 8],
          [3, 4],
        ]),
    },
  ],
  twoStageProposals: [
    {
      message: /^twoStageProposals: expected memory \[1, 60, D\], got \[1, 48, 256\]$/,
      call: (_, tensor) => twoStageProposals(tensor([1, 48, 256]), [tensor([1, 6, 8]), tensor([1, 3, 4])]),
    },
    {
      message: /^twoStageProposals: expected mask in float32, got int32$/,
      call: (_, tensor) => twoStageProposals(tensor([1, 12, 8]), [tensor([1, 3, 4], 'int32')]),
    },
  ],
};
