// Boxes from a detection model's outputs (HF `post_process_object_detection`).
//
// B batch, Q queries, C columns of class logits, N detections kept
import { describe } from '../../engine/describe.ts';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { elementCount, formatShape, type HostTensor, isShape, sameShape } from '../../engine/host-tensor.ts';
import { checkFraction, checkOptionNames } from '../../engine/options.ts';
import { checkSizes, type ImageSize } from './image-size.ts';
import { probability } from './probability.ts';

/** What `postProcess…` methods need of a model's outputs; further outputs are ignored. */
export interface DetectionOutputs {
  /** [B, Q, C] */
  readonly logits: HostTensor;
  /** [B, Q, 4]: centre x, centre y, width, height in 0 … 1. */
  readonly pred_boxes: HostTensor;
}

/** The objects found in one image. */
export interface Detections {
  /** [N] in 0 … 1. */
  readonly scores: HostTensor;
  /** [N] category ids. */
  readonly labels: HostTensor<Int32Array>;
  /** [N, 4]: corners x0, y0, x1, y1, in pixels of the target size, or in 0 … 1 without one. Not clipped. */
  readonly boxes: HostTensor;
}

export interface ObjectDetectionOptions {
  /** Detections with a higher score are kept, 0 … 1. Default 0.5. */
  readonly threshold?: number | undefined;
  /** Original size of each image; boxes are scaled to it. */
  readonly targetSizes?: readonly ImageSize[] | undefined;
}

export interface TopKDetectionOptions extends ObjectDetectionOptions {
  /** How many pairs of query and class are considered, best first. Default 100. */
  readonly topK?: number | undefined;
}

/** The threshold that even a score of 0 passes: transformers 4's post-processors keep all. */
export const PASSES_ALL = Number.NEGATIVE_INFINITY;

/** A query that is taken for a class. */
interface Candidate {
  readonly query: number;
  readonly label: number;
  readonly score: number;
}

/**
 * DETR: every query stands for its most probable class (softmax, "no object" left out); those above the threshold are
 * kept in the order of the queries.
 */
export function detectBySoftmax(
  outputs: DetectionOutputs,
  options: ObjectDetectionOptions,
  where: string,
): Detections[] {
  checkOptionNames(options, ['threshold', 'targetSizes'], where);
  return detect(outputs, options, where, SOFTMAX_COLUMNS, (logits, queries, columns) => {
    const probabilities = new Float32Array(columns);
    return Array.from({ length: queries }, (_, query) => {
      softmax(logits.subarray(query * columns, (query + 1) * columns), probabilities);
      const label = indexOfLargest(probabilities.subarray(0, columns - 1));
      return { query, label, score: probabilities[label]! };
    });
  });
}

/**
 * Conditional and Deformable DETR: of all pairs of query and class the `topK` most probable (sigmoid), best first; those
 * above the threshold are kept. A query may stand for several classes. Equal scores keep the order of queries, then classes.
 * Scores that are NaN count as the best, as for torch.topk, and are then below any threshold.
 */
export function detectTopK(outputs: DetectionOutputs, options: TopKDetectionOptions, where: string): Detections[] {
  checkOptionNames(options, ['threshold', 'targetSizes', 'topK'], where);
  const { topK = 100 } = options;
  if (!Number.isInteger(topK) || topK < 1)
    throw new OptionError(`${where}: expected topK to be a positive whole number, got ${topK}`);
  return detect(outputs, options, where, 1, (logits, _, columns) => {
    const scores = logits.map(probability);
    const rank = (score: number) => (Number.isNaN(score) ? Number.POSITIVE_INFINITY : score);
    const byRank = (a: number, b: number) => rank(scores[b]!) - rank(scores[a]!) || a - b;
    const order = Uint32Array.from(scores, (_, index) => index).sort(byRank);
    return Array.from(order.subarray(0, topK), index => ({
      query: Math.floor(index / columns),
      label: index % columns,
      score: scores[index]!,
    }));
  });
}

function detect(
  outputs: DetectionOutputs,
  { threshold = 0.5, targetSizes }: ObjectDetectionOptions,
  where: string,
  leastColumns: number,
  candidatesOf: (logits: Float32Array, queries: number, columns: number) => Candidate[],
): Detections[] {
  const { batch, queries, columns } = checkDetectionOutputs(outputs, where, leastColumns);
  if (threshold !== PASSES_ALL) checkFraction(threshold, 'threshold', where);
  if (targetSizes !== undefined) checkSizes(targetSizes, batch, 'targetSizes', where);
  const { logits, pred_boxes: boxes } = outputs;
  return Array.from({ length: batch }, (_, image) => {
    const imageLogits = logits.data.subarray(image * queries * columns, (image + 1) * queries * columns);
    const imageBoxes = boxes.data.subarray(image * queries * 4, (image + 1) * queries * 4);
    // Compared in float32, as PyTorch does: a score equal to the rounded threshold is dropped.
    const kept = candidatesOf(imageLogits, queries, columns).filter(({ score }) => score > Math.fround(threshold));
    const [height, width] = targetSizes?.[image] ?? [1, 1];
    return {
      scores: { shape: [kept.length], data: Float32Array.from(kept, ({ score }) => score) },
      labels: { shape: [kept.length], data: Int32Array.from(kept, ({ label }) => label) },
      boxes: { shape: [kept.length, 4], data: cornerBoxes(imageBoxes, kept, height, width) },
    };
  });
}

/** Centre and size → corners, scaled, with float32's rounding at every step. */
function cornerBoxes(boxes: Float32Array, kept: readonly Candidate[], height: number, width: number): Float32Array {
  const corners = new Float32Array(kept.length * 4);
  for (const [index, { query }] of kept.entries()) {
    const [x, y, boxWidth, boxHeight] = boxes.subarray(query * 4, query * 4 + 4) as unknown as [
      number,
      number,
      number,
      number,
    ];
    corners[index * 4] = Math.fround(x - 0.5 * boxWidth) * width;
    corners[index * 4 + 1] = Math.fround(y - 0.5 * boxHeight) * height;
    corners[index * 4 + 2] = Math.fround(x + 0.5 * boxWidth) * width;
    corners[index * 4 + 3] = Math.fround(y + 0.5 * boxHeight) * height;
  }
  return corners;
}

/** Checks that the outputs fit together; returns B, Q and C. */
function checkDetectionOutputs(
  outputs: DetectionOutputs,
  where: string,
  leastColumns: number,
): { batch: number; queries: number; columns: number } {
  const [batch, queries, columns] = checkLogits(outputs, where, leastColumns);
  const expected = `pred_boxes [${batch}, ${queries}, 4]`;
  checkOutput(outputs.pred_boxes, shape => sameShape(shape, [batch, queries, 4]), expected, where);
  return { batch, queries, columns };
}

/** Softmax has a column for no object. */
export const SOFTMAX_COLUMNS = 2;

/** Checks the outputs' logits; returns B, Q and C. */
export function checkLogits(
  outputs: { readonly logits: HostTensor },
  where: string,
  leastColumns: number,
): [batch: number, queries: number, columns: number] {
  if (typeof outputs !== 'object' || outputs === null || outputs instanceof Promise) {
    const got = outputs instanceof Promise ? 'a promise, which is to be awaited' : describe(outputs);
    throw new OptionError(`${where}: expected the outputs of a model, got ${got}`);
  }
  const fits = (shape: readonly number[]) => shape.length === 3 && shape[2]! >= leastColumns;
  checkOutput(outputs.logits, fits, `logits [B, Q, C] with at least ${leastColumns} columns`, where);
  return outputs.logits.shape as [number, number, number];
}

/** @throws ShapeError unless `output` is a tensor of floats whose shape fits */
export function checkOutput(
  output: HostTensor | undefined,
  fits: (shape: readonly number[]) => boolean,
  expected: string,
  where: string,
): void {
  const { shape, data } = (output ?? {}) as Partial<HostTensor>;
  const refuse = (got: string) => new ShapeError(`${where}: expected ${expected}, got ${got}`);
  if (shape === undefined) throw refuse(output === undefined ? 'none' : describe(output));
  if (!isShape(shape) || !fits(shape)) throw refuse(formatShape(shape));
  if (!(data instanceof Float32Array)) throw refuse(`data of ${describe(data)} instead of a Float32Array`);
  if (data.length !== elementCount(shape)) throw refuse(`${data.length} values`);
}

/** Softmax of one row, rounded to float32 at the steps where PyTorch rounds: labels hang on scores that are equal then. */
export function softmax(logits: Float32Array, probabilities: Float32Array): void {
  let largest = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > largest) largest = logit;
  let sum = 0;
  for (let index = 0; index < logits.length; index++) {
    probabilities[index] = Math.exp(Math.fround(logits[index]! - largest));
    sum += probabilities[index]!;
  }
  sum = Math.fround(sum);
  for (let index = 0; index < logits.length; index++) probabilities[index] = probabilities[index]! / sum;
}

/** The first of the largest values. */
export function indexOfLargest(values: Float32Array): number {
  let best = 0;
  for (let index = 1; index < values.length; index++) if (values[index]! > values[best]!) best = index;
  return best;
}
