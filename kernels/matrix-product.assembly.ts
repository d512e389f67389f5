// The heart of linear, matmul and conv2d: products of packed panels.
//
// The left matrix is packed in row panels of 6 or 4 rows, [k][rows]; the right one in column panels of 8, [k][8]. A tile of 6
// rows and 8 columns keeps its 12 sums, two vectors of the right panel and one value of the left in the 15 registers that
// V8 uses on x86-64. That the loop has one step of k per iteration, and takes the rows from the last to the first, is on
// purpose: V8's scheduler emits the sums in that order, and in others it runs out of registers and is a third slower.

import { activateVector } from './activation.assembly';
import { loadPartial, multiplyAdd, storePartial } from './simd.assembly';

/** Columns of a right panel. */
export const COLUMNS: i32 = 8;

/**
 * Steps of k per pass over the column panels: a left panel stays in the first-level cache, and sums of sums round less than
 * one long sum.
 */
const DEPTH: i32 = 256;

// @ts-ignore: decorator
@inline
function addTo(c: usize, low: v128, high: v128): void {
  v128.store(c, f32x4.add(v128.load(c), low));
  v128.store(c, f32x4.add(v128.load(c, 16), high), 16);
}

/** c += left panel of 6 rows · right panel. */
export function tile6(a: usize, b: usize, k: i32, c: usize, stride: usize): void {
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
  addTo(c, c00, c01);
  c += stride;
  addTo(c, c10, c11);
  c += stride;
  addTo(c, c20, c21);
  c += stride;
  addTo(c, c30, c31);
  c += stride;
  addTo(c, c40, c41);
  c += stride;
  addTo(c, c50, c51);
}

/** c += left panel of 4 rows · right panel. */
export function tile4(a: usize, b: usize, k: i32, c: usize, stride: usize): void {
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
  addTo(c, c00, c01);
  c += stride;
  addTo(c, c10, c11);
  c += stride;
  addTo(c, c20, c21);
  c += stride;
  addTo(c, c30, c31);
}

/**
 * c += left panel · column panels: `rows` (6 or 4) rows of sums, `stride` bytes apart. `b` holds the column panels
 * `panelStride` bytes apart.
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
): void {
  for (let start = 0; start < k; start += DEPTH) {
    const steps = min(DEPTH, k - start);
    const left = a + (<usize>(start * rows) << 2);
    let right = b + (<usize>start << 5);
    for (let panel = 0; panel < panels; panel++) {
      const sums = c + (<usize>panel << 5);
      if (rows == 6) tile6(left, right, steps, sums, stride);
      else tile4(left, right, steps, sums, stride);
      right += panelStride;
    }
  }
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
    const offset = <usize>i << 2;
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
    const offset = <usize>i << 2;
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
    const offset = <usize>i << 2;
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
    const offset = <usize>i << 2;
    store<f32>(out, load<f32>(r0 + offset));
    store<f32>(out, load<f32>(r1 + offset), 4);
    out += step;
  }
}

/** Packs `rows` rows of a row-major matrix as left panels. Rows that fill up the last panel repeat the last row. */
export function packRows(x: usize, stride: usize, rows: i32, k: i32, out: usize): void {
  const last = x + <usize>(rows - 1) * stride;
  const panels = panelsOf(rows);
  for (let panel = 0; panel < panels; panel++) {
    const height = rowsOf(panel, rows);
    const step = <usize>height << 2;
    const first = x + <usize>firstRowOf(panel, rows) * stride;
    const r1 = min(first + stride, last);
    const r2 = min(first + 2 * stride, last);
    const r3 = min(first + 3 * stride, last);
    packFour(first, r1, r2, r3, k, out, step);
    if (height == 6) packTwo(min(first + 4 * stride, last), min(first + 5 * stride, last), k, out + 16, step);
    out += step * <usize>k;
  }
}

/** Packs `columns` columns of the transpose of a row-major [columns, k] matrix as column panels. */
export function packTransposed(x: usize, stride: usize, columns: i32, k: i32, out: usize, panelStride: usize): void {
  const last = x + <usize>(columns - 1) * stride;
  for (let first = x; first <= last; first += 8 * stride) {
    const r4 = min(first + 4 * stride, last);
    packFour(first, min(first + stride, last), min(first + 2 * stride, last), min(first + 3 * stride, last), k, out, 32);
    packFour(r4, min(r4 + stride, last), min(r4 + 2 * stride, last), min(r4 + 3 * stride, last), k, out + 16, 32);
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

// @ts-ignore: decorator
@inline
function finish(sums: usize, bias: v128, columnBias: usize, residual: usize, offset: usize): v128 {
  let value = f32x4.add(v128.load(sums + offset), bias);
  if (columnBias != 0) value = f32x4.add(value, v128.load(columnBias + offset));
  if (residual != 0) value = f32x4.add(value, v128.load(residual + offset));
  return value;
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
  const end = <usize>(columns & ~3) << 2;
  let offset: usize = 0;
  if (activation <= 1) {
    // None or relu, the common ones: a maximum with -infinity or 0, which a NaN passes.
    const floor = f32x4.splat(activation == 1 ? 0 : -Infinity);
    for (; offset < end; offset += 16) {
      v128.store(out + offset, f32x4.pmax(finish(sums, bias, columnBias, residual, offset), floor));
    }
  } else {
    for (; offset < end; offset += 16) {
      v128.store(out + offset, activateVector(activation, finish(sums, bias, columnBias, residual, offset)));
    }
  }
  const left = columns & 3;
  if (left == 0) return;
  let value = f32x4.add(v128.load(sums + offset), bias);
  if (columnBias != 0) value = f32x4.add(value, loadPartial(columnBias + offset, left));
  if (residual != 0) value = f32x4.add(value, loadPartial(residual + offset, left));
  storePartial(out + offset, activateVector(activation, value), left);
}
