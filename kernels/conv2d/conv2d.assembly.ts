// C channels in, O channels out, H and W rows and columns of the input, P and Q of the output. A tap is one weight of a
// kernel's window; T taps.

import { activateVector } from '../activation.assembly';
import { COLUMNS, finishRow, firstRowOf, multiplyPanel, panelsOf, rowsOf } from '../matrix-product.assembly';
import { addressAt, integerAt, multiplyAdd } from '../simd.assembly';

// How the eight pixels of a column panel lie in the input plane, for one tap.
const SCATTERED: i32 = 0;
const CONTIGUOUS: i32 = 1;
const EVERY_SECOND: i32 = 2;

/** Bytes of a table entry: the kind and where the eight pixels lie in the plane, in bytes; -1 for padding. */
const ENTRY: usize = 36;

/** Where the pixels from `first` on lie in an input plane, for every tap and group of eight. */
function describePixels(table: usize, args: usize, first: i32, count: i32): void {
  const height = integerAt(args, 6);
  const width = integerAt(args, 7);
  const outWidth = integerAt(args, 10);
  const kernelHeight = integerAt(args, 11);
  const kernelWidth = integerAt(args, 12);
  const stride = integerAt(args, 13);
  const dilation = integerAt(args, 14);
  const paddingTop = integerAt(args, 15);
  const paddingLeft = integerAt(args, 16);
  for (let i = 0; i < kernelHeight; i++) {
    for (let j = 0; j < kernelWidth; j++) {
      for (let group = 0; group < count; group += COLUMNS) {
        for (let lane = 0; lane < COLUMNS; lane++) {
          const pixel = first + group + lane;
          const row = (pixel / outWidth) * stride + i * dilation - paddingTop;
          const column = (pixel % outWidth) * stride + j * dilation - paddingLeft;
          const outside = group + lane >= count || row < 0 || row >= height || column < 0 || column >= width;
          store<i32>(table + (<usize>lane << 2), outside ? -1 : (row * width + column) << 2, 4);
        }
        store<i32>(table, kindOf(table + 4, width));
        table += ENTRY;
      }
    }
  }
}

function kindOf(offsets: usize, width: i32): i32 {
  const start = load<i32>(offsets);
  const step = load<i32>(offsets, 4) - start;
  if (start < 0 || (step != 4 && step != 8)) return SCATTERED;
  for (let lane = 2; lane < COLUMNS; lane++) {
    if (load<i32>(offsets + (<usize>lane << 2)) != start + lane * step) return SCATTERED;
  }
  return step == 4 ? CONTIGUOUS : EVERY_SECOND;
}

// @ts-ignore: decorator
@inline
function pixelAt(plane: usize, offsets: usize, lane: usize): f32 {
  const offset = load<i32>(offsets + (lane << 2));
  return offset < 0 ? <f32>0 : load<f32>(plane + <usize>offset);
}

/** Packs one tap of one channel: a row of all column panels. */
function packTap(plane: usize, table: usize, groups: i32, out: usize, panelStride: usize): void {
  for (let group = 0; group < groups; group++) {
    const kind = load<i32>(table);
    const from = plane + <usize>load<i32>(table, 4);
    if (kind == CONTIGUOUS) {
      v128.store(out, v128.load(from));
      v128.store(out, v128.load(from, 16), 16);
    } else if (kind == EVERY_SECOND) {
      v128.store(out, i32x4.shuffle(v128.load(from), v128.load(from, 16), 0, 2, 4, 6));
      // The last load ends with the last pixel, not beyond the plane.
      v128.store(out, i32x4.shuffle(v128.load(from, 32), v128.load(from, 44), 0, 2, 5, 7), 16);
    } else {
      const offsets = table + 4;
      for (let lane: usize = 0; lane < 8; lane++) store<f32>(out + (lane << 2), pixelAt(plane, offsets, lane));
    }
    table += ENTRY;
    out += panelStride;
  }
}

// args: x, weight as left panels per group, bias or 0, residual or 0, out, C, H, W, O, P, Q, kernelHeight, kernelWidth, stride,
// dilation, paddingTop, paddingLeft, groups, activation, pixels per task, row panels per task.
// Scratch: the pixel table, the task's pixels as column panels, the sums of 6 output channels.
export function conv2dPanels(args: usize, task: i32, scratch: usize): void {
  const inputPixels = integerAt(args, 6) * integerAt(args, 7);
  const pixels = integerAt(args, 9) * integerAt(args, 10);
  const taps = integerAt(args, 11) * integerAt(args, 12);
  const groups = integerAt(args, 17);
  const activation = integerAt(args, 18);
  const pixelsPerTask = integerAt(args, 19);
  const panelsPerTask = integerAt(args, 20);
  const channels = integerAt(args, 5) / groups;
  const outChannels = integerAt(args, 8) / groups;
  const panels = panelsOf(outChannels);
  const panelTasks = (panels + panelsPerTask - 1) / panelsPerTask;
  const pixelTasks = (pixels + pixelsPerTask - 1) / pixelsPerTask;

  const firstPanel = (task % panelTasks) * panelsPerTask;
  const firstPixel = ((task / panelTasks) % pixelTasks) * pixelsPerTask;
  const group = (task / (panelTasks * pixelTasks)) % groups;
  // Groups of consecutive images lie one after the other, in the input and in the output.
  const imageGroup = task / (panelTasks * pixelTasks);
  const count = min(pixelsPerTask, pixels - firstPixel);
  const columnPanels = (count + COLUMNS - 1) / COLUMNS;

  const depth = channels * taps;
  // A step beside a power of two keeps the panels out of each other's cache sets.
  const panelStride = (<usize>depth << 5) + 64;
  const packed = scratch + ((<usize>(taps * columnPanels) * ENTRY + 63) & ~63);
  const sums = packed + <usize>columnPanels * panelStride;
  describePixels(scratch, args, firstPixel, count);
  let plane = addressAt(args, 0) + (<usize>(imageGroup * channels * inputPixels) << 2);
  let to = packed;
  for (let channel = 0; channel < channels; channel++) {
    let table = scratch;
    for (let tap = 0; tap < taps; tap++) {
      packTap(plane, table, columnPanels, to, panelStride);
      table += <usize>columnPanels * ENTRY;
      to += 32;
    }
    plane += <usize>inputPixels << 2;
  }

  const weight = addressAt(args, 1) + (<usize>(group * firstRowOf(panels, outChannels) * depth) << 2);
  const bias = addressAt(args, 2);
  const residual = addressAt(args, 3);
  const sumStride = <usize>columnPanels << 5;
  for (let panel = firstPanel; panel < min(firstPanel + panelsPerTask, panels); panel++) {
    const first = firstRowOf(panel, outChannels);
    const rows = rowsOf(panel, outChannels);
    const left = weight + (<usize>(first * depth) << 2);
    multiplyPanel(rows, left, packed, panelStride, columnPanels, depth, sums, sumStride);
    for (let row = 0; row < min(rows, outChannels - first); row++) {
      const offset = <usize>((imageGroup * outChannels + first + row) * pixels + firstPixel) << 2;
      const rowBias = bias == 0 ? <f32>0 : load<f32>(bias + (<usize>(group * outChannels + first + row) << 2));
      const rowResidual = residual == 0 ? residual : residual + offset;
      finishRow(sums + <usize>row * sumStride, rowBias, 0, rowResidual, addressAt(args, 4) + offset, count, activation);
    }
  }
}

/** Rows of the window that lie in the input, for one output row: the first. */
// @ts-ignore: decorator
@inline
function firstTap(start: i32, dilation: i32): i32 {
  return start >= 0 ? 0 : (dilation - 1 - start) / dilation;
}

/** One past the last tap in the input. */
// @ts-ignore: decorator
@inline
function endTap(start: i32, dilation: i32, taps: i32, size: i32): i32 {
  const fitting = size - start <= 0 ? 0 : (size - start + dilation - 1) / dilation;
  return min(taps, fitting);
}

// args: as conv2dPanels up to the activation, with the weight as it is, [O, 1, kernelHeight, kernelWidth]. A task is one
// output plane.
export function conv2dDepthwise(args: usize, task: i32, _scratch: usize): void {
  const residual = addressAt(args, 3);
  const height = integerAt(args, 6);
  const width = integerAt(args, 7);
  const outChannels = integerAt(args, 8);
  const outHeight = integerAt(args, 9);
  const outWidth = integerAt(args, 10);
  const kernelHeight = integerAt(args, 11);
  const kernelWidth = integerAt(args, 12);
  const stride = integerAt(args, 13);
  const dilation = integerAt(args, 14);
  const paddingTop = integerAt(args, 15);
  const paddingLeft = integerAt(args, 16);
  const activation = integerAt(args, 18);
  const channel = task % outChannels;
  const plane = (task / outChannels) * integerAt(args, 5) + channel / (outChannels / integerAt(args, 17));
  const x = addressAt(args, 0) + (<usize>(plane * height * width) << 2);
  const weight = addressAt(args, 1) + (<usize>(channel * kernelHeight * kernelWidth) << 2);
  const bias = addressAt(args, 2);
  const start = bias == 0 ? <f32>0 : load<f32>(bias + (<usize>channel << 2));
  // Output columns whose whole window lies in the input.
  const inner = min((paddingLeft + stride - 1) / stride, outWidth);
  const lastStart = width - 1 - (kernelWidth - 1) * dilation + paddingLeft;
  const innerEnd = lastStart < 0 ? 0 : min(lastStart / stride + 1, outWidth);
  const vectors = stride <= 2;

  for (let p = 0; p < outHeight; p++) {
    const top = p * stride - paddingTop;
    const i0 = firstTap(top, dilation);
    const i1 = endTap(top, dilation, kernelHeight, height);
    const outRow = <usize>((task * outHeight + p) * outWidth) << 2;
    const out = addressAt(args, 4) + outRow;
    for (let q = 0; q < outWidth; ) {
      const leftmost = q * stride - paddingLeft;
      const offset = <usize>q << 2;
      if (vectors && q >= inner && q + 4 <= innerEnd) {
        let sum = f32x4.splat(start);
        for (let i = i0; i < i1; i++) {
          let from = x + (<usize>((top + i * dilation) * width + leftmost) << 2);
          let w = weight + (<usize>(i * kernelWidth) << 2);
          for (let j = 0; j < kernelWidth; j++) {
            const values =
              stride == 1 ? v128.load(from) : i32x4.shuffle(v128.load(from), v128.load(from, 12), 0, 2, 5, 7);
            sum = multiplyAdd(values, v128.load32_splat(w), sum);
            from += <usize>dilation << 2;
            w += 4;
          }
        }
        if (residual != 0) sum = f32x4.add(sum, v128.load(residual + outRow + offset));
        v128.store(out + offset, activateVector(activation, sum));
        q += 4;
        continue;
      }
      const j0 = firstTap(leftmost, dilation);
      const j1 = endTap(leftmost, dilation, kernelWidth, width);
      let sum = start;
      for (let i = i0; i < i1; i++) {
        const row = x + (<usize>((top + i * dilation) * width + leftmost) << 2);
        const w = weight + (<usize>(i * kernelWidth) << 2);
        for (let j = j0; j < j1; j++) {
          sum += load<f32>(row + (<usize>(j * dilation) << 2)) * load<f32>(w + (<usize>j << 2));
        }
      }
      if (residual != 0) sum += load<f32>(residual + outRow + offset);
      store<f32>(out + offset, f32x4.extract_lane(activateVector(activation, f32x4.splat(sum)), 0));
      q += 1;
    }
  }
}
