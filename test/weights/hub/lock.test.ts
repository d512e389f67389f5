import { execFileSync } from 'node:child_process';
import { readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { withLock } from '../../../weights/hub/lock.ts';
import { temporaryFolder } from '../../support/temporary.ts';

test('a lock that cannot be written leaves no file that would hold others up', () => {
  const folder = temporaryFolder('lock');
  const program = `
    import { withLock } from ${JSON.stringify(new URL('../../../weights/hub/lock.js', import.meta.url))};
    const work = () => console.log('worked');
    await withLock(${JSON.stringify(join(folder, 'a.lock'))}, undefined, work).catch(error => console.log(error.name));`;
  // A process that may create files but write nothing into them, as on a full disk.
  const limited = ['-c', 'ulimit -f 0 && exec "$0" "$@"', process.execPath, '--input-type=module', '--eval', program];
  assert.is(execFileSync('sh', limited, { encoding: 'utf8' }), 'FileError\n');
  assert.equal(readdirSync(folder), []);
});

/** The lock of a process that is no more. */
function abandonedLock(path: string): void {
  const dead = Number(execFileSync(process.execPath, ['--print', 'process.pid'], { encoding: 'utf8' }));
  writeFileSync(path, JSON.stringify({ pid: dead, host: hostname(), id: 'x' }));
}

test('what a dead process left behind is taken over by one of those who wait', async () => {
  const folder = temporaryFolder('abandoned');
  for (let round = 0; round < 6; round++) {
    const path = join(folder, `${round}.lock`);
    abandonedLock(path);
    let holders = 0;
    let finished = 0;
    const work = async () => {
      holders += 1;
      assert.is(holders, 1);
      await new Promise(resolve => setTimeout(resolve, 2));
      holders -= 1;
      finished += 1;
    };
    await Promise.all(Array.from({ length: 4 }, () => withLock(path, undefined, work)));
    assert.is(finished, 4);
  }
  assert.equal(readdirSync(folder), []);
});

test('one process at a time removes what is abandoned, unless it died of it', async () => {
  const folder = temporaryFolder('removal');
  const path = join(folder, 'a.lock');
  abandonedLock(path);
  writeFileSync(`${path}.removal`, '');
  let entered = false;
  const waiting = withLock(path, undefined, async () => {
    entered = true;
  });
  await new Promise(resolve => setTimeout(resolve, 300));
  assert.not(entered);
  const longAgo = new Date(Date.now() - 120_000);
  utimesSync(`${path}.removal`, longAgo, longAgo);
  await waiting;
  assert.equal(readdirSync(folder), []);
});

test('a holder keeps its lock fresh, and gives back none but its own', async () => {
  const folder = temporaryFolder('fresh');
  const path = join(folder, 'a.lock');
  const longAgo = new Date(Date.now() - 120_000);
  const isOld = () => statSync(path).mtimeMs < Date.now() - 60_000;
  const { setInterval, clearInterval } = globalThis;
  const repeated = new Map<object, () => void>();
  globalThis.setInterval = ((work: () => void) => {
    const timer = { unref: () => timer };
    repeated.set(timer, work);
    return timer;
  }) as never;
  globalThis.clearInterval = ((timer: object) => repeated.delete(timer)) as never;
  try {
    await withLock(path, undefined, async () => {
      utimesSync(path, longAgo, longAgo);
      for (const work of repeated.values()) work();
      for (let waits = 0; waits < 400 && isOld(); waits++) await new Promise(resolve => setTimeout(resolve, 5));
      assert.not(isOld());
    });
    assert.equal(readdirSync(folder), []);
    // Somebody took it for abandoned.
    await withLock(path, undefined, async () => writeFileSync(path, 'another'));
    assert.equal(readdirSync(folder), ['a.lock']);
    assert.is(repeated.size, 0);
  } finally {
    Object.assign(globalThis, { setInterval, clearInterval });
  }
});

test.run();
