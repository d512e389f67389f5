import type { AdapterTraits, WgslProgram } from '../../engine/index.ts';
import { mathWgsl } from '../math.wgsl.ts';
import {
  flatMain,
  flatWorkgroups,
  memoized,
  type RowForm,
  rowElement,
  rowForm,
  rowMain,
  rowWorkgroups,
} from '../wgsl.ts';

export interface MaxPoolSizes {
  readonly planes: number;
  readonly height: number;
  readonly width: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
}

/** One output per invocation; windows overlap in the adapter's cache. */
export function planMaxPool2d(sizes: MaxPoolSizes): WgslProgram {
  const { planes, height, width, outHeight, outWidth, kernel, stride, padding } = sizes;
  const count = planes * outHeight * outWidth;
  return {
    code: MAX_POOL,
    workgroups: flatWorkgroups(count),
    scalars: [count, height, width, outHeight, outWidth, kernel, stride, padding],
  };
}

const MAX_POOL = /* wgsl */ `
struct Sizes {
  count: u32, height: i32, width: i32, outHeight: u32, outWidth: u32, kernel: i32, stride: i32, padding: i32,
}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
${mathWgsl('isNaNOf')}
${flatMain(
  'sizes.count',
  /* wgsl */ `  let row = index / sizes.outWidth;
  let plane = i32(row / sizes.outHeight);
  let top = i32(row % sizes.outHeight) * sizes.stride - sizes.padding;
  let left = i32(index % sizes.outWidth) * sizes.stride - sizes.padding;
  let firstY = max(top, 0);
  let firstX = max(left, 0);
  let endY = min(top + sizes.kernel, sizes.height);
  let endX = min(left + sizes.kernel, sizes.width);
  var largest = x[(plane * sizes.height + firstY) * sizes.width + firstX];
  for (var y = firstY; y < endY; y++) {
    let start = (plane * sizes.height + y) * sizes.width;
    for (var column = firstX; column < endX; column++) {
      let value = x[start + column];
      if (value > largest || isNaNOf(value)) { largest = value; }
    }
  }
  out[index] = largest;`,
)}`;

export function planMeanOverSpace(traits: AdapterTraits, planes: number, space: number): WgslProgram {
  const form = rowForm(traits, space);
  const width = space % 4 === 0 ? 4 : 1;
  return {
    code: meanCode(form, width),
    workgroups: rowWorkgroups(form, planes),
    scalars: [planes, space / width],
  };
}

const meanCode = memoized((form: RowForm, width: 1 | 4) => {
  const { type, functions } = rowElement(width);
  return /* wgsl */ `
struct Sizes { rows: u32, length: u32 }
@group(0) @binding(0) var<storage, read> x: array<${type}>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
${functions}
${rowMain(
  form,
  'sizes.rows',
  { sumOf: 'a + b' },
  /* wgsl */ `  let length = sizes.length;
  let start = row * length;
  var sum = ${type}();
  for (var first = lane; first < length; first += LANES * 32u) {
    var block = ${type}();
    for (var i = first; i < min(first + LANES * 32u, length); i += LANES) { block += x[start + i]; }
    sum += block;
  }
  let total = sumOf(sumAcross(sum), lane);
  if (lane == 0u) { out[row] = total / f32(length * ${width}u); }`,
)}`;
});
