import type { WgslProgram } from '../../engine/index.ts';
import { flatMain, flatWorkgroups } from '../wgsl.ts';
import type { CopyPlan } from './shape.ts';

const count = ({ axes }: CopyPlan) => axes.reduce((product, axis) => product * axis.size, 1);

/** One element per invocation; values move as bits, so that NaN payloads and integers stay what they are. */
export function planCopy(plan: CopyPlan): WgslProgram {
  return {
    code: copyWgsl,
    workgroups: flatWorkgroups(count(plan)),
    scalars: [
      count(plan),
      ...plan.axes.slice(1).map(axis => axis.size),
      ...plan.axes.map(axis => axis.from),
      ...plan.axes.map(axis => axis.to),
      plan.fromOffset,
      plan.toOffset,
    ],
  };
}

const copyWgsl = /* wgsl */ `
struct Plan {
  count: u32, size1: u32, size2: u32, size3: u32,
  from0: u32, from1: u32, from2: u32, from3: u32,
  to0: u32, to1: u32, to2: u32, to3: u32,
  fromOffset: u32, toOffset: u32,
}
@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read_write> target_: array<u32>;
@group(0) @binding(2) var<uniform> plan: Plan;
${flatMain(
  'plan.count',
  /* wgsl */ `  let i3 = index % plan.size3;
  let row = index / plan.size3;
  let i2 = row % plan.size2;
  let plane = row / plan.size2;
  let i1 = plane % plan.size1;
  let i0 = plane / plan.size1;
  let from_ = plan.fromOffset + i0 * plan.from0 + i1 * plan.from1 + i2 * plan.from2 + i3 * plan.from3;
  let to = plan.toOffset + i0 * plan.to0 + i1 * plan.to1 + i2 * plan.to2 + i3 * plan.to3;
  target_[to] = source[from_];`,
)}`;

export interface GatherSizes {
  readonly rows: number;
  readonly picked: number;
  readonly width: number;
}

export function planGatherRows(elements: number, { rows, picked, width }: GatherSizes): WgslProgram {
  return {
    code: gatherRowsWgsl,
    workgroups: flatWorkgroups(elements),
    scalars: [elements, rows, picked, width],
  };
}

const gatherRowsWgsl = /* wgsl */ `
struct Sizes { count: u32, rows: u32, picked: u32, width: u32 }
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> index_: array<i32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;
${flatMain(
  'sizes.count',
  /* wgsl */ `  let row = index / sizes.width;
  let image = row / sizes.picked;
  let from_ = u32(clamp(index_[row], 0, i32(sizes.rows) - 1));
  out[index] = x[(image * sizes.rows + from_) * sizes.width + index % sizes.width];`,
)}`;
