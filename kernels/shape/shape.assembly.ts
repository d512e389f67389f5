import { addressAt, bytesOf, integerAt } from '../simd.assembly';

/** Elements per task of `copyRows`; ELEMENTS_PER_TASK in shape.ts. */
const CHUNK: i32 = 16384;
/** Rows per task of `copyTransposed` and `gatherRows`; ROWS_PER_TASK in shape.ts. */
const ROWS: i32 = 32;

// Words of the arguments: x, out, count, offsets, then sizes, steps in x and steps in out of four axes (strided.ts).
const COUNT: i32 = 2;
const FROM_OFFSET: i32 = 3;
const TO_OFFSET: i32 = 4;
const SIZE: i32 = 5;
const FROM: i32 = 9;
const TO: i32 = 13;

/** Four-byte elements, contiguous in both, or one that is repeated. */
export function copyRows(args: usize, task: i32, _scratch: usize): void {
  const x = addressAt(args, 0) + bytesOf(integerAt(args, FROM_OFFSET));
  const out = addressAt(args, 1) + bytesOf(integerAt(args, TO_OFFSET));
  const size1 = integerAt(args, SIZE + 1);
  const size2 = integerAt(args, SIZE + 2);
  const size3 = integerAt(args, SIZE + 3);
  const repeats = integerAt(args, FROM + 3) == 0;
  let position = task * CHUNK;
  const end = min(position + CHUNK, integerAt(args, COUNT));
  while (position < end) {
    const i3 = position % size3;
    const row = position / size3;
    const i2 = row % size2;
    const plane = row / size2;
    const i1 = plane % size1;
    const i0 = plane / size1;
    const length = min(size3 - i3, end - position);
    const from =
      i0 * integerAt(args, FROM) +
      i1 * integerAt(args, FROM + 1) +
      i2 * integerAt(args, FROM + 2) +
      i3 * integerAt(args, FROM + 3);
    const to =
      i0 * integerAt(args, TO) + i1 * integerAt(args, TO + 1) + i2 * integerAt(args, TO + 2) + i3;
    const source = x + bytesOf(from);
    const target = out + bytesOf(to);
    if (repeats) fill(target, load<u32>(source), length);
    else copy(target, source, length);
    position += length;
  }
}

// @ts-ignore: decorator
@inline
function copy(target: usize, source: usize, count: i32): void {
  if (count >= 32) {
    memory.copy(target, source, bytesOf(count));
    return;
  }
  for (let i: usize = 0; i < bytesOf(count); i += 4) store<u32>(target + i, load<u32>(source + i));
}

// @ts-ignore: decorator
@inline
function fill(target: usize, value: u32, count: i32): void {
  const end = target + bytesOf(count);
  const values = i32x4.splat(value);
  for (; target + 16 <= end; target += 16) v128.store(target, values);
  for (; target < end; target += 4) store<u32>(target, value);
}

/** Rows of x become columns of out: x is contiguous along axis 2, out along axis 3. A task takes ROWS steps of axis 2. */
export function copyTransposed(args: usize, task: i32, _scratch: usize): void {
  const size1 = integerAt(args, SIZE + 1);
  const size2 = integerAt(args, SIZE + 2);
  const columns = integerAt(args, SIZE + 3);
  const blocks = (size2 + ROWS - 1) / ROWS;
  const start = (task % blocks) * ROWS;
  const rows = min(ROWS, size2 - start);
  const outer = task / blocks;
  const i0 = outer / size1;
  const i1 = outer % size1;
  const fromStep = bytesOf(integerAt(args, FROM + 3));
  const toStep = bytesOf(integerAt(args, TO + 2));
  const from =
    integerAt(args, FROM_OFFSET) + i0 * integerAt(args, FROM) + i1 * integerAt(args, FROM + 1) + start;
  const to =
    integerAt(args, TO_OFFSET) +
    i0 * integerAt(args, TO) +
    i1 * integerAt(args, TO + 1) +
    start * integerAt(args, TO + 2);
  const x = addressAt(args, 0) + bytesOf(from);
  const out = addressAt(args, 1) + bytesOf(to);
  const wholeRows = rows & ~3;
  const wholeColumns = columns & ~3;
  for (let column = 0; column < wholeColumns; column += 4) {
    let source = x + <usize>column * fromStep;
    let target = out + bytesOf(column);
    for (let row = 0; row < wholeRows; row += 4, source += 16, target += toStep << 2) {
      transposeBlock(source, fromStep, target, toStep);
    }
  }
  for (let row = 0; row < rows; row++) {
    const first = row < wholeRows ? wholeColumns : 0;
    for (let column = first; column < columns; column++) {
      const value = load<u32>(x + <usize>column * fromStep + bytesOf(row));
      store<u32>(out + <usize>row * toStep + bytesOf(column), value);
    }
  }
}

/** A square of 4 x 4. */
// @ts-ignore: decorator
@inline
function transposeBlock(source: usize, fromStep: usize, target: usize, toStep: usize): void {
  const a = v128.load(source);
  const b = v128.load(source + fromStep);
  const c = v128.load(source + 2 * fromStep);
  const d = v128.load(source + 3 * fromStep);
  const ab = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const abHigh = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cdHigh = i32x4.shuffle(c, d, 2, 6, 3, 7);
  v128.store(target, i64x2.shuffle(ab, cd, 0, 2));
  v128.store(target + toStep, i64x2.shuffle(ab, cd, 1, 3));
  v128.store(target + 2 * toStep, i64x2.shuffle(abHigh, cdHigh, 0, 2));
  v128.store(target + 3 * toStep, i64x2.shuffle(abHigh, cdHigh, 1, 3));
}

/** args: x [B, S, D], index [B, k], out [B, k, D], B * k, k, S, D. A task takes ROWS rows of out. */
export function gatherRows(args: usize, task: i32, _scratch: usize): void {
  const x = addressAt(args, 0);
  const index = addressAt(args, 1);
  const out = addressAt(args, 2);
  const perBatch = integerAt(args, 4);
  const available = integerAt(args, 5);
  const width = integerAt(args, 6);
  const end = min((task + 1) * ROWS, integerAt(args, 3));
  for (let row = task * ROWS; row < end; row++) {
    const chosen = max(0, min(load<i32>(index + bytesOf(row)), available - 1));
    const source = (row / perBatch) * available + chosen;
    copy(out + bytesOf(row * width), x + bytesOf(source * width), width);
  }
}
