import { spawnSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { repositoryRoot } from '../support/data.ts';

function run(tool: string, ...args: string[]) {
  return spawnSync(process.execPath, [tool, ...args], { cwd: repositoryRoot, encoding: 'utf8' });
}

for (const tool of ['dist/test/fuzz/main.js', 'dist/test/soak/main.js', 'bench/peers/compare.mjs']) {
  test(`${tool} has help, and says what is wrong`, () => {
    const help = run(tool, '--help');
    assert.equal([help.status, help.stderr], [0, '']);
    assert.match(help.stdout, /^usage: .*/);
    const wrong = run(tool, '--sed', '1');
    assert.equal([wrong.status, wrong.stdout], [2, '']);
    assert.match(wrong.stderr, /unknown option.*--sed[\s\S]*\nusage: /i);
    assert.not.match(wrong.stderr, /^\s+at /m);
  });
}

test('the demo has the help of detect', () => {
  const { status, stdout } = run('scripts/demo.mjs', '--help');
  assert.is(status, 0);
  assert.match(stdout, /^Usage: detr-webgpu detect /);
  assert.not.match(stdout, /The annotated pictures are in/);
});

test.run();
