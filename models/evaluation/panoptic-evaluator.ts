/**
 * Panoptic quality (A. Kirillov et al., "Panoptic Segmentation"), equal to cocodataset/panopticapi `evaluation.py`.
 *
 * A panoptic segmentation gives every pixel the id of one segment, 0 ("void") for none; a list says what each segment is.
 * Files hold the ids as PNG, id = red + 256 green + 65536 blue. H height, W width.
 */
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { formatShape, type HostTensor, sameShape } from '../../engine/host-tensor.ts';
import { formatFixed } from '../rounding.ts';
import {
  requireFinite,
  requireFlag,
  requireInteger,
  requireList,
  requireObject,
  requireUniqueIds,
  unexpected,
} from './checks.ts';
import type { CocoCategory, CocoImage } from './coco-format.ts';

export interface PanopticCategory extends CocoCategory {
  /** 1 (or true, in files) for countable things, 0 for stuff. */
  readonly isthing: number;
}

export interface PanopticSegment {
  readonly id: number;
  readonly category_id: number;
  /** Area in pixels; needed of ground truth. */
  readonly area?: number;
  /** 1 (or true, in files) for a region that covers a crowd. */
  readonly iscrowd?: number;
  /** Confidence of a prediction; it plays no part in the evaluation. */
  readonly score?: number;
}

export interface PanopticAnnotation {
  readonly image_id: number;
  /** The PNG of segment ids. */
  readonly file_name: string;
  readonly segments_info: readonly PanopticSegment[];
}

/** A parsed COCO panoptic annotation file. */
export interface PanopticDataset {
  /** The pictures, where the file lists them. */
  readonly images?: readonly CocoImage[];
  readonly annotations: readonly PanopticAnnotation[];
  readonly categories: readonly PanopticCategory[];
}

/** The segmentation of one image: segment ids of its pixels, [H, W], and what the segments are. */
export interface PanopticPrediction {
  readonly ids: HostTensor<Int32Array>;
  readonly segments: readonly PanopticSegment[];
}

/** Means over categories, in 0…1; NaN without categories. */
export interface PanopticQuality {
  /** Panoptic quality: segmentation quality times recognition quality. */
  readonly pq: number;
  /** Segmentation quality: mean overlap of the segments that were found. */
  readonly sq: number;
  /** Recognition quality: F1 score of finding segments. */
  readonly rq: number;
  /** Categories that occur in the ground truth or in predictions. */
  readonly n: number;
}

/** One category: its qualities (0 where it does not occur) and the counts behind them. */
export interface CategoryQuality {
  readonly pq: number;
  readonly sq: number;
  readonly rq: number;
  readonly truePositives: number;
  readonly falsePositives: number;
  readonly falseNegatives: number;
  /** Sum of the overlaps of true positives. */
  readonly iou: number;
}

/** Plain data, ready for `JSON.stringify`, which writes means over no category, NaN, as null. */
export interface PanopticSummary {
  /** Images that were evaluated. */
  readonly images: number;
  readonly all: PanopticQuality;
  readonly things: PanopticQuality;
  readonly stuff: PanopticQuality;
  /** By category name. */
  readonly perCategory: Readonly<Record<string, CategoryQuality>>;
  /** The table that panopticapi prints, in percent. */
  readonly table: string;
}

const VOID = 0;

/** Above this overlap a segment is found; at most one segment can overlap another by more. */
const MATCHING_OVERLAP = 0.5;

/** One more than the largest id three bytes can hold. */
const ID_LIMIT = 2 ** 24;

interface Counts {
  truePositives: number;
  falsePositives: number;
  falseNegatives: number;
  iou: number;
}

/**
 * Judges panoptic segmentations as they come, image by image; only images that were given count. To demand all of the ground
 * truth, as panopticapi does, see that `missingImageIds` is empty.
 */
export class PanopticEvaluator {
  readonly #categories: readonly PanopticCategory[];
  readonly #annotations: ReadonlyMap<number, PanopticAnnotation>;
  readonly #counts: ReadonlyMap<number, Counts>;
  readonly #seen = new Set<number>();

  /**
   * @param groundTruth a parsed COCO panoptic annotation file
   * @throws OptionError, naming the entry, if it is not one
   */
  constructor(groundTruth: PanopticDataset) {
    const { annotations, categories } = checkPanopticDataset(groundTruth);
    this.#categories = categories;
    this.#annotations = new Map(annotations.map(annotation => [annotation.image_id, annotation]));
    this.#counts = new Map(
      categories.map(({ id }) => [id, { truePositives: 0, falsePositives: 0, falseNegatives: 0, iou: 0 }]),
    );
  }

  /** Ids of the images that were given. */
  get imageIds(): readonly number[] {
    return [...this.#seen];
  }

  /** Ids of the images of the ground truth that were not given. */
  get missingImageIds(): readonly number[] {
    return [...this.#annotations.keys()].filter(id => !this.#seen.has(id));
  }

  /**
   * Adds one image. Of segments listed twice under one id the last entry counts.
   *
   * @param truthIds the segment ids of the ground truth's PNG (see `panopticIds`), [H, W]
   * @throws OptionError if the ground truth has no such image or it was given before, if the prediction's ids and list of
   * segments do not name the same segments, or if a category is unknown; ShapeError if the two differ in size
   */
  update(imageId: number, truthIds: HostTensor<Int32Array>, prediction: PanopticPrediction): void {
    const annotation = this.#annotations.get(imageId);
    if (annotation === undefined) throw new OptionError(`PanopticEvaluator: the ground truth has no image ${imageId}`);
    if (this.#seen.has(imageId)) throw new OptionError(`PanopticEvaluator: image ${imageId} was given before`);
    const where = `image ${imageId}`;
    const { ids } = prediction;
    if (truthIds.shape.length !== 2 || !sameShape(truthIds.shape, ids.shape)) {
      throw new ShapeError(
        `${where}: expected ids of one shape [H, W], got ${formatShape(truthIds.shape)} and ${formatShape(ids.shape)}`,
      );
    }
    const truths = new Map(annotation.segments_info.map(segment => [segment.id, segment]));
    const predicted = new Map(prediction.segments.map(segment => [segment.id, segment]));
    const { shared, truthAreas, predictedAreas } = countPixels(truthIds.data, ids.data);
    for (const id of [...truthAreas.keys(), ...predictedAreas.keys()]) {
      if (id < 0 || id >= ID_LIMIT) {
        throw new OptionError(`${where}: expected segment ids from 0 to ${ID_LIMIT - 1}, got ${id}`);
      }
    }
    for (const id of predictedAreas.keys()) {
      if (id !== VOID && !predicted.has(id)) {
        throw new OptionError(`${where}: segment ${id} has pixels, but the prediction's segments do not list it`);
      }
    }
    for (const { id, category_id: category } of predicted.values()) {
      if (!predictedAreas.has(id)) throw new OptionError(`${where}: segment ${id} is listed, but it has no pixels`);
      if (!this.#counts.has(category))
        throw new OptionError(`${where}: segment ${id} has unknown category ${category}`);
    }

    const foundTruths = new Set<number>();
    const foundPredictions = new Set<number>();
    for (const [pair, intersection] of shared) {
      const truth = truths.get(Math.floor(pair / ID_LIMIT));
      const candidate = predicted.get(pair % ID_LIMIT);
      if (truth === undefined || candidate === undefined || isCrowd(truth)) continue;
      if (truth.category_id !== candidate.category_id) continue;
      const ofVoid = shared.get(pairOf(VOID, candidate.id)) ?? 0;
      const union = predictedAreas.get(candidate.id)! + truth.area! - intersection - ofVoid;
      const overlap = intersection / union;
      if (overlap <= MATCHING_OVERLAP) continue;
      const counts = this.#counts.get(truth.category_id)!;
      counts.truePositives++;
      counts.iou += overlap;
      foundTruths.add(truth.id);
      foundPredictions.add(candidate.id);
    }

    const crowds = new Map<number, number>();
    for (const truth of truths.values()) {
      if (foundTruths.has(truth.id)) continue;
      if (isCrowd(truth)) crowds.set(truth.category_id, truth.id);
      else this.#counts.get(truth.category_id)!.falseNegatives++;
    }
    for (const { id, category_id: category } of predicted.values()) {
      if (foundPredictions.has(id)) continue;
      const crowd = crowds.get(category);
      const inVoid = shared.get(pairOf(VOID, id)) ?? 0;
      const inCrowd = crowd === undefined ? 0 : (shared.get(pairOf(crowd, id)) ?? 0);
      // What lies mostly where nothing can be said is not wrong.
      if ((inVoid + inCrowd) / predictedAreas.get(id)! > 0.5) continue;
      this.#counts.get(category)!.falsePositives++;
    }
    this.#seen.add(imageId);
  }

  /** The qualities over all images so far. */
  summarize(): PanopticSummary {
    const qualities = this.#categories.map(category => ({
      category,
      quality: categoryQuality(this.#counts.get(category.id)!),
    }));
    const mean = (wanted: (category: PanopticCategory) => boolean): PanopticQuality => {
      const counted = qualities.filter(({ category, quality }) => wanted(category) && occurs(quality));
      const over = (key: 'pq' | 'sq' | 'rq') => {
        return counted.reduce((sum, { quality }) => sum + quality[key], 0) / counted.length;
      };
      return { pq: over('pq'), sq: over('sq'), rq: over('rq'), n: counted.length };
    };
    const all = mean(() => true);
    const things = mean(isThing);
    const stuff = mean(category => !isThing(category));
    const rows = Object.entries({ All: all, Things: things, Stuff: stuff });
    return {
      images: this.#seen.size,
      all,
      things,
      stuff,
      perCategory: Object.fromEntries(qualities.map(({ category, quality }) => [category.name, quality])),
      table: [
        `${''.padEnd(10)}| ${['PQ', 'SQ', 'RQ'].map(title => title.padStart(5)).join('  ')} ${'N'.padStart(5)}`,
        '-'.repeat(38),
        ...rows.map(([name, { pq, sq, rq, n }]) => {
          const values = [pq, sq, rq].map(value => formatFixed(100 * value, 1).padStart(5)).join('  ');
          return `${name.padEnd(10)}| ${values} ${String(n).padStart(5)}`;
        }),
      ].join('\n'),
    };
  }
}

export function isThing({ isthing }: PanopticCategory): boolean {
  return Number(isthing) === 1;
}

function isCrowd({ iscrowd }: PanopticSegment): boolean {
  return Number(iscrowd) === 1;
}

/**
 * A post-processed panoptic segmentation in COCO's form: pixels of no segment are 0, of several entries under one id (fused
 * segments have them) the last counts, and segments without a pixel, which the evaluation refuses, are left out.
 */
export function toPanopticPrediction(result: {
  /** Segment ids of the pixels, [H, W]; 0 or -1 for none. */
  readonly segmentation: HostTensor<Int32Array> | HostTensor<Float32Array>;
  readonly segmentsInfo: readonly { readonly id: number; readonly labelId: number; readonly score?: number }[];
}): PanopticPrediction {
  const { shape, data } = result.segmentation;
  const ids = Int32Array.from(data, id => Math.max(id, VOID));
  const areas = new Map<number, number>();
  for (const id of ids) areas.set(id, (areas.get(id) ?? 0) + 1);
  const segments = new Map<number, PanopticSegment>();
  for (const { id, labelId, score } of result.segmentsInfo) {
    const area = areas.get(id);
    if (area !== undefined) segments.set(id, { id, category_id: labelId, area, ...(score !== undefined && { score }) });
  }
  return { ids: { shape, data: ids }, segments: [...segments.values()] };
}

/** The segment ids of a panoptic PNG's pixels, [H, W]: red + 256 green + 65536 blue of 3 or 4 interleaved channels. */
export function panopticIds(image: {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly data: ArrayLike<number>;
}): HostTensor<Int32Array> {
  const { width, height, channels, data } = image;
  if (channels < 3 || data.length !== width * height * channels) {
    throw new ShapeError(
      `panopticIds: expected ${height} x ${width} pixels of 3 or 4 channels, got ${data.length} bytes of ${channels} channels`,
    );
  }
  const ids = new Int32Array(width * height);
  for (let pixel = 0, byte = 0; pixel < ids.length; pixel++, byte += channels) {
    ids[pixel] = data[byte]! + 256 * data[byte + 1]! + 65536 * data[byte + 2]!;
  }
  return { shape: [height, width], data: ids };
}

/** The picture that holds segment ids [H, W], the inverse of `panopticIds`: interleaved red, green and blue. */
export function panopticImage(ids: HostTensor<Int32Array>): {
  width: number;
  height: number;
  channels: 3;
  data: Uint8Array;
} {
  const [height, width] = ids.shape;
  if (height === undefined || width === undefined || ids.shape.length !== 2) {
    throw new ShapeError(`panopticImage: expected ids [H, W], got ${formatShape(ids.shape)}`);
  }
  const data = new Uint8Array(3 * width * height);
  ids.data.forEach((id, pixel) => {
    if (id < 0 || id >= ID_LIMIT)
      throw new OptionError(`panopticImage: expected ids from 0 to ${ID_LIMIT - 1}, got ${id}`);
    data[3 * pixel] = id & 0xff;
    data[3 * pixel + 1] = (id >> 8) & 0xff;
    data[3 * pixel + 2] = id >> 16;
  });
  return { width, height, channels: 3, data };
}

/** Checks that `value` (a parsed JSON file) is a COCO panoptic annotation file; errors name the entry. */
export function checkPanopticDataset(value: unknown): PanopticDataset {
  const dataset = requireObject(value, 'dataset');
  if ((dataset.images ?? undefined) !== undefined) {
    for (const [index, image] of requireList(dataset, 'images').entries()) requireObject(image, `images[${index}]`);
  }
  const annotations = requireList(dataset, 'annotations');
  const categories = requireList(dataset, 'categories');
  const categoryIds = new Set<number>();
  categories.forEach((entry, index) => {
    const where = `categories[${index}]`;
    const category = requireObject(entry, where);
    categoryIds.add(requireInteger(category.id, `${where}.id`));
    requireFlag(category.isthing, `${where}.isthing`);
    if (typeof category.name !== 'string') throw unexpected(`${where}.name`, 'a string', category.name);
  });
  requireUniqueIds(categories, 'categories');
  const imageIds = new Set<number>();
  const fileNames = new Set<string>();
  annotations.forEach((entry, index) => {
    const where = `annotations[${index}]`;
    const annotation = requireObject(entry, where);
    const imageId = requireInteger(annotation.image_id, `${where}.image_id`);
    if (imageIds.has(imageId)) throw unexpected(`${where}.image_id`, 'images that occur once', imageId);
    imageIds.add(imageId);
    if (typeof annotation.file_name !== 'string') {
      throw unexpected(`${where}.file_name`, 'a string', annotation.file_name);
    }
    if (fileNames.has(annotation.file_name)) {
      throw unexpected(`${where}.file_name`, 'a map of its own', annotation.file_name);
    }
    fileNames.add(annotation.file_name);
    requireList(annotation, 'segments_info', `${where}.segments_info`).forEach((item, position) => {
      const which = `${where}.segments_info[${position}]`;
      const segment = requireObject(item, which);
      requireInteger(segment.id, `${which}.id`);
      requireFinite(segment.area, `${which}.area`);
      requireFlag(segment.iscrowd ?? 0, `${which}.iscrowd`);
      if (!categoryIds.has(requireInteger(segment.category_id, `${which}.category_id`))) {
        throw unexpected(`${which}.category_id`, 'a category of the file', segment.category_id);
      }
    });
  });
  return value as PanopticDataset;
}

/** How many pixels each segment has, and each pair of a true and a predicted one shares, by `pairOf`. */
function countPixels(
  truthIds: Int32Array,
  predictedIds: Int32Array,
): Record<'shared' | 'truthAreas' | 'predictedAreas', Map<number, number>> {
  const shared = new Map<number, number>();
  const truthAreas = new Map<number, number>();
  const predictedAreas = new Map<number, number>();
  const add = (areas: Map<number, number>, key: number, pixels: number) =>
    areas.set(key, (areas.get(key) ?? 0) + pixels);
  for (let start = 0; start < truthIds.length; ) {
    const truth = truthIds[start]!;
    const predicted = predictedIds[start]!;
    let end = start + 1;
    while (end < truthIds.length && truthIds[end] === truth && predictedIds[end] === predicted) end++;
    add(shared, pairOf(truth, predicted), end - start);
    add(truthAreas, truth, end - start);
    add(predictedAreas, predicted, end - start);
    start = end;
  }
  return { shared, truthAreas, predictedAreas };
}

function pairOf(truthId: number, predictedId: number): number {
  return truthId * ID_LIMIT + predictedId;
}

function categoryQuality(counts: Counts): CategoryQuality {
  const { truePositives, falsePositives, falseNegatives, iou } = counts;
  const weight = truePositives + 0.5 * falsePositives + 0.5 * falseNegatives;
  return {
    pq: weight === 0 ? 0 : iou / weight,
    sq: truePositives === 0 ? 0 : iou / truePositives,
    rq: weight === 0 ? 0 : truePositives / weight,
    ...counts,
  };
}

function occurs({ truePositives, falsePositives, falseNegatives }: CategoryQuality): boolean {
  return truePositives + falsePositives + falseNegatives > 0;
}
