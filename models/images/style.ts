import type { Color } from './canvas.ts';

/** Pixel sizes that suit a picture. */
export interface Style {
  /** Width of box lines. */
  readonly thickness: number;
  /** Width of the soft dark edge that lifts coloured lines off a background of the same colour. */
  readonly halo: number;
  /** Height of capital letters. */
  readonly capital: number;
  /** Room left and right of the text in a tag. */
  readonly padding: number;
}

export function styleFor(width: number, height: number): Style {
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

export const shadow = { color: [0, 0, 0] as Color, opacity: 0.35 };
