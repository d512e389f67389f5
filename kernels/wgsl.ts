import { type AdapterTraits, getOrInsert, MAXIMUM_WORKGROUPS_PER_DIMENSION } from '../engine/index.ts';

/** Invocations per workgroup of kernels that give each invocation its own outputs. */
const FLAT_WORKGROUP = 64;

/** Quads, four neighbours each, that hold `size` elements. */
export const quadsOf = (size: number): number => Math.ceil(size / 4);

/** `count` workgroups, in two dimensions where one cannot hold them; the last ones of the grid may be in excess. */
export function workgroupGrid(count: number): readonly [number, number, number] {
  if (count <= MAXIMUM_WORKGROUPS_PER_DIMENSION) return [count, count === 0 ? 0 : 1, 1];
  const rows = Math.ceil(count / MAXIMUM_WORKGROUPS_PER_DIMENSION);
  return [Math.ceil(count / rows), rows, 1];
}

/**
 * `code`, a pure function of plain data, so that equal arguments get the same text: a launch comes again in every pass, and
 * to build its text takes longer than all else that is done to record it. Arguments are what the text depends on and no
 * more, since every text is kept.
 */
export function memoized<Arguments extends readonly unknown[]>(
  code: (...parameters: Arguments) => string,
): (...parameters: Arguments) => string {
  const texts = new Map<string, string>();
  return (...parameters) => {
    return getOrInsert(texts, JSON.stringify(parameters), () => code(...parameters));
  };
}

/** The names of a vector's components. */
export const COMPONENTS = ['x', 'y', 'z', 'w'] as const;

/** A line of shader text for each number from 0. */
export function lines(count: number, line: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => line(index)).join('\n');
}

/** Arguments, one for each number from 0. */
export function commaSeparated(count: number, item: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => item(index)).join(', ');
}

/** Workgroups for `invocations` independent invocations. */
export function flatWorkgroups(invocations: number): readonly [number, number, number] {
  return workgroupGrid(Math.ceil(invocations / FLAT_WORKGROUP));
}

/**
 * The entry point of a shader whose invocations are numbered by `index`: `body` runs for those below `count`, an
 * expression.
 */
export function flatMain(count: string, body: string): string {
  return /* wgsl */ `
@compute @workgroup_size(${FLAT_WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let index = id.y * groups.x * ${FLAT_WORKGROUP}u + id.x;
  if (index >= ${count}) { return; }
${body}
}
`;
}

/**
 * Into how many slices a workgroup divides its work, each with threads and workgroup memory of its own: the largest power of
 * two up to `most`, itself one, that `fits`, or 1.
 */
export function slicesThatFit(most: number, fits: (slices: number) => boolean): number {
  let slices = most;
  while (slices > 1 && !fits(slices)) slices /= 2;
  return slices;
}

/**
 * How kernels that reduce rows share a row out: to the lanes of a workgroup, which read side by side and meet at barriers,
 * or whole to one invocation.
 */
export type RowForm = 'workgroup' | 'invocation';

/** A software adapter loses more by barriers than it gains, but for rows so long that there are few, and long sums round. */
export function rowForm(traits: AdapterTraits, length: number): RowForm {
  return traits.software && length <= 1024 ? 'invocation' : 'workgroup';
}

/** Lanes of a workgroup that shares a row, where there are enough rows to fill an adapter. */
const ROW_LANES = 64;

export function rowWorkgroups(form: RowForm, rows: number): readonly [number, number, number] {
  return form === 'workgroup' ? workgroupGrid(rows) : flatWorkgroups(rows);
}

/**
 * The entry point of a shader that reduces rows, and what it needs. `body` runs for each `row` below `rows`, an expression,
 * and may be spread over lanes: it visits the elements `for (var i = lane; i < length; i += LANES)` and unites what it
 * found by the functions of `unions`, named like `sumOf` and given as WGSL of `a` and `b`. `lanes`, a power of two up to
 * 256, are those of a workgroup.
 */
export function rowMain(
  form: RowForm,
  rows: string,
  unions: Readonly<Record<string, string>>,
  body: string,
  lanes = ROW_LANES,
): string {
  if (form === 'invocation') {
    const functions = Object.keys(unions).map(name => `fn ${name}(value: f32, lane: u32) -> f32 { return value; }\n`);
    return /* wgsl */ `
const LANES = 1u;
${functions.join('')}
${flatMain(rows, `  let row = index;\n  let lane = 0u;\n${body}`)}`;
  }
  const functions = Object.entries(unions).map(
    ([name, union]) => /* wgsl */ `
fn ${name}(value: f32, lane: u32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var reach = LANES / 2u; reach > 0u; reach >>= 1u) {
    if (lane < reach) {
      let a = partial[lane];
      let b = partial[lane + reach];
      partial[lane] = ${union};
    }
    workgroupBarrier();
  }
  let united = partial[0];
  workgroupBarrier();
  return united;
}`,
  );
  return /* wgsl */ `
const LANES = ${lanes}u;
var<workgroup> partial: array<f32, LANES>;
${functions.join('')}
@compute @workgroup_size(LANES)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let row = group.y * groups.x + group.x;
  if (row >= ${rows}) { return; }
${body}
}
`;
}

/** The element type of a row that is read `width` at a time, with the sum and the maximum across one. */
export function rowElement(width: 1 | 4): { readonly type: string; readonly functions: string } {
  if (width === 1) {
    return {
      type: 'f32',
      functions: /* wgsl */ `
fn sumAcross(v: f32) -> f32 { return v; }
fn maximumAcross(v: f32) -> f32 { return v; }`,
    };
  }
  return {
    type: 'vec4f',
    functions: /* wgsl */ `
fn sumAcross(v: vec4f) -> f32 { return (v.x + v.y) + (v.z + v.w); }
fn maximumAcross(v: vec4f) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }`,
  };
}
