import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { growthOf, type SoakSample, soak } from './soak.ts';

// A short run; `npm run soak` is the long one.
test('mixed passes on one device after the other leave memory and handles as they were', async () => {
  const samples = await soak({ passes: 16, passesPerDevice: 4, device: { device: 'cpu', threads: 2 }, seed: 3 });
  assert.is(samples.length, 4);
  assert.is(samples.at(-1)!.passes, 16);
  assert.ok(samples.at(-1)!.errors > 0, 'no error was injected');
  assert.equal(growthOf(samples), []);
});

test('growth is noticed', () => {
  const sample = { devices: 1, passes: 1, errors: 0, liveBytes: 10, reservedBytes: 10, residentBytes: 10, handles: 3 };
  const growing = (key: keyof SoakSample, step: number) =>
    growthOf(Array.from({ length: 7 }, (_, index) => ({ ...sample, [key]: index * step })));
  assert.match(growing('liveBytes', 4)[0]!, /^liveBytes grew from 12 to 20/);
  assert.match(growing('handles', 1)[0]!, /^handles grew from 3 to 5/);
  assert.is(growing('residentBytes', 4e7).length, 1);
  assert.is(growing('reservedBytes', 4e7).length, 1);
  assert.equal(growing('residentBytes', 1e6), []);
});

test.run();
