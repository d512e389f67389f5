import { ShapeError } from '../../engine/errors.ts';
import { Canvas, type Color, grow, type Rectangle, sharedArea } from './canvas.ts';
import { measureText, renderText } from './font.ts';
import { checkImage, type Image } from './image.ts';
import { classColor, readableOn } from './palette.ts';

/** One detected object to draw. */
export interface DetectionToDraw {
  /** The text of the tag, usually the class name. */
  readonly label: string;
  /** Decides the colour. */
  readonly labelId: number;
  /** 0 … 1, shown after the label. */
  readonly score?: number;
  /** Left, top, right, bottom in pixels of the image. */
  readonly box: ArrayLike<number>;
}

/** One segment to draw: the pixels of a segmentation map that hold `id`. */
export interface SegmentToDraw {
  readonly id: number;
  readonly label: string;
  readonly labelId: number;
  readonly score?: number;
}

/** Which segment each pixel belongs to; ids without a `SegmentToDraw` are left as they are. */
export interface SegmentationMap {
  readonly width: number;
  readonly height: number;
  /** [height, width] */
  readonly data: ArrayLike<number>;
}

/**
 * Draws boxes with labels and scores on a copy of `image`. Small pictures are enlarged by a whole factor, so that the
 * labels can be read beside the objects; line widths and letters follow the picture's size.
 *
 * @throws ShapeError when the fields of `image` disagree.
 */
export function drawDetections(image: Image, detections: readonly DetectionToDraw[]): Image {
  checkImage(image, 'drawDetections');
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
  return canvas.toImage();
}

/**
 * Draws a segmentation over a copy of `image`: every segment tinted and outlined in its colour, with a tag where it is
 * large enough for one, and a legend of the classes below the picture. Small pictures are enlarged by a whole factor.
 *
 * @throws ShapeError when the fields of `image` or of `map` disagree, or the two have different sizes.
 */
export function drawSegmentation(image: Image, map: SegmentationMap, segments: readonly SegmentToDraw[]): Image {
  checkImage(image, 'drawSegmentation');
  const { width, height } = image;
  if (map.width !== width || map.height !== height || map.data.length !== width * height) {
    throw new ShapeError(
      `drawSegmentation: expected a map of ${height} x ${width}, got ${map.height} x ${map.width} with ${map.data.length} ids`,
    );
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
  return canvas.toImage();
}

const tintOpacity = 0.42;
const shadow = { color: [0, 0, 0] as Color, opacity: 0.35 };
const legendBackground: Color = [247, 247, 245];
const legendInk: Color = [32, 33, 36];

/** Pixel sizes that suit a picture. */
interface Style {
  /** Width of box lines. */
  readonly thickness: number;
  /** Width of the soft dark edge that lifts coloured lines off a background of the same colour. */
  readonly halo: number;
  /** Height of capital letters. */
  readonly capital: number;
  /** Room left and right of the text in a tag. */
  readonly padding: number;
}

function styleFor(width: number, height: number): Style {
  // A panorama's letters may be larger than its short side alone would suggest.
  const size = Math.sqrt(Math.min(width, height) * Math.min(Math.max(width, height), 2 * Math.min(width, height)));
  const capital = Math.max(8, Math.round(size * 0.0175));
  return {
    thickness: Math.max(2, Math.round(size / 220)),
    halo: Math.max(1, Math.round(size / 1000)),
    capital,
    padding: Math.round(capital * 0.45),
  };
}

/** Pictures whose short side is below this are enlarged before they are drawn on. */
const smallestComfortableSide = 400;

function enlargement({ width, height }: Image): number {
  const shortest = Math.min(width, height);
  return Math.min(4, Math.max(1, Math.ceil(smallestComfortableSide / shortest)));
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

function tagText({ label, score }: { label: string; score?: number }): string {
  return score === undefined ? label : `${label} ${score.toFixed(2)}`;
}

type Position = readonly [left: number, top: number];
/** Where a tag of a given size may go, best first. */
type Candidates = (width: number, height: number) => Position[];

function aroundBox({ left, top, right, bottom }: Rectangle): Candidates {
  return (width, height) => [
    [left, top - height],
    [left, bottom],
    [left, top],
    [right - width, top - height],
    [right - width, bottom],
    [right - width, top],
    [left, bottom - height],
    [right - width, bottom - height],
    [right, top],
    [left - width, top],
    [right, bottom - height],
    [left - width, bottom - height],
  ];
}

function aroundPoint({ x, y }: { x: number; y: number }): Candidates {
  return (width, height) =>
    [0, 1, -1, 2, -2, 3, -3].map(step => [Math.round(x - width / 2), Math.round(y - height / 2 + step * height)]);
}

/** Places tags one after the other: inside the picture, and clear of earlier tags where that is possible. */
class TagLayout {
  readonly #canvas: Canvas;
  readonly #style: Style;
  readonly #height: number;
  readonly #taken: Rectangle[] = [];

  constructor(canvas: Canvas, style: Style, height = canvas.height) {
    this.#canvas = canvas;
    this.#style = style;
    this.#height = height;
  }

  place(text: string, color: Color, candidates: Candidates): void {
    const { capital, padding } = this.#style;
    const shown = shorten(text, capital, this.#canvas.width - 2 * padding);
    const mask = renderText(shown, capital);
    const width = mask.width + 2 * padding;
    const height = mask.height + 2;

    let best: Rectangle | undefined;
    let lowestCost = Number.POSITIVE_INFINITY;
    for (const [preference, [wishedLeft, wishedTop]] of candidates(width, height).entries()) {
      const left = Math.max(0, Math.min(this.#canvas.width - width, wishedLeft));
      const top = Math.max(0, Math.min(this.#height - height, wishedTop));
      const rectangle = { left, top, right: left + width, bottom: top + height };
      const hidden = this.#taken.reduce((area, tag) => area + sharedArea(rectangle, tag), 0) / (width * height);
      const moved = (Math.abs(left - wishedLeft) + Math.abs(top - wishedTop)) / height;
      const cost = preference * 0.05 + moved + 10 * hidden;
      if (cost < lowestCost) {
        lowestCost = cost;
        best = rectangle;
      }
    }
    if (best === undefined) return;
    this.#taken.push(best);
    const radius = Math.round(capital * 0.3);
    this.#canvas.fillRectangle(grow(best, this.#style.halo), radius + this.#style.halo, shadow);
    this.#canvas.fillRectangle(best, radius, { color });
    this.#canvas.drawText(mask, best.left + padding, best.top + 1, { color: readableOn(color) });
  }
}

/** The longest beginning of `text` that fits into `width` pixels, with dots when something is left out. */
function shorten(text: string, capital: number, width: number): string {
  const fits = (candidate: string) => measureText(candidate, capital).width <= width;
  if (fits(text)) return text;
  const characters = [...text];
  while (characters.length > 1 && !fits(`${characters.join('')}...`)) characters.pop();
  return `${characters.join('')}...`;
}

interface LegendEntry {
  readonly text: string;
  readonly color: Color;
}

interface Legend {
  readonly entries: readonly LegendEntry[];
  readonly columns: number;
  readonly columnWidth: number;
  readonly rowHeight: number;
  /** Pixels that the legend needs below the picture. */
  readonly height: number;
}

/** One entry for every class, with the number of its segments when there are several. */
function layOutLegend(segments: readonly SegmentToDraw[], width: number, style: Style): Legend {
  const rowHeight = Math.round(style.capital * 2.4);
  const swatch = rowHeight;
  const counts = new Map<number, { label: string; ids: Set<number> }>();
  for (const { id, label, labelId } of segments) {
    const entry = counts.get(labelId) ?? { label, ids: new Set() };
    counts.set(labelId, entry);
    entry.ids.add(id);
  }
  const room = width - 4 * style.padding - swatch;
  const entries = [...counts].map(([labelId, { label, ids }]) => ({
    text: shorten(ids.size > 1 ? `${label} x ${ids.size}` : label, style.capital, room),
    color: classColor(labelId),
  }));
  const widest = Math.max(0, ...entries.map(({ text }) => measureText(text, style.capital).width));
  const columnWidth = swatch + widest + 3 * style.padding;
  const columns = Math.max(1, Math.floor((width - 2 * style.padding) / columnWidth));
  const rows = Math.ceil(entries.length / columns);
  return { entries, columns, columnWidth, rowHeight, height: rows === 0 ? 0 : rows * rowHeight + 2 * style.padding };
}

function drawLegend(canvas: Canvas, top: number, legend: Legend, style: Style): void {
  const { rowHeight } = legend;
  for (const [index, { text, color }] of legend.entries.entries()) {
    const left = 2 * style.padding + (index % legend.columns) * legend.columnWidth;
    const rowTop = top + style.padding + Math.floor(index / legend.columns) * rowHeight;
    const inset = Math.round(rowHeight * 0.22);
    const side = rowHeight - 2 * inset;
    const swatch = { left, top: rowTop + inset, right: left + side, bottom: rowTop + inset + side };
    canvas.fillRectangle(swatch, Math.round(side / 4), { color });
    const mask = renderText(text, style.capital);
    const textTop = rowTop + Math.round((rowHeight - mask.height) / 2);
    canvas.drawText(mask, swatch.right + style.padding, textTop, { color: legendInk });
  }
}

/** Enlarges a map of ids by a whole factor with smooth borders: nine neighbours vote, weighted by a quadratic B-spline. */
function enlargeMap({ width, height, data }: SegmentationMap, factor: number): Int32Array {
  const ids = new Int32Array(width * factor * height * factor);
  if (factor === 1) {
    for (let index = 0; index < ids.length; index++) ids[index] = data[index]!;
    return ids;
  }
  const weights = Array.from({ length: factor }, (_, step) => {
    const offset = (step + 0.5) / factor - 0.5;
    return [0.5 * (0.5 - offset) ** 2, 0.75 - offset ** 2, 0.5 * (0.5 + offset) ** 2];
  });
  const votes = new Map<number, number>();
  for (let row = 0; row < height * factor; row++) {
    const y = Math.floor(row / factor);
    const rowWeights = weights[row % factor]!;
    for (let column = 0; column < width * factor; column++) {
      const x = Math.floor(column / factor);
      const columnWeights = weights[column % factor]!;
      votes.clear();
      let winner = 0;
      let most = -1;
      for (let stepY = -1; stepY <= 1; stepY++) {
        const fromRow = Math.min(height - 1, Math.max(0, y + stepY));
        for (let stepX = -1; stepX <= 1; stepX++) {
          const fromColumn = Math.min(width - 1, Math.max(0, x + stepX));
          const id = data[fromRow * width + fromColumn]!;
          const count = (votes.get(id) ?? 0) + rowWeights[stepY + 1]! * columnWeights[stepX + 1]!;
          votes.set(id, count);
          if (count > most) {
            most = count;
            winner = id;
          }
        }
      }
      ids[row * width * factor + column] = winner;
    }
  }
  return ids;
}

interface InnermostPoint {
  readonly x: number;
  readonly y: number;
  /** Pixels to the border of the segment or of the picture. */
  readonly clearance: number;
}

/** The segments of a map as they are drawn. */
class Regions {
  readonly width: number;
  readonly height: number;
  readonly ids: Int32Array;
  /** Three times the distance to the nearest pixel of another region, approximately (chamfer steps of 3 and 4). */
  readonly #distances: Int32Array;
  readonly #areas = new Map<number, number>();

  constructor(ids: Int32Array, width: number, height: number) {
    this.ids = ids;
    this.width = width;
    this.height = height;
    for (const id of ids) this.#areas.set(id, (this.#areas.get(id) ?? 0) + 1);
    this.#distances = new Int32Array(ids.length).fill(1 << 28);
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) this.#relax(row, column, -1);
    }
    for (let row = height - 1; row >= 0; row--) {
      for (let column = width - 1; column >= 0; column--) this.#relax(row, column, 1);
    }
  }

  #relax(row: number, column: number, step: -1 | 1): void {
    const index = row * this.width + column;
    const diagonal = Math.min(this.#via(index, row + step, column - 1), this.#via(index, row + step, column + 1)) + 4;
    const straight = Math.min(this.#via(index, row + step, column), this.#via(index, row, column + step)) + 3;
    this.#distances[index] = Math.min(this.#distances[index]!, diagonal, straight);
  }

  #via(index: number, row: number, column: number): number {
    if (row < 0 || row >= this.height || column < 0 || column >= this.width) return 0;
    const neighbour = row * this.width + column;
    return this.ids[neighbour] === this.ids[index] ? this.#distances[neighbour]! : 0;
  }

  /**
   * Distance from a pixel's centre to the nearest pixel of a larger region, infinite when none is within `reach`. A border
   * is thus near on one side only and gets one line, in the colour of the smaller region.
   */
  distanceToLarger(row: number, column: number, reach: number): number {
    const { ids, width, height } = this;
    const id = ids[row * width + column]!;
    if (this.#distances[row * width + column]! > 4 * reach) return Number.POSITIVE_INFINITY;
    const area = this.#areas.get(id)!;
    let nearest = Number.POSITIVE_INFINITY;
    for (let y = Math.max(0, row - reach); y <= Math.min(height - 1, row + reach); y++) {
      for (let x = Math.max(0, column - reach); x <= Math.min(width - 1, column + reach); x++) {
        const other = ids[y * width + x]!;
        if (other === id) continue;
        const otherArea = this.#areas.get(other)!;
        if (otherArea < area || (otherArea === area && other < id)) continue;
        nearest = Math.min(nearest, (x - column) ** 2 + (y - row) ** 2);
      }
    }
    return Math.sqrt(nearest);
  }

  /** For every id the pixel that is farthest from other regions. */
  innermostPoints(): Map<number, InnermostPoint> {
    const points = new Map<number, InnermostPoint>();
    for (const [index, id] of this.ids.entries()) {
      const clearance = this.#distances[index]! / 3;
      const best = points.get(id);
      if (best === undefined || clearance > best.clearance) {
        points.set(id, { x: index % this.width, y: Math.floor(index / this.width), clearance });
      }
    }
    return points;
  }
}

function tint(canvas: Canvas, regions: Regions, colors: ReadonlyMap<number, Color>, style: Style): void {
  const reach = Math.ceil(style.thickness) + 1;
  for (let row = 0; row < regions.height; row++) {
    for (let column = 0; column < regions.width; column++) {
      const color = colors.get(regions.ids[row * regions.width + column]!);
      if (color === undefined) continue;
      canvas.blend(column, row, color, tintOpacity);
      const border = regions.distanceToLarger(row, column, reach) - 0.5;
      const covered = Math.min(1, Math.max(0, style.thickness + 0.5 - border));
      if (covered > 0) canvas.blend(column, row, color, covered);
    }
  }
}
