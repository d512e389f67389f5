import { ShapeError } from '../../engine/errors.ts';
import { Canvas, type Color, grow, type Rectangle, sharedArea } from './canvas.ts';
import { measureText, renderText, shortenText, type TextMask } from './font.ts';
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
  tags.draw();
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
  tags.draw();
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

/** Pictures whose short side is below this are enlarged before they are drawn on; long ones no more than fourfold. */
const smallestComfortableSide = 400;

function enlargement({ width, height }: Image): number {
  const shortest = Math.min(width, height);
  const largest = Math.max(4, Math.floor((4 * smallestComfortableSide) / Math.max(width, height)));
  return Math.min(largest, Math.max(1, Math.ceil(smallestComfortableSide / shortest)));
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

interface Tag {
  readonly rectangle: Rectangle;
  readonly color: Color;
  readonly text: TextMask;
}

/** Places tags one after the other: inside the picture, and clear of earlier tags where that is possible. */
class TagLayout {
  readonly #canvas: Canvas;
  readonly #style: Style;
  readonly #height: number;
  readonly #tags: Tag[] = [];

  constructor(canvas: Canvas, style: Style, height = canvas.height) {
    this.#canvas = canvas;
    this.#style = style;
    this.#height = height;
  }

  place(text: string, color: Color, candidates: Candidates): void {
    const { capital, padding } = this.#style;
    const shown = shortenText(text, capital, this.#canvas.width - 2 * padding);
    const mask = renderText(shown, capital);
    const width = mask.width + 2 * padding;
    const height = mask.height + 2;

    let best: Rectangle | undefined;
    let lowestCost = Number.POSITIVE_INFINITY;
    for (const [preference, [wishedLeft, wishedTop]] of candidates(width, height).entries()) {
      const left = Math.max(0, Math.min(this.#canvas.width - width, wishedLeft));
      const top = Math.max(0, Math.min(this.#height - height, wishedTop));
      const rectangle = { left, top, right: left + width, bottom: top + height };
      const hidden =
        this.#tags.reduce((area, tag) => area + sharedArea(rectangle, tag.rectangle), 0) / (width * height);
      const moved = (Math.abs(left - wishedLeft) + Math.abs(top - wishedTop)) / height;
      const cost = preference * 0.05 + moved + 10 * hidden;
      if (cost < lowestCost) {
        lowestCost = cost;
        best = rectangle;
      }
    }
    if (best !== undefined) this.#tags.push({ rectangle: best, color, text: mask });
  }

  /** Draws the tags: where there is not room for all, earlier ones cover later ones. */
  draw(): void {
    const { capital, padding, halo } = this.#style;
    const radius = Math.round(capital * 0.3);
    for (const { rectangle, color, text } of this.#tags.toReversed()) {
      this.#canvas.fillRectangle(grow(rectangle, halo), radius + halo, shadow);
      this.#canvas.fillRectangle(rectangle, radius, { color });
      this.#canvas.drawText(text, rectangle.left + padding, rectangle.top + 1, { color: readableOn(color) });
    }
  }
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
    text: shortenText(ids.size > 1 ? `${label} x ${ids.size}` : label, style.capital, room),
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

/** Distances are counted in thirds of a pixel: 3 for a step along an axis, 4 for a diagonal one. */
const straightStep = 3;
const diagonalStep = 4;
const farAway = 1 << 28;

/** The segments of a map as they are drawn. */
class Regions {
  readonly width: number;
  readonly height: number;
  /** The id of each region. */
  readonly ids: readonly number[];
  /** Which region each pixel belongs to, with a border of -1 all round: [height + 2, width + 2]. */
  readonly #regions: Int32Array;
  readonly #stride: number;

  constructor(ids: Int32Array, width: number, height: number) {
    this.width = width;
    this.height = height;
    this.#stride = width + 2;
    this.#regions = new Int32Array(this.#stride * (height + 2)).fill(-1);
    const regionOf = new Map<number, number>();
    let id: number | undefined;
    let region = 0;
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const next = ids[row * width + column]!;
        if (next !== id) {
          id = next;
          region = regionOf.get(id) ?? regionOf.size;
          regionOf.set(id, region);
        }
        this.#regions[this.at(row, column)] = region;
      }
    }
    this.ids = [...regionOf.keys()];
  }

  /** A pixel's place in the arrays of this class. */
  at(row: number, column: number): number {
    return (row + 1) * this.#stride + column + 1;
  }

  regionAt(place: number): number {
    return this.#regions[place]!;
  }

  /** For every pixel the thirds of a pixel to the nearest one of another region, or beyond the picture. */
  distancesToOthers(): Int32Array {
    return this.#distances(() => true);
  }

  /**
   * For every pixel the thirds of a pixel to the nearest one of a larger region, or of one that is not `drawn`: a border is
   * near on one side only, so that it gets one line, in the colour of the smaller region.
   */
  distancesToBorders(drawn: readonly boolean[]): Int32Array {
    const areas = new Float64Array(this.ids.length);
    for (const region of this.#regions) if (region >= 0) areas[region]!++;
    return this.#distances((own, other) => {
      if (other < 0) return false;
      if (!drawn[other]) return true;
      return areas[other]! > areas[own]! || (areas[other] === areas[own] && other > own);
    });
  }

  /** Two sweeps over the picture (Borgefors 1986); `counts` says which neighbouring regions are what is looked for. */
  #distances(counts: (own: number, other: number) => boolean): Int32Array {
    const regions = this.#regions;
    const stride = this.#stride;
    const distances = new Int32Array(regions.length).fill(farAway);
    const via = (own: number, neighbour: number, step: number): number => {
      const other = regions[neighbour]!;
      if (other === own) return distances[neighbour]! + step;
      return counts(own, other) ? step : farAway;
    };
    const relax = (place: number, direction: 1 | -1) => {
      const own = regions[place]!;
      const row = place + direction * stride;
      let nearest = Math.min(distances[place]!, via(own, place + direction, straightStep), via(own, row, straightStep));
      nearest = Math.min(nearest, via(own, row - 1, diagonalStep), via(own, row + 1, diagonalStep));
      distances[place] = nearest;
    };
    for (let row = 0; row < this.height; row++) {
      for (let column = 0; column < this.width; column++) relax(this.at(row, column), -1);
    }
    for (let row = this.height - 1; row >= 0; row--) {
      for (let column = this.width - 1; column >= 0; column--) relax(this.at(row, column), 1);
    }
    return distances;
  }

  /** For every id the pixel that is farthest from other regions. */
  innermostPoints(): Map<number, InnermostPoint> {
    const distances = this.distancesToOthers();
    const points: InnermostPoint[] = this.ids.map(() => ({ x: 0, y: 0, clearance: -1 }));
    for (let y = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++) {
        const place = this.at(y, x);
        const region = this.#regions[place]!;
        const clearance = distances[place]! / straightStep;
        if (clearance > points[region]!.clearance) points[region] = { x, y, clearance };
      }
    }
    return new Map(points.map((point, region) => [this.ids[region]!, point]));
  }
}

function tint(canvas: Canvas, regions: Regions, colors: ReadonlyMap<number, Color>, style: Style): void {
  const colorOfRegion = regions.ids.map(id => colors.get(id));
  const distances = regions.distancesToBorders(colorOfRegion.map(color => color !== undefined));
  for (let row = 0; row < regions.height; row++) {
    for (let column = 0; column < regions.width; column++) {
      const place = regions.at(row, column);
      const color = colorOfRegion[regions.regionAt(place)];
      if (color === undefined) continue;
      canvas.blend(column, row, color, tintOpacity);
      const fromBorder = distances[place]! / straightStep - 0.5;
      const covered = Math.min(1, style.thickness + 0.5 - fromBorder);
      if (covered > 0) canvas.blend(column, row, color, covered);
    }
  }
}
