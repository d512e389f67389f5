import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type BatchOptions, processBatches, RunEnded, summarize, writeResults } from '../../cli/batches.ts';
import { DetrError, DeviceLostError, FileError, OutOfMemoryError } from '../../engine/errors.ts';
import { writePng } from '../../models/images/files.ts';
import { fileSystemError } from '../../weights/files.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { rejectsWith } from '../support/throws.ts';

const folder = temporaryFolder('batches');
const inputs = Array.from({ length: 7 }, (_, index) => {
  const path = join(folder, `${index}.png`);
  writePng(path, { width: index + 1, height: 1, channels: 3, data: new Uint8Array(3 * (index + 1)) });
  return { path };
});
const broken = join(folder, 'broken.png');
writeFileSync(broken, 'no picture');

/** Runs with results that are the pictures' widths; returns what happened, in order. */
async function run(files: readonly { path: string; problem?: string }[], options: Partial<BatchOptions<number>> = {}) {
  const log: string[] = [];
  const outcome = await processBatches<number>(files, {
    batchSize: 3,
    signal: new AbortController().signal,
    inputSize: () => [1, 1],
    run: async pictures => {
      log.push(`run ${pictures.map(({ image }) => image.width)}`);
      return pictures.map(({ image }) => image.width);
    },
    finish: async ({ index }, width) => {
      log.push(`${index}: ${width}`);
    },
    onFailure: ({ path }) => log.push(`failed ${path.split('/').at(-1)}`),
    ...options,
  });
  return { outcome, log };
}

test('pictures go through in batches and come out in order', async () => {
  const { outcome, log } = await run(inputs);
  assert.equal(outcome, { finished: 7, failures: [], interrupted: false });
  // While a batch is on the device the one before is finished.
  const first = ['run 1,2,3', 'run 4,5,6', '0: 1', '1: 2', '2: 3'];
  assert.equal(log, [...first, 'run 7', '3: 4', '4: 5', '5: 6', '6: 7']);
});

test('pictures of one input size go through together, and come out in order all the same', async () => {
  const { outcome, log } = await run(inputs, {
    batchSize: 6,
    inputSize: ({ width }) => {
      if (width === 4) throw new DetrError('too narrow');
      return [1, width % 2];
    },
  });
  assert.equal(log, [
    ...['run 1,3,5', 'run 2,6', 'run 7'],
    ...['0: 1', '1: 2', '2: 3', 'failed 3.png', '4: 5', '5: 6', '6: 7'],
  ]);
  assert.equal(outcome.failures, [{ path: inputs[3]!.path, message: 'too narrow' }]);
});

test('a picture that cannot be read does not stop the others', async () => {
  const files = [
    inputs[0]!,
    { path: broken },
    { path: join(folder, 'none.png') },
    inputs[1]!,
    { path: 'x', problem: 'is odd' },
  ];
  const { outcome, log } = await run(files);
  assert.equal(log, ['run 1', 'run 2', '0: 1', 'failed broken.png', 'failed none.png', '3: 2', 'failed x']);
  assert.is(outcome.finished, 2);
  assert.equal(outcome.failures[2], { path: 'x', message: 'is odd' });
  assert.not(outcome.failures[0]!.message.includes(broken), 'the path is not said twice');
  assert.match(summarize(outcome, 5), /^3 of 5 pictures failed:\n {2}.*broken\.png: /);
});

test('when a batch fails its pictures are tried one by one', async () => {
  const { outcome, log } = await run(inputs.slice(0, 3), {
    run: async pictures => {
      if (pictures.length > 1) throw new OutOfMemoryError('no memory for a batch');
      if (pictures[0]!.index === 1) throw new DetrError('too strange');
      return [100 + pictures[0]!.index];
    },
  });
  assert.equal(log, ['0: 100', 'failed 1.png', '2: 102']);
  assert.equal(outcome.failures, [{ path: inputs[1]!.path, message: 'too strange' }]);
});

test('a result that cannot be written is the failure of its picture', async () => {
  const { outcome } = await run(inputs.slice(0, 3), {
    finish: async ({ index }) => {
      if (index === 0) throw new DetrError('disk full');
    },
  });
  assert.equal([outcome.finished, outcome.failures.length], [2, 1]);
});

test('when nothing can be recorded any more the run ends with the reason', async () => {
  const cause = new DetrError('disk full');
  const finish = async () => {
    throw new RunEnded('', { cause });
  };
  await rejectsWith(() => run(inputs, { finish }), DetrError, /disk full/);
});

test('a run that ends early waits for the batch on the device, whose model may be freed next', async () => {
  let running = 0;
  const ends = run(inputs, {
    batchSize: 2,
    run: async pictures => {
      running += 1;
      await new Promise(resolve => setTimeout(resolve, 20));
      running -= 1;
      return pictures.map(() => 0);
    },
    finish: async () => {
      assert.is(running, 1);
      throw new RunEnded('', { cause: new DetrError('disk full') });
    },
  });
  await rejectsWith(() => ends, DetrError, /disk full/);
  assert.is(running, 0);
});

test('a full disk ends the run at once, and what concerns one file does not', async () => {
  const failing = (code: string) => {
    const cause = Object.assign(new Error(code), { code, syscall: 'write' });
    return run(inputs, {
      batchSize: 1,
      finish: async ({ path }) =>
        writeResults(() => {
          throw fileSystemError(path, cause);
        }),
    });
  };
  await rejectsWith(() => failing('ENOSPC'), FileError, /0\.png: no space left on the disk/);
  await rejectsWith(() => failing('EROFS'), FileError, /the file system is read-only/);
  assert.is((await failing('ENAMETOOLONG')).outcome.failures.length, 7);
});

test('what was found before a device is lost is not lost', async () => {
  const log: number[] = [];
  const failing = run(inputs, {
    batchSize: 1,
    run: async ([picture]) => {
      if (picture!.index === 2) throw new DeviceLostError('gone');
      return [picture!.index];
    },
    finish: async ({ index }) => {
      await new Promise(resolve => setTimeout(resolve, 5));
      log.push(index);
    },
  });
  await rejectsWith(() => failing, DeviceLostError, /gone/);
  assert.equal(log, [0, 1]);
});

test('a lost device and bugs end the run', async () => {
  const failing = (error: Error) => () => run(inputs, { run: async () => Promise.reject(error) });
  await rejectsWith(failing(new DeviceLostError('gone')), DeviceLostError, /gone/);
  try {
    await failing(new TypeError('bug'))();
    assert.unreachable();
  } catch (error) {
    assert.instance(error, TypeError);
  }
});

test('an interrupt lets the batches under way end, and begins no other', async () => {
  const controller = new AbortController();
  const { outcome, log } = await run(inputs, {
    signal: controller.signal,
    finish: async () => controller.abort(),
  });
  assert.equal(log, ['run 1,2,3', 'run 4,5,6']);
  assert.equal(outcome, { finished: 6, failures: [], interrupted: true });
  assert.is(summarize(outcome, 7), 'interrupted: 6 of 7 pictures done\n');
});

test('no pictures, nothing to do', async () => {
  assert.equal((await run([])).outcome, { finished: 0, failures: [], interrupted: false });
});

test.run();
