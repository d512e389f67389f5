import { describe } from '../../engine/describe.ts';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { formatShape, type HostTensor } from '../../engine/host-tensor.ts';
import { Canvas, type Color, grow, type Rectangle } from './canvas.ts';
import { asImage, type Image, type ImageDataLike } from './image.ts';
import { drawLegend, layOutLegend, legendBackground } from './legend.ts';
import { classColor } from './palette.ts';
import { enlargeMap, Regions, type SegmentationMap, STRAIGHT_STEP } from './regions.ts';
import { type Style, shadow, styleFor } from './style.ts';
import { aroundBox, aroundPoint, TagLayout } from './tags.ts';

/** One detected object to draw. */
export interface DetectionToDraw {
  /** The text of the tag, usually the class name. */
  readonly label: string;
  /** Decides the colour. */
  readonly labelId: number;
  /** 0 … 1, shown after the label. */
  readonly score?: number | undefined;
  /** Left, top, right, bottom in pixels of the image. */
  readonly box: ArrayLike<number>;
}

/** One segment to draw: the pixels of a segmentation map that hold `id`. */
export interface SegmentToDraw {
  readonly id: number;
  readonly label: string;
  readonly labelId: number;
  readonly score?: number | undefined;
}

/**
 * Draws boxes with labels and scores on a copy of `picture`. Small pictures are enlarged by a whole factor, so that the
 * labels can be read beside the objects; line widths and letters follow the picture's size.
 *
 * @throws ShapeError when the fields of `picture` disagree; OptionError for detections that are no list of those
 */
export function drawDetections(picture: Image | ImageDataLike, detections: readonly DetectionToDraw[]): Image {
  const image = asImage(picture, 'drawDetections');
  checkItems(detections, '{ label, labelId, score, box }', 'drawDetections');
  for (const { box } of detections) {
    if (box?.length !== 4 || Array.from(box).some(Number.isNaN))
      throw new OptionError(`drawDetections: expected a box of left, top, right and bottom, got ${describe(box)}`);
  }
  const factor = enlargement(image);
  const canvas = Canvas.of(image, factor);
  const style = styleFor(canvas.width, canvas.height);
  const bestFirst = [...detections].sort((a, b) => (b.score ?? 1) - (a.score ?? 1));
  const boxes = bestFirst.map(({ box }) => outline(box, factor, canvas));

  // Small boxes are drawn over large ones, and tags over all boxes.
  const largestFirst = boxes.map((_, index) => index).sort((a, b) => areaOf(boxes[b]!) - areaOf(boxes[a]!));
  for (const index of largestFirst) {
    const box = boxes[index]!;
    const radius = 1.5 * style.thickness;
    canvas.strokeRectangle(grow(box, style.halo), radius + style.halo, style.thickness + 2 * style.halo, shadow);
    canvas.strokeRectangle(box, radius, style.thickness, { color: classColor(bestFirst[index]!.labelId) });
  }
  const tags = new TagLayout(canvas, style);
  for (const [index, detection] of bestFirst.entries()) {
    tags.place(tagText(detection), classColor(detection.labelId), aroundBox(boxes[index]!));
  }
  tags.draw();
  return canvas.toImage();
}

/**
 * Draws a segmentation over a copy of `picture`: every segment tinted and outlined in its colour, with a tag where it is
 * large enough for one, and a legend of the classes below the picture. Small pictures are enlarged by a whole factor.
 *
 * @param segmentation ids by pixel: [H, W] of a post-processor, or `{ width, height, data }`
 * @throws ShapeError when the fields of `picture` or of the map disagree, or the two have different sizes; OptionError for
 *   segments that are no list
 */
export function drawSegmentation(
  picture: Image | ImageDataLike,
  segmentation: SegmentationMap | HostTensor<Int32Array>,
  segments: readonly SegmentToDraw[],
): Image {
  const image = asImage(picture, 'drawSegmentation');
  checkItems(segments, '{ id, label, labelId, score }', 'drawSegmentation');
  const { width, height } = image;
  const map = mapOf(segmentation);
  if (map?.width !== width || map.height !== height || map.data?.length !== width * height) {
    const got = `${map?.height} x ${map?.width} with ${map?.data?.length} ids`;
    throw new ShapeError(`drawSegmentation: expected a map of ${height} x ${width}, got ${got}`);
  }
  const factor = enlargement(image);
  const [drawnWidth, drawnHeight] = [width * factor, height * factor];
  const style = styleFor(drawnWidth, drawnHeight);
  const legend = layOutLegend(segments, drawnWidth, style);
  const canvas = Canvas.of(image, factor, legend.height, legendBackground);

  const colors = new Map<number, Color>();
  const instances = new Map<number, number>();
  for (const { id, labelId } of segments) {
    if (colors.has(id)) continue;
    const instance = instances.get(labelId) ?? 0;
    instances.set(labelId, instance + 1);
    colors.set(id, classColor(labelId, instance));
  }

  const regions = new Regions(enlargeMap(map, factor), drawnWidth, drawnHeight);
  tint(canvas, regions, colors, style);
  drawLegend(canvas, drawnHeight, legend, style);

  const centers = regions.innermostPoints();
  const tags = new TagLayout(canvas, style, drawnHeight);
  const tagged = new Set<number>();
  for (const segment of [...segments].sort((a, b) => (b.score ?? 1) - (a.score ?? 1))) {
    const center = centers.get(segment.id);
    if (center === undefined || tagged.has(segment.id)) continue;
    tagged.add(segment.id); // fused segments appear once for each of their queries
    if (center.clearance < style.capital) continue;
    tags.place(tagText(segment), colors.get(segment.id)!, aroundPoint(center));
  }
  tags.draw();
  return canvas.toImage();
}

function mapOf(segmentation: SegmentationMap | HostTensor<Int32Array>): SegmentationMap | undefined {
  const { shape, data } = (segmentation ?? {}) as Partial<HostTensor<Int32Array>>;
  if (!Array.isArray(shape)) return segmentation as SegmentationMap;
  if (shape.length !== 2) {
    throw new ShapeError(`drawSegmentation: expected a map of two axes, got ${formatShape(shape)}`);
  }
  return { height: shape[0], width: shape[1], data: data! };
}

/** Checks what detections and segments have in common. */
function checkItems(items: unknown, form: string, where: string): void {
  if (!Array.isArray(items) || !items.every(item => typeof item === 'object' && item !== null)) {
    throw new OptionError(`${where}: expected a list of ${form}, got ${describe(items)}`);
  }
  for (const { label, labelId, score } of items) {
    if (typeof label !== 'string') throw new OptionError(`${where}: expected a label of text, got ${describe(label)}`);
    if (!Number.isInteger(labelId))
      throw new OptionError(`${where}: expected a labelId that is an integer, got ${describe(labelId)}`);
    if (score !== undefined && typeof score !== 'number')
      throw new OptionError(`${where}: expected a score that is a number, got ${describe(score)}`);
  }
}

const TINT_OPACITY = 0.42;

/** Pictures whose short side is below this are enlarged before they are drawn on; long ones no more than fourfold. */
const SMALLEST_COMFORTABLE_SIDE = 400;

function enlargement({ width, height }: Image): number {
  const shortest = Math.min(width, height);
  const largest = Math.max(4, Math.floor((4 * SMALLEST_COMFORTABLE_SIDE) / Math.max(width, height)));
  return Math.min(largest, Math.max(1, Math.ceil(SMALLEST_COMFORTABLE_SIDE / shortest)));
}

/** Box edges on whole pixels, inside the picture, at least as large as their own line. */
function outline(box: ArrayLike<number>, factor: number, canvas: Canvas): Rectangle {
  const edge = (value: number, limit: number) => Math.round(Math.min(limit, Math.max(0, value * factor)));
  const left = Math.min(edge(box[0]!, canvas.width), canvas.width - 4);
  const top = Math.min(edge(box[1]!, canvas.height), canvas.height - 4);
  return {
    left,
    top,
    right: Math.max(edge(box[2]!, canvas.width), left + 4),
    bottom: Math.max(edge(box[3]!, canvas.height), top + 4),
  };
}

const areaOf = ({ left, top, right, bottom }: Rectangle) => (right - left) * (bottom - top);

function tagText({ label, score }: Pick<DetectionToDraw, 'label' | 'score'>): string {
  return score === undefined ? label : `${label} ${score.toFixed(2)}`;
}

function tint(canvas: Canvas, regions: Regions, colors: ReadonlyMap<number, Color>, style: Style): void {
  const colorOfRegion = regions.ids.map(id => colors.get(id));
  const distances = regions.distancesToBorders(colorOfRegion.map(color => color !== undefined));
  for (let row = 0; row < regions.height; row++) {
    for (let column = 0; column < regions.width; column++) {
      const place = regions.at(row, column);
      const color = colorOfRegion[regions.regionAt(place)];
      if (color === undefined) continue;
      canvas.blend(column, row, color, TINT_OPACITY);
      const fromBorder = distances[place]! / STRAIGHT_STEP - 0.5;
      const covered = Math.min(1, style.thickness + 0.5 - fromBorder);
      if (covered > 0) canvas.blend(column, row, color, covered);
    }
  }
}
