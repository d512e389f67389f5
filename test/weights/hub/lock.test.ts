import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
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

test.run();
