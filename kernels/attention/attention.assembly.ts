// Attention as a single pass over the keys (online softmax), so that no score matrix is ever held.
// A task is one (batch, head, block of queries). Queries, keys, values and the exponentials of scores are packed for matrix
// products (matrix-product.assembly.ts): queries and exponentials as left panels, keys and values as column panels.
// Each query keeps its running maximum and sum of exponentials; its output is rescaled when the maximum grows.

import {
  firstRowOf,
  multiplyPanel,
  packColumns,
  packRows,
  packRowsAt,
  packTransposed,
  panelsOf,
  rowsOf,
} from '../matrix-product.assembly';
import { addressAt, bytesOf, floatAt, integerAt, multiplyAdd } from '../simd.assembly';

/** Keys per block. */
const KEYS: i32 = 128;
/** Bytes of one query's scores of a block of keys. */
const ROW: usize = 512;
const LOG2_E: f32 = 1.4426950408889634;
/** What masked keys get added: the lowest finite float32, so that a fully masked row becomes uniform. */
const MASKED: f32 = -3.4028234663852886e38;

// Arguments: query, query position, key, key position, value, key mask, output, (weights,) then the scalars from `first`.
export function attention(args: usize, task: i32, scratch: usize): void {
  attend(args, task, scratch, 0, 7);
}

export function attentionWithWeights(args: usize, task: i32, scratch: usize): void {
  attend(args, task, scratch, addressAt(args, 7), 8);
}

function attend(args: usize, task: i32, scratch: usize, weights: usize, first: i32): void {
  const queryPosition = addressAt(args, 1);
  const keyPosition = addressAt(args, 3);
  const mask = addressAt(args, 5);
  const heads = integerAt(args, first);
  const queries = integerAt(args, first + 1);
  const keys = integerAt(args, first + 2);
  const width = integerAt(args, first + 3);
  const valueWidth = integerAt(args, first + 4);
  const queryBlock = integerAt(args, first + 5);
  // Powers of two are cheaper than powers of e.
  const scale = floatAt(args, first + 6) * LOG2_E;

  const depth = queryPosition == 0 ? width : 2 * width;
  const valueTiles = (valueWidth + 7) >> 3;
  const blocks = (queries + queryBlock - 1) / queryBlock;
  const batch = task / (heads * blocks);
  const head = (task / blocks) % heads;
  const query = (task % blocks) * queryBlock;
  const rows = min(queryBlock, queries - query);
  const panels = panelsOf(rows);
  const padded = firstRowOf(panels - 1, rows) + rowsOf(panels - 1, rows);

  const packedQueries = scratch;
  const packedKeys = packedQueries + bytesOf(padded * depth);
  const packedValues = packedKeys + bytesOf(KEYS * depth);
  const bias = packedValues + bytesOf(KEYS * valueTiles * 8);
  const scores = bias + ROW;
  const packedExponentials = scores + 6 * ROW;
  const outputs = packedExponentials + 6 * ROW;
  const maxima = outputs + bytesOf(padded * valueTiles * 8);
  const sums = maxima + bytesOf(padded);

  const keyStride = bytesOf(heads * width);
  const valueStride = bytesOf(heads * valueWidth);
  const outputStride = bytesOf(valueTiles * 8);
  const queryOffset = bytesOf((batch * queries + query) * heads * width + head * width);
  packRowsAt(addressAt(args, 0) + queryOffset, keyStride, rows, width, packedQueries, 0, depth);
  if (queryPosition != 0) packRowsAt(queryPosition + queryOffset, keyStride, rows, width, packedQueries, width, depth);
  multiplyBy(packedQueries, padded * depth, scale);
  memory.fill(outputs, 0, bytesOf(padded * valueTiles * 8));
  for (let row = 0; row < padded; row++) {
    store<f32>(maxima + bytesOf(row), MASKED);
    store<f32>(sums + bytesOf(row), 0);
  }

  for (let key = 0; key < keys; key += KEYS) {
    const count = min(KEYS, keys - key);
    const tiles = (count + 7) >> 3;
    const keyOffset = bytesOf((batch * keys + key) * heads * width + head * width);
    const keyPanel = bytesOf(8 * depth);
    packTransposed(addressAt(args, 2) + keyOffset, keyStride, count, width, packedKeys, keyPanel);
    if (keyPosition != 0) {
      packTransposed(keyPosition + keyOffset, keyStride, count, width, packedKeys + bytesOf(8 * width), keyPanel);
    }
    const valueOffset = bytesOf((batch * keys + key) * heads * valueWidth + head * valueWidth);
    packColumns(addressAt(args, 4) + valueOffset, valueStride, valueWidth, count, packedValues, bytesOf(8 * KEYS));
    fillBias(bias, mask == 0 ? 0 : mask + bytesOf(batch * keys + key), count);
    for (let panel = 0; panel < panels; panel++) {
      const first = firstRowOf(panel, rows);
      const height = rowsOf(panel, rows);
      fillRows(scores, height, bias);
      multiplyPanel(height, packedQueries + bytesOf(first * depth), packedKeys, keyPanel, tiles, depth, scores, ROW, true);
      if (weights != 0) {
        for (let row = 0; row < min(height, rows - first); row++) {
          const target = weights + bytesOf(((batch * heads + head) * queries + query + first + row) * keys + key);
          memory.copy(target, scores + ROW * row, bytesOf(count));
        }
      }
      const target = outputs + outputStride * first;
      for (let row = 0; row < height; row++) {
        const index = bytesOf(first + row);
        const correction = exponentiate(scores + ROW * row, tiles, maxima + index, sums + index);
        if (correction != 1) multiplyBy(target + outputStride * row, valueTiles * 8, correction);
      }
      packRows(scores, ROW, height, count, packedExponentials);
      const valuePanel = bytesOf(8 * KEYS);
      multiplyPanel(height, packedExponentials, packedValues, valuePanel, valueTiles, count, target, outputStride, true);
    }
  }

  const output = addressAt(args, 6) + bytesOf((batch * queries + query) * heads * valueWidth + head * valueWidth);
  for (let row = 0; row < rows; row++) {
    const inverse: f32 = <f32>1 / load<f32>(sums + bytesOf(row));
    const source = outputs + outputStride * row;
    const target = output + valueStride * row;
    for (let channel = 0; channel < valueWidth; channel++) {
      store<f32>(target + bytesOf(channel), load<f32>(source + bytesOf(channel)) * inverse);
    }
    if (weights != 0) {
      const rowOfWeights = weights + bytesOf(((batch * heads + head) * queries + query + row) * keys);
      normalise(rowOfWeights, keys, load<f32>(maxima + bytesOf(row)), inverse);
    }
  }
}

/** Multiplies values, a multiple of four of them. */
function multiplyBy(values: usize, count: i32, scalar: f32): void {
  const factor = f32x4.splat(scalar);
  for (const end = values + bytesOf(count); values < end; values += 16) {
    v128.store(values, f32x4.mul(v128.load(values), factor));
  }
}

/** Copies a row of `KEYS` values to each of `rows` rows. */
function fillRows(to: usize, rows: i32, row: usize): void {
  for (const end = to + ROW * rows; to < end; to += ROW) {
    for (let at: usize = 0; at < ROW; at += 32) {
      const low = v128.load(row + at);
      const high = v128.load(row + at, 16);
      v128.store(to + at, low);
      v128.store(to + at, high, 16);
    }
  }
}

/** What each key adds to its scores: 0 if real, MASKED if padding, -infinity for the places beyond the last key. */
function fillBias(bias: usize, mask: usize, count: i32): void {
  for (let key = 0; key < KEYS; key++) {
    let value: f32 = key < count ? 0 : -Infinity;
    if (mask != 0 && key < count && load<f32>(mask + bytesOf(key)) == 0) value = MASKED;
    store<f32>(bias + bytesOf(key), value);
  }
}

/**
 * Turns a row of scores into exponentials relative to the row's maximum so far, updates the maximum and the sum, and
 * returns the factor by which what was accumulated before shrinks.
 */
function exponentiate(scores: usize, tiles: i32, maximum: usize, sum: usize): f32 {
  const end = scores + (<usize>tiles << 5);
  const before = load<f32>(maximum);
  let highest = f32x4.splat(before);
  // A NaN may be lost here, but not in the exponentials.
  for (let at = scores; at < end; at += 32) {
    highest = f32x4.pmax(highest, f32x4.pmax(v128.load(at), v128.load(at, 16)));
  }
  highest = f32x4.pmax(highest, i32x4.shuffle(highest, highest, 2, 3, 0, 1));
  highest = f32x4.pmax(highest, i32x4.shuffle(highest, highest, 1, 0, 3, 2));
  let total0 = f32x4.splat(0);
  let total1 = f32x4.splat(0);
  for (let at = scores; at < end; at += 32) {
    const p0 = exponentialOfTwo(f32x4.sub(v128.load(at), highest));
    const p1 = exponentialOfTwo(f32x4.sub(v128.load(at, 16), highest));
    v128.store(at, p0);
    v128.store(at, p1, 16);
    total0 = f32x4.add(total0, p0);
    total1 = f32x4.add(total1, p1);
  }
  const total = f32x4.add(total0, total1);
  const sumHere =
    f32x4.extract_lane(total, 0) + f32x4.extract_lane(total, 1) + (f32x4.extract_lane(total, 2) + f32x4.extract_lane(total, 3));
  const correction = f32x4.extract_lane(exponentialOfTwo(f32x4.sub(f32x4.splat(before), highest)), 0);
  store<f32>(maximum, f32x4.extract_lane(highest, 0));
  store<f32>(sum, load<f32>(sum) * correction + sumHere);
  return correction;
}

/** 2^x for x <= 0, to 1.6 units in the last place; exactly 0 below -126.5, NaN for NaN. */
// @ts-ignore: decorator
@inline
function exponentialOfTwo(x: v128): v128 {
  const bounded = f32x4.pmax(x, f32x4.splat(-127));
  // Adding 1.5 * 2^23 rounds to an integer and leaves it, with the exponent's offset, in the low bits.
  const shifted = f32x4.add(bounded, f32x4.splat(12583039));
  const fraction = f32x4.sub(bounded, f32x4.sub(shifted, f32x4.splat(12583039)));
  let p = f32x4.splat(1.534581242594868e-4);
  p = multiplyAdd(p, fraction, f32x4.splat(1.339993090368807e-3));
  p = multiplyAdd(p, fraction, f32x4.splat(9.6184890717268e-3));
  p = multiplyAdd(p, fraction, f32x4.splat(5.550328642129898e-2));
  p = multiplyAdd(p, fraction, f32x4.splat(2.4022646248340607e-1));
  p = multiplyAdd(p, fraction, f32x4.splat(6.931471824645996e-1));
  p = multiplyAdd(p, fraction, f32x4.splat(1));
  return f32x4.mul(p, i32x4.shl(shifted, 23));
}

/** Scores of one query to attention weights. */
function normalise(weights: usize, keys: i32, maximum: f32, inverseSum: f32): void {
  const highest = f32x4.splat(maximum);
  const inverse = f32x4.splat(inverseSum);
  let key = 0;
  for (; key + 4 <= keys; key += 4) {
    const at = weights + bytesOf(key);
    v128.store(at, f32x4.mul(exponentialOfTwo(f32x4.sub(v128.load(at), highest)), inverse));
  }
  for (; key < keys; key++) {
    const at = weights + bytesOf(key);
    const exponential = exponentialOfTwo(f32x4.splat(load<f32>(at) - maximum));
    store<f32>(at, f32x4.extract_lane(exponential, 0) * inverseSum);
  }
}
