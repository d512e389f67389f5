import type { AdapterTraits, WgslProgram } from '../../engine/index.ts';

export interface MatmulSizes {
  readonly batches: number;
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  readonly transposeB: boolean;
  /** One matrix for all batches. */
  readonly aShared: boolean;
  readonly bShared: boolean;
}

const WORKGROUP = 64;
const MAXIMUM_WORKGROUPS = 65_535;

/** One thread per output. */
export function matmulProgram(_traits: AdapterTraits, sizes: MatmulSizes): WgslProgram {
  const { batches, rows, inner, columns, transposeB, aShared, bShared } = sizes;
  const code = /* wgsl */ `
struct Sizes { rows: u32, inner: u32, columns: u32, lines: u32, aStride: u32, bStride: u32 }
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let column = id.x;
  if (column >= sizes.columns) { return; }
  for (var line = id.y; line < sizes.lines; line += ${MAXIMUM_WORKGROUPS}u) {
    let batch = line / sizes.rows;
    let aRow = batch * sizes.aStride + line % sizes.rows * sizes.inner;
    var sum = 0.0;
    for (var k = 0u; k < sizes.inner; k++) {
      sum += a[aRow + k] * b[batch * sizes.bStride + ${transposeB ? 'column * sizes.inner + k' : 'k * sizes.columns + column'}];
    }
    output[line * sizes.columns + column] = sum;
  }
}`;
  const lines = batches * rows;
  return {
    code,
    workgroups: [Math.ceil(columns / WORKGROUP), Math.min(lines, MAXIMUM_WORKGROUPS), 1],
    scalars: [rows, inner, columns, lines, aShared ? 0 : rows * inner, bShared ? 0 : inner * columns],
  };
}
