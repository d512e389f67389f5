import type { TextMask } from './font.ts';
import { type Image, toRgb } from './image.ts';

/** Red, green, blue, 0 … 255. */
export type Color = readonly [number, number, number];

/** A rectangle in pixels; the right and bottom edges are outside. */
export interface Rectangle {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

export interface Paint {
  readonly color: Color;
  /** 0 transparent … 1 opaque (the default). */
  readonly opacity?: number;
}

/** An RGB picture to draw on. Everything is anti-aliased, and clipped to the picture. */
export class Canvas {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3] */
  readonly data: Uint8Array;

  constructor(width: number, height: number, background: Color = [0, 0, 0]) {
    this.width = width;
    this.height = height;
    this.data = new Uint8Array(width * height * 3);
    if (background.every(value => value === 0)) return;
    for (let index = 0; index < 3 * width; index++) this.data[index] = background[index % 3]!;
    for (let row = 1; row < height; row++) this.data.copyWithin(3 * width * row, 0, 3 * width);
  }

  /** A canvas with a copy of `image`, enlarged smoothly by a whole factor, and room below it. */
  static of(image: Image, factor = 1, roomBelow = 0, background?: Color): Canvas {
    const rgb = toRgb(image);
    const canvas = new Canvas(rgb.width * factor, rgb.height * factor + roomBelow, background);
    if (factor === 1) canvas.data.set(rgb.data);
    else enlarge(rgb, factor, canvas.data);
    return canvas;
  }

  toImage(): Image {
    return { width: this.width, height: this.height, channels: 3, data: this.data };
  }

  /** Mixes `color` into a pixel; `amount` 1 replaces it. */
  blend(column: number, row: number, color: Color, amount: number): void {
    const { data } = this;
    const index = (row * this.width + column) * 3;
    const kept = 1 - amount;
    // Adding a half makes the conversion to bytes, which truncates, round.
    data[index] = data[index]! * kept + color[0] * amount + 0.5;
    data[index + 1] = data[index + 1]! * kept + color[1] * amount + 0.5;
    data[index + 2] = data[index + 2]! * kept + color[2] * amount + 0.5;
  }

  /** Fills a rectangle with corners rounded by `radius` pixels. */
  fillRectangle(rectangle: Rectangle, radius: number, { color, opacity = 1 }: Paint): void {
    const distance = roundedRectangle(rectangle, radius);
    this.#paint(rectangle, color, (x, y) => opacity * coverageOf(distance(x, y)));
  }

  /** Draws the outline of a rectangle, `thickness` pixels wide, inside its edges. */
  strokeRectangle(rectangle: Rectangle, radius: number, thickness: number, { color, opacity = 1 }: Paint): void {
    const outer = roundedRectangle(rectangle, radius);
    const inner = roundedRectangle(grow(rectangle, -thickness), Math.max(0, radius - thickness));
    const coverage = (x: number, y: number) => opacity * Math.min(coverageOf(outer(x, y)), coverageOf(-inner(x, y)));
    const { left, top, right, bottom } = rectangle;
    const band = Math.min(Math.max(thickness, radius) + 1, (bottom - top) / 2, (right - left) / 2);
    this.#paint({ left, top, right, bottom: top + band }, color, coverage);
    this.#paint({ left, top: bottom - band, right, bottom }, color, coverage);
    this.#paint({ left, top: top + band, right: left + band, bottom: bottom - band }, color, coverage);
    this.#paint({ left: right - band, top: top + band, right, bottom: bottom - band }, color, coverage);
  }

  drawText(mask: TextMask, left: number, top: number, color: Color): void {
    const right = left + mask.width;
    const bottom = top + mask.height;
    this.#paint({ left, top, right, bottom }, color, (x, y) => {
      return mask.coverage[Math.floor(y - top) * mask.width + Math.floor(x - left)]!;
    });
  }

  /** Visits the pixels whose centres lie in `area`, each once for areas that touch. */
  #paint(area: Rectangle, color: Color, coverage: (x: number, y: number) => number): void {
    const first = (edge: number, size: number) => Math.min(size, Math.max(0, Math.ceil(edge - 0.5)));
    const lastColumn = first(area.right, this.width);
    const lastRow = first(area.bottom, this.height);
    for (let row = first(area.top, this.height); row < lastRow; row++) {
      for (let column = first(area.left, this.width); column < lastColumn; column++) {
        const amount = coverage(column + 0.5, row + 0.5);
        if (amount > 0) this.blend(column, row, color, amount);
      }
    }
  }
}

export function grow({ left, top, right, bottom }: Rectangle, by: number): Rectangle {
  return { left: left - by, top: top - by, right: right + by, bottom: bottom + by };
}

/** Area that two rectangles share, in square pixels. */
export function sharedArea(a: Rectangle, b: Rectangle): number {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  return width > 0 && height > 0 ? width * height : 0;
}

/** Signed distance to a rectangle with rounded corners: negative inside. */
function roundedRectangle({ left, top, right, bottom }: Rectangle, radius: number): (x: number, y: number) => number {
  const [centerX, centerY] = [(left + right) / 2, (top + bottom) / 2];
  const rounding = Math.min(radius, (right - left) / 2, (bottom - top) / 2);
  const [halfWidth, halfHeight] = [(right - left) / 2 - rounding, (bottom - top) / 2 - rounding];
  return (x, y) => {
    const outsideX = Math.abs(x - centerX) - halfWidth;
    const outsideY = Math.abs(y - centerY) - halfHeight;
    // Beside a corner the distance is diagonal; everywhere else (Math.sqrt apart, by far most pixels) one axis decides.
    if (outsideX <= 0 || outsideY <= 0) return Math.max(outsideX, outsideY) - rounding;
    return Math.sqrt(outsideX * outsideX + outsideY * outsideY) - rounding;
  };
}

const coverageOf = (distance: number) => Math.min(1, Math.max(0, 0.5 - distance));

/** Bilinear enlargement by a whole factor into `target` [height · factor, width · factor, 3]. */
function enlarge({ width, height, data }: Image, factor: number, target: Uint8Array): void {
  const outWidth = width * factor;
  /** Even and odd rows of the picture, as wide as the result; which rows they are. */
  const stretched = [new Float64Array(3 * outWidth), new Float64Array(3 * outWidth)] as const;
  const rows = [-1, -1];
  const stretch = (row: number): Float64Array => {
    const out = stretched[row % 2]!;
    if (rows[row % 2] === row) return out;
    rows[row % 2] = row;
    for (let column = 0; column < outWidth; column++) {
      const { low, high, share } = between(column, factor, width);
      const [left, right] = [3 * (row * width + low), 3 * (row * width + high)];
      for (let channel = 0; channel < 3; channel++) {
        const value = data[left + channel]!;
        out[3 * column + channel] = value + (data[right + channel]! - value) * share;
      }
    }
    return out;
  };
  for (let row = 0; row < height * factor; row++) {
    const { low, high, share } = between(row, factor, height);
    const [top, bottom] = [stretch(low), stretch(high)];
    const to = 3 * row * outWidth;
    for (let index = 0; index < top.length; index++) {
      target[to + index] = Math.round(top[index]! + (bottom[index]! - top[index]!) * share);
    }
  }
}

/** The two input positions that an output position lies between, and how near it is to the second. */
function between(position: number, factor: number, size: number): { low: number; high: number; share: number } {
  const exact = Math.min(size - 1, Math.max(0, (position + 0.5) / factor - 0.5));
  const low = Math.floor(exact);
  return { low, high: Math.min(size - 1, low + 1), share: exact - low };
}
