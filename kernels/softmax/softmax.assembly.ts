import { exp } from '../math.assembly';
import { addressAt, bytesOf, integerAt, loadPartial, maximumLane, storePartial, sumLanes } from '../simd.assembly';

/** args: x, out, rows, K, rows per task. */
export function softmax(args: usize, task: i32, _scratch: usize): void {
  const length = integerAt(args, 3);
  const rowsPerTask = integerAt(args, 4);
  const bytes = bytesOf(length);
  const first = task * rowsPerTask;
  const end = min(first + rowsPerTask, integerAt(args, 2));
  for (let row = first; row < end; row++) {
    softmaxRow(addressAt(args, 0) + <usize>row * bytes, addressAt(args, 1) + <usize>row * bytes, length);
  }
}

/** Bytes of a row whose terms are summed in float32 before they go into a float64 sum. */
const SUMMED_AT_ONCE: usize = 1024;

function softmaxRow(x: usize, out: usize, length: i32): void {
  const vectors = bytesOf(length & ~3);
  const rest = length & 3;
  let largest = v128.load32_splat(x);
  let offset: usize = 0;
  for (; offset < vectors; offset += 16) largest = f32x4.pmax(largest, v128.load(x + offset));
  for (let i = 0; i < rest; i++) largest = f32x4.pmax(largest, v128.load32_splat(x + offset + bytesOf(i)));
  const maximum = f32x4.splat(maximumLane(largest));
  let total: f64 = 0;
  for (offset = 0; offset < vectors; ) {
    const end = min(offset + SUMMED_AT_ONCE, vectors);
    let sums = f32x4.splat(0);
    for (; offset < end; offset += 16) {
      const exponential = exp(f32x4.sub(v128.load(x + offset), maximum));
      sums = f32x4.add(sums, exponential);
      v128.store(out + offset, exponential);
    }
    total += sumLanes(sums);
  }
  let sum = <f32>total;
  if (rest > 0) {
    const exponential = exp(f32x4.sub(loadPartial(x + offset, rest), maximum));
    storePartial(out + offset, exponential, rest);
    for (let i = 0; i < rest; i++) sum += load<f32>(out + offset + bytesOf(i));
  }
  const scale = f32x4.splat(1 / sum);
  for (offset = 0; offset < vectors; offset += 16) {
    v128.store(out + offset, f32x4.mul(v128.load(out + offset), scale));
  }
  if (rest > 0) storePartial(out + offset, f32x4.mul(loadPartial(out + offset, rest), scale), rest);
}
