import { FileError } from '../../engine/errors.ts';
import type { Image } from './image.ts';

/** A PNG or JPEG file whose header has been read, and nothing else. */
export interface PictureFile {
  readonly width: number;
  readonly height: number;
  /** EXIF orientation 1 … 8. */
  readonly orientation: number;
  /** Decodes the pixels to RGB, as they are stored: not yet turned. Throws `FileError`. */
  decode(): Image;
}

/** Calls a codec library; whatever it throws becomes a `FileError` that names the file. */
export function callCodec<Result>(format: string, file: string, call: () => Result): Result {
  try {
    return call();
  } catch (error) {
    if (error instanceof FileError) throw error;
    // Damage also makes the libraries stumble (a TypeError, a RangeError); only what they say on purpose is worth reading.
    const meant = error instanceof Error && error.constructor === Error;
    throw new FileError({ file }, `cannot be decoded as ${format}${meant ? `: ${error.message}` : ''}`, {
      cause: error,
    });
  }
}
