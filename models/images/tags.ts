import { type Canvas, type Color, grow, type Rectangle, sharedArea } from './canvas.ts';
import { renderText, shortenText, type TextMask } from './font.ts';
import { readableOn } from './palette.ts';
import { type Style, shadow } from './style.ts';

/*
 * Tags: short texts on a ground of their colour, beside what they name.
 */

type Position = readonly [left: number, top: number];
/** Where a tag of a given size may go, best first. */
type Candidates = (width: number, height: number) => Position[];

export function aroundBox({ left, top, right, bottom }: Rectangle): Candidates {
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
    // Where many tags meet, or the box is in a corner: rows further off.
    ...[1, 2, 3].flatMap((rows): Position[] => [
      [left, bottom + rows * height],
      [left, top - (1 + rows) * height],
      [left, top + rows * height],
      [right - width, bottom + rows * height],
      [right - width, top - (1 + rows) * height],
      [right - width, top + rows * height],
    ]),
  ];
}

export function aroundPoint({ x, y }: { x: number; y: number }): Candidates {
  return (width, height) =>
    [0, 1, -1, 2, -2, 3, -3].map(step => [Math.round(x - width / 2), Math.round(y - height / 2 + step * height)]);
}

interface Tag {
  readonly rectangle: Rectangle;
  readonly color: Color;
  readonly text: TextMask;
}

/** Places tags one after the other: inside the picture, and clear of earlier tags where that is possible. */
export class TagLayout {
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
      this.#canvas.drawText(text, rectangle.left + padding, rectangle.top + 1, readableOn(color));
    }
  }
}
