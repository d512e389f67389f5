import { describe } from '../../engine/describe.ts';
import { OptionError } from '../../engine/errors.ts';
import type { HostTensor } from '../../engine/host-tensor.ts';
import {
  boxLosses,
  classCrossEntropy,
  classFocalLoss,
  maskLosses,
  sigmoidCardinalityError,
  softmaxCardinalityError,
} from './losses.ts';
import {
  checkTargets,
  hungarianMatcher,
  type ImageTargets,
  type LayerPredictions,
  labelsOf,
  type MatchingCosts,
} from './matcher.ts';

/** The models that have a loss, by their HuggingFace classes. */
export type LossKind =
  | 'DetrForObjectDetection'
  | 'DetrForSegmentation'
  | 'ConditionalDetrForObjectDetection'
  | 'ConditionalDetrForSegmentation'
  | 'DeformableDetrForObjectDetection';

/** The keys of config.json that the losses read, with their defaults. */
export interface LossConfig {
  /** Weights of the parts of a pair's matching cost; class_cost 1 (Conditional DETR 2), bbox_cost 5, giou_cost 2. */
  readonly class_cost?: number;
  readonly bbox_cost?: number;
  readonly giou_cost?: number;
  /** Weights of the losses in the total; bbox 5, giou 2, mask 1, dice 1. The classification loss has weight 1. */
  readonly bbox_loss_coefficient?: number;
  readonly giou_loss_coefficient?: number;
  readonly mask_loss_coefficient?: number;
  readonly dice_loss_coefficient?: number;
  /** DETR: weight of the class "no object" in the classification loss; 0.1. */
  readonly eos_coefficient?: number;
  /** Conditional and Deformable DETR: α of the focal loss; 0.25. */
  readonly focal_alpha?: number;
  /** Whether every decoder layer but the last is judged too; false. */
  readonly auxiliary_loss?: boolean;
}

/** What a loss is computed from. B images, Q queries, C columns of class logits (classes + 1 for DETR). */
export interface LossInputs extends LayerPredictions {
  /** Mask logits [B, Q, h, w]. Segmentation models need them. */
  readonly pred_masks?: HostTensor;
  /** The predictions of the decoder layers but the last, first layer first. Needed when the config has `auxiliary_loss`. */
  readonly auxiliary_outputs?: readonly LayerPredictions[];
}

export interface LossResult {
  /** The weighted sum. */
  readonly loss: number;
  /** Its parts before weighting, under HuggingFace's names: `loss_ce`, `loss_bbox`, … and `loss_ce_0`, … of auxiliary layers. */
  readonly lossDict: Readonly<Record<string, number>>;
}

/** How the models differ: the matching cost, the classification loss and its cardinality, and whether masks are judged. */
interface LossRecipe {
  readonly matching: 'softmax' | 'focal';
  readonly classification: 'softmax' | 'focal';
  readonly masks: boolean;
  readonly classCost: number;
}

const RECIPES: Readonly<Record<LossKind, LossRecipe>> = {
  DetrForObjectDetection: { matching: 'softmax', classification: 'softmax', masks: false, classCost: 1 },
  DetrForSegmentation: { matching: 'softmax', classification: 'softmax', masks: true, classCost: 1 },
  ConditionalDetrForObjectDetection: { matching: 'focal', classification: 'focal', masks: false, classCost: 2 },
  // Matched by softmax although it is trained with sigmoids: HF 5 pairs DETR's matcher with the focal losses.
  ConditionalDetrForSegmentation: { matching: 'softmax', classification: 'focal', masks: true, classCost: 2 },
  DeformableDetrForObjectDetection: { matching: 'focal', classification: 'focal', masks: false, classCost: 1 },
};

/**
 * The loss of a model's outputs against labels, as HuggingFace's transformers 5.18 computes it (`ForObjectDetectionLoss`,
 * `ForSegmentationLoss` and their Deformable DETR counterparts), in float64.
 *
 * @param kind the model's HuggingFace class
 * @param outputs the last decoder layer's predictions, masks for segmentation models, and auxiliary layers' if configured
 * @param labels the targets of each image, as `preprocess` returns them; an image may have none
 * @throws ShapeError if tensors do not fit together; OptionError if something needed is missing, a label has no column in
 * the logits (the last one, for no object, is as good as any, as in transformers), or a box has negative or undefined extent
 */
export function computeLoss(
  kind: LossKind,
  outputs: LossInputs,
  labels: readonly ImageTargets[],
  config: LossConfig,
): LossResult {
  checkTargets(labels);
  const recipe = Object.hasOwn(RECIPES, kind) ? RECIPES[kind] : undefined;
  if (recipe === undefined) {
    throw new OptionError(`computeLoss: expected one of ${Object.keys(RECIPES).join(', ')}, got ${kind}`);
  }
  for (const [name, value] of Object.entries({ outputs, config })) {
    if (typeof value === 'object' && value !== null) continue;
    throw new OptionError(`computeLoss: expected ${name} in an object, got ${describe(value)}`);
  }
  const costs: MatchingCosts = {
    class_cost: config.class_cost ?? recipe.classCost,
    bbox_cost: config.bbox_cost ?? 5,
    giou_cost: config.giou_cost ?? 2,
  };
  const weights: Readonly<Record<string, number>> = {
    loss_ce: 1,
    loss_bbox: config.bbox_loss_coefficient ?? 5,
    loss_giou: config.giou_loss_coefficient ?? 2,
    loss_mask: config.mask_loss_coefficient ?? 1,
    loss_dice: config.dice_loss_coefficient ?? 1,
  };
  const boxCount = Math.max(
    1,
    labels.reduce((sum, target) => sum + labelsOf(target).length, 0),
  );

  const layerLosses = (layer: LayerPredictions, masks?: HostTensor): Record<string, number> => {
    const matching = hungarianMatcher(layer, labels, costs, recipe.matching);
    const focal = recipe.classification === 'focal';
    return {
      loss_ce: focal
        ? classFocalLoss(layer, labels, matching, config.focal_alpha ?? 0.25, boxCount)
        : classCrossEntropy(layer, labels, matching, config.eos_coefficient ?? 0.1),
      ...boxLosses(layer, labels, matching, boxCount),
      cardinality_error: focal ? sigmoidCardinalityError(layer, labels) : softmaxCardinalityError(layer, labels),
      ...(masks === undefined ? {} : maskLosses(masks, labels, matching, boxCount)),
    };
  };

  if (recipe.masks && outputs.pred_masks === undefined) {
    throw new OptionError(`computeLoss: expected pred_masks for ${kind}, got none`);
  }
  const lossDict: Record<string, number> = layerLosses(outputs, recipe.masks ? outputs.pred_masks : undefined);
  let loss = weightedSum(lossDict, weights);
  if (!config.auxiliary_loss) return { loss, lossDict };

  const { auxiliary_outputs: auxiliaryOutputs } = outputs;
  if (!Array.isArray(auxiliaryOutputs)) {
    const got = auxiliaryOutputs === undefined ? 'none' : describe(auxiliaryOutputs);
    throw new OptionError(`computeLoss: expected auxiliary_outputs, as the config has auxiliary_loss, got ${got}`);
  }
  auxiliaryOutputs.forEach((layer, index) => {
    const losses = layerLosses(layer);
    loss += weightedSum(losses, weights);
    for (const [name, value] of Object.entries(losses)) lossDict[`${name}_${index}`] = value;
  });
  return { loss, lossDict };
}

/** Σ weight · value over the values that have a weight; the others are reported only. */
function weightedSum(losses: Readonly<Record<string, number>>, weights: Readonly<Record<string, number>>): number {
  let sum = 0;
  for (const [name, value] of Object.entries(losses)) sum += (weights[name] ?? 0) * value;
  return sum;
}
