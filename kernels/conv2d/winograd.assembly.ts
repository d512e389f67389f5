// Convolution of a 3x3 window and stride 1 by Winograd's method F(4x4, 3x3): an output tile of 4x4 pixels takes 36 products
// per channel instead of 144. The interpolation points are 0, ±√½, ±√2 and infinity, whose rounding errors are twice those
// of summing directly; those of the usual 0, ±1, ±2 are ten times.
//
// C channels in, O channels out, H and W rows and columns of the input, P and Q of the output. A dilated convolution is
// one of its own on every D-th row and column: a tile's pixels then lie D apart.

import { activateVector } from '../activation.assembly';
import { finishRow, firstRowOf, multiplyPanel, panelsOf, rowsOf } from '../matrix-product.assembly';
import { addressAt, bytesOf, integerAt, multiplyAdd } from '../simd.assembly';

const SQRT2: f32 = 1.41421356;
const SQRT1_2: f32 = 0.70710678;

/** Transformed values per tile and channel. */
const POINTS: i32 = 36;
/**
 * Bytes of what `describeTiles` notes per tile: input row and column, whether it lies inside, output row and column, whether
 * its pixels and those of the next three tiles are 16 columns of the same rows.
 */
const TILE: usize = 24;
/** Bytes between the rows of a patch, and of a whole patch of 6x6 input pixels that crosses the border. */
const PATCH_ROW: usize = 32;
const PATCH: usize = 6 * PATCH_ROW;


// @ts-ignore: decorator
@inline
function scale(x: v128, factor: f32, plus: v128): v128 {
  return multiplyAdd(x, f32x4.splat(factor), plus);
}

/** Six values, `step` bytes apart from `to` on: the input transform Bᵀ of d0 … d5. */
// @ts-ignore: decorator
@inline
function transformInput(d0: v128, d1: v128, d2: v128, d3: v128, d4: v128, d5: v128, to: usize, step: usize): void {
  v128.store(to, scale(d2, -2.5, f32x4.add(d0, d4)));
  const even1 = scale(d2, -2, d4);
  const odd1 = scale(d1, -2, d3);
  to += step;
  v128.store(to, scale(odd1, SQRT1_2, even1));
  to += step;
  v128.store(to, scale(odd1, -SQRT1_2, even1));
  const even2 = scale(d2, -0.5, d4);
  const odd2 = scale(d1, -0.5, d3);
  to += step;
  v128.store(to, scale(odd2, SQRT2, even2));
  to += step;
  v128.store(to, scale(odd2, -SQRT2, even2));
  to += step;
  v128.store(to, scale(d3, -2.5, f32x4.add(d1, d5)));
}

/** Transforms one channel's patches of four tiles, the rows of each `stride` bytes apart; point t goes to `to + t * step`. */
function transformPatches(
  p0: usize,
  p1: usize,
  p2: usize,
  p3: usize,
  s0: usize,
  s1: usize,
  s2: usize,
  s3: usize,
  work: usize,
  to: usize,
  step: usize,
): void {
  for (let row: usize = 0; row < 6; row++) {
    const v0 = v128.load(p0);
    const v1 = v128.load(p1);
    const v2 = v128.load(p2);
    const v3 = v128.load(p3);
    const low01 = i32x4.shuffle(v0, v1, 0, 4, 1, 5);
    const high01 = i32x4.shuffle(v0, v1, 2, 6, 3, 7);
    const low23 = i32x4.shuffle(v2, v3, 0, 4, 1, 5);
    const high23 = i32x4.shuffle(v2, v3, 2, 6, 3, 7);
    const right01 = i32x4.shuffle(v128.load64_zero(p0, 16), v128.load64_zero(p1, 16), 0, 4, 1, 5);
    const right23 = i32x4.shuffle(v128.load64_zero(p2, 16), v128.load64_zero(p3, 16), 0, 4, 1, 5);
    transformInput(
      i64x2.shuffle(low01, low23, 0, 2),
      i64x2.shuffle(low01, low23, 1, 3),
      i64x2.shuffle(high01, high23, 0, 2),
      i64x2.shuffle(high01, high23, 1, 3),
      i64x2.shuffle(right01, right23, 0, 2),
      i64x2.shuffle(right01, right23, 1, 3),
      work + row * 96,
      16,
    );
    p0 += s0;
    p1 += s1;
    p2 += s2;
    p3 += s3;
  }
  for (let column: usize = 0; column < 6; column++) {
    transformInput(
      v128.load(work),
      v128.load(work, 96),
      v128.load(work, 192),
      v128.load(work, 288),
      v128.load(work, 384),
      v128.load(work, 480),
      to,
      6 * step,
    );
    work += 16;
    to += step;
  }
}

/** All bits of the lanes whose columns, the first of them `column`, lie in 0 … width - 1. */
// @ts-ignore: decorator
@inline
function lanesInside(column: i32, width: i32): v128 {
  const columns = i32x4.add(i32x4.splat(column), i32x4(0, 1, 2, 3));
  return i32x4.lt_u(columns, i32x4.splat(width));
}

/** Copies the 6x6 patch from (`row`, `column`) on, pixels `dilation` apart, zeros for what lies outside. */
function copyPatch(plane: usize, height: i32, width: i32, row: i32, column: i32, dilation: i32, to: usize): void {
  const planeEnd = plane + bytesOf(height * width);
  const left = lanesInside(column, width);
  const right = lanesInside(column + 4, width);
  for (let i = 0; i < 6; i++) {
    const y = row + i * dilation;
    const line = plane + bytesOf(y * width);
    const from = line + (<isize>column << 2);
    if (y < 0 || y >= height) {
      v128.store(to, f32x4.splat(0));
      v128.store(to, f32x4.splat(0), 16);
    } else if (dilation == 1 && from + 32 <= planeEnd) {
      // Beside the row lie other values, which the masks take out.
      v128.store(to, v128.and(v128.load(from), left));
      v128.store(to, v128.and(v128.load(from, 16), right), 16);
    } else {
      for (let j = 0; j < 6; j++) {
        const x = column + j * dilation;
        store<f32>(to + bytesOf(j), x >= 0 && x < width ? load<f32>(line + bytesOf(x)) : <f32>0);
      }
    }
    to += PATCH_ROW;
  }
}

/** Four values, `step` bytes apart from `to` on: the output transform Aᵀ of m0 … m5. */
// @ts-ignore: decorator
@inline
function transformOutput(m0: v128, m1: v128, m2: v128, m3: v128, m4: v128, m5: v128, to: usize, step: usize): void {
  const even1 = f32x4.add(m1, m2);
  const even2 = f32x4.add(m3, m4);
  const odd1 = f32x4.mul(f32x4.sub(m1, m2), f32x4.splat(SQRT1_2));
  const odd2 = f32x4.mul(f32x4.sub(m3, m4), f32x4.splat(SQRT2));
  v128.store(to, f32x4.add(m0, f32x4.add(even1, even2)));
  to += step;
  v128.store(to, f32x4.add(odd1, odd2));
  to += step;
  v128.store(to, scale(even1, 0.5, f32x4.add(even2, even2)));
  to += step;
  v128.store(to, scale(odd1, 0.5, scale(odd2, 2, m5)));
}

/** Turns the products of four tiles, `step` bytes apart, into 4x4 pixels each: to + tile * 16 + row * 64. */
function transformProducts(products: usize, step: usize, work: usize, to: usize): void {
  const column: usize = 6 * step;
  for (let j: usize = 0; j < 6; j++) {
    const from = products + j * step;
    transformOutput(
      v128.load(from),
      v128.load(from + column),
      v128.load(from + 2 * column),
      v128.load(from + 3 * column),
      v128.load(from + 4 * column),
      v128.load(from + 5 * column),
      work + (j << 4),
      96,
    );
  }
  for (let row: usize = 0; row < 4; row++) {
    transformOutput(
      v128.load(work),
      v128.load(work, 16),
      v128.load(work, 32),
      v128.load(work, 48),
      v128.load(work, 64),
      v128.load(work, 80),
      to,
      16,
    );
    const v0 = v128.load(to);
    const v1 = v128.load(to, 16);
    const v2 = v128.load(to, 32);
    const v3 = v128.load(to, 48);
    const low01 = i32x4.shuffle(v0, v1, 0, 4, 1, 5);
    const high01 = i32x4.shuffle(v0, v1, 2, 6, 3, 7);
    const low23 = i32x4.shuffle(v2, v3, 0, 4, 1, 5);
    const high23 = i32x4.shuffle(v2, v3, 2, 6, 3, 7);
    v128.store(to, i64x2.shuffle(low01, low23, 0, 2));
    v128.store(to, i64x2.shuffle(low01, low23, 1, 3), 16);
    v128.store(to, i64x2.shuffle(high01, high23, 0, 2), 32);
    v128.store(to, i64x2.shuffle(high01, high23, 1, 3), 48);
    work += 96;
    to += 64;
  }
}

/** Notes where the tiles from `first` on lie. Tiles run along the columns, then the rows, then the dilation's phases. */
function describeTiles(args: usize, first: i32, count: i32, to: usize): void {
  const height = integerAt(args, 6);
  const width = integerAt(args, 7);
  const dilation = integerAt(args, 11);
  const tileRows = ((integerAt(args, 9) + dilation - 1) / dilation + 3) >> 2;
  const outWidth = integerAt(args, 10);
  const tileColumns = ((outWidth + dilation - 1) / dilation + 3) >> 2;
  for (let tile = first; tile < first + count; tile++) {
    const phase = tile / (tileRows * tileColumns);
    const outRow = phase / dilation + ((tile / tileColumns) % tileRows) * 4 * dilation;
    const outColumn = (phase % dilation) + (tile % tileColumns) * 4 * dilation;
    const row = outRow - integerAt(args, 12);
    const column = outColumn - integerAt(args, 13);
    const inside = dilation == 1 && row >= 0 && column >= 0 && row + 6 <= height && column + 6 <= width;
    store<i32>(to, row);
    store<i32>(to, column, 4);
    store<i32>(to, inside ? 1 : 0, 8);
    store<i32>(to, outRow, 12);
    store<i32>(to, outColumn, 16);
    store<i32>(to, dilation == 1 && outColumn + 16 <= outWidth ? 1 : 0, 20);
    to += TILE;
  }
}

/** Where the tile's patch of a channel is, copied to `patch` if it crosses the border. */
// @ts-ignore: decorator
@inline
function patchOf(tile: usize, plane: usize, height: i32, width: i32, dilation: i32, patch: usize): usize {
  const row = load<i32>(tile);
  const column = load<i32>(tile, 4);
  if (load<i32>(tile, 8)) return plane + bytesOf(row * width + column);
  copyPatch(plane, height, width, row, column, dilation, patch);
  return patch;
}

/** Transforms all channels of the tiles of a task. */
function transformTiles(args: usize, image: i32, groups: i32, tiles: usize, work: usize, to: usize, step: usize): void {
  const channels = integerAt(args, 5);
  const height = integerAt(args, 6);
  const width = integerAt(args, 7);
  const dilation = integerAt(args, 11);
  const rowBytes = bytesOf(width);
  const planeBytes = <usize>height * rowBytes;
  const patches = work + 6 * 96;
  for (let half = 0; half < 2 * groups; half++) {
    const t0 = tiles + <usize>half * 4 * TILE;
    const t1 = t0 + TILE;
    const t2 = t1 + TILE;
    const t3 = t2 + TILE;
    const s0 = load<i32>(t0, 8) ? rowBytes : PATCH_ROW;
    const s1 = load<i32>(t1, 8) ? rowBytes : PATCH_ROW;
    const s2 = load<i32>(t2, 8) ? rowBytes : PATCH_ROW;
    const s3 = load<i32>(t3, 8) ? rowBytes : PATCH_ROW;
    let plane = addressAt(args, 0) + <usize>(image * channels) * planeBytes;
    let panel = to + (<usize>((half >> 1) * channels) << 5) + (<usize>(half & 1) << 4);
    for (let channel = 0; channel < channels; channel++) {
      const p0 = patchOf(t0, plane, height, width, dilation, patches);
      const p1 = patchOf(t1, plane, height, width, dilation, patches + PATCH);
      const p2 = patchOf(t2, plane, height, width, dilation, patches + 2 * PATCH);
      const p3 = patchOf(t3, plane, height, width, dilation, patches + 3 * PATCH);
      transformPatches(p0, p1, p2, p3, s0, s1, s2, s3, work, panel, step);
      plane += planeBytes;
      panel += 32;
    }
  }
}

/** Writes the 4x4 pixels of a tile (rows 64 bytes apart) that lie in the output plane at `out`. */
// @ts-ignore: decorator
@inline
function writeTile(args: usize, tile: usize, pixels: usize, plane: usize, bias: f32): void {
  const outHeight = integerAt(args, 9);
  const outWidth = integerAt(args, 10);
  const dilation = integerAt(args, 11);
  const activation = integerAt(args, 14);
  const residual = addressAt(args, 3);
  const out = addressAt(args, 4);
  const row = load<i32>(tile, 12);
  const column = load<i32>(tile, 16);
  const whole = dilation == 1 && column + 4 <= outWidth;
  for (let i = 0; i < 4; i++) {
    const y = row + i * dilation;
    if (y >= outHeight) return;
    let to = plane + bytesOf(y * outWidth + column);
    if (whole) {
      let value = f32x4.add(v128.load(pixels), f32x4.splat(bias));
      if (residual != 0) value = f32x4.add(value, v128.load(residual + to));
      v128.store(out + to, activateVector(activation, value));
    } else {
      let x = column;
      for (let j: usize = 0; j < 4 && x < outWidth; j++) {
        let value = load<f32>(pixels + (j << 2)) + bias;
        if (residual != 0) value += load<f32>(residual + to);
        store<f32>(out + to, f32x4.extract_lane(activateVector(activation, f32x4.splat(value)), 0));
        to += bytesOf(dilation);
        x += dilation;
      }
    }
    pixels += 64;
  }
}

// args: x, transformed weight [panel, 36, C, rows], bias or 0, residual or 0, out, C, H, W, O, P, Q, dilation, paddingTop,
// paddingLeft, activation, tiles per task (a multiple of 8), row panels per task.
// Scratch: the tiles' notes, a work area, the transformed tiles [36][tiles / 8][C][8], the products [36][6][tiles].
export function conv2dWinograd(args: usize, task: i32, scratch: usize): void {
  const channels = integerAt(args, 5);
  const outChannels = integerAt(args, 8);
  const outHeight = integerAt(args, 9);
  const outWidth = integerAt(args, 10);
  const dilation = integerAt(args, 11);
  const tilesPerTask = integerAt(args, 15);
  const panelsPerTask = integerAt(args, 16);
  const tileRows = ((outHeight + dilation - 1) / dilation + 3) >> 2;
  const tileColumns = ((outWidth + dilation - 1) / dilation + 3) >> 2;
  const tiles = dilation * dilation * tileRows * tileColumns;
  const panels = panelsOf(outChannels);
  const panelTasks = (panels + panelsPerTask - 1) / panelsPerTask;
  const tileTasks = (tiles + tilesPerTask - 1) / tilesPerTask;
  const firstPanel = (task % panelTasks) * panelsPerTask;
  const firstTile = ((task / panelTasks) % tileTasks) * tilesPerTask;
  const image = task / (panelTasks * tileTasks);
  const count = min(tilesPerTask, tiles - firstTile);
  const groups = (count + 7) >> 3;

  const work = scratch + ((<usize>(groups << 3) * TILE + 63) & ~63);
  const transformed = work + 6 * 96 + 4 * PATCH;
  // A step beside a multiple of 4096 keeps the 36 points out of each other's cache sets.
  const step = (<usize>(groups * channels) << 5) + 64;
  const products = transformed + <usize>POINTS * step;
  // Tiles beyond the last one are computed along with the others and never written.
  describeTiles(args, firstTile, groups << 3, scratch);
  transformTiles(args, image, groups, scratch, work, transformed, step);

  const bias = addressAt(args, 2);
  const residual = addressAt(args, 3);
  const out = addressAt(args, 4);
  const activation = integerAt(args, 14);
  const pixels = work + 6 * 96;
  const depthBytes = bytesOf(channels);
  const panelStride = depthBytes << 3;
  const sumStride = <usize>groups << 5;
  for (let panel = firstPanel; panel < min(firstPanel + panelsPerTask, panels); panel++) {
    const first = firstRowOf(panel, outChannels);
    const rows = rowsOf(panel, outChannels);
    const productStep = <usize>rows * sumStride;
    let left = addressAt(args, 1) + <usize>(first * POINTS) * depthBytes;
    for (let point: usize = 0; point < <usize>POINTS; point++) {
      const right = transformed + point * step;
      multiplyPanel(rows, left, right, panelStride, groups, channels, products + point * productStep, sumStride, false);
      left += <usize>rows * depthBytes;
    }
    for (let row = 0; row < min(rows, outChannels - first); row++) {
      const channel = first + row;
      const channelBias = bias == 0 ? <f32>0 : load<f32>(bias + bytesOf(channel));
      const plane = bytesOf((image * outChannels + channel) * outHeight * outWidth);
      const rowProducts = products + <usize>row * sumStride;
      for (let tile = 0; tile < count; tile += 4) {
        transformProducts(rowProducts + bytesOf(tile), productStep, work, pixels);
        const notes = scratch + <usize>tile * TILE;
        if (load<i32>(notes, 20) && tile + 4 <= count) {
          const outRow = load<i32>(notes, 12);
          let to = plane + bytesOf(outRow * outWidth + load<i32>(notes, 16));
          for (let i = 0; i < min(4, outHeight - outRow); i++) {
            const rowResidual = residual == 0 ? residual : residual + to;
            finishRow(pixels + (<usize>i << 6), channelBias, 0, rowResidual, out + to, 16, activation);
            to += bytesOf(outWidth);
          }
        } else {
          for (let lane = 0; lane < min(4, count - tile); lane++) {
            writeTile(args, notes + <usize>lane * TILE, pixels + (<usize>lane << 4), plane, channelBias);
          }
        }
      }
    }
  }
}
