import type { WgslProgram } from '../../engine/index.ts';
import { flatMain, flatWorkgroups, memoized } from '../wgsl.ts';
import type { StridedCopy } from './strided.ts';

const inFours = (...counts: readonly number[]): boolean => counts.every(count => count % 4 === 0);

/** One element per invocation, or four in a row, or a block of four by four that is transposed, where sizes allow it. */
export function planCopy(copy: StridedCopy): WgslProgram {
  const { axes, fromOffset, toOffset, count } = copy;
  const [first, second, third, inner] = axes;
  const steps = [fromOffset, toOffset, first.from, first.to, second.from, second.to, third.to];
  if (third.from === 1 && inFours(...steps, third.size, inner.from, inner.size)) return planTranspose(copy);
  const width = inner.from === 1 && inFours(...steps, third.from, inner.size) ? 4 : 1;
  return {
    code: copyCode(width),
    workgroups: flatWorkgroups(count / width),
    scalars: [
      count / width,
      fromOffset / width,
      toOffset / width,
      second.size,
      third.size,
      inner.size / width,
      ...[first, second, third].map(axis => axis.from / width),
      inner.from,
      ...[first, second, third].map(axis => axis.to / width),
    ],
  };
}

function planTranspose({ axes, fromOffset, toOffset, count }: StridedCopy): WgslProgram {
  const [first, second, third, inner] = axes;
  return {
    code: TRANSPOSE,
    workgroups: flatWorkgroups(count / 16),
    scalars: [
      count / 16,
      fromOffset / 4,
      toOffset / 4,
      second.size,
      third.size / 4,
      inner.size / 4,
      first.from / 4,
      second.from / 4,
      inner.from / 4,
      first.to / 4,
      second.to / 4,
      third.to / 4,
    ],
  };
}

const transposed = (step: number) =>
  /* wgsl */ `vec4u(a.${'xyzw'[step]}, b.${'xyzw'[step]}, c.${'xyzw'[step]}, d.${'xyzw'[step]})`;

const TRANSPOSE = /* wgsl */ `
struct Sizes {
  count: u32, fromOffset: u32, toOffset: u32, size1: u32, rows: u32, columns: u32,
  from0: u32, from1: u32, from3: u32, to0: u32, to1: u32, to2: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4u>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
${flatMain(
  'sizes.count',
  /* wgsl */ `  let column = index % sizes.columns;
  let row = index / sizes.columns % sizes.rows;
  let outer = index / sizes.columns / sizes.rows;
  let i1 = outer % sizes.size1;
  let i0 = outer / sizes.size1;
  let place = sizes.fromOffset + i0 * sizes.from0 + i1 * sizes.from1 + row + column * 4u * sizes.from3;
  let a = x[place];
  let b = x[place + sizes.from3];
  let c = x[place + 2u * sizes.from3];
  let d = x[place + 3u * sizes.from3];
  let written = sizes.toOffset + i0 * sizes.to0 + i1 * sizes.to1 + row * 4u * sizes.to2 + column;
  out[written] = ${transposed(0)};
  out[written + sizes.to2] = ${transposed(1)};
  out[written + 2u * sizes.to2] = ${transposed(2)};
  out[written + 3u * sizes.to2] = ${transposed(3)};`,
)}`;

const copyCode = memoized((width: 1 | 4) => {
  // Integers keep every bit, also those of NaN and of int32 tensors.
  const element = width === 4 ? 'vec4u' : 'u32';
  return /* wgsl */ `
struct Sizes {
  count: u32, fromOffset: u32, toOffset: u32,
  size1: u32, size2: u32, size3: u32,
  from0: u32, from1: u32, from2: u32, from3: u32,
  to0: u32, to1: u32, to2: u32,
}
@group(0) @binding(0) var<storage, read> x: array<${element}>;
@group(0) @binding(1) var<storage, read_write> out: array<${element}>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
${flatMain(
  'sizes.count',
  /* wgsl */ `  let i3 = index % sizes.size3;
  let row = index / sizes.size3;
  let i2 = row % sizes.size2;
  let plane = row / sizes.size2;
  let i1 = plane % sizes.size1;
  let i0 = plane / sizes.size1;
  let place = sizes.fromOffset + i0 * sizes.from0 + i1 * sizes.from1 + i2 * sizes.from2 + i3 * sizes.from3;
  out[sizes.toOffset + i0 * sizes.to0 + i1 * sizes.to1 + i2 * sizes.to2 + i3] = x[place];`,
)}`;
});

export interface GatherSizes {
  readonly rows: number;
  readonly rowsPerBatch: number;
  readonly available: number;
  readonly width: number;
}

export function planGatherRows({ rows, rowsPerBatch, available, width }: GatherSizes): WgslProgram {
  return {
    code: GATHER_ROWS,
    workgroups: flatWorkgroups(rows * width),
    scalars: [rows * width, rowsPerBatch, available, width],
  };
}

const GATHER_ROWS = /* wgsl */ `
struct Sizes { count: u32, rowsPerBatch: u32, available: u32, width: u32 }
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> chosen: array<i32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;
${flatMain(
  'sizes.count',
  /* wgsl */ `  let row = index / sizes.width;
  let place = u32(clamp(chosen[row], 0, i32(sizes.available) - 1));
  let source = row / sizes.rowsPerBatch * sizes.available + place;
  out[index] = x[source * sizes.width + index % sizes.width];`,
)}`;
