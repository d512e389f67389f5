import { mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import fileSystem, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { findPictures, isInside, outputPaths, writeJsonFile } from '../../cli/files.ts';
import { Journal } from '../../cli/journal.ts';
import { FileError, OptionError } from '../../engine/errors.ts';
import { readJson } from '../../weights/json-file.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { rejectsWith } from '../support/throws.ts';

const folder = temporaryFolder('files');

test('folders give their pictures in natural order, files are taken as they are', async () => {
  const pictures = join(folder, 'pictures');
  mkdirSync(join(pictures, 'below.png'), { recursive: true });
  for (const name of ['10.png', '9.PNG', 'a.jpeg', 'b.JPG', '.hidden.png', 'notes.txt'])
    writeFileSync(join(pictures, name), '');
  mkdirSync(join(folder, 'empty'));
  const found = await findPictures([pictures, join(folder, 'any.dat'), join(folder, 'empty')]);
  const names = found.map(
    ({ path, problem }) => `${path.slice(folder.length + 1)}${problem === undefined ? '' : `: ${problem}`}`,
  );
  assert.equal(names, [
    'pictures/9.PNG',
    'pictures/10.png',
    'pictures/a.jpeg',
    'pictures/b.JPG',
    'any.dat: no such file or folder',
    'empty: expected PNG or JPEG pictures in this folder, got none',
  ]);
});

test('a folder may hold more pictures than a call has arguments', async () => {
  // Nobody waits for so many files to be written.
  const { readdir } = fileSystem;
  const entries = Array.from({ length: 130_000 }, (_, index) => ({ name: `${index}.png`, isDirectory: () => false }));
  fileSystem.readdir = (async () => entries) as unknown as typeof readdir;
  syncBuiltinESMExports();
  try {
    const found = await findPictures([folder]);
    assert.equal([found.length, found.at(-1)], [130_000, { path: join(folder, '129999.png') }]);
  } finally {
    fileSystem.readdir = readdir;
    syncBuiltinESMExports();
  }
});

test('results have the names of their pictures, numbered when they meet', () => {
  assert.equal(outputPaths(['a/x.png', 'b/X.jpg', 'y.tar.png', 'x.png'], 'out', '.png'), [
    join('out', 'x.png'),
    join('out', 'X-2.png'),
    join('out', 'y.tar.png'),
    join('out', 'x-3.png'),
  ]);
});

test('any number of pictures of one name get names of their own', () => {
  const frames = Array.from({ length: 20_000 }, (_, index) => `${index}/frame.jpg`);
  assert.is(new Set(outputPaths(frames, 'out', '.png')).size, frames.length);
});

test('a result never takes the place of a picture', () => {
  assert.throws(
    () => outputPaths(['pictures/a.png', 'pictures/b.jpg'], './pictures/', '.png'),
    (error: unknown) =>
      error instanceof OptionError && /^--out: expected a folder without the pictures themselves/.test(error.message),
  );
  outputPaths(['pictures/a.jpg'], 'pictures', '.png');
  const pictures = join(folder, 'own');
  mkdirSync(pictures);
  writeFileSync(join(pictures, 'a.png'), '');
  symlinkSync(pictures, join(folder, 'link'));
  for (const name of [join(pictures, 'a.png'), join(folder, 'link', 'a.png')]) {
    for (const out of [pictures, join(folder, 'link')]) {
      assert.throws(() => outputPaths([name], out, '.png'), /^--out: expected|without the pictures themselves/);
    }
  }
});

test('a name out of a file stays below its folder', () => {
  for (const name of ['a.png', 'a/b.png', './a.png', '..a.png', 'a../b.png']) assert.ok(isInside(name), name);
  for (const name of ['/a.png', '..', '../a.png', 'a/../../b.png', 'a\\..\\b.png', 'a\0.png'])
    assert.not(isInside(name), name);
});

test('JSON files are objects, and errors name them', async () => {
  const path = join(folder, 'x.json');
  await writeJsonFile(path, { a: [1, 2] });
  assert.equal(await readJson(path), { a: [1, 2] });
  assert.is(readFileSync(path, 'utf8'), '{"a":[1,2]}\n');
  writeFileSync(path, '{"a":');
  await rejectsWith(() => readJson(path), FileError, /x\.json: expected JSON, got /);
  writeFileSync(path, '[1]');
  await rejectsWith(() => readJson(path), FileError, /x\.json: expected a JSON object/);
  const nested = (levels: number) => `{"a": "}[\\"{", "b": ${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`;
  writeFileSync(path, nested(100));
  assert.equal(Object.keys(await readJson(path)), ['a', 'b']);
  const wide = { a: Array.from({ length: 200 }, () => [{}]) };
  writeFileSync(path, JSON.stringify(wide));
  assert.equal(await readJson(path), wide);
  // As Python writes it.
  writeFileSync(path, '\uFEFF{"a": NaN, "NaN, \\"-Infinity": [-Infinity, Infinity], "b": "NaN"}');
  assert.equal(await readJson(path), { a: null, 'NaN, "-Infinity': [null, null], b: 'NaN' });
  writeFileSync(path, nested(20_000));
  await rejectsWith(() => readJson(path), FileError, /x\.json: expected JSON of at most 100 levels, got 20000$/);
  await rejectsWith(() => readJson(join(folder, 'none.json')), FileError, /none\.json: no such file/);
  truncateSync(path, 600_000_000); // takes no room on the disk
  await rejectsWith(() => readJson(path), FileError, /x\.json: expected JSON of at most \d+ bytes, got 600000000$/);
});

test('JSON files are written piece by piece, as JSON.stringify would', async () => {
  const path = join(folder, 'pieces.json');
  const values = [
    { a: [], b: {}, c: [{}, [1, [2]], undefined, null, 'é"'], d: undefined, e: { f: undefined, g: Number.NaN } },
    { d: undefined },
    [],
    'text',
    null,
    { predictions: Array.from({ length: 30_000 }, (_, id) => ({ id, bbox: [id / 3, id / 7, 1, 2], score: 1 / id })) },
  ];
  for (const value of values) {
    await writeJsonFile(path, value);
    assert.is(readFileSync(path, 'utf8'), `${JSON.stringify(value)}\n`);
  }
});

test('a journal goes on where it stopped, without a line that was cut off', async () => {
  const path = join(folder, 'journal.jsonl');
  const first = await Journal.open<string>(path, { model: 'm' }, false);
  await first.add(3, 'three');
  await first.add(7, 'seven');
  await first.close();
  writeFileSync(path, `${readFileSync(path, 'utf8')}[9,"ni`);

  const second = await Journal.open<string>(path, { model: 'm' }, false);
  assert.equal(
    [...second.entries],
    [
      [3, 'three'],
      [7, 'seven'],
    ],
  );
  await second.add(9, 'nine');
  await second.close();
  assert.is(readFileSync(path, 'utf8').split('\n').length, 5);

  await rejectsWith(
    () => Journal.open(path, { model: 'other' }, false),
    OptionError,
    /interrupted run with other options/,
  );
  const anew = await Journal.open<string>(path, { model: 'other' }, true);
  assert.is(anew.entries.size, 0);
  await anew.close();
  const next = await Journal.open<string>(path, { model: 'third' }, false);
  assert.is(next.entries.size, 0, 'a run in which nothing was done gives way');
  await next.close();
  assert.is(readFileSync(path, 'utf8'), '{"journal":1,"model":"third"}\n');
});

test('the journal of another run stays, however little is done', async () => {
  const path = join(folder, 'begun.jsonl');
  const begun = await Journal.open<string>(path, { model: 'm' }, false);
  await begun.add(3, 'three');
  await begun.close();
  const content = readFileSync(path, 'utf8');
  await rejectsWith(() => Journal.open(path, { model: 'other' }, false), OptionError, /or add --restart$/);
  assert.is(readFileSync(path, 'utf8'), content);
});

test('a journal that cannot be opened leaves no open file', async () => {
  const path = join(folder, 'full.jsonl');
  const probe = await fileSystem.open(path, 'a');
  const prototype = Object.getPrototypeOf(probe) as FileHandle;
  await probe.close();
  const { truncate } = prototype;
  let handle: FileHandle | undefined;
  prototype.truncate = async function (this: FileHandle) {
    handle = this;
    throw Object.assign(new Error('no space'), { code: 'ENOSPC', syscall: 'ftruncate' });
  };
  try {
    await rejectsWith(() => Journal.open(path, {}, false), FileError, /full\.jsonl: no space left on the disk/);
  } finally {
    prototype.truncate = truncate;
  }
  assert.is(handle!.fd, -1);
});

test('a damaged journal is refused', async () => {
  const path = join(folder, 'damaged.jsonl');
  const journal = await Journal.open<string>(path, {}, false);
  await journal.close();
  writeFileSync(path, `${readFileSync(path, 'utf8')}garbage\n[1,"one"]\n`);
  await rejectsWith(() => Journal.open(path, {}, false), FileError, /damaged\.jsonl: line 2 is damaged; add --restart/);
});

test.run();
