import { elementCount } from '../engine/index.ts';
import type { Random } from '../kernels/random.ts';

/*
 * How the parameters of a model without a checkpoint are filled: as HuggingFace's `_init_weights` of the three families does,
 * and Glorot's way in the backbone, which they leave to its own library.
 */

export type Initializer =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'values'; readonly values: Float32Array }
  /** Around 0; without a standard deviation by the configuration's `init_std`. */
  | { readonly kind: 'normal'; readonly standardDeviation?: number }
  | { readonly kind: 'uniform'; readonly from: number; readonly to: number };

export const ZEROS: Initializer = { kind: 'constant', value: 0 };
export const ONES: Initializer = { kind: 'constant', value: 1 };
export const NORMAL: Initializer = { kind: 'normal' };

const within = (bound: number): Initializer => ({ kind: 'uniform', from: -bound, to: bound });

/** Inputs of one output of a matrix or convolution of `shape` [out, in, …], and outputs that one input reaches. */
function fans(shape: readonly number[]): { fanIn: number; fanOut: number } {
  const area = elementCount(shape.slice(2));
  return { fanIn: shape[1]! * area, fanOut: shape[0]! * area };
}

/** Glorot's uniform distribution (`xavier_uniform_`). */
export function xavier(shape: readonly number[], gain = 1): Initializer {
  const { fanIn, fanOut } = fans(shape);
  return within(gain * Math.sqrt(6 / (fanIn + fanOut)));
}

/** He's uniform distribution for layers without an activation after them (`kaiming_uniform_` with a = 1). */
export const kaiming = (shape: readonly number[]): Initializer => within(Math.sqrt(3 / fans(shape).fanIn));

/** Values of a parameter. @param initStandardDeviation the configuration's `init_std` */
export function initialValues(
  initializer: Initializer,
  length: number,
  random: Random,
  initStandardDeviation: number,
): Float32Array {
  switch (initializer.kind) {
    case 'constant':
      return new Float32Array(length).fill(initializer.value);
    case 'values':
      return initializer.values.slice();
    case 'normal': {
      const { standardDeviation = initStandardDeviation } = initializer;
      return Float32Array.from({ length }, () => random.normal() * standardDeviation);
    }
    case 'uniform': {
      const { from, to } = initializer;
      return Float32Array.from({ length }, () => from + random.next() * (to - from));
    }
  }
}
