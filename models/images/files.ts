// Pictures in files. H height, W width
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe } from '../../engine/describe.ts';
import { FileError, OptionError } from '../../engine/errors.ts';
import { checkFlag, checkNumber, checkOptionNames } from '../../engine/options.ts';
import { readRange } from '../../weights/bytes.ts';
import { checkIsFile, fileSystemError, openFile, readFlags, writeAtomicallySync } from '../../weights/files.ts';
import { DecoderLost, decodeElsewhere } from './decoder.ts';
import type { Image } from './image.ts';
import { isJpeg, openJpeg } from './jpeg.ts';
import { applyOrientation } from './orientation.ts';
import { encodePng, isPng, openPng } from './png.ts';
import { Turns } from './turns.ts';

export interface ReadImageOptions {
  /**
   * Pictures with more pixels are refused before anything is decoded or allocated for them: a few kilobytes can
   * announce gigabytes. Default 89,478,485 (a quarter of a gigabyte of RGB), Pillow's limit.
   */
  readonly maxPixels?: number | undefined;
  /** Whether the picture is turned as its EXIF orientation says; default true. */
  readonly exifTranspose?: boolean | undefined;
  /** What errors call the picture when it comes as bytes; default `image`. */
  readonly name?: string | undefined;
}

/** Options that were checked, defaults included. */
export type CheckedReadOptions = {
  readonly [Name in keyof ReadImageOptions]-?: Exclude<ReadImageOptions[Name], undefined>;
};

export const DEFAULT_MAX_PIXELS = 89_478_485;

/** No sensible picture of so many pixels has a longer file. */
export const maximumFileBytes = (maxPixels: number): number => 16 * 2 ** 20 + 8 * maxPixels;

/** The address that a URL or a text is; undefined for the path of a file. */
export function addressOf(source: string | URL): URL | undefined {
  if (source instanceof URL) return source;
  return /^(https?:\/\/|file:\/\/|data:[^,]*,)/i.test(source) && URL.canParse(source) ? new URL(source) : undefined;
}

/**
 * Reads a picture as RGB, upright (EXIF orientation applied), and decodes it on a thread of its own. PNG and JPEG are told
 * apart by content, not by name. Of many calls at once, few files are open at a time.
 *
 * @param source path, `file:` URL (as text, too), or a whole file's bytes
 * @returns [H, W, 3] bytes: Pillow's `ImageOps.exif_transpose(Image.open(…)).convert('RGB')`. PNG bit for bit, with the
 *   exception of 16-bit grey, of which Pillow makes white wherever a sample exceeds 255: here its high byte is kept, as
 *   both do of 16-bit colours. JPEG within a few grey levels where the picture is smooth
 * @throws FileError naming the file: missing, neither PNG nor JPEG, damaged, truncated, or above `maxPixels`;
 *   OutOfMemoryError where the thread has too little memory for it; OptionError for a source or an option that is none
 */
export async function readImage(
  source: string | URL | Uint8Array | ArrayBuffer,
  options: ReadImageOptions = {},
): Promise<Image> {
  const checked = checkReadOptions(options);
  const given = pathOrBytes(source);
  const own = typeof given === 'string' ? given : new Uint8Array(given);
  return turns.take(async () => {
    // Files are read here: what the process may read is this thread's business, and other threads are not held to it.
    const bytes = typeof own === 'string' ? await readBytes(own, checked.maxPixels) : own;
    const named = typeof own === 'string' ? { ...checked, name: own } : checked;
    try {
      return await decodeElsewhere(bytes, named);
    } catch (error) {
      // Where a bundler has left the thread's module out, say.
      if (error instanceof DecoderLost) return decodeImage(bytes, named);
      throw error;
    }
  });
}

/** Enough that the decoder has the next picture when it is done with one; more would be open files and full memory. */
const turns = new Turns(3);

/** `readImage` without a promise, on the calling thread. */
export function readImageSync(source: string | URL | Uint8Array | ArrayBuffer, options: ReadImageOptions = {}): Image {
  const checked = checkReadOptions(options);
  const own = pathOrBytes(source);
  if (typeof own !== 'string') return decodeImage(own, checked);
  return decodeImage(readBytesSync(own, checked.maxPixels), { ...checked, name: own });
}

function checkReadOptions(options: ReadImageOptions): CheckedReadOptions {
  checkOptionNames(options, ['maxPixels', 'exifTranspose', 'name'], 'readImage');
  const { maxPixels = DEFAULT_MAX_PIXELS, exifTranspose = true, name = 'image' } = options;
  checkNumber(maxPixels, 'maxPixels', 'readImage');
  if (maxPixels < 1) throw new OptionError(`readImage: expected maxPixels to be at least 1, got ${maxPixels}`);
  if (typeof name !== 'string') throw new OptionError(`readImage: expected name to be a text, got ${describe(name)}`);
  checkFlag(exifTranspose, 'exifTranspose', 'readImage');
  return { maxPixels, exifTranspose, name };
}

function pathOrBytes(source: string | URL | Uint8Array | ArrayBuffer): string | Uint8Array {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  return pathOf(source, "readImage: expected a path, a file: URL, or a file's bytes");
}

function pathOf(source: string | URL, expected: string): string {
  const refuse = (got: string, options?: ErrorOptions) => new OptionError(`${expected}, got ${got}`, options);
  if ((source as unknown) instanceof Promise) throw refuse('a promise, which is to be awaited');
  if (typeof source !== 'string' && !(source instanceof URL))
    throw refuse(source === undefined ? 'undefined' : describe(source));
  const address = addressOf(source);
  if (address === undefined) return source as string;
  if (address.protocol !== 'file:') throw refuse(`${address.href.slice(0, 100)}; pipelines take such addresses`);
  try {
    return fileURLToPath(address);
  } catch (cause) {
    throw refuse(address.href.slice(0, 100), { cause });
  }
}

/** A picture out of a whole file's bytes, on the calling thread; `options` have been checked. @throws FileError */
export function decodeImage(bytes: Uint8Array, options: CheckedReadOptions): Image {
  const { maxPixels, exifTranspose, name: file } = options;
  if (!isPng(bytes) && !isJpeg(bytes)) throw new FileError({ file }, notAPicture(bytes));
  const picture = isPng(bytes) ? openPng(bytes, file) : openJpeg(bytes, file);
  const { width, height } = picture;
  if (width * height > maxPixels) {
    throw new FileError({ file }, `expected at most ${maxPixels} pixels (option maxPixels), got ${width} x ${height}`);
  }
  const image = picture.decode();
  return exifTranspose ? applyOrientation(image, picture.orientation) : image;
}

const otherFormats: readonly [name: string, start: string][] = [
  ['a GIF', 'GIF8'],
  ['a WebP', 'RIFF'],
  ['a BMP', 'BM'],
  ['a TIFF', 'II*\0'],
  ['a TIFF', 'MM\0*'],
  ['a PDF', '%PDF'],
];

function notAPicture(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'expected a PNG or JPEG file, got an empty one';
  const start = String.fromCharCode(...bytes.subarray(0, 16));
  const other =
    otherFormats.find(([, magic]) => start.startsWith(magic))?.[0] ??
    (/^ftyp(avif|heic|mif1)/.test(start.slice(4)) ? 'an AVIF or HEIC' : undefined);
  return `expected a PNG or JPEG file, got ${other === undefined ? 'neither' : `${other} file`}`;
}

/** A regular file's bytes, unless there are too many. */
async function readBytes(path: string, maxPixels: number): Promise<Uint8Array> {
  const file = await openFile(path);
  try {
    checkFileSize(path, file.size, maxPixels);
    return await readRange(file, 0, file.size);
  } finally {
    await file.close();
  }
}

function checkFileSize(file: string, size: number, maxPixels: number): void {
  const limit = maximumFileBytes(maxPixels);
  if (size <= limit) return;
  const expected = `expected at most ${limit} bytes for ${maxPixels} pixels (option maxPixels)`;
  throw new FileError({ file }, `${expected}, got ${size}`);
}

/** `readBytes` for callers that cannot wait. */
function readBytesSync(path: string, maxPixels: number): Uint8Array {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, readFlags);
    const status = fstatSync(descriptor);
    checkIsFile(path, status);
    checkFileSize(path, status.size, maxPixels);
    const bytes = new Uint8Array(status.size);
    let length = 0;
    while (length < bytes.length) {
      const read = readSync(descriptor, bytes, length, bytes.length - length, length);
      if (read === 0) throw new FileError({ file: path, byte: length }, 'the file became shorter while it was read');
      length += read;
    }
    return bytes;
  } catch (error) {
    throw fileSystemError(path, error);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/**
 * Writes `image` (grey, RGB or RGBA) as a PNG file. The file appears under its name only when it is complete.
 *
 * @param path or `file:` URL (as text, too)
 * @throws FileError if it cannot be written, ShapeError if the fields of `image` do not agree, OptionError for a path that is
 *   none
 */
export function writePng(path: string | URL, image: Image): void {
  writeAtomicallySync(pathOf(path, 'writePng: expected a path or a file: URL'), encodePng(image));
}
