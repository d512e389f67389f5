import { addressAt, bytesOf, floatAt, integerAt } from '../simd.assembly';

/** The source row or column of "nearest": ⌊place · in / out⌋ with the ratio in float32. */
// @ts-ignore: decorator
@inline
function nearest(place: i32, ratio: f32, size: i32): i32 {
  return min(<i32>floor<f32>(<f32>place * ratio), size - 1);
}

/**
 * args: x, residual or 0, out, H, W, H', W', ratios down and across, rows per task, channels, batch items per residual. A
 * task takes some output rows of a plane.
 */
export function resizeNearest(args: usize, task: i32, scratch: usize): void {
  const residual = addressAt(args, 1);
  const height = integerAt(args, 3);
  const width = integerAt(args, 4);
  const outHeight = integerAt(args, 5);
  const outWidth = integerAt(args, 6);
  const rowRatio = floatAt(args, 7);
  const columnRatio = floatAt(args, 8);
  const rowsPerTask = integerAt(args, 9);
  const channels = integerAt(args, 10);
  const repeats = integerAt(args, 11);
  const blocks = (outHeight + rowsPerTask - 1) / rowsPerTask;
  const plane = task / blocks;
  const first = (task % blocks) * rowsPerTask;
  const end = min(first + rowsPerTask, outHeight);
  const x = addressAt(args, 0) + bytesOf(plane * height * width);
  const outBytes = bytesOf(outWidth);
  const out = addressAt(args, 2) + <usize>(plane * outHeight) * outBytes;
  const residualPlane = (plane / channels / repeats) * channels + (plane % channels);
  const added = residual + <usize>(residualPlane * outHeight) * outBytes;

  // The scratch memory holds the byte offset of each column's source.
  for (let column = 0; column < outWidth; column++) {
    store<u32>(scratch + bytesOf(column), nearest(column, columnRatio, width) << 2);
  }
  let previous = -1;
  for (let row = first; row < end; row++) {
    const sourceRow = nearest(row, rowRatio, height);
    const source = x + bytesOf(sourceRow * width);
    const target = out + <usize>row * outBytes;
    if (residual != 0) gatherAndAdd(source, scratch, added + <usize>row * outBytes, target, outWidth);
    else if (sourceRow == previous) memory.copy(target, target - outBytes, outBytes);
    else gather(source, scratch, target, outWidth);
    previous = sourceRow;
  }
}

/** Four floats of `source`, at the byte offsets that lie at `offsets`. */
// @ts-ignore: decorator
@inline
function gatherVector(source: usize, offsets: usize): v128 {
  let values = v128.load32_zero(source + <usize>load<u32>(offsets));
  values = v128.load_lane<f32>(source + <usize>load<u32>(offsets, 4), values, 1);
  values = v128.load_lane<f32>(source + <usize>load<u32>(offsets, 8), values, 2);
  return v128.load_lane<f32>(source + <usize>load<u32>(offsets, 12), values, 3);
}

function gather(source: usize, offsets: usize, target: usize, count: i32): void {
  const vectors = bytesOf(count & ~3);
  const end = bytesOf(count);
  let i: usize = 0;
  for (; i < vectors; i += 16) v128.store(target + i, gatherVector(source, offsets + i));
  for (; i < end; i += 4) store<u32>(target + i, load<u32>(source + <usize>load<u32>(offsets + i)));
}

function gatherAndAdd(source: usize, offsets: usize, added: usize, target: usize, count: i32): void {
  const vectors = bytesOf(count & ~3);
  const end = bytesOf(count);
  let i: usize = 0;
  for (; i < vectors; i += 16) {
    v128.store(target + i, f32x4.add(gatherVector(source, offsets + i), v128.load(added + i)));
  }
  for (; i < end; i += 4) {
    const value = load<f32>(source + <usize>load<u32>(offsets + i));
    store<f32>(target + i, value + load<f32>(added + i));
  }
}

/** args: mask, out, H, W, H', W', ratios down and across, rows per task. */
export function downsampleMask(args: usize, task: i32, _scratch: usize): void {
  const height = integerAt(args, 2);
  const width = integerAt(args, 3);
  const outHeight = integerAt(args, 4);
  const outWidth = integerAt(args, 5);
  const rowRatio = floatAt(args, 6);
  const columnRatio = floatAt(args, 7);
  const rowsPerTask = integerAt(args, 8);
  const blocks = (outHeight + rowsPerTask - 1) / rowsPerTask;
  const image = task / blocks;
  const first = (task % blocks) * rowsPerTask;
  const end = min(first + rowsPerTask, outHeight);
  for (let row = first; row < end; row++) {
    const sourceRow = image * height + nearest(row, rowRatio, height);
    const source = addressAt(args, 0) + bytesOf(sourceRow * width);
    const target = addressAt(args, 1) + bytesOf((image * outHeight + row) * outWidth);
    for (let column = 0; column < outWidth; column++) {
      const value = load<f32>(source + bytesOf(nearest(column, columnRatio, width)));
      store<f32>(target + bytesOf(column), value != 0 ? 1 : 0);
    }
  }
}

/**
 * Where an output place lies between two source places, exactly: ((2 place + 1) in / out - 1) / 2, not below 0. The lower
 * source place is returned, the share of the next one stored.
 */
function between(place: i32, size: i32, outSize: i32, share: usize): i32 {
  const unit = <i64>(2 * outSize);
  const position = max<i64>(<i64>(2 * place + 1) * <i64>size - <i64>outSize, 0);
  store<f32>(share, <f32>(position % unit) / <f32>unit);
  return <i32>(position / unit);
}

/** args: x, out, H, W, H', W', rows per task. A task takes some output rows of a plane. */
export function resizeBilinear(args: usize, task: i32, scratch: usize): void {
  const height = integerAt(args, 2);
  const width = integerAt(args, 3);
  const outHeight = integerAt(args, 4);
  const outWidth = integerAt(args, 5);
  const rowsPerTask = integerAt(args, 6);
  const blocks = (outHeight + rowsPerTask - 1) / rowsPerTask;
  const plane = task / blocks;
  const first = (task % blocks) * rowsPerTask;
  const end = min(first + rowsPerTask, outHeight);
  const x = addressAt(args, 0) + bytesOf(plane * height * width);
  const out = addressAt(args, 1) + bytesOf(plane * outHeight * outWidth);

  // The scratch memory holds, for each output column, the byte offsets of its two sources and the share of the second;
  // then the share of a row, and the row that lies between two source rows.
  const columnBytes = bytesOf(outWidth);
  const left = scratch;
  const right = left + columnBytes;
  const shares = right + columnBytes;
  const rowShare = shares + columnBytes;
  const blended = rowShare + 4;
  for (let column = 0; column < outWidth; column++) {
    const offset = bytesOf(column);
    const source = between(column, width, outWidth, shares + offset);
    store<u32>(left + offset, source << 2);
    store<u32>(right + offset, min(source + 1, width - 1) << 2);
  }
  const vectors = bytesOf(outWidth & ~3);
  for (let row = first; row < end; row++) {
    const upper = between(row, height, outHeight, rowShare);
    const lower = min(upper + 1, height - 1);
    const upperRow = x + bytesOf(upper * width);
    blendRows(upperRow, x + bytesOf(lower * width), load<f32>(rowShare), blended, width);
    const target = out + <usize>row * columnBytes;
    let i: usize = 0;
    for (; i < vectors; i += 16) {
      const share = v128.load(shares + i);
      const kept = f32x4.mul(gatherVector(blended, left + i), f32x4.sub(f32x4.splat(1), share));
      v128.store(target + i, f32x4.add(kept, f32x4.mul(gatherVector(blended, right + i), share)));
    }
    for (; i < columnBytes; i += 4) {
      const share = load<f32>(shares + i);
      const kept = load<f32>(blended + <usize>load<u32>(left + i)) * (1 - share);
      store<f32>(target + i, kept + load<f32>(blended + <usize>load<u32>(right + i)) * share);
    }
  }
}

function blendRows(upper: usize, lower: usize, share: f32, target: usize, count: i32): void {
  const shares = f32x4.splat(share);
  const rests = f32x4.splat(1 - share);
  const vectors = bytesOf(count & ~3);
  const end = bytesOf(count);
  let i: usize = 0;
  for (; i < vectors; i += 16) {
    const kept = f32x4.mul(v128.load(upper + i), rests);
    v128.store(target + i, f32x4.add(kept, f32x4.mul(v128.load(lower + i), shares)));
  }
  for (; i < end; i += 4) {
    store<f32>(target + i, load<f32>(upper + i) * (1 - share) + load<f32>(lower + i) * share);
  }
}
