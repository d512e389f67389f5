/**
 * COCO run-length encoding of binary masks, as in cocodataset/cocoapi `common/maskApi.c` (pycocotools 2.0.11).
 *
 * Runs walk the mask in column-major order (down the first column, then the next) and alternate between background and
 * foreground, beginning with background. They appear in files in two forms: a list of numbers ("uncompressed") and a
 * string of 6-bit characters that holds the differences between runs ("compressed").
 *
 * H height in pixels, W width in pixels. Boxes are [x, y, width, height] in pixels; polygons are [x0, y0, x1, y1, …].
 */

import { describe } from '../../engine/describe.ts';
import { OptionError, ShapeError } from '../../engine/errors.ts';

/** A binary mask of `height` x `width` pixels as column-major runs. `counts` sums to `height * width`. */
export interface Rle {
  readonly height: number;
  readonly width: number;
  readonly counts: Uint32Array;
}

/** A run-length encoded mask as COCO files hold it: `size` is [height, width], a string of counts is compressed. */
export interface CocoRle {
  readonly size: readonly number[];
  readonly counts: string | readonly number[];
}

/** The `segmentation` field of a COCO annotation or result: polygons whose union is meant, or one run-length encoding. */
export type CocoSegmentation = readonly (readonly number[])[] | CocoRle;

/** Masks beyond this many pixels are refused before anything is allocated for them. */
export const MAXIMUM_MASK_PIXELS = 2 ** 28;

/** Polygons are rasterised on a grid this many times finer than the pixels. */
const SUBPIXELS = 5;

/** Beyond this many sub-pixels a coordinate does not fit the 32-bit integers of the reference. */
const MAXIMUM_SUBPIXEL = 2 ** 31 - 1;

/** A polygon whose outline crosses pixel columns more often than this is refused: no annotation comes near it. */
const MAXIMUM_CROSSINGS = 2 ** 24;

/** The encoding of a row-major mask of shape [H, W]; every value other than 0 is foreground. */
export function rleFromMask(mask: ArrayLike<number>, height: number, width: number): Rle {
  requireMaskSize('rleFromMask', height, width);
  if (mask.length !== height * width) {
    throw new ShapeError(`rleFromMask: expected ${height} x ${width} = ${height * width} pixels, got ${mask.length}`);
  }
  const counts: number[] = [];
  let foreground = false;
  let run = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0, pixel = x; y < height; y++, pixel += width) {
      if ((Number(mask[pixel]) !== 0) !== foreground) {
        counts.push(run);
        run = 0;
        foreground = !foreground;
      }
      run++;
    }
  }
  counts.push(run);
  return { height, width, counts: Uint32Array.from(counts) };
}

/** The row-major mask of shape [H, W] (0 background, 1 foreground) that `rle` encodes. */
export function rleToMask(rle: Rle): Uint8Array {
  const { height, width, counts } = rle;
  requireMaskSize('rleToMask', height, width);
  requireFullCover('rleToMask', height, width, counts);
  const mask = new Uint8Array(height * width);
  let position = 0;
  for (let index = 0; index < counts.length; index++) {
    const end = position + counts[index]!;
    if (index % 2 === 1) {
      let x = Math.floor(position / height);
      let y = position - x * height;
      for (; position < end; position++) {
        mask[y * width + x] = 1;
        if (++y === height) {
          y = 0;
          x++;
        }
      }
    }
    position = end;
  }
  return mask;
}

/**
 * The pixels of a polygon, [x0, y0, x1, y1, …] in pixels, exactly as pycocotools' `rleFrPoly` draws it; a trailing single
 * number is ignored. The reference walks the outline pixel by pixel on a grid five times finer and keeps the few points
 * where a column of pixels begins; this computes those points directly, so that its time does not depend on how far a polygon
 * reaches beyond the image.
 */
export function rleFromPolygon(polygon: ArrayLike<number>, height: number, width: number): Rle {
  requireMaskSize('rleFromPolygon', height, width);
  if (!Number.isInteger((polygon as ArrayLike<number> | null | undefined)?.length)) {
    throw new OptionError(`rleFromPolygon: expected [x0, y0, x1, y1, …], got ${describe(polygon)}`);
  }
  if (polygon.length === 1) toSubpixel(polygon[0]!, 0); // [[x0, y0, …]] is a list of polygons.
  const corners = Math.floor(polygon.length / 2);
  const cornerX = new Int32Array(corners);
  const cornerY = new Int32Array(corners);
  for (let corner = 0; corner < corners; corner++) {
    cornerX[corner] = toSubpixel(polygon[2 * corner]!, 2 * corner);
    cornerY[corner] = toSubpixel(polygon[2 * corner + 1]!, 2 * corner + 1);
  }

  // Where the outline crosses from one column of pixels to the next, the column's pixels from there on change sides.
  const pixels = height * width;
  const outline: number[] = [];
  const cross = (column: number, subpixelY: number): void => {
    const y = Math.ceil(Math.min(Math.max((subpixelY + 0.5) / SUBPIXELS - 0.5, 0), height));
    const position = column * height + y;
    if (position < pixels) outline.push(position);
    if (outline.length > MAXIMUM_CROSSINGS) {
      throw new OptionError(`rleFromPolygon: expected a simpler outline, got more than ${MAXIMUM_CROSSINGS} crossings`);
    }
  };
  for (let corner = 0; corner < corners; corner++) {
    const next = corner + 1 === corners ? 0 : corner + 1;
    crossEdge(cornerX[corner]!, cornerY[corner]!, cornerX[next]!, cornerY[next]!, width, cross);
  }
  const crossings = cancelPairs(outline);

  const counts = new Uint32Array(crossings.length + 1);
  let previous = 0;
  for (let index = 0; index < crossings.length; index++) {
    counts[index] = crossings[index]! - previous;
    previous = crossings[index]!;
  }
  counts[crossings.length] = pixels - previous;
  return { height, width, counts };
}

/** The pixels of a box [x, y, width, height], drawn as the polygon of its corners. */
export function rleFromBox(box: ArrayLike<number>, height: number, width: number): Rle {
  if (box.length !== 4) throw new ShapeError(`rleFromBox: expected [x, y, width, height], got ${box.length} numbers`);
  const left = box[0]!;
  const top = box[1]!;
  const right = left + box[2]!;
  const bottom = top + box[3]!;
  return rleFromPolygon([left, top, left, bottom, right, bottom, right, top], height, width);
}

/**
 * The mask of an annotation's `segmentation`, as pycocotools' `annToRLE`: the union of polygons, or of boxes when the first
 * entry has four numbers, or a run-length encoding in either form, whose `size` must be [height, width].
 */
export function rleFromSegmentation(segmentation: CocoSegmentation, height: number, width: number): Rle {
  if (Array.isArray(segmentation)) {
    const shapes: readonly unknown[] = segmentation;
    for (const shape of shapes) {
      if (!Array.isArray(shape)) {
        throw new OptionError(`segmentation: expected a list of polygons (lists of numbers), got ${describe(shape)}`);
      }
    }
    const first = segmentation[0];
    if (first === undefined) throw new OptionError('segmentation: expected at least one polygon, got an empty list');
    if (first.length < 4) {
      throw new OptionError(`segmentation: expected polygons of at least 3 corners, got ${first.length} numbers`);
    }
    const rasterise = first.length === 4 ? rleFromBox : rleFromPolygon;
    return rleUnion(segmentation.map(shape => rasterise(shape, height, width)));
  }
  const rle = rleFromCoco(segmentation as CocoRle);
  if (rle.height !== height || rle.width !== width) {
    throw new ShapeError(
      `segmentation: expected the image's size [${height}, ${width}], got size [${rle.height}, ${rle.width}]`,
    );
  }
  return rle;
}

/** Reads a run-length encoding in either of COCO's forms; its runs must cover `size` exactly. */
export function rleFromCoco(encoding: CocoRle): Rle {
  if (typeof encoding !== 'object' || encoding === null || !Array.isArray(encoding.size)) {
    throw new OptionError(`segmentation: expected polygons or { size, counts }, got ${describe(encoding)}`);
  }
  const { size, counts } = encoding;
  if (size.length !== 2) throw new OptionError(`segmentation: expected size [height, width], got [${size.join(', ')}]`);
  const [height, width] = size as [number, number];
  if (typeof counts === 'string') return rleFromString(counts, height, width);
  requireMaskSize('segmentation', height, width);
  if (!Array.isArray(counts)) {
    throw new OptionError(`segmentation: expected counts as a string or a list of numbers, got ${describe(counts)}`);
  }
  for (const count of counts) {
    if (!Number.isInteger(count) || count < 0 || count > MAXIMUM_MASK_PIXELS) {
      throw new OptionError(`segmentation: expected counts that are whole numbers from 0 up, got ${describe(count)}`);
    }
  }
  const runs = Uint32Array.from(counts);
  requireFullCover('segmentation', height, width, runs);
  return { height, width, counts: runs };
}

/** COCO's JSON form with compressed counts. */
export function rleToCoco(rle: Rle): { size: [height: number, width: number]; counts: string } {
  return { size: [rle.height, rle.width], counts: rleToString(rle) };
}

/**
 * Reads compressed counts: from the fourth run on the difference to the run two before, in little-endian groups of five bits,
 * one character (48 + bits) each; 0x20 says that another group follows, 0x10 of the last group is the sign.
 */
export function rleFromString(counts: string, height: number, width: number): Rle {
  requireMaskSize('rleFromString', height, width);
  const runs: number[] = [];
  for (let position = 0; position < counts.length; ) {
    const start = position;
    let value = 0;
    for (let shift = 0; ; shift += 5) {
      const bits = counts.charCodeAt(position++) - 48;
      if (!(bits >= 0 && bits < 64)) {
        throw new OptionError(
          position > counts.length
            ? 'rleFromString: expected another character, got the end: the counts are cut off'
            : `rleFromString: expected characters "0" to "o", got ${describe(counts[position - 1])} at ${position - 1}`,
        );
      }
      value += (bits & 0x1f) * 2 ** shift;
      if ((bits & 0x20) === 0) {
        if ((bits & 0x10) !== 0) value -= 2 ** (shift + 5);
        break;
      }
      if (shift >= 30) throw new OptionError(`rleFromString: expected a run below 2^31, got a longer one at ${start}`);
    }
    const run = runs.length > 2 ? value + runs[runs.length - 2]! : value;
    if (run < 0 || run > MAXIMUM_MASK_PIXELS) {
      throw new OptionError(`rleFromString: expected runs from 0 to ${height * width} pixels, got ${run} at ${start}`);
    }
    runs.push(run);
  }
  const rle = { height, width, counts: Uint32Array.from(runs) };
  requireFullCover('rleFromString', height, width, rle.counts);
  return rle;
}

/** Compressed counts, the inverse of `rleFromString`. */
export function rleToString(rle: Rle): string {
  const { counts } = rle;
  const characters: string[] = [];
  for (let index = 0; index < counts.length; index++) {
    let value = index > 2 ? counts[index]! - counts[index - 2]! : counts[index]!;
    for (let more = true; more; ) {
      const bits = value & 0x1f;
      value >>= 5;
      more = (bits & 0x10) !== 0 ? value !== -1 : value !== 0;
      characters.push(String.fromCharCode((more ? bits | 0x20 : bits) + 48));
    }
  }
  return characters.join('');
}

/** Number of foreground pixels. */
export function rleArea(rle: Rle): number {
  let area = 0;
  for (let index = 1; index < rle.counts.length; index += 2) area += rle.counts[index]!;
  return area;
}

/** The tight box [x, y, width, height] around the foreground, in whole pixels; [0, 0, 0, 0] without foreground. */
export function rleToBox(rle: Rle): [x: number, y: number, width: number, height: number] {
  const { height, width, counts } = rle;
  let left = width;
  let top = height;
  let right = -1;
  let bottom = -1;
  let position = 0;
  for (let index = 0; index < counts.length; index++) {
    const start = position;
    position += counts[index]!;
    if (index % 2 === 0 || position === start) continue;
    const firstX = Math.floor(start / height);
    const lastX = Math.floor((position - 1) / height);
    left = Math.min(left, firstX);
    right = Math.max(right, lastX);
    if (firstX < lastX) {
      top = 0;
      bottom = height - 1;
    } else {
      top = Math.min(top, start - firstX * height);
      bottom = Math.max(bottom, position - 1 - lastX * height);
    }
  }
  return right < 0 ? [0, 0, 0, 0] : [left, top, right - left + 1, bottom - top + 1];
}

/** The pixels that are foreground in any of the masks, which must be of one size. At least one mask is needed. */
export function rleUnion(rles: readonly Rle[]): Rle {
  return mergeAll('rleUnion', rles, (a, b) => a || b);
}

/** The pixels that are foreground in all of the masks, which must be of one size. At least one mask is needed. */
export function rleIntersection(rles: readonly Rle[]): Rle {
  return mergeAll('rleIntersection', rles, (a, b) => a && b);
}

/**
 * Intersection over union of two masks, in [0, 1]; with `crowd` (the second mask covers a crowd) over the first mask's area
 * instead. 0 where the masks do not meet, -1 where their sizes differ.
 */
export function rleIou(detection: Rle, truth: Rle, crowd = false): number {
  if (detection.height !== truth.height || detection.width !== truth.width) return -1;
  const a = detection.counts;
  const b = truth.counts;
  let intersection = 0;
  let union = 0;
  let indexA = 0;
  let indexB = 0;
  let leftA = a[0]!;
  let leftB = b[0]!;
  for (;;) {
    const step = leftA < leftB ? leftA : leftB;
    const inA = (indexA & 1) === 1;
    const inB = (indexB & 1) === 1;
    if (inA || inB) union += step;
    if (inA && inB) intersection += step;
    leftA -= step;
    leftB -= step;
    while (leftA === 0 && indexA + 1 < a.length) leftA = a[++indexA]!;
    while (leftB === 0 && indexB + 1 < b.length) leftB = b[++indexB]!;
    if (leftA === 0 || leftB === 0) break;
  }
  if (intersection === 0) return 0;
  return intersection / (crowd ? rleArea(detection) : union);
}

/** Calls `cross(column, subpixelY)` for every column of pixels whose sampling line the edge crosses. All in sub-pixels. */
function crossEdge(
  fromX: number,
  fromY: number,
  toX: number,
  toY: number,
  width: number,
  cross: (column: number, subpixelY: number) => void,
): void {
  const dx = Math.abs(toX - fromX);
  const dy = Math.abs(toY - fromY);
  const shallow = dx >= dy;
  const flip = shallow ? fromX > toX : fromY > toY;
  const [startX, startY, endX, endY] = flip ? [toX, toY, fromX, fromY] : [fromX, fromY, toX, toY];
  // Column c is sampled between the sub-pixels 5c + 2 and 5c + 3.
  const middle = Math.floor(SUBPIXELS / 2);
  const firstColumn = Math.max(0, Math.ceil((Math.min(fromX, toX) - middle) / SUBPIXELS));
  const lastColumn = Math.min(width - 1, Math.floor((Math.max(fromX, toX) - middle - 1) / SUBPIXELS));
  if (shallow) {
    const slope = (endY - startY) / dx;
    for (let column = firstColumn; column <= lastColumn; column++) {
      const step = column * SUBPIXELS + middle - startX;
      const y = Math.trunc(startY + slope * step + 0.5);
      const nextY = Math.trunc(startY + slope * (step + 1) + 0.5);
      cross(column, Math.min(y, nextY));
    }
    return;
  }
  const slope = (endX - startX) / dy;
  for (let column = firstColumn; column <= lastColumn; column++) {
    // The last step before x passes the sampling line, by bisection: x moves one way along the edge.
    const line = column * SUBPIXELS + middle;
    const startsLeft = startX <= line;
    let before = 0;
    let after = dy;
    while (after - before > 1) {
      const step = Math.floor((before + after) / 2);
      if (Math.trunc(startX + slope * step + 0.5) <= line === startsLeft) before = step;
      else after = step;
    }
    cross(column, startY + before);
  }
}

/** Sorts, and removes pairs of equal numbers. */
function cancelPairs(crossings: readonly number[]): number[] {
  const sorted = Uint32Array.from(crossings).sort();
  const kept: number[] = [];
  for (const crossing of sorted) {
    if (kept[kept.length - 1] === crossing) kept.pop();
    else kept.push(crossing);
  }
  return kept;
}

/** Whether a pixel is foreground of the result, by whether it is of two masks. */
type Combine = (inA: boolean, inB: boolean) => boolean;

/** Merges neighbours, then their results, and so on: one after the other, each step would walk all runs so far. */
function mergeAll(where: string, rles: readonly Rle[], combine: Combine): Rle {
  let merged = rles;
  while (merged.length > 1) {
    const pairs = Array.from({ length: merged.length >> 1 }, (_, pair) =>
      mergeRuns(merged[2 * pair]!, merged[2 * pair + 1]!, combine),
    );
    merged = merged.length % 2 === 0 ? pairs : [...pairs, merged.at(-1)!];
  }
  const [only] = merged;
  if (only === undefined) throw new OptionError(`${where}: expected at least one mask, got none`);
  return { ...only, counts: only.counts.slice() };
}

function mergeRuns(a: Rle, b: Rle, combine: Combine): Rle {
  if (a === b) return a;
  if (a.height !== b.height || a.width !== b.width) {
    throw new ShapeError(
      `merging masks: expected one size, got [${a.height}, ${a.width}] and [${b.height}, ${b.width}]`,
    );
  }
  const counts: number[] = [];
  let foreground = false;
  let run = 0;
  let indexA = 0;
  let indexB = 0;
  let leftA = a.counts[0]!;
  let leftB = b.counts[0]!;
  for (;;) {
    while (leftA === 0 && indexA + 1 < a.counts.length) leftA = a.counts[++indexA]!;
    while (leftB === 0 && indexB + 1 < b.counts.length) leftB = b.counts[++indexB]!;
    if (leftA === 0 || leftB === 0) break;
    const combined = combine((indexA & 1) === 1, (indexB & 1) === 1);
    if (combined !== foreground) {
      counts.push(run);
      run = 0;
      foreground = combined;
    }
    const step = Math.min(leftA, leftB);
    run += step;
    leftA -= step;
    leftB -= step;
  }
  counts.push(run);
  return { height: a.height, width: a.width, counts: Uint32Array.from(counts) };
}

function toSubpixel(coordinate: number, index: number): number {
  const subpixel = Math.trunc(SUBPIXELS * coordinate + 0.5);
  if (typeof coordinate !== 'number' || !(Math.abs(subpixel) <= MAXIMUM_SUBPIXEL)) {
    throw new OptionError(
      `rleFromPolygon: expected coordinates below ${Math.floor(MAXIMUM_SUBPIXEL / SUBPIXELS)} in magnitude, got ${describe(coordinate)} at ${index}`,
    );
  }
  return subpixel;
}

function requireMaskSize(where: string, height: number, width: number): void {
  if (!Number.isInteger(height) || !Number.isInteger(width) || height < 1 || width < 1) {
    throw new ShapeError(
      `${where}: expected a height and width of at least 1 pixel, got ${describe(height)} x ${describe(width)}`,
    );
  }
  if (height * width > MAXIMUM_MASK_PIXELS) {
    throw new ShapeError(`${where}: expected at most ${MAXIMUM_MASK_PIXELS} pixels, got ${height} x ${width}`);
  }
}

function requireFullCover(where: string, height: number, width: number, counts: Uint32Array): void {
  let pixels = 0;
  for (const count of counts) pixels += count;
  if (pixels !== height * width) {
    throw new OptionError(
      `${where}: expected runs that cover ${height} x ${width} = ${height * width} pixels, got ${pixels} pixels`,
    );
  }
}
