// What transformers had before version 5 and old programs and evaluation scripts still call: `post_process`,
// `post_process_segmentation`, `post_process_instance`, `post_process_panoptic` of transformers 4.
//
// B batch, Q queries, N kept queries, h x w masks, H x W result
import { OptionError } from '../../engine/errors.ts';
import type { HostTensor } from '../../engine/host-tensor.ts';
import { checkFraction, checkOptionNames } from '../../engine/options.ts';
import { panopticIds, panopticImage } from '../evaluation/panoptic-evaluator.ts';
import { encodePng } from '../images/png.ts';
import { resize } from '../images/resize.ts';
import type { Detections } from './detection.ts';
import { checkMapCount, checkMapSizes, type ImageSize } from './image-size.ts';
import { interpolateBilinear, nearestSources } from './interpolation.ts';
import { probability } from './probability.ts';
import {
  type ConfidentQuery,
  checkSegmentationOutputs,
  confidentQueries,
  type SegmentationOutputs,
} from './segmentation.ts';

export interface LegacySegmentationOptions {
  /** Queries with a higher score are kept. Default 0.9. */
  readonly threshold?: number | undefined;
  /** Pixels with a higher probability belong to the mask. Default 0.5. */
  readonly maskThreshold?: number | undefined;
}

/** Masks that may overlap. */
export interface LegacySegmentation {
  /** [N] */
  readonly scores: HostTensor;
  /** [N] */
  readonly labels: HostTensor<Int32Array>;
  /** [N, H, W] of 0 and 1. */
  readonly masks: HostTensor<Uint8Array>;
}

export function legacySegmentation(
  outputs: SegmentationOutputs,
  targetSizes: readonly ImageSize[],
  options: LegacySegmentationOptions,
  where: string,
): LegacySegmentation[] {
  checkOptionNames(options, ['threshold', 'maskThreshold'], where);
  const { threshold = 0.9, maskThreshold = 0.5 } = options;
  checkFraction(threshold, 'threshold', where);
  checkFraction(maskThreshold, 'maskThreshold', where);
  const { batch, maskHeight, maskWidth } = checkSegmentationOutputs(outputs, where);
  checkMapSizes(targetSizes, batch, 'targetSizes', where);
  return targetSizes.map(([height, width], image) => {
    const kept = confidentQueries(outputs, image, threshold);
    const masks = interpolateBilinear(stackMasks(kept, maskHeight, maskWidth), height, width, where);
    return {
      scores: { shape: [kept.length], data: Float32Array.from(kept, ({ score }) => score) },
      labels: { shape: [kept.length], data: Int32Array.from(kept, ({ label }) => label) },
      masks: binaryMasks(masks, maskThreshold),
    };
  });
}

/** [N, h, w] logits. */
function stackMasks(kept: readonly ConfidentQuery[], height: number, width: number): HostTensor {
  const data = new Float32Array(kept.length * height * width);
  for (const [index, { logits }] of kept.entries()) data.set(logits, index * height * width);
  return { shape: [kept.length, height, width], data };
}

function binaryMasks({ shape, data }: HostTensor, threshold: number): HostTensor<Uint8Array> {
  const floor = Math.fround(threshold);
  return { shape, data: Uint8Array.from(data, logit => (probability(logit) > floor ? 1 : 0)) };
}

/** Detections of all queries with their masks. */
export type DetectionsWithMasks<Result extends Detections> = Result & {
  /** [Q, 1, H, W] of 0 and 1. */
  readonly masks: HostTensor<Uint8Array>;
};

export function legacyInstances<Result extends Detections>(
  results: readonly Result[],
  outputs: SegmentationOutputs,
  origTargetSizes: readonly ImageSize[],
  maxTargetSizes: readonly ImageSize[],
  threshold: number,
  where: string,
): DetectionsWithMasks<Result>[] {
  checkFraction(threshold, 'threshold', where);
  const { batch, queries, maskHeight, maskWidth } = checkSegmentationOutputs(outputs, where);
  checkMapSizes(origTargetSizes, batch, 'origTargetSizes', where);
  checkMapSizes(maxTargetSizes, batch, 'maxTargetSizes', where);
  if (results.length !== batch)
    throw new OptionError(`${where}: expected results for ${batch} images, got ${results.length}`);
  for (const size of origTargetSizes) checkMapCount(queries, size, where);
  const largestHeight = Math.max(...maxTargetSizes.map(([height]) => height));
  const largestWidth = Math.max(...maxTargetSizes.map(([, width]) => width));
  return results.map((result, image) => {
    const size = queries * maskHeight * maskWidth;
    const logits = {
      shape: [queries, maskHeight, maskWidth],
      data: outputs.pred_masks.data.subarray(image * size, (image + 1) * size),
    };
    const padded = binaryMasks(interpolateBilinear(logits, largestHeight, largestWidth, where), threshold);
    const [height, width] = origTargetSizes[image]!;
    const rows = nearestSources(maxTargetSizes[image]![0], height);
    const columns = nearestSources(maxTargetSizes[image]![1], width);
    const data = new Uint8Array(queries * height * width);
    let to = 0;
    for (let query = 0; query < queries; query++) {
      for (const row of rows) {
        const from = (query * largestHeight + row) * largestWidth;
        for (const column of columns) data[to++] = padded.data[from + column]!;
      }
    }
    return { ...result, masks: { shape: [queries, 1, height, width], data } };
  });
}

export interface LegacyPanopticOptions {
  /** Original size of each image. Default: the processed sizes. */
  readonly targetSizes?: readonly ImageSize[] | undefined;
  /** Whether a label is a thing; stuff of one label is merged. Default: COCO's, things up to 90, stuff up to 200. */
  readonly isThingMap?: Readonly<Record<number, boolean>> | undefined;
  /** Queries with a higher score are kept. Default 0.85. */
  readonly threshold?: number | undefined;
}

/** One image in the form that the panoptic evaluator takes. */
export interface LegacyPanoptic {
  /** PNG file whose colours are segment ids, r + 256 g + 65536 b. Ids count from 0. */
  readonly pngString: Uint8Array;
  readonly segmentsInfo: LegacyPanopticSegment[];
}

/** As in COCO's panoptic results. */
export interface LegacyPanopticSegment {
  readonly id: number;
  readonly isthing: boolean;
  readonly category_id: number;
  /** In pixels of the target size. */
  readonly area: number;
}

export function legacyPanoptic(
  outputs: SegmentationOutputs,
  processedSizes: readonly ImageSize[],
  options: LegacyPanopticOptions,
  where: string,
): LegacyPanoptic[] {
  checkOptionNames(options, ['targetSizes', 'isThingMap', 'threshold'], where);
  const { targetSizes = processedSizes, isThingMap = cocoThings, threshold = 0.85 } = options;
  checkFraction(threshold, 'threshold', where);
  const { batch, maskHeight, maskWidth } = checkSegmentationOutputs(outputs, where);
  checkMapSizes(processedSizes, batch, 'processedSizes', where);
  checkMapSizes(targetSizes, batch, 'targetSizes', where);
  return processedSizes.map(([height, width], image) => {
    let segments = confidentQueries(outputs, image, threshold);
    let masks = interpolateBilinear(stackMasks(segments, maskHeight, maskWidth), height, width, where);
    const things = segments.map(({ label }) => {
      const thing = isThingMap[label];
      if (thing === undefined)
        throw new OptionError(`${where}: isThingMap does not say whether label ${label} is a thing`);
      return thing;
    });
    const target = targetSizes[image]!;
    // Stuff of one label is merged in the first round only; once small segments are dropped, HuggingFace does not again.
    let picture = idPicture(masks, mergedStuff(segments, things), target);
    while (segments.length > 0) {
      const { areas } = picture;
      const large = Array.from(segments.keys()).filter(index => areas[index]! > 4);
      if (large.length === segments.length) break;
      segments = large.map(index => segments[index]!);
      masks = selectMaps(masks, large);
      picture = idPicture(masks, undefined, target);
    }
    const segmentsInfo = segments.map(({ label }, id) => ({
      id,
      isthing: isThingMap[label]!,
      category_id: label,
      area: picture.areas[id]!,
    }));
    return { pngString: picture.png(), segmentsInfo };
  });
}

const cocoThings: Record<number, boolean> = Object.fromEntries(
  Array.from({ length: 201 }, (_, label) => [label, label <= 90]),
);

/** For every segment the first one of the same stuff, or itself. */
function mergedStuff(segments: readonly ConfidentQuery[], things: readonly boolean[]): number[] {
  return segments.map(({ label }, index) =>
    things[index] ? index : segments.findIndex(other => other.label === label),
  );
}

/** The picture of the segments' ids at the target size, and how many pixels each has there. */
function idPicture(masks: HostTensor, merged: readonly number[] | undefined, target: ImageSize) {
  const [count, height, width] = masks.shape as [number, number, number];
  const pixels = height * width;
  const best = masks.data.slice(0, pixels);
  const ids = new Int32Array(pixels);
  for (let index = 1; index < count; index++) {
    for (let pixel = 0, at = index * pixels; pixel < pixels; pixel++, at++) {
      if (masks.data[at]! > best[pixel]!) {
        best[pixel] = masks.data[at]!;
        ids[pixel] = index;
      }
    }
  }
  const shown = merged === undefined ? ids : ids.map(id => merged[id] ?? id);
  const picture = panopticImage({ shape: [height, width], data: shown });
  const image = resize(picture, target[0], target[1], 'nearest');
  const areas = new Int32Array(count);
  for (const id of panopticIds(image).data) if (id < count) areas[id] = areas[id]! + 1;
  return { areas, png: () => encodePng(image) };
}

function selectMaps(maps: HostTensor, indices: readonly number[]): HostTensor {
  const [, height, width] = maps.shape as [number, number, number];
  const pixels = height * width;
  const data = new Float32Array(indices.length * pixels);
  for (const [to, from] of indices.entries())
    data.set(maps.data.subarray(from * pixels, (from + 1) * pixels), to * pixels);
  return { shape: [indices.length, height, width], data };
}
