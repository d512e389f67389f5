import {
  COLUMNS,
  finishRow,
  firstRowOf,
  multiplyPanel,
  packColumns,
  packRows,
  packTransposed,
  panelsOf,
  rowsOf,
} from '../matrix-product.assembly';
import { addressAt, bytesOf, integerAt } from '../simd.assembly';

// args: a, b, out, rows, inner, columns, transposeB, elements between batches of a, of b, rows per task, columns per task.
// Scratch: the task's rows of a as left panels, its columns of b as column panels, the sums of 6 rows.
export function matmul(args: usize, task: i32, scratch: usize): void {
  const rows = integerAt(args, 3);
  const inner = integerAt(args, 4);
  const columns = integerAt(args, 5);
  const transposed = integerAt(args, 6) != 0;
  const rowsPerTask = integerAt(args, 9);
  const columnsPerTask = integerAt(args, 10);
  const rowTasks = (rows + rowsPerTask - 1) / rowsPerTask;
  const columnTasks = (columns + columnsPerTask - 1) / columnsPerTask;
  const batch = task / (rowTasks * columnTasks);
  const top = ((task / columnTasks) % rowTasks) * rowsPerTask;
  const left = (task % columnTasks) * columnsPerTask;
  const height = min(rowsPerTask, rows - top);
  const width = min(columnsPerTask, columns - left);

  const innerBytes = bytesOf(inner);
  const a = addressAt(args, 0) + bytesOf(batch * integerAt(args, 7)) + <usize>top * innerBytes;
  const b = addressAt(args, 1) + bytesOf(batch * integerAt(args, 8));
  const panels = panelsOf(height);
  const columnPanels = (width + COLUMNS - 1) / COLUMNS;
  const panelStride = innerBytes << 3;
  const packedB = scratch + <usize>firstRowOf(panels, height) * innerBytes;
  const sums = packedB + <usize>columnPanels * panelStride;
  packRows(a, innerBytes, height, inner, scratch);
  if (transposed) packTransposed(b + <usize>left * innerBytes, innerBytes, width, inner, packedB, panelStride);
  else packColumns(b + bytesOf(left), bytesOf(columns), width, inner, packedB, panelStride);

  const sumStride = <usize>columnPanels << 5;
  for (let panel = 0; panel < panels; panel++) {
    const first = firstRowOf(panel, height);
    const panelRows = rowsOf(panel, height);
    const packedA = scratch + <usize>first * innerBytes;
    multiplyPanel(panelRows, packedA, packedB, panelStride, columnPanels, inner, sums, sumStride, false);
    for (let row = 0; row < min(panelRows, height - first); row++) {
      const out = addressAt(args, 2) + bytesOf((batch * rows + top + first + row) * columns + left);
      finishRow(sums + <usize>row * sumStride, 0, 0, 0, out, width, 0);
    }
  }
}
