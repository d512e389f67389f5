import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { taskLength } from '../../kernels/matrix-product.ts';

const tasks = suite('kernels/matrix-product: tasks');

tasks('parts are multiples of the unit and cover the axis', () => {
  for (const size of [0, 1, 7, 8, 92, 850, 2048]) {
    for (const threads of [1, 2, 8, 64]) {
      const length = taskLength(size, 8, 3, { fixed: 50_000, perStep: 10_000 }, threads);
      assert.is(length % 8, 0);
      assert.ok(length > 0 && length < Math.max(size, 1) + 8, `${length} of ${size}`);
    }
  }
});

tasks('one thread, or work too small to share, is not divided', () => {
  assert.is(taskLength(2048, 8, 1, { fixed: 1e6, perStep: 1e4 }, 1), 2048);
  assert.is(taskLength(64, 8, 1, { fixed: 1e5, perStep: 10 }, 8), 64);
});

tasks('every thread gets work, the more the cheaper it is to divide', () => {
  const parts = (fixed: number, threads: number) => 2048 / taskLength(2048, 8, 1, { fixed, perStep: 1e5 }, threads);
  assert.ok(parts(1e5, 8) >= 8);
  assert.ok(parts(1e5, 64) >= 64);
  assert.ok(parts(0, 8) > parts(1e7, 8));
});

tasks('work that other axes divide already is not divided again', () => {
  assert.is(taskLength(43, 1, 27, { fixed: 2e6 * 16, perStep: 2e6 * 6 }, 2), 43);
});

tasks.run();
