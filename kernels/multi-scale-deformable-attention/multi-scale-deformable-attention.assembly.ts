// Multi-scale deformable attention: every query of every head takes a weighted sum of few points of the feature maps, each
// interpolated between four cells.
//
// The L * P points of a query are handled four at a time: their softmax, places, and the addresses and weights of
// their cells. A cell outside of its map, or of padding, becomes the address of a row of zeros. What remains is a
// list of (address, weight) pairs to sum up, which is bound by the caches: many queries are worth copying the values
// so that a head's cells lie side by side (`separateHeads`), and then going through them head by head.

import { exp } from '../math.assembly';
import { addressAt, bytesOf, integerAt, loadPartial, multiplyAdd, storePartial, sumLanes } from '../simd.assembly';

/** Tokens per task of `separateHeads`; TOKENS_PER_TASK in multi-scale-deformable-attention.ts. */
const TOKENS: i32 = 64;

// Arguments: value [B, S, N, dh], key mask [B, S], out [B, N, S, dh], S, N, dh. Padding becomes zeros. A task is a block of
// tokens.
export function separateHeads(args: usize, task: i32, _scratch: usize): void {
  const tokens = integerAt(args, 3);
  const heads = integerAt(args, 4);
  const width = integerAt(args, 5);
  const blocks = (tokens + TOKENS - 1) / TOKENS;
  const batch = task / blocks;
  const first = (task % blocks) * TOKENS;
  const last = min(first + TOKENS, tokens);
  const mask: usize = addressAt(args, 1) == 0 ? 0 : addressAt(args, 1) + bytesOf(batch * tokens);
  const value = addressAt(args, 0) + bytesOf(batch * tokens * heads * width);
  const out = addressAt(args, 2) + bytesOf(batch * tokens * heads * width);
  for (let head = 0; head < heads; head++) {
    let to = out + bytesOf((head * tokens + first) * width);
    for (let token = first; token < last; token++) {
      const from = value + bytesOf((token * heads + head) * width);
      const real = mask == 0 || load<f32>(mask + bytesOf(token)) != 0;
      let c = 0;
      for (; c + 4 <= width; c += 4) {
        v128.store(to + bytesOf(c), real ? v128.load(from + bytesOf(c)) : f32x4.splat(0));
      }
      for (; c < width; c++) store<f32>(to + bytesOf(c), real ? load<f32>(from + bytesOf(c)) : 0);
      to += bytesOf(width);
    }
  }
}

// Arguments: value, offsets, logits, references, key mask, output, (weights,) then the scalars from `first`:
// S, T, heads, channels per head, levels, points, size of a reference, queries per task, heads per task, floats from token
// to token and from head to head of the values, then height, width and first token of every level.
export function multiScaleDeformableAttention(args: usize, task: i32, scratch: usize): void {
  attendToPoints(args, task, scratch, 0, 6);
}

export function multiScaleDeformableAttentionWithWeights(args: usize, task: i32, scratch: usize): void {
  attendToPoints(args, task, scratch, addressAt(args, 6), 7);
}

function attendToPoints(args: usize, task: i32, scratch: usize, weights: usize, first: i32): void {
  const mask = addressAt(args, 4);
  const tokens = integerAt(args, first);
  const queries = integerAt(args, first + 1);
  const heads = integerAt(args, first + 2);
  const width = integerAt(args, first + 3);
  const levels = integerAt(args, first + 4);
  const points = integerAt(args, first + 5);
  const referenceSize = integerAt(args, first + 6);
  const queryBlock = integerAt(args, first + 7);
  const headBlock = integerAt(args, first + 8);
  const tokenStride = bytesOf(integerAt(args, first + 9));
  const headStride = bytesOf(integerAt(args, first + 10));
  const levelTable = args + bytesOf(first + 11);

  const count = levels * points;
  const padded = (count + 3) & ~3;
  // Per point: size of its map, and how an offset becomes a place, in cells.
  const mapWidth = scratch;
  const mapHeight = mapWidth + bytesOf(padded);
  const mapStart = mapHeight + bytesOf(padded);
  const baseX = mapStart + bytesOf(padded);
  const baseY = baseX + bytesOf(padded);
  const stepX = baseY + bytesOf(padded);
  const stepY = stepX + bytesOf(padded);
  // Per point of the head at hand.
  const attention = stepY + bytesOf(padded);
  const offset = attention + bytesOf(padded);
  // Per cell: the address, its token while addresses are not known, and the weight.
  const cells = offset + bytesOf(2 * padded);
  const cellWeights = cells + bytesOf(4 * padded);
  const zeros = cellWeights + bytesOf(4 * padded);
  memory.fill(scratch, 0, zeros - scratch + bytesOf((width + 3) & ~3));
  fillMaps(levelTable, levels, points, mapWidth, mapHeight, mapStart);

  const blocks = (queries + queryBlock - 1) / queryBlock;
  const headBlocks = heads / headBlock;
  const batch = task / (headBlocks * blocks);
  const firstHead = ((task / blocks) % headBlocks) * headBlock;
  const firstQuery = batch * queries + (task % blocks) * queryBlock;
  const lastQuery = min(firstQuery + queryBlock, (batch + 1) * queries);
  const batchValues = addressAt(args, 0) + bytesOf(batch * tokens * heads * width);
  const maskRow: usize = mask == 0 ? 0 : mask + bytesOf(batch * tokens);

  for (let query = firstQuery; query < lastQuery; query++) {
    const reference = addressAt(args, 3) + bytesOf(query * levels * referenceSize);
    fillPlaces(reference, referenceSize, levels, points, levelTable, baseX, baseY, stepX, stepY);
    for (let head = firstHead; head < firstHead + headBlock; head++) {
      const values = batchValues + headStride * head;
      const row = query * heads + head;
      softmax(addressAt(args, 2) + bytesOf(row * count), count, attention);
      if (weights != 0) memory.copy(weights + bytesOf(row * count), attention, bytesOf(count));
      let offsets = addressAt(args, 1) + bytesOf(row * count * 2);
      if (count != padded) {
        memory.copy(offset, offsets, bytesOf(2 * count));
        offsets = offset;
      }
      for (let point = 0; point < padded; point += 4) {
        const at = bytesOf(point);
        findCells(
          offsets + 2 * at, attention + at, stepX + at, baseX + at, stepY + at, baseY + at, mapWidth + at, mapHeight + at,
          mapStart + at, cells + 4 * at, cellWeights + 4 * at, values, tokenStride, zeros, maskRow != 0,
        );
      }
      if (maskRow != 0) {
        for (let cell = cells, end = cells + bytesOf(4 * padded); cell < end; cell += 4) {
          const token = load<i32>(cell);
          const hidden = token < 0 || load<f32>(maskRow + bytesOf(token)) == 0;
          store<u32>(cell, <u32>(hidden ? zeros : values + tokenStride * token));
        }
      }
      sumCells(addressAt(args, 5) + bytesOf(row * width), width, cells, cellWeights, 4 * padded);
    }
  }
}

/**
 * The four cells around each of four points, and their weights. With `asTokens` the cells' tokens instead of their addresses,
 * -1 outside of the map.
 */
// @ts-ignore: decorator
@inline
function findCells(
  offsets: usize, attention: usize, stepX: usize, baseX: usize, stepY: usize, baseY: usize, mapWidth: usize, mapHeight: usize,
  mapStart: usize, cells: usize, weights: usize, values: usize, tokenStride: usize, zeros: usize, asTokens: bool,
): void {
  const xy01 = v128.load(offsets);
  const xy23 = v128.load(offsets, 16);
  const x = multiplyAdd(i32x4.shuffle(xy01, xy23, 0, 2, 4, 6), v128.load(stepX), v128.load(baseX));
  const y = multiplyAdd(i32x4.shuffle(xy01, xy23, 1, 3, 5, 7), v128.load(stepY), v128.load(baseY));
  const columns = v128.load(mapWidth);
  const rows = v128.load(mapHeight);
  const left = f32x4.floor(x);
  const top = f32x4.floor(y);
  const rightPart = f32x4.sub(x, left);
  const lowerPart = f32x4.sub(y, top);
  const leftPart = f32x4.sub(f32x4.splat(1), rightPart);
  const upperPart = f32x4.sub(f32x4.splat(1), lowerPart);
  const share = v128.load(attention);
  const upperShare = f32x4.mul(share, upperPart);
  const lowerShare = f32x4.mul(share, lowerPart);
  v128.store(weights, f32x4.mul(upperShare, leftPart));
  v128.store(weights, f32x4.mul(upperShare, rightPart), 16);
  v128.store(weights, f32x4.mul(lowerShare, leftPart), 32);
  v128.store(weights, f32x4.mul(lowerShare, rightPart), 48);

  // Comparisons are false for NaN, whose cells are zeros then, but whose weights stay NaN.
  const zero = f32x4.splat(0);
  const right = f32x4.add(left, f32x4.splat(1));
  const bottom = f32x4.add(top, f32x4.splat(1));
  const leftInside = v128.and(f32x4.ge(left, zero), f32x4.lt(left, columns));
  const rightInside = v128.and(f32x4.ge(right, zero), f32x4.lt(right, columns));
  const topInside = v128.and(f32x4.ge(top, zero), f32x4.lt(top, rows));
  const bottomInside = v128.and(f32x4.ge(bottom, zero), f32x4.lt(bottom, rows));
  const columnCount = truncate(columns);
  let upper = i32x4.add(i32x4.mul(truncate(top), columnCount), i32x4.add(v128.load(mapStart), truncate(left)));
  let lower = i32x4.add(upper, columnCount);
  let next = i32x4.splat(1);
  let outside = i32x4.splat(-1);
  if (!asTokens) {
    next = i32x4.splat(<i32>tokenStride);
    outside = i32x4.splat(<i32>zeros);
    upper = i32x4.add(i32x4.mul(upper, next), i32x4.splat(<i32>values));
    lower = i32x4.add(i32x4.mul(lower, next), i32x4.splat(<i32>values));
  }
  v128.store(cells, v128.bitselect(upper, outside, v128.and(topInside, leftInside)));
  v128.store(cells, v128.bitselect(i32x4.add(upper, next), outside, v128.and(topInside, rightInside)), 16);
  v128.store(cells, v128.bitselect(lower, outside, v128.and(bottomInside, leftInside)), 32);
  v128.store(cells, v128.bitselect(i32x4.add(lower, next), outside, v128.and(bottomInside, rightInside)), 48);
}

/** Integers of integral floats; anything for those that no cell has. */
// @ts-ignore: decorator
@inline
function truncate(x: v128): v128 {
  return RELAXED ? i32x4.relaxed_trunc_f32x4_s(x) : i32x4.trunc_sat_f32x4_s(x);
}

/** Width, height and first token of every point's map; points beyond the last get a map without cells. */
function fillMaps(table: usize, levels: i32, points: i32, mapWidth: usize, mapHeight: usize, mapStart: usize): void {
  for (let point = 0; point < levels * points; point++) {
    const level = table + bytesOf(3 * (point / points));
    store<f32>(mapHeight + bytesOf(point), <f32>load<i32>(level));
    store<f32>(mapWidth + bytesOf(point), <f32>load<i32>(level, 4));
    store<i32>(mapStart + bytesOf(point), load<i32>(level, 8));
  }
}

/** Where the points of a query lie, in cells (the centre of the first is 0): base + step * offset. */
function fillPlaces(
  reference: usize, size: i32, levels: i32, points: i32, table: usize, baseX: usize, baseY: usize, stepX: usize, stepY: usize,
): void {
  for (let level = 0; level < levels; level++) {
    const height = <f32>load<i32>(table);
    const width = <f32>load<i32>(table, 4);
    const x = v128.load32_splat(reference);
    const y = v128.load32_splat(reference, 4);
    const half = f32x4.splat(-0.5);
    const placeX = multiplyAdd(x, f32x4.splat(width), half);
    const placeY = multiplyAdd(y, f32x4.splat(height), half);
    let scaleX: f32 = 1;
    let scaleY: f32 = 1;
    if (size == 4) {
      // Offsets are in halves of the box, shared out over the points.
      const share: f32 = <f32>0.5 / <f32>points;
      scaleX = load<f32>(reference, 8) * width * share;
      scaleY = load<f32>(reference, 12) * height * share;
    }
    if (points == 4) {
      v128.store(baseX, placeX);
      v128.store(baseY, placeY);
      v128.store(stepX, f32x4.splat(scaleX));
      v128.store(stepY, f32x4.splat(scaleY));
    } else {
      for (let point = 0; point < points; point++) {
        store<f32>(baseX + bytesOf(point), f32x4.extract_lane(placeX, 0));
        store<f32>(baseY + bytesOf(point), f32x4.extract_lane(placeY, 0));
        store<f32>(stepX + bytesOf(point), scaleX);
        store<f32>(stepY + bytesOf(point), scaleY);
      }
    }
    baseX += bytesOf(points);
    baseY += bytesOf(points);
    stepX += bytesOf(points);
    stepY += bytesOf(points);
    reference += bytesOf(size);
    table += 12;
  }
}

/** Softmax of `count` logits; zeros up to the next multiple of 4. */
function softmax(logits: usize, count: i32, target: usize): void {
  const vectors = count & ~3;
  const rest = count - vectors;
  let highest = f32x4.splat(-Infinity);
  for (let i = 0; i < vectors; i += 4) highest = f32x4.pmax(highest, v128.load(logits + bytesOf(i)));
  const past = i32x4.ge_s(i32x4(0, 1, 2, 3), i32x4.splat(rest));
  let last = f32x4.splat(-Infinity);
  if (rest > 0) {
    last = v128.bitselect(last, loadPartial(logits + bytesOf(vectors), rest), past);
    highest = f32x4.pmax(highest, last);
  }
  // A NaN may be lost here, but not in the exponentials.
  highest = f32x4.pmax(highest, i32x4.shuffle(highest, highest, 2, 3, 0, 1));
  highest = f32x4.pmax(highest, i32x4.shuffle(highest, highest, 1, 0, 3, 2));
  let sum = f32x4.splat(0);
  for (let i = 0; i < vectors; i += 4) {
    const exponential = exp(f32x4.sub(v128.load(logits + bytesOf(i)), highest));
    v128.store(target + bytesOf(i), exponential);
    sum = f32x4.add(sum, exponential);
  }
  if (rest > 0) {
    const exponential = v128.andnot(exp(f32x4.sub(last, highest)), past);
    v128.store(target + bytesOf(vectors), exponential);
    sum = f32x4.add(sum, exponential);
  }
  const factor = f32x4.splat(<f32>1 / sumLanes(sum));
  for (let i = 0; i < count; i += 4) v128.store(target + bytesOf(i), f32x4.mul(v128.load(target + bytesOf(i)), factor));
}

/** target[width] = sum of weight * row over the cells. */
function sumCells(target: usize, width: i32, cells: usize, weights: usize, count: i32): void {
  const distance = weights - cells;
  const end = cells + bytesOf(count);
  let channel = 0;
  for (; channel + 32 <= width; channel += 32) {
    const from = bytesOf(channel);
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
    for (let cell = cells; cell < end; cell += 16) {
      const row0 = <usize>load<u32>(cell, 0) + from;
      const weight0 = v128.load32_splat(cell + distance, 0);
      s0 = multiplyAdd(weight0, v128.load(row0), s0);
      s1 = multiplyAdd(weight0, v128.load(row0, 16), s1);
      s2 = multiplyAdd(weight0, v128.load(row0, 32), s2);
      s3 = multiplyAdd(weight0, v128.load(row0, 48), s3);
      s4 = multiplyAdd(weight0, v128.load(row0, 64), s4);
      s5 = multiplyAdd(weight0, v128.load(row0, 80), s5);
      s6 = multiplyAdd(weight0, v128.load(row0, 96), s6);
      s7 = multiplyAdd(weight0, v128.load(row0, 112), s7);
      const row1 = <usize>load<u32>(cell, 4) + from;
      const weight1 = v128.load32_splat(cell + distance, 4);
      s0 = multiplyAdd(weight1, v128.load(row1), s0);
      s1 = multiplyAdd(weight1, v128.load(row1, 16), s1);
      s2 = multiplyAdd(weight1, v128.load(row1, 32), s2);
      s3 = multiplyAdd(weight1, v128.load(row1, 48), s3);
      s4 = multiplyAdd(weight1, v128.load(row1, 64), s4);
      s5 = multiplyAdd(weight1, v128.load(row1, 80), s5);
      s6 = multiplyAdd(weight1, v128.load(row1, 96), s6);
      s7 = multiplyAdd(weight1, v128.load(row1, 112), s7);
      const row2 = <usize>load<u32>(cell, 8) + from;
      const weight2 = v128.load32_splat(cell + distance, 8);
      s0 = multiplyAdd(weight2, v128.load(row2), s0);
      s1 = multiplyAdd(weight2, v128.load(row2, 16), s1);
      s2 = multiplyAdd(weight2, v128.load(row2, 32), s2);
      s3 = multiplyAdd(weight2, v128.load(row2, 48), s3);
      s4 = multiplyAdd(weight2, v128.load(row2, 64), s4);
      s5 = multiplyAdd(weight2, v128.load(row2, 80), s5);
      s6 = multiplyAdd(weight2, v128.load(row2, 96), s6);
      s7 = multiplyAdd(weight2, v128.load(row2, 112), s7);
      const row3 = <usize>load<u32>(cell, 12) + from;
      const weight3 = v128.load32_splat(cell + distance, 12);
      s0 = multiplyAdd(weight3, v128.load(row3), s0);
      s1 = multiplyAdd(weight3, v128.load(row3, 16), s1);
      s2 = multiplyAdd(weight3, v128.load(row3, 32), s2);
      s3 = multiplyAdd(weight3, v128.load(row3, 48), s3);
      s4 = multiplyAdd(weight3, v128.load(row3, 64), s4);
      s5 = multiplyAdd(weight3, v128.load(row3, 80), s5);
      s6 = multiplyAdd(weight3, v128.load(row3, 96), s6);
      s7 = multiplyAdd(weight3, v128.load(row3, 112), s7);
    }
    const to = target + from;
    v128.store(to, s0);
    v128.store(to, s1, 16);
    v128.store(to, s2, 32);
    v128.store(to, s3, 48);
    v128.store(to, s4, 64);
    v128.store(to, s5, 80);
    v128.store(to, s6, 96);
    v128.store(to, s7, 112);
  }
  for (; channel + 16 <= width; channel += 16) {
    const from = bytesOf(channel);
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
    for (let cell = cells; cell < end; cell += 4) {
      const row = <usize>load<u32>(cell) + from;
      const weight = v128.load32_splat(cell + distance);
      s0 = multiplyAdd(weight, v128.load(row), s0);
      s1 = multiplyAdd(weight, v128.load(row, 16), s1);
      s2 = multiplyAdd(weight, v128.load(row, 32), s2);
      s3 = multiplyAdd(weight, v128.load(row, 48), s3);
    }
    const to = target + from;
    v128.store(to, s0);
    v128.store(to, s1, 16);
    v128.store(to, s2, 32);
    v128.store(to, s3, 48);
  }
  for (; channel + 4 <= width; channel += 4) {
    const from = bytesOf(channel);
    let sum = f32x4.splat(0);
    for (let cell = cells; cell < end; cell += 4) {
      const row = <usize>load<u32>(cell) + from;
      sum = multiplyAdd(v128.load32_splat(cell + distance), v128.load(row), sum);
    }
    v128.store(target + from, sum);
  }
  if (channel < width) {
    const from = bytesOf(channel);
    const rest = width - channel;
    let sum = f32x4.splat(0);
    for (let cell = cells; cell < end; cell += 4) {
      const row = <usize>load<u32>(cell) + from;
      sum = multiplyAdd(v128.load32_splat(cell + distance), loadPartial(row, rest), sum);
    }
    storePartial(target + from, sum, rest);
  }
}
