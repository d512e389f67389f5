import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { types } from 'node:util';
import { deflateSync } from 'node:zlib';
import { encode as encodeJpeg } from 'jpeg-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError, OptionError, ShapeError } from '../../engine/errors.ts';
import { Random } from '../../kernels/index.ts';
import { readImage, readImageSync, writePng } from '../../models/images/files.ts';
import { type Image, toRgb } from '../../models/images/image.ts';
import { readTestJson, repositoryRoot, testData } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { rejectsWith } from '../support/throws.ts';
import { assertSameBytes } from './compare.ts';
import { exifOf, pngChunk, pngFile } from './png-parts.ts';

const folder = temporaryFolder('images');

// test/data/images/make_vectors.py: files and what Pillow 12 reads from them (16-bit grey: its high byte).
interface Vector {
  readonly file: string;
  readonly height: number;
  readonly width: number;
}
const vectors = readTestJson<Vector[]>('images', 'files.json');
const expectedPixels = readFileSync(testData('images', 'files.bin'));

test('every PNG file gives the pixels that Pillow gives', async () => {
  let compared = 0;
  for (const { file, image, expected } of await readVectors('.png')) {
    assertSameBytes(image.data, expected, file);
    compared++;
  }
  assert.ok(compared > 25);
});

// jpeg-js rounds differently from libjpeg, and repeats the samples of subsampled chroma where libjpeg interpolates: the
// brightness agrees everywhere, the colours where they are stored at full size or change slowly.
const fullColour = /^(ycc-444|grey|cmyk|rgb|one-pixel)/;
const jpegTolerance = { fullColour: 3, smooth: 8, smoothMean: 2, brightnessMean: 1, saturatedBrightnessMean: 4 };

test('every JPEG file gives nearly the pixels that Pillow gives', async () => {
  let compared = 0;
  for (const { file, image, expected } of await readVectors('.jpg')) {
    const { worst, mean, brightnessMean } = differences(image.data, expected);
    const measured = `${file}: worst ${worst}, mean ${mean.toFixed(2)}, brightness mean ${brightnessMean.toFixed(2)}`;
    // Saturated reds, greens and blues alternate in this one: what is cut off differs with the chroma.
    const tolerated = file === 'extremes.jpg' ? jpegTolerance.saturatedBrightnessMean : jpegTolerance.brightnessMean;
    assert.ok(brightnessMean <= tolerated, `${measured} (tolerance ${tolerated} in brightness)`);
    if (fullColour.test(file))
      assert.ok(worst <= jpegTolerance.fullColour, `${measured} (${jpegTolerance.fullColour})`);
    if (file === 'smooth-420.jpg') {
      assert.ok(worst <= jpegTolerance.smooth, `${measured} (tolerance ${jpegTolerance.smooth})`);
      assert.ok(mean <= jpegTolerance.smoothMean, `${measured} (tolerance ${jpegTolerance.smoothMean} on average)`);
    }
    compared++;
  }
  assert.ok(compared > 25);
});

/** The pictures of `files.json` with that ending, as read, and Pillow's pixels of each. */
async function readVectors(ending: string): Promise<{ file: string; image: Image; expected: Uint8Array }[]> {
  const found = [];
  let offset = 0;
  for (const { file, height, width } of vectors) {
    const bytes = height * width * 3;
    const expected = expectedPixels.subarray(offset, offset + bytes);
    offset += bytes;
    if (!file.endsWith(ending)) continue;
    const image = await readImage(testData('images', file));
    assert.equal([image.height, image.width, image.channels], [height, width, 3], file);
    assert.is(image.data.length, bytes, file);
    found.push({ file, image, expected });
  }
  assert.is(offset, expectedPixels.length);
  return found;
}

/** Worst and mean absolute difference of RGB bytes, and the mean difference of their luma. */
function differences(actual: Uint8Array, expected: Uint8Array) {
  const luma = (rgb: Uint8Array, at: number) => 0.299 * rgb[at]! + 0.587 * rgb[at + 1]! + 0.114 * rgb[at + 2]!;
  let worst = 0;
  let sum = 0;
  let lumaSum = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    worst = Math.max(worst, difference);
    sum += difference;
    if (i % 3 === 0) lumaSum += Math.abs(luma(actual, i) - luma(expected, i));
  }
  return { worst, mean: sum / expected.length, brightnessMean: lumaSum / (expected.length / 3) };
}

test('a path, a URL and bytes give the same picture', async () => {
  const path = testData('images', 'restart.jpg');
  const bytes = readFileSync(path);
  const image = await readImage(path);
  assert.equal(await readImage(pathToFileURL(path)), image);
  assert.equal(await readImage(bytes), image);
  assert.equal(await readImage(Uint8Array.from(bytes).buffer), image);
  assert.equal(readImageSync(path), image);
});

test('files cut short anywhere are refused, and nothing is invented for what is missing', () => {
  const files = ['rgb8.png', 'palette4-adam7.png', 'ycc-420.jpg', 'ycc-420-progressive.jpg', 'restart.jpg'];
  for (const file of files) {
    const bytes = readFileSync(testData('images', file));
    const step = Math.ceil(bytes.length / 200);
    for (let length = 0; length < bytes.length; length += step) {
      assert.throws(
        () => readImageSync(bytes.subarray(0, length), { name: 'cut' }),
        (error: Error) => error instanceof FileError && error.message.startsWith('cut: '),
        `${file} cut to ${length} bytes`,
      );
    }
  }
});

test('a damaged PNG byte is always noticed', () => {
  const bytes = readFileSync(testData('images', 'rgba8.png'));
  for (let at = 8; at < bytes.length; at++) {
    const damaged = Uint8Array.from(bytes);
    damaged[at] = damaged[at]! ^ 0x10;
    assert.throws(
      () => readImageSync(damaged),
      (error: Error) => error instanceof FileError,
      `byte ${at}`,
    );
  }
});

test('what is no picture is refused by name', async () => {
  const refusals: [string, string | Uint8Array, RegExp][] = [
    ['empty.png', '', /empty\.png: expected a PNG or JPEG file, got an empty one/],
    ['text.jpg', 'hello', /text\.jpg: expected a PNG or JPEG file, got neither/],
    ['a.gif', 'GIF89a…', /a\.gif: expected a PNG or JPEG file, got a GIF file/],
    ['a.webp', 'RIFF\0\0\0\0WEBP', /got a WebP file/],
    ['a.heic', '\0\0\0\x18ftypheic', /got an AVIF or HEIC file/],
  ];
  for (const [name, content, message] of refusals) {
    writeFileSync(join(folder, name), content);
    await rejectsWith(() => readImage(join(folder, name)), FileError, message);
  }
  await rejectsWith(() => readImage(join(folder, 'absent.png')), FileError, /absent\.png: no such file or folder$/);
  mkdirSync(join(folder, 'folder.png'));
  await rejectsWith(
    () => readImage(join(folder, 'folder.png')),
    FileError,
    /folder\.png: expected a file, got a folder/,
  );
  await rejectsWith(() => readImage('/dev/zero'), FileError, /\/dev\/zero: expected a file, got a device/);
  await rejectsWith(() => readImage('x.png', { maxPixels: 0 }), OptionError, /maxPixels to be at least 1, got 0/);
  await rejectsWith(() => readImage('x.png', { maxPixels: '9' as never }), OptionError, /to be a number, got "9"/);
  await rejectsWith(() => readImage('x.png', { name: 5 as never }), OptionError, /name to be a text, got 5/);
  const flag = { exifTranspose: 1 as never };
  await rejectsWith(() => readImage('x.png', flag), OptionError, /exifTranspose to be true or false, got 1/);
  const misspelt = { max_pixels: 9 } as object;
  await rejectsWith(
    () => readImage('x.png', misspelt),
    OptionError,
    /unknown option max_pixels; did you mean maxPixels/,
  );
  for (const source of [undefined, 5, new URL('https://example.org/x.png')]) {
    const got = new RegExp(`expected a path, a file: URL, or a file's bytes, got ${source}`);
    await rejectsWith(() => readImage(source as never), OptionError, got);
  }
});

test('a picture is decoded while the calling thread goes on', async () => {
  const [width, height] = [1600, 1200];
  const data = Buffer.from(new Random(1).tensor([width * height * 4], 50, 128).data);
  const bytes = encodeJpeg({ width, height, data }, 90).data;
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const image = await readImage(bytes);
  clearInterval(timer);
  assert.ok(turns >= 5, `${turns} turns of the event loop`);
  assertSameBytes(image.data, readImageSync(bytes).data, 'decoded elsewhere');
  assert.ok(bytes.byteLength > 0, 'the bytes stay with their owner');
});

test('an error of the decoder’s thread is what it is on the calling one', async () => {
  const path = join(folder, 'absent.png');
  const error = await rejectsWith(() => readImage(path), FileError, /absent\.png: no such file/);
  assert.is(error.constructor, FileError);
  assert.ok(types.isNativeError(error));
  assert.is(error.name, 'FileError');
  assert.equal((error as FileError).location, { file: path });
  const [whole] = await Promise.all([readImage(testData('images', vectors[0]!.file)), readImage(path).catch(() => {})]);
  assert.is(whole.channels, 3);
});

test('without the decoder’s module, pictures are decoded on the calling thread', async () => {
  const copy = temporaryFolder('bundle');
  const built = fileURLToPath(new URL('../../', import.meta.url));
  for (const part of ['engine', 'models', 'weights']) {
    cpSync(join(built, part), join(copy, part), { recursive: true });
  }
  rmSync(join(copy, 'models/images/decoder-worker.js'));
  symlinkSync(join(repositoryRoot, 'node_modules'), join(copy, 'node_modules'));
  writeFileSync(join(copy, 'package.json'), '{ "type": "module" }');
  const { readImage: read } = (await import(
    pathToFileURL(join(copy, 'models/images/files.js')).href
  )) as typeof import('../../models/images/files.ts');
  const picture = testData('images', vectors[0]!.file);
  assert.equal((await read(picture)).data, readImageSync(picture).data);
  assert.equal((await read(picture)).data, readImageSync(picture).data, 'again');
});

test('a picture for which the thread has too little memory fails alone, and the process goes on', () => {
  const [width, height] = [3000, 2000];
  const large = join(folder, 'large.jpg');
  writeFileSync(large, encodeJpeg({ width, height, data: Buffer.alloc(width * height * 4, 127) }, 50).data);
  const small = testData('images', vectors[0]!.file);
  const program = `
    import { readImage } from ${JSON.stringify(new URL('../../models/images/files.js', import.meta.url))};
    const paths = ${JSON.stringify([large, small, large, small])};
    const read = path => readImage(path).then(({ channels }) => channels, error => error.name + ': ' + error.message);
    for (const outcome of await Promise.all(paths.map(read))) console.log(outcome);`;
  const args = ['--max-old-space-size=30', '--input-type=module', '--eval', program];
  const lines = execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split(
    '\n',
  );
  const failed = `OutOfMemoryError: ${large}: expected memory to decode the picture, got none`;
  assert.equal(lines, [failed, '3', failed, '3', '']);
});

test('more pictures at once than the process may have open files', () => {
  const program = `
    import { readImage } from ${JSON.stringify(new URL('../../models/images/files.js', import.meta.url))};
    const path = ${JSON.stringify(testData('images', 'grey.jpg'))};
    const images = await Promise.all(Array.from({ length: 300 }, () => readImage(path)));
    console.log(images.length);`;
  const args = ['-c', 'ulimit -n 128; exec "$0" "$@"', process.execPath, '--input-type=module', '--eval', program];
  assert.is(execFileSync('sh', args, { encoding: 'utf8' }), '300\n');
});

test('a picture that is replaced while it is read is the old one or the new one', async () => {
  const path = join(folder, 'latest.png');
  const [small, large] = [20, 400].map(side => ({
    ...{ width: side, height: side, channels: 3 },
    data: new Uint8Array(side * side * 3).map((_, index) => (index * 7919) % 251),
  }));
  writePng(path, small!);
  let isDone = false;
  const writing = (async () => {
    for (let round = 0; !isDone; round++) {
      writePng(path, round % 2 === 0 ? large! : small!);
      await new Promise(resolve => setImmediate(resolve));
    }
  })();
  const reads = await Promise.all(Array.from({ length: 60 }, () => readImage(path)));
  isDone = true;
  await writing;
  assert.ok(reads.every(({ width }) => width === 20 || width === 400));
});

test('what the process may not read is not read elsewhere either', () => {
  const flag = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission';
  const program = `
    import { readImage, readImageSync } from ${JSON.stringify(new URL('../../models/images/files.js', import.meta.url))};
    const path = ${JSON.stringify(join(folder, 'large.jpg'))};
    for (const read of [async () => readImageSync(path), () => readImage(path)]) {
      console.log(await read().catch(error => error.name + ': ' + error.message));
    }`;
  const args = [
    flag,
    `--allow-fs-read=${repositoryRoot}/*`,
    '--allow-worker',
    '--input-type=module',
    '--eval',
    program,
  ];
  const lines = execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const refused = `FileError: ${join(folder, 'large.jpg')}: Node's permission model denies access\n`;
  assert.is(lines, refused + refused);
});

/** A file whose header says this size and whose pixels are a hundred zeros, or what is given. */
const announcedPng = (width: number, height: number, pixels: Uint8Array = deflateSync(new Uint8Array(100))) =>
  pngFile(width, height, pixels);

test('pictures above the limit are refused before anything is decoded', async () => {
  await rejectsWith(
    () => readImage(announcedPng(60_000, 60_000), { name: 'bomb.png' }),
    FileError,
    /bomb\.png: expected at most 89478485 pixels \(option maxPixels\), got 60000 x 60000/,
  );
  const jpeg = Buffer.from(readFileSync(testData('images', 'grey.jpg')));
  const frame = jpeg.indexOf(Buffer.of(0xff, 0xc0)) + 4;
  jpeg.writeUInt16BE(65_000, frame + 1);
  jpeg.writeUInt16BE(65_000, frame + 3);
  await rejectsWith(() => readImage(jpeg), FileError, /expected at most 89478485 pixels .* got 65000 x 65000/);
  // Below the limit, but announced by a file that cannot hold so many blocks.
  jpeg.writeUInt16BE(8_000, frame + 1);
  jpeg.writeUInt16BE(8_000, frame + 3);
  const before = process.memoryUsage().arrayBuffers;
  await rejectsWith(() => readImage(jpeg), FileError, /JPEG file ends early/);
  assert.ok(process.memoryUsage().arrayBuffers - before < 1e6);

  const photo = testData('images', 'ycc-420.jpg');
  await rejectsWith(() => readImage(photo, { maxPixels: 37 * 45 - 1 }), FileError, /expected at most 1664 pixels/);
  assert.is((await readImage(photo, { maxPixels: 37 * 45 })).width, 45);
  const sparse = join(folder, 'long.png');
  writeFileSync(sparse, new Uint8Array(17 * 2 ** 20));
  await rejectsWith(
    () => readImage(sparse, { maxPixels: 100 }),
    FileError,
    /long\.png: expected at most 16778016 bytes/,
  );
});

test('PNG pixels that do not fit the header are refused', async () => {
  await rejectsWith(() => readImage(announcedPng(0, 4)), FileError, /impossible PNG size 0 x 4/);
  await rejectsWith(() => readImage(announcedPng(4, 0)), FileError, /impossible PNG size 4 x 0/);
  const tooLong = announcedPng(4, 4, deflateSync(new Uint8Array(1e6)));
  await rejectsWith(() => readImage(tooLong), FileError, /expected 52 bytes of PNG pixels, got more/);
  const tooShort = announcedPng(40, 40);
  await rejectsWith(() => readImage(tooShort), FileError, /expected 4840 bytes of PNG pixels, got 100/);
  const noDeflate = announcedPng(4, 4, new Uint8Array(30));
  await rejectsWith(() => readImage(noDeflate), FileError, /cannot be decoded as PNG: unknown compression method/);
  const cutDeflate = announcedPng(4, 4, deflateSync(new Uint8Array(52)).subarray(0, -4));
  await rejectsWith(() => readImage(cutDeflate), FileError, /cannot be decoded as PNG: unexpected end of file/);
  const filter = announcedPng(1, 1, deflateSync(Uint8Array.of(5, 0, 0, 0)));
  await rejectsWith(() => readImage(filter), FileError, /cannot be decoded as PNG: Unrecognised filter type - 5/);
  const interlaced = (pixels: number) => pngFile(4, 4, deflateSync(new Uint8Array(pixels)), { interlaced: true });
  assert.is((await readImage(interlaced(4 * 4 * 3 + 7))).width, 4);
  for (const pixels of [0, 4 * 4 * 3 + 6, 4 * 4 * 3 + 8, 4 * 4 * 3 + 33, 1e8])
    await rejectsWith(() => readImage(interlaced(pixels)), FileError, /PNG/);
});

test('PNG chunks that would mislead the decoder are refused', async () => {
  const chunks = (...extra: Uint8Array[]) => pngFile(1, 1, deflateSync(new Uint8Array(4)), { extra });
  assert.is((await readImage(chunks(pngChunk('PLTE', new Uint8Array(768))))).width, 1);
  const second = chunks(pngChunk('IHDR', Uint8Array.of(0, 1, 0, 0, 0, 1, 0, 0, 8, 2, 0, 0, 0)));
  await rejectsWith(() => readImage(second), FileError, /second IHDR chunk in a PNG file/);
  const long = chunks(pngChunk('PLTE', new Uint8Array(771)));
  await rejectsWith(() => readImage(long), FileError, /palette of 771 bytes in a PNG file/);
  const palette = pngChunk('PLTE', new Uint8Array(3));
  await rejectsWith(() => readImage(chunks(palette, palette)), FileError, /second palette in a PNG file/);
  const unknown = chunks(pngChunk('WHAT', new Uint8Array(3)));
  await rejectsWith(() => readImage(unknown), FileError, /cannot be decoded as PNG/);
});

test('unusual JPEG forms are refused by name', async () => {
  const original = readFileSync(testData('images', 'grey.jpg'));
  const frame = original.indexOf(Buffer.of(0xff, 0xc0));
  const forms: [marker: number, message: RegExp][] = [
    [0xc3, /lossless JPEG \(marker FFC3\) is not supported/],
    [0xc9, /arithmetic-coded JPEG \(marker FFC9\) is not supported/],
    [0xc5, /hierarchical JPEG \(marker FFC5\) is not supported/],
  ];
  for (const [code, message] of forms) {
    const changed = Buffer.from(original);
    changed[frame + 1] = code;
    await rejectsWith(() => readImage(changed), FileError, message);
  }
  const deep = Buffer.from(original);
  deep[frame + 4] = 12;
  await rejectsWith(() => readImage(deep), FileError, /JPEG with 12 bits per sample is not supported/);
  const sides: [at: number, message: RegExp][] = [
    [5, /impossible JPEG size 30 x 0/],
    [7, /impossible JPEG size 0 x 19/],
  ];
  for (const [at, message] of sides) {
    const empty = Buffer.from(original);
    empty.writeUInt16BE(0, frame + at);
    await rejectsWith(() => readImage(empty), FileError, message);
  }
  const two = Buffer.concat([original.subarray(0, frame + 13), original.subarray(frame + 10)]);
  two.writeUInt16BE(8 + 3 * 2, frame + 2);
  two[frame + 9] = 2;
  await rejectsWith(() => readImage(two), FileError, /JPEG with 2 components is not supported/);
});

test('JPEG files whose work or size is out of proportion are refused', async () => {
  const original = readFileSync(testData('images', 'grey.jpg'));
  const scan = original.indexOf(Buffer.of(0xff, 0xda));
  const frame = original.indexOf(Buffer.of(0xff, 0xc0));
  const scanHeader = original.subarray(scan, scan + 10);
  const many = Buffer.concat([original.subarray(0, scan), ...Array(501).fill(scanHeader), original.subarray(scan)]);
  await rejectsWith(() => readImage(many), FileError, /expected at most 500 JPEG scans, got more/);
  const none = Buffer.concat([original.subarray(0, scan), Buffer.of(0xff, 0xd9)]);
  await rejectsWith(() => readImage(none), FileError, /JPEG file without a scan/);
  const larger = Buffer.from(original.subarray(frame, scan));
  larger.writeUInt16BE(8_000, 5);
  larger.writeUInt16BE(8_000, 7);
  const twice = Buffer.concat([original.subarray(0, scan), larger, original.subarray(scan)]);
  await rejectsWith(() => readImage(twice), FileError, /cannot be decoded as JPEG: maxResolutionInMP limit exceeded/);
  const sampling = Buffer.from(original);
  sampling[frame + 11] = 0xff;
  await rejectsWith(() => readImage(sampling), FileError, /impossible JPEG sampling 15 x 15/);
});

test('what lies behind a JPEG picture is passed over, whatever it holds', async () => {
  const bytes = readFileSync(testData('images', 'grey.jpg'));
  const markers = Buffer.alloc(4000, Buffer.of(0xff, 0xda));
  assert.equal(await readImage(Buffer.concat([bytes, markers])), await readImage(bytes));
});

test('orientations as LONG, and in the text chunk that ImageMagick writes, turn the picture', async () => {
  const ofType = (type: number, orientation: number) => {
    const bytes = exifOf(orientation);
    bytes.writeUInt16LE(type, 12);
    return bytes;
  };
  const exif = (orientation: number) => Buffer.concat([Buffer.from('Exif\0\0'), exifOf(orientation)]);
  const text = (orientation: number) => {
    const lines = exif(orientation)
      .toString('hex')
      .match(/.{1,72}/g)!;
    return `\nexif\n${String(exif(orientation).length).padStart(8)}\n${lines.join('\n')}\n`;
  };
  const keyword = Buffer.from('Raw profile type exif\0');
  const deflated = (content: string) => Buffer.concat([keyword, Buffer.of(0), deflateSync(content)]);
  const [width, height] = [3, 2];
  const pixels = deflateSync(Buffer.alloc(height * (1 + 3 * width)));
  const turned: [what: string, chunks: Uint8Array[], turns: boolean][] = [
    ['LONG', [pngChunk('eXIf', ofType(4, 6))], true],
    ['no such type', [pngChunk('eXIf', ofType(7, 6))], false],
    ['zTXt', [pngChunk('zTXt', deflated(text(6)))], true],
    ['tEXt', [pngChunk('tEXt', Buffer.concat([keyword, Buffer.from(text(8))]))], true],
    ['eXIf goes before', [pngChunk('eXIf', exifOf(1)), pngChunk('zTXt', deflated(text(6)))], false],
    ['0, which is none', [pngChunk('eXIf', exifOf(0))], false],
    ['9, which is none', [pngChunk('eXIf', exifOf(9))], false],
    ['damaged', [pngChunk('zTXt', Buffer.concat([keyword, Buffer.of(0, 1, 2, 3)]))], false],
    ['too long', [pngChunk('zTXt', deflated(text(6) + ' '.repeat(2 ** 20)))], false],
    ['no profile', [pngChunk('tEXt', Buffer.from('Comment\0\nexif\n 1\n00'))], false],
  ];
  for (const [what, extra, turns] of turned) {
    const image = await readImage(pngFile(width, height, pixels, { extra }));
    assert.equal([image.width, image.height], turns ? [height, width] : [width, height], what);
    const stored = await readImage(pngFile(width, height, pixels, { extra }), { exifTranspose: false });
    assert.equal([stored.width, stored.height], [width, height], what);
  }
});

test('writePng writes what readImage reads, and never half a file', async () => {
  const random = (height: number, width: number, channels: number): Image => {
    const data = Uint8Array.from(
      { length: height * width * channels },
      (_, i) => (Math.imul(i + 7, 2654435761) >>> 13) & 255,
    );
    return { height, width, channels, data };
  };
  for (const channels of [1, 3, 4]) {
    const image = random(17, 23, channels);
    const path = join(folder, `written-${channels}.png`);
    writePng(path, image);
    assert.equal(await readImage(path), toRgb(image));
  }
  mkdirSync(join(folder, 'taken.png'));
  const taken = join(folder, 'taken.png');
  await rejectsWith(() => writePng(taken, random(2, 2, 3)), FileError, /taken\.png: expected a file, got a folder$/);
  assert.equal(
    readdirSync(folder).filter(name => name.startsWith('.')),
    [],
  );
  if (existsSync('/sys')) {
    // Linux lets nobody make a file there.
    const message = /picture\.png: (the file system is read-only|permission denied|operation not permitted)$/;
    await rejectsWith(() => writePng('/sys/picture.png', random(2, 2, 3)), FileError, message);
  }
  const missing = join(folder, 'no', 'such', 'folder.png');
  await rejectsWith(() => writePng(missing, random(2, 2, 3)), FileError, /folder\.png: no such file or folder$/);
  const wrong = { height: 2, width: 2, channels: 3, data: new Uint8Array(11) };
  await rejectsWith(
    () => writePng(join(folder, 'x.png'), wrong),
    ShapeError,
    /expected a Uint8Array of 2 x 2 x 3 = 12 bytes, got 11/,
  );
});

test.run();
