import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { passMilliseconds } from '../../engine/webgpu/timestamps.ts';

const milliseconds = (...nanoseconds: readonly number[]) => passMilliseconds(nanoseconds.map(BigInt));

test('passes that wait for each other are timed by their own begin and end', () => {
  assert.equal(milliseconds(1e6, 3e6, 4e6, 4.5e6), [2, 0.5]);
  assert.equal(milliseconds(), []);
});

test('a pass whose begin does not wait for those before it is timed from their end', () => {
  assert.equal(milliseconds(1e6, 3e6, 1e6, 4e6, 1e6, 4e6, 2e6, 9e6), [2, 1, 0, 5]);
});

test('no pass takes less than no time, where a clock runs backwards or a pass ends before the one before it', () => {
  assert.equal(milliseconds(5e6, 4e6, 5e6, 7e6), [0, 2]);
  assert.equal(milliseconds(1e6, 6e6, 2e6, 4e6, 5e6, 7e6), [5, 0, 1]);
});

test.run();
