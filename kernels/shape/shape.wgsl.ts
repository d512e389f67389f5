import type { WgslProgram } from '../../engine/index.ts';
import { flatMain, flatWorkgroups } from '../wgsl.ts';
import type { StridedCopy } from './strided.ts';

/** One element per invocation, four where input and output are contiguous in fours. Writes are coalesced. */
export function planCopy(copy: StridedCopy): WgslProgram {
  const { axes, fromOffset, toOffset, count } = copy;
  const inner = axes[3];
  const steps = [fromOffset, toOffset, inner.size, ...axes.slice(0, 3).flatMap(axis => [axis.from, axis.to])];
  const width = inner.from === 1 && steps.every(step => step % 4 === 0) ? 4 : 1;
  return {
    code: copyWgsl(width),
    workgroups: flatWorkgroups(count / width),
    scalars: [
      count / width,
      fromOffset / width,
      toOffset / width,
      axes[1].size,
      axes[2].size,
      inner.size / width,
      ...axes.slice(0, 3).map(axis => axis.from / width),
      inner.from,
      ...axes.slice(0, 3).map(axis => axis.to / width),
    ],
  };
}

function copyWgsl(width: 1 | 4): string {
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
}

export interface GatherSizes {
  readonly rows: number;
  readonly rowsPerBatch: number;
  readonly available: number;
  readonly width: number;
}

export function planGatherRows({ rows, rowsPerBatch, available, width }: GatherSizes): WgslProgram {
  return {
    code: /* wgsl */ `
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
)}`,
    workgroups: flatWorkgroups(rows * width),
    scalars: [rows * width, rowsPerBatch, available, width],
  };
}
