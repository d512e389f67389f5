// Every kernel: the launchers that models call, and the list that tests and the benchmark walk.

import {
  attentionKernel,
  attentionWithPositionsAndWeightsKernel,
  attentionWithPositionsKernel,
  attentionWithWeightsKernel,
} from './attention/attention.ts';
import { conv2dKernel } from './conv2d/conv2d.ts';
import { encoderReferencePointsKernel, twoStageProposalsKernel, validRatiosKernel } from './deformable/deformable.ts';
import { activateKernel, addKernel, inverseSigmoidKernel, multiplyKernel } from './elementwise/elementwise.ts';
import type { Kernel } from './kernel.ts';
import { linearKernel } from './linear/linear.ts';
import { matmulKernel } from './matmul/matmul.ts';
import {
  multiScaleDeformableAttentionKernel,
  multiScaleDeformableAttentionWithWeightsKernel,
} from './multi-scale-deformable-attention/multi-scale-deformable-attention.ts';
import { groupNormKernel, layerNormKernel } from './normalization/normalization.ts';
import { maxPool2dKernel, meanOverSpaceKernel } from './pooling/pooling.ts';
import {
  learnedPositionsKernel,
  sinePositionsHalfPixelKernel,
  sinePositionsKernel,
  sineQueriesKernel,
} from './positions/positions.ts';
import { downsampleMaskKernel, resizeBilinearKernel, resizeNearestKernel } from './resize/resize.ts';
import {
  broadcastToKernel,
  concatenateKernel,
  flattenSpaceKernel,
  gatherRowsKernel,
  permuteKernel,
  sliceKernel,
} from './shape/shape.ts';
import { softmaxKernel } from './softmax/softmax.ts';
import { topKKernel } from './top-k/top-k.ts';

export { type Activation, activations } from './activation.ts';
export {
  attention,
  attentionWithPositions,
  attentionWithPositionsAndWeights,
  attentionWithWeights,
} from './attention/attention.ts';
export {
  type Conv2dGeometryOptions,
  type Conv2dOptions,
  type Conv2dWeights,
  conv2d,
  packConv2d,
} from './conv2d/conv2d.ts';
export { encoderReferencePoints, twoStageProposals, validRatios } from './deformable/deformable.ts';
export { activate, add, inverseSigmoid, multiply } from './elementwise/elementwise.ts';
export type { Kernel, KernelInputs } from './kernel.ts';
export { type LinearOptions, type LinearWeights, linear, packLinear } from './linear/linear.ts';
export { matmul } from './matmul/matmul.ts';
export {
  type DeformableAttentionOptions,
  multiScaleDeformableAttention,
  multiScaleDeformableAttentionWithWeights,
} from './multi-scale-deformable-attention/multi-scale-deformable-attention.ts';
export { groupNorm, layerNorm } from './normalization/normalization.ts';
export { maxPool2d, meanOverSpace } from './pooling/pooling.ts';
export { learnedPositions, sinePositions, sinePositionsHalfPixel, sineQueries } from './positions/positions.ts';
export { Random } from './random.ts';
export { downsampleMask, resizeBilinear, resizeNearest } from './resize/resize.ts';
export { broadcastTo, concatenate, flattenSpace, gatherRows, permute, slice } from './shape/shape.ts';
export { softmax } from './softmax/softmax.ts';
export { topK } from './top-k/top-k.ts';

export const allKernels: readonly Kernel<unknown>[] = [
  conv2dKernel,
  linearKernel,
  matmulKernel,
  // elementwise
  addKernel,
  multiplyKernel,
  activateKernel,
  inverseSigmoidKernel,
  // shape
  permuteKernel,
  flattenSpaceKernel,
  concatenateKernel,
  sliceKernel,
  broadcastToKernel,
  gatherRowsKernel,
  // attention
  attentionKernel,
  attentionWithWeightsKernel,
  attentionWithPositionsKernel,
  attentionWithPositionsAndWeightsKernel,
  // positions
  sinePositionsKernel,
  sinePositionsHalfPixelKernel,
  learnedPositionsKernel,
  sineQueriesKernel,
  // normalization
  layerNormKernel,
  groupNormKernel,
  // softmax
  softmaxKernel,
  // pooling
  maxPool2dKernel,
  meanOverSpaceKernel,
  // resize
  resizeNearestKernel,
  resizeBilinearKernel,
  downsampleMaskKernel,
  // deformable
  multiScaleDeformableAttentionKernel,
  multiScaleDeformableAttentionWithWeightsKernel,
  topKKernel,
  validRatiosKernel,
  encoderReferencePointsKernel,
  twoStageProposalsKernel,
];
