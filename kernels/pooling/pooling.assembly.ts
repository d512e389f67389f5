import { addressAt, integerAt, maximum, storePartial } from '../simd.assembly';
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
  const x = addressAt(args, 0) + (<usize>(plane * height * width) << 2);
  let out = addressAt(args, 1) + (<usize>((plane * outHeight + first) * outWidth) << 2);

  // The scratch memory holds a row of maxima down the window's columns, with -infinity around it.
  const inside = scratch + (<usize>padding << 2);
  const beyond = inside + (<usize>width << 2);
  for (let i = 0; i < padding; i++) store<f32>(scratch + (<usize>i << 2), -Infinity);
  for (let i = 0; i < padding + ROW_EXCESS; i++) store<f32>(beyond + (<usize>i << 2), -Infinity);

  for (let row = first; row < end; row++) {
    const top = max(row * stride - padding, 0);
    const bottom = min(row * stride - padding + kernel, height);
    maximaDown(x + (<usize>(top * width) << 2), bottom - top, width, inside);
    if (stride == 1) maximaAcross(1, scratch, kernel, out, outWidth);
    else if (stride == 2) maximaAcross(2, scratch, kernel, out, outWidth);
    else maximaApart(stride, scratch, kernel, out, outWidth);
    out += <usize>outWidth << 2;
  }
}

/** The largest of each of `width` columns, over `rows` rows. */
function maximaDown(x: usize, rows: i32, width: i32, target: usize): void {
  const pitch = <usize>width << 2;
  const vectors = <usize>(width & ~3) << 2;
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
    const window = row + (<usize>(column * stride) << 2);
    let largest = f32x4.splat(-Infinity);
    for (let i: usize = 0; i < <usize>kernel << 2; i += 4) {
      let values = v128.load(window + i);
      if (stride == 2) values = i32x4.shuffle(values, v128.load(window + i, 16), 0, 2, 4, 6);
      largest = maximum(largest, values);
    }
    const target = out + (<usize>column << 2);
    if (column + 4 <= count) v128.store(target, largest);
    else storePartial(target, largest, count - column);
  }
}

function maximaApart(stride: i32, row: usize, kernel: i32, out: usize, count: i32): void {
  for (let column = 0; column < count; column++) {
    let largest: f32 = -Infinity;
    for (let i = 0; i < kernel; i++) {
      largest = max<f32>(largest, load<f32>(row + (<usize>(column * stride + i) << 2)));
    }
    store<f32>(out + (<usize>column << 2), largest);
  }
}

/** args: x, out, planes, H * W, planes per task. */
export function meanOverSpace(args: usize, task: i32, _scratch: usize): void {
  const space = integerAt(args, 3);
  const planesPerTask = integerAt(args, 4);
  const first = task * planesPerTask;
  const end = min(first + planesPerTask, integerAt(args, 2));
  for (let plane = first; plane < end; plane++) {
    const sum = sumOf(addressAt(args, 0) + (<usize>(plane * space) << 2), space);
    store<f32>(addressAt(args, 1) + (<usize>plane << 2), <f32>(sum / <f64>space));
  }
}
