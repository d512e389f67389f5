import { type DataType, formatShape, ShapeError, type Tensor } from '../engine/index.ts';

/**
 * @param expected sizes, or names for sizes that may be anything: `['B', 'C', 'H', 'W']`
 * @throws ShapeError `layerNorm: expected weight [256], got [255]`
 */
export function expectShape(
  operation: string,
  name: string,
  tensor: Tensor,
  expected: readonly (number | string)[],
  dtype: DataType = 'float32',
): void {
  const fits =
    tensor.shape.length === expected.length &&
    expected.every((size, axis) => typeof size === 'string' || size === tensor.shape[axis]);
  if (!fits) {
    throw new ShapeError(`${operation}: expected ${name} [${expected.join(', ')}], got ${formatShape(tensor.shape)}`);
  }
  expectType(operation, name, tensor, dtype);
}

/** @throws ShapeError `softmax: expected x in float32, got int32` */
export function expectType(operation: string, name: string, tensor: Tensor, dtype: DataType = 'float32'): void {
  if (tensor.dtype !== dtype) {
    throw new ShapeError(`${operation}: expected ${name} in ${dtype}, got ${tensor.dtype}`);
  }
}

/** @throws ShapeError `resizeNearest: expected a height that is a positive integer, got 0` */
export function expectPositiveInteger(operation: string, name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1) {
    throw new ShapeError(`${operation}: expected ${name} that is a positive integer, got ${value}`);
  }
}

/** The axis counted from the front. @throws ShapeError `concatenate: expected an axis from -3 to 2, got 3` */
export function expectAxis(operation: string, rank: number, axis: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new ShapeError(`${operation}: expected an axis from ${-rank} to ${rank - 1}, got ${axis}`);
  }
  return axis < 0 ? axis + rank : axis;
}
