// The heart of linear, matmul and conv2d: products of packed panels.
//
// The left matrix is packed in row panels of 6 or 4 rows, [k][rows]; the right one in column panels of 8, [k][8]. A tile of 6
// rows and 8 columns keeps its 12 sums, two vectors of the right panel and one value of the left in the 15 registers that
// V8 uses on x86-64. That the loop has one step of k per iteration, and takes the rows from the last to the first, is on
// purpose: V8's scheduler emits the sums in that order, and in others it runs out of registers and is a third slower.

import { activateVector } from './activation.assembly';
import { bytesOf, loadPartial, multiplyAdd, storePartial } from './simd.assembly';

/** Columns of a right panel. */
export const COLUMNS: i32 = 8;

/**
 * Steps of k per pass over the column panels: a left panel stays in the first-level cache, and sums of sums round less than
 * one long sum.
 */
const DEPTH: i32 = 256;

/** Adds to the sums at `c`, or to zeros where the mask is zero. */
// @ts-ignore: decorator
@inline
function addTo(c: usize, low: v128, high: v128, mask: v128): void {
  const newLow = f32x4.add(v128.and(v128.load(c), mask), low);
  const newHigh = f32x4.add(v128.and(v128.load(c, 16), mask), high);
  v128.store(c, newLow);
  v128.store(c, newHigh, 16);
}

/** Left panel of 6 rows · right panel: written to `c`, or added to what is there. */
export function tile6(a: usize, b: usize, k: i32, c: usize, stride: usize, adds: bool): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  let c40 = f32x4.splat(0);
  let c41 = f32x4.splat(0);
  let c50 = f32x4.splat(0);
  let c51 = f32x4.splat(0);
  for (let step = 0; step < k; step++) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a5 = v128.load32_splat(a, 20);
    c50 = multiplyAdd(a5, b0, c50);
    c51 = multiplyAdd(a5, b1, c51);
    const a4 = v128.load32_splat(a, 16);
    c40 = multiplyAdd(a4, b0, c40);
    c41 = multiplyAdd(a4, b1, c41);
    const a3 = v128.load32_splat(a, 12);
    c30 = multiplyAdd(a3, b0, c30);
    c31 = multiplyAdd(a3, b1, c31);
    const a2 = v128.load32_splat(a, 8);
    c20 = multiplyAdd(a2, b0, c20);
    c21 = multiplyAdd(a2, b1, c21);
    const a1 = v128.load32_splat(a, 4);
    c10 = multiplyAdd(a1, b0, c10);
    c11 = multiplyAdd(a1, b1, c11);
    const a0 = v128.load32_splat(a);
    c00 = multiplyAdd(a0, b0, c00);
    c01 = multiplyAdd(a0, b1, c01);
    a += 24;
    b += 32;
  }
  const mask = i32x4.splat(-(<i32>adds));
  addTo(c, c00, c01, mask);
  c += stride;
  addTo(c, c10, c11, mask);
  c += stride;
  addTo(c, c20, c21, mask);
  c += stride;
  addTo(c, c30, c31, mask);
  c += stride;
  addTo(c, c40, c41, mask);
  c += stride;
  addTo(c, c50, c51, mask);
}

/** `tile6` for 4 rows. */
export function tile4(a: usize, b: usize, k: i32, c: usize, stride: usize, adds: bool): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  for (let step = 0; step < k; step++) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a3 = v128.load32_splat(a, 12);
    c30 = multiplyAdd(a3, b0, c30);
    c31 = multiplyAdd(a3, b1, c31);
    const a2 = v128.load32_splat(a, 8);
    c20 = multiplyAdd(a2, b0, c20);
    c21 = multiplyAdd(a2, b1, c21);
    const a1 = v128.load32_splat(a, 4);
    c10 = multiplyAdd(a1, b0, c10);
    c11 = multiplyAdd(a1, b1, c11);
    const a0 = v128.load32_splat(a);
    c00 = multiplyAdd(a0, b0, c00);
    c01 = multiplyAdd(a0, b1, c01);
    a += 16;
    b += 32;
  }
  const mask = i32x4.splat(-(<i32>adds));
  addTo(c, c00, c01, mask);
  c += stride;
  addTo(c, c10, c11, mask);
  c += stride;
  addTo(c, c20, c21, mask);
  c += stride;
  addTo(c, c30, c31, mask);
}

/** `tile6` for two column panels, the second `panelStride` bytes on, that revectorization joins to vectors of 256 bits. */
export function tile6Wide(a: usize, b: usize, panelStride: usize, k: i32, c: usize, stride: usize, adds: bool): void {
  let d = b + panelStride;
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c02 = f32x4.splat(0);
  let c03 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c12 = f32x4.splat(0);
  let c13 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c22 = f32x4.splat(0);
  let c23 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  let c32 = f32x4.splat(0);
  let c33 = f32x4.splat(0);
  let c40 = f32x4.splat(0);
  let c41 = f32x4.splat(0);
  let c42 = f32x4.splat(0);
  let c43 = f32x4.splat(0);
  let c50 = f32x4.splat(0);
  let c51 = f32x4.splat(0);
  let c52 = f32x4.splat(0);
  let c53 = f32x4.splat(0);
  for (let step = 0; step < k; step++) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const b2 = v128.load(d);
    const b3 = v128.load(d, 16);
    const a5 = v128.load32_splat(a, 20);
    c50 = multiplyAdd(a5, b0, c50);
    c51 = multiplyAdd(a5, b1, c51);
    c52 = multiplyAdd(a5, b2, c52);
    c53 = multiplyAdd(a5, b3, c53);
    const a4 = v128.load32_splat(a, 16);
    c40 = multiplyAdd(a4, b0, c40);
    c41 = multiplyAdd(a4, b1, c41);
    c42 = multiplyAdd(a4, b2, c42);
    c43 = multiplyAdd(a4, b3, c43);
    const a3 = v128.load32_splat(a, 12);
    c30 = multiplyAdd(a3, b0, c30);
    c31 = multiplyAdd(a3, b1, c31);
    c32 = multiplyAdd(a3, b2, c32);
    c33 = multiplyAdd(a3, b3, c33);
    const a2 = v128.load32_splat(a, 8);
    c20 = multiplyAdd(a2, b0, c20);
    c21 = multiplyAdd(a2, b1, c21);
    c22 = multiplyAdd(a2, b2, c22);
    c23 = multiplyAdd(a2, b3, c23);
    const a1 = v128.load32_splat(a, 4);
    c10 = multiplyAdd(a1, b0, c10);
    c11 = multiplyAdd(a1, b1, c11);
    c12 = multiplyAdd(a1, b2, c12);
    c13 = multiplyAdd(a1, b3, c13);
    const a0 = v128.load32_splat(a, 0);
    c00 = multiplyAdd(a0, b0, c00);
    c01 = multiplyAdd(a0, b1, c01);
    c02 = multiplyAdd(a0, b2, c02);
    c03 = multiplyAdd(a0, b3, c03);
    a += 24;
    b += 32;
    d += 32;
  }
  const mask = i32x4.splat(-(<i32>adds));
  addTo(c, c00, c01, mask);
  addTo(c + 32, c02, c03, mask);
  c += stride;
  addTo(c, c10, c11, mask);
  addTo(c + 32, c12, c13, mask);
  c += stride;
  addTo(c, c20, c21, mask);
  addTo(c + 32, c22, c23, mask);
  c += stride;
  addTo(c, c30, c31, mask);
  addTo(c + 32, c32, c33, mask);
  c += stride;
  addTo(c, c40, c41, mask);
  addTo(c + 32, c42, c43, mask);
  c += stride;
  addTo(c, c50, c51, mask);
  addTo(c + 32, c52, c53, mask);
}

/** `tile4` for two column panels, as `tile6Wide`. */
export function tile4Wide(a: usize, b: usize, panelStride: usize, k: i32, c: usize, stride: usize, adds: bool): void {
  let d = b + panelStride;
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c02 = f32x4.splat(0);
  let c03 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c12 = f32x4.splat(0);
  let c13 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c22 = f32x4.splat(0);
  let c23 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  let c32 = f32x4.splat(0);
  let c33 = f32x4.splat(0);
  for (let step = 0; step < k; step++) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const b2 = v128.load(d);
    const b3 = v128.load(d, 16);
    const a3 = v128.load32_splat(a, 12);
    c30 = multiplyAdd(a3, b0, c30);
    c31 = multiplyAdd(a3, b1, c31);
    c32 = multiplyAdd(a3, b2, c32);
    c33 = multiplyAdd(a3, b3, c33);
    const a2 = v128.load32_splat(a, 8);
    c20 = multiplyAdd(a2, b0, c20);
    c21 = multiplyAdd(a2, b1, c21);
    c22 = multiplyAdd(a2, b2, c22);
    c23 = multiplyAdd(a2, b3, c23);
    const a1 = v128.load32_splat(a, 4);
    c10 = multiplyAdd(a1, b0, c10);
    c11 = multiplyAdd(a1, b1, c11);
    c12 = multiplyAdd(a1, b2, c12);
    c13 = multiplyAdd(a1, b3, c13);
    const a0 = v128.load32_splat(a, 0);
    c00 = multiplyAdd(a0, b0, c00);
    c01 = multiplyAdd(a0, b1, c01);
    c02 = multiplyAdd(a0, b2, c02);
    c03 = multiplyAdd(a0, b3, c03);
    a += 16;
    b += 32;
    d += 32;
  }
  const mask = i32x4.splat(-(<i32>adds));
  addTo(c, c00, c01, mask);
  addTo(c + 32, c02, c03, mask);
  c += stride;
  addTo(c, c10, c11, mask);
  addTo(c + 32, c12, c13, mask);
  c += stride;
  addTo(c, c20, c21, mask);
  addTo(c + 32, c22, c23, mask);
  c += stride;
  addTo(c, c30, c31, mask);
  addTo(c + 32, c32, c33, mask);
}

/**
 * Rows of sums at `c`, `rows` (6 or 4) of them, `stride` bytes apart: left panel · column panels, which lie `panelStride`
 * bytes apart at `b`; `adds` adds that to what is there.
 */
export function multiplyPanel(
  rows: i32,
  a: usize,
  b: usize,
  panelStride: usize,
  panels: i32,
  k: i32,
  c: usize,
  stride: usize,
  adds: bool,
): void {
  let start = 0;
  do {
    const steps = min(DEPTH, k - start);
    const left = a + bytesOf(start * rows);
    let right = b + (<usize>start << 5);
    let sums = c;
    let panel = 0;
    if (WIDE) {
      for (; panel + 2 <= panels; panel += 2) {
        if (rows == 6) tile6Wide(left, right, panelStride, steps, sums, stride, adds);
        else tile4Wide(left, right, panelStride, steps, sums, stride, adds);
        right += 2 * panelStride;
        sums += 64;
      }
    }
    for (; panel < panels; panel++) {
      if (rows == 6) tile6(left, right, steps, sums, stride, adds);
      else tile4(left, right, steps, sums, stride, adds);
      right += panelStride;
      sums += 32;
    }
    start += DEPTH;
    adds = true;
  } while (start < k);
}

/** Left panels that `rows` rows fill: panels of 6, then as few of 4 as leave no more than one row empty. */
export function panelsOf(rows: i32): i32 {
  return sixesOf(rows) + foursOf(rows);
}

function foursOf(rows: i32): i32 {
  const rest = rows % 6;
  if (rest == 0 || rest == 5) return 0;
  return rest > 2 || rows < 6 ? 1 : 2;
}

function sixesOf(rows: i32): i32 {
  return (rows - 4 * foursOf(rows) + 5) / 6;
}

/**
 * First row of a left panel, or for the panel after the last one how many rows there are; the panel's data start
 * `firstRow * k` values into the packed matrix.
 */
export function firstRowOf(panel: i32, rows: i32): i32 {
  return 6 * panel - 2 * max(panel - sixesOf(rows), 0);
}

/** 6 or 4: how many rows a left panel holds, filled up ones included. */
export function rowsOf(panel: i32, rows: i32): i32 {
  return panel < sixesOf(rows) ? 6 : 4;
}

/** Interleaves four rows: out[k] = (r0[k], r1[k], r2[k], r3[k]), `step` bytes from one k to the next. */
function packFour(r0: usize, r1: usize, r2: usize, r3: usize, k: i32, out: usize, step: usize): void {
  let i = 0;
  for (; i + 4 <= k; i += 4) {
    const offset = bytesOf(i);
    const v0 = v128.load(r0 + offset);
    const v1 = v128.load(r1 + offset);
    const v2 = v128.load(r2 + offset);
    const v3 = v128.load(r3 + offset);
    const low01 = i32x4.shuffle(v0, v1, 0, 4, 1, 5);
    const high01 = i32x4.shuffle(v0, v1, 2, 6, 3, 7);
    const low23 = i32x4.shuffle(v2, v3, 0, 4, 1, 5);
    const high23 = i32x4.shuffle(v2, v3, 2, 6, 3, 7);
    v128.store(out, i64x2.shuffle(low01, low23, 0, 2));
    out += step;
    v128.store(out, i64x2.shuffle(low01, low23, 1, 3));
    out += step;
    v128.store(out, i64x2.shuffle(high01, high23, 0, 2));
    out += step;
    v128.store(out, i64x2.shuffle(high01, high23, 1, 3));
    out += step;
  }
  for (; i < k; i++) {
    const offset = bytesOf(i);
    store<f32>(out, load<f32>(r0 + offset));
    store<f32>(out, load<f32>(r1 + offset), 4);
    store<f32>(out, load<f32>(r2 + offset), 8);
    store<f32>(out, load<f32>(r3 + offset), 12);
    out += step;
  }
}

/** Interleaves two rows, like `packFour`. */
function packTwo(r0: usize, r1: usize, k: i32, out: usize, step: usize): void {
  let i = 0;
  for (; i + 4 <= k; i += 4) {
    const offset = bytesOf(i);
    const v0 = v128.load(r0 + offset);
    const v1 = v128.load(r1 + offset);
    const low = i32x4.shuffle(v0, v1, 0, 4, 1, 5);
    const high = i32x4.shuffle(v0, v1, 2, 6, 3, 7);
    v128.store64_lane(out, low, 0);
    out += step;
    v128.store64_lane(out, low, 1);
    out += step;
    v128.store64_lane(out, high, 0);
    out += step;
    v128.store64_lane(out, high, 1);
    out += step;
  }
  for (; i < k; i++) {
    const offset = bytesOf(i);
    store<f32>(out, load<f32>(r0 + offset));
    store<f32>(out, load<f32>(r1 + offset), 4);
    out += step;
  }
}

/** Packs `rows` rows of a row-major matrix as left panels. Rows that fill up the last panel repeat the last row. */
export function packRows(x: usize, stride: usize, rows: i32, k: i32, out: usize): void {
  packRowsAt(x, stride, rows, k, out, 0, k);
}

/** Like `packRows`, as steps `start` to `start + k` of panels of `depth` steps. */
export function packRowsAt(x: usize, stride: usize, rows: i32, k: i32, out: usize, start: i32, depth: i32): void {
  const last = x + <usize>(rows - 1) * stride;
  const panels = panelsOf(rows);
  for (let panel = 0; panel < panels; panel++) {
    const height = rowsOf(panel, rows);
    const step = bytesOf(height);
    const first = x + <usize>firstRowOf(panel, rows) * stride;
    const to = out + step * <usize>start;
    const r1 = min(first + stride, last);
    const r2 = min(first + 2 * stride, last);
    const r3 = min(first + 3 * stride, last);
    packFour(first, r1, r2, r3, k, to, step);
    if (height == 6) packTwo(min(first + 4 * stride, last), min(first + 5 * stride, last), k, to + 16, step);
    out += step * <usize>depth;
  }
}

/** Packs `columns` columns of the transpose of a row-major [columns, k] matrix as column panels. */
export function packTransposed(x: usize, stride: usize, columns: i32, k: i32, out: usize, panelStride: usize): void {
  const last = x + <usize>(columns - 1) * stride;
  let first = x;
  for (let column = 0; column < columns; column += COLUMNS) {
    const r4 = min(first + 4 * stride, last);
    packFour(first, min(first + stride, last), min(first + 2 * stride, last), min(first + 3 * stride, last), k, out, 32);
    packFour(r4, min(r4 + stride, last), min(r4 + 2 * stride, last), min(r4 + 3 * stride, last), k, out + 16, 32);
    first += 8 * stride;
    out += panelStride;
  }
}

/** Packs `columns` columns of a row-major [k, …] matrix as column panels; the last one is filled up with zeros. */
export function packColumns(x: usize, stride: usize, columns: i32, k: i32, out: usize, panelStride: usize): void {
  for (let row = 0; row < k; row++) {
    let to = out;
    let from = x;
    let left = columns;
    for (; left >= COLUMNS; left -= COLUMNS) {
      v128.store(to, v128.load(from));
      v128.store(to, v128.load(from, 16), 16);
      from += 32;
      to += panelStride;
    }
    if (left > 0) {
      v128.store(to, left >= 4 ? v128.load(from) : loadPartial(from, left));
      v128.store(to, left > 4 ? loadPartial(from + 16, left - 4) : f32x4.splat(0), 16);
    }
    x += stride;
    out += 32;
  }
}

/** The larger of value and floor, also where it is NaN: an activation of none (-infinity) or relu (0). */
// @ts-ignore: decorator
@inline
function atLeast(value: v128, floor: v128): v128 {
  return f32x4.pmax(value, floor);
}

/** out = activation(sums + rowBias + columnBias + residual) for one row; addresses of 0 stand for nothing. */
export function finishRow(
  sums: usize,
  rowBias: f32,
  columnBias: usize,
  residual: usize,
  out: usize,
  columns: i32,
  activation: i32,
): void {
  const bias = f32x4.splat(rowBias);
  let left = columns;
  if (activation <= 1) {
    // What most layers have, eight columns at a time.
    const floor = f32x4.splat(activation == 1 ? 0 : -Infinity);
    for (; left >= 8; left -= 8) {
      let low = f32x4.add(v128.load(sums), bias);
      let high = f32x4.add(v128.load(sums, 16), bias);
      if (columnBias != 0) {
        low = f32x4.add(low, v128.load(columnBias));
        high = f32x4.add(high, v128.load(columnBias, 16));
        columnBias += 32;
      }
      if (residual != 0) {
        low = f32x4.add(low, v128.load(residual));
        high = f32x4.add(high, v128.load(residual, 16));
        residual += 32;
      }
      v128.store(out, atLeast(low, floor));
      v128.store(out, atLeast(high, floor), 16);
      sums += 32;
      out += 32;
    }
  }
  for (; left > 0; left -= 4) {
    const count = min(left, 4);
    let value = f32x4.add(v128.load(sums), bias);
    if (columnBias != 0) {
      value = f32x4.add(value, count == 4 ? v128.load(columnBias) : loadPartial(columnBias, count));
      columnBias += 16;
    }
    if (residual != 0) {
      value = f32x4.add(value, count == 4 ? v128.load(residual) : loadPartial(residual, count));
      residual += 16;
    }
    value = activateVector(activation, value);
    if (count == 4) v128.store(out, value);
    else storePartial(out, value, count);
    sums += 16;
    out += 16;
  }
}
