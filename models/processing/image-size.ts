import { describe } from '../../engine/describe.ts';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { MAXIMUM_MASK_PIXELS } from '../evaluation/rle.ts';

/** Height and width of a picture in pixels. */
export type ImageSize = readonly [height: number, width: number];

/** Throws an `OptionError` unless there is one size of positive whole pixels for each of `batch` images. */
export function checkSizes(sizes: readonly ImageSize[], batch: number, name: string, where: string): void {
  if (!Array.isArray(sizes) || sizes.length !== batch) {
    const got = Array.isArray(sizes) ? sizes.length : describe(sizes);
    throw new OptionError(
      `${where}: expected ${name} to be a list of [height, width] for each of ${batch} images, got ${got}`,
    );
  }
  for (const size of sizes) {
    if (!Array.isArray(size) || size.length !== 2 || !size.every(length => Number.isInteger(length) && length >= 1)) {
      throw new OptionError(
        `${where}: expected ${name} of [height, width] in positive whole pixels, got ${describe(size)}`,
      );
    }
  }
}

/** No picture format of ours goes beyond. */
const MAXIMUM_SIDE = 2 ** 16;

/** Several maps hold at most this many values together, 8 GiB in float32. */
const MAXIMUM_MAP_VALUES = 2 ** 31;

/** `checkSizes` of pictures that get a map: too large ones are refused before anything is allocated for them. */
export function checkMapSizes(sizes: readonly ImageSize[], batch: number, name: string, where: string): void {
  checkSizes(sizes, batch, name, where);
  for (const [height, width] of sizes) {
    if (height * width <= MAXIMUM_MASK_PIXELS && height <= MAXIMUM_SIDE && width <= MAXIMUM_SIDE) continue;
    throw new OptionError(
      `${where}: expected ${name} of at most ${MAXIMUM_MASK_PIXELS} pixels and ${MAXIMUM_SIDE} on a side, got ${height} x ${width}`,
    );
  }
}

/** Throws a `ShapeError` for more maps [count, height, width] than fit into memory. */
export function checkMapCount(count: number, [height, width]: ImageSize, where: string): void {
  if (count * height * width <= MAXIMUM_MAP_VALUES) return;
  throw new ShapeError(
    `${where}: expected maps of at most ${MAXIMUM_MAP_VALUES} values in all, got ${count} x ${height} x ${width}`,
  );
}
