import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { repositoryRoot } from '../support/data.ts';

function withAdapter(environment: Readonly<Record<string, string>>) {
  const args = [join(repositoryRoot, 'scripts/with-adapter.mjs'), process.execPath, '--print', '"ran"'];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    env: { ...process.env, ...environment },
    encoding: 'utf8',
  });
  return { exitCode: status, stdout, stderr };
}

function hasHardware(): boolean {
  const program = join(repositoryRoot, 'dist/cli/main.js');
  const { stdout } = spawnSync(process.execPath, [program, 'devices', '--json'], { encoding: 'utf8' });
  const devices = JSON.parse(stdout) as { details: { adapter?: string } }[];
  return devices.some(({ details }) => details.adapter === 'hardware');
}

test('DETR_ADAPTER=hardware takes no software adapter', () => {
  const { exitCode, stdout, stderr } = withAdapter({ DETR_ADAPTER: 'hardware' });
  if (hasHardware()) {
    assert.equal([exitCode, stdout], [0, 'ran\n']);
    return;
  }
  assert.equal([exitCode, stdout], [1, '']);
  assert.match(stderr, /^with-adapter: DETR_ADAPTER=hardware: expected a GPU, got (none|only .*, which is software); /);
});

test('DETR_ADAPTER of no known value is refused', () => {
  const { exitCode, stdout, stderr } = withAdapter({ DETR_ADAPTER: 'gpu' });
  assert.equal([exitCode, stdout], [1, '']);
  assert.is(stderr, 'with-adapter: DETR_ADAPTER: expected hardware or swiftshader, got gpu\n');
});

// Elsewhere than on Linux an adapter needs no Vulkan driver.
if (process.platform === 'linux') {
  test('DETR_ADAPTER=hardware says when there is no adapter, and the default finds another', () => {
    const noDriver = { VK_DRIVER_FILES: '/none.json', VK_ICD_FILENAMES: '/none.json' };
    const { exitCode, stderr } = withAdapter({ ...noDriver, DETR_ADAPTER: 'hardware' });
    assert.is(exitCode, 1);
    assert.match(stderr, /expected a GPU, got none; are the Vulkan loader /);
    assert.equal(withAdapter({ ...noDriver, DETR_ADAPTER: '' }), { exitCode: 0, stdout: 'ran\n', stderr: '' });
  });
}

test('scripts and engine tell software adapters by the same words', () => {
  const words = ['scripts/adapter.mjs', 'engine/webgpu/adapter.ts'].map(
    file => /\/llvmpipe.*\/i/.exec(readFileSync(join(repositoryRoot, file), 'utf8'))?.[0],
  );
  assert.ok(words[0]);
  assert.is(words[0], words[1]);
});

test.run();
