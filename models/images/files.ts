// Pictures in files. H height, W width
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe } from '../../engine/describe.ts';
import { FileError, OptionError } from '../../engine/errors.ts';
import { checkNumber, checkOptionNames } from '../../engine/options.ts';
import { checkIsFile, fileSystemError, readFlags, writeAtomicallySync } from '../../weights/files.ts';
import { DecoderLost, decodeElsewhere } from './decoder.ts';
import type { Image } from './image.ts';
import { isJpeg, openJpeg } from './jpeg.ts';
import { applyOrientation } from './orientation.ts';
import { encodePng, isPng, openPng } from './png.ts';

export interface ReadImageOptions {
  /**
   * Pictures with more pixels are refused before anything is decoded or allocated for them: a few kilobytes can
   * announce gigabytes. Default 89,478,485 (a quarter of a gigabyte of RGB), Pillow's limit.
   */
  readonly maxPixels?: number;
  /** Whether the picture is turned as its EXIF orientation says; default true. */
  readonly exifTranspose?: boolean;
  /** What errors call the picture when it comes as bytes; default `image`. */
  readonly name?: string;
}

export const DEFAULT_MAX_PIXELS = 89_478_485;

/** No sensible picture of so many pixels has a longer file. */
export const maximumFileBytes = (maxPixels: number): number => 16 * 2 ** 20 + 8 * maxPixels;

/** The address that a URL or a text is; undefined for the path of a file. */
export function addressOf(source: string | URL): URL | undefined {
  if (source instanceof URL) return source;
  return /^(https?:\/\/|file:\/\/|data:[^,]*,)/i.test(source) && URL.canParse(source) ? new URL(source) : undefined;
}

/**
 * Reads a picture as RGB, upright (EXIF orientation applied), on a thread of its own. PNG and JPEG are told apart by content,
 * not by name.
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
  const own = pathOrBytes(source);
  try {
    return await decodeElsewhere(own, checked);
  } catch (error) {
    // Where a bundler has left the thread's module out, say.
    if (error instanceof DecoderLost) return readImageSync(own, checked);
    throw error;
  }
}

/** `readImage` without a promise, on the calling thread. */
export function readImageSync(source: string | URL | Uint8Array | ArrayBuffer, options: ReadImageOptions = {}): Image {
  const { name, ...limits } = checkReadOptions(options);
  const own = pathOrBytes(source);
  if (typeof own !== 'string') return decodeImage(own, name, limits);
  return decodeImage(readBytes(own, limits.maxPixels), own, limits);
}

function checkReadOptions(options: ReadImageOptions): Required<ReadImageOptions> {
  checkOptionNames(options, ['maxPixels', 'exifTranspose', 'name'], 'readImage');
  const { maxPixels = DEFAULT_MAX_PIXELS, exifTranspose = true, name = 'image' } = options;
  checkNumber(maxPixels, 'maxPixels', 'readImage');
  if (maxPixels < 1) throw new OptionError(`readImage: expected maxPixels to be at least 1, got ${maxPixels}`);
  if (typeof name !== 'string') throw new OptionError(`readImage: expected name to be a text, got ${describe(name)}`);
  if (typeof exifTranspose !== 'boolean') {
    throw new OptionError(`readImage: expected exifTranspose to be true or false, got ${describe(exifTranspose)}`);
  }
  return { maxPixels, exifTranspose, name };
}

function pathOrBytes(source: string | URL | Uint8Array | ArrayBuffer): string | Uint8Array {
  if (source instanceof Uint8Array) return source;
  return source instanceof ArrayBuffer ? new Uint8Array(source) : pathOf(source);
}

function pathOf(source: string | URL): string {
  const refuse = (got: string, options?: ErrorOptions) =>
    new OptionError(`readImage: expected a path, a file: URL, or a file's bytes, got ${got}`, options);
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

type DecodeOptions = Required<Pick<ReadImageOptions, 'maxPixels' | 'exifTranspose'>>;

function decodeImage(bytes: Uint8Array, file: string, { maxPixels, exifTranspose }: DecodeOptions): Image {
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
function readBytes(path: string, maxPixels: number): Uint8Array {
  const limit = maximumFileBytes(maxPixels);
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, readFlags);
    const status = fstatSync(descriptor);
    checkIsFile(path, status);
    if (status.size > limit) {
      throw new FileError(
        { file: path },
        `expected at most ${limit} bytes for ${maxPixels} pixels (option maxPixels), got ${status.size}`,
      );
    }
    const bytes = new Uint8Array(status.size);
    let length = 0;
    while (length < bytes.length) {
      const read = readSync(descriptor, bytes, length, bytes.length - length, length);
      if (read === 0) break;
      length += read;
    }
    return bytes.subarray(0, length);
  } catch (error) {
    throw fileSystemError(path, error);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/**
 * Writes `image` (grey, RGB or RGBA) as a PNG file. The file appears under its name only when it is complete.
 *
 * @throws FileError if it cannot be written, ShapeError if the fields of `image` do not agree
 */
export function writePng(path: string | URL, image: Image): void {
  writeAtomicallySync(path instanceof URL ? fileURLToPath(path) : path, encodePng(image));
}
