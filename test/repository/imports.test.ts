import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { repositoryRoot } from '../support/data.ts';
import { sourceFiles } from './support/sources.ts';

/** Which folders a folder may import. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  engine: ['engine'],
  kernels: ['engine', 'kernels'],
  weights: ['engine', 'weights'],
  models: ['engine', 'kernels', 'weights', 'models'],
  cli: ['engine', 'kernels', 'weights', 'models', 'cli'],
  bench: ['engine', 'kernels', 'weights', 'models', 'cli', 'bench'],
  test: ['engine', 'kernels', 'weights', 'models', 'cli', 'bench', 'test', 'index.ts'],
  'index.ts': ['engine', 'kernels', 'weights', 'models'],
};

/** Which packages a folder may use. */
const packages: Readonly<Record<string, readonly string[]>> = {
  engine: ['webgpu'],
  kernels: [],
  weights: [],
  models: ['pngjs', 'jpeg-js'],
  cli: [],
  bench: ['benny'],
  test: ['uvu', 'jpeg-js', 'assemblyscript'],
  'index.ts': [],
};

interface Import {
  readonly from: string;
  readonly specifier: string;
}

function importsOf(file: string): Import[] {
  const source = readFileSync(join(repositoryRoot, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
  const statements = /^(?:import|export)\s[^'";]*?from\s+'([^']+)'|^import\s+'([^']+)'|\bimport\('([^']+)'\)/gm;
  return [...source.matchAll(statements)].map(([, named, bare, dynamic]) => ({
    from: file,
    specifier: (named ?? bare ?? dynamic)!,
  }));
}

const folderOf = (file: string) => file.split('/')[0]!;
const imports = sourceFiles().flatMap(importsOf);
const isOurs = ({ specifier }: Import) => specifier.startsWith('.');
const targetOf = ({ from, specifier }: Import) =>
  relative(repositoryRoot, resolve(repositoryRoot, dirname(from), specifier));

test('the sources are found', () => {
  assert.ok(imports.length > 100, `${imports.length} imports`);
  for (const folder of ['engine', 'kernels', 'weights', 'models', 'cli', 'test']) {
    assert.ok(
      imports.some(({ from }) => folderOf(from) === folder),
      `no imports in ${folder}`,
    );
  }
});

test('folders import only what the arrows allow', () => {
  const wrong = imports.filter(isOurs).filter(entry => {
    return !arrows[folderOf(entry.from)]?.includes(folderOf(targetOf(entry)));
  });
  assert.equal(
    wrong.map(({ from, specifier }) => `${from} imports ${specifier}`),
    [],
  );
});

test('relative imports name files that exist', () => {
  const wrong = imports.filter(isOurs).filter(entry => {
    const target = targetOf(entry);
    return !existsSync(join(repositoryRoot, target)) && !existsSync(join(repositoryRoot, `${target}.ts`));
  });
  assert.equal(
    wrong.map(({ from, specifier }) => `${from} imports ${specifier}`),
    [],
  );
});

test('packages are used only where they belong', () => {
  const packageOf = ({ specifier }: Import) => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
  const foreign = imports.filter(entry => !isOurs(entry) && !entry.specifier.startsWith('node:'));
  const wrong = foreign.filter(entry => !packages[folderOf(entry.from)]?.includes(packageOf(entry)));
  assert.equal(
    wrong.map(({ from, specifier }) => `${from} imports ${specifier}`),
    [],
  );
  const used = new Set(foreign.map(entry => `${folderOf(entry.from)} ${packageOf(entry)}`));
  const allowed = Object.entries(packages).flatMap(([folder, names]) => names.map(name => `${folder} ${name}`));
  assert.equal(
    allowed.filter(permission => !used.has(permission)),
    [],
    'allowed and not used',
  );
});

/** Names in the braces of imports and exports, with where they come from. */
function namesFrom(file: string): { name: string; target: string }[] {
  const source = readFileSync(join(repositoryRoot, file), 'utf8');
  return [...source.matchAll(/^(?:import|export)\s(?:type\s)?\{([^}]*)\}\s*from\s+'(\.[^']+)'/gm)].flatMap(
    ([, names, specifier]) => {
      const target = targetOf({ from: file, specifier: specifier! });
      return names!.split(',').flatMap(text => {
        const name = /^\s*(?:type\s+)?(\w+)/.exec(text)?.[1];
        return name === undefined ? [] : [{ name, target }];
      });
    },
  );
}

test("a folder's index exports what is taken from it, and no more", () => {
  const indexes = ['engine/index.ts', 'kernels/index.ts', 'weights/index.ts'];
  const taken = new Set(
    sourceFiles()
      .flatMap(namesFrom)
      .map(({ name, target }) => `${target} ${name}`),
  );
  for (const index of indexes) {
    const source = readFileSync(join(repositoryRoot, index), 'utf8');
    const lists = [...source.matchAll(/^export\s(?:type\s)?\{([^}]*)\}/gm)].map(([, names]) => names!);
    const names = lists.flatMap(list => list.split(',')).flatMap(text => /(\w+)\s*$/.exec(text)?.[1] ?? []);
    assert.ok(names.length > 5);
    assert.equal(
      names.filter(name => !taken.has(`${index} ${name}`)),
      [],
      index,
    );
  }
});

test.run();
