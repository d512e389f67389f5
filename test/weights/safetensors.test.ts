import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError } from '../../engine/errors.ts';
import type { NumericArray } from '../../engine/host-tensor.ts';
import { encodeSafetensors, parseSafetensors, type TensorToWrite } from '../../weights/safetensors.ts';
import { openSafetensors, writeSafetensors } from '../../weights/safetensors-file.ts';
import { testData } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { rejectsWith } from '../support/throws.ts';

const folder = temporaryFolder('safetensors');

/** A file with this header text and so many zero bytes after it. */
function fileOf(header: string, dataBytes = 0): Uint8Array {
  const json = Buffer.from(header);
  const file = Buffer.alloc(8 + json.length + dataBytes);
  file.writeBigUInt64LE(BigInt(json.length));
  json.copy(file, 8);
  return file;
}

const entry = (dtype: string, shape: number[], offsets: number[]) =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });

// Written by safetensors 0.8.0 from torch 2.13: every dtype, beside it torch's own conversion to float32.
const everyType = testData('weights', 'all-dtypes.safetensors');

test('every dtype equals what torch converts it to', async () => {
  const source = await openSafetensors(everyType);
  let compared = 0;
  for (const name of source.tensors.keys()) {
    if (!source.tensors.has(`${name}.float32`)) continue;
    const actual = await source.read(name);
    const expected = await source.read(`${name}.float32`);
    assert.equal(actual.shape, expected.shape);
    for (const [i, value] of actual.data.entries()) {
      const same = Object.is(value, expected.data[i]);
      assert.ok(same, `${name}[${i}]: expected ${expected.data[i]}, got ${value}`);
    }
    compared++;
  }
  assert.is(compared, 16);
  await source.close();
});

test('the microscaling exponent type, which torch cannot write here', async () => {
  const file = fileOf(`{"a":${entry('F8_E8M0', [4], [0, 4])}}`, 4);
  file.set([0, 127, 128, 255], file.length - 4);
  assert.equal([...(await parseSafetensors(file).read('a')).data], [2 ** -127, 1, 2, Number.NaN]);
});

test('native reading keeps bits and types', async () => {
  const source = await openSafetensors(everyType);
  const arrays: Record<string, string> = {
    ...{ F64: 'Float64Array', F32: 'Float32Array', I64: 'BigInt64Array', U64: 'BigUint64Array' },
    ...{ I32: 'Int32Array', U32: 'Uint32Array', I16: 'Int16Array', U16: 'Uint16Array', I8: 'Int8Array' },
    ...{ F16: 'Uint16Array', BF16: 'Uint16Array', U8: 'Uint8Array', BOOL: 'Uint8Array' },
    ...{ F8_E4M3: 'Uint8Array', F8_E5M2: 'Uint8Array', F8_E4M3FNUZ: 'Uint8Array', F8_E5M2FNUZ: 'Uint8Array' },
  };
  for (const [name, { dtype, shape }] of source.tensors) {
    const native = await source.readNative(name);
    assert.is(native.data.constructor.name, arrays[dtype]);
    assert.equal(native.shape, shape);
  }
  assert.is((await source.readNative('I64')).data[64], 2n ** 53n + 1n);
  assert.equal(
    [...(await source.readNative('F8_E4M3')).data],
    Array.from({ length: 256 }, (_, i) => i),
  );
  assert.equal([...(await source.readNative('scalar')).data], [2.5]);
  assert.equal((await source.read('empty')).shape, [0, 3]);
  assert.equal(source.metadata, new Map([['format', 'pt']]));
  await source.close();
  await source.close();
  await rejectsWith(() => source.read('F32.none'), FileError, /tensor "F32.none": no such tensor/);
  await rejectsWith(() => source.read('scalar'), FileError, /was closed/);
});

test('writing reproduces the reference implementation byte for byte', async () => {
  const expected = readFileSync(everyType);
  const source = parseSafetensors(expected);
  const tensors: [string, TensorToWrite & { data: NumericArray; dtype: string }][] = [];
  for (const [name, { dtype }] of source.tensors) tensors.push([name, { dtype, ...(await source.readNative(name)) }]);
  assert.equal(Buffer.from(encodeSafetensors(tensors, { format: 'pt' })).compare(expected), 0);

  const path = join(folder, 'copy.safetensors');
  const lazily = tensors.map(
    ([name, { shape, dtype, data }]) => [name, { shape, dtype, data: async () => data }] as const,
  );
  await writeSafetensors(path, lazily, { format: 'pt' });
  assert.equal(readFileSync(path).compare(expected), 0);
});

test('what could not be read back is not written', () => {
  const one = { shape: [1], data: Float32Array.of(0) };
  assert.throws(
    () => encodeSafetensors([['a', one]], { epoch: 5 as never }),
    (error: Error) => error instanceof FileError && /metadata: expected text for "epoch", got 5/.test(error.message),
  );
  for (const shape of [
    [-1, -1],
    [0.5, 2],
  ]) {
    assert.throws(
      () => encodeSafetensors([['a', { ...one, shape }]]),
      (error: Error) => error instanceof FileError && /tensor "a": expected a shape of whole/.test(error.message),
    );
  }
});

test('names are written in the order of their UTF-8, also beyond the first 65,536 code points', () => {
  const names = ['b', 'ab', 'a', '\u{1f600}', '\uff5e', '\ud7ff', 'a\u{1f600}', 'a\u{10000}', 'a\uffee'];
  const one = { shape: [1], data: Float32Array.of(0) };
  const file = parseSafetensors(encodeSafetensors(names.map(name => [name, one])));
  const expected = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  assert.equal([...file.tensors.keys()], expected);
});

test('a write that fails leaves the old file and nothing else', async () => {
  const inside = join(folder, 'failing');
  mkdirSync(inside);
  const path = join(inside, 'model.safetensors');
  await writeSafetensors(path, [['old', { shape: [1], data: new Float32Array([1]) }]]);
  const failing = async () => {
    throw new FileError({ file: 'elsewhere' }, 'gone');
  };
  const later = [['new', { shape: [1], dtype: 'F32', data: failing }]] as const;
  await rejectsWith(() => writeSafetensors(path, later), FileError, /elsewhere: gone/);
  const wrong = async () => new Float64Array(1);
  const misfit = [['new', { shape: [1], dtype: 'F32', data: wrong }]] as const;
  const message = /expected Float32Array of 1 elements for F32, got Float64Array of 1/;
  await rejectsWith(() => writeSafetensors(path, misfit), FileError, message);
  assert.equal(readdirSync(inside), ['model.safetensors']);
  const source = await openSafetensors(path);
  assert.equal([...source.tensors.keys()], ['old']);
  await source.close();
  const nowhere = join(folder, 'nowhere', 'x');
  await rejectsWith(() => writeSafetensors(nowhere, []), FileError, /nowhere.x: no such file or folder/);
});

test('what cannot be written is refused', async () => {
  const one = { shape: [1], data: new Float32Array(1) };
  const refusals: [tensors: [string, typeof one & { dtype?: string }][], message: RegExp][] = [
    [
      [
        ['a', one],
        ['a', one],
      ],
      /tensor "a": this name cannot be used/,
    ],
    [[['__metadata__', one]], /cannot be used/],
    [[['a', { ...one, shape: [2] }]], /expected Float32Array of 2 elements/],
    [[['a', { ...one, dtype: 'F99' }]], /unknown dtype "F99"/],
    [[['a', { ...one, dtype: 'F16' }]], /expected Uint16Array/],
  ];
  for (const [tensors, message] of refusals) await rejectsWith(() => encodeSafetensors(tensors), FileError, message);
});

const a4 = entry('F32', [1], [0, 4]);
const broken: [what: string, file: Uint8Array, message: RegExp][] = [
  ['empty file', new Uint8Array(0), /bad: expected a safetensors file of at least 8 bytes, got 0 \(at byte 0\)/],
  ['seven bytes', new Uint8Array(7), /at least 8 bytes, got 7/],
  ['header length 0', new Uint8Array(8), /expected the header to begin with "\{" \(at byte 8\)/],
  [
    'header over the limit',
    new Uint8Array(16).fill(0xff),
    /header length 18446744073709551615 is over the limit of 100000000 bytes/,
  ],
  [
    'header beyond the file',
    fileOf('{"a":1}').subarray(0, 12),
    /truncated: the header should end at byte 15, the file has 12/,
  ],
  ['leading space', fileOf(' {}'), /expected the header to begin with "\{" \(at byte 8\)/],
  ['not an object', fileOf('[]'), /begin with "\{"/],
  ['cut JSON', fileOf('{"a":{'), /header: expected a string, got the end \(at byte 14\)/],
  ['after the header', fileOf('{} x'), /header: expected the end, got "x" \(at byte 11\)/],
  [
    'invalid UTF-8',
    Buffer.concat([fileOf('{"a"}').subarray(0, 10), Buffer.from([0xff, 0x22, 0x7d])]),
    /not valid JSON in UTF-8 \(at byte 9\)/,
  ],
  ['lone control character', fileOf('{"a\n":1}'), /not valid JSON in UTF-8/],
  ['duplicate name', fileOf(`{"a":${a4},"\\u0061":${a4}}`, 4), /header: duplicate name "a" \(at byte 62\)/],
  ['duplicate key', fileOf('{"a":{"dtype":"F32","dtype":"F32"}}'), /duplicate name "dtype"/],
  ['duplicate metadata', fileOf('{"__metadata__":{"a":"1","a":"2"}}'), /duplicate name "a"/],
  ['metadata of numbers', fileOf('{"__metadata__":{"a":1}}'), /expected a string, got "1" \(at byte 29\)/],
  [
    'unknown dtype',
    fileOf(`{"a":${entry('F33', [1], [0, 4])}}`, 4),
    /bad: tensor "a": unknown dtype "F33", expected one of BOOL, .* \(at byte 22\)/,
  ],
  ['complex dtype', fileOf(`{"a":${entry('C64', [1], [0, 8])}}`, 8), /unsupported dtype "C64"/],
  ['no dtype', fileOf('{"a":{"shape":[1],"data_offsets":[0,4]}}', 4), /tensor "a": has no dtype \(at byte 13\)/],
  ['no shape', fileOf('{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4), /has no shape/],
  ['no offsets', fileOf('{"a":{"dtype":"F32","shape":[1]}}', 4), /has no data_offsets/],
  [
    'unknown key',
    fileOf('{"a":{"dtype":"F32","shape":[1],"stride":[1]}}', 4),
    /expected dtype, shape and data_offsets, got "stride"/,
  ],
  ['negative size', fileOf(`{"a":${entry('F32', [-1], [0, 4])}}`, 4), /header: expected a non-negative integer/],
  [
    'fractional size',
    fileOf('{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', 4),
    /expected a non-negative integer/,
  ],
  [
    'leading zero',
    fileOf('{"a":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}}', 4),
    /expected a non-negative integer/,
  ],
  [
    'size beyond 2^53',
    fileOf('{"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,4]}}', 4),
    /integer 9007199254740993 is too large/,
  ],
  [
    'product beyond 2^53',
    fileOf(`{"a":${entry('F32', [2 ** 31, 2 ** 31], [0, 4])}}`, 4),
    /shape \[2147483648, 2147483648\] is too large/,
  ],
  [
    'three offsets',
    fileOf(`{"a":${entry('F32', [1], [0, 4, 8])}}`, 4),
    /expected data_offsets \[begin, end\], got \[0, 4, 8\]/,
  ],
  [
    'offsets backwards',
    fileOf(`{"a":${entry('F32', [1], [4, 0])}}`, 4),
    /expected 4 bytes for F32 of shape \[1\], got data_offsets \[4, 0\]/,
  ],
  [
    'offsets against shape',
    fileOf(`{"a":${entry('F32', [2], [0, 4])}}`, 4),
    /expected 8 bytes for F32 of shape \[2\], got data_offsets \[0, 4\]/,
  ],
  [
    'truncated data',
    fileOf(`{"a":${entry('F32', [2], [0, 8])}}`, 4),
    /tensor "a": truncated: the tensor should end at byte 70, the file has 66 bytes \(at byte 62\)/,
  ],
  [
    'overlap',
    fileOf(`{"a":${entry('F32', [2], [0, 8])},"b":${entry('F32', [1], [4, 8])}}`, 8),
    /tensor "b": overlaps tensor "a", which ends at byte 123 \(at byte 119\)/,
  ],
  [
    'hole',
    fileOf(`{"a":${a4},"b":${entry('F32', [1], [8, 12])}}`, 12),
    /tensor "b": hole: tensor "a" ends at byte 120/,
  ],
  ['hole at the start', fileOf(`{"b":${entry('F32', [1], [8, 12])}}`, 12), /hole: the header ends at/],
  ['bytes left over', fileOf(`{"a":${a4}}`, 5), /bad: 1 bytes after the last tensor \(at byte 66\)/],
  ['bytes without tensors', fileOf('{}', 3), /3 bytes after the last tensor/],
];
for (const [what, file, message] of broken) {
  test(`refused, in memory and on disk: ${what}`, async () => {
    await rejectsWith(() => parseSafetensors(file, 'bad'), FileError, message);
    const path = join(folder, 'bad');
    writeFileSync(path, file);
    await rejectsWith(() => openSafetensors(path), FileError, message);
  });
}

test('accepted although unusual: no tensors, white space, escapes, unaligned tensors, __proto__', async () => {
  assert.is(parseSafetensors(fileOf('{}   ')).tensors.size, 0);
  const u8 = entry('U8', [1], [0, 1]);
  const scalar = entry('F32', [], [1, 5]);
  const file = fileOf(`{ "\\u0061\\n" :${u8},\n"__proto__":${scalar}, "e":${entry('F32', [0], [1, 1])}}\t`, 5);
  new DataView(file.buffer, file.byteOffset + file.length - 4).setFloat32(0, 1.5, true);
  const source = parseSafetensors(file);
  assert.equal([...source.tensors.keys()], ['a\n', '__proto__', 'e']);
  assert.equal(await source.read('__proto__'), { shape: [], data: new Float32Array([1.5]) });
});

test('paths that are not files', async () => {
  await rejectsWith(() => openSafetensors(join(folder, 'missing')), FileError, /missing: no such file or folder/);
  await rejectsWith(() => openSafetensors(folder), FileError, /expected a file, got a folder/);
  await rejectsWith(() => openSafetensors(join(everyType, 'x')), FileError, /a part of the path is a file/);
  await rejectsWith(() => openSafetensors('/dev/zero'), FileError, /expected a file, got a device/);
});

test('a file that shrinks after it was opened', async () => {
  const path = join(folder, 'shrinking.safetensors');
  writeFileSync(path, fileOf(`{"a":${entry('F32', [1000], [0, 4000])}}`, 4000));
  const source = await openSafetensors(path);
  truncateSync(path, 500);
  await rejectsWith(() => source.read('a'), FileError, /became shorter while it was read \(at byte 500\)/);
  await source.close();
});

test('positions beyond 2 and 4 GiB', async () => {
  const path = join(folder, 'large.safetensors');
  const big = 3 * 2 ** 30 - 4;
  const large = [`"a":${entry('U8', [big], [0, big])}`, `"b":${entry('U8', [big], [big, 2 * big])}`];
  const head = fileOf(`{${large.join()},"c":${entry('F32', [2], [2 * big, 2 * big + 8])}}`);
  const descriptor = openSync(path, 'w');
  writeSync(descriptor, head);
  writeSync(descriptor, new Uint8Array(new Float32Array([1.25, -3]).buffer), 0, 8, head.length + 2 * big);
  const source = await openSafetensors(path);
  assert.equal([...(await source.read('c')).data], [1.25, -3]);
  await source.close();
});

async function writeShards(name: string, weightMap: Record<string, string>, extra = ''): Promise<string> {
  const inside = join(folder, name);
  mkdirSync(inside, { recursive: true });
  const path = join(inside, 'model.safetensors.index.json');
  const notes = '"metadata": {"total_size": 8e0, "x": [null, true, {"y": -0.5}]}';
  writeFileSync(path, `{${notes},${extra} "weight_map": ${JSON.stringify(weightMap)}}`);
  const one = (value: number) => ({ shape: [1], data: new Float32Array([value]) });
  const first = [['a', one(1)] as const, ['b', one(2)] as const];
  await writeSafetensors(join(inside, 'model-1.safetensors'), first, { format: 'pt' });
  await writeSafetensors(join(inside, 'model-2.safetensors'), [['c', one(3)]], { format: 'pt' });
  return path;
}

test('sharded checkpoints', async () => {
  const complete = { a: 'model-1.safetensors', b: 'model-1.safetensors', c: 'model-2.safetensors' };
  const source = await openSafetensors(await writeShards('good', complete));
  assert.equal([...source.tensors.keys()], ['a', 'b', 'c']);
  assert.equal([...(await source.read('c')).data], [3]);
  assert.equal([...(await source.readNative('b')).data], [2]);
  assert.equal(source.metadata.get('format'), 'pt');
  await rejectsWith(() => source.read('d'), FileError, /index.json: tensor "d": no such tensor/);
  await source.close();
  await rejectsWith(() => source.read('c'), FileError, /was closed/);

  const plainName = 'expected the name of a shard in the same folder, got';
  const refusals: [string, Record<string, string>, RegExp, string?][] = [
    ['elsewhere', { ...complete, c: '../good/model-2.safetensors' }, new RegExp(`tensor "c": ${plainName} "../good/`)],
    ['absolute', { ...complete, c: '/etc/passwd' }, new RegExp(`${plainName} "/etc/passwd"`)],
    ['backslash', { ...complete, c: '..\\x' }, new RegExp(plainName)],
    ['dots', { ...complete, c: '..' }, new RegExp(plainName)],
    ['nested index', { ...complete, c: 'model.safetensors.index.json' }, new RegExp(plainName)],
    ['missing file', { ...complete, c: 'model-3.safetensors' }, /model-3.safetensors: no such file/],
    [
      'wrong shard',
      { ...complete, c: 'model-1.safetensors' },
      /tensor "c": should be in model-1.safetensors, but that file does not have it/,
    ],
    [
      'unlisted',
      { a: complete.a, c: complete.c },
      /tensor "b": is in model-1.safetensors, but the index does not list it/,
    ],
    ['twice', complete, /duplicate name "weight_map"/, ' "weight_map": {},'],
    ['bad value', complete, /expected a JSON value/, ' "x": nul,'],
  ];
  for (const [name, weightMap, message, extra] of refusals) {
    const path = await writeShards(name, weightMap, extra);
    await rejectsWith(() => openSafetensors(path), FileError, message);
  }
  const noMap = join(folder, 'no-map.index.json');
  writeFileSync(noMap, '{}');
  await rejectsWith(() => openSafetensors(noMap), FileError, /has no "weight_map"/);
  writeFileSync(noMap, `{"x":${'['.repeat(200)}`);
  await rejectsWith(() => openSafetensors(noMap), FileError, /nested more than 64 deep/);
});

test('files are read through symbolic links, as the hub cache has them', async () => {
  const link = join(folder, 'link.safetensors');
  symlinkSync(everyType, link);
  const source = await openSafetensors(link);
  assert.is(source.name, link);
  await source.close();
});

const compiledModule = JSON.stringify(new URL('../../weights/safetensors-file.js', import.meta.url).href);

test('loading needs little more memory than the weights', async () => {
  const path = join(folder, 'memory.safetensors');
  const million = 2 ** 20;
  const words = Array.from({ length: 24 }, (_, i) => {
    return [`word ${i}`, { shape: [million], data: new Float32Array(million).fill(i) }] as const;
  });
  const halves = Array.from({ length: 24 }, (_, i) => {
    return [`half ${i}`, { shape: [million], dtype: 'BF16', data: new Uint16Array(million) }] as const;
  });
  await writeSafetensors(path, [...words, ...halves]);
  const script = `
    import { openSafetensors } from ${compiledModule};
    const source = await openSafetensors(process.argv[1]);
    const resident = () => process.memoryUsage.rss() / 2 ** 20;
    const before = resident();
    const kept = [];
    let peak = 0;
    for (const name of source.tensors.keys()) {
      kept.push(await source.read(name));
      peak = Math.max(peak, resident());
    }
    const weights = kept.reduce((sum, { data }) => sum + data.byteLength, 0) / 2 ** 20;
    console.log(JSON.stringify({ weights, grown: peak - before }));
    await source.close();`;
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', script, path], { encoding: 'utf8' });
  const { weights, grown } = JSON.parse(run.stdout) as { weights: number; grown: number };
  console.log(`weights ${weights} MiB, resident memory grew by ${grown.toFixed(0)} MiB`);
  assert.is(weights, 192);
  assert.ok(grown < weights + 24, `expected at most ${weights + 24} MiB, got ${grown} MiB`);
});

test('a killed process leaves no file under the destination name', async () => {
  const path = join(folder, 'killed.safetensors');
  const script = `
    import { writeSafetensors } from ${compiledModule};
    const data = () => new Promise(resolve => setTimeout(resolve, 20, new Float32Array(250_000)));
    const slow = Array.from({ length: 1000 }, (_, i) => ['t' + i, { shape: [250_000], dtype: 'F32', data }]);
    await writeSafetensors(process.argv[1], slow);`;
  const command = ['--input-type=module', '-e', script, path];
  const run = spawnSync(process.execPath, command, { timeout: 1500, killSignal: 'SIGKILL' });
  assert.is(run.signal, 'SIGKILL');
  assert.ok(readdirSync(folder).some(name => name.startsWith('.killed.safetensors.')));
  assert.not.ok(existsSync(path));
});

test.run();
