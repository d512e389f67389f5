// Host side of matrix-product.assembly.ts: the same division of matrices into panels, and of products into tasks.

/** Columns of a right panel. */
export const PANEL_COLUMNS = 8;

/** Rows of each left panel: sixes, then as few fours as leave no more than one row empty. */
export function leftPanels(rows: number): number[] {
  const rest = rows % 6;
  const fours = rest === 0 || rest === 5 ? 0 : rest > 2 || rows < 6 ? 1 : 2;
  const sixes = Math.ceil((rows - 4 * fours) / 6);
  return [...new Array<number>(sixes).fill(6), ...new Array<number>(fours).fill(4)];
}

/** Rows of all left panels together, those that fill up the last panel included. */
export function paddedRows(rows: number): number {
  return leftPanels(rows).reduce((sum, height) => sum + height, 0);
}

/**
 * Packs a matrix [rows, depth] as left panels, [panel, depth, height], the rest of the last one filled up with zeros.
 * @param at the matrix' value at a row and a position along the depth
 */
export function packLeftPanels(
  rows: number,
  depth: number,
  at: (row: number, k: number) => number,
  out: Float32Array,
): void {
  let first = 0;
  for (const height of leftPanels(rows)) {
    const filled = Math.min(height, rows - first);
    for (let row = 0; row < filled; row++) {
      let place = first * depth + row;
      for (let k = 0; k < depth; k++, place += height) out[place] = at(first + row, k);
    }
    first += height;
  }
}

/** Packs the transpose of a matrix [columns, depth] as column panels [⌈columns / 8⌉, depth, 8], filled up with zeros. */
export function packTransposedPanels(columns: number, depth: number, data: Float32Array): Float32Array {
  const packed = new Float32Array(Math.ceil(columns / PANEL_COLUMNS) * depth * PANEL_COLUMNS);
  for (let column = 0; column < columns; column++) {
    let place = Math.floor(column / PANEL_COLUMNS) * depth * PANEL_COLUMNS + (column % PANEL_COLUMNS);
    for (let k = 0; k < depth; k++, place += PANEL_COLUMNS) packed[place] = data[column * depth + k]!;
  }
  return packed;
}

/** `size` in parts of the same length, a multiple of `unit`: the length of the fewest parts of at most `limit`. */
export function evenParts(size: number, unit: number, limit: number): number {
  const parts = Math.max(Math.ceil(size / Math.max(limit, unit)), 1);
  return Math.max(Math.ceil(size / parts / unit) * unit, unit);
}

/** What one task costs, in multiply-adds. */
export interface TaskCost {
  /** What every task does, however long its part of the axis is. */
  readonly fixed: number;
  /** What each step along the axis adds. */
  readonly perStep: number;
}

/** Packing a value takes about as long as this many multiply-adds. */
export const PACKING_COST = 16;

/** Handing a task out, in multiply-adds. */
const TASK_COST = 20_000;
/** Tasks a thread from which on more of them balance nothing better. */
const ENOUGH_TASKS_PER_THREAD = 32;

/**
 * Length of the parts of one axis, a multiple of `unit`, with which all tasks together end soonest: shorter parts share the
 * work out more evenly, but each does again what does not depend on its length.
 * @param others parts of all other axes
 */
export function taskLength(size: number, unit: number, others: number, cost: TaskCost, threads: number): number {
  let best = { length: unit, duration: Number.POSITIVE_INFINITY };
  for (let parts = 1; ; parts++) {
    const length = Math.max(Math.ceil(size / parts / unit), 1) * unit;
    const tasks = others * Math.ceil(size / length);
    // Threads are not equally fast: while the last one works, the others wait, on average for half a task.
    const rounds = Math.ceil(tasks / threads) + (threads - 1) / (2 * threads);
    const duration = rounds * (TASK_COST + cost.fixed + cost.perStep * length);
    // More parts are more work in all, which has to pay.
    if (duration < 0.98 * best.duration) best = { length, duration };
    if (length === unit || tasks > ENOUGH_TASKS_PER_THREAD * threads) return best.length;
  }
}
