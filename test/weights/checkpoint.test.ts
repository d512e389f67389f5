import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import fsPromises, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError } from '../../engine/errors.ts';
import { openCheckpoint } from '../../weights/checkpoint.ts';
import { convertCheckpoint } from '../../weights/convert.ts';
import { fileSystemError } from '../../weights/files.ts';
import { repositoryRoot, testData } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { rejectsWith } from '../support/throws.ts';

const folder = temporaryFolder('checkpoint');
const safetensors = testData('weights', 'torch', 'linear.safetensors');
const png = join(repositoryRoot, 'cli', 'demo', 'scene-1.png');
const torch = testData('weights', 'torch', 'linear.bin');

/** A folder with copies of (or text in) these files. */
function folderOf(name: string, files: Record<string, string>): string {
  const path = join(folder, name);
  mkdirSync(path);
  for (const [file, content] of Object.entries(files)) {
    if ([safetensors, torch, png].includes(content)) copyFileSync(content, join(path, file));
    else writeFileSync(join(path, file), content);
  }
  return path;
}

const index = (file: string) => JSON.stringify({ weight_map: { weight: file, bias: file } });

const folders: [name: string, files: Record<string, string>, chosen: string][] = [
  ['both formats', { 'pytorch_model.bin': torch, 'model.safetensors': safetensors }, 'model.safetensors'],
  ['a pickle', { 'pytorch_model.bin': torch, 'config.json': '{}' }, 'pytorch_model.bin'],
  [
    'shards',
    { 'model.safetensors.index.json': index('m-1.safetensors'), 'm-1.safetensors': safetensors },
    'model.safetensors.index.json',
  ],
  [
    'pickled shards',
    { 'pytorch_model.bin.index.json': index('p-1.bin'), 'p-1.bin': torch },
    'pytorch_model.bin.index.json',
  ],
  ['an original file', { 'detr-r50-e632da11.pth': torch, README: 'x' }, 'detr-r50-e632da11.pth'],
];
for (const [name, files, chosen] of folders) {
  test(`a folder with ${name}`, async () => {
    const path = folderOf(name, files);
    const source = await openCheckpoint(path);
    assert.is(source.name, join(path, chosen));
    assert.equal((await source.read('bias')).shape, [3]);
    assert.equal((await source.read('weight')).shape, [3, 2]);
    await source.close();
  });
}

const refused: [name: string, files: Record<string, string>, message: RegExp][] = [
  ['nothing', {}, /expected model.safetensors or pytorch_model.bin, but it has no files/],
  ['notes', { 'README.md': '', 'config.json': '' }, /but it has only README.md, config.json$/],
  ['TensorFlow', { 'tf_model.h5': '', 'config.json': '' }, /but it has only TensorFlow weights \(tf_model.h5\)/],
  ['a file named like a property of all objects', { constructor: '' }, /but it has only constructor$/],
  ['two models', { 'a.pth': torch, 'b.safetensors': safetensors }, /name one: a.pth, b.safetensors/],
  [
    'a pointer',
    { 'model.safetensors': 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n' },
    /model.safetensors: is a Git LFS pointer/,
  ],
  ['a web page', { 'pytorch_model.bin': '\n<!DOCTYPE html><html>' }, /is a web page, not the weights/],
  ['a picture', { 'model.safetensors': png }, /is a PNG picture, not the weights$/],
  ['text', { 'model.safetensors': 'hello, this is text' }, /is this a safetensors file\?/],
];
for (const [name, files, message] of refused) {
  test(`refused: a folder with ${name}`, async () => {
    await rejectsWith(() => openCheckpoint(folderOf(`bad ${name}`, files)), FileError, message);
  });
}

test('a path that is not there gets the closest name', async () => {
  const path = join(folder, 'an original fiel');
  await rejectsWith(
    () => openCheckpoint(path),
    FileError,
    /no such file or folder, did you mean "an original file"\?$/,
  );
  await rejectsWith(() => openCheckpoint(join(folder, 'zzzzzz')), FileError, /zzzzzz: no such file or folder$/);
});

test('what is read is the reader’s own', async () => {
  const checkpoint = await openCheckpoint(safetensors);
  const expected = await checkpoint.read('weight');
  for (const read of [checkpoint.read, checkpoint.readNative]) {
    const { shape, data } = await read('weight');
    (shape as number[])[0] = 40;
    data.fill(0 as never);
    assert.equal(await checkpoint.read('weight'), expected);
  }
  await checkpoint.close();
});

test('whatever was opened is closed again, on failure too', async () => {
  const { open } = fsPromises;
  const opened: FileHandle[] = [];
  fsPromises.open = async (...args) => {
    const handle = await open(...args);
    opened.push(handle);
    return handle;
  };
  syncBuiltinESMExports();
  try {
    const sharded = { 'model.safetensors.index.json': index('m-1.safetensors'), 'm-1.safetensors': safetensors };
    await (await openCheckpoint(folderOf('closed shards', sharded))).close();
    const damaged = folderOf('damaged', { 'model.safetensors': 'hello, this is text' });
    const wrongIndex = folderOf('wrong', { ...sharded, 'model.safetensors.index.json': '{"weight_map":{"weight":5}}' });
    const unlisted = JSON.stringify({ weight_map: { weight: 'm-1.safetensors' } });
    const wrongShards = folderOf('unlisted', { ...sharded, 'model.safetensors.index.json': unlisted });
    for (const path of [damaged, wrongIndex, wrongShards]) {
      await rejectsWith(() => openCheckpoint(path), FileError, /./);
    }
    await convertCheckpoint(torch, join(folder, 'closed'));
    await rejectsWith(
      () => convertCheckpoint(torch, join(folder, 'failed'), { config: 'none' }),
      FileError,
      /none: no/,
    );
  } finally {
    fsPromises.open = open;
    syncBuiltinESMExports();
  }
  assert.ok(opened.length >= 8, `${opened.length} files`);
  assert.equal(
    opened.map(({ fd }) => fd),
    opened.map(() => -1),
  );
});

test('errors of the file system count where test runners have an Error of their own', () => {
  const foreign = runInNewContext(`Object.assign(new Error('ENOENT: …'), { code: 'ENOENT', syscall: 'open' })`);
  assert.not.instance(foreign, Error);
  const error = fileSystemError('a.png', foreign) as FileError;
  assert.instance(error, FileError);
  assert.is(error.message, 'a.png: no such file or folder');
  const bug = runInNewContext('new TypeError()');
  assert.is(fileSystemError('a.png', bug), bug);
  const misuse = Object.assign(new TypeError('…'), { code: 'ERR_INVALID_ARG_TYPE' });
  assert.is(fileSystemError('a.png', misuse), misuse);
});

test.run();
