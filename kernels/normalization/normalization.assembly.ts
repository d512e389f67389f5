import { activateVector } from '../activation.assembly';
import { addressAt, bytesOf, floatAt, integerAt, loadPartial, multiplyAdd, storePartial, sumLanes } from '../simd.assembly';
import { BLOCK, sumOf } from '../sum.assembly';

// What `measure` leaves in the scratch memory: deviations are taken from the pivot, close to the mean but a float32, so that
// they are as exact as the values; `mean` and `scale` (1 / standard deviation) are those of the deviations.
const PIVOT: usize = 0;
const MEAN: usize = 4;
const SCALE: usize = 8;

function measure(x: usize, count: i32, epsilon: f32, scratch: usize): void {
  const pivot = <f32>(sumOf(x, count) / <f64>count);
  const pivots = f32x4.splat(pivot);
  let sum: f64 = 0;
  let squares: f64 = 0;
  for (let start = 0; start < count; start += BLOCK) {
    const length = min(BLOCK, count - start);
    let address = x + bytesOf(start);
    const vectors = address + bytesOf(length & ~7);
    let sumA = f32x4.splat(0);
    let sumB = f32x4.splat(0);
    let squaresA = f32x4.splat(0);
    let squaresB = f32x4.splat(0);
    for (; address < vectors; address += 32) {
      const a = f32x4.sub(v128.load(address), pivots);
      const b = f32x4.sub(v128.load(address, 16), pivots);
      sumA = f32x4.add(sumA, a);
      sumB = f32x4.add(sumB, b);
      squaresA = multiplyAdd(a, a, squaresA);
      squaresB = multiplyAdd(b, b, squaresB);
    }
    const end = x + bytesOf(start + length);
    for (; address < end; address += 4) {
      const deviation = load<f32>(address) - pivot;
      sum += deviation;
      squares += deviation * deviation;
    }
    sum += sumLanes(f32x4.add(sumA, sumB));
    squares += sumLanes(f32x4.add(squaresA, squaresB));
  }
  const mean = sum / <f64>count;
  const variance = squares / <f64>count - mean * mean;
  store<f32>(scratch + PIVOT, pivot);
  store<f32>(scratch + MEAN, <f32>mean);
  store<f32>(scratch + SCALE, <f32>(1 / Math.sqrt(variance + <f64>epsilon)));
}

/** args: x, weight, bias, out, rows, D, rows per task, epsilon. */
export function layerNorm(args: usize, task: i32, scratch: usize): void {
  const weight = addressAt(args, 1);
  const bias = addressAt(args, 2);
  const length = integerAt(args, 5);
  const rowsPerTask = integerAt(args, 6);
  const bytes = bytesOf(length);
  const vectors = bytes & ~15;
  const first = task * rowsPerTask;
  const end = min(first + rowsPerTask, integerAt(args, 4));
  for (let row = first; row < end; row++) {
    const x = addressAt(args, 0) + <usize>row * bytes;
    const out = addressAt(args, 3) + <usize>row * bytes;
    measure(x, length, floatAt(args, 7), scratch);
    const pivot = v128.load32_splat(scratch + PIVOT);
    const scale = v128.load32_splat(scratch + SCALE);
    const shift = f32x4.neg(f32x4.mul(v128.load32_splat(scratch + MEAN), scale));
    let offset: usize = 0;
    for (; offset < vectors; offset += 16) {
      const deviation = f32x4.sub(v128.load(x + offset), pivot);
      const normal = multiplyAdd(deviation, scale, shift);
      v128.store(out + offset, multiplyAdd(normal, v128.load(weight + offset), v128.load(bias + offset)));
    }
    const rest = length & 3;
    if (rest > 0) {
      const deviation = f32x4.sub(loadPartial(x + offset, rest), pivot);
      const normal = multiplyAdd(deviation, scale, shift);
      const result = multiplyAdd(normal, loadPartial(weight + offset, rest), loadPartial(bias + offset, rest));
      storePartial(out + offset, result, rest);
    }
  }
}

/** args: x, weight, bias, out, groups, channels per group, H * W, activation, epsilon. A task takes a group of an image. */
export function groupNorm(args: usize, task: i32, scratch: usize): void {
  const channels = integerAt(args, 5);
  const space = integerAt(args, 6);
  const activation = integerAt(args, 7);
  const firstChannel = (task % integerAt(args, 4)) * channels;
  const count = channels * space;
  let x = addressAt(args, 0) + ((<usize>task * <usize>count) << 2);
  let out = addressAt(args, 3) + ((<usize>task * <usize>count) << 2);
  measure(x, count, floatAt(args, 8), scratch);
  const pivot = v128.load32_splat(scratch + PIVOT);
  const scale = v128.load32_splat(scratch + SCALE);
  const shift = f32x4.neg(f32x4.mul(v128.load32_splat(scratch + MEAN), scale));
  for (let channel = firstChannel; channel < firstChannel + channels; channel++) {
    const weight = v128.load32_splat(addressAt(args, 1) + bytesOf(channel));
    const bias = v128.load32_splat(addressAt(args, 2) + bytesOf(channel));
    const vectors = x + bytesOf(space & ~3);
    if (activation <= 1) {
      const least = f32x4.splat(activation == 1 ? 0 : -Infinity);
      for (; x < vectors; x += 16, out += 16) {
        const normal = multiplyAdd(f32x4.sub(v128.load(x), pivot), scale, shift);
        v128.store(out, f32x4.pmax(multiplyAdd(normal, weight, bias), least));
      }
    } else {
      for (; x < vectors; x += 16, out += 16) {
        const normal = multiplyAdd(f32x4.sub(v128.load(x), pivot), scale, shift);
        v128.store(out, activateVector(activation, multiplyAdd(normal, weight, bias)));
      }
    }
    const rest = space & 3;
    if (rest > 0) {
      const normal = multiplyAdd(f32x4.sub(loadPartial(x, rest), pivot), scale, shift);
      storePartial(out, activateVector(activation, multiplyAdd(normal, weight, bias)), rest);
      x += bytesOf(rest);
      out += bytesOf(rest);
    }
  }
}
