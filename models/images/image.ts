// H height, W width, C channels (1 grey, 3 RGB, 4 RGBA)
import { describe } from '../../engine/describe.ts';
import { ShapeError } from '../../engine/errors.ts';

/**
 * A picture in memory: [H, W, C] interleaved bytes, rows from the top, 0 … 255. `readImage` gives RGB; bring your own
 * decoder by filling the four fields.
 */
export interface Image {
  readonly width: number;
  readonly height: number;
  /** 1 grey, 3 RGB or 4 RGBA. */
  readonly channels: number;
  /** `height · width · channels` bytes. */
  readonly data: Uint8Array;
}

/** A canvas' `ImageData`: [H, W, 4] bytes, RGBA. */
export interface ImageDataLike {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray;
}

/** The same pixels as an `Image`, checked. @throws ShapeError. `where` starts the message. */
export function asImage(picture: Image | ImageDataLike, where: string): Image {
  const data = (picture as Image | ImageDataLike | null | undefined)?.data;
  if (!(data instanceof Uint8ClampedArray)) {
    checkImage(picture as Image, where);
    return picture as Image;
  }
  // Not by spreading: the fields of a canvas' picture are accessors of its class.
  const { width, height, channels = 4 } = picture as ImageDataLike & { readonly channels?: number };
  const image = { width, height, channels, data: new Uint8Array(data.buffer, data.byteOffset, data.length) };
  checkImage(image, where);
  return image;
}

/** Throws a `ShapeError` unless the fields of `image` agree with each other. `where` starts the message. */
export function checkImage(image: Image, where: string): void {
  if (typeof image !== 'object' || image === null) {
    throw new ShapeError(`${where}: expected a picture { width, height, channels, data }, got ${describe(image)}`);
  }
  if (image instanceof Promise) {
    throw new ShapeError(`${where}: expected a picture, got a promise, which is to be awaited`);
  }
  const { width, height, channels, data } = image;
  checkSides({ width, height }, where);
  if (channels !== 1 && channels !== 3 && channels !== 4) {
    throw new ShapeError(`${where}: expected 1, 3 or 4 channels, got ${channels}`);
  }
  const expected = width * height * channels;
  if (!(data instanceof Uint8Array) || data.length !== expected) {
    const got = data instanceof Uint8Array ? `${data.length}` : Object.prototype.toString.call(data);
    throw new ShapeError(
      `${where}: expected a Uint8Array of ${height} x ${width} x ${channels} = ${expected} bytes, got ${got}`,
    );
  }
}

/** @throws ShapeError unless both sides, in pixels, are positive integers */
export function checkSides(sides: { readonly width: number; readonly height: number }, where: string): void {
  for (const [name, value] of Object.entries(sides)) {
    if (!Number.isInteger(value) || value < 1)
      throw new ShapeError(`${where}: expected a positive ${name}, got ${value}`);
  }
}

/**
 * The same picture with three channels: grey is repeated, alpha is dropped (not composited), as Pillow's
 * `convert('RGB')` does. An RGB picture is returned as it is. @throws ShapeError
 */
export function toRgb(picture: Image | ImageDataLike): Image {
  const image = asImage(picture, 'toRgb');
  const { width, height, channels, data } = image;
  if (channels === 3) return image;
  const rgb = new Uint8Array(width * height * 3);
  const green = channels === 4 ? 1 : 0;
  const blue = channels === 4 ? 2 : 0;
  for (let from = 0, to = 0; to < rgb.length; from += channels, to += 3) {
    rgb[to] = data[from]!;
    rgb[to + 1] = data[from + green]!;
    rgb[to + 2] = data[from + blue]!;
  }
  return { width, height, channels: 3, data: rgb };
}
