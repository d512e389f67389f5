import type { AdapterTraits, WgslProgram } from '../../engine/index.ts';
import { mathWgsl } from '../math.wgsl.ts';
import { memoized, type RowForm, rowElement, rowForm, rowMain, rowWorkgroups } from '../wgsl.ts';

export function planSoftmax(traits: AdapterTraits, rows: number, length: number): WgslProgram {
  const form = rowForm(traits, length);
  const width = length % 4 === 0 ? 4 : 1;
  return {
    code: softmaxCode(form, width),
    workgroups: rowWorkgroups(form, rows),
    scalars: [rows, length / width],
  };
}

/** Sums go through blocks of 32, so that their rounding errors do not grow with the row. */
const softmaxCode = memoized((form: RowForm, width: 1 | 4) => {
  const { type, functions } = rowElement(width);
  const exponential = width === 4 ? 'vec4f(expOf(v.x), expOf(v.y), expOf(v.z), expOf(v.w))' : 'expOf(v)';
  return /* wgsl */ `
struct Sizes { rows: u32, length: u32 }
@group(0) @binding(0) var<storage, read> x: array<${type}>;
@group(0) @binding(1) var<storage, read_write> out: array<${type}>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
${mathWgsl('expOf')}
fn exponentialOf(v: ${type}) -> ${type} { return ${exponential}; }
${functions}
${rowMain(
  form,
  'sizes.rows',
  { sumOf: 'a + b', maximumOf: 'max(a, b)' },
  /* wgsl */ `  let length = sizes.length;
  let start = row * length;
  var largest = x[start];
  for (var i = lane; i < length; i += LANES) { largest = max(largest, x[start + i]); }
  let maximum = maximumOf(maximumAcross(largest), lane);
  var exponentials = ${type}();
  for (var first = lane; first < length; first += LANES * 32u) {
    var block = ${type}();
    for (var i = first; i < min(first + LANES * 32u, length); i += LANES) {
      let exponential = exponentialOf(x[start + i] - maximum);
      block += exponential;
      out[start + i] = exponential;
    }
    exponentials += block;
  }
  let sum = sumOf(sumAcross(exponentials), lane);
  for (var i = lane; i < length; i += LANES) { out[start + i] /= sum; }`,
)}`;
});
