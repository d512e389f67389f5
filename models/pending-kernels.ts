import { DeviceError, type Tensor } from '../engine/index.ts';

const pending = (..._: unknown[]): never => {
  throw new DeviceError('deformable attention: not there yet');
};
export const encoderReferencePoints = pending as (...args: unknown[]) => Tensor;
export const multiScaleDeformableAttention = pending as (...args: unknown[]) => Tensor;
export const multiScaleDeformableAttentionWithWeights = pending as (...args: unknown[]) => {
  output: Tensor;
  weights: Tensor;
};
export const topK = pending as (...args: unknown[]) => { values: Tensor; indices: Tensor<'int32'> };
export const twoStageProposals = pending as (...args: unknown[]) => { logits: Tensor; memory: Tensor };
export const validRatios = pending as (...args: unknown[]) => Tensor;
