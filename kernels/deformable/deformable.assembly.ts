import { addressAt, bytesOf, floatAt, integerAt } from '../simd.assembly';

/** Tokens per task; TOKENS_PER_TASK in deformable.ts. */
const TOKENS: i32 = 256;

// Arguments: mask [B, h, w], ratios [B, L, 2], h, w, L, level. A task is an item of the batch.
export function validRatios(args: usize, task: i32, _scratch: usize): void {
  const height = integerAt(args, 2);
  const width = integerAt(args, 3);
  const mask = addressAt(args, 0) + bytesOf(task * height * width);
  const out = addressAt(args, 1) + bytesOf((task * integerAt(args, 4) + integerAt(args, 5)) * 2);
  let columns: f32 = 0;
  let rows: f32 = 0;
  for (let column = 0; column < width; column++) columns += load<f32>(mask + bytesOf(column));
  for (let row = 0; row < height; row++) rows += load<f32>(mask + bytesOf(row * width));
  store<f32>(out, columns / <f32>width);
  store<f32>(out, rows / <f32>height, 4);
}

// Arguments: ratios [B, L, 2], references [B, S, L, 2], L, S, then height, width and first token of every level. A task is
// an item of the batch.
export function encoderReferencePoints(args: usize, task: i32, _scratch: usize): void {
  const levels = integerAt(args, 2);
  const ratios = addressAt(args, 0) + bytesOf(task * levels * 2);
  let out = addressAt(args, 1) + bytesOf(task * integerAt(args, 3) * levels * 2);
  for (let level = 0; level < levels; level++) {
    const height = integerAt(args, 4 + 3 * level);
    const width = integerAt(args, 5 + 3 * level);
    const realWidth = load<f32>(ratios + bytesOf(2 * level)) * <f32>width;
    const realHeight = load<f32>(ratios + bytesOf(2 * level + 1)) * <f32>height;
    for (let row = 0; row < height; row++) {
      const y: f32 = (<f32>row + 0.5) / realHeight;
      for (let column = 0; column < width; column++) {
        const x: f32 = (<f32>column + 0.5) / realWidth;
        for (let other = 0; other < levels; other++, out += 8) {
          store<f32>(out, x * load<f32>(ratios + bytesOf(2 * other)));
          store<f32>(out, y * load<f32>(ratios + bytesOf(2 * other + 1)), 4);
        }
      }
    }
  }
}

// Arguments: memory [B, S, D], mask [B, h, w], ratios [B, L, 2], logits [B, S, 4], candidates [B, S, D], S, D, h, w, L, level,
// first token, logit of the size. A task is a block of tokens of the level.
export function twoStageProposals(args: usize, task: i32, _scratch: usize): void {
  const tokens = integerAt(args, 5);
  const width = integerAt(args, 6);
  const rows = integerAt(args, 7);
  const columns = integerAt(args, 8);
  const sizeLogit = floatAt(args, 12);
  const cells = rows * columns;
  const blocks = (cells + TOKENS - 1) / TOKENS;
  const batch = task / blocks;
  const mask = addressAt(args, 1) + bytesOf(batch * cells);
  const ratios = addressAt(args, 2) + bytesOf((batch * integerAt(args, 9) + integerAt(args, 10)) * 2);
  const realColumns = <i32>nearest<f32>(load<f32>(ratios) * <f32>columns);
  const realRows = <i32>nearest<f32>(load<f32>(ratios, 4) * <f32>rows);
  const first = (task % blocks) * TOKENS;
  const last = min(first + TOKENS, cells);
  for (let cell = first; cell < last; cell++) {
    const row = cell / columns;
    const column = cell % columns;
    const token = batch * tokens + integerAt(args, 11) + cell;
    const logits = addressAt(args, 3) + bytesOf(token * 4);
    const from = addressAt(args, 0) + bytesOf(token * width);
    const to = addressAt(args, 4) + bytesOf(token * width);
    const valid =
      load<f32>(mask + bytesOf(cell)) != 0 && within(column, realColumns) && within(row, realRows) && sizeLogit < Infinity;
    if (valid) {
      store<f32>(logits, centreLogit(column, realColumns));
      store<f32>(logits, centreLogit(row, realRows), 4);
      store<f32>(logits, sizeLogit, 8);
      store<f32>(logits, sizeLogit, 12);
      memory.copy(to, from, bytesOf(width));
    } else {
      v128.store(logits, f32x4.splat(Infinity));
      memory.fill(to, 0, bytesOf(width));
    }
  }
}

/** 0.01 < (place + 0.5) / size < 0.99 */
// @ts-ignore: decorator
@inline
function within(place: i32, size: i32): bool {
  const hundredfold = 100 * place + 50;
  return hundredfold > size && hundredfold < 99 * size;
}

/** ln(p / (1 - p)) of p = (place + 0.5) / size */
// @ts-ignore: decorator
@inline
function centreLogit(place: i32, size: i32): f32 {
  const centre = <f64>place + 0.5;
  return <f32>Math.log(centre / (<f64>size - centre));
}
