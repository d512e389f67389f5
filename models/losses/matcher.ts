/**
 * Bipartite matching between queries and targets (DETR, section 3.1).
 * B images, Q queries, C columns of class logits, T targets of one image.
 */
import { describe } from '../../engine/describe.ts';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { checkHostTensor, copyOf, formatShape, type HostTensor, type NumericArray } from '../../engine/host-tensor.ts';
import { getOrInsert } from '../../engine/maps.ts';
import { checkNumber } from '../../engine/options.ts';
import { boxDistance, generalizedBoxIou, requireValidBoxes } from './boxes.ts';
import { linearSumAssignment } from './linear-sum-assignment.ts';

/** What one layer of a decoder predicts: `logits` [B, Q, C] and `pred_boxes` [B, Q, 4] (centre x, centre y, width, height in 0…1). */
export interface LayerPredictions {
  readonly logits: HostTensor;
  readonly pred_boxes: HostTensor;
}

/** The ground truth of one image, as `preprocess` returns it in `labels`. */
export interface ImageTargets {
  /** Class of each target, [T]. */
  readonly classLabels: HostTensor<Int32Array> | readonly number[];
  /** Boxes [T, 4]: centre x, centre y, width, height, in 0…1 of the image. */
  readonly boxes: HostTensor;
  /** Masks [T, H, W] of the image, 1 inside. Segmentation models need them. */
  readonly masks?: HostTensor<Uint8Array>;
}

/** Weights of the three parts of a pair's cost, among others in a model's config. */
export interface MatchingCosts {
  readonly class_cost: number;
  readonly bbox_cost: number;
  readonly giou_cost: number;
}

/** The pairs of one image, queries ascending: query `queries[k]` is to find target `targets[k]`. min(Q, T) pairs. */
export interface Matching {
  readonly queries: Int32Array;
  readonly targets: Int32Array;
}

/** Cost of giving a query whose logits begin at `offset` a target of class `label`, among C classes. */
type ClassCost = (logits: Float32Array, offset: number, classes: number, label: number) => number;

/** DETR: minus the softmax probability. It stands in for the negative log-likelihood and keeps the parts commensurable. */
const softmaxCost: ClassCost = (logits, offset, classes, label) => {
  let largest = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < classes; index++) largest = Math.max(largest, logits[offset + index]!);
  let sum = 0;
  for (let index = 0; index < classes; index++) sum += Math.exp(logits[offset + index]! - largest);
  return -Math.exp(logits[offset + label]! - largest) / sum;
};

/** Conditional and Deformable DETR: what the focal loss (α 0.25, γ 2, whatever the config says) gains by the label being true. */
const focalCost: ClassCost = (logits, offset, _classes, label) => {
  const probability = 1 / (1 + Math.exp(-logits[offset + label]!));
  const positive = 0.25 * (1 - probability) ** 2 * -Math.log(probability + 1e-8);
  const negative = 0.75 * probability ** 2 * -Math.log(1 - probability + 1e-8);
  return positive - negative;
};

const CLASS_COSTS = { softmax: softmaxCost, focal: focalCost };

/** Stands in for costs that are NaN or infinite, so that such pairs are made only when nothing else is left (HF 5.18). */
const LARGEST_COST = 3.4028234663852886e38;

/**
 * Pairs queries with targets at the least total cost, per image: HF's `HungarianMatcher` (`softmax`) and
 * `DeformableDetrHungarianMatcher` (`focal`).
 *
 * @throws ShapeError if the tensors do not fit together; OptionError if a cost is no number or all are 0, a label is not a
 * class, or a box has negative or undefined extent.
 */
export function hungarianMatcher(
  predictions: LayerPredictions,
  targets: readonly ImageTargets[],
  costs: MatchingCosts,
  kind: keyof typeof CLASS_COSTS,
): Matching[] {
  const costNames = ['class_cost', 'bbox_cost', 'giou_cost'] as const;
  for (const name of costNames) checkNumber(costs?.[name], name, 'hungarianMatcher');
  if (!Object.hasOwn(CLASS_COSTS, kind)) {
    throw new OptionError(`hungarianMatcher: expected ${Object.keys(CLASS_COSTS).join(' or ')}, got ${describe(kind)}`);
  }
  if (costs.class_cost === 0 && costs.bbox_cost === 0 && costs.giou_cost === 0) {
    throw new OptionError(
      'hungarianMatcher: expected a cost other than 0, got class_cost, bbox_cost and giou_cost of 0',
    );
  }
  const [, queries, classes] = requirePredictions(predictions, targets);
  const classCost = CLASS_COSTS[kind];
  const logits = predictions.logits.data;
  const boxes = predictions.pred_boxes.data;
  return targets.map((target, image) => {
    const labels = labelsOf(target);
    const count = labels.length;
    const matrix = new Float64Array(queries * count);
    const ofClass = new Map<number, number>();
    for (let query = 0; query < queries; query++) {
      const row = image * queries + query;
      ofClass.clear();
      for (let index = 0; index < count; index++) {
        const label = labels[index]!;
        const cost =
          costs.bbox_cost * boxDistance(boxes, row, target.boxes.data, index) +
          costs.class_cost * getOrInsert(ofClass, label, () => classCost(logits, row * classes, classes, label)) -
          costs.giou_cost * generalizedBoxIou(boxes, row, target.boxes.data, index);
        matrix[query * count + index] = Number.isFinite(cost) ? cost : LARGEST_COST;
      }
    }
    const { rows, columns } = linearSumAssignment(matrix, queries, count);
    return { queries: rows, targets: columns };
  });
}

/** The class labels of an image's targets. */
export function labelsOf({ classLabels }: ImageTargets): ArrayLike<number> {
  return 'data' in classLabels ? classLabels.data : classLabels;
}

/**
 * Checks what does not depend on predictions: that targets have labels and boxes, masks if any, as many of each, and values
 * for all. @throws OptionError, ShapeError naming the image and the field
 */
export function checkTargets(targets: readonly ImageTargets[]): void {
  if (!Array.isArray(targets) || !targets.every(target => typeof target === 'object' && target !== null)) {
    throw new OptionError(`labels: expected a list of { classLabels, boxes } for each image, got ${describe(targets)}`);
  }
  for (const [image, target] of targets.entries()) {
    const { classLabels, boxes, masks } = target as Partial<ImageTargets>;
    const where = `labels[${image}]`;
    if ((classLabels ?? null) === null || (boxes ?? null) === null) {
      const got = Object.keys(target).join(', ') || 'nothing';
      throw new OptionError(`${where}: expected classLabels and boxes, got ${got}`);
    }
    if (!Array.isArray(classLabels)) checkHostTensor(classLabels as HostTensor<Int32Array>, `${where}.classLabels`);
    const count = labelsOf(target).length;
    checkHostTensor(boxes!, `${where}.boxes`);
    if (boxes!.shape.length !== 2 || boxes!.shape[0] !== count || boxes!.shape[1] !== 4) {
      throw new ShapeError(`${where}.boxes: expected [${count}, 4], got ${formatShape(boxes!.shape)}`);
    }
    if (masks === undefined) continue;
    checkHostTensor(masks, `${where}.masks`);
    if (masks.shape.length !== 3 || masks.shape[0] !== count) {
      throw new ShapeError(`${where}.masks: expected [${count}, H, W], got ${formatShape(masks.shape)}`);
    }
  }
}

/** A copy, which stays as the targets are now. @throws as `checkTargets` */
export function ownTargets(targets: readonly ImageTargets[]): ImageTargets[] {
  checkTargets(targets);
  const copy = <Data extends NumericArray>({ shape, data }: HostTensor<Data>): HostTensor<Data> => {
    return { shape: [...shape], data: copyOf(data) };
  };
  return targets.map(({ classLabels, boxes, masks }) => ({
    classLabels: 'data' in classLabels ? copy(classLabels) : [...classLabels],
    boxes: copy(boxes),
    ...(masks !== undefined && { masks: copy(masks) }),
  }));
}

/** Checks that predictions and targets fit together; returns B, Q and C. */
function requirePredictions(
  { logits, pred_boxes: boxes }: LayerPredictions,
  targets: readonly ImageTargets[],
): [images: number, queries: number, classes: number] {
  checkHostTensor(logits, 'logits', Float32Array);
  checkHostTensor(boxes, 'pred_boxes', Float32Array);
  const [images, queries, classes] = logits.shape;
  if (images === undefined || queries === undefined || classes === undefined || logits.shape.length !== 3) {
    throw new ShapeError(`logits: expected [B, Q, C], got ${formatShape(logits.shape)}`);
  }
  if (boxes.shape.length !== 3 || boxes.shape[0] !== images || boxes.shape[1] !== queries || boxes.shape[2] !== 4) {
    throw new ShapeError(`pred_boxes: expected [${images}, ${queries}, 4], got ${formatShape(boxes.shape)}`);
  }
  checkTargets(targets);
  if (targets.length !== images) {
    throw new ShapeError(`labels: expected one entry for each of ${images} images, got ${targets.length}`);
  }
  requireValidBoxes('pred_boxes', boxes.data);
  targets.forEach((target, image) => {
    const labels = labelsOf(target);
    for (let index = 0; index < labels.length; index++) {
      const label = labels[index]!;
      if (!(Number.isInteger(label) && label >= 0 && label < classes)) {
        throw new OptionError(
          `labels[${image}].classLabels: expected classes from 0 to ${classes - 1}, got ${label} at ${index}`,
        );
      }
    }
    requireValidBoxes(`labels[${image}].boxes`, target.boxes.data);
  });
  return [images, queries, classes];
}
