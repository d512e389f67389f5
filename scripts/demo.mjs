// `npm run demo`: builds if a source changed since the last build, and finds objects in the demo pictures.
import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const run = args => {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
};

function newestSource() {
  let newest = 0;
  for (const folder of ['engine', 'kernels', 'weights', 'models', 'cli']) {
    for (const name of readdirSync(join(root, folder), { recursive: true })) {
      if (name.endsWith('.ts')) newest = Math.max(newest, statSync(join(root, folder, name)).mtimeMs);
    }
  }
  return newest;
}

// What the build writes last.
const built = statSync(join(root, 'dist/kernels/kernels.wide.wasm'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
if (built < newestSource()) {
  console.log('building …');
  run(['scripts/build.mjs']);
}
const options = process.argv.slice(2);
run(['dist/cli/main.js', 'detect', 'cli/demo', '--out', 'detections', ...options]);
if (options.length === 0) console.log('The annotated pictures are in detections/.');
