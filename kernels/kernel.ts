import type { Cost, Device, HostTensor, Tensor } from '../engine/index.ts';
import type { Random } from './random.ts';

/** Host tensors by role: `{ x, weight, bias }`. */
export type KernelInputs = Readonly<Record<string, HostTensor<Float32Array> | HostTensor<Int32Array>>>;

/**
 * What tools need to know of a kernel. Tests run every kernel x (named and random problems) x every device against a
 * float64 reference; the bench times the named ones. A problem is plain data: sizes and options.
 */
export interface Kernel<Problem = never> {
  readonly name: string;
  /** Problems at the shapes that the models really use; keys say where: `encoder feed-forward, 800x1066`. */
  readonly cases: Readonly<Record<string, Problem>>;
  /** Small problems that tests must not leave to chance: empty batches, one element, every option. */
  readonly edges?: Readonly<Record<string, Problem>>;
  /** A small problem of odd sizes (1, 3, 17, …), every option reachable. */
  random(random: Random): Problem;
  inputs(problem: Problem, random: Random): KernelInputs;
  /** Puts inputs on the device (packing weights once); the result records one launch per call and returns its outputs. */
  prepare(device: Device, problem: Problem, inputs: KernelInputs): () => Tensor[];
  cost(problem: Problem): Cost;
  /** The WGSL takes different forms by adapter, and tests try them all. */
  readonly hasForms?: true;
  /**
   * Largest allowed |ours - reference| per element, relative to the magnitude that the reference reports for it
   * (the sum of absolute terms for reductions), in units of float32 epsilon. Default 16.
   */
  readonly tolerance?: number;
  /** Roles of the inputs that tests strew with NaN and infinities; default all float32 inputs. */
  readonly nonFinite?: readonly string[];
  /** Roles of the inputs that tests move away from 0, by 10,000; default all float32 inputs. */
  readonly farFromZero?: readonly string[];
}

/** Keeps the problem type checked where a kernel is defined. */
export function defineKernel<Problem>(kernel: Kernel<Problem>): Kernel<Problem> {
  return kernel;
}

/** The float32 input of a role. @throws Error if the kernel's `inputs` made none */
export function floats(inputs: KernelInputs, role: string): HostTensor {
  const { shape, data } = inputs[role] ?? {};
  if (shape === undefined || !(data instanceof Float32Array)) throw new Error(`no float32 input "${role}"`);
  return { shape, data };
}

/** The int32 input of a role. @throws Error if the kernel's `inputs` made none */
export function integers(inputs: KernelInputs, role: string): HostTensor<Int32Array> {
  const { shape, data } = inputs[role] ?? {};
  if (shape === undefined || !(data instanceof Int32Array)) throw new Error(`no int32 input "${role}"`);
  return { shape, data };
}
