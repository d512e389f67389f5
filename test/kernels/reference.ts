import type { KernelInputs } from '../../kernels/index.ts';

/** What an element should be, and what its rounding errors are relative to. */
export interface ReferenceValue {
  readonly value: number;
  readonly magnitude: number;
}

/** One output, computed element by element in float64, so that big cases can be sampled. */
export interface ReferenceOutput {
  readonly shape: readonly number[];
  /** The value of the element at a row-major index; a bare number's magnitude is its absolute value. */
  at(index: number): number | ReferenceValue;
}

/** An obvious implementation in plain loops and float64. */
export interface Reference<Problem> {
  outputs(problem: Problem, inputs: KernelInputs): ReferenceOutput[];
}

/** An output that is computed as a whole. Without magnitudes, those are the absolute values. */
export function whole(
  shape: readonly number[],
  values: ArrayLike<number>,
  magnitudes?: ArrayLike<number>,
): ReferenceOutput {
  return {
    shape,
    at: index => (magnitudes === undefined ? values[index]! : { value: values[index]!, magnitude: magnitudes[index]! }),
  };
}

/** The position along every axis of a row-major index. */
export function unravel(index: number, shape: readonly number[]): number[] {
  const position = new Array<number>(shape.length);
  let rest = index;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    position[axis] = rest % shape[axis]!;
    rest = Math.floor(rest / shape[axis]!);
  }
  return position;
}

/** The row-major index of a position. */
export function ravel(position: readonly number[], shape: readonly number[]): number {
  return position.reduce((index, place, axis) => index * shape[axis]! + place, 0);
}
