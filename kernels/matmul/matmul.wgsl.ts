import type { AdapterTraits, WgslProgram } from '../../engine/index.ts';
import { gemmForm, gemmProgram, quadType, rowMajorLeft, storeQuad } from '../gemm.wgsl.ts';
import { quadsOf } from '../wgsl.ts';

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

export function matmulProgram(traits: AdapterTraits, launch: MatmulSizes): WgslProgram {
  const { batches, rows, inner, columns, transposeB, aShared, bShared } = launch;
  const size = { batches, rows, columns };
  const bindings = /* wgsl */ `
@group(0) @binding(0) var<storage, read> a: array<${quadType(inner)}>;
@group(0) @binding(1) var<storage, read> b: array<${transposeB ? 'f32' : quadType(columns)}>;
@group(0) @binding(2) var<storage, read_write> output: array<${quadType(columns)}>;`;
  const functions = /* wgsl */ `
${rowMajorLeft('a', inner, 'batch * sizes.aStride')}
${transposeB ? scatteredRight(inner, 'sizes.inner', '1u') : columns % 4 === 0 ? alignedRight(inner) : scatteredRight(inner, '1u', 'sizes.columns')}
fn finish(batch: u32, row: u32, column: u32, sum: vec4f) {
  let index = (batch * sizes.rows + row) * sizes.columns + column;
  let value = sum;
  ${storeQuad('output', columns)}
}`;
  const uniforms = { inner, aStride: aShared ? 0 : rows * inner, bStride: bShared ? 0 : inner * columns };
  return gemmProgram(
    {
      ...size,
      quads: quadsOf(inner),
      bindings,
      uniformBinding: 3,
      uniforms,
      functions,
      leftNeighbours: 'quads',
    },
    gemmForm(size, traits),
  );
}

/** `right` where four elements of it are `quad`; zero beyond the last row, where `left` is padding. */
function guardedRight(inner: number, quad: string): string {
  const guard = inner % 4 === 0 ? '' : 'if (k >= sizes.inner) { return vec4f(); }';
  return /* wgsl */ `
fn right(columns: Columns, k: u32) -> vec4f {
  ${guard}
  ${quad}
}`;
}

/** Quads of the rows of b. */
const alignedRight = (inner: number) => /* wgsl */ `
struct Columns { quad: u32 }
fn columnsAt(batch: u32, column: u32) -> Columns {
  return Columns((batch * sizes.bStride + min(column, sizes.columns - 4u)) / 4u);
}
${guardedRight(inner, 'return b[k * (sizes.columns / 4u) + columns.quad];')}`;

/** Elements of b, with the distance of its neighbouring columns and rows; beyond the last column it is read again. */
const scatteredRight = (inner: number, betweenColumns: string, betweenRows: string) => /* wgsl */ `
struct Columns { offsets: vec4u }
fn columnsAt(batch: u32, column: u32) -> Columns {
  let existing = min(column + vec4u(0, 1, 2, 3), vec4u(sizes.columns - 1u));
  return Columns(batch * sizes.bStride + existing * ${betweenColumns});
}
${guardedRight(
  inner,
  `let at = columns.offsets + k * ${betweenRows};
  return vec4f(b[at.x], b[at.y], b[at.z], b[at.w]);`,
)}`;
