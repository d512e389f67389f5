/**
 * The individual losses of the DETR family (DETR, sections 3.1 and A.2; HF `ImageLoss` and `DeformableDetrImageLoss`).
 * B images, Q queries, C columns of class logits, T targets of one image, N matched pairs of all images, [h, w] size of a
 * predicted mask, [H, W] size of a target's.
 */
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { checkHostTensor, formatShape, type HostTensor } from '../../engine/host-tensor.ts';
import { boxDistance, generalizedBoxIou } from './boxes.ts';
import { type ImageTargets, type LayerPredictions, labelsOf, type Matching } from './matcher.ts';

/** γ of the focal loss. */
const FOCAL_GAMMA = 2;

/** α of the focal loss on masks; on classes it is the config's `focal_alpha`. */
const MASK_FOCAL_ALPHA = 0.25;

/**
 * Weighted cross entropy over all queries of all images: those without a target have the last class, "no object", of weight
 * `noObjectWeight`. The mean is over the weights, so that it does not depend on the number of targets.
 */
export function classCrossEntropy(
  { logits }: LayerPredictions,
  targets: readonly ImageTargets[],
  matching: readonly Matching[],
  noObjectWeight: number,
): number {
  const [images, queries, classes] = logits.shape as [number, number, number];
  const noObject = classes - 1;
  const expected = matchedLabels(images, queries, noObject, targets, matching);
  let loss = 0;
  let weights = 0;
  for (let row = 0; row < expected.length; row++) {
    const offset = row * classes;
    let largest = Number.NEGATIVE_INFINITY;
    for (let index = 0; index < classes; index++) largest = Math.max(largest, logits.data[offset + index]!);
    let sum = 0;
    for (let index = 0; index < classes; index++) sum += Math.exp(logits.data[offset + index]! - largest);
    const label = expected[row]!;
    const weight = label === noObject ? noObjectWeight : 1;
    loss += weight * (Math.log(sum) + largest - logits.data[offset + label]!);
    weights += weight;
  }
  return loss / weights;
}

/** Sigmoid focal loss against one-hot targets (all zero for queries without one), summed over everything, over the number of boxes. */
export function classFocalLoss(
  { logits }: LayerPredictions,
  targets: readonly ImageTargets[],
  matching: readonly Matching[],
  alpha: number,
  boxCount: number,
): number {
  const [images, queries, classes] = logits.shape as [number, number, number];
  const expected = matchedLabels(images, queries, classes, targets, matching);
  let loss = 0;
  for (let row = 0; row < expected.length; row++) {
    for (let index = 0; index < classes; index++) {
      loss += focalLoss(logits.data[row * classes + index]!, expected[row] === index, alpha);
    }
  }
  return loss / boxCount;
}

/** Mean over images of | predicted objects - targets |, predicted meaning that "no object", the last class, is not the likeliest. */
export function softmaxCardinalityError({ logits }: LayerPredictions, targets: readonly ImageTargets[]): number {
  return cardinalityError(logits, targets, (offset, classes) => {
    const noObject = logits.data[offset + classes - 1]!;
    for (let index = 0; index < classes - 1; index++) if (logits.data[offset + index]! >= noObject) return true;
    return false;
  });
}

/** Mean over images of | predicted objects - targets |, predicted meaning that some class has a probability above a half. */
export function sigmoidCardinalityError({ logits }: LayerPredictions, targets: readonly ImageTargets[]): number {
  return cardinalityError(logits, targets, (offset, classes) => {
    for (let index = 0; index < classes; index++) if (sigmoid(logits.data[offset + index]!) > 0.5) return true;
    return false;
  });
}

/** L1 distance and 1 - GIoU of the matched boxes, each summed over pairs, over the number of boxes. */
export function boxLosses(
  { pred_boxes: boxes }: LayerPredictions,
  targets: readonly ImageTargets[],
  matching: readonly Matching[],
  boxCount: number,
): { loss_bbox: number; loss_giou: number } {
  const queries = boxes.shape[1]!;
  let distance = 0;
  let giouLoss = 0;
  matching.forEach((pairs, image) => {
    const truth = targets[image]!.boxes.data;
    pairs.queries.forEach((query, pair) => {
      const row = image * queries + query;
      const target = pairs.targets[pair]!;
      distance += boxDistance(boxes.data, row, truth, target);
      giouLoss += 1 - generalizedBoxIou(boxes.data, row, truth, target);
    });
  });
  return { loss_bbox: distance / boxCount, loss_giou: giouLoss / boxCount };
}

/**
 * Focal loss (mean over pixels) and dice loss of the matched masks, each summed over pairs, over the number of boxes. The
 * predicted logits [B, Q, h, w] are resized bilinearly to the size of the largest target of the batch, [H, W]; smaller targets
 * count as zero beyond their right and lower edges.
 *
 * @throws OptionError if an image's labels have no masks; ShapeError if their number is not that of its targets.
 */
export function maskLosses(
  masks: HostTensor,
  targets: readonly ImageTargets[],
  matching: readonly Matching[],
  boxCount: number,
): { loss_mask: number; loss_dice: number } {
  checkHostTensor(masks, 'pred_masks', Float32Array);
  const [images, queries, maskHeight, maskWidth] = masks.shape;
  if (masks.shape.length !== 4 || images !== targets.length || !queries || !maskHeight || !maskWidth) {
    throw new ShapeError(`pred_masks: expected [${targets.length}, Q, h, w], got ${formatShape(masks.shape)}`);
  }
  const truths = targets.map((target, image) => requireMasks(target, image));
  const height = Math.max(0, ...truths.map(truth => truth.shape[1]!));
  const width = Math.max(0, ...truths.map(truth => truth.shape[2]!));
  const pixels = height * width;
  const rows = bilinearTaps(maskHeight, height);
  const columns = bilinearTaps(maskWidth, width);

  let maskLoss = 0;
  let diceLoss = 0;
  matching.forEach((pairs, image) => {
    const truth = truths[image]!;
    const [, truthHeight, truthWidth] = truth.shape as [number, number, number];
    pairs.queries.forEach((query, pair) => {
      const base = (image * queries + query) * maskHeight * maskWidth;
      const truthBase = pairs.targets[pair]! * truthHeight * truthWidth;
      let focal = 0;
      let overlap = 0;
      let predictedSum = 0;
      let truthSum = 0;
      for (let y = 0; y < height; y++) {
        const upper = base + rows.first[y]! * maskWidth;
        const lower = base + rows.second[y]! * maskWidth;
        const down = rows.fraction[y]!;
        for (let x = 0; x < width; x++) {
          const left = columns.first[x]!;
          const right = columns.second[x]!;
          const along = columns.fraction[x]!;
          const above = masks.data[upper + left]! * (1 - along) + masks.data[upper + right]! * along;
          const below = masks.data[lower + left]! * (1 - along) + masks.data[lower + right]! * along;
          const logit = above * (1 - down) + below * down;
          const inside = y < truthHeight && x < truthWidth && truth.data[truthBase + y * truthWidth + x] !== 0;
          focal += focalLoss(logit, inside, MASK_FOCAL_ALPHA);
          const probability = sigmoid(logit);
          predictedSum += probability;
          if (inside) {
            overlap += probability;
            truthSum += 1;
          }
        }
      }
      maskLoss += focal / pixels;
      diceLoss += 1 - (2 * overlap + 1) / (predictedSum + truthSum + 1);
    });
  });
  return { loss_mask: maskLoss / boxCount, loss_dice: diceLoss / boxCount };
}

/** Focal loss of one logit (T.-Y. Lin et al., "Focal Loss for Dense Object Detection", eq. 5); a negative α leaves out the balance. */
function focalLoss(logit: number, positive: boolean, alpha: number): number {
  const crossEntropy = Math.max(logit, 0) - (positive ? logit : 0) + Math.log1p(Math.exp(-Math.abs(logit)));
  const probability = sigmoid(logit);
  const loss = crossEntropy * (positive ? 1 - probability : probability) ** FOCAL_GAMMA;
  if (alpha < 0) return loss;
  return (positive ? alpha : 1 - alpha) * loss;
}

function sigmoid(logit: number): number {
  return 1 / (1 + Math.exp(-logit));
}

/** The label each query of [B, Q] is to predict: its target's, or `unmatched`. */
function matchedLabels(
  images: number,
  queries: number,
  unmatched: number,
  targets: readonly ImageTargets[],
  matching: readonly Matching[],
): Int32Array {
  const expected = new Int32Array(images * queries).fill(unmatched);
  matching.forEach((pairs, image) => {
    const labels = labelsOf(targets[image]!);
    pairs.queries.forEach((query, pair) => {
      expected[image * queries + query] = labels[pairs.targets[pair]!]!;
    });
  });
  return expected;
}

function cardinalityError(
  logits: HostTensor,
  targets: readonly ImageTargets[],
  isObject: (offset: number, classes: number) => boolean,
): number {
  const [images, queries, classes] = logits.shape as [number, number, number];
  let error = 0;
  for (let image = 0; image < images; image++) {
    let objects = 0;
    for (let query = 0; query < queries; query++) {
      if (isObject((image * queries + query) * classes, classes)) objects++;
    }
    error += Math.abs(objects - labelsOf(targets[image]!).length);
  }
  return error / images;
}

function requireMasks(target: ImageTargets, image: number): HostTensor<Uint8Array> {
  const { masks } = target;
  if (masks === undefined) throw new OptionError(`labels[${image}].masks: expected masks [T, H, W], got none`);
  return masks;
}

/** For each output position of a bilinear resize with half-pixel centres: two input positions and the second's share. */
function bilinearTaps(
  input: number,
  output: number,
): { first: Int32Array; second: Int32Array; fraction: Float64Array } {
  const first = new Int32Array(output);
  const second = new Int32Array(output);
  const fraction = new Float64Array(output);
  for (let position = 0; position < output; position++) {
    const source = Math.max(0, (position + 0.5) * (input / output) - 0.5);
    first[position] = Math.floor(source);
    second[position] = Math.min(first[position]! + 1, input - 1);
    fraction[position] = source - first[position]!;
  }
  return { first, second, fraction };
}
