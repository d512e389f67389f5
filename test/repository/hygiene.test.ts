import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { repositoryRoot } from '../support/data.ts';
import { repositoryFiles } from './support/sources.ts';

const files = repositoryFiles().filter(file => existsSync(join(repositoryRoot, file)));
const isText = (file: string) => !/\.(png|jpe?g|safetensors|gz|npy|bin|pth|pt|zip|wasm)$/.test(file);

test('the repository stays small', () => {
  const bytes = files.reduce((total, file) => total + statSync(join(repositoryRoot, file)).size, 0);
  assert.ok(bytes < 64e6, `${(bytes / 1e6).toFixed(1)} MB`);
});

test('no file names a machine, a home folder or a tracker', () => {
  // Written so that this file does not match itself.
  const forbidden = [
    /(?<![\w.~-])\/(work|home|root|Users)\/[\w.]+/,
    /registry\.[a-z]+\.[a-z]+/,
    /\bissue #?\d/i,
    /\b(10|192\.168)\.\d+\.\d+\.\d+\b/,
  ];
  const found: string[] = [];
  for (const file of files.filter(isText)) {
    if (file.endsWith('hygiene.test.ts') || file.startsWith('test/data/') || file === 'package-lock.json') continue;
    for (const [index, line] of readFileSync(join(repositoryRoot, file), 'utf8').split('\n').entries()) {
      if (forbidden.some(pattern => pattern.test(line)))
        found.push(`${file}:${index + 1}: ${line.trim().slice(0, 120)}`);
    }
  }
  assert.equal(found, []);
});

test('the lock file names no download addresses', () => {
  const lock = readFileSync(join(repositoryRoot, 'package-lock.json'), 'utf8');
  assert.not.match(lock, /"resolved"/);
});

test('documents end with one line break and hold no tabs or trailing spaces', () => {
  const wrong: string[] = [];
  for (const file of files.filter(isText)) {
    if (!/\.md$/.test(file) || file.startsWith('weights/embedded/')) continue;
    const text = readFileSync(join(repositoryRoot, file), 'utf8');
    if (!text.endsWith('\n') || text.endsWith('\n\n') || /\t|[ ]+$/m.test(text)) wrong.push(file);
  }
  assert.equal(wrong, []);
});

test.run();
