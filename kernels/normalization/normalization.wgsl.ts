import type { AdapterTraits, WgslProgram } from '../../engine/index.ts';
import { type Activation, activationWgsl } from '../activation.ts';
import { memoized, type RowForm, rowElement, rowForm, rowMain, rowWorkgroups } from '../wgsl.ts';

/**
 * Mean and variance of `row`'s `length` elements from `start`. Deviations are taken from a pivot close to the mean, so that
 * they are as exact as the values; what the pivot misses is put right by the mean of the deviations. Sums go through blocks
 * of 32, so that their rounding errors do not grow with the row.
 */
const MEASURE = (element: string, width: number) => /* wgsl */ `
  let count = f32(length * ${width}u);
  var sum = ${element}();
  for (var i = lane; i < length; i += LANES) { sum += x[start + i]; }
  let pivot = sumOf(sumAcross(sum), lane) / count;
  var deviations = ${element}();
  var squares = ${element}();
  for (var first = lane; first < length; first += LANES * 32u) {
    var blockDeviations = ${element}();
    var blockSquares = ${element}();
    for (var i = first; i < min(first + LANES * 32u, length); i += LANES) {
      let deviation = x[start + i] - pivot;
      blockDeviations += deviation;
      blockSquares += deviation * deviation;
    }
    deviations += blockDeviations;
    squares += blockSquares;
  }
  let mean = sumOf(sumAcross(deviations), lane) / count;
  let variance = sumOf(sumAcross(squares), lane) / count - mean * mean;
  let scale = inverseSqrt(variance + sizes.epsilon);`;

const UNIONS = { sumOf: 'a + b' };

export function planLayerNorm(traits: AdapterTraits, rows: number, length: number, epsilon: number): WgslProgram {
  const form = rowForm(traits, length);
  const width = length % 4 === 0 ? 4 : 1;
  return {
    code: layerNormCode(form, width),
    workgroups: rowWorkgroups(form, rows),
    scalars: [rows, length / width, { f32: epsilon }],
  };
}

const layerNormCode = memoized((form: RowForm, width: 1 | 4) => {
  const { type, functions } = rowElement(width);
  return /* wgsl */ `
struct Sizes { rows: u32, length: u32, epsilon: f32 }
@group(0) @binding(0) var<storage, read> x: array<${type}>;
@group(0) @binding(1) var<storage, read> weight: array<${type}>;
@group(0) @binding(2) var<storage, read> bias: array<${type}>;
@group(0) @binding(3) var<storage, read_write> out: array<${type}>;
@group(0) @binding(4) var<uniform> sizes: Sizes;
${functions}
${rowMain(
  form,
  'sizes.rows',
  UNIONS,
  /* wgsl */ `  let length = sizes.length;
  let start = row * length;
${MEASURE(type, width)}
  for (var i = lane; i < length; i += LANES) {
    let deviation = x[start + i] - pivot;
    out[start + i] = (deviation - mean) * scale * weight[i] + bias[i];
  }`,
)}`;
});

export interface GroupNormSizes {
  readonly batch: number;
  readonly groups: number;
  readonly channelsPerGroup: number;
  /** H · W */
  readonly space: number;
  readonly epsilon: number;
  readonly activation: Activation;
}

/** A workgroup for each group of each image on every adapter, and as large as it may be: groups are long and few. */
export function planGroupNorm(sizes: GroupNormSizes): WgslProgram {
  const { batch, groups, channelsPerGroup, space, epsilon, activation } = sizes;
  const width = space % 4 === 0 ? 4 : 1;
  return {
    code: groupNormCode(width, activation),
    workgroups: rowWorkgroups('workgroup', batch * groups),
    scalars: [batch * groups, groups, channelsPerGroup, space / width, { f32: epsilon }],
  };
}

const groupNormCode = memoized((width: 1 | 4, activation: Activation) => {
  const { type, functions } = rowElement(width);
  return /* wgsl */ `
struct Sizes { rows: u32, groups: u32, channels: u32, space: u32, epsilon: f32 }
@group(0) @binding(0) var<storage, read> x: array<${type}>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<${type}>;
@group(0) @binding(4) var<uniform> sizes: Sizes;
${activationWgsl(activation)}
${functions}
${rowMain(
  'workgroup',
  'sizes.rows',
  UNIONS,
  /* wgsl */ `  let length = sizes.channels * sizes.space;
  let start = row * length;
${MEASURE(type, width)}
  let firstChannel = row % sizes.groups * sizes.channels;
  for (var channel = 0u; channel < sizes.channels; channel++) {
    let channelStart = start + channel * sizes.space;
    let channelWeight = weight[firstChannel + channel];
    let channelBias = bias[firstChannel + channel];
    for (var i = lane; i < sizes.space; i += LANES) {
      let deviation = x[channelStart + i] - pivot;
      out[channelStart + i] = activate${width === 4 ? '4' : ''}((deviation - mean) * scale * channelWeight + channelBias);
    }
  }`,
  256,
)}`;
});
