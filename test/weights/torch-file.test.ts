import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError } from '../../engine/errors.ts';
import { type ByteSource, memoryBytes, readRange } from '../../weights/bytes.ts';
import { openCheckpoint } from '../../weights/checkpoint.ts';
import { unpickle } from '../../weights/pickle.ts';
import { parseSafetensors } from '../../weights/safetensors.ts';
import type { Checkpoint } from '../../weights/source.ts';
import { bytesOf } from '../../weights/stored-tensor.ts';
import { readTorchFile } from '../../weights/torch-file.ts';
import { openZip, portableCrc32 } from '../../weights/zip.ts';
import { testData } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { rejectsWith } from '../support/throws.ts';
import { deepTuple, doublings } from './support/pickles.ts';
import { type ZipFile, zipArchive } from './support/zip-writer.ts';

// Written by torch 2.13; the same tensors, made contiguous, in expected.safetensors.
const torchFile = (name: string) => testData('weights', 'torch', name);
const bytesOfFile = (name: string) => readFileSync(torchFile(name));
const openBytes = (bytes: Uint8Array, name = 'model.bin') => readTorchFile(memoryBytes(bytes, name));

async function assertEqualTensors(actual: Checkpoint, expected: Checkpoint): Promise<void> {
  for (const [name, { shape, dtype }] of expected.tensors) {
    const entry = actual.tensors.get(name);
    assert.ok(entry, `${name} is missing`);
    assert.equal([name, entry.shape, entry.dtype], [name, shape, dtype]);
    const native = await actual.readNative(name);
    const expectedNative = await expected.readNative(name);
    assert.equal(native.shape, shape);
    assert.is(Buffer.compare(bytesOf(native.data), bytesOf(expectedNative.data)), 0, name);
    assert.equal((await actual.read(name)).data, (await expected.read(name)).data, name);
  }
}

for (const name of ['zip.bin', 'legacy.pth', 'training.pth']) {
  test(`${name}: every dtype, views and strides equal what torch saved`, async () => {
    const expected = parseSafetensors(bytesOfFile('expected.safetensors'));
    const lacking = name === 'zip.bin' ? [] : ['f8', 'u16'];
    const kept = { ...expected, tensors: new Map([...expected.tensors].filter(([key]) => !lacking.includes(key))) };
    const actual = await openCheckpoint(torchFile(name));
    assert.is(actual.tensors.size, kept.tensors.size);
    await assertEqualTensors(actual, kept);
    await rejectsWith(() => actual.read('none'), FileError, /tensor "none": no such tensor/);
    await actual.close();
    await rejectsWith(() => actual.read('f32'), FileError, /was closed/);
  });
}

test('pickle protocols 3 to 5 with every kind of plain value', async () => {
  for (const protocol of [3, 4, 5]) {
    const source = await openCheckpoint(torchFile(`protocol${protocol}.pt`));
    assert.equal([...source.tensors.keys()], ['a.weight', 'b']);
    assert.equal(await source.read('a.weight'), { shape: [2, 3], data: new Float32Array([0, 1, 2, 3, 4, 5]) });
    await source.close();
  }
});

test('files without recorded checksums, and with devices, dtypes and sizes in them', async () => {
  const withoutSums = await openCheckpoint(torchFile('nocrc.bin'));
  await assertEqualTensors(withoutSums, parseSafetensors(bytesOfFile('linear.safetensors')));
  const misc = await openCheckpoint(torchFile('misc.pt'));
  assert.equal([...(await misc.read('w')).data], [1]);
  await Promise.all([withoutSums.close(), misc.close()]);
});

test('a whole module is refused by the name of its class', async () => {
  const message = /module.pt.*holds "torch.nn.modules.linear.Linear", which is not loaded.*state_dict\(\)/;
  await rejectsWith(() => openCheckpoint(torchFile('module.pt')), FileError, message);
});

/** A pickle in a minimal archive as torch writes it. */
function archiveOf(pickle: string, storages: Record<string, Uint8Array> = {}, options: object = {}): Buffer {
  const files: ZipFile[] = [{ name: 'a/data.pkl', content: Buffer.from(pickle, 'latin1') }];
  for (const [key, content] of Object.entries(storages)) files.push({ name: `a/data/${key}`, content, ...options });
  return zipArchive(files, options);
}

const storage = (type = 'FloatStorage', count = 4, key = '0') =>
  `(U\x07storagectorch\n${type}\nU${String.fromCharCode(key.length)}${key}U\x03cpuK${String.fromCharCode(count)}tQ`;
const tensor = (shape: string, stride: string, offset = 0, of = storage()) =>
  `ctorch._utils\n_rebuild_tensor_v2\n(${of}K${String.fromCharCode(offset)}${shape}${stride}\x89NtR`;
const dictOf = (value: string) => `\x80\x02}U\x01a${value}s.`;
const tuple = (...values: number[]) => `(${values.map(value => `K${String.fromCharCode(value)}`).join('')}t`;
const fourFloats = new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer);

test('hand-made pickles: strides, zip64, deflate, comments', async () => {
  const transposed = dictOf(tensor(tuple(2, 2), tuple(1, 2)));
  // Comments in which an end record might be seen, too.
  const comments = ['PK\x05\x06 is not the end here', '\0'.repeat(22)].map(comment => ({ comment }));
  for (const options of [{}, { zip64: true }, { isDeflated: true }, ...comments]) {
    const source = await openBytes(archiveOf(transposed, { 0: fourFloats }, options));
    assert.equal(await source.read('a'), { shape: [2, 2], data: new Float32Array([1, 3, 2, 4]) });
  }
  const scalar = await openBytes(archiveOf(dictOf(tensor(tuple(), tuple(), 3)), { 0: fourFloats }));
  assert.equal(await scalar.read('a'), { shape: [], data: new Float32Array([4]) });
  const strided = await openBytes(archiveOf(dictOf(tensor(tuple(2), tuple(2), 1)), { 0: fourFloats }));
  assert.equal((await strided.readNative('a')).data, new Float32Array([2, 4]));
});

const unpickled = (pickle: string) => {
  const persistent = (id: unknown) => ({ id });
  const globals = new Map([['collections OrderedDict', () => new Map()]]);
  return unpickle(new Uint8Array(Buffer.from(pickle, 'latin1')), 0, { file: 'x', byte: 0, globals, persistent }).value;
};

test('pickles: numbers, texts and containers in every spelling', () => {
  const cases: [pickle: string, expected: unknown][] = [
    ['J\x01\x02\0\0.', 0x0201],
    ['J\xfe\xff\xff\xff.', -2],
    ['M\x01\x02.', 0x0201],
    ['I-12\n.', -12],
    ['I01\n.', true],
    ['I00\n.', false],
    ['L12345678901234567890L\n.', 12345678901234567890n],
    ['\x8a\x00.', 0],
    ['\x8a\x02\x00\xff.', -256],
    ['\x8b\x01\x00\x00\x00\x7f.', 127],
    ['F-0.5\n.', -0.5],
    ['G\x3f\xf8\0\0\0\0\0\0.', 1.5],
    ["S'it'\n.", 'it'],
    ['S"it\'s"\n.', "it's"],
    ['Vline\r\n.', 'line'],
    ['T\x02\0\0\0ab.', 'ab'],
    ['\x8d\x02\0\0\0\0\0\0\0ab.', 'ab'],
    ['\x8e\x01\0\0\0\0\0\0\0\xff.', Uint8Array.of(255)],
    ['(K\x01K\x02l.', [1, 2]],
    ['(K\x01K\x02d.', new Map([[1, 2]])],
    ['\x8f(K\x01K\x02\x90.', new Set([1, 2])],
    ['(K\x01\x91.', new Set([1])],
    // Values are put aside, dropped, doubled and fetched again.
    ['K\x01p7\n0g7\n.', 1],
    ['K\x01r\x07\x01\0\x000j\x07\x01\0\0.', 1],
    ['K\x01\x94K\x02\x94h\x00h\x01\x87.', [2, 1, 2]],
    ['K\x05(K\x011.', 5],
    ['K\x05(0.', 5],
    ['K\x05K\x060.', 5],
    ['K\x012\x86.', [1, 1]],
    ['Pkey\n.', { id: 'key' }],
    // What is hung on a dict is not kept.
    ['ccollections\nOrderedDict\n)R}K\x01K\x02sb.', new Map()],
  ];
  for (const [pickle, expected] of cases) {
    assert.equal(unpickled(pickle), expected, JSON.stringify(pickle));
  }
});

test('pickles: what fits no container is refused', async () => {
  const cases: [pickle: string, message: RegExp][] = [
    ['K\x01K\x02a.', /appends to what is no list/],
    ['](K\x01\x90.', /adds to what is no set/],
    [']K\x01K\x02s.', /sets items of what is no dict/],
    ['}(K\x01u.', /a dict key without a value/],
    ['(K\x01d.', /a dict key without a value/],
    [']}b.', /sets attributes on what has none/],
    ['2.', /looks at an empty stack/],
    ['K\x01\x86.', /takes a value from an empty stack/],
    ['I1x\n.', /expected a decimal integer/],
    ["S'a\\n'\n.", /expected a quoted string without escapes/],
    ['S\'a"\n.', /expected a quoted string without escapes/],
    ['Vno end', /the pickle is cut off/],
    ['ccollections\nOrderedDict\nK\x01R.', /calls what cannot be called/],
  ];
  for (const [pickle, message] of cases) await rejectsWith(() => unpickled(pickle), FileError, message);
});

const global = (module: string, name: string) => `\x80\x02c${module}\n${name}\n.`;
const hostile: [what: string, file: Uint8Array, message: RegExp][] = [
  ['os.system', archiveOf(global('os', 'system')), /holds "os.system", which is not loaded/],
  ['builtins.eval', archiveOf(global('builtins', 'eval')), /holds "builtins.eval"/],
  [
    'a name built on the stack',
    archiveOf('\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.'),
    /holds "posix.system"/,
  ],
  ['__proto__', archiveOf(global('__proto__', 'x')), /holds "__proto__.x"/],
  ['an instance opcode', archiveOf('\x80\x02(ios\nsystem\n.'), /unsupported pickle opcode 0x69 \(at byte 4\)/],
  ['an extension registry', archiveOf('\x80\x02\x82\x01.'), /unsupported pickle opcode 0x82/],
  ['calling a string', archiveOf('\x80\x02U\x01a)R.'), /calls what cannot be called/],
  ['protocol 9', archiveOf('\x80\x09N.'), /pickle protocol 9, expected at most 5/],
  ['an empty pickle', archiveOf(''), /the pickle is cut off/],
  ['no stop', archiveOf('\x80\x02}'), /the pickle is cut off/],
  ['an empty stack', archiveOf('\x80\x02.'), /takes a value from an empty stack/],
  ['a missing mark', archiveOf('\x80\x02t.'), /has no mark/],
  ['a memo that was never set', archiveOf('\x80\x02h\x05.'), /recalls value 5/],
  ['a string of 4 GiB', archiveOf('\x80\x02X\xff\xff\xff\xffab.'), /the pickle is cut off/],
  ['a string of 2^63 bytes', archiveOf('\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fab.'), /the pickle is cut off/],
  ['an integer of 2^31 bytes', archiveOf('\x80\x02\x8b\xff\xff\xff\x7f.'), /an integer of 2147483647 bytes/],
  [
    'lists copied without end',
    archiveOf(`\x80\x02(${'N'.repeat(99)}lq\x00${'c__builtin__\nset\nh\x00\x85R0'.repeat(300)}.`),
    /__builtin__.set: the pickle copies its lists without end/,
  ],
  ['a dict of no pairs', archiveOf('\x80\x02ccollections\nOrderedDict\n]K\x01a\x85R.'), /OrderedDict: expected a pair/],
  [
    'no tensors',
    archiveOf('\x80\x02}U\x05epochK\x03s.'),
    /expected a dict of tensors, or one under "model".*got a dict with "epoch"/,
  ],
  ['no dict', archiveOf('\x80\x02K\x03.'), /got no dict/],
  ['a list that holds itself', archiveOf('\x80\x02]q\x00h\x00a.'), /got no dict/],
  [
    'a tensor beyond its storage',
    archiveOf(dictOf(tensor(tuple(2, 2), tuple(2, 1), 1)), { 0: fourFloats }),
    /tensor "a": shape \[2, 2\], stride \[2, 1\], offset 1 lies outside its storage of 4 elements/,
  ],
  [
    'a huge stride',
    archiveOf(dictOf(tensor(tuple(2), tuple(200))), { 0: fourFloats }),
    /lies outside its storage of 4 elements/,
  ],
  [
    'a tensor that repeats one element',
    archiveOf(dictOf(tensor(tuple(255, 255, 255), tuple(0, 0, 0))), { 0: fourFloats }),
    /repeats elements/,
  ],
  [
    'a product that overflows',
    archiveOf(dictOf(tensor(tuple(...new Array(40).fill(255)), tuple(...new Array(40).fill(0)))), { 0: fourFloats }),
    /is too large/,
  ],
  ['negative sizes', archiveOf(dictOf(tensor('(J\xff\xff\xff\xfft', tuple(1)))), /all non-negative integers/],
  [
    'a shape without strides',
    archiveOf(dictOf(tensor(tuple(2), tuple()))),
    /expected an offset, a shape and as many strides/,
  ],
  [
    'a tensor over no storage',
    archiveOf(dictOf(tensor(tuple(2), tuple(1), 0, 'N'))),
    /expected a tensor over a storage/,
  ],
  [
    'a foreign storage',
    archiveOf(dictOf(tensor(tuple(2), tuple(1), 0, storage('QInt8Storage')))),
    /holds "torch.QInt8Storage"/,
  ],
  [
    'a dtype as storage',
    archiveOf(dictOf(tensor(tuple(2), tuple(1), 0, storage('float32')))),
    /refer to a storage of torch/,
  ],
  ['a list of lists of lists … as a module', archiveOf(`${doublings(60)}X\x01\0\0\0a\x93.`), /holds "an object.a"/],
  ['a deep tuple as a module', archiveOf(`${deepTuple(200_000)}X\x01\0\0\0a\x93.`), /holds "an object.a"/],
  ['a deep tuple as a key', archiveOf(`}${deepTuple(200_000)}Ns.`), /got a dict with "an object"/],
  [
    'a deep tuple as a device',
    archiveOf(`}ctorch\ndevice\n${deepTuple(200_000)}\x85RNs.`),
    /got a dict with "an object"/,
  ],
];
for (const [what, file, message] of hostile) {
  test(`refused: ${what}`, async () => {
    await rejectsWith(() => openBytes(file), FileError, message);
  });
}

test('storages that are absent, short or elsewhere', async () => {
  const good = dictOf(tensor(tuple(4), tuple(1)));
  const absent = await openBytes(archiveOf(good));
  await rejectsWith(() => absent.read('a'), FileError, /the archive has no file "a\/data\/0"/);
  const short = await openBytes(archiveOf(good, { 0: fourFloats.subarray(0, 12) }));
  await rejectsWith(() => short.read('a'), FileError, /"a\/data\/0" has 12 bytes, expected at least 16/);
  const away = await openBytes(archiveOf(dictOf(tensor(tuple(4), tuple(1), 0, storage('FloatStorage', 4, '../../x')))));
  await rejectsWith(() => away.read('a'), FileError, /the archive has no file "a\/data\/..\/..\/x"/);
});

test('a changed byte in a tensor is noticed', async () => {
  for (const options of [{}, { isDeflated: true }]) {
    const file = archiveOf(dictOf(tensor(tuple(4), tuple(1))), { 0: fourFloats }, options);
    const at = file.indexOf('data/0') + 8;
    file[at]! ^= 1;
    const source = await openBytes(file);
    await rejectsWith(
      () => source.read('a'),
      FileError,
      /"a\/data\/0" (is damaged: expected CRC-32|cannot be decompressed)/,
    );
  }
});

test('damaged archives', async () => {
  const good = archiveOf(dictOf(tensor(tuple(4), tuple(1))), { 0: fourFloats });
  const end = good.length - 22;
  const changed = (offset: number, value: number, size: 2 | 4 = 4) => {
    const copy = Buffer.from(good);
    copy.writeUIntLE(value, offset, size);
    return copy;
  };
  const directory = good.readUInt32LE(end + 16);
  // An entry without checksum that would go on into the directory.
  const overlong = changed(directory + 16, 0);
  for (const field of [20, 24]) overlong.writeUInt32LE(directory, directory + field);
  const cases: [Uint8Array, RegExp][] = [
    [good.subarray(0, good.length - 5), /has no end record; is the file truncated/],
    [good.subarray(0, 10), /has no end record/],
    [changed(end + 16, 0xfffffff0), /the zip directory lies outside the file/],
    [changed(end + 12, 0x7fffffff), /the zip directory lies outside the file/],
    [changed(end + 10, 7, 2), /expected entry 3 of 7 of the zip directory/],
    [changed(directory, 1), /expected entry 1 of 2/],
    [changed(directory + 8, 1, 2), /"a\/data.pkl" is encrypted/],
    [changed(directory + 10, 9, 2), /"a\/data.pkl" is compressed by method 9/],
    [changed(directory + 20, 1), /is not compressed, yet 1 bytes should become/],
    [changed(directory + 28, 0xffff, 2), /an entry of the zip directory is cut off/],
    [changed(directory + 42, 0x7fffffff), /"a\/data.pkl" lies outside the archive/],
    [changed(directory + 42, 5), /expected the header of a file in the archive/],
    [overlong, /"a\/data.pkl" lies outside the archive/],
    [zipArchive([]), /expected a PyTorch checkpoint \(zip/],
    [zipArchive([{ name: 'a/x', content: fourFloats }]), /got a zip archive with 0 files data.pkl/],
    [
      zipArchive([
        { name: 'a/x', content: fourFloats },
        { name: 'a/x', content: fourFloats },
      ]),
      /the archive has two files "a\/x"/,
    ],
    [
      zipArchive([
        { name: 'a/data.pkl', content: Buffer.from('N.') },
        { name: 'a/byteorder', content: Buffer.from('big') },
      ]),
      /expected byte order "little", got "big"/,
    ],
    [
      zipArchive([
        { name: 'a/data.pkl', content: Buffer.from('N.') },
        { name: 'a/constants.pkl', content: Buffer.from('N.') },
      ]),
      /is a TorchScript program/,
    ],
  ];
  for (const [bytes, message] of cases) await rejectsWith(() => openBytes(bytes), FileError, message);
});

test('a deflated entry that would fill the memory is refused before it is inflated', async () => {
  const bomb = zipArchive([{ name: 'a/data.pkl', content: new Uint8Array(80 << 20), isDeflated: true }]);
  assert.ok(bomb.length < 100_000);
  await rejectsWith(() => openBytes(bomb), FileError, /should become 83886080 bytes when decompressed, implausible/);
  const lying = zipArchive([{ name: 'a/data.pkl', content: new Uint8Array(100_000), isDeflated: true }]);
  const size = lying.indexOf('PK\x01\x02') + 24;
  lying.writeUInt32LE(50, size);
  await rejectsWith(() => openBytes(lying), FileError, /cannot be decompressed/);
  lying.writeUInt32LE(100_001, size);
  await rejectsWith(() => openBytes(lying), FileError, /expected 100001 bytes, got 100000/);
});

const word = (value: string) => `U${String.fromCharCode(value.length)}${value}`;

/** A file of before torch 1.6: names and tensors, the keys of the storages, and what those hold. */
function plainFile(tensors: readonly string[], keys: readonly string[], storages: readonly Float32Array[]): Buffer {
  const pickles = ['\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19', 'M\xe9\x03', `}${word('little_endian')}\x88s`];
  pickles.push(`}(${tensors.join('')}u`, `](${keys.map(word).join('')}e`);
  const counted = storages.map(values => {
    const bytes = Buffer.alloc(8 + values.byteLength);
    bytes.writeBigInt64LE(BigInt(values.length));
    bytes.set(new Uint8Array(values.buffer), 8);
    return bytes;
  });
  return Buffer.concat([Buffer.from(pickles.map(pickle => `\x80\x02${pickle}.`).join(''), 'latin1'), ...counted]);
}

test('the plain format: a tensor over a part of a storage', async () => {
  const ofPart = (start: number, length: number, count: number) => {
    const part = `(${word('part')}K${String.fromCharCode(start)}K${String.fromCharCode(length)}t`;
    return word('t') + tensor(tuple(count), tuple(1), 1, storage().replace(/tQ$/, `${part}tQ`));
  };
  const values = Float32Array.of(1, 2, 3, 4);
  const whole = word('w') + tensor(tuple(4), tuple(1));
  const source = await openBytes(plainFile([ofPart(1, 3, 2), whole], ['0'], [values]));
  assert.equal(await source.read('t'), { shape: [2], data: Float32Array.of(3, 4) });
  assert.equal((await source.read('w')).data, values);
  const refuses = (file: Buffer, message: RegExp) => rejectsWith(() => openBytes(file), FileError, message);
  await refuses(plainFile([ofPart(1, 3, 3)], ['0'], [values]), /offset 1 lies outside its storage of 3 elements/);
  await refuses(plainFile([ofPart(2, 3, 1)], ['0'], [values]), /expected the pickle to refer to a storage of torch/);
  await refuses(plainFile([whole], ['0', '1'], [values, values]), /nothing refers to storage "1"/);
  const lacking = await openBytes(plainFile([whole], [], []));
  await rejectsWith(() => lacking.read('w'), FileError, /storage "0" is not in the file/);
});

test('the plain format: damage is refused', async () => {
  const good = bytesOfFile('legacy.pth');
  for (let length = 0; length < good.length; length += 7) {
    await rejectsWith(() => openBytes(good.subarray(0, length)), FileError, /./);
  }
  const source: ByteSource = memoryBytes(good, 'x');
  assert.equal((await readRange(source, 0, 2))[0], 0x80);
  const bigEndian = Buffer.from(good);
  const little = bigEndian.indexOf('little_endian') + 'little_endian'.length;
  bigEndian[bigEndian.indexOf(0x88, little)] = 0x89;
  await rejectsWith(() => openBytes(bigEndian), FileError, /written on a little-endian machine/);
  const tar = Buffer.alloc(1024);
  tar.write('sys_info', 0);
  tar.write('ustar', 257);
  await rejectsWith(() => openBytes(tar), FileError, /is in torch's tar format of before 2017/);
  await rejectsWith(() => openBytes(Buffer.from('\x80\x04N.')), FileError, /expected a PyTorch checkpoint/);
});

test('the plain format: many small storages take few reads, and each must have the size that was said', async () => {
  const file = (counts: readonly number[], counters = counts) => {
    const tensors = counts.map(
      (count, i) => word(`t${i}`) + tensor(tuple(count), tuple(1), 0, storage('FloatStorage', count, `${i}`)),
    );
    const storages = counters.map((count, i) => new Float32Array(count).fill(i));
    return plainFile(tensors, Object.keys(counts), storages);
  };
  const counts = Array.from({ length: 3000 }, (_, i) => (i % 500 === 0 ? 200 : i % 2));
  const bytes = memoryBytes(file(counts), 'x');
  let reads = 0;
  const read = (into: Uint8Array, position: number) => {
    reads += 1;
    return bytes.read(into, position);
  };
  const source = await readTorchFile({ ...bytes, read });
  assert.ok(reads < 50, `${reads} reads`);
  for (const i of [0, 1, 2, 500, 2999]) {
    assert.equal(await source.read(`t${i}`), { shape: [counts[i]], data: new Float32Array(counts[i]!).fill(i) });
  }
  await rejectsWith(() => openBytes(file([1, 2, 3], [1, 3, 3])), FileError, /expected a storage of 2 elements, got 3/);
  await rejectsWith(() => openBytes(file([1, 2]).subarray(0, -1)), FileError, /truncated: the storage should end/);
  await rejectsWith(() => openBytes(file([1, 2]).subarray(0, -9)), FileError, /expected 8 more bytes/);
});

test('the portable checksum is the standard one', () => {
  assert.is(portableCrc32(Buffer.from('123456789'), 0), 0xcbf43926);
  assert.is(portableCrc32(Buffer.from('6789'), portableCrc32(Buffer.from('12345'), 0)), 0xcbf43926);
});

test('archives can be read in pieces', async () => {
  const archive = await openZip(memoryBytes(archiveOf('N.', { 0: fourFloats }), 'x.zip'));
  const entry = await archive.open('a/data/0');
  assert.equal(await readRange(entry, 4, 8), fourFloats.slice(4, 8));
  await rejectsWith(() => readRange(entry, 14, 18), FileError, /expected 4 more bytes, but the file ends at byte 16/);
  await rejectsWith(() => archive.open('b'), FileError, /the archive has no file "b"/);
});

test('every reading of a whole entry is held to its checksum', async () => {
  const bytes = archiveOf('N.', { 0: fourFloats });
  const archive = await openZip(memoryBytes(bytes, 'x.zip'));
  const entry = await archive.open('a/data/0');
  const inPieces = async () => Buffer.concat([await readRange(entry, 0, 6), await readRange(entry, 6, 16)]);
  assert.ok((await inPieces()).equals(fourFloats));
  bytes[bytes.indexOf('data/0') + 8]! ^= 1;
  await rejectsWith(inPieces, FileError, /is damaged: expected CRC-32/);
  await rejectsWith(() => readRange(entry, 0, 16), FileError, /is damaged: expected CRC-32/);
});

const folder = temporaryFolder('torch');

test('a PyTorch file is recognised by content and by name', async () => {
  const path = join(folder, 'weights.dat');
  writeFileSync(path, bytesOfFile('linear.bin'));
  const source = await openCheckpoint(path);
  assert.equal([...source.tensors.keys()], ['weight', 'bias']);
  await source.close();
  const misnamed = join(folder, 'pytorch_model.bin');
  writeFileSync(misnamed, 'nothing of the kind');
  await rejectsWith(() => openCheckpoint(misnamed), FileError, /expected a PyTorch checkpoint/);
});

test.run();
