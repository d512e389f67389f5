// Strided copies. args: source, target, then per axis (outermost first) size, source step, target step; source offset,
// target offset; steps and offsets in elements.
import { addressAt, integerAt } from '../simd.assembly';

const TILE: i32 = 32;
const GATHERED_ROWS_PER_TASK: i32 = 64;

// @ts-ignore: decorator
@inline
function sizeOf(args: usize, axis: i32): i32 {
  return integerAt(args, 2 + 3 * axis);
}

// @ts-ignore: decorator
@inline
function fromStep(args: usize, axis: i32): i32 {
  return integerAt(args, 3 + 3 * axis);
}

// @ts-ignore: decorator
@inline
function toStep(args: usize, axis: i32): i32 {
  return integerAt(args, 4 + 3 * axis);
}

/** Rows of the innermost axis; a further scalar says how many a task takes. */
export function stridedCopy(args: usize, task: i32, _scratch: usize): void {
  const size1 = sizeOf(args, 1);
  const size2 = sizeOf(args, 2);
  const size3 = sizeOf(args, 3);
  const from3 = fromStep(args, 3);
  const to3 = toStep(args, 3);
  const rowsPerTask = integerAt(args, 16);
  const rows = sizeOf(args, 0) * size1 * size2;
  const end = min(rows, (task + 1) * rowsPerTask);
  for (let row = task * rowsPerTask; row < end; row++) {
    const i2 = row % size2;
    const plane = row / size2;
    const i1 = plane % size1;
    const i0 = plane / size1;
    const fromIndex = integerAt(args, 14) + i0 * fromStep(args, 0) + i1 * fromStep(args, 1) + i2 * fromStep(args, 2);
    const toIndex = integerAt(args, 15) + i0 * toStep(args, 0) + i1 * toStep(args, 1) + i2 * toStep(args, 2);
    let source = addressAt(args, 0) + ((<usize>fromIndex) << 2);
    let target = addressAt(args, 1) + ((<usize>toIndex) << 2);
    if (from3 == 1 && to3 == 1) {
      memory.copy(target, source, (<usize>size3) << 2);
      continue;
    }
    for (let i3 = 0; i3 < size3; i3++) {
      store<u32>(target, load<u32>(source));
      source += (<usize>from3) << 2;
      target += (<usize>to3) << 2;
    }
  }
}

/** The third axis is contiguous in the source, the fourth in the target: 4 x 4 blocks are turned in registers. */
export function transposeCopy(args: usize, task: i32, _scratch: usize): void {
  const size1 = sizeOf(args, 1);
  const size2 = sizeOf(args, 2);
  const size3 = sizeOf(args, 3);
  const tiles = (size2 + TILE - 1) / TILE;
  const plane = task / tiles;
  const start = (task % tiles) * TILE;
  const end = min(size2, start + TILE);
  const i0 = plane / size1;
  const i1 = plane % size1;
  const fromIndex = integerAt(args, 14) + i0 * fromStep(args, 0) + i1 * fromStep(args, 1);
  const toIndex = integerAt(args, 15) + i0 * toStep(args, 0) + i1 * toStep(args, 1);
  const source = addressAt(args, 0) + ((<usize>fromIndex) << 2);
  const target = addressAt(args, 1) + ((<usize>toIndex) << 2);
  const sourceStep = (<usize>fromStep(args, 3)) << 2;
  const targetStep = (<usize>toStep(args, 2)) << 2;
  let column = 0;
  for (; column + 4 <= size3; column += 4) {
    const from = source + <usize>column * sourceStep;
    const to = target + ((<usize>column) << 2);
    let row = start;
    for (; row + 4 <= end; row += 4) {
      const at = from + ((<usize>row) << 2);
      const a = v128.load(at);
      const b = v128.load(at + sourceStep);
      const c = v128.load(at + 2 * sourceStep);
      const d = v128.load(at + 3 * sourceStep);
      const abLow = i32x4.shuffle(a, b, 0, 4, 1, 5);
      const abHigh = i32x4.shuffle(a, b, 2, 6, 3, 7);
      const cdLow = i32x4.shuffle(c, d, 0, 4, 1, 5);
      const cdHigh = i32x4.shuffle(c, d, 2, 6, 3, 7);
      const place = to + <usize>row * targetStep;
      v128.store(place, i64x2.shuffle(abLow, cdLow, 0, 2));
      v128.store(place + targetStep, i64x2.shuffle(abLow, cdLow, 1, 3));
      v128.store(place + 2 * targetStep, i64x2.shuffle(abHigh, cdHigh, 0, 2));
      v128.store(place + 3 * targetStep, i64x2.shuffle(abHigh, cdHigh, 1, 3));
    }
    for (; row < end; row++) {
      const at = from + ((<usize>row) << 2);
      const place = to + <usize>row * targetStep;
      for (let lane: usize = 0; lane < 4; lane++) store<u32>(place + (lane << 2), load<u32>(at + lane * sourceStep));
    }
  }
  for (; column < size3; column++) {
    const from = source + <usize>column * sourceStep;
    const to = target + ((<usize>column) << 2);
    for (let row = start; row < end; row++) {
      store<u32>(to + <usize>row * targetStep, load<u32>(from + ((<usize>row) << 2)));
    }
  }
}

/** args: x [B, S, D], index [B, K], out [B, K, D], B·K, S, K, D. */
export function gatherRows(args: usize, task: i32, _scratch: usize): void {
  const x = addressAt(args, 0);
  const index = addressAt(args, 1);
  const out = addressAt(args, 2);
  const rows = integerAt(args, 4);
  const picked = integerAt(args, 5);
  const bytes = (<usize>integerAt(args, 6)) << 2;
  const end = min(integerAt(args, 3), (task + 1) * GATHERED_ROWS_PER_TASK);
  for (let row = task * GATHERED_ROWS_PER_TASK; row < end; row++) {
    const from = max(0, min(load<i32>(index + ((<usize>row) << 2)), rows - 1));
    memory.copy(out + <usize>row * bytes, x + <usize>((row / picked) * rows + from) * bytes, bytes);
  }
}
