import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { Random } from '../../kernels/index.ts';
import { linearSumAssignment } from '../../models/losses/linear-sum-assignment.ts';
import { readTestJson } from '../support/data.ts';

test('pairs are those of scipy, ties, infinite costs and empty matrices included', () => {
  type Case = [
    rows: number,
    columns: number,
    costs: (number | null)[],
    pairs: [rows: number[], columns: number[]] | null,
  ];
  for (const [rows, columns, costs, pairs] of readTestJson<Case[]>('losses', 'assignments.json')) {
    const matrix = Float64Array.from(costs, cost => cost ?? Number.POSITIVE_INFINITY);
    if (pairs === null) {
      assert.throws(() => linearSumAssignment(matrix, rows, columns), /at least one pairing of finite cost/);
      continue;
    }
    const found = linearSumAssignment(matrix, rows, columns);
    assert.equal([[...found.rows], [...found.columns]], pairs, `${rows} x ${columns}: ${costs}`);
  }
});

test('no pairing is cheaper, by trying all of them', () => {
  const random = new Random(1);
  for (let round = 0; round < 50; round++) {
    const rows = 1 + (round % 5);
    const columns = 1 + (round % 7);
    const costs = Float64Array.from({ length: rows * columns }, () => random.next() - 0.5);
    const { rows: pairedRows, columns: pairedColumns } = linearSumAssignment(costs, rows, columns);
    assert.is(pairedRows.length, Math.min(rows, columns));
    assert.is(new Set(pairedColumns).size, pairedColumns.length);
    const total = pairedRows.reduce((sum, row, index) => sum + costs[row * columns + pairedColumns[index]!]!, 0);
    assert.ok(Math.abs(total - cheapest(costs, rows, columns)) < 1e-12);
  }
});

test('300 queries and 100 targets: the pairs are those that were made the cheapest', () => {
  const seed = Number(process.env.DETR_SEED ?? Math.floor(Math.random() * 2 ** 31));
  const random = new Random(seed);
  const rowOf = new Set<number>(); // of each column, in order
  while (rowOf.size < 100) rowOf.add(random.integer(0, 299));
  const planted = [...rowOf];
  // A pair costs the prices of its row and its column, and any other pair more. Rows that stay alone have price 0, others less.
  const rowPrices = Float64Array.from({ length: 300 }, (_, row) => (rowOf.has(row) ? -random.next() : 0));
  const columnPrices = Float64Array.from({ length: 100 }, () => random.normal());
  const costs = Float64Array.from({ length: 300 * 100 }, (_, index) => {
    const [row, column] = [Math.floor(index / 100), index % 100];
    const more = planted[column] === row ? 0 : 1e-3 + random.next();
    return rowPrices[row]! + columnPrices[column]! + more;
  });
  const { rows, columns } = linearSumAssignment(costs, 300, 100);
  const found: number[] = [];
  for (const [index, column] of columns.entries()) found[column] = rows[index]!;
  assert.equal(found, planted, `repeat with DETR_SEED=${seed}`);
});

test('what has no answer is refused', () => {
  const forbidden = Float64Array.of(1, Infinity, 2, Infinity);
  assert.throws(() => linearSumAssignment(forbidden, 2, 2), /at least one pairing of finite cost, got none/);
  assert.throws(
    () => linearSumAssignment(Float64Array.of(1, Number.NaN), 1, 2),
    (error: Error) => {
      return error instanceof OptionError && /got NaN at \[0, 1\]/.test(error.message);
    },
  );
  assert.throws(() => linearSumAssignment(Float64Array.of(Number.NaN, 1), 1, 2), /got NaN at \[0, 0\]/);
  assert.throws(
    () => linearSumAssignment(Float64Array.of(1, 2, Number.NEGATIVE_INFINITY, 3), 2, 2),
    /got -Infinity at \[1, 0\]/,
  );
  assert.throws(
    () => linearSumAssignment(Float64Array.of(1, 2, 3), 2, 2),
    (error: Error) => {
      return error instanceof ShapeError && /expected 2 x 2 costs, got 3/.test(error.message);
    },
  );
});

/** The least total by exhaustion: rows in order, each with every free column or, when rows are more than columns, none. */
function cheapest(costs: Float64Array, rows: number, columns: number): number {
  const best = (row: number, used: number, skips: number): number => {
    if (row === rows) return 0;
    let least = skips > 0 ? best(row + 1, used, skips - 1) : Number.POSITIVE_INFINITY;
    for (let column = 0; column < columns; column++) {
      if ((used & (1 << column)) === 0) {
        least = Math.min(least, costs[row * columns + column]! + best(row + 1, used | (1 << column), skips));
      }
    }
    return least;
  };
  return best(0, 0, Math.max(0, rows - columns));
}

test.run();
