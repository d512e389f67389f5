// From a JPEG component's coefficients to its samples, row by row at the picture's full size, with the arithmetic of
// libjpeg-turbo: the "slow" integer inverse DCT (jidctint.c, after Loeffler, Ligtenberg and Moschytz, ICASSP 1989) and
// "fancy" upsampling by a triangle filter (jdsample.c).
import type { Component } from './jpeg.ts';

// Fixed-point constants with 13 fractional bits.
const fix0298 = 2446;
const fix0390 = 3196;
const fix0541 = 4433;
const fix0765 = 6270;
const fix0899 = 7373;
const fix1175 = 9633;
const fix1501 = 12299;
const fix1847 = 15137;
const fix1961 = 16069;
const fix2053 = 16819;
const fix2562 = 20995;
const fix3072 = 25172;

/** Samples of a component, [blockRows · 8, blockColumns · 8]: whole blocks, of which `height` x `width` count. */
export function componentPlane(component: Component): Uint8ClampedArray {
  const { blockColumns, blockRows, blockStride, coefficients, quantisation } = component;
  const stride = blockColumns * 8;
  const plane = new Uint8ClampedArray(stride * blockRows * 8);
  const block = new Int32Array(64);
  for (let row = 0; row < blockRows; row++) {
    for (let column = 0; column < blockColumns; column++) {
      const from = (row * blockStride + column) * 64;
      let anyAc = 0;
      for (let i = 0; i < 64; i++) {
        const coefficient = coefficients[from + i]!;
        if (i > 0) anyAc |= coefficient;
        block[i] = coefficient * quantisation![i]!;
      }
      const to = row * 8 * stride + column * 8;
      if (anyAc === 0) {
        const level = ((block[0]! + 4) >> 3) + 128;
        for (let y = 0; y < 8; y++) plane.fill(level, to + y * stride, to + y * stride + 8);
        continue;
      }
      // Columns keep 2 fractional bits; rows drop them, the factor 8 of the transform, and move 0 to middle grey.
      for (let x = 0; x < 8; x++) inverseDct(block, x, 8, 1 << 10, 11);
      for (let y = 0; y < 8; y++) inverseDct(block, y * 8, 1, (1 << 17) + (128 << 18), 18);
      for (let i = 0; i < 64; i++) plane[to + (i >> 3) * stride + (i & 7)] = block[i]!;
    }
  }
  return plane;
}

/** Inverse DCT of eight values in place, `step` apart; the result is rounded and shifted down. */
function inverseDct(block: Int32Array, at: number, step: number, rounding: number, shift: number): void {
  const c0 = block[at]!;
  const c1 = block[at + step]!;
  const c2 = block[at + 2 * step]!;
  const c3 = block[at + 3 * step]!;
  const c4 = block[at + 4 * step]!;
  const c5 = block[at + 5 * step]!;
  const c6 = block[at + 6 * step]!;
  const c7 = block[at + 7 * step]!;

  const rotation = Math.imul(c2 + c6, fix0541);
  const low = rotation - Math.imul(c6, fix1847);
  const high = rotation + Math.imul(c2, fix0765);
  const sum = ((c0 + c4) << 13) + rounding;
  const difference = ((c0 - c4) << 13) + rounding;
  const even0 = sum + high;
  const even3 = sum - high;
  const even1 = difference + low;
  const even2 = difference - low;

  const all = Math.imul(c7 + c3 + c5 + c1, fix1175);
  const z1 = Math.imul(c7 + c1, -fix0899);
  const z2 = Math.imul(c5 + c3, -fix2562);
  const z3 = all - Math.imul(c7 + c3, fix1961);
  const z4 = all - Math.imul(c5 + c1, fix0390);
  const odd0 = Math.imul(c7, fix0298) + z1 + z3;
  const odd1 = Math.imul(c5, fix2053) + z2 + z4;
  const odd2 = Math.imul(c3, fix3072) + z2 + z3;
  const odd3 = Math.imul(c1, fix1501) + z1 + z4;

  block[at] = (even0 + odd3) >> shift;
  block[at + step] = (even1 + odd2) >> shift;
  block[at + 2 * step] = (even2 + odd1) >> shift;
  block[at + 3 * step] = (even3 + odd0) >> shift;
  block[at + 4 * step] = (even3 - odd0) >> shift;
  block[at + 5 * step] = (even2 - odd1) >> shift;
  block[at + 6 * step] = (even1 - odd2) >> shift;
  block[at + 7 * step] = (even0 - odd3) >> shift;
}

/**
 * Gives a component's rows at the picture's size: `expandX` and `expandY` times as many samples, of which `width`
 * are filled. A row is valid until the next call.
 */
export function rowUpsampler(
  component: Component,
  plane: Uint8ClampedArray,
  expandX: number,
  expandY: number,
  width: number,
): (y: number) => Uint8Array {
  const stride = component.blockColumns * 8;
  const samples = new Uint8Array(plane.buffer);
  const { width: sampleColumns, height: sampleRows } = component;
  const rowAt = (row: number) => {
    const inside = Math.min(Math.max(row, 0), sampleRows - 1);
    return samples.subarray(inside * stride, inside * stride + sampleColumns);
  };
  if (expandX === 1 && expandY === 1) return rowAt;

  const out = new Uint8Array(Math.max(width, sampleColumns * expandX));
  if (expandX === 2 && expandY === 1 && sampleColumns > 2) {
    return y => {
      widenRow(rowAt(y), out);
      return out;
    };
  }
  // Rows mix 3 : 1 with the row above or below, whichever is nearer to the sample's place.
  const neighbour = (y: number) => (y >> 1) + ((y & 1) === 0 ? -1 : 1);
  if (expandX === 1 && expandY === 2) {
    return y => {
      const near = rowAt(y >> 1);
      const far = rowAt(neighbour(y));
      const bias = (y & 1) === 0 ? 1 : 2;
      for (let x = 0; x < sampleColumns; x++) out[x] = (near[x]! * 3 + far[x]! + bias) >> 2;
      return out;
    };
  }
  if (expandX === 2 && expandY === 2 && sampleColumns > 2) {
    const mixed = new Uint16Array(sampleColumns);
    return y => {
      const near = rowAt(y >> 1);
      const far = rowAt(neighbour(y));
      for (let x = 0; x < sampleColumns; x++) mixed[x] = near[x]! * 3 + far[x]!;
      widenMixedRow(mixed, out);
      return out;
    };
  }
  return y => {
    const row = rowAt(Math.floor(y / expandY));
    for (let x = 0, to = 0; x < sampleColumns; x++) {
      for (let copy = 0; copy < expandX; copy++) out[to++] = row[x]!;
    }
    return out;
  };
}

/** Twice as many samples, each 3/4 of the nearer and 1/4 of the farther neighbour; rounding alternates. */
function widenRow(row: Uint8Array, out: Uint8Array): void {
  const last = row.length - 1;
  out[0] = row[0]!;
  out[1] = (row[0]! * 3 + row[1]! + 2) >> 2;
  for (let x = 1; x < last; x++) {
    const centre = row[x]! * 3;
    out[2 * x] = (centre + row[x - 1]! + 1) >> 2;
    out[2 * x + 1] = (centre + row[x + 1]! + 2) >> 2;
  }
  out[2 * last] = (row[last]! * 3 + row[last - 1]! + 1) >> 2;
  out[2 * last + 1] = row[last]!;
}

/** The same for samples that are already mixed 3 : 1 over two rows. */
function widenMixedRow(row: Uint16Array, out: Uint8Array): void {
  const last = row.length - 1;
  out[0] = (row[0]! * 4 + 8) >> 4;
  out[1] = (row[0]! * 3 + row[1]! + 7) >> 4;
  for (let x = 1; x < last; x++) {
    const centre = row[x]! * 3;
    out[2 * x] = (centre + row[x - 1]! + 8) >> 4;
    out[2 * x + 1] = (centre + row[x + 1]! + 7) >> 4;
  }
  out[2 * last] = (row[last]! * 3 + row[last - 1]! + 8) >> 4;
  out[2 * last + 1] = (row[last]! * 4 + 7) >> 4;
}
