import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { calmly, pollEagerly } from '../../engine/webgpu/polling.ts';

/** Whether a poll that is queued after so long a wait comes with the immediates of the current turn. */
async function pollsAtOnce(milliseconds: number): Promise<boolean> {
  // A timer's own turn has its immediates before any other timer.
  await new Promise(resolve => setTimeout(resolve));
  const { now } = performance;
  let clock = 0;
  let polled = false;
  performance.now = () => clock;
  calmly(() => {
    clock = milliseconds;
    setImmediate(() => {
      polled = true;
    });
  });
  performance.now = now;
  await new Promise(setImmediate);
  return polled;
}

test('polls follow each other for a millisecond, and for a few where a GPU leaves the core alone', async () => {
  assert.is(await pollsAtOnce(0.1), true);
  assert.is(await pollsAtOnce(2), false);
  pollEagerly();
  assert.is(await pollsAtOnce(2), true);
  assert.is(await pollsAtOnce(5), false);
});

test.run();
