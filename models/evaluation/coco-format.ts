/**
 * COCO's JSON formats for detection: datasets (images, annotations, categories) and results, and their checks.
 * Boxes are [x, y, width, height] in pixels of the original image. See https://cocodataset.org/#format-data and #format-results.
 */

import { ShapeError } from '../../engine/errors.ts';
import { checkHostTensor, formatShape, type HostTensor, isTypedArray } from '../../engine/host-tensor.ts';
import {
  requireFinite,
  requireFlag,
  requireInteger,
  requireList,
  requireNumbers,
  requireObject,
  requireUniqueIds,
  unexpected,
} from './checks.ts';
import { type CocoSegmentation, rleFromMask, rleToCoco } from './rle.ts';

export interface CocoImage {
  readonly id: number;
  /** In pixels. Files may lack them where no polygons are compared. */
  readonly width: number;
  readonly height: number;
  readonly file_name?: string;
}

export interface CocoCategory {
  readonly id: number;
  readonly name: string;
  readonly supercategory?: string;
}

export interface CocoAnnotation {
  readonly id: number;
  readonly image_id: number;
  readonly category_id: number;
  /** Files may lack it where masks are compared. */
  readonly bbox: readonly number[];
  /** Area in pixels of the object (of its mask, where there is one); decides whether it counts as small, medium or large. */
  readonly area: number;
  /** 1 (or true, in files) for a region that covers a crowd: detections in it are neither right nor wrong. */
  readonly iscrowd?: number;
  readonly segmentation?: CocoSegmentation;
  /** x, y, visibility (0 not labelled, 1 hidden, 2 visible) of each keypoint. */
  readonly keypoints?: readonly number[];
  readonly num_keypoints?: number;
}

export interface CocoDataset {
  readonly images: readonly CocoImage[];
  readonly annotations: readonly CocoAnnotation[];
  readonly categories: readonly CocoCategory[];
}

/** One detection as COCO result files hold it. */
export interface CocoResult {
  readonly image_id: number;
  readonly category_id: number;
  readonly score: number;
  readonly bbox?: readonly number[];
  readonly segmentation?: CocoSegmentation;
  readonly keypoints?: readonly number[];
}

/** The detections of one image, as post-processing at the image's original size returns them. N detections. */
export interface ImageDetections {
  /** Confidence, [N]. */
  readonly scores: ArrayLike<number> | HostTensor;
  /** Category ids, [N]. */
  readonly labels: ArrayLike<number> | HostTensor<Int32Array>;
  /** Corners x0, y0, x1, y1 in pixels, [N, 4]. */
  readonly boxes: HostTensor;
  /** Masks of the image's size, [N, H, W] (or [N, 1, H, W]), inside where above 0.5. */
  readonly masks?: HostTensor | HostTensor<Uint8Array>;
  /** x, y and confidence of each keypoint, [N, K, 3]. */
  readonly keypoints?: HostTensor;
}

/**
 * The detections of one image in COCO's results format: boxes with their width and height, masks run-length encoded.
 *
 * @throws ShapeError if the tensors do not hold N entries each; OptionError for what is no tensor
 */
export function toCocoResults(imageId: number, detections: ImageDetections): CocoResult[] {
  const check = (name: keyof ImageDetections) =>
    checkHostTensor(detections?.[name] as HostTensor, `image ${imageId}: ${name}`);
  for (const name of ['scores', 'labels'] as const) {
    const values = detections?.[name];
    if (!Array.isArray(values) && !isTypedArray(values)) check(name);
  }
  check('boxes');
  for (const name of ['masks', 'keypoints'] as const) if (detections[name] !== undefined) check(name);
  const scores = numbersOf(detections.scores);
  const labels = numbersOf(detections.labels);
  const count = scores.length;
  const { boxes, masks, keypoints } = detections;
  requireCount('labels', labels.length, count);
  requireCount('boxes', boxes.data.length, 4 * count);
  const [height, width] = masks === undefined ? [] : masks.shape.slice(-2);
  if (masks !== undefined) {
    if (height === undefined || width === undefined) {
      throw new ShapeError(`masks: expected [N, H, W], got ${formatShape(masks.shape)}`);
    }
    requireCount('masks', masks.data.length, count * height * width);
  }
  const perObject = keypoints === undefined || count === 0 ? 0 : keypoints.data.length / count;
  if (perObject % 3 !== 0) {
    throw new ShapeError(`keypoints: expected [${count}, K, 3], got ${keypoints!.data.length} numbers`);
  }
  // Tensors of the reference are float32 while they become widths and heights, and so are ours.
  const difference = (a: number, b: number) => (boxes.data instanceof Float32Array ? Math.fround(a - b) : a - b);
  return Array.from({ length: count }, (_, index) => {
    const [left, top, right, bottom] = boxes.data.subarray(4 * index, 4 * index + 4);
    const mask = masks?.data.subarray(index * height! * width!, (index + 1) * height! * width!);
    return {
      image_id: imageId,
      category_id: labels[index]!,
      bbox: [left!, top!, difference(right!, left!), difference(bottom!, top!)],
      score: scores[index]!,
      ...(mask && {
        segmentation: rleToCoco(
          rleFromMask(
            mask.map(pixel => (pixel > 0.5 ? 1 : 0)),
            height!,
            width!,
          ),
        ),
      }),
      ...(keypoints && { keypoints: [...keypoints.data.subarray(index * perObject, (index + 1) * perObject)] }),
    };
  });
}

/** Checks that `value` (a parsed JSON file) is a COCO detection dataset; errors name the entry. */
export function checkCocoDataset(value: unknown): CocoDataset {
  const dataset = requireObject(value, 'dataset');
  const images = requireList(dataset, 'images');
  const annotations = requireList(dataset, 'annotations');
  const categories = requireList(dataset, 'categories');
  categories.forEach((entry, index) => {
    const category = requireObject(entry, `categories[${index}]`);
    requireInteger(category.id, `categories[${index}].id`);
    if (typeof category.name !== 'string') {
      throw unexpected(`categories[${index}].name`, 'a string', category.name);
    }
  });
  images.forEach((entry, index) => {
    const where = `images[${index}]`;
    const image = requireObject(entry, where);
    requireInteger(image.id, `${where}.id`);
    for (const key of ['width', 'height']) requireInteger(image[key] ?? 0, `${where}.${key}`);
  });
  requireUniqueIds(images, 'images');
  requireUniqueIds(categories, 'categories');
  annotations.forEach((entry, index) => {
    const where = `annotations[${index}]`;
    const annotation = requireObject(entry, where);
    for (const key of ['id', 'image_id', 'category_id']) requireInteger(annotation[key], `${where}.${key}`);
    if ((annotation.bbox ?? undefined) !== undefined) requireNumbers(annotation.bbox, `${where}.bbox`, 4);
    requireFinite(annotation.area, `${where}.area`);
    requireFlag(annotation.iscrowd ?? 0, `${where}.iscrowd`);
    if (annotation.keypoints !== undefined) requireNumbers(annotation.keypoints, `${where}.keypoints`);
    if (annotation.num_keypoints !== undefined) requireInteger(annotation.num_keypoints, `${where}.num_keypoints`);
  });
  requireUniqueIds(annotations, 'annotations');
  return value as CocoDataset;
}

/** Checks that `value` (a parsed JSON file) is a list of COCO results; errors name the entry. */
export function checkCocoResults(value: unknown): readonly CocoResult[] {
  if (!Array.isArray(value)) throw unexpected('results', 'a list', value);
  value.forEach((entry, index) => {
    const where = `results[${index}]`;
    const result = requireObject(entry, where);
    requireInteger(result.image_id, `${where}.image_id`);
    requireInteger(result.category_id, `${where}.category_id`);
    requireFinite(result.score, `${where}.score`);
    if (hasBox(result)) requireNumbers(result.bbox, `${where}.bbox`, 4);
    if (result.keypoints !== undefined) requireNumbers(result.keypoints, `${where}.keypoints`);
  });
  return value;
}

/** Results of masks may leave their box out, or empty. */
export function hasBox<Result extends { readonly bbox?: unknown }>(result: Result): boolean {
  return result.bbox !== undefined && !(Array.isArray(result.bbox) && result.bbox.length === 0);
}

/** The elements of a list or tensor of one dimension. */
function numbersOf(values: ArrayLike<number> | { readonly data: ArrayLike<number> }): ArrayLike<number> {
  return 'data' in values ? values.data : values;
}

function requireCount(name: string, got: number, expected: number): void {
  if (got !== expected) throw new ShapeError(`${name}: expected ${expected} numbers, got ${got}`);
}
