// B batch, C channels in, O channels out, H and W rows and columns of the input, P and Q of the output.
// As a matrix product: rows are the output channels, columns the pixels of the output, K runs over the window.

import {
  type AdapterTraits,
  type HostTensor,
  MAXIMUM_WORKGROUPS_PER_DIMENSION,
  type WgslProgram,
} from '../../engine/index.ts';
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
  storeQuad,
} from '../gemm.wgsl.ts';
import { memoized, quadsOf } from '../wgsl.ts';
import type { Conv2dGeometry } from './conv2d.ts';

/**
 * How the window is walked. `taps`: place by place of the window, all channels at each, so that where the pixels lie and
 * whether they are padding is known once per place. `window`: channel by channel as in the checkpoint, for the few channels
 * of an image, which would leave most of every quad of channels empty. `direct`: each output for itself, for groups.
 */
type Conv2dOrder = 'taps' | 'window' | 'direct';

function conv2dOrder(channels: number, groups: number): Conv2dOrder {
  if (groups > 1) return 'direct';
  return channels % 4 === 0 ? 'taps' : 'window';
}

/** The weight [O, C / G, h, w] as the WebGPU kernel reads it: as it is for groups, else [K / 4, O, 4] in the order's K. */
export function packConv2dForWebGpu(weight: HostTensor, { groups }: { groups: number }): HostTensor {
  const [outChannels, channels, height, width] = weight.shape as [number, number, number, number];
  const order = conv2dOrder(channels * groups, groups);
  if (order === 'direct') return weight;
  const places = height * width;
  const inner = channels * places;
  const packed = new Float32Array(quadsOf(inner) * outChannels * 4);
  for (let o = 0; o < outChannels; o++) {
    for (let source = 0; source < inner; source++) {
      const k = order === 'taps' ? (source % places) * channels + Math.floor(source / places) : source;
      packed[((k >> 2) * outChannels + o) * 4 + (k & 3)] = weight.data[o * inner + source]!;
    }
  }
  return { shape: [packed.length], data: packed };
}

export function planConv2d(traits: AdapterTraits, geometry: Conv2dGeometry, ending: GemmEnding): WgslProgram {
  const order = conv2dOrder(geometry.inChannels, geometry.groups);
  if (order === 'direct') return planDirect(geometry, ending);
  const { batch, inChannels, height, width, outChannels, outHeight, outWidth, kernelHeight, kernelWidth } = geometry;
  const { stride, dilation, paddingTop, paddingLeft } = geometry;
  const pixels = outHeight * outWidth;
  const places = kernelHeight * kernelWidth;
  const window: WindowForm = {
    order,
    kernelHeight,
    kernelWidth,
    pointwise: order === 'taps' && places === 1 && stride === 1 && outHeight === height && pixels % 4 === 0,
    padded: places > 1 || paddingTop > 0 || paddingLeft > 0,
  };
  const quads = order === 'taps' ? inChannels / 4 : quadsOf(inChannels * places);
  const size = { batches: batch, rows: outChannels, columns: pixels, quads, taps: tapsOf(window) };
  const form = gemmForm(size, traits);
  const uniforms = [inChannels, height, width, outWidth, stride, dilation, paddingTop, paddingLeft];
  return {
    code: productCode(form, window, elementType(pixels), ending),
    ...gemmDispatch(size, form, uniforms),
  };
}

/** What the shader text depends on besides the end. */
interface WindowForm {
  readonly order: 'taps' | 'window';
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  /** The input's planes are the product's right operand as they are. */
  readonly pointwise: boolean;
  /** There are places outside of the input. */
  readonly padded: boolean;
}

const tapsOf = ({ order, kernelHeight, kernelWidth }: WindowForm) =>
  order === 'taps' ? kernelHeight * kernelWidth : 1;

const productCode = memoized(
  (form: GemmForm, window: WindowForm, outType: ElementType, { bias, residual, activation }: GemmEnding) =>
    gemmCode(
      {
        taps: tapsOf(window),
        bindings: /* wgsl */ `
@group(0) @binding(0) var<storage, read> x: array<${window.pointwise ? 'vec4f' : 'f32'}>;
@group(0) @binding(1) var<storage, read> weight: array<vec4f>;
${bias ? '@group(0) @binding(2) var<storage, read> bias: array<f32>;' : ''}
${residual ? `@group(0) @binding(3) var<storage, read> residual: array<${outType}>;` : ''}
@group(0) @binding(4) var<storage, read_write> output: array<${outType}>;`,
        uniformBinding: 5,
        uniforms: ['channels', 'height', 'width', 'outWidth', 'stride', 'dilation', 'paddingTop', 'paddingLeft'],
        functions: /* wgsl */ `
${activationWgsl(activation)}
fn left(batch: u32, row: u32, quad: u32) -> vec4f { return weight[quad * sizes.rows + row]; }
${window.pointwise ? POINTWISE : window.order === 'taps' ? tapColumns(window) : windowColumns(window)}
fn finish(batch: u32, row: u32, column: u32, sum: vec4f) {
  let index = (batch * sizes.rows + row) * sizes.columns + column;
  var value = sum${bias ? ' + bias[row]' : ''};
  ${residual ? addQuad('residual', outType) : ''}
  value = activate4(value);
  ${storeQuad('output', outType)}
}`,
        leftNeighbours: 'rows',
      },
      form,
    ),
);

const POINTWISE = /* wgsl */ `
struct Columns { quad: u32 }
fn columnsAt(batch: u32, column: u32) -> Columns {
  return Columns((batch * sizes.channels * sizes.columns + min(column, sizes.columns - 4u)) / 4u);
}
fn right(columns: Columns, k: u32) -> vec4f { return x[k * (sizes.columns / 4u) + columns.quad]; }`;

/** Where the window of four pixels begins; beyond the last pixel it is taken again. */
const WINDOW_CORNERS = /* wgsl */ `
struct Corners { rows: vec4i, columns: vec4i }
fn cornersOf(column: u32) -> Corners {
  let pixels = min(column + vec4u(0, 1, 2, 3), vec4u(sizes.columns - 1u));
  let rows = vec4i(pixels / sizes.outWidth * sizes.stride) - i32(sizes.paddingTop);
  let columns = vec4i(pixels % sizes.outWidth * sizes.stride) - i32(sizes.paddingLeft);
  return Corners(rows, columns);
}
fn isInside(rows: vec4i, columns: vec4i) -> vec4<bool> {
  let height = vec4i(i32(sizes.height));
  let width = vec4i(i32(sizes.width));
  return (rows >= vec4i()) & (rows < height) & (columns >= vec4i()) & (columns < width);
}
/** Of places outside, an index that can be read. */
fn indexOf(rows: vec4i, columns: vec4i, inside: vec4<bool>) -> vec4u {
  return select(vec4u(), vec4u(rows * i32(sizes.width) + columns), inside);
}`;

function tapColumns({ kernelWidth, padded }: WindowForm): string {
  const values = 'vec4f(x[at.x], x[at.y], x[at.z], x[at.w])';
  return /* wgsl */ `
${WINDOW_CORNERS}
struct Columns { plane: u32, corners: Corners, offsets: vec4u, inside: vec4<bool> }
fn columnsAt(batch: u32, column: u32) -> Columns {
  let plane = batch * sizes.channels * sizes.height * sizes.width;
  let corners = cornersOf(column);
  let inside = isInside(corners.rows, corners.columns);
  return Columns(plane, corners, plane + indexOf(corners.rows, corners.columns, inside), inside);
}
fn atTap(start: Columns, tap: u32) -> Columns {
  let rows = start.corners.rows + i32(tap / ${kernelWidth}u * sizes.dilation);
  let columns = start.corners.columns + i32(tap % ${kernelWidth}u * sizes.dilation);
  let inside = isInside(rows, columns);
  return Columns(start.plane, start.corners, start.plane + indexOf(rows, columns, inside), inside);
}
fn right(columns: Columns, k: u32) -> vec4f {
  let at = columns.offsets + k * sizes.height * sizes.width;
  return ${padded ? `select(vec4f(), ${values}, columns.inside)` : values};
}`;
}

function windowColumns({ kernelHeight, kernelWidth }: WindowForm): string {
  const places = kernelHeight * kernelWidth;
  return /* wgsl */ `
${WINDOW_CORNERS}
struct Columns { plane: u32, corners: Corners }
fn columnsAt(batch: u32, column: u32) -> Columns {
  return Columns(batch * sizes.channels * sizes.height * sizes.width, cornersOf(column));
}
fn right(columns: Columns, k: u32) -> vec4f {
  let channel = k / ${places}u;
  let place = k % ${places}u;
  let rows = columns.corners.rows + i32(place / ${kernelWidth}u * sizes.dilation);
  let across = columns.corners.columns + i32(place % ${kernelWidth}u * sizes.dilation);
  let inside = isInside(rows, across) & vec4<bool>(channel < sizes.channels);
  let at = select(vec4u(), columns.plane + channel * sizes.height * sizes.width + indexOf(rows, across, inside), inside);
  return select(vec4f(), vec4f(x[at.x], x[at.y], x[at.z], x[at.w]), inside);
}`;
}

const WORKGROUP = 64;

/** One thread per output. */
function planDirect(geometry: Conv2dGeometry, ending: GemmEnding): WgslProgram {
  const { batch, inChannels, height, width, outChannels, outHeight, outWidth, kernelHeight, kernelWidth } = geometry;
  const { stride, dilation, paddingTop, paddingLeft, groups } = geometry;
  const planes = batch * outChannels;
  const input = [planes, inChannels, height, width, outChannels, outHeight, outWidth];
  return {
    code: directCode(kernelHeight, kernelWidth, ending),
    workgroups: [
      Math.min(Math.ceil((outHeight * outWidth) / WORKGROUP), MAXIMUM_WORKGROUPS_PER_DIMENSION),
      Math.min(planes, MAXIMUM_WORKGROUPS_PER_DIMENSION),
      1,
    ],
    scalars: [...input, stride, dilation, paddingTop, paddingLeft, groups],
  };
}

const directCode = memoized(
  (kernelHeight: number, kernelWidth: number, { bias, residual, activation }: GemmEnding) => /* wgsl */ `
struct Sizes {
  planes: u32, channels: u32, height: i32, width: i32, outChannels: u32, outHeight: u32, outWidth: u32,
  stride: u32, dilation: u32, paddingTop: i32, paddingLeft: i32, groups: u32,
}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
${bias ? '@group(0) @binding(2) var<storage, read> bias: array<f32>;' : ''}
${residual ? '@group(0) @binding(3) var<storage, read> residual: array<f32>;' : ''}
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
@group(0) @binding(5) var<uniform> sizes: Sizes;
${activationWgsl(activation)}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u) {
  for (var pixel = id.x; pixel < sizes.outHeight * sizes.outWidth; pixel += ${MAXIMUM_WORKGROUPS_PER_DIMENSION * WORKGROUP}u) {
    computePixel(pixel, id.y);
  }
}
fn computePixel(pixel: u32, firstPlane: u32) {
  let top = i32(pixel / sizes.outWidth * sizes.stride) - sizes.paddingTop;
  let left = i32(pixel % sizes.outWidth * sizes.stride) - sizes.paddingLeft;
  let groupSize = sizes.channels / sizes.groups;
  for (var plane = firstPlane; plane < sizes.planes; plane += ${MAXIMUM_WORKGROUPS_PER_DIMENSION}u) {
    let channel = plane % sizes.outChannels;
    let firstInput = plane / sizes.outChannels * sizes.channels + channel / (sizes.outChannels / sizes.groups) * groupSize;
    var sum = 0.0;
    for (var c = 0u; c < groupSize; c++) {
      for (var i = 0u; i < ${kernelHeight}u; i++) {
        let row = top + i32(i * sizes.dilation);
        if (row < 0 || row >= sizes.height) { continue; }
        for (var j = 0u; j < ${kernelWidth}u; j++) {
          let column = left + i32(j * sizes.dilation);
          if (column < 0 || column >= sizes.width) { continue; }
          let value = x[((firstInput + c) * u32(sizes.height) + u32(row)) * u32(sizes.width) + u32(column)];
          sum += value * weight[((channel * groupSize + c) * ${kernelHeight}u + i) * ${kernelWidth}u + j];
        }
      }
    }
    let index = plane * sizes.outHeight * sizes.outWidth + pixel;
    ${bias ? 'sum += bias[channel];' : ''}
    ${residual ? 'sum += residual[index];' : ''}
    output[index] = activate(sum);
  }
}`,
);
