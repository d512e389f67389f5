// Semantic segmentation: every pixel's class (HF `post_process_semantic_segmentation`).
//
// The score of a class at a pixel is the sum over queries of class probability · mask probability, interpolated to the
// picture's size. When only the map is wanted, most of that work is avoided: in a tile of the masks, a class whose score
// cannot reach what another has at least everywhere in the tile is left out, with a slack beyond float32's rounding.
//
// B batch, Q queries, C columns of class logits, K classes, h x w masks, H x W result
import type { HostTensor } from '../../engine/host-tensor.ts';
import { checkFlag, checkOptionNames } from '../../engine/options.ts';
import { softmax } from './detection.ts';
import { checkMapSizes, type ImageSize } from './image-size.ts';
import { interpolateBilinear, type LinearTaps, linearTaps } from './interpolation.ts';
import { probability } from './probability.ts';
import { checkSegmentationOutputs, type SegmentationOutputs } from './segmentation.ts';

export interface SemanticSegmentationOptions {
  /** Original size of each image; maps are resized to it. */
  readonly targetSizes?: readonly ImageSize[] | undefined;
  /** Whether to return the classes' scores as well. */
  readonly returnSegmentationScores?: boolean | undefined;
}

/** A map of classes with the scores that it is the arg max of. */
export interface ScoredSemanticSegmentation {
  /** [H, W] class ids. */
  readonly segmentation: HostTensor<Int32Array>;
  /** [K, H, W] */
  readonly segmentationScores: HostTensor;
}

/** An image's probabilities. */
interface Probabilities {
  /** [Q, K] of the classes. */
  readonly classes: Float32Array;
  readonly classCount: number;
  /** [Q, h, w] mask logits. */
  readonly masks: Float32Array;
  readonly queries: number;
  readonly maskHeight: number;
  readonly maskWidth: number;
}

/** The class of every pixel of every image. The last `noObjectColumns` columns of the logits are not classes. */
export function segmentSemantic(
  outputs: SegmentationOutputs,
  options: SemanticSegmentationOptions,
  noObjectColumns: number,
  where: string,
): HostTensor<Int32Array>[] {
  return forEachImage(outputs, options, noObjectColumns, where, (probabilities, height, width) =>
    classMap(probabilities, height, width),
  );
}

/** The same with scores. */
export function segmentSemanticWithScores(
  outputs: SegmentationOutputs,
  options: SemanticSegmentationOptions,
  noObjectColumns: number,
  where: string,
): ScoredSemanticSegmentation[] {
  return forEachImage(outputs, options, noObjectColumns, where, (probabilities, height, width) => {
    const segmentationScores = interpolateBilinear(classScores(probabilities), height, width, where);
    return { segmentation: { shape: [height, width], data: argMax(segmentationScores) }, segmentationScores };
  });
}

function forEachImage<Result>(
  outputs: SegmentationOutputs,
  options: SemanticSegmentationOptions,
  noObjectColumns: number,
  where: string,
  run: (probabilities: Probabilities, height: number, width: number) => Result,
): Result[] {
  checkOptionNames(options, ['targetSizes', 'returnSegmentationScores'], where);
  checkFlag(options.returnSegmentationScores, 'returnSegmentationScores', where);
  const { batch, queries, columns, maskHeight, maskWidth } = checkSegmentationOutputs(
    outputs,
    where,
    1 + noObjectColumns,
  );
  const { targetSizes } = options;
  if (targetSizes !== undefined) checkMapSizes(targetSizes, batch, 'targetSizes', where);
  const classCount = columns - noObjectColumns;
  return Array.from({ length: batch }, (_, image) => {
    const classes = new Float32Array(queries * classCount);
    const row = new Float32Array(columns);
    for (let query = 0; query < queries; query++) {
      const at = (image * queries + query) * columns;
      softmax(outputs.logits.data.subarray(at, at + columns), row);
      classes.set(row.subarray(0, classCount), query * classCount);
    }
    const size = queries * maskHeight * maskWidth;
    const masks = outputs.pred_masks.data.subarray(image * size, (image + 1) * size);
    const [height, width] = targetSizes?.[image] ?? [maskHeight, maskWidth];
    return run({ classes, classCount, masks, queries, maskHeight, maskWidth }, height, width);
  });
}

/** [K, h, w]: scores of all classes at the masks' size. */
function classScores(probabilities: Probabilities): HostTensor {
  const { classCount, masks, queries, maskHeight, maskWidth } = probabilities;
  const pixels = maskHeight * maskWidth;
  const data = new Float32Array(classCount * pixels);
  const allClasses = Array.from({ length: classCount }, (_, label) => label);
  // A strip of pixels for all queries at a time, so that it stays in the cache while the classes go over it.
  const stripLength = Math.min(256, pixels);
  const strip = new Float64Array(queries * stripLength);
  const scores = new Float64Array(classCount * stripLength);
  for (let start = 0; start < pixels; start += stripLength) {
    const length = Math.min(stripLength, pixels - start);
    for (let query = 0, to = 0; query < queries; query++) {
      const from = query * pixels + start;
      for (let at = from; at < from + length; at++) strip[to++] = probability(masks[at]!);
    }
    sumOverQueries(probabilities, allClasses, strip, length, scores);
    for (let label = 0; label < classCount; label++) {
      data.set(scores.subarray(label * length, (label + 1) * length), label * pixels + start);
    }
  }
  return { shape: [classCount, maskHeight, maskWidth], data };
}

/** Scores of some classes at some pixels: `maskValues` [Q, pixels] → `scores` [labels, pixels]. */
function sumOverQueries(
  { classes, classCount, queries }: Probabilities,
  labels: readonly number[],
  maskValues: Float64Array,
  pixels: number,
  scores: Float64Array,
): void {
  for (const [index, label] of labels.entries()) {
    const sums = scores.subarray(index * pixels, (index + 1) * pixels).fill(0);
    // Four queries at once: a sum is loaded and stored a quarter as often.
    let query = 0;
    for (; query + 4 <= queries; query += 4) {
      const weights = query * classCount + label;
      const a = classes[weights]!;
      const b = classes[weights + classCount]!;
      const c = classes[weights + 2 * classCount]!;
      const d = classes[weights + 3 * classCount]!;
      let at = query * pixels;
      for (let pixel = 0; pixel < pixels; pixel++, at++) {
        sums[pixel] =
          sums[pixel]! +
          (a * maskValues[at]! +
            b * maskValues[at + pixels]! +
            c * maskValues[at + 2 * pixels]! +
            d * maskValues[at + 3 * pixels]!);
      }
    }
    for (; query < queries; query++) {
      const weight = classes[query * classCount + label]!;
      let at = query * pixels;
      for (let pixel = 0; pixel < pixels; pixel++, at++) sums[pixel] = sums[pixel]! + weight * maskValues[at]!;
    }
  }
}

/** [K, H, W] → [H, W]: the first class with the largest score. */
function argMax({ shape, data }: HostTensor): Int32Array {
  const [classCount, height, width] = shape as [number, number, number];
  const pixels = height * width;
  const winner = new Int32Array(pixels);
  const best = data.slice(0, pixels);
  for (let label = 1; label < classCount; label++) {
    for (let pixel = 0, at = label * pixels; pixel < pixels; pixel++, at++) {
      if (data[at]! > best[pixel]!) {
        best[pixel] = data[at]!;
        winner[pixel] = label;
      }
    }
  }
  return winner;
}

/** [H, W]: the class of every pixel. */
function classMap(probabilities: Probabilities, height: number, width: number): HostTensor<Int32Array> {
  const { classCount, masks, queries, maskHeight, maskWidth } = probabilities;
  const rows = tilesOf(linearTaps(maskHeight, height));
  const columns = tilesOf(linearTaps(maskWidth, width));
  const data = new Int32Array(height * width);
  const maskValues = new Float64Array(queries * (TILE_SIDE + 1) ** 2);
  const scores = new Float64Array(classCount * (TILE_SIDE + 1) ** 2);
  for (const tileRows of rows) {
    for (const tileColumns of columns) {
      const contenders = possibleClasses(probabilities, tileRows, tileColumns);
      if (contenders.length === 1) {
        for (let y = tileRows.from; y < tileRows.to; y++) {
          data.fill(contenders[0]!, y * width + tileColumns.from, y * width + tileColumns.to);
        }
        continue;
      }
      const pixels = tileRows.inputs * tileColumns.inputs;
      for (let query = 0, to = 0; query < queries; query++) {
        for (let y = 0; y < tileRows.inputs; y++) {
          const from = (query * maskHeight + tileRows.firstInput + y) * maskWidth + tileColumns.firstInput;
          for (let at = from; at < from + tileColumns.inputs; at++) maskValues[to++] = probability(masks[at]!);
        }
      }
      sumOverQueries(probabilities, contenders, maskValues, pixels, scores);
      assignTile(contenders, scores, tileRows, tileColumns, data, width);
    }
  }
  return { shape: [height, width], data };
}

/** Inputs per side of a tile; interpolation reaches one further. */
const TILE_SIDE = 8;
const SLACK = 1e-5;

/** A stretch of outputs along one axis and the inputs that they are interpolated from. */
interface TileAxis {
  readonly taps: LinearTaps;
  readonly from: number;
  readonly to: number;
  readonly firstInput: number;
  readonly inputs: number;
}

function tilesOf(taps: LinearTaps): TileAxis[] {
  const tiles: TileAxis[] = [];
  const outputs = taps.low.length;
  for (let from = 0, to = 0; from < outputs; from = to) {
    const firstInput = taps.low[from]!;
    while (to < outputs && taps.low[to]! < firstInput + TILE_SIDE) to++;
    tiles.push({ taps, from, to, firstInput, inputs: taps.high[to - 1]! - firstInput + 1 });
  }
  return tiles;
}

/** The classes that may have the largest score somewhere in a tile. */
function possibleClasses(
  { classes, classCount, masks, queries, maskHeight, maskWidth }: Probabilities,
  rows: TileAxis,
  columns: TileAxis,
): number[] {
  const lower = new Float64Array(classCount);
  const upper = new Float64Array(classCount);
  for (let query = 0; query < queries; query++) {
    let least = Number.POSITIVE_INFINITY;
    let most = Number.NEGATIVE_INFINITY;
    for (let y = 0; y < rows.inputs; y++) {
      const from = (query * maskHeight + rows.firstInput + y) * maskWidth + columns.firstInput;
      for (let at = from; at < from + columns.inputs; at++) {
        const logit = masks[at]!;
        if (logit < least) least = logit;
        if (logit > most) most = logit;
      }
    }
    const lowest = probability(least);
    const highest = probability(most);
    for (let label = 0, at = query * classCount; label < classCount; label++, at++) {
      const weight = classes[at]!;
      lower[label] = lower[label]! + weight * lowest;
      upper[label] = upper[label]! + weight * highest;
    }
  }
  const certain = lower.reduce((most, value) => Math.max(most, value), 0) * (1 - SLACK);
  const possible: number[] = [];
  for (let label = 0; label < classCount; label++) if (!(upper[label]! * (1 + SLACK) < certain)) possible.push(label);
  return possible;
}

/** Interpolates the contenders' scores to a tile's outputs and writes the best there. */
function assignTile(
  contenders: readonly number[],
  scores: Float64Array,
  rows: TileAxis,
  columns: TileAxis,
  data: Int32Array,
  width: number,
): void {
  const pixels = rows.inputs * columns.inputs;
  for (let y = rows.from; y < rows.to; y++) {
    const above = (rows.taps.low[y]! - rows.firstInput) * columns.inputs;
    const below = (rows.taps.high[y]! - rows.firstInput) * columns.inputs;
    const belowWeight = rows.taps.highWeight[y]!;
    const aboveWeight = rows.taps.lowWeight[y]!;
    for (let x = columns.from; x < columns.to; x++) {
      const left = columns.taps.low[x]! - columns.firstInput;
      const right = columns.taps.high[x]! - columns.firstInput;
      const rightWeight = columns.taps.highWeight[x]!;
      const leftWeight = columns.taps.lowWeight[x]!;
      let best = Number.NEGATIVE_INFINITY;
      let winner = contenders[0]!;
      for (let index = 0, at = 0; index < contenders.length; index++, at += pixels) {
        const value =
          aboveWeight * (leftWeight * scores[at + above + left]! + rightWeight * scores[at + above + right]!) +
          belowWeight * (leftWeight * scores[at + below + left]! + rightWeight * scores[at + below + right]!);
        if (value > best) {
          best = value;
          winner = contenders[index]!;
        }
      }
      data[y * width + x] = winner;
    }
  }
}
