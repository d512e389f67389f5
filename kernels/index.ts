import { conv2dKernel } from './conv2d/conv2d.ts';
import type { Kernel } from './kernel.ts';
import { linearKernel } from './linear/linear.ts';
import { matmulKernel } from './matmul/matmul.ts';

export { type Activation, activationByName, activations } from './activation.ts';
export {
  type Conv2dGeometryOptions,
  type Conv2dOptions,
  type Conv2dWeights,
  conv2d,
  packConv2d,
} from './conv2d/conv2d.ts';
export type { Kernel, KernelInputs } from './kernel.ts';
export { type LinearOptions, type LinearWeights, linear, packLinear } from './linear/linear.ts';
export { type MatmulOptions, matmul } from './matmul/matmul.ts';
export { Random } from './random.ts';

/** Every kernel, for tests and benchmarks to walk. */
export const allKernels: readonly Kernel<unknown>[] = [conv2dKernel, linearKernel, matmulKernel];
