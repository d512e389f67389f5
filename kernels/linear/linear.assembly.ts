import { COLUMNS, finishRow, firstRowOf, multiplyPanel, packRows, panelsOf, rowsOf } from '../matrix-product.assembly';
import { addressAt, bytesOf, integerAt } from '../simd.assembly';

/** Columns whose sums are kept at a time. */
const CHUNK: i32 = 128;

// args: x, weight in column panels, bias or 0, residual or 0, out, rows, inFeatures, outFeatures, activation, rows per task,
// columns per task. Scratch: the task's rows of x as left panels, then the sums of 6 rows and a chunk of columns.
export function linear(args: usize, task: i32, scratch: usize): void {
  const weight = addressAt(args, 1);
  const bias = addressAt(args, 2);
  const residual = addressAt(args, 3);
  const out = addressAt(args, 4);
  const inFeatures = integerAt(args, 6);
  const outFeatures = integerAt(args, 7);
  const activation = integerAt(args, 8);
  const rowsPerTask = integerAt(args, 9);
  const columnsPerTask = integerAt(args, 10);
  const columnTasks = (outFeatures + columnsPerTask - 1) / columnsPerTask;
  const top = (task / columnTasks) * rowsPerTask;
  const rows = min(rowsPerTask, integerAt(args, 5) - top);
  const begin = (task % columnTasks) * columnsPerTask;
  const end = min(begin + columnsPerTask, outFeatures);

  const rowBytes = bytesOf(inFeatures);
  packRows(addressAt(args, 0) + <usize>top * rowBytes, rowBytes, rows, inFeatures, scratch);
  const panels = panelsOf(rows);
  const sums = scratch + <usize>firstRowOf(panels, rows) * rowBytes;
  for (let column = begin; column < end; column += CHUNK) {
    const columns = min(CHUNK, end - column);
    const right = weight + <usize>column * rowBytes;
    for (let panel = 0; panel < panels; panel++) {
      const first = firstRowOf(panel, rows);
      const height = rowsOf(panel, rows);
      const left = scratch + <usize>first * rowBytes;
      const columnPanels = (columns + COLUMNS - 1) / COLUMNS;
      multiplyPanel(height, left, right, rowBytes << 3, columnPanels, inFeatures, sums, CHUNK << 2, false);
      const columnBias = bias == 0 ? bias : bias + bytesOf(column);
      for (let row = 0; row < min(height, rows - first); row++) {
        const offset = bytesOf((top + first + row) * outFeatures + column);
        const rowResidual = residual == 0 ? residual : residual + offset;
        finishRow(sums + bytesOf(row * CHUNK), 0, columnBias, rowResidual, out + offset, columns, activation);
      }
    }
  }
}
