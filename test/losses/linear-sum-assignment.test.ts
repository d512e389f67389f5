import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OptionError, ShapeError } from '../../engine/errors.ts';
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
  let seed = 1;
  const random = () => {
    seed = (seed * 48271) % 2147483647;
    return seed / 2147483647;
  };
  for (let round = 0; round < 50; round++) {
    const rows = 1 + (round % 5);
    const columns = 1 + (round % 7);
    const costs = Float64Array.from({ length: rows * columns }, () => random() - 0.5);
    const { rows: pairedRows, columns: pairedColumns } = linearSumAssignment(costs, rows, columns);
    assert.is(pairedRows.length, Math.min(rows, columns));
    assert.is(new Set(pairedColumns).size, pairedColumns.length);
    const total = pairedRows.reduce((sum, row, index) => sum + costs[row * columns + pairedColumns[index]!]!, 0);
    assert.ok(Math.abs(total - cheapest(costs, rows, columns)) < 1e-12);
  }
});

test('300 queries and 100 targets take a few milliseconds', () => {
  const costs = Float64Array.from({ length: 300 * 100 }, (_, index) => (Math.sin(index * 12.9898) * 43758.5453) % 1);
  linearSumAssignment(costs, 300, 100);
  const started = performance.now();
  linearSumAssignment(costs, 300, 100);
  const elapsedMilliseconds = performance.now() - started;
  console.log(`300 x 100: ${elapsedMilliseconds.toFixed(2)} ms`);
  assert.ok(elapsedMilliseconds < 100);
});

test('what has no answer is refused', () => {
  assert.throws(
    () => linearSumAssignment(Float64Array.of(1, Number.NaN), 1, 2),
    (error: Error) => {
      return error instanceof OptionError && /got NaN at \[0, 1\]/.test(error.message);
    },
  );
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
