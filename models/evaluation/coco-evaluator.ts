/**
 * Average precision and recall as COCO defines them, equal to pycocotools 2.0.11 `COCOeval` in float64.
 * D detections, T overlap thresholds, R recall thresholds, K categories, A area ranges, M limits on detections per image.
 */
import { describe } from '../../engine/describe.ts';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { elementCount, type HostTensor } from '../../engine/host-tensor.ts';
import { getOrInsert } from '../../engine/maps.ts';
import { checkOptionNames } from '../../engine/options.ts';
import { formatFixed } from '../rounding.ts';
import {
  type CocoAnnotation,
  type CocoCategory,
  type CocoDataset,
  type CocoImage,
  type CocoResult,
  checkCocoDataset,
  checkCocoResults,
  type ImageDetections,
  toCocoResults,
} from './coco-format.ts';
import {
  COCO_PARAMETERS,
  type CocoParameters,
  evaluateImageCategory,
  type ImageEvaluation,
  type IouType,
} from './coco-matching.ts';

export interface CocoEvaluatorOptions {
  /** What detections are compared by; `['bbox']` unless told. */
  readonly iouTypes?: readonly IouType[] | undefined;
  /** How exactly each keypoint can be located, as a share of the object's size; COCO's 17 of a person unless told. */
  readonly keypointSigmas?: readonly number[] | undefined;
}

/** Precision and recall over every setting; -1 where there is nothing to be found. */
export interface CocoAccumulation {
  readonly parameters: CocoParameters;
  /** Precision at each recall threshold, [T, R, K, A, M]. */
  readonly precision: HostTensor<Float64Array>;
  /** The largest recall, [T, K, A, M]. */
  readonly recall: HostTensor<Float64Array>;
  /** The score down to which detections are needed for each recall threshold, [T, R, K, A, M]. */
  readonly scores: HostTensor<Float64Array>;
}

/** Plain data, ready for `JSON.stringify`. Values are in 0…1, and -1 where the ground truth has nothing to be found. */
export interface CocoSummary {
  readonly iouType: IouType;
  /** Images that were evaluated. */
  readonly images: number;
  /** The values by name, in the order of `stats`: AP, AP50, AP75, AP_small, …, AR_1, …, AR_large. */
  readonly metrics: Readonly<Record<string, number>>;
  /** The 12 numbers of `COCOeval.stats` (10 for keypoints). */
  readonly stats: readonly number[];
  /** AP of each category over all areas, by its name. */
  readonly perCategory: Readonly<Record<string, number>>;
  /** The table that `COCOeval.summarize` prints, one line for each number. */
  readonly table: string;
}

/** One line of the summary. */
interface Metric {
  readonly name: string;
  readonly of: 'precision' | 'recall';
  /** One overlap threshold, or the mean over all. */
  readonly iouThreshold?: number;
  readonly area: string;
  readonly maximumDetections: number;
}

const average = (name: string, area: string, maximumDetections: number, iouThreshold?: number): Metric => ({
  name,
  of: name.startsWith('AP') ? 'precision' : 'recall',
  area,
  maximumDetections,
  ...(iouThreshold !== undefined && { iouThreshold }),
});

const DETECTION_METRICS: readonly Metric[] = [
  average('AP', 'all', 100),
  average('AP50', 'all', 100, 0.5),
  average('AP75', 'all', 100, 0.75),
  average('AP_small', 'small', 100),
  average('AP_medium', 'medium', 100),
  average('AP_large', 'large', 100),
  average('AR_1', 'all', 1),
  average('AR_10', 'all', 10),
  average('AR_100', 'all', 100),
  average('AR_small', 'small', 100),
  average('AR_medium', 'medium', 100),
  average('AR_large', 'large', 100),
];

const METRICS: Readonly<Record<IouType, readonly Metric[]>> = {
  bbox: DETECTION_METRICS,
  segm: DETECTION_METRICS,
  keypoints: [
    average('AP', 'all', 20),
    average('AP50', 'all', 20, 0.5),
    average('AP75', 'all', 20, 0.75),
    average('AP_medium', 'medium', 20),
    average('AP_large', 'large', 20),
    average('AR', 'all', 20),
    average('AR50', 'all', 20, 0.5),
    average('AR75', 'all', 20, 0.75),
    average('AR_medium', 'medium', 20),
    average('AR_large', 'large', 20),
  ],
};

/**
 * Judges detections against COCO ground truth as they come, image by image, as DETR's `CocoEvaluator` does: only images that
 * were given count, an image without detections counts once it was given, and of an image given twice the first counts. To
 * judge a results file against the whole ground truth, see `evaluateCoco`.
 *
 * For the published numbers, give every query's box (threshold 0) at the original image size.
 */
export class CocoEvaluator {
  readonly #images: ReadonlyMap<number, CocoImage>;
  readonly #categories: readonly CocoCategory[];
  /** By image and category. */
  readonly #annotations = new Map<number, Map<number, CocoAnnotation[]>>();
  readonly #iouTypes: readonly IouType[];
  readonly #parameters: Readonly<Record<IouType, CocoParameters>>;
  readonly #seen = new Set<number>();
  /** What was evaluated, by kind and category. */
  readonly #evaluations = new Map<IouType, Map<number, ImageEvaluation[]>>();
  readonly #accumulations = new Map<IouType, CocoAccumulation>();

  /**
   * @param groundTruth a parsed COCO annotation file (instances, or person_keypoints for keypoints)
   * @throws OptionError, naming the entry, if it is not one
   */
  constructor(groundTruth: CocoDataset, options: CocoEvaluatorOptions = {}) {
    checkOptionNames(options, ['iouTypes', 'keypointSigmas'], 'CocoEvaluator');
    const { iouTypes = ['bbox'], keypointSigmas } = options;
    for (const [name, list] of Object.entries({ iouTypes, keypointSigmas })) {
      if (list === undefined || Array.isArray(list)) continue;
      throw new OptionError(`CocoEvaluator: expected a list of ${name}, got ${describe(list)}`);
    }
    const { images, annotations, categories } = checkCocoDataset(groundTruth);
    this.#images = new Map(images.map(image => [image.id, image]));
    this.#categories = categories.toSorted((a, b) => a.id - b.id);
    const categoryIds = new Set(categories.map(({ id }) => id));
    for (const annotation of annotations) {
      if (categoryIds.has(annotation.category_id)) {
        const ofImage = getOrInsert(this.#annotations, annotation.image_id, () => new Map<number, CocoAnnotation[]>());
        getOrInsert(ofImage, annotation.category_id, () => []).push(annotation);
      }
    }
    for (const iouType of iouTypes) {
      if (!Object.hasOwn(METRICS, iouType)) {
        throw new OptionError(`CocoEvaluator: expected iouTypes bbox, segm or keypoints, got ${iouType}`);
      }
      this.#evaluations.set(iouType, new Map());
    }
    this.#iouTypes = [...this.#evaluations.keys()];
    const first = this.#iouTypes[0];
    if (first === undefined) throw new OptionError('CocoEvaluator: expected at least one of iouTypes, got none');
    this.#parameters =
      keypointSigmas === undefined
        ? COCO_PARAMETERS
        : { ...COCO_PARAMETERS, keypoints: { ...COCO_PARAMETERS.keypoints, keypointSigmas } };
  }

  /** Ids of the images that were given. */
  get imageIds(): readonly number[] {
    return [...this.#seen].sort((a, b) => a - b);
  }

  /**
   * Adds the detections of images, by image id: post-processed, at the original image size. Every image given counts, also
   * without detections; one that was given before is passed over.
   *
   * @throws OptionError for an image that the ground truth does not have; ShapeError if tensors do not fit together
   */
  update(predictions: ReadonlyMap<number, ImageDetections> | Iterable<readonly [number, ImageDetections]>): void {
    if (typeof (predictions as Partial<Iterable<unknown>> | null)?.[Symbol.iterator] !== 'function') {
      throw new OptionError(`update: expected a map of image ids to detections, got ${describe(predictions)}`);
    }
    const byImage = new Map<number, readonly CocoResult[]>();
    for (const entry of predictions) {
      if (!Array.isArray(entry))
        throw new OptionError(`update: expected [image id, detections], got ${describe(entry)}`);
      const [imageId, detections] = entry as readonly [number, ImageDetections];
      if (this.#seen.has(imageId) || byImage.has(imageId)) continue;
      const results = checkCocoResults(toCocoResults(imageId, detections));
      const areJudged = this.#iouTypes.includes('segm') && results.length > 0;
      if (areJudged) checkMaskSize(this.#images.get(imageId), detections.masks);
      byImage.set(imageId, results);
    }
    this.#addImages(byImage, onlyJudged);
  }

  /**
   * Adds detections in COCO's results format. All of an image's must come in one call. `imageIds` names the images that count;
   * unless told, those that have results.
   *
   * @throws OptionError, naming the entry, if one is not a result, or of an image that was given before or is not known
   */
  updateResults(results: readonly CocoResult[], imageIds?: readonly number[]): void {
    const byImage = new Map<number, CocoResult[]>();
    for (const imageId of imageIds ?? []) byImage.set(imageId, []);
    for (const result of checkCocoResults(results)) getOrInsert(byImage, result.image_id, () => []).push(result);
    for (const imageId of byImage.keys()) {
      if (this.#seen.has(imageId)) throw new OptionError(`updateResults: image ${imageId} was given before`);
    }
    this.#addImages(byImage);
  }

  /** Precision and recall over all images so far; computed anew only after further images. The caller's own. */
  accumulate(iouType: IouType = this.#iouTypes[0]!): CocoAccumulation {
    return structuredClone(this.#accumulate(iouType));
  }

  #accumulate(iouType: IouType): CocoAccumulation {
    const known = this.#accumulations.get(iouType);
    if (known !== undefined) return known;
    const evaluations = this.#evaluations.get(iouType);
    if (evaluations === undefined) {
      throw new OptionError(`CocoEvaluator: expected one of ${this.#iouTypes.join(', ')}, got ${iouType}`);
    }
    const parameters = this.#parameters[iouType];
    const accumulation = emptyAccumulation(parameters, this.#categories.length);
    this.#categories.forEach(({ id }, category) => {
      const ofCategory = (evaluations.get(id) ?? []).sort((a, b) => a.imageId - b.imageId);
      accumulateCategory(accumulation, ofCategory, category);
    });
    this.#accumulations.set(iouType, accumulation);
    return accumulation;
  }

  /** The familiar numbers over all images so far, and their table. */
  summarize(iouType: IouType = this.#iouTypes[0]!): CocoSummary {
    const accumulation = this.#accumulate(iouType);
    const values = METRICS[iouType].map(metric => ({ metric, value: metricValue(accumulation, metric) }));
    const [mean] = METRICS[iouType] as readonly [Metric, ...Metric[]];
    return {
      iouType,
      images: this.#seen.size,
      metrics: Object.fromEntries(values.map(({ metric, value }) => [metric.name, value])),
      stats: values.map(({ value }) => value),
      perCategory: Object.fromEntries(
        this.#categories.map(({ name }, category) => [name, metricValue(accumulation, mean, category)]),
      ),
      table: values.map(({ metric, value }) => tableLine(metric, value, accumulation.parameters)).join('\n'),
    };
  }

  /** Adds all of the images or, if anything is wrong with one, none. */
  #addImages(byImage: ReadonlyMap<number, readonly CocoResult[]>, judged: Judged = result => result): void {
    const added = [...byImage].flatMap(([imageId, results]) => this.#evaluateImage(imageId, results, judged));
    for (const { iouType, category, evaluation } of added) {
      getOrInsert(this.#evaluations.get(iouType)!, category, () => []).push(evaluation);
    }
    for (const imageId of byImage.keys()) this.#seen.add(imageId);
    this.#accumulations.clear();
  }

  #evaluateImage(
    imageId: number,
    results: readonly CocoResult[],
    judged: Judged,
  ): { iouType: IouType; category: number; evaluation: ImageEvaluation }[] {
    const image = this.#images.get(imageId);
    if (image === undefined) throw new OptionError(`CocoEvaluator: the ground truth has no image ${imageId}`);
    const annotations = this.#annotations.get(imageId);
    const resultsOf = new Map<number, CocoResult[]>();
    for (const result of results) getOrInsert(resultsOf, result.category_id, () => []).push(result);
    const inputs = this.#categories
      .map(({ id }) => ({
        category: id,
        input: { image, results: resultsOf.get(id) ?? [], annotations: annotations?.get(id) ?? [] },
      }))
      .filter(({ input }) => input.results.length + input.annotations.length > 0);
    return this.#iouTypes.flatMap(iouType =>
      inputs.map(({ category, input }) => ({
        iouType,
        category,
        evaluation: evaluateImageCategory(
          { ...input, results: input.results.map(result => judged(result, iouType)) },
          iouType,
          this.#parameters[iouType],
        ),
      })),
    );
  }
}

/** What is seen of a result by an evaluation of one kind. */
type Judged = (result: CocoResult, iouType: IouType) => CocoResult;

/**
 * DETR's evaluator hands over masks and keypoints without boxes, so that their area is their own. (In a results file, a box's
 * area goes before.)
 */
const onlyJudged: Judged = (result, iouType) => {
  const hasOwnArea = iouType === 'segm' ? result.segmentation !== undefined : iouType === 'keypoints';
  if (!hasOwnArea) return result;
  const { bbox: _, ...withoutBox } = result;
  return withoutBox;
};

/**
 * Judges a whole results file against the whole ground truth, as `COCOeval` does: images without results count as well.
 *
 * @throws OptionError, naming the entry, if either is malformed
 */
export function evaluateCoco(
  groundTruth: CocoDataset,
  results: readonly CocoResult[],
  options: CocoEvaluatorOptions = {},
): CocoSummary[] {
  const { iouTypes = ['bbox'] } = options;
  const evaluator = new CocoEvaluator(groundTruth, options);
  evaluator.updateResults(
    results,
    groundTruth.images.map(({ id }) => id),
  );
  return iouTypes.map(iouType => evaluator.summarize(iouType));
}

function emptyAccumulation(parameters: CocoParameters, categories: number): CocoAccumulation {
  const { iouThresholds, recallThresholds, areaRanges, maximumDetections } = parameters;
  const settings = [categories, areaRanges.length, maximumDetections.length];
  const absent = (...shape: number[]) => ({
    shape,
    data: new Float64Array(elementCount(shape)).fill(-1),
  });
  return {
    parameters,
    precision: absent(iouThresholds.length, recallThresholds.length, ...settings),
    recall: absent(iouThresholds.length, ...settings),
    scores: absent(iouThresholds.length, recallThresholds.length, ...settings),
  };
}

/** Fills in one category from its images, in the order of their ids. */
function accumulateCategory(
  { parameters, precision, recall, scores }: CocoAccumulation,
  images: readonly ImageEvaluation[],
  category: number,
): void {
  const { iouThresholds, recallThresholds, areaRanges, maximumDetections } = parameters;
  const categories = recall.shape[1]!;
  const areas = areaRanges.length;
  const limits = maximumDetections.length;
  maximumDetections.forEach((limit, limitIndex) => {
    const ranked = rank(images, limit);
    const count = ranked.scores.length;
    areaRanges.forEach((_, area) => {
      const truths = images.reduce((sum, image) => sum + image.truths[area]!, 0);
      if (truths === 0) return;
      const matched = flagsOf(ranked, images, area, 'matched');
      const ignored = flagsOf(ranked, images, area, 'ignored');
      const recalls = new Float64Array(count);
      const precisions = new Float64Array(count);
      iouThresholds.forEach((_, threshold) => {
        let right = 0;
        let wrong = 0;
        for (let place = 0; place < count; place++) {
          if (((ignored[place]! >>> threshold) & 1) === 0) {
            if (((matched[place]! >>> threshold) & 1) === 1) right++;
            else wrong++;
          }
          recalls[place] = right / truths;
          precisions[place] = right / (wrong + right + Number.EPSILON);
        }
        // The precision that can be had at a recall is the best at that recall or beyond.
        for (let place = count - 1; place > 0; place--) {
          if (precisions[place]! > precisions[place - 1]!) precisions[place - 1] = precisions[place]!;
        }
        const setting = (category * areas + area) * limits + limitIndex;
        const settings = categories * areas * limits;
        recall.data[threshold * settings + setting] = count === 0 ? 0 : recalls[count - 1]!;
        let place = 0;
        recallThresholds.forEach((wanted, index) => {
          while (place < count && recalls[place]! < wanted) place++;
          const position = (threshold * recallThresholds.length + index) * settings + setting;
          precision.data[position] = place < count ? precisions[place]! : 0;
          scores.data[position] = place < count ? ranked.scores[place]! : 0;
        });
      });
    });
  });
}

/** Detections by descending score: which image of a list each is of, its place among that image's, and its score. */
interface Ranking {
  readonly image: Uint32Array;
  readonly detection: Uint32Array;
  readonly scores: Float64Array;
}

/** The best `limit` detections of every image, equal ones in the order of the images. */
function rank(images: readonly ImageEvaluation[], limit: number): Ranking {
  const counts = images.map(({ scores }) => Math.min(limit, scores.length));
  const total = counts.reduce((sum, count) => sum + count, 0);
  const image = new Uint32Array(total);
  const detection = new Uint32Array(total);
  const scores = new Float64Array(total);
  let filled = 0;
  images.forEach((evaluation, index) => {
    for (let place = 0; place < counts[index]!; place++) {
      image[filled] = index;
      detection[filled] = place;
      scores[filled++] = evaluation.scores[place]!;
    }
  });
  const order = new Uint32Array(total).map((_, index) => index).sort((a, b) => scores[b]! - scores[a]! || a - b);
  return {
    image: order.map(index => image[index]!),
    detection: order.map(index => detection[index]!),
    scores: Float64Array.from(order, index => scores[index]!),
  };
}

/** The flags of ranked detections for one area range. */
function flagsOf(
  { image, detection }: Ranking,
  images: readonly ImageEvaluation[],
  area: number,
  kind: 'matched' | 'ignored',
): Uint32Array {
  return image.map((index, place) => {
    const evaluation = images[index]!;
    return evaluation[kind][area * evaluation.scores.length + detection[place]!]!;
  });
}

/** The mean of a metric over everything that it leaves open, -1 if there is nothing; of one category if it is given. */
function metricValue({ parameters, precision, recall }: CocoAccumulation, metric: Metric, category?: number): number {
  const { shape, data } = metric.of === 'precision' ? precision : recall;
  const [categories, areas, limits] = shape.slice(-3) as [number, number, number];
  const area = parameters.areaRanges.findIndex(({ name }) => name === metric.area);
  const limit = parameters.maximumDetections.indexOf(metric.maximumDetections);
  const rowsPerThreshold = metric.of === 'precision' ? shape[1]! : 1;
  const values: number[] = [];
  parameters.iouThresholds.forEach((threshold, thresholdIndex) => {
    if (metric.iouThreshold !== undefined && metric.iouThreshold !== threshold) return;
    for (let row = thresholdIndex * rowsPerThreshold; row < (thresholdIndex + 1) * rowsPerThreshold; row++) {
      for (let index = 0; index < categories; index++) {
        if (category !== undefined && category !== index) continue;
        const value = data[((row * categories + index) * areas + area) * limits + limit]!;
        if (value > -1) values.push(value);
      }
    }
  });
  return values.length === 0 ? -1 : pairwiseSum(values, 0, values.length) / values.length;
}

/** numpy's order of summation, so that means agree with the reference to the last bit, and their printed digits with them. */
function pairwiseSum(values: readonly number[], start: number, end: number): number {
  const count = end - start;
  if (count > 128) {
    const half = start + (count >> 1) - ((count >> 1) % 8);
    return pairwiseSum(values, start, half) + pairwiseSum(values, half, end);
  }
  const lanes = [0, 0, 0, 0, 0, 0, 0, 0];
  const whole = end - (count % 8);
  for (let index = start; index < whole; index++) lanes[(index - start) % 8]! += values[index]!;
  const [a, b, c, d, e, f, g, h] = lanes as [number, number, number, number, number, number, number, number];
  let sum = a + b + (c + d) + (e + f + (g + h));
  for (let index = whole; index < end; index++) sum += values[index]!;
  return sum;
}

/** As `COCOeval.summarize` prints it. */
function tableLine(metric: Metric, value: number, { iouThresholds }: CocoParameters): string {
  const title = metric.of === 'precision' ? 'Average Precision' : 'Average Recall';
  const abbreviation = metric.of === 'precision' ? '(AP)' : '(AR)';
  const iou =
    metric.iouThreshold === undefined
      ? `${iouThresholds[0]!.toFixed(2)}:${iouThresholds.at(-1)!.toFixed(2)}`
      : metric.iouThreshold.toFixed(2);
  const settings = `IoU=${iou.padEnd(9)} | area=${metric.area.padStart(6)} | maxDets=${String(metric.maximumDetections).padStart(3)}`;
  return ` ${title.padEnd(18)} ${abbreviation} @[ ${settings} ] = ${formatFixed(value, 3)}`;
}

/** Results in files may have masks of any size, which then overlap nothing; of tensors such a size is a mistake. */
function checkMaskSize(image: CocoImage | undefined, masks: ImageDetections['masks']): void {
  if (typeof image?.width !== 'number' || typeof image.height !== 'number' || masks === undefined) return;
  const [height, width] = masks.shape.slice(-2);
  if (height === image.height && width === image.width) return;
  const expected = `masks of the image's size [${image.height}, ${image.width}]`;
  throw new ShapeError(`image ${image.id}: expected ${expected}, got [${height}, ${width}]; give targetSizes`);
}
