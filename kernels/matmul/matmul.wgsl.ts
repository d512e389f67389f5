import type { AdapterTraits, WgslProgram } from '../../engine/index.ts';
import {
  type ElementType,
  elementType,
  type GemmForm,
  gemmCode,
  gemmDispatch,
  gemmForm,
  rowMajorLeft,
  storeQuad,
} from '../gemm.wgsl.ts';
import { memoized, quadsOf } from '../wgsl.ts';
import type { MatmulSizes } from './matmul.ts';

export function planMatmul(
  traits: AdapterTraits,
  { batches, rows, inner, columns, strides }: MatmulSizes,
  transposeB: boolean,
): WgslProgram {
  const size = { batches, rows, columns, quads: quadsOf(inner) };
  const form = gemmForm(size, traits);
  return {
    code: matmulCode(form, elementType(inner), elementType(columns), transposeB),
    ...gemmDispatch(size, form, [inner, ...strides]),
  };
}

const matmulCode = memoized((form: GemmForm, innerType: ElementType, outType: ElementType, transposeB: boolean) =>
  gemmCode(
    {
      bindings: /* wgsl */ `
@group(0) @binding(0) var<storage, read> a: array<${innerType}>;
@group(0) @binding(1) var<storage, read> b: array<${transposeB ? 'f32' : outType}>;
@group(0) @binding(2) var<storage, read_write> output: array<${outType}>;`,
      uniformBinding: 3,
      uniforms: ['inner', 'aStride', 'bStride'],
      functions: /* wgsl */ `
${rowMajorLeft('a', innerType, 'batch * sizes.aStride')}
${
  transposeB
    ? scatteredRight(innerType, 'sizes.inner', '1u')
    : outType === 'vec4f'
      ? alignedRight(innerType)
      : scatteredRight(innerType, '1u', 'sizes.columns')
}
fn finish(batch: u32, row: u32, column: u32, sum: vec4f) {
  let index = (batch * sizes.rows + row) * sizes.columns + column;
  let value = sum;
  ${storeQuad('output', outType)}
}`,
      leftNeighbours: 'quads',
    },
    form,
  ),
);

/** `right` where four elements of it are `quad`; zero beyond the last row, where `left` is padding. */
function guardedRight(innerType: ElementType, quad: string): string {
  const guard = innerType === 'vec4f' ? '' : 'if (k >= sizes.inner) { return vec4f(); }';
  return /* wgsl */ `
fn right(columns: Columns, k: u32) -> vec4f {
  ${guard}
  ${quad}
}`;
}

/** Quads of the rows of b. */
const alignedRight = (innerType: ElementType) => /* wgsl */ `
struct Columns { quad: u32 }
fn columnsAt(batch: u32, column: u32) -> Columns {
  return Columns((batch * sizes.bStride + min(column, sizes.columns - 4u)) / 4u);
}
${guardedRight(innerType, 'return b[k * (sizes.columns / 4u) + columns.quad];')}`;

/** Elements of b, with the distance of its neighbouring columns and rows; beyond the last column it is read again. */
const scatteredRight = (innerType: ElementType, betweenColumns: string, betweenRows: string) => /* wgsl */ `
struct Columns { offsets: vec4u }
fn columnsAt(batch: u32, column: u32) -> Columns {
  let existing = min(column + vec4u(0, 1, 2, 3), vec4u(sizes.columns - 1u));
  return Columns(batch * sizes.bStride + existing * ${betweenColumns});
}
${guardedRight(
  innerType,
  `let at = columns.offsets + k * ${betweenRows};
  return vec4f(b[at.x], b[at.y], b[at.z], b[at.w]);`,
)}`;
