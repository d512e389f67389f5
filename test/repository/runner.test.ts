import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { runTestFiles } from '../runner.ts';

const cache = fileURLToPath(new URL('../../../node_modules/.cache/', import.meta.url)); // where `uvu` resolves
mkdirSync(cache, { recursive: true });
const folder = mkdtempSync(join(cache, 'runner-test-'));
test.after(() => rmSync(folder, { recursive: true }));

async function run(source: string, timeLimitMilliseconds = 20_000) {
  const path = join(folder, 'sample.test.mjs');
  writeFileSync(path, `import { test } from 'uvu';\n${source}`);
  const [report] = await runTestFiles([{ name: 'sample', path }], { jobs: 1, timeLimitMilliseconds });
  const { passed, failed, skipped, trouble } = report!;
  return { passed, failed, skipped, trouble };
}

test('counts what uvu counts', async () => {
  const source = `test('a', () => {}); test('b', () => { throw new Error('no'); }); test.skip('c', () => {}); test.run();`;
  assert.equal(await run(source), { passed: 1, failed: 1, skipped: 1, trouble: undefined });
});

test('a file without tests fails', async () => {
  assert.equal(await run(`test('never run', () => {});`), {
    passed: 0,
    failed: 1,
    skipped: 0,
    trouble: 'ran no tests',
  });
});

test('a file that crashes before, while or after its tests run fails', async () => {
  const tests = `test('a', () => {}); test.run();`;
  const before = await run(`throw new Error('crash');\n${tests}`);
  assert.equal(before, { passed: 0, failed: 1, skipped: 0, trouble: 'ended with exit code 1, ran no tests' });
  const inside = await run(`test('a', () => process.kill(process.pid, 'SIGSEGV')); test.run();`);
  assert.equal(inside, { passed: 0, failed: 1, skipped: 0, trouble: 'ended with SIGSEGV, ran no tests' });
  const after = await run(`setTimeout(() => process.kill(process.pid, 'SIGABRT'), 300);\n${tests}`);
  assert.equal(after, { passed: 1, failed: 1, skipped: 0, trouble: 'ended with SIGABRT' });
});

test('a file that does not end is killed and fails', async () => {
  const report = await run(`setInterval(() => {}, 1000); test('a', () => {}); test.run();`, 1500);
  assert.equal(report, { passed: 1, failed: 1, skipped: 0, trouble: 'not finished after 1.5 s' });
});

test.run();
