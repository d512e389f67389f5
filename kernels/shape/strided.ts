/** One axis of a copy: how many steps, and how far each goes in the input and in the output, in elements. */
export interface CopyAxis {
  readonly size: number;
  readonly from: number;
  readonly to: number;
}

/** out[toOffset + Σ iₖ toₖ] = x[fromOffset + Σ iₖ fromₖ] over four axes. */
export interface StridedCopy {
  /** The output is contiguous along the last axis, the input along the last or the last but one, or it repeats a value. */
  readonly axes: readonly [CopyAxis, CopyAxis, CopyAxis, CopyAxis];
  readonly fromOffset: number;
  readonly toOffset: number;
  readonly count: number;
  /** The input is contiguous along the last but one axis: rows become columns. */
  readonly transposes: boolean;
}

const NO_AXIS: CopyAxis = { size: 1, from: 0, to: 0 };
const ONE_STEP: CopyAxis = { size: 1, from: 1, to: 1 };

/**
 * Merges the axes that input and output both walk evenly, and puts them in the order of `StridedCopy`. The axes are given
 * outermost first, as the output has them.
 * @returns undefined if more than four axes remain
 */
export function planStridedCopy(
  axes: readonly CopyAxis[],
  { fromOffset = 0, toOffset = 0 }: { fromOffset?: number; toOffset?: number } = {},
): StridedCopy | undefined {
  const merged: CopyAxis[] = [];
  for (const axis of axes) {
    if (axis.size === 1) continue;
    const outer = merged.at(-1);
    if (outer !== undefined && outer.from === axis.from * axis.size && outer.to === axis.to * axis.size) {
      merged[merged.length - 1] = { ...axis, size: outer.size * axis.size };
    } else {
      merged.push(axis);
    }
  }
  // Steps of one element there must be, if only one long.
  if (merged.at(-1)?.to !== 1) merged.push(ONE_STEP);
  const transposes = merged.at(-1)!.from > 1;
  if (transposes) {
    const contiguous = merged.findIndex(axis => axis.from === 1);
    const [axis = ONE_STEP] = contiguous === -1 ? [] : merged.splice(contiguous, 1);
    merged.splice(merged.length - 1, 0, axis);
  }
  if (merged.length > 4) return undefined;
  while (merged.length < 4) merged.unshift(NO_AXIS);
  const count = axes.reduce((product, { size }) => product * size, 1);
  return { axes: merged as unknown as StridedCopy['axes'], fromOffset, toOffset, count, transposes };
}

/** Row-major strides of a shape. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis]!;
  }
  return strides;
}
