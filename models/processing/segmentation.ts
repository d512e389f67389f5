// Instances and panoptic segments from a segmentation model's outputs (HF `post_process_instance_segmentation`,
// `post_process_panoptic_segmentation`).
//
// B batch, Q queries, C columns of class logits, h x w masks, H x W result

import { describe } from '../../engine/describe.ts';
import { OptionError } from '../../engine/errors.ts';
import type { HostTensor } from '../../engine/host-tensor.ts';
import { getOrInsert } from '../../engine/maps.ts';
import { checkFraction, checkOptionNames } from '../../engine/options.ts';
import { formatFixed } from '../rounding.ts';
import { checkLogits, checkOutput, indexOfLargest, SOFTMAX_COLUMNS, softmax } from './detection.ts';
import { checkMapSizes, type ImageSize } from './image-size.ts';
import { assignMasks } from './mask-assignment.ts';

/** What the segmentation methods need of a model's outputs; further outputs are ignored. */
export interface SegmentationOutputs {
  /** [B, Q, C] */
  readonly logits: HostTensor;
  /** [B, Q, h, w] */
  readonly pred_masks: HostTensor;
}

export interface Segment {
  /** The value of its pixels in the segmentation map. Fused segments share one. */
  readonly id: number;
  readonly labelId: number;
  /** Whether the label is one of those that are fused. */
  readonly wasFused: boolean;
  /** Score of the query in 0 … 1, rounded to 6 decimals. */
  readonly score: number;
}

/** The segments of one image. */
export interface Segmentation {
  /** [H, W]: segment ids, 0 where no segment is; -1 everywhere if no query passed the threshold. */
  readonly segmentation: HostTensor<Int32Array>;
  readonly segmentsInfo: Segment[];
}

/** The same with run lengths instead of a map. */
export interface EncodedSegmentation {
  /**
   * For every value of the map, 0 included, ascending: start (from 1) and length of each run along the rows. A map of -1
   * alone (no query passed the threshold) stays a map, as in HuggingFace.
   */
  readonly segmentation: number[][] | HostTensor<Int32Array>;
  readonly segmentsInfo: Segment[];
}

export interface InstanceSegmentationOptions {
  /** Queries with a higher score are kept, 0 … 1. Default 0.5. */
  readonly threshold?: number | undefined;
  /**
   * Score times probability from which on a pixel counts as part of a query's whole mask, 0 … 1. Default 0.5. It decides
   * which segments are dropped, not which pixels they get.
   */
  readonly maskThreshold?: number | undefined;
  /** A segment is dropped unless it won more than this part of its whole mask's pixels, 0 … 1. Default 0.8. */
  readonly overlapMaskAreaThreshold?: number | undefined;
  /** Original size of each image; maps are resized to it. */
  readonly targetSizes?: readonly ImageSize[] | undefined;
}

export interface PanopticSegmentationOptions extends InstanceSegmentationOptions {
  /** Labels of which an image has one segment at most ("stuff"). Default none. */
  readonly labelIdsToFuse?: Iterable<number> | undefined;
}

const instanceOptionNames = ['threshold', 'maskThreshold', 'overlapMaskAreaThreshold', 'targetSizes'];

/** Every kept query a segment of its own. */
export function segmentInstances(
  outputs: SegmentationOutputs,
  options: InstanceSegmentationOptions,
  where: string,
): Segmentation[] {
  checkOptionNames(options, [...instanceOptionNames, 'returnCocoAnnotation'], where);
  return segment(outputs, options, new Set(), where);
}

/** Instances, with the segments of some labels fused. */
export function segmentPanoptic(
  outputs: SegmentationOutputs,
  options: PanopticSegmentationOptions,
  where: string,
): Segmentation[] {
  checkOptionNames(options, [...instanceOptionNames, 'labelIdsToFuse'], where);
  const labels = options.labelIdsToFuse ?? [];
  if (typeof labels !== 'object' || !(Symbol.iterator in labels))
    throw new OptionError(`${where}: expected labelIdsToFuse to be a list, got ${describe(labels)}`);
  const fused = new Set(labels);
  for (const label of fused) {
    if (!Number.isInteger(label))
      throw new OptionError(`${where}: expected labelIdsToFuse of whole numbers, got ${describe(label)}`);
  }
  return segment(outputs, options, fused, where);
}

function segment(
  outputs: SegmentationOutputs,
  options: InstanceSegmentationOptions,
  fusedLabels: ReadonlySet<number>,
  where: string,
): Segmentation[] {
  const { threshold = 0.5, maskThreshold = 0.5, overlapMaskAreaThreshold = 0.8, targetSizes } = options;
  for (const [name, value] of Object.entries({ threshold, maskThreshold, overlapMaskAreaThreshold }))
    checkFraction(value, name, where);
  const { batch, maskHeight, maskWidth } = checkSegmentationOutputs(outputs, where);
  if (targetSizes !== undefined) checkMapSizes(targetSizes, batch, 'targetSizes', where);

  return Array.from({ length: batch }, (_, image) => {
    const [height, width] = targetSizes?.[image] ?? [maskHeight, maskWidth];
    const shape = [height, width];
    const kept = confidentQueries(outputs, image, threshold);
    if (kept.length === 0)
      return { segmentation: { shape, data: new Int32Array(height * width).fill(-1) }, segmentsInfo: [] };
    const { winner, won, claimed } = assignMasks(kept, maskHeight, maskWidth, height, width, maskThreshold);
    /** Whether a query has won more than a part of the pixels that its mask claims. */
    const exists = (index: number): boolean => {
      const area = won[index]!;
      if (area === 0) return false;
      // Beyond twice the number at which the part is too small, the exact one does not matter.
      const claims = claimed(index, (2 * area) / Math.max(overlapMaskAreaThreshold, 1e-9));
      // The division is float32's in the reference.
      return claims > 0 && Math.fround(area / claims) > overlapMaskAreaThreshold;
    };

    const segmentsInfo: Segment[] = [];
    const idOf = new Int32Array(kept.length);
    const fusedIds = new Map<number, number>();
    let id = 0;
    for (const [index, { label, score }] of kept.entries()) {
      if (!exists(index)) continue;
      // After a fused segment counting goes on from its id, as in HuggingFace, even if the next id is taken.
      id = fusedIds.get(label) ?? id + 1;
      idOf[index] = id;
      const wasFused = fusedLabels.has(label);
      segmentsInfo.push({ id, labelId: label, wasFused, score: Number(formatFixed(score, 6)) });
      if (wasFused) fusedIds.set(label, id);
    }
    return { segmentation: { shape, data: winner.map(index => idOf[index]!) }, segmentsInfo };
  });
}

/** A query whose class is an object, with its mask. */
export interface ConfidentQuery {
  readonly label: number;
  readonly score: number;
  /** [h, w] */
  readonly logits: Float32Array;
}

/** The queries of an image whose most probable class (softmax) is not the last one and has a score above the threshold. */
export function confidentQueries(
  { logits, pred_masks: masks }: SegmentationOutputs,
  image: number,
  threshold: number,
): ConfidentQuery[] {
  const [, queries, columns] = logits.shape as [number, number, number];
  const pixels = masks.shape[2]! * masks.shape[3]!;
  const probabilities = new Float32Array(columns);
  const kept: ConfidentQuery[] = [];
  for (let query = 0; query < queries; query++) {
    const row = image * queries + query;
    softmax(logits.data.subarray(row * columns, (row + 1) * columns), probabilities);
    const label = indexOfLargest(probabilities);
    const score = probabilities[label]!;
    if (label === columns - 1 || !(score > Math.fround(threshold))) continue;
    kept.push({ label, score, logits: masks.data.subarray(row * pixels, (row + 1) * pixels) });
  }
  return kept;
}

/** Checks that the outputs fit together. */
export function checkSegmentationOutputs(
  outputs: SegmentationOutputs,
  where: string,
  leastColumns = SOFTMAX_COLUMNS,
): { batch: number; queries: number; columns: number; maskHeight: number; maskWidth: number } {
  const [batch, queries, columns] = checkLogits(outputs, where, leastColumns);
  const fits = (shape: readonly number[]) =>
    shape.length === 4 && shape[0] === batch && shape[1] === queries && shape[2]! * shape[3]! > 0;
  checkOutput(outputs.pred_masks, fits, `pred_masks [${batch}, ${queries}, h, w]`, where);
  const [, , maskHeight, maskWidth] = outputs.pred_masks.shape as [number, number, number, number];
  return { batch, queries, columns, maskHeight, maskWidth };
}

/** HuggingFace's run lengths of a segmentation map (see `EncodedSegmentation`). */
export function runLengths({ data }: HostTensor<Int32Array>): number[][] {
  const runs = new Map<number, number[]>();
  for (let start = 0; start < data.length; ) {
    const value = data[start]!;
    let end = start + 1;
    while (end < data.length && data[end] === value) end++;
    getOrInsert(runs, value, () => []).push(start + 1, end - start);
    start = end;
  }
  return [...runs].sort(([a], [b]) => a - b).map(([, ofValue]) => ofValue);
}
