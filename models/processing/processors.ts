// The image processors of the three models. They prepare pictures alike and differ in how they read the outputs.
//
// B batch, Q queries, C columns of class logits, h x w masks, H x W target size
import { OptionError, ShapeError } from '../../engine/errors.ts';
import type { HostTensor } from '../../engine/host-tensor.ts';
import { checkFlag } from '../../engine/options.ts';
import {
  checkLogits,
  type DetectionOutputs,
  type Detections,
  detectBySoftmax,
  detectTopK,
  type ObjectDetectionOptions,
  PASSES_ALL,
  type TopKDetectionOptions,
} from './detection.ts';
import { ImageProcessor } from './image-processor.ts';
import type { ImageSize } from './image-size.ts';
import {
  type DetectionsWithMasks,
  type LegacyPanoptic,
  type LegacyPanopticOptions,
  type LegacySegmentation,
  type LegacySegmentationOptions,
  legacyInstances,
  legacyPanoptic,
  legacySegmentation,
} from './legacy.ts';
import {
  type EncodedSegmentation,
  type InstanceSegmentationOptions,
  type PanopticSegmentationOptions,
  runLengths,
  type Segmentation,
  type SegmentationOutputs,
  segmentInstances,
  segmentPanoptic,
} from './segmentation.ts';
import {
  type ScoredSemanticSegmentation,
  type SemanticSegmentationOptions,
  segmentSemantic,
  segmentSemanticWithScores,
} from './semantic.ts';

/**
 * What the processors of the family have in common, so that a program need not know which one it has got. The methods for
 * masks are there for models without a segmentation head, too, and throw, as HuggingFace's do.
 */
abstract class FamilyImageProcessor extends ImageProcessor {
  /** Whether models of this kind have a segmentation head. */
  readonly segments: boolean = true;

  /** How many of the last columns of the logits are not classes in semantic segmentation. */
  protected abstract noObjectColumns(): number;

  #checkSegments(where: string): void {
    if (this.segments) return;
    throw new OptionError(`${where}: expected the processor of a model that segments, got ${this.constructor.name}`);
  }

  /**
   * The class of every pixel.
   *
   * @param outputs logits [B, Q, C] and pred_masks [B, Q, h, w]
   * @returns one map [H, W] of class ids for each image, at its target size or else at [h, w]; with
   *   `returnSegmentationScores` objects that hold the classes' scores [K, H, W] as well
   * @throws ShapeError, OptionError
   */
  postProcessSemanticSegmentation(
    outputs: SegmentationOutputs,
    options: SemanticSegmentationOptions & { readonly returnSegmentationScores: true },
  ): ScoredSemanticSegmentation[];
  postProcessSemanticSegmentation(
    outputs: SegmentationOutputs,
    options?: SemanticSegmentationOptions & { readonly returnSegmentationScores?: false | undefined },
  ): HostTensor<Int32Array>[];
  postProcessSemanticSegmentation(
    outputs: SegmentationOutputs,
    options?: SemanticSegmentationOptions,
  ): HostTensor<Int32Array>[] | ScoredSemanticSegmentation[];
  postProcessSemanticSegmentation(
    outputs: SegmentationOutputs,
    options: SemanticSegmentationOptions = {},
  ): HostTensor<Int32Array>[] | ScoredSemanticSegmentation[] {
    this.#checkSegments('postProcessSemanticSegmentation');
    const run = options?.returnSegmentationScores ? segmentSemanticWithScores : segmentSemantic;
    return run(outputs, options, this.noObjectColumns(), 'postProcessSemanticSegmentation');
  }

  /**
   * A segment for every query that is confident enough and keeps enough of its mask; each pixel belongs to the best.
   *
   * @param outputs logits [B, Q, C] and pred_masks [B, Q, h, w]
   * @returns for each image a map [H, W] of segment ids (0: none) at its target size, or else at [h, w], and what the
   *   segments are; with `returnCocoAnnotation` run lengths instead of the map
   * @throws ShapeError, OptionError
   */
  postProcessInstanceSegmentation(
    outputs: SegmentationOutputs,
    options: InstanceSegmentationOptions & { readonly returnCocoAnnotation: true },
  ): EncodedSegmentation[];
  postProcessInstanceSegmentation(
    outputs: SegmentationOutputs,
    options?: InstanceSegmentationOptions & { readonly returnCocoAnnotation?: false | undefined },
  ): Segmentation[];
  postProcessInstanceSegmentation(
    outputs: SegmentationOutputs,
    options?: InstanceSegmentationOptions & { readonly returnCocoAnnotation?: boolean | undefined },
  ): Segmentation[] | EncodedSegmentation[];
  postProcessInstanceSegmentation(
    outputs: SegmentationOutputs,
    options: InstanceSegmentationOptions & { readonly returnCocoAnnotation?: boolean | undefined } = {},
  ): Segmentation[] | EncodedSegmentation[] {
    this.#checkSegments('postProcessInstanceSegmentation');
    checkFlag(options?.returnCocoAnnotation, 'returnCocoAnnotation', 'postProcessInstanceSegmentation');
    const results = segmentInstances(outputs, options, 'postProcessInstanceSegmentation');
    if (!options.returnCocoAnnotation) return results;
    return results.map(({ segmentation, segmentsInfo }) => {
      // The map of an image in which nothing was found stays a map, as in HuggingFace.
      const nothingFound = segmentation.data[0] === -1;
      return { segmentation: nothingFound ? segmentation : runLengths(segmentation), segmentsInfo };
    });
  }

  /**
   * Like instance segmentation, with one segment for all queries of a label in `labelIdsToFuse` ("stuff").
   *
   * Ids are HuggingFace's: every fused query has an entry of its own in `segmentsInfo` with the id of the first, and
   * counting goes on from there, so that an id may be given twice.
   *
   * @param outputs logits [B, Q, C] and pred_masks [B, Q, h, w]
   * @returns for each image a map [H, W] of segment ids (0: none) at its target size, or else at [h, w], and what the
   *   segments are
   * @throws ShapeError, OptionError
   */
  postProcessPanopticSegmentation(
    outputs: SegmentationOutputs,
    options: PanopticSegmentationOptions = {},
  ): Segmentation[] {
    this.#checkSegments('postProcessPanopticSegmentation');
    return segmentPanoptic(outputs, options, 'postProcessPanopticSegmentation');
  }
}

/** DETR's pictures in and objects out (HF `DetrImageProcessor`). The last column of the logits is "no object". */
export class DetrImageProcessor extends FamilyImageProcessor {
  protected override noObjectColumns(): number {
    return 1;
  }

  /**
   * The objects of each image: queries whose best class has a softmax score above the threshold, in the queries' order.
   *
   * @param outputs logits [B, Q, C] and pred_boxes [B, Q, 4]
   * @returns for each image scores [N], labels [N] and boxes [N, 4] (corners; pixels if there are target sizes)
   * @throws ShapeError, OptionError
   */
  postProcessObjectDetection(outputs: DetectionOutputs, options: ObjectDetectionOptions = {}): Detections[] {
    return detectBySoftmax(outputs, options, 'postProcessObjectDetection');
  }

  /** @deprecated transformers 4. Use `postProcessObjectDetection` with threshold 0. All queries, boxes in pixels. */
  postProcess(outputs: DetectionOutputs, targetSizes: readonly ImageSize[]): Detections[] {
    return detectBySoftmax(outputs, { threshold: PASSES_ALL, targetSizes }, 'postProcess');
  }

  /** @deprecated transformers 4. Use `postProcessSemanticSegmentation`. A mask for each confident query; they may overlap. */
  postProcessSegmentation(
    outputs: SegmentationOutputs,
    targetSizes: readonly ImageSize[],
    options: LegacySegmentationOptions = {},
  ): LegacySegmentation[] {
    return legacySegmentation(outputs, targetSizes, options, 'postProcessSegmentation');
  }

  /**
   * @deprecated transformers 4. Use `postProcessInstanceSegmentation`. Adds masks to the results of `postProcess`:
   * resized to the batch's largest picture, cut to the picture's own size, then resized to its original size.
   */
  postProcessInstance<Result extends Detections>(
    results: readonly Result[],
    outputs: SegmentationOutputs,
    origTargetSizes: readonly ImageSize[],
    maxTargetSizes: readonly ImageSize[],
    threshold = 0.5,
  ): DetectionsWithMasks<Result>[] {
    return legacyInstances(results, outputs, origTargetSizes, maxTargetSizes, threshold, 'postProcessInstance');
  }

  /**
   * @deprecated transformers 4. Use `postProcessPanopticSegmentation`. A PNG of segment ids from 0 and a list of
   * segments, as DETR's own evaluation has them.
   */
  postProcessPanoptic(
    outputs: SegmentationOutputs,
    processedSizes: readonly ImageSize[],
    options: LegacyPanopticOptions = {},
  ): LegacyPanoptic[] {
    return legacyPanoptic(outputs, processedSizes, options, 'postProcessPanoptic');
  }
}

/**
 * Conditional DETR's pictures in and objects out (HF `ConditionalDetrImageProcessor`). All columns of the logits are
 * classes; in instance and panoptic segmentation the last one is nevertheless taken for "no object" and softmax is used,
 * as HuggingFace does.
 */
export class ConditionalDetrImageProcessor extends FamilyImageProcessor {
  protected override noObjectColumns(): number {
    return this.behaviour === 'v4' ? 1 : 0;
  }

  /**
   * The objects of each image: the `topK` best pairs of query and class (sigmoid), best first, above the threshold.
   *
   * @param outputs logits [B, Q, C] and pred_boxes [B, Q, 4]
   * @returns for each image scores [N], labels [N] and boxes [N, 4] (corners; pixels if there are target sizes)
   * @throws ShapeError, OptionError
   */
  postProcessObjectDetection(outputs: DetectionOutputs, options: TopKDetectionOptions = {}): Detections[] {
    return detectTopK(outputs, options, 'postProcessObjectDetection');
  }

  /** @deprecated transformers 4. Use `postProcessObjectDetection` with threshold 0 and topK 300. Boxes in pixels. */
  postProcess(outputs: DetectionOutputs, targetSizes: readonly ImageSize[]): Detections[] {
    return legacyTopK(outputs, targetSizes, 300);
  }
}

/** Deformable DETR's pictures in and objects out (HF `DeformableDetrImageProcessor`). */
export class DeformableDetrImageProcessor extends FamilyImageProcessor {
  override readonly segments = false;

  protected override noObjectColumns(): number {
    return 0;
  }

  /**
   * The objects of each image: the `topK` best pairs of query and class (sigmoid), best first, above the threshold.
   *
   * @param outputs logits [B, Q, C] and pred_boxes [B, Q, 4]
   * @returns for each image scores [N], labels [N] and boxes [N, 4] (corners; pixels if there are target sizes)
   * @throws ShapeError, OptionError
   */
  postProcessObjectDetection(outputs: DetectionOutputs, options: TopKDetectionOptions = {}): Detections[] {
    return detectTopK(outputs, options, 'postProcessObjectDetection');
  }

  /** @deprecated transformers 4. Use `postProcessObjectDetection` with threshold 0. The 100 best, boxes in pixels. */
  postProcess(outputs: DetectionOutputs, targetSizes: readonly ImageSize[]): Detections[] {
    return legacyTopK(outputs, targetSizes, 100);
  }
}

/** The old methods' top-k takes no fewer pairs than it is told. */
function legacyTopK(outputs: DetectionOutputs, targetSizes: readonly ImageSize[], topK: number): Detections[] {
  const [, queries, columns] = checkLogits(outputs, 'postProcess', 1);
  const pairs = queries * columns;
  if (pairs < topK)
    throw new ShapeError(`postProcess: expected logits with at least ${topK} pairs of query and class, got ${pairs}`);
  return detectTopK(outputs, { threshold: PASSES_ALL, targetSizes, topK }, 'postProcess');
}

/** @deprecated The name before transformers 4.26. Use `DetrImageProcessor`. */
export class DetrFeatureExtractor extends DetrImageProcessor {}

/** @deprecated The name before transformers 4.26. Use `ConditionalDetrImageProcessor`. */
export class ConditionalDetrFeatureExtractor extends ConditionalDetrImageProcessor {}

/** @deprecated The name before transformers 4.26. Use `DeformableDetrImageProcessor`. */
export class DeformableDetrFeatureExtractor extends DeformableDetrImageProcessor {}
