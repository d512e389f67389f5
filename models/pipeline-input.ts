// Pictures in whatever form a pipeline is given them.
import { describe } from '../engine/describe.ts';
import { FileError, OptionError } from '../engine/errors.ts';
import { fetchBytes } from '../weights/index.ts';
import { addressOf, DEFAULT_MAX_PIXELS, maximumFileBytes, readImage } from './images/files.ts';
import { asImage, type Image, type ImageDataLike } from './images/image.ts';

/** A picture: a file's path, its address (`https:`, `http:`, `data:` or `file:`), its bytes, or pixels. */
export type PipelineInput = string | URL | Uint8Array | ArrayBuffer | Image | ImageDataLike;

/** The picture as it is now, whatever the caller does with its memory later. @throws ShapeError for pixels that are none */
export function snapshot(input: PipelineInput): PipelineInput {
  if (input instanceof Uint8Array) return new Uint8Array(input);
  if (input instanceof ArrayBuffer) return input.slice(0);
  if (typeof input !== 'object' || input === null || !('width' in input)) return input;
  const { width, height, channels, data } = asImage(input, 'pipeline');
  return { width, height, channels, data: new Uint8Array(data) };
}

/** @throws FileError, DownloadError; OptionError for what is no picture */
export async function readPicture(input: PipelineInput): Promise<Image | ImageDataLike> {
  if (input instanceof Uint8Array || input instanceof ArrayBuffer) return readImage(input);
  if (typeof input === 'string' || input instanceof URL) {
    const address = addressOf(input);
    if (address?.protocol === 'data:') return readImage(await dataOf(address), { name: DATA_ADDRESS });
    if (address === undefined || !/^https?:$/.test(address.protocol)) return readImage(input);
    const bytes = await fetchBytes(address, maximumFileBytes(DEFAULT_MAX_PIXELS));
    return readImage(bytes, { name: describe(address.href) });
  }
  if (typeof input === 'object' && input !== null && 'width' in input) return input;
  const got = (input as unknown) instanceof Promise ? 'a promise, which is to be awaited' : describe(input);
  throw new OptionError(
    `pipeline: expected a path, an address, a file's bytes or pixels { width, height, channels, data }, got ${got}`,
  );
}

const DATA_ADDRESS = 'data: address';

/** What a `data:` address holds (RFC 2397). */
async function dataOf(address: URL): Promise<Uint8Array> {
  try {
    return new Uint8Array(await (await fetch(address)).arrayBuffer());
  } catch (cause) {
    throw new FileError({ file: DATA_ADDRESS }, 'expected data:TYPE;base64,DATA', { cause });
  }
}
