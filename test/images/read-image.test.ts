import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { deflateSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError, OptionError, ShapeError } from '../../engine/errors.ts';
import { readImage, readImageSync, writePng } from '../../models/images/files.ts';
import { type Image, toRgb } from '../../models/images/image.ts';
import { readTestJson, testData } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { rejectsWith } from '../support/throws.ts';
import { assertSameBytes } from './compare.ts';
import { pngFile } from './png-parts.ts';

const folder = temporaryFolder('images');

// test/data/images/make_vectors.py: files and what Pillow 12 reads from them (16-bit grey: its high byte).
interface Vector {
  readonly file: string;
  readonly height: number;
  readonly width: number;
}
const vectors = readTestJson<Vector[]>('images', 'files.json');
const expectedPixels = readFileSync(testData('images', 'files.bin'));

test('every PNG and JPEG file gives the pixels that Pillow gives', async () => {
  let offset = 0;
  for (const { file, height, width } of vectors) {
    const image = await readImage(testData('images', file));
    assert.equal([image.height, image.width, image.channels], [height, width, 3], file);
    const bytes = height * width * 3;
    assertSameBytes(image.data, expectedPixels.subarray(offset, offset + bytes), file);
    offset += bytes;
  }
  assert.is(offset, expectedPixels.length);
  assert.ok(vectors.length > 50);
});

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
  await rejectsWith(
    () => readImage(join(folder, 'absent.png')),
    FileError,
    /absent\.png: cannot be read: no such file/,
  );
  mkdirSync(join(folder, 'folder.png'));
  await rejectsWith(
    () => readImage(join(folder, 'folder.png')),
    FileError,
    /folder\.png: expected a file, got a folder/,
  );
  await rejectsWith(() => readImage('/dev/zero'), FileError, /\/dev\/zero: expected a file, got a device/);
  await rejectsWith(() => readImage('x.png', { maxPixels: 0 }), OptionError, /maxPixels to be at least 1, got 0/);
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

test('pixel data that do not fit the header are refused', async () => {
  const tooLong = announcedPng(4, 4, deflateSync(new Uint8Array(1e6)));
  await rejectsWith(() => readImage(tooLong), FileError, /expected 52 bytes of PNG pixels, got more/);
  const tooShort = announcedPng(40, 40);
  await rejectsWith(() => readImage(tooShort), FileError, /expected 4840 bytes of PNG pixels, got 100/);
  const noDeflate = announcedPng(4, 4, new Uint8Array(30));
  await rejectsWith(() => readImage(noDeflate), FileError, /damaged PNG pixels: unknown compression method/);
  const filter = announcedPng(1, 1, deflateSync(Uint8Array.of(5, 0, 0, 0)));
  await rejectsWith(() => readImage(filter), FileError, /unknown PNG row filter 5/);
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
  assert.is(readdirSync(folder).filter(name => name.includes('partial')).length, 0);
  const missing = join(folder, 'no', 'such', 'folder.png');
  await rejectsWith(
    () => writePng(missing, random(2, 2, 3)),
    FileError,
    /folder\.png: cannot be written: no such file/,
  );
  const wrong = { height: 2, width: 2, channels: 3, data: new Uint8Array(11) };
  await rejectsWith(
    () => writePng(join(folder, 'x.png'), wrong),
    ShapeError,
    /expected a Uint8Array of 2 x 2 x 3 = 12 bytes, got 11/,
  );
});

test.run();
