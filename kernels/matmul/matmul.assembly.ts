import { addressAt, integerAt } from '../simd.assembly';

const ROWS_PER_TASK: i32 = 16;

// args: a, b, out, rows, inner, columns, transposeB, elements between batches of a, of b
export function matmul(args: usize, task: i32, _scratch: usize): void {
  const rows = integerAt(args, 3);
  const inner = integerAt(args, 4);
  const columns = integerAt(args, 5);
  const transposeB = integerAt(args, 6) != 0;
  const tasksPerBatch = (rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK;
  const batch = task / tasksPerBatch;
  const a = addressAt(args, 0) + ((<usize>(batch * integerAt(args, 7))) << 2);
  const b = addressAt(args, 1) + ((<usize>(batch * integerAt(args, 8))) << 2);
  const out = addressAt(args, 2) + ((<usize>(batch * rows * columns)) << 2);
  const first = (task % tasksPerBatch) * ROWS_PER_TASK;
  const kStep = (<usize>(transposeB ? 1 : columns)) << 2;
  const columnStep: usize = transposeB ? <usize>inner << 2 : 4;
  for (let row = first; row < min(first + ROWS_PER_TASK, rows); row++) {
    const aRow = a + ((<usize>(row * inner)) << 2);
    for (let column = 0; column < columns; column++) {
      let sum: f32 = 0;
      for (let k = 0; k < inner; k++) {
        sum += load<f32>(aRow + ((<usize>k) << 2)) * load<f32>(b + <usize>k * kStep + <usize>column * columnStep);
      }
      store<f32>(out + ((<usize>(row * columns + column)) << 2), sum);
    }
  }
}
