import { addressAt, bytesOf, integerAt, maximum, storePartial } from '../simd.assembly';
import { sumOf } from '../sum.assembly';

/** Floats that vectors of windows may read beyond a padded row; ROW_EXCESS in pooling.ts. */
const ROW_EXCESS: i32 = 16;

/** args: x, out, H, W, H', W', kernel, stride, padding, rows per task. A task takes some output rows of a plane. */
export function maxPool2d(args: usize, task: i32, scratch: usize): void {
  const height = integerAt(args, 2);
  const width = integerAt(args, 3);
  const outHeight = integerAt(args, 4);
  const outWidth = integerAt(args, 5);
  const kernel = integerAt(args, 6);
  const stride = integerAt(args, 7);
  const padding = integerAt(args, 8);
  const rowsPerTask = integerAt(args, 9);
  const blocks = (outHeight + rowsPerTask - 1) / rowsPerTask;
  const plane = task / blocks;
  const first = (task % blocks) * rowsPerTask;
  const end = min(first + rowsPerTask, outHeight);
  const x = addressAt(args, 0) + bytesOf(plane * height * width);
  let out = addressAt(args, 1) + bytesOf((plane * outHeight + first) * outWidth);

  // The scratch memory holds a row of maxima down the window's columns, with -infinity around it.
  const inside = scratch + bytesOf(padding);
  const beyond = inside + bytesOf(width);
  for (let i = 0; i < padding; i++) store<f32>(scratch + bytesOf(i), -Infinity);
  for (let i = 0; i < padding + ROW_EXCESS; i++) store<f32>(beyond + bytesOf(i), -Infinity);

  for (let row = first; row < end; row++) {
    const top = max(row * stride - padding, 0);
    const bottom = min(row * stride - padding + kernel, height);
    maximaDown(x + bytesOf(top * width), bottom - top, width, inside);
    if (stride == 1) maximaAcross(1, scratch, kernel, out, outWidth);
    else if (stride == 2) maximaAcross(2, scratch, kernel, out, outWidth);
    else maximaApart(stride, scratch, kernel, out, outWidth);
    out += bytesOf(outWidth);
  }
}

/** The largest of each of `width` columns, over `rows` rows. */
function maximaDown(x: usize, rows: i32, width: i32, target: usize): void {
  const pitch = bytesOf(width);
  const vectors = bytesOf(width & ~3);
  let offset: usize = 0;
  for (; offset < vectors; offset += 16) {
    let address = x + offset;
    let largest = v128.load(address);
    for (let row = 1; row < rows; row++) {
      address += pitch;
      largest = maximum(largest, v128.load(address));
    }
    v128.store(target + offset, largest);
  }
  for (; offset < pitch; offset += 4) {
    let address = x + offset;
    let largest = load<f32>(address);
    for (let row = 1; row < rows; row++) {
      address += pitch;
      largest = max<f32>(largest, load<f32>(address));
    }
    store<f32>(target + offset, largest);
  }
}

/** The largest of each window of a row, four windows at a time; the stride is 1 or 2. */
// @ts-ignore: decorator
@inline
function maximaAcross(stride: i32, row: usize, kernel: i32, out: usize, count: i32): void {
  for (let column = 0; column < count; column += 4) {
    const window = row + bytesOf(column * stride);
    let largest = f32x4.splat(-Infinity);
    for (let i: usize = 0; i < bytesOf(kernel); i += 4) {
      let values = v128.load(window + i);
      if (stride == 2) values = i32x4.shuffle(values, v128.load(window + i, 16), 0, 2, 4, 6);
      largest = maximum(largest, values);
    }
    const target = out + bytesOf(column);
    if (column + 4 <= count) v128.store(target, largest);
    else storePartial(target, largest, count - column);
  }
}

function maximaApart(stride: i32, row: usize, kernel: i32, out: usize, count: i32): void {
  for (let column = 0; column < count; column++) {
    let largest: f32 = -Infinity;
    for (let i = 0; i < kernel; i++) {
      largest = max<f32>(largest, load<f32>(row + bytesOf(column * stride + i)));
    }
    store<f32>(out + bytesOf(column), largest);
  }
}

/** args: x, out, planes, H * W, planes per task. */
export function meanOverSpace(args: usize, task: i32, _scratch: usize): void {
  const space = integerAt(args, 3);
  const planesPerTask = integerAt(args, 4);
  const first = task * planesPerTask;
  const end = min(first + planesPerTask, integerAt(args, 2));
  for (let plane = first; plane < end; plane++) {
    const sum = sumOf(addressAt(args, 0) + bytesOf(plane * space), space);
    store<f32>(addressAt(args, 1) + bytesOf(plane), <f32>(sum / <f64>space));
  }
}
