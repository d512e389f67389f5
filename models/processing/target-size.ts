// H height, W width
import { ShapeError } from '../../engine/errors.ts';
import { roundHalfEven } from '../rounding.ts';
import type { Size } from './settings.ts';

/** As transformers 5 (and 4.57 already), or 4.34 with its other rounding. */
export type Behaviour = 'v5' | 'v4';

/**
 * The size [H', W'] that a picture of `height` x `width` is resized to (HF `get_size_with_aspect_ratio`,
 * `get_image_size_for_max_height_width`), in float64 like Python's.
 *
 * @param where starts the message of an error
 * @throws ShapeError if a side would vanish, or be too long
 */
export function targetSize(
  height: number,
  width: number,
  size: Size,
  behaviour: Behaviour,
  where = 'preprocess',
): [height: number, width: number] {
  const target = wantedSize(height, width, size, behaviour);
  checkExtent(target, 'a picture is resized to', where);
  if (target[0] < 1 || target[1] < 1) {
    throw new ShapeError(
      `${where}: expected a picture that is not so narrow: ${height} x ${width} would become ${target.join(' x ')} (height x width)`,
    );
  }
  return target;
}

/** A configuration cannot ask for more memory than 4096 x 4096 pixels take. */
const MAXIMUM_PIXELS = 2 ** 24;
const MAXIMUM_SIDE = 2 ** 16;

/** Throws a `ShapeError` if a picture would become larger than any model can take. */
export function checkExtent([height, width]: readonly [number, number], what: string, where = 'preprocess'): void {
  if (height * width <= MAXIMUM_PIXELS && height <= MAXIMUM_SIDE && width <= MAXIMUM_SIDE) return;
  throw new ShapeError(
    `${where}: expected that ${what} at most ${MAXIMUM_PIXELS} pixels and ${MAXIMUM_SIDE} on a side, got ${height} x ${width}`,
  );
}

function wantedSize(height: number, width: number, size: Size, behaviour: Behaviour): [number, number] {
  if ('height' in size) return [size.height, size.width];
  if ('maxHeight' in size) {
    const scale = Math.min(size.maxHeight / height, size.maxWidth / width);
    return [Math.trunc(height * scale), Math.trunc(width * scale)];
  }
  const short = Math.min(height, width);
  const long = Math.max(height, width);
  let shortTarget = size.shortestEdge;
  let scaledFrom = shortTarget;
  if ((long / short) * shortTarget > size.longestEdge) {
    const exact = (size.longestEdge * short) / long;
    shortTarget = roundHalfEven(exact);
    // Version 4.34 goes on with the rounded edge, so that the long one may miss `longestEdge` by some pixels.
    scaledFrom = behaviour === 'v5' ? exact : shortTarget;
  }
  if (short === shortTarget) return [height, width];
  return width < height
    ? [Math.trunc((scaledFrom * height) / width), shortTarget]
    : [shortTarget, Math.trunc((scaledFrom * width) / height)];
}
