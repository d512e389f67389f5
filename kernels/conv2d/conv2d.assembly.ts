// C channels in, O channels out, H and W rows and columns of the input, P and Q of the output. A tap is one weight of a
// kernel's window; T taps.

import { activateVector } from '../activation.assembly';
import { COLUMNS, finishRow, firstRowOf, multiplyPanel, panelsOf, rowsOf } from '../matrix-product.assembly';
import { addressAt, bytesOf, integerAt, multiplyAdd } from '../simd.assembly';

// How the eight pixels of a column panel lie in the input plane, for one tap.
const SCATTERED: i32 = 0;
const CONTIGUOUS: i32 = 1;
const EVERY_SECOND: i32 = 2;

/** Bytes of a table entry: the kind and where the eight pixels lie in the plane, in bytes; -1 for padding. */
const ENTRY: usize = 36;

/** Where the pixels from `first` on lie in an input plane: entries [groups of eight, taps]. */
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
  const kind = stride == 1 ? CONTIGUOUS : stride == 2 ? EVERY_SECOND : SCATTERED;
  for (let group = 0; group < count; group += COLUMNS) {
    const pixels = min(COLUMNS, count - group);
    const outRow = (first + group) / outWidth;
    const outColumn = (first + group) % outWidth;
    const inOneRow = pixels == COLUMNS && outColumn + COLUMNS <= outWidth;
    for (let i = 0; i < kernelHeight; i++) {
      const row = outRow * stride + i * dilation - paddingTop;
      const rowInside = row >= 0 && row < height;
      for (let j = 0; j < kernelWidth; j++) {
        const column = outColumn * stride + j * dilation - paddingLeft;
        const inside = inOneRow && rowInside && column >= 0 && column + (COLUMNS - 1) * stride < width;
        store<i32>(table, inside ? kind : SCATTERED);
        store<i32>(table, (row * width + column) << 2, 4);
        if (!inside || kind == SCATTERED) {
          describeScattered(table + 4, args, first + group, pixels, i * dilation, j * dilation);
        }
        table += ENTRY;
      }
    }
  }
}

/** Notes the places of eight pixels one by one, for a tap that lies `down` rows and `right` columns into the window. */
function describeScattered(offsets: usize, args: usize, first: i32, pixels: i32, down: i32, right: i32): void {
  const height = integerAt(args, 6);
  const width = integerAt(args, 7);
  const outWidth = integerAt(args, 10);
  const stride = integerAt(args, 13);
  for (let lane = 0; lane < COLUMNS; lane++) {
    const row = ((first + lane) / outWidth) * stride + down - integerAt(args, 15);
    const column = ((first + lane) % outWidth) * stride + right - integerAt(args, 16);
    const outside = lane >= pixels || row < 0 || row >= height || column < 0 || column >= width;
    store<i32>(offsets + bytesOf(lane), outside ? -1 : (row * width + column) << 2);
  }
}

// @ts-ignore: decorator
@inline
function pixelAt(plane: usize, offsets: usize, lane: usize): f32 {
  const offset = load<i32>(offsets + (lane << 2));
  return offset < 0 ? <f32>0 : load<f32>(plane + <usize>offset);
}

/** Packs the eight pixels of a table entry. */
// @ts-ignore: decorator
@inline
function packEntry(plane: usize, entry: usize, to: usize): void {
  const kind = load<i32>(entry);
  const from = plane + <usize>load<i32>(entry, 4);
  if (kind == CONTIGUOUS) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
  } else if (kind == EVERY_SECOND) {
    v128.store(to, i32x4.shuffle(v128.load(from), v128.load(from, 16), 0, 2, 4, 6));
    // The last load ends with the last pixel, not beyond the plane.
    v128.store(to, i32x4.shuffle(v128.load(from, 32), v128.load(from, 44), 0, 2, 5, 7), 16);
  } else {
    for (let lane: usize = 0; lane < 8; lane++) store<f32>(to + (lane << 2), pixelAt(plane, entry + 4, lane));
  }
}

/** Packs `groups` times eight consecutive pixels of every channel; four channels at once fill whole cache lines. */
function packContiguous(x: usize, planeBytes: usize, channels: i32, groups: i32, out: usize, panelStride: usize): void {
  const length = <usize>groups << 5;
  let channel = 0;
  for (; channel + 4 <= channels; channel += 4) {
    let to = out;
    const end = x + length;
    for (let from = x; from < end; from += 32) {
      v128.store(to, v128.load(from));
      v128.store(to, v128.load(from, 16), 16);
      v128.store(to, v128.load(from + planeBytes), 32);
      v128.store(to, v128.load(from + planeBytes, 16), 48);
      v128.store(to, v128.load(from + 2 * planeBytes), 64);
      v128.store(to, v128.load(from + 2 * planeBytes, 16), 80);
      v128.store(to, v128.load(from + 3 * planeBytes), 96);
      v128.store(to, v128.load(from + 3 * planeBytes, 16), 112);
      to += panelStride;
    }
    x += 4 * planeBytes;
    out += 128;
  }
  for (; channel < channels; channel++) {
    let to = out;
    const end = x + length;
    for (let from = x; from < end; from += 32) {
      v128.store(to, v128.load(from));
      v128.store(to, v128.load(from, 16), 16);
      to += panelStride;
    }
    x += planeBytes;
    out += 32;
  }
}

/** How many groups from the first on lie one after the other. */
function countContiguous(table: usize, groups: i32): i32 {
  const start = load<i32>(table, 4);
  let count = 0;
  while (count < groups) {
    const entry = table + <usize>count * ENTRY;
    if (load<i32>(entry) != CONTIGUOUS || load<i32>(entry, 4) != start + (count << 5)) break;
    count++;
  }
  return count;
}

/** Packs the windows of the table's pixels as column panels of channels * taps rows. */
function packPixels(
  planes: usize,
  planeBytes: usize,
  channels: i32,
  taps: i32,
  table: usize,
  groups: i32,
  out: usize,
  panelStride: usize,
): void {
  if (taps == 1) {
    const contiguous = countContiguous(table, groups);
    packContiguous(planes + <usize>load<i32>(table, 4), planeBytes, channels, contiguous, out, panelStride);
    table += <usize>contiguous * ENTRY;
    out += <usize>contiguous * panelStride;
    groups -= contiguous;
  }
  if (groups == 0) return;
  for (let channel = 0; channel < channels; channel++) {
    let entry = table;
    for (let group = 0; group < groups; group++) {
      let to = out + <usize>group * panelStride;
      for (let tap = 0; tap < taps; tap++) {
        packEntry(planes, entry, to);
        entry += ENTRY;
        to += 32;
      }
    }
    planes += planeBytes;
    out += <usize>taps << 5;
  }
}

// args: x, weight as left panels per group, bias or 0, residual or 0, out, C, H, W, O, P, Q, kernelHeight, kernelWidth, stride,
// dilation, paddingTop, paddingLeft, groups, activation, pixels per task, row panels per task, input channels packed at once.
// Scratch: the pixel table, a block of the task's pixels as column panels, sums: of one row panel where all channels are
// packed at once, else of all.
export function conv2dPanels(args: usize, task: i32, scratch: usize): void {
  const inputPixels = integerAt(args, 6) * integerAt(args, 7);
  const pixels = integerAt(args, 9) * integerAt(args, 10);
  const taps = integerAt(args, 11) * integerAt(args, 12);
  const groups = integerAt(args, 17);
  const pixelsPerTask = integerAt(args, 19);
  const panelsPerTask = integerAt(args, 20);
  const channelsAtOnce = integerAt(args, 21);
  const channels = integerAt(args, 5) / groups;
  const outChannels = integerAt(args, 8) / groups;
  const panels = panelsOf(outChannels);
  const panelTasks = (panels + panelsPerTask - 1) / panelsPerTask;
  const pixelTasks = (pixels + pixelsPerTask - 1) / pixelsPerTask;

  const firstPanel = (task % panelTasks) * panelsPerTask;
  const lastPanel = min(firstPanel + panelsPerTask, panels);
  const firstPixel = ((task / panelTasks) % pixelTasks) * pixelsPerTask;
  const group = (task / (panelTasks * pixelTasks)) % groups;
  // Groups of consecutive images lie one after the other, in the input and in the output.
  const imageGroup = task / (panelTasks * pixelTasks);
  const count = min(pixelsPerTask, pixels - firstPixel);
  const columnPanels = (count + COLUMNS - 1) / COLUMNS;

  const depth = channels * taps;
  // A step beside a power of two keeps the panels out of each other's cache sets.
  const panelStride = (<usize>(channelsAtOnce * taps) << 5) + 64;
  const packed = scratch + ((<usize>(taps * columnPanels) * ENTRY + 63) & ~63);
  const allSums = packed + <usize>columnPanels * panelStride;
  const sumStride = <usize>columnPanels << 5;
  const planeBytes = bytesOf(inputPixels);
  const planes = addressAt(args, 0) + <usize>(imageGroup * channels) * planeBytes;
  const weight = addressAt(args, 1) + bytesOf(group * firstRowOf(panels, outChannels) * depth);
  describePixels(scratch, args, firstPixel, count);

  for (let channel = 0; channel < channels; channel += channelsAtOnce) {
    const block = min(channelsAtOnce, channels - channel);
    packPixels(planes + <usize>channel * planeBytes, planeBytes, block, taps, scratch, columnPanels, packed, panelStride);
    let sums = allSums;
    for (let panel = firstPanel; panel < lastPanel; panel++) {
      const rows = rowsOf(panel, outChannels);
      const left = weight + bytesOf(firstRowOf(panel, outChannels) * depth + channel * taps * rows);
      multiplyPanel(rows, left, packed, panelStride, columnPanels, block * taps, sums, sumStride, channel > 0);
      if (channel + block == channels) finishPanel(args, imageGroup, panel, sums, sumStride, firstPixel, count);
      if (channelsAtOnce < channels) sums += <usize>rows * sumStride;
    }
  }
}

/** Writes the pixels of a row panel's output channels. */
function finishPanel(
  args: usize,
  imageGroup: i32,
  panel: i32,
  sums: usize,
  sumStride: usize,
  firstPixel: i32,
  count: i32,
): void {
  const groups = integerAt(args, 17);
  const pixels = integerAt(args, 9) * integerAt(args, 10);
  const outChannels = integerAt(args, 8) / groups;
  const bias = addressAt(args, 2);
  const residual = addressAt(args, 3);
  const first = firstRowOf(panel, outChannels);
  const rows = min(rowsOf(panel, outChannels), outChannels - first);
  for (let row = 0; row < rows; row++) {
    const offset = bytesOf((imageGroup * outChannels + first + row) * pixels + firstPixel);
    const channel = (imageGroup % groups) * outChannels + first + row;
    const rowBias = bias == 0 ? <f32>0 : load<f32>(bias + bytesOf(channel));
    const rowResidual = residual == 0 ? residual : residual + offset;
    finishRow(sums, rowBias, 0, rowResidual, addressAt(args, 4) + offset, count, integerAt(args, 18));
    sums += sumStride;
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
  const x = addressAt(args, 0) + bytesOf(plane * height * width);
  const weight = addressAt(args, 1) + bytesOf(channel * kernelHeight * kernelWidth);
  const bias = addressAt(args, 2);
  const start = bias == 0 ? <f32>0 : load<f32>(bias + bytesOf(channel));
  // Output columns whose whole window lies in the input.
  const inner = min((paddingLeft + stride - 1) / stride, outWidth);
  const lastStart = width - 1 - (kernelWidth - 1) * dilation + paddingLeft;
  const innerEnd = lastStart < 0 ? 0 : min(lastStart / stride + 1, outWidth);
  const vectors = stride <= 2;

  for (let p = 0; p < outHeight; p++) {
    const top = p * stride - paddingTop;
    const i0 = firstTap(top, dilation);
    const i1 = endTap(top, dilation, kernelHeight, height);
    const outRow = bytesOf((task * outHeight + p) * outWidth);
    const out = addressAt(args, 4) + outRow;
    for (let q = 0; q < outWidth; ) {
      const leftmost = q * stride - paddingLeft;
      const offset = bytesOf(q);
      if (vectors && q >= inner && q + 4 <= innerEnd) {
        let sum = f32x4.splat(start);
        for (let i = i0; i < i1; i++) {
          let from = x + bytesOf((top + i * dilation) * width + leftmost);
          let w = weight + bytesOf(i * kernelWidth);
          for (let j = 0; j < kernelWidth; j++) {
            const values =
              stride == 1 ? v128.load(from) : i32x4.shuffle(v128.load(from), v128.load(from, 12), 0, 2, 5, 7);
            sum = multiplyAdd(values, v128.load32_splat(w), sum);
            from += bytesOf(dilation);
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
        const row = x + bytesOf((top + i * dilation) * width + leftmost);
        const w = weight + bytesOf(i * kernelWidth);
        for (let j = j0; j < j1; j++) {
          sum += load<f32>(row + bytesOf(j * dilation)) * load<f32>(w + bytesOf(j));
        }
      }
      if (residual != 0) sum += load<f32>(residual + outRow + offset);
      store<f32>(out + offset, f32x4.extract_lane(activateVector(activation, f32x4.splat(sum)), 0));
      q += 1;
    }
  }
}
