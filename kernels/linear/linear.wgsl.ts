import type { AdapterTraits, HostTensor, WgslProgram } from '../../engine/index.ts';
import { activationWgsl } from '../activation.ts';
import {
  addQuad,
  type ElementType,
  elementType,
  type GemmEnding,
  type GemmForm,
  gemmCode,
  gemmDispatch,
  gemmForm,
  rowMajorLeft,
  storeQuad,
} from '../gemm.wgsl.ts';
import { memoized, quadsOf } from '../wgsl.ts';

export interface LinearSizes {
  readonly rows: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/** The weight [N, K] as the WebGPU kernel reads it: transposed, both sizes filled up with zeros to multiples of four. */
export function packLinearForWebGpu({ shape, data }: HostTensor): HostTensor {
  const [outFeatures, inFeatures] = shape as [number, number];
  const [paddedOut, paddedIn] = [4 * quadsOf(outFeatures), 4 * quadsOf(inFeatures)];
  const packed = new Float32Array(paddedIn * paddedOut);
  for (let n = 0; n < outFeatures; n++) {
    for (let k = 0; k < inFeatures; k++) packed[k * paddedOut + n] = data[n * inFeatures + k]!;
  }
  return { shape: [paddedIn, paddedOut], data: packed };
}

/** x · Wᵀ with bias, residual and activation. */
export function planLinear(traits: AdapterTraits, sizes: LinearSizes, ending: GemmEnding): WgslProgram {
  const { rows, inFeatures, outFeatures } = sizes;
  const size = { batches: 1, rows, columns: outFeatures, quads: quadsOf(inFeatures) };
  const form = gemmForm(size, traits);
  return {
    code: linearCode(form, elementType(inFeatures), elementType(outFeatures), ending),
    ...gemmDispatch(size, form, [inFeatures, quadsOf(outFeatures)]),
  };
}

const linearCode = memoized(
  (form: GemmForm, inType: ElementType, outType: ElementType, { bias, residual, activation }: GemmEnding) =>
    gemmCode(
      {
        bindings: /* wgsl */ `
@group(0) @binding(0) var<storage, read> x: array<${inType}>;
@group(0) @binding(1) var<storage, read> weight: array<vec4f>;
${bias ? '@group(0) @binding(2) var<storage, read> bias: array<vec4f>;' : ''}
${residual ? `@group(0) @binding(3) var<storage, read> residual: array<${outType}>;` : ''}
@group(0) @binding(4) var<storage, read_write> output: array<${outType}>;`,
        uniformBinding: 5,
        uniforms: ['inner', 'columnQuads'],
        functions: /* wgsl */ `
${activationWgsl(activation)}
struct Columns { quad: u32 }
fn columnsAt(batch: u32, column: u32) -> Columns { return Columns(min(column / 4u, sizes.columnQuads - 1u)); }
${rowMajorLeft('x', inType)}
fn right(columns: Columns, k: u32) -> vec4f { return weight[k * sizes.columnQuads + columns.quad]; }
fn finish(batch: u32, row: u32, column: u32, sum: vec4f) {
  let index = row * sizes.columns + column;
  var value = sum${bias ? ' + bias[column / 4u]' : ''};
  ${residual ? addQuad('residual', outType) : ''}
  value = activate4(value);
  ${storeQuad('output', outType)}
}`,
        leftNeighbours: 'quads',
      },
      form,
    ),
);
