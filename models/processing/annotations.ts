// COCO annotations of a picture, brought into the form that the losses expect and taken along when the picture is
// resized and padded (HF `prepare_coco_detection_annotation`, `prepare_coco_panoptic_annotation`, `resize_annotation`,
// `normalize_annotation`, `_update_annotation_for_padded_image`). Arithmetic in float32 wherever the reference has it.
//
// N objects, H height, W width
import { join, normalize, sep } from 'node:path';
import { describe, inEntry } from '../../engine/describe.ts';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import type { HostTensor } from '../../engine/host-tensor.ts';
import type { CocoAnnotation } from '../evaluation/coco-format.ts';
import { panopticIds } from '../evaluation/panoptic-evaluator.ts';
import { rleFromSegmentation, rleToMask } from '../evaluation/rle.ts';
import { readImageSync } from '../images/files.ts';
import { checkImage, type Image, toRgb } from '../images/image.ts';
import type { ImageSize } from './image-size.ts';
import type { AnnotationFormat } from './settings.ts';

/** What is needed of an object in a COCO detection annotation file. Boxes are [x, y, width, height] in pixels. */
export type CocoObject = Pick<
  CocoAnnotation,
  'category_id' | 'bbox' | 'area' | 'iscrowd' | 'segmentation' | 'keypoints'
>;

/** All objects of one image. */
export interface CocoDetectionAnnotation {
  readonly image_id: number;
  readonly annotations: readonly CocoObject[];
}

/** An image's entry in a COCO panoptic annotation file. */
export interface CocoPanopticAnnotation {
  /** Or `id`, as image entries have it. */
  readonly image_id?: number;
  readonly id?: number;
  /** The PNG whose colours are segment ids, r + 256 g + 65536 b. */
  readonly file_name: string;
  readonly segments_info: readonly {
    readonly id: number;
    readonly category_id: number;
    readonly iscrowd: number;
    readonly area: number;
  }[];
}

export type ImageAnnotation = CocoDetectionAnnotation | CocoPanopticAnnotation;

/** What a picture shows, in the order of the annotation file. HuggingFace's names in camelCase. */
export interface ImageLabels {
  readonly imageId: number;
  /** The picture's size after resizing (and padding). */
  readonly size: ImageSize;
  /** The picture's size as it was given. */
  readonly origSize: ImageSize;
  /** [N] category ids. */
  readonly classLabels: HostTensor<Int32Array>;
  /**
   * [N, 4]: centre x, centre y, width, height in 0 … 1 of `size`; with `doConvertAnnotations: false` the corners x0, y0,
   * x1, y1 in pixels of the resized picture.
   */
  readonly boxes: HostTensor;
  /** [N] in pixels of the resized picture. */
  readonly area: HostTensor;
  /** [N] */
  readonly iscrowd: HostTensor<Int32Array>;
  /** [N, H, W] of 0 and 1, at `size`. */
  readonly masks?: HostTensor<Uint8Array>;
  /** [N · K, 3]: x, y (pixels of the picture as it was given) and visibility of each keypoint. */
  readonly keypoints?: HostTensor;
}

/** Throws an `OptionError` unless the annotation has the form that `format` says. */
export function checkAnnotation(annotation: ImageAnnotation, format: AnnotationFormat, where: string): void {
  const refuse = (field: string, expected: string, value: unknown) => {
    throw new OptionError(`${where}: expected ${field} to be ${expected}, got ${describe(value)}`);
  };
  if (typeof annotation !== 'object' || annotation === null) refuse('a COCO annotation', 'an object', annotation);
  const detection = annotation as Partial<CocoDetectionAnnotation>;
  const panoptic = annotation as Partial<CocoPanopticAnnotation>;
  const imageId = format === 'coco_panoptic' ? (panoptic.image_id ?? panoptic.id) : detection.image_id;
  if (!Number.isSafeInteger(imageId)) refuse('image_id', 'a whole number', imageId);

  if (format === 'coco_detection') {
    if (!Array.isArray(detection.annotations)) refuse('annotations', 'a list of COCO objects', detection.annotations);
    for (const [index, object] of detection.annotations!.entries()) {
      const field = `annotations[${index}]`;
      if (typeof object !== 'object' || object === null) refuse(field, 'a COCO object', object);
      if (!isClass(object.category_id)) refuse(`${field}.category_id`, 'a whole number', object.category_id);
      if (!isNumbers(object.bbox) || object.bbox.length !== 4)
        refuse(`${field}.bbox`, '[x, y, width, height]', object.bbox);
      if (!Number.isFinite(object.area)) refuse(`${field}.area`, 'a number', object.area);
      const { iscrowd } = object;
      if (iscrowd !== undefined && !isFlag(iscrowd)) refuse(`${field}.iscrowd`, '0 or 1', iscrowd);
    }
    return;
  }
  if (typeof panoptic.file_name !== 'string') refuse('file_name', 'the name of a PNG file', panoptic.file_name);
  if (!Array.isArray(panoptic.segments_info)) refuse('segments_info', 'a list of segments', panoptic.segments_info);
  for (const [index, segment] of panoptic.segments_info!.entries()) {
    const field = `segments_info[${index}]`;
    if (typeof segment !== 'object' || segment === null) refuse(field, 'a segment', segment);
    if (!isClass(segment.id)) refuse(`${field}.id`, 'a whole number', segment.id);
    if (!isClass(segment.category_id)) refuse(`${field}.category_id`, 'a whole number', segment.category_id);
    if (!isFlag(segment.iscrowd)) refuse(`${field}.iscrowd`, '0 or 1', segment.iscrowd);
    if (!Number.isFinite(segment.area)) refuse(`${field}.area`, 'a number', segment.area);
  }
}

const isClass = (value: unknown): boolean => Number.isInteger(value) && Math.abs(value as number) < 2 ** 31;
const isFlag = (value: unknown): boolean => typeof value === 'boolean' || isClass(value);
const isNumbers = (value: unknown): value is number[] => Array.isArray(value) && value.every(Number.isFinite);

const integers = (values: readonly number[]): HostTensor<Int32Array> => ({
  shape: [values.length],
  data: Int32Array.from(values),
});
const floats = (values: readonly number[]): HostTensor => ({ shape: [values.length], data: Float32Array.from(values) });

/**
 * The labels of a picture of `size` from its COCO detection annotation: crowds and boxes without an inside are dropped,
 * boxes are clipped to the picture. Boxes are corners in pixels.
 */
export function prepareDetection(
  annotation: CocoDetectionAnnotation,
  size: ImageSize,
  withMasks: boolean,
  where: string,
): ImageLabels {
  const objects = annotation.annotations
    .map((object, index) => ({ object, index, corners: clippedCorners(object, size) }))
    .filter(({ object }) => !object.iscrowd);
  const kept = objects.filter(({ corners: [left, top, right, bottom] }) => right > left && bottom > top);
  const keptObjects = kept.map(({ object }) => object);
  return {
    imageId: annotation.image_id,
    size,
    origSize: size,
    classLabels: integers(keptObjects.map(object => object.category_id)),
    boxes: { shape: [kept.length, 4], data: Float32Array.from(kept.flatMap(({ corners }) => corners)) },
    area: floats(keptObjects.map(object => object.area)),
    iscrowd: integers(keptObjects.map(() => 0)),
    ...(objects[0]?.object.keypoints === undefined ? {} : { keypoints: keypointsOf(keptObjects, where) }),
    ...(withMasks ? { masks: polygonMasks(kept, size, where) } : {}),
  };
}

function clippedCorners({ bbox }: CocoObject, [height, width]: ImageSize): [number, number, number, number] {
  const [x, y, boxWidth, boxHeight] = bbox.map(Math.fround) as [number, number, number, number];
  const clip = (value: number, limit: number) => Math.min(Math.max(value, 0), limit);
  return [
    clip(x, width),
    clip(y, height),
    clip(Math.fround(x + boxWidth), width),
    clip(Math.fround(y + boxHeight), height),
  ];
}

function keypointsOf(objects: readonly CocoObject[], where: string): HostTensor {
  const all = objects.map(({ keypoints }) => {
    if (!isNumbers(keypoints) || keypoints.length % 3 !== 0 || keypoints.length !== objects[0]!.keypoints!.length) {
      throw new OptionError(
        `${where}: expected x, y and visibility of as many keypoints for every object, got ${describe(keypoints)}`,
      );
    }
    return keypoints;
  });
  const data = Float32Array.from(all.flat());
  return { shape: [data.length / 3, 3], data };
}

/** @param objects with their places in the annotation */
function polygonMasks(
  objects: readonly { readonly object: CocoObject; readonly index: number }[],
  [height, width]: ImageSize,
  where: string,
): HostTensor<Uint8Array> {
  const data = new Uint8Array(objects.length * height * width);
  for (const [place, { object, index }] of objects.entries()) {
    const { segmentation } = object;
    const entry = `${where}: annotations[${index}]`;
    if (segmentation === undefined)
      throw new OptionError(`${entry}: expected a segmentation for every object when masks are wanted`);
    const rle = inEntry(entry, () => rleFromSegmentation(segmentation, height, width));
    data.set(rleToMask(rle), place * height * width);
  }
  return { shape: [objects.length, height, width], data };
}

/** Where the id pictures of panoptic annotations come from. */
export interface PanopticMasks {
  /** Folder of the PNG files. */
  readonly path?: string | undefined;
  /** Or the picture itself. */
  readonly image?: Image | undefined;
}

/** The reference's box of a mask without pixels: left, top, right, bottom. */
const EMPTY_MASK_BOX = [1e8, 1e8, 0, 0];

/** The labels of a picture of `size` from its COCO panoptic annotation. Boxes are corners in pixel indices. */
export function preparePanoptic(
  annotation: CocoPanopticAnnotation,
  size: ImageSize,
  withMasks: boolean,
  source: PanopticMasks,
  where: string,
): ImageLabels {
  const [height, width] = size;
  const ids = segmentIds(idPicture(annotation, source, where), size, where);
  const segments = annotation.segments_info;
  const pixels = height * width;
  const masks = withMasks ? new Uint8Array(segments.length * pixels) : undefined;
  const boxes = Float32Array.from(segments.flatMap(() => EMPTY_MASK_BOX));
  /** The segment of each id, of several with one id the first. */
  const firstOf = new Map(segments.map(({ id }, index) => [id, index] as const).toReversed());
  let id: number | undefined;
  let index: number | undefined;
  for (let y = 0, pixel = 0; y < height; y++) {
    for (let x = 0; x < width; x++, pixel++) {
      if (ids[pixel] !== id) {
        id = ids[pixel]!;
        index = firstOf.get(id);
      }
      if (index === undefined) continue;
      if (masks !== undefined) masks[index * pixels + pixel] = 1;
      const box = index * 4;
      if (x < boxes[box]!) boxes[box] = x;
      if (y < boxes[box + 1]!) boxes[box + 1] = y;
      if (x > boxes[box + 2]!) boxes[box + 2] = x;
      if (y > boxes[box + 3]!) boxes[box + 3] = y;
    }
  }
  for (const [index, segment] of segments.entries()) {
    const first = firstOf.get(segment.id)!;
    if (first === index) continue;
    boxes.copyWithin(index * 4, first * 4, first * 4 + 4);
    masks?.copyWithin(index * pixels, first * pixels, (first + 1) * pixels);
  }
  return {
    imageId: (annotation.image_id ?? annotation.id)!,
    size,
    origSize: size,
    classLabels: integers(segments.map(segment => segment.category_id)),
    boxes: { shape: [segments.length, 4], data: boxes },
    area: floats(segments.map(segment => segment.area)),
    iscrowd: integers(segments.map(segment => Number(segment.iscrowd))),
    ...(masks === undefined ? {} : { masks: { shape: [segments.length, height, width], data: masks } }),
  };
}

function idPicture(annotation: CocoPanopticAnnotation, { path, image }: PanopticMasks, where: string): Image {
  if (image !== undefined) {
    checkImage(image, `${where}: masks`);
    return toRgb(image);
  }
  if (path === undefined)
    throw new OptionError(`${where}: expected masksPath (a folder) or masks (pictures) for panoptic annotations`);
  const name = normalize(annotation.file_name);
  if (name.split(sep).includes('..') || name === '.' || name.includes('\0')) {
    throw new OptionError(`${where}: expected a file_name inside masksPath, got ${describe(annotation.file_name)}`);
  }
  return readImageSync(join(path, name));
}

/** Segment id of every pixel: r + 256 g + 65536 b. */
function segmentIds(picture: Image, [height, width]: ImageSize, where: string): Int32Array {
  if (picture.height !== height || picture.width !== width) {
    throw new ShapeError(
      `${where}: expected a mask picture of ${height} x ${width} like the image, got ${picture.height} x ${picture.width}`,
    );
  }
  return panopticIds(picture).data;
}

/** Takes labels along when the picture is resized; `resizeMask` is the picture's nearest filter. */
export function resizeLabels(
  labels: ImageLabels,
  size: ImageSize,
  resizeMask: (mask: Image, height: number, width: number) => Image,
): ImageLabels {
  const [height, width] = size;
  const ratioY = height / labels.size[0];
  const ratioX = width / labels.size[1];
  return {
    ...labels,
    size,
    boxes: scaleBoxes(labels.boxes, Math.fround(ratioX), Math.fround(ratioY)),
    area: { shape: labels.area.shape, data: labels.area.data.map(area => area * Math.fround(ratioX * ratioY)) },
    ...(labels.masks === undefined
      ? {}
      : { masks: mapMasks(labels.masks, size, mask => resizeMask(mask, height, width).data) }),
  };
}

/** Corners in pixels → centre and size relative to the picture. */
export function relativeBoxes(labels: ImageLabels): ImageLabels {
  const [height, width] = labels.size;
  const data = new Float32Array(labels.boxes.data.length);
  for (let at = 0; at < data.length; at += 4) {
    const [x0, y0, x1, y1] = labels.boxes.data.subarray(at, at + 4) as unknown as [number, number, number, number];
    data[at] = Math.fround(x0 + x1) / 2 / width;
    data[at + 1] = Math.fround(y0 + y1) / 2 / height;
    data[at + 2] = Math.fround(x1 - x0) / width;
    data[at + 3] = Math.fround(y1 - y0) / height;
  }
  return { ...labels, boxes: { shape: labels.boxes.shape, data } };
}

/** Takes labels along when the picture is padded at the bottom and right. Relative boxes become relative to the whole. */
export function padLabels(labels: ImageLabels, size: ImageSize, boxesAreRelative: boolean): ImageLabels {
  const [height, width] = labels.size;
  const [paddedHeight, paddedWidth] = size;
  const padMask = (mask: Image) => {
    const padded = new Uint8Array(paddedHeight * paddedWidth);
    for (let y = 0; y < height; y++) padded.set(mask.data.subarray(y * width, (y + 1) * width), y * paddedWidth);
    return padded;
  };
  return {
    ...labels,
    size,
    boxes: boxesAreRelative ? scaleBoxes(labels.boxes, width / paddedWidth, height / paddedHeight) : labels.boxes,
    ...(labels.masks === undefined ? {} : { masks: mapMasks(labels.masks, size, padMask) }),
  };
}

const scaleBoxes = (boxes: HostTensor, ratioX: number, ratioY: number): HostTensor => ({
  shape: boxes.shape,
  data: boxes.data.map((value, index) => value * (index % 2 === 0 ? ratioX : ratioY)),
});

function mapMasks(
  masks: HostTensor<Uint8Array>,
  [height, width]: ImageSize,
  map: (mask: Image) => Uint8Array,
): HostTensor<Uint8Array> {
  const [count, oldHeight, oldWidth] = masks.shape as [number, number, number];
  const oldPixels = oldHeight * oldWidth;
  const data = new Uint8Array(count * height * width);
  for (let index = 0; index < count; index++) {
    const mask = masks.data.subarray(index * oldPixels, (index + 1) * oldPixels);
    data.set(map({ height: oldHeight, width: oldWidth, channels: 1, data: mask }), index * height * width);
  }
  return { shape: [count, height, width], data };
}
