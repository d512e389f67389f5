import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { repositoryRoot } from '../../support/data.ts';

const notOurs = new Set(['.git', 'node_modules', 'dist', 'detections', '.out']);

/** Every file of the repository, relative to its root: what git tracks or would track, or all files without git. */
export function repositoryFiles(): string[] {
  try {
    const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], {
      cwd: repositoryRoot,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const files = [...new Set(listed.split('\0'))].filter(file => file !== '' && !notOurs.has(file));
    if (files.length > 0) return files;
  } catch {} // no git, or not a checkout
  return walk(repositoryRoot);
}

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    if (notOurs.has(entry.name)) return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [relative(repositoryRoot, path)];
  });
}

/** The TypeScript sources that make up the program, its tests and benchmarks. */
export function sourceFiles(): string[] {
  const folders = /^(engine|kernels|weights|models|cli|bench|test)\/.*\.ts$|^index\.ts$/;
  return repositoryFiles().filter(file => folders.test(file) && !file.startsWith('bench/peers/'));
}
