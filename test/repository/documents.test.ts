import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { repositoryRoot } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { repositoryFiles } from './support/sources.ts';

const read = (file: string) => readFileSync(join(repositoryRoot, file), 'utf8');
const documents = repositoryFiles().filter(file => file.endsWith('.md') && !file.startsWith('weights/embedded/'));
const manifest = JSON.parse(read('package.json')) as {
  name: string;
  version: string;
  scripts: Record<string, string>;
  bin: Record<string, string>;
  exports: Record<string, string | Record<string, string>>;
  files: string[];
  dependencies: Record<string, string>;
};
const codeBlocks = (text: string, language: string) =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, code]) => code!);

test('links between documents lead somewhere', () => {
  assert.ok(documents.includes('README.md') && documents.includes('CHANGELOG.md'));
  for (const document of documents) {
    const text = read(document).replace(/^```[\s\S]*?^```$/gm, '');
    for (const [, target] of text.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)) {
      if (/^https?:/.test(target!)) continue;
      assert.ok(existsSync(join(repositoryRoot, dirname(document), target!)), `${document}: ${target} does not exist`);
    }
  }
});

test('files and folders that the README names exist', () => {
  for (const [, path] of read('README.md').matchAll(/`([\w.-]+(?:\/[\w.-]*)+)`/g)) {
    if (/^(facebook|microsoft|SenseTime)\//.test(path!) || path!.startsWith('./')) continue;
    assert.ok(existsSync(join(repositoryRoot, path!)), `README.md: ${path} does not exist`);
  }
});

test("the README's TypeScript compiles against the package as users import it", () => {
  const blocks = codeBlocks(read('README.md'), 'ts');
  assert.ok(blocks.length > 0);
  const folder = join(repositoryRoot, 'dist', 'readme');
  mkdirSync(folder, { recursive: true });
  try {
    const files = blocks.map((code, index) => {
      writeFileSync(join(folder, `example-${index}.mts`), code);
      return `example-${index}.mts`;
    });
    const options = {
      extends: '../../tsconfig.json',
      compilerOptions: { noEmit: true, rootDir: '../..', noUnusedLocals: false },
      files,
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ ...options, include: [], exclude: [] }));
    execFileSync(join(repositoryRoot, 'node_modules/.bin/tsc'), ['--project', folder], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  } catch (error) {
    throw new Error((error as { stdout?: string }).stdout ?? String(error));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the package's types need no more than ES2022 and the DOM", () => {
  const folder = temporaryFolder('consumer');
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(repositoryRoot, join(folder, 'node_modules', manifest.name));
  writeFileSync(join(folder, 'example.mts'), codeBlocks(read('README.md'), 'ts')[0]!);
  const compiler = join(repositoryRoot, 'node_modules/.bin/tsc');
  const target = ['--target', 'es2022', '--module', 'nodenext', '--lib', 'es2022,dom', '--types', ''];
  const { stdout, status } = spawnSync(compiler, ['--noEmit', '--strict', ...target, 'example.mts'], {
    cwd: folder,
    encoding: 'utf8',
  });
  assert.is(status, 0, stdout);
});

test("the README's commands exist", () => {
  const commandLine = execFileSync(process.execPath, [join(repositoryRoot, 'dist/cli/main.js'), '--help'], {
    encoding: 'utf8',
  });
  const lines = codeBlocks(read('README.md'), 'sh').flatMap(block => block.split('\n'));
  assert.ok(lines.length > 5);
  for (const line of lines) {
    for (const [, script] of line.matchAll(/npm run ([\w:-]+)/g))
      assert.ok(manifest.scripts[script!], `npm run ${script}`);
    const [, command, rest] = /^(?:npx )?detr-webgpu (\w+)(.*?)(?:\s#.*)?$/.exec(line) ?? [];
    if (command === undefined) continue;
    assert.match(commandLine, new RegExp(`^  ${command} `, 'm'));
    const help = execFileSync(process.execPath, [join(repositoryRoot, 'dist/cli/main.js'), command, '--help'], {
      encoding: 'utf8',
    });
    for (const [option] of rest!.matchAll(/--[\w-]+/g))
      assert.ok(help.includes(`  ${option}`), `${command} has no ${option}`);
  }
});

test('the changelog has dated versions with sorted kinds of changes', () => {
  const lines = read('CHANGELOG.md').split('\n');
  assert.is(lines[0], '# Changelog');
  const headings = lines.filter(line => line.startsWith('## ')).map(line => line.slice(3));
  assert.ok(headings.length > 0);
  for (const [index, heading] of headings.entries()) {
    if (index === 0 && heading === 'Unreleased') continue;
    assert.match(heading, /^\d+\.\d+\.\d+ \(\d{4}-\d{2}-\d{2}\)$/);
  }
  const released = headings.find(heading => heading !== 'Unreleased');
  if (released !== undefined) assert.is(released.split(' ')[0], manifest.version);
  const kinds = ['Added', 'Changed', 'Removed'];
  for (const section of read('CHANGELOG.md').split(/^## /m).slice(1)) {
    const found = [...section.matchAll(/^### (.*)$/gm)].map(([, kind]) => kind!);
    assert.ok(found.length > 0, `${section.split('\n')[0]} says nothing`);
    assert.equal(
      found,
      kinds.filter(kind => found.includes(kind)),
      'Added, Changed, Removed, each once',
    );
  }
});

test('what package.json points at is there after a build', () => {
  const targets = [
    ...Object.values(manifest.bin),
    ...Object.values(manifest.exports).flatMap(entry => (typeof entry === 'string' ? entry : Object.values(entry))),
  ];
  for (const target of targets) assert.ok(existsSync(join(repositoryRoot, target)), target);
  assert.match(read(Object.values(manifest.bin)[0]!), /^#!\/usr\/bin\/env node\n/);
  assert.equal(Object.keys(manifest.dependencies).sort(), ['jpeg-js', 'pngjs', 'webgpu']);
  assert.match(manifest.scripts.prepack!, /build -- --clean/, 'a package from a fresh clone is built first');
});

test('the package holds what runs, and neither tests, benchmarks nor source maps', () => {
  const listed = JSON.parse(
    execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: repositoryRoot,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  ) as { files: { path: string }[] }[] | Record<string, { files: { path: string }[] }>;
  const files = Object.values(listed)[0]!.files.map(({ path }) => path);
  for (const needed of [
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'dist/index.js',
    'dist/index.d.ts',
    'dist/cli/main.js',
    'dist/kernels/kernels.wasm',
    'dist/kernels/kernels.relaxed.wasm',
    'dist/kernels/kernels.wide.wasm',
    'weights/embedded/scenes-detr/model.safetensors',
  ]) {
    assert.ok(files.includes(needed), `${needed} is missing`);
  }
  assert.equal(
    files.filter(file => /^dist\/(test|bench)\/|\.map$/.test(file)),
    [],
    'maps point at sources that are not in the package',
  );
});

test.run();
