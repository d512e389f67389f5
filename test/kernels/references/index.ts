import type { Reference } from '../reference.ts';
import {
  attentionReference,
  attentionWithPositionsAndWeightsReference,
  attentionWithPositionsReference,
  attentionWithWeightsReference,
} from './attention.ts';
import { conv2dReference } from './conv2d.ts';
import { encoderReferencePointsReference, twoStageProposalsReference, validRatiosReference } from './deformable.ts';
import { activateReference, addReference, inverseSigmoidReference, multiplyReference } from './elementwise.ts';
import { linearReference } from './linear.ts';
import { matmulReference } from './matmul.ts';
import {
  multiScaleDeformableAttentionReference,
  multiScaleDeformableAttentionWithWeightsReference,
} from './multi-scale-deformable-attention.ts';
import { groupNormReference, layerNormReference } from './normalization.ts';
import { maxPool2dReference, meanOverSpaceReference } from './pooling.ts';
import {
  learnedPositionsReference,
  sinePositionsHalfPixelReference,
  sinePositionsReference,
  sineQueriesReference,
} from './positions.ts';
import { downsampleMaskReference, resizeBilinearReference, resizeNearestReference } from './resize.ts';
import {
  broadcastToReference,
  concatenateReference,
  flattenSpaceReference,
  gatherRowsReference,
  permuteReference,
  sliceReference,
} from './shape.ts';
import { softmaxReference } from './softmax.ts';
import { topKReference } from './top-k.ts';

/** The float64 reference of every kernel, by the kernel's name. */
export const references: Readonly<Record<string, Reference<unknown>>> = {
  conv2d: conv2dReference,
  linear: linearReference,
  matmul: matmulReference,
  // elementwise
  add: addReference,
  multiply: multiplyReference,
  activate: activateReference,
  inverseSigmoid: inverseSigmoidReference,
  // shape
  permute: permuteReference,
  flattenSpace: flattenSpaceReference,
  concatenate: concatenateReference,
  slice: sliceReference,
  broadcastTo: broadcastToReference,
  gatherRows: gatherRowsReference,
  // attention
  attention: attentionReference,
  attentionWithWeights: attentionWithWeightsReference,
  attentionWithPositions: attentionWithPositionsReference,
  attentionWithPositionsAndWeights: attentionWithPositionsAndWeightsReference,
  // positions
  sinePositions: sinePositionsReference,
  sinePositionsHalfPixel: sinePositionsHalfPixelReference,
  learnedPositions: learnedPositionsReference,
  sineQueries: sineQueriesReference,
  // normalization
  layerNorm: layerNormReference,
  groupNorm: groupNormReference,
  // softmax
  softmax: softmaxReference,
  // pooling
  maxPool2d: maxPool2dReference,
  meanOverSpace: meanOverSpaceReference,
  // resize
  resizeNearest: resizeNearestReference,
  resizeBilinear: resizeBilinearReference,
  downsampleMask: downsampleMaskReference,
  // deformable
  multiScaleDeformableAttention: multiScaleDeformableAttentionReference,
  multiScaleDeformableAttentionWithWeights: multiScaleDeformableAttentionWithWeightsReference,
  topK: topKReference,
  validRatios: validRatiosReference,
  encoderReferencePoints: encoderReferencePointsReference,
  twoStageProposals: twoStageProposalsReference,
};
