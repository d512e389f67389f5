/**
 * The part of COCO's evaluation that looks at one image and one category at a time: overlaps between detections and ground
 * truth, and which detection finds which object at every threshold (pycocotools 2.0.11 `cocoeval.py`).
 * D detections by descending score, G ground truths in file order, A area ranges, T overlap thresholds.
 */

import { inEntry } from '../../engine/describe.ts';
import { OptionError } from '../../engine/errors.ts';
import { type CocoAnnotation, type CocoImage, type CocoResult, hasBox } from './coco-format.ts';
import {
  type CocoRle,
  type CocoSegmentation,
  type Rle,
  rleArea,
  rleFromCoco,
  rleFromSegmentation,
  rleIou,
  rleToBox,
} from './rle.ts';

/** What detections are compared by: boxes, masks or keypoints. */
export type IouType = 'bbox' | 'segm' | 'keypoints';

/** Objects and detections count in a range when their area in pixels is within both ends. */
export interface AreaRange {
  readonly name: string;
  readonly smallest: number;
  readonly largest: number;
}

/** The settings of an evaluation. */
export interface CocoParameters {
  /** Overlaps from which on a detection counts as right, ascending. */
  readonly iouThresholds: readonly number[];
  /** Recalls at which precision is sampled, ascending. */
  readonly recallThresholds: readonly number[];
  /** Numbers of best detections of an image that count, ascending. */
  readonly maximumDetections: readonly number[];
  readonly areaRanges: readonly AreaRange[];
  /** How exactly each keypoint can be located, as a share of the object's size. */
  readonly keypointSigmas: readonly number[];
}

const ALL: AreaRange = { name: 'all', smallest: 0, largest: 1e10 };
const SMALL: AreaRange = { name: 'small', smallest: 0, largest: 32 ** 2 };
const MEDIUM: AreaRange = { name: 'medium', smallest: 32 ** 2, largest: 96 ** 2 };
const LARGE: AreaRange = { name: 'large', smallest: 96 ** 2, largest: 1e10 };

const THRESHOLDS = {
  iouThresholds: evenlySpaced(0.5, 0.95, 10),
  recallThresholds: evenlySpaced(0, 1, 101),
  // Nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
  keypointSigmas: [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89].map(sigma => sigma / 1000),
};

const DETECTION_PARAMETERS = {
  ...THRESHOLDS,
  maximumDetections: [1, 10, 100],
  areaRanges: [ALL, SMALL, MEDIUM, LARGE],
};

/** COCO's own settings. */
export const COCO_PARAMETERS: Readonly<Record<IouType, CocoParameters>> = {
  bbox: DETECTION_PARAMETERS,
  segm: DETECTION_PARAMETERS,
  keypoints: { ...THRESHOLDS, maximumDetections: [20], areaRanges: [ALL, MEDIUM, LARGE] },
};

/** What remains of one image and category: enough to accumulate from. */
export interface ImageEvaluation {
  readonly imageId: number;
  /** Descending, [D]. */
  readonly scores: Float64Array;
  /** Bit t is set if the detection found an object at threshold t, [A, D]. */
  readonly matched: Uint32Array;
  /** Bit t is set if the detection counts neither as right nor as wrong at threshold t, [A, D]. */
  readonly ignored: Uint32Array;
  /** Objects to be found, [A]. */
  readonly truths: Int32Array;
}

/** One image's detections and ground truth of one category. */
export interface ImageCategory {
  readonly image: CocoImage;
  readonly results: readonly CocoResult[];
  readonly annotations: readonly CocoAnnotation[];
}

export function evaluateImageCategory(
  input: ImageCategory,
  iouType: IouType,
  parameters: CocoParameters,
): ImageEvaluation {
  const { image, annotations } = input;
  const results = bestResults(input.results, parameters.maximumDetections.at(-1) ?? 0);
  const { overlaps, detectionAreas } = compare(results, annotations, image, iouType, parameters);
  const detections = results.length;
  const areas = parameters.areaRanges.length;
  const evaluation = {
    imageId: image.id,
    scores: Float64Array.from(results, ({ score }) => score),
    matched: new Uint32Array(areas * detections),
    ignored: new Uint32Array(areas * detections),
    truths: new Int32Array(areas),
  };
  const crowd = annotations.map(isCrowd);
  const neverCounts = annotations.map((annotation, index) => {
    return crowd[index]! || (iouType === 'keypoints' && labelledKeypoints(annotation) === 0);
  });
  parameters.areaRanges.forEach((range, areaIndex) => {
    const ignore = annotations.map(({ area }, index) => neverCounts[index]! || !isWithin(area, range));
    evaluation.truths[areaIndex] = ignore.filter(ignored => !ignored).length;
    const found = matchDetections(overlaps, detections, ignore, crowd, parameters.iouThresholds);
    for (let detection = 0; detection < detections; detection++) {
      const outside = !isWithin(detectionAreas[detection]!, range);
      let matched = 0;
      let ignored = 0;
      for (let threshold = 0; threshold < parameters.iouThresholds.length; threshold++) {
        const truth = found[threshold * detections + detection]!;
        // The reference keeps the found object's id and takes 0 for none, so that objects of id 0 cannot be found.
        const isMatched = truth >= 0 && annotations[truth]!.id !== 0;
        if (isMatched) matched |= 1 << threshold;
        if ((truth >= 0 && ignore[truth]!) || (!isMatched && outside)) ignored |= 1 << threshold;
      }
      evaluation.matched[areaIndex * detections + detection] = matched;
      evaluation.ignored[areaIndex * detections + detection] = ignored;
    }
  });
  return evaluation;
}

const NONE = -1;

/**
 * The object each detection finds at each threshold, [T, D], or NONE. Best detections choose first and take the object they
 * overlap most, the later one in a tie; objects that are to be ignored only if no other will do; crowds any number of times.
 */
function matchDetections(
  overlaps: Float64Array,
  detections: number,
  ignore: readonly boolean[],
  crowd: readonly boolean[],
  thresholds: readonly number[],
): Int32Array {
  const truths = ignore.length;
  const found = new Int32Array(thresholds.length * detections).fill(NONE);
  if (truths === 0) return found;
  const order = [...ignore.keys()].sort((a, b) => Number(ignore[a]) - Number(ignore[b]) || a - b);
  const taken = new Uint8Array(truths);
  thresholds.forEach((threshold, thresholdIndex) => {
    taken.fill(0);
    for (let detection = 0; detection < detections; detection++) {
      let best = Math.min(threshold, 1 - 1e-10);
      let match = NONE;
      for (const truth of order) {
        if (taken[truth] === 1 && !crowd[truth]!) continue;
        if (match !== NONE && !ignore[match]! && ignore[truth]!) break;
        const overlap = overlaps[detection * truths + truth]!;
        if (overlap < best) continue;
        best = overlap;
        match = truth;
      }
      if (match === NONE) continue;
      taken[match] = 1;
      found[thresholdIndex * detections + detection] = match;
    }
  });
  return found;
}

/** Overlaps [D, G] and the detections' areas. */
function compare(
  results: readonly CocoResult[],
  annotations: readonly CocoAnnotation[],
  image: CocoImage,
  iouType: IouType,
  { keypointSigmas }: CocoParameters,
): { overlaps: Float64Array; detectionAreas: number[] } {
  if (iouType === 'bbox') {
    const boxes = results.map(result => boxOf(result, image));
    return {
      overlaps: pairwise(boxes, annotations, (box, truth) => boxIou(box, boxOfTruth(truth), isCrowd(truth))),
      detectionAreas: results.map(result => areaOf(result, () => rleArea(maskOf(result, image)))),
    };
  }
  if (iouType === 'segm') {
    const masks = results.map(result => maskOf(result, image));
    const boxes = masks.map(rleToBox);
    const truths = annotations.map(annotation => {
      const rle = annotationMask(annotation, image);
      return { rle, box: rleToBox(rle), crowd: isCrowd(annotation) };
    });
    return {
      overlaps: pairwise(masks, truths, (mask, { rle, box, crowd }, detection) => {
        return boxIou(boxes[detection]!, box, crowd) > 0 ? rleIou(mask, rle, crowd) : 0;
      }),
      detectionAreas: results.map((result, index) => areaOf(result, () => rleArea(masks[index]!))),
    };
  }
  const points = results.map(result => keypointsOf(result, `a result of image ${image.id}`, keypointSigmas.length));
  return {
    overlaps: pairwise(points, annotations, (keypoints, annotation) => {
      return keypointSimilarity(keypoints, annotation, keypointSigmas);
    }),
    detectionAreas: results.map((result, index) => areaOf(result, () => keypointArea(points[index]!))),
  };
}

function pairwise<Detection, Truth>(
  detections: readonly Detection[],
  truths: readonly Truth[],
  overlapOf: (detection: Detection, truth: Truth, detectionIndex: number) => number,
): Float64Array {
  const overlaps = new Float64Array(detections.length * truths.length);
  detections.forEach((detection, row) => {
    truths.forEach((truth, column) => {
      overlaps[row * truths.length + column] = overlapOf(detection, truth, row);
    });
  });
  return overlaps;
}

/** Intersection over union of two boxes [x, y, width, height]; over the first box's area if the second covers a crowd. */
function boxIou(box: readonly number[], truth: readonly number[], crowd: boolean): number {
  const [x, y, width, height] = box as [number, number, number, number];
  const [truthX, truthY, truthWidth, truthHeight] = truth as [number, number, number, number];
  const sharedWidth = Math.min(width + x, truthWidth + truthX) - Math.max(x, truthX);
  if (sharedWidth <= 0) return 0;
  const sharedHeight = Math.min(height + y, truthHeight + truthY) - Math.max(y, truthY);
  if (sharedHeight <= 0) return 0;
  const intersection = sharedWidth * sharedHeight;
  const area = width * height;
  return intersection / (crowd ? area : area + truthWidth * truthHeight - intersection);
}

/**
 * Object keypoint similarity: how near the detected keypoints are to the labelled ones, 1 at the spot, falling off with the
 * distance relative to the object's size. An object without labelled keypoints compares all by their distance from its box
 * enlarged to three times its sides.
 */
function keypointSimilarity(keypoints: readonly number[], truth: CocoAnnotation, sigmas: readonly number[]): number {
  const labelled = keypointsOf(truth, `annotation ${truth.id}`, sigmas.length);
  const [x, y, width, height] = boxOfTruth(truth) as [number, number, number, number];
  const anyVisible = sigmas.some((_, index) => labelled[3 * index + 2]! > 0);
  let similarity = 0;
  let compared = 0;
  sigmas.forEach((sigma, index) => {
    const pointX = keypoints[3 * index]!;
    const pointY = keypoints[3 * index + 1]!;
    let dx: number;
    let dy: number;
    if (anyVisible) {
      if (!(labelled[3 * index + 2]! > 0)) return;
      dx = pointX - labelled[3 * index]!;
      dy = pointY - labelled[3 * index + 1]!;
    } else {
      dx = Math.max(0, x - width - pointX) + Math.max(0, pointX - (x + width * 2));
      dy = Math.max(0, y - height - pointY) + Math.max(0, pointY - (y + height * 2));
    }
    const spread = (2 * sigma) ** 2;
    similarity += Math.exp(-((dx ** 2 + dy ** 2) / spread / (truth.area + Number.EPSILON) / 2));
    compared++;
  });
  return similarity / compared;
}

/** By descending score, equal ones in their order. */
function bestResults(results: readonly CocoResult[], maximum: number): readonly CocoResult[] {
  return results.toSorted((a, b) => b.score - a.score).slice(0, maximum);
}

function boxOfTruth({ id, bbox }: CocoAnnotation): readonly number[] {
  if (!Array.isArray(bbox)) throw new OptionError(`annotation ${id}: expected a bbox, got none`);
  return bbox;
}

function boxOf(result: CocoResult, image: CocoImage): readonly number[] {
  return hasBox(result) ? result.bbox! : rleToBox(maskOf(result, image));
}

/** The mask of a result; a result of a box alone counts as the polygon of its corners. */
function maskOf(result: CocoResult, image: CocoImage): Rle {
  const where = `a result of image ${image.id}`;
  if (result.segmentation === undefined && !hasBox(result)) {
    throw new OptionError(`${where}: expected a segmentation or bbox, got neither`);
  }
  const mask = result.segmentation === undefined ? [result.bbox!] : result.segmentation;
  return inEntry(where, () => maskIn(image, mask));
}

function annotationMask({ id, segmentation }: CocoAnnotation, image: CocoImage): Rle {
  if (segmentation === undefined) throw new OptionError(`annotation ${id}: expected a segmentation, got none`);
  return inEntry(`annotation ${id}`, () => maskIn(image, segmentation));
}

/** A run-length encoding brings a size of its own; masks of different sizes do not overlap. */
function maskIn({ id, width, height }: CocoImage, segmentation: CocoSegmentation): Rle {
  if (!Array.isArray(segmentation)) return rleFromCoco(segmentation as CocoRle);
  if (typeof width !== 'number' || typeof height !== 'number') {
    throw new OptionError(`expected width and height of image ${id}, which polygons need, got none`);
  }
  return rleFromSegmentation(segmentation, height, width);
}

/** A result's area: its box's if it has one, whatever is compared, as `loadRes` of the reference has it. */
function areaOf(result: CocoResult, otherwise: () => number): number {
  return hasBox(result) ? boxArea(result.bbox!) : otherwise();
}

function boxArea(box: readonly number[]): number {
  return box[2]! * box[3]!;
}

function keypointArea(keypoints: readonly number[]): number {
  const extent = (axis: number) => {
    const values = keypoints.filter((_, index) => index % 3 === axis);
    return Math.max(...values) - Math.min(...values);
  };
  return extent(0) * extent(1);
}

function keypointsOf(
  entry: { readonly keypoints?: readonly number[] },
  where: string,
  count: number,
): readonly number[] {
  if (entry.keypoints?.length !== 3 * count) {
    const got = entry.keypoints === undefined ? 'none' : `${entry.keypoints.length}`;
    throw new OptionError(`${where}: expected keypoints of ${count} x 3 numbers, got ${got}`);
  }
  return entry.keypoints;
}

function labelledKeypoints({ num_keypoints: count, keypoints }: CocoAnnotation): number {
  return count ?? keypoints?.filter((value, index) => index % 3 === 2 && value > 0).length ?? 0;
}

function isCrowd({ iscrowd }: CocoAnnotation): boolean {
  return Boolean(iscrowd);
}

function isWithin(area: number, { smallest, largest }: AreaRange): boolean {
  return area >= smallest && area <= largest;
}

/** As numpy's linspace, so that thresholds agree to the last bit. */
function evenlySpaced(first: number, last: number, count: number): readonly number[] {
  const step = (last - first) / (count - 1);
  return Array.from({ length: count }, (_, index) => (index === count - 1 ? last : index * step + first));
}
