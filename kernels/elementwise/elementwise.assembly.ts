import { activateVector, relu } from '../activation.assembly';
import { log } from '../math.assembly';
import { addressAt, bytesOf, integerAt, loadPartial, storePartial } from '../simd.assembly';

/** Elements per task; ELEMENTS_PER_TASK in elementwise.ts. */
const CHUNK: i32 = 16384;

// @ts-ignore: decorator
@inline
function combine(multiplies: bool, a: v128, b: v128): v128 {
  return multiplies ? f32x4.mul(a, b) : f32x4.add(a, b);
}

/** `count` outputs; the strides are 1 or 0 (the same value for all). */
// @ts-ignore: decorator
@inline
function combineRow(multiplies: bool, a: usize, aStride: i32, b: usize, bStride: i32, out: usize, count: i32): void {
  let i = 0;
  const vectors = count & ~3;
  if (aStride == 1 && bStride == 1) {
    for (; i < vectors; i += 4, a += 16, b += 16, out += 16) {
      v128.store(out, combine(multiplies, v128.load(a), v128.load(b)));
    }
    if (i < count) {
      const rest = count - i;
      storePartial(out, combine(multiplies, loadPartial(a, rest), loadPartial(b, rest)), rest);
    }
    return;
  }
  // Both operations commute, so that the one that varies, if any, can be called `a`.
  const varying = aStride == 1 ? a : b;
  const fixed = v128.load32_splat(aStride == 1 ? b : a);
  if (aStride == 0 && bStride == 0) {
    const value = combine(multiplies, v128.load32_splat(b), fixed);
    for (; i < vectors; i += 4, out += 16) v128.store(out, value);
    if (i < count) storePartial(out, value, count - i);
    return;
  }
  a = varying;
  for (; i < vectors; i += 4, a += 16, out += 16) {
    v128.store(out, combine(multiplies, v128.load(a), fixed));
  }
  if (i < count) storePartial(out, combine(multiplies, loadPartial(a, count - i), fixed), count - i);
}

/** args: a, b, out, count, sizes of the last three of four axes, strides of a, strides of b. */
// @ts-ignore: decorator
@inline
function binary(multiplies: bool, args: usize, task: i32): void {
  const a = addressAt(args, 0);
  const b = addressAt(args, 1);
  const out = addressAt(args, 2);
  const count = integerAt(args, 3);
  const size1 = integerAt(args, 4);
  const size2 = integerAt(args, 5);
  const size3 = integerAt(args, 6);
  let position = task * CHUNK;
  const end = min(position + CHUNK, count);
  while (position < end) {
    const i3 = position % size3;
    const row = position / size3;
    const i2 = row % size2;
    const plane = row / size2;
    const i1 = plane % size1;
    const i0 = plane / size1;
    const length = min(size3 - i3, end - position);
    const aOffset =
      i0 * integerAt(args, 7) + i1 * integerAt(args, 8) + i2 * integerAt(args, 9) + i3 * integerAt(args, 10);
    const bOffset =
      i0 * integerAt(args, 11) + i1 * integerAt(args, 12) + i2 * integerAt(args, 13) + i3 * integerAt(args, 14);
    combineRow(
      multiplies,
      a + bytesOf(aOffset),
      integerAt(args, 10),
      b + bytesOf(bOffset),
      integerAt(args, 14),
      out + bytesOf(position),
      length,
    );
    position += length;
  }
}

export function add(args: usize, task: i32, _scratch: usize): void {
  binary(false, args, task);
}

export function multiply(args: usize, task: i32, _scratch: usize): void {
  binary(true, args, task);
}

/** args: x, out, count, activation code. */
export function activate(args: usize, task: i32, _scratch: usize): void {
  const x = addressAt(args, 0);
  const out = addressAt(args, 1);
  const code = integerAt(args, 3);
  const start = task * CHUNK;
  const end = min(start + CHUNK, integerAt(args, 2));
  const vectorEnd = start + ((end - start) & ~3);
  let offset = bytesOf(start);
  const vectorEndOffset = bytesOf(vectorEnd);
  if (code == 1) {
    for (; offset < vectorEndOffset; offset += 16) v128.store(out + offset, relu(v128.load(x + offset)));
  } else {
    for (; offset < vectorEndOffset; offset += 16) {
      v128.store(out + offset, activateVector(code, v128.load(x + offset)));
    }
  }
  const rest = end - vectorEnd;
  if (rest > 0) storePartial(out + offset, activateVector(code, loadPartial(x + offset, rest)), rest);
}

function inverseSigmoidVector(x: v128): v128 {
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  const least = f32x4.splat(1e-5);
  const inside = f32x4.pmax(f32x4.pmin(x, one), zero);
  const quotient = f32x4.div(f32x4.pmax(inside, least), f32x4.pmax(f32x4.sub(one, inside), least));
  return log(quotient);
}

/** args: x, out, count. */
export function inverseSigmoid(args: usize, task: i32, _scratch: usize): void {
  const x = addressAt(args, 0);
  const out = addressAt(args, 1);
  const start = task * CHUNK;
  const end = min(start + CHUNK, integerAt(args, 2));
  for (let i = start; i < end; i += 4) {
    const offset = bytesOf(i);
    const rest = end - i;
    if (rest >= 4) v128.store(out + offset, inverseSigmoidVector(v128.load(x + offset)));
    else storePartial(out + offset, inverseSigmoidVector(loadPartial(x + offset, rest)), rest);
  }
}
