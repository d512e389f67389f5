import { OptionError, ShapeError } from '../../engine/errors.ts';

/** Pairs of a row and a column, rows ascending; the k-th pair is (`rows[k]`, `columns[k]`). */
export interface Assignment {
  readonly rows: Int32Array;
  readonly columns: Int32Array;
}

/**
 * Pairs min(R, C) rows and columns of a cost matrix so that the sum of their costs is least, each used once: R rows, C columns,
 * `costs` row-major [R, C]. Infinite costs forbid a pair.
 *
 * Shortest augmenting paths after D. F. Crouse, "On implementing 2D rectangular assignment algorithms", IEEE TAES 52(4), 2016,
 * O(min(R, C)² max(R, C)). Among equally good pairings it settles on the one that scipy's `linear_sum_assignment` gives, because it
 * visits columns in the same order.
 *
 * @throws ShapeError if `costs` does not hold R x C numbers; OptionError on NaN or -∞, or if every pairing costs ∞.
 */
export function linearSumAssignment(costs: Float64Array, rows: number, columns: number): Assignment {
  if (costs.length !== rows * columns) {
    throw new ShapeError(`linearSumAssignment: expected ${rows} x ${columns} costs, got ${costs.length}`);
  }
  for (let index = 0; index < costs.length; index++) {
    const cost = costs[index]!;
    if (!(cost > Number.NEGATIVE_INFINITY)) {
      throw new OptionError(
        `linearSumAssignment: expected costs above -Infinity, got ${cost} at [${Math.floor(index / columns)}, ${index % columns}]`,
      );
    }
  }
  if (rows <= columns) {
    return { rows: Int32Array.from({ length: rows }, (_, row) => row), columns: assignRows(costs, rows, columns) };
  }
  const rowOfColumn = assignRows(transpose(costs, rows, columns), columns, rows);
  const order = Int32Array.from({ length: columns }, (_, column) => column).sort(
    (a, b) => rowOfColumn[a]! - rowOfColumn[b]!,
  );
  return { rows: order.map(column => rowOfColumn[column]!), columns: order };
}

const NONE = -1;

/** The column of each row, for at least as many columns as rows. */
function assignRows(costs: Float64Array, rows: number, columns: number): Int32Array {
  const rowPotential = new Float64Array(rows);
  const columnPotential = new Float64Array(columns);
  const columnOfRow = new Int32Array(rows).fill(NONE);
  const rowOfColumn = new Int32Array(columns).fill(NONE);
  // Of the search below: the row that reaches a column most cheaply, that path's length, and the columns not yet settled.
  const reachedFrom = new Int32Array(columns);
  const pathLength = new Float64Array(columns);
  const unsettled = new Int32Array(columns);

  for (let newRow = 0; newRow < rows; newRow++) {
    pathLength.fill(Number.POSITIVE_INFINITY);
    // Descending, so that a matrix of equal costs pairs row i with column i.
    for (let index = 0; index < columns; index++) unsettled[index] = columns - 1 - index;
    let unsettledCount = columns;
    let row = newRow;
    let shortest = 0;
    let freeColumn = NONE;
    while (freeColumn === NONE) {
      const base = row * columns;
      const potential = rowPotential[row]!;
      let nearest = NONE;
      let nearestLength = Number.POSITIVE_INFINITY;
      for (let index = 0; index < unsettledCount; index++) {
        const column = unsettled[index]!;
        const length = shortest + costs[base + column]! - potential - columnPotential[column]!;
        if (length < pathLength[column]!) {
          pathLength[column] = length;
          reachedFrom[column] = row;
        }
        const known = pathLength[column]!;
        if (known < nearestLength || (known === nearestLength && rowOfColumn[column] === NONE)) {
          nearestLength = known;
          nearest = index;
        }
      }
      if (nearestLength === Number.POSITIVE_INFINITY) {
        throw new OptionError('linearSumAssignment: expected at least one pairing of finite cost, got none');
      }
      shortest = nearestLength;
      const column = unsettled[nearest]!;
      unsettled[nearest] = unsettled[--unsettledCount]!;
      unsettled[unsettledCount] = column;
      if (rowOfColumn[column] === NONE) freeColumn = column;
      else row = rowOfColumn[column]!;
    }

    // The settled columns, now behind the unsettled ones, and their rows keep reduced costs of zero.
    rowPotential[newRow]! += shortest;
    for (let index = unsettledCount; index < columns; index++) {
      const column = unsettled[index]!;
      const slack = shortest - pathLength[column]!;
      columnPotential[column]! -= slack;
      if (rowOfColumn[column] !== NONE) rowPotential[rowOfColumn[column]!]! += slack;
    }

    // Along the path every row takes the column it reached, and hands the one it had to the row before.
    for (let column = freeColumn; ; ) {
      const taker = reachedFrom[column]!;
      const previous = columnOfRow[taker]!;
      rowOfColumn[column] = taker;
      columnOfRow[taker] = column;
      if (taker === newRow) break;
      column = previous;
    }
  }
  return columnOfRow;
}

function transpose(matrix: Float64Array, rows: number, columns: number): Float64Array {
  const transposed = new Float64Array(matrix.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) transposed[column * rows + row] = matrix[row * columns + column]!;
  }
  return transposed;
}
