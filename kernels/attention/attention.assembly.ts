// Attention as a single pass over the keys (online softmax), so that no score matrix is ever held.
// A task is one (batch, head, block of queries). Keys and values go by blocks through scratch memory, laid out for SIMD:
//   queries  [quads][D][4]      scaled, four queries side by side
//   keys     [tiles][D][8]      transposed, eight keys side by side
//   values   [tiles][KEYS][8]   eight channels side by side
// Each query keeps its running maximum and sum of exponentials; its output is rescaled when the maximum grows.

import { addressAt, floatAt, integerAt, multiplyAdd } from '../simd.assembly';

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
  const quads = (rows + 3) >> 2;

  const packedQueries = scratch;
  const packedKeys = packedQueries + bytes(queryBlock * depth);
  const packedValues = packedKeys + bytes(KEYS * depth);
  const bias = packedValues + bytes(KEYS * valueTiles * 8);
  const scores = bias + ROW;
  const outputs = scores + 4 * ROW;
  const maxima = outputs + bytes(queryBlock * valueTiles * 8);
  const sums = maxima + bytes(queryBlock);

  const keyStride = bytes(heads * width);
  const valueStride = bytes(heads * valueWidth);
  const queryOffset = bytes((batch * queries + query) * heads * width + head * width);
  packQueries(packedQueries, addressAt(args, 0) + queryOffset, keyStride, rows, width, 0, depth, scale);
  if (queryPosition != 0) packQueries(packedQueries, queryPosition + queryOffset, keyStride, rows, width, width, depth, scale);
  memory.fill(outputs, 0, bytes(quads * 4 * valueTiles * 8));
  for (let row = 0; row < quads * 4; row++) {
    store<f32>(maxima + bytes(row), MASKED);
    store<f32>(sums + bytes(row), 0);
  }

  for (let key = 0; key < keys; key += KEYS) {
    const count = min(KEYS, keys - key);
    const tiles = (count + 7) >> 3;
    const keyOffset = bytes((batch * keys + key) * heads * width + head * width);
    packKeys(packedKeys, addressAt(args, 2) + keyOffset, keyStride, count, width, 0, depth);
    if (keyPosition != 0) packKeys(packedKeys, keyPosition + keyOffset, keyStride, count, width, width, depth);
    const valueOffset = bytes((batch * keys + key) * heads * valueWidth + head * valueWidth);
    packValues(packedValues, addressAt(args, 4) + valueOffset, valueStride, count, valueWidth);
    fillBias(bias, mask == 0 ? 0 : mask + bytes(batch * keys + key), count);
    for (let quad = 0; quad < quads; quad++) {
      const row = quad * 4;
      multiplyKeys(scores, packedQueries + bytes(row * depth), packedKeys, bias, tiles, depth);
      if (weights != 0) {
        const rowsHere = min(4, rows - row);
        for (let lane = 0; lane < rowsHere; lane++) {
          const target = weights + bytes(((batch * heads + head) * queries + query + row + lane) * keys + key);
          memory.copy(target, scores + ROW * lane, bytes(count));
        }
      }
      const target = outputs + bytes(row * valueTiles * 8);
      for (let lane = 0; lane < 4; lane++) {
        const index = bytes(row + lane);
        const correction = exponentiate(scores + ROW * lane, tiles, maxima + index, sums + index);
        if (correction != 1) rescale(target + bytes(lane * valueTiles * 8), valueTiles, correction);
      }
      multiplyValues(target, scores, packedValues, tiles, valueTiles);
    }
  }

  const output = addressAt(args, 6) + bytes((batch * queries + query) * heads * valueWidth + head * valueWidth);
  for (let row = 0; row < rows; row++) {
    const inverse: f32 = <f32>1 / load<f32>(sums + bytes(row));
    const source = outputs + bytes(row * valueTiles * 8);
    const target = output + valueStride * row;
    for (let channel = 0; channel < valueWidth; channel++) {
      store<f32>(target + bytes(channel), load<f32>(source + bytes(channel)) * inverse);
    }
    if (weights != 0) {
      const rowOfWeights = weights + bytes(((batch * heads + head) * queries + query + row) * keys);
      normalise(rowOfWeights, keys, load<f32>(maxima + bytes(row)), inverse);
    }
  }
}

// @ts-ignore: decorator
@inline
function bytes(floats: i32): usize {
  return <usize>floats << 2;
}

/** Writes [rows, width] as [quads][depth][4] from `channel` on, times `scale`; rows beyond the last are 0. */
function packQueries(
  target: usize, source: usize, stride: usize, rows: i32, width: i32, channel: i32, depth: i32, scale: f32,
): void {
  const padded = (rows + 3) & ~3;
  for (let row = 0; row < padded; row++) {
    const from = source + stride * row;
    const to = target + bytes((row >> 2) * depth * 4 + channel * 4 + (row & 3));
    for (let c = 0; c < width; c++) store<f32>(to + bytes(c * 4), row < rows ? load<f32>(from + bytes(c)) * scale : 0);
  }
}

/** Writes [count, width] as [tiles][depth][8] from `channel` on; keys beyond the last are 0. */
function packKeys(target: usize, source: usize, stride: usize, count: i32, width: i32, channel: i32, depth: i32): void {
  const padded = (count + 7) & ~7;
  const aligned = width & ~3;
  for (let key = 0; key < padded; key += 4) {
    const from = source + stride * key;
    const to = target + bytes((key >> 3) * depth * 8 + channel * 8 + (key & 4));
    let c = 0;
    if (key + 4 <= count) {
      for (; c < aligned; c += 4) {
        const k0 = v128.load(from + bytes(c));
        const k1 = v128.load(from + stride + bytes(c));
        const k2 = v128.load(from + stride * 2 + bytes(c));
        const k3 = v128.load(from + stride * 3 + bytes(c));
        const low01 = i32x4.shuffle(k0, k1, 0, 4, 1, 5);
        const high01 = i32x4.shuffle(k0, k1, 2, 6, 3, 7);
        const low23 = i32x4.shuffle(k2, k3, 0, 4, 1, 5);
        const high23 = i32x4.shuffle(k2, k3, 2, 6, 3, 7);
        v128.store(to + bytes(c * 8), i32x4.shuffle(low01, low23, 0, 1, 4, 5));
        v128.store(to + bytes(c * 8), i32x4.shuffle(low01, low23, 2, 3, 6, 7), 32);
        v128.store(to + bytes(c * 8), i32x4.shuffle(high01, high23, 0, 1, 4, 5), 64);
        v128.store(to + bytes(c * 8), i32x4.shuffle(high01, high23, 2, 3, 6, 7), 96);
      }
    }
    for (; c < width; c++) {
      for (let lane = 0; lane < 4; lane++) {
        const value: f32 = key + lane < count ? load<f32>(from + stride * lane + bytes(c)) : 0;
        store<f32>(to + bytes(c * 8 + lane), value);
      }
    }
  }
}

/** Writes [count, width] as [tiles][KEYS][8]; keys up to the next multiple of 8 and channels beyond the last are 0. */
function packValues(target: usize, source: usize, stride: usize, count: i32, width: i32): void {
  const padded = (count + 7) & ~7;
  for (let channel = 0; channel < width; channel += 8) {
    let to = target + bytes(channel * KEYS);
    let from = source + bytes(channel);
    let key = 0;
    if (channel + 8 <= width) {
      for (; key < count; key++, to += 32, from += stride) {
        v128.store(to, v128.load(from));
        v128.store(to, v128.load(from, 16), 16);
      }
    } else {
      for (; key < count; key++, to += 32, from += stride) {
        for (let c = 0; c < 8; c++) store<f32>(to + bytes(c), channel + c < width ? load<f32>(from + bytes(c)) : 0);
      }
    }
    memory.fill(to, 0, bytes((padded - key) * 8));
  }
}

/** What each key adds to its scores: 0 if real, MASKED if padding, -infinity for the places beyond the last key. */
function fillBias(bias: usize, mask: usize, count: i32): void {
  for (let key = 0; key < KEYS; key++) {
    let value: f32 = key < count ? 0 : -Infinity;
    if (mask != 0 && key < count && load<f32>(mask + bytes(key)) == 0) value = MASKED;
    store<f32>(bias + bytes(key), value);
  }
}

/** scores[4][tiles * 8] = queries * keys + bias. */
function multiplyKeys(scores: usize, queries: usize, keys: usize, bias: usize, tiles: i32, depth: i32): void {
  for (let tile = 0; tile < tiles; tile++) {
    const low = v128.load(bias);
    const high = v128.load(bias, 16);
    let s00 = low, s01 = high, s10 = low, s11 = high, s20 = low, s21 = high, s30 = low, s31 = high;
    let query = queries;
    const end = queries + bytes(depth * 4);
    do {
      const k0 = v128.load(keys);
      const k1 = v128.load(keys, 16);
      const q0 = v128.load32_splat(query);
      s00 = multiplyAdd(q0, k0, s00);
      s01 = multiplyAdd(q0, k1, s01);
      const q1 = v128.load32_splat(query, 4);
      s10 = multiplyAdd(q1, k0, s10);
      s11 = multiplyAdd(q1, k1, s11);
      const q2 = v128.load32_splat(query, 8);
      s20 = multiplyAdd(q2, k0, s20);
      s21 = multiplyAdd(q2, k1, s21);
      const q3 = v128.load32_splat(query, 12);
      s30 = multiplyAdd(q3, k0, s30);
      s31 = multiplyAdd(q3, k1, s31);
      keys += 32;
      query += 16;
    } while (query != end);
    v128.store(scores, s00);
    v128.store(scores, s01, 16);
    v128.store(scores, s10, ROW);
    v128.store(scores, s11, ROW + 16);
    v128.store(scores, s20, 2 * ROW);
    v128.store(scores, s21, 2 * ROW + 16);
    v128.store(scores, s30, 3 * ROW);
    v128.store(scores, s31, 3 * ROW + 16);
    bias += 32;
    scores += 32;
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

function rescale(outputs: usize, valueTiles: i32, correction: f32): void {
  const factor = f32x4.splat(correction);
  for (let tile = 0; tile < valueTiles; tile++, outputs += 32) {
    v128.store(outputs, f32x4.mul(v128.load(outputs), factor));
    v128.store(outputs, f32x4.mul(v128.load(outputs, 16), factor), 16);
  }
}

/** outputs[4][valueTiles * 8] += exponentials[4][tiles * 8] * values. */
function multiplyValues(outputs: usize, exponentials: usize, values: usize, tiles: i32, valueTiles: i32): void {
  const stride = <usize>valueTiles << 5;
  const end = exponentials + (<usize>tiles << 5);
  for (let tile = 0; tile < valueTiles; tile++) {
    const output1 = outputs + stride;
    const output2 = output1 + stride;
    const output3 = output2 + stride;
    let o00 = v128.load(outputs), o01 = v128.load(outputs, 16);
    let o10 = v128.load(output1), o11 = v128.load(output1, 16);
    let o20 = v128.load(output2), o21 = v128.load(output2, 16);
    let o30 = v128.load(output3), o31 = v128.load(output3, 16);
    let value = values;
    for (let at = exponentials; at < end; at += 4) {
      const v0 = v128.load(value);
      const v1 = v128.load(value, 16);
      const p0 = v128.load32_splat(at);
      o00 = multiplyAdd(p0, v0, o00);
      o01 = multiplyAdd(p0, v1, o01);
      const p1 = v128.load32_splat(at, ROW);
      o10 = multiplyAdd(p1, v0, o10);
      o11 = multiplyAdd(p1, v1, o11);
      const p2 = v128.load32_splat(at, 2 * ROW);
      o20 = multiplyAdd(p2, v0, o20);
      o21 = multiplyAdd(p2, v1, o21);
      const p3 = v128.load32_splat(at, 3 * ROW);
      o30 = multiplyAdd(p3, v0, o30);
      o31 = multiplyAdd(p3, v1, o31);
      value += 32;
    }
    v128.store(outputs, o00);
    v128.store(outputs, o01, 16);
    v128.store(output1, o10);
    v128.store(output1, o11, 16);
    v128.store(output2, o20);
    v128.store(output2, o21, 16);
    v128.store(output3, o30);
    v128.store(output3, o31, 16);
    outputs += 32;
    values += bytes(KEYS * 8);
  }
}

/** Scores of one query to attention weights. */
function normalise(weights: usize, keys: i32, maximum: f32, inverseSum: f32): void {
  const highest = f32x4.splat(maximum);
  const inverse = f32x4.splat(inverseSum);
  let key = 0;
  for (; key + 4 <= keys; key += 4) {
    const at = weights + bytes(key);
    v128.store(at, f32x4.mul(exponentialOfTwo(f32x4.sub(v128.load(at), highest)), inverse));
  }
  for (; key < keys; key++) {
    const at = weights + bytes(key);
    const exponential = exponentialOfTwo(f32x4.splat(load<f32>(at) - maximum));
    store<f32>(at, f32x4.extract_lane(exponential, 0) * inverseSum);
  }
}
