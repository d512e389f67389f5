import { formatShape, ShapeError } from '../engine/index.ts';

/** Four axes, outermost first, with the strides (in elements, 0 where repeated) by which the operands walk them. */
export interface BroadcastPlan {
  readonly shape: readonly number[];
  readonly sizes: readonly [number, number, number, number];
  readonly strides: readonly (readonly [number, number, number, number])[];
}

/** NumPy's broadcasting of two shapes. @throws ShapeError where they do not fit. */
export function broadcastShapes(operation: string, a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const sizeA = a[axis - rank + a.length] ?? 1;
    const sizeB = b[axis - rank + b.length] ?? 1;
    if (sizeA !== sizeB && sizeA !== 1 && sizeB !== 1) {
      throw new ShapeError(
        `${operation}: expected shapes that broadcast, got ${formatShape(a)} and ${formatShape(b)} (axis ${axis})`,
      );
    }
    return sizeA === 1 ? sizeB : sizeA;
  });
}

/**
 * How operands of the given shapes are walked to fill `shape`: axes that all operands walk evenly are merged, so that equal
 * shapes become one long row. @throws ShapeError when more than four axes remain.
 */
export function planBroadcast(
  operation: string,
  shape: readonly number[],
  operands: readonly (readonly number[])[],
): BroadcastPlan {
  const axes: { size: number; strides: number[] }[] = [];
  const walked = operands.map(operand => stridesWithin(operand, shape.length));
  shape.forEach((size, axis) => {
    if (size === 1) return;
    const strides = walked.map(operand => operand[axis]!);
    const outer = axes.at(-1);
    if (outer?.strides.every((stride, operand) => stride === strides[operand]! * size)) {
      outer.size *= size;
      outer.strides = strides;
    } else {
      axes.push({ size, strides });
    }
  });
  if (axes.length > 4) {
    throw new ShapeError(
      `${operation}: expected at most 4 axes after merging, got ${operands.map(formatShape).join(' and ')}`,
    );
  }
  while (axes.length < 4) axes.unshift({ size: 1, strides: operands.map(() => 0) });
  return {
    shape,
    sizes: axes.map(axis => axis.size) as unknown as BroadcastPlan['sizes'],
    strides: operands.map(
      (_, operand) => axes.map(axis => axis.strides[operand]!) as unknown as BroadcastPlan['strides'][number],
    ),
  };
}

/** The operand's strides along the last `rank` axes; 0 where it has one element or no such axis. */
function stridesWithin(operand: readonly number[], rank: number): number[] {
  const strides = new Array<number>(rank).fill(0);
  let stride = 1;
  for (let axis = operand.length - 1; axis >= 0; axis--) {
    const size = operand[axis]!;
    strides[rank - operand.length + axis] = size === 1 ? 0 : stride;
    stride *= size;
  }
  return strides;
}
