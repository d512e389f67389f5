/**
 * A small sans-serif typeface of strokes, so that labels stay sharp at every size without a font file.
 *
 * A glyph is a path of `M` (move), `L` (line) and `Q` (quadratic curve) with absolute coordinates in units of a seventh of
 * the capital height, y upwards from the baseline. Strokes are a unit wide with round ends.
 */

/** Units: capital height, and the room that descenders and brackets need below the baseline and above the capitals. */
const CAPITAL_HEIGHT = 7;
const DESCENT = 3.1;
const ASCENT = 8.6;
const SIDE_BEARING = 1.05;
const STROKE_WIDTH = 1.05;

const bowl = 'M0 2.5Q0 5 2 5Q4 5 4 2.5Q4 0 2 0Q0 0 0 2.5';
const round = 'M2.7 0Q0 0 0 3.5Q0 7 2.7 7Q5.4 7 5.4 3.5Q5.4 0 2.7 0';
const snake = 'M4.2 5.6Q3.9 7 2.2 7Q.2 7 .2 5.3Q.2 4 2.2 3.6Q4.4 3.1 4.4 1.8Q4.4 0 2.2 0Q.3 0 0 1.5';

const glyphs: Readonly<Record<string, string>> = {
  '!': 'M0 7L0 2.3M0 0L0 .01',
  '"': 'M0 7L0 4.9M1.9 7L1.9 4.9',
  '#': 'M1.7 7L.9 0M3.9 7L3.1 0M.2 4.8L4.8 4.8M0 2.2L4.6 2.2',
  $: `${snake}M2.2 7.8L2.2 -.8`,
  '%': 'M5.4 7L.8 0M1.3 7Q0 7 0 5.5Q0 4 1.3 4Q2.6 4 2.6 5.5Q2.6 7 1.3 7M4.9 3Q3.6 3 3.6 1.5Q3.6 0 4.9 0Q6.2 0 6.2 1.5Q6.2 3 4.9 3',
  '&': 'M5.2 0L1 5Q.4 5.8 .9 6.4Q1.3 7 2.1 7Q3.6 7 3.6 5.7Q3.6 4.8 2.3 4.1L1.2 3.5Q0 2.8 0 1.7Q0 0 2.1 0Q4.3 0 4.8 3',
  "'": 'M0 7L0 4.9',
  '(': 'M1.5 7.4Q0 6 0 2.9Q0 -.2 1.5 -2',
  ')': 'M0 7.4Q1.5 6 1.5 2.9Q1.5 -.2 0 -2',
  '*': 'M1.7 7.2L1.7 3.8M.2 6.4L3.2 4.6M3.2 6.4L.2 4.6',
  '+': 'M2.1 5.3L2.1 1.1M0 3.2L4.2 3.2',
  ',': 'M.5 .2L0 -1.4',
  '-': 'M0 2.8L2.6 2.8',
  '.': 'M0 0L0 .01',
  '/': 'M0 -1L2.8 7.6',
  '0': 'M2.3 0Q0 0 0 3.5Q0 7 2.3 7Q4.6 7 4.6 3.5Q4.6 0 2.3 0',
  '1': 'M.6 5.5L2.5 7L2.5 0M4.6 9',
  '2': 'M.2 5.4Q.5 7 2.3 7Q4.3 7 4.3 5.2Q4.3 3.9 2.9 2.7L0 0L4.6 0',
  '3': 'M.2 5.7Q.6 7 2.2 7Q4.2 7 4.2 5.3Q4.2 3.7 2.2 3.7L1.6 3.7M2.2 3.7Q4.6 3.7 4.6 1.9Q4.6 0 2.2 0Q.4 0 0 1.5',
  '4': 'M3.5 0L3.5 7L0 2L4.7 2',
  '5': 'M4.2 7L.7 7L.3 3.7Q1 4.5 2.3 4.5Q4.6 4.5 4.6 2.3Q4.6 0 2.2 0Q.4 0 0 1.3',
  '6': 'M4.1 6Q3.6 7 2.5 7Q0 7 0 3Q0 0 2.3 0Q4.6 0 4.6 2.2Q4.6 4.3 2.4 4.3Q.4 4.3 0 2.4',
  '7': 'M0 7L4.6 7L1.7 0',
  '8': 'M2.3 3.8Q.2 3.8 .2 5.4Q.2 7 2.3 7Q4.4 7 4.4 5.4Q4.4 3.8 2.3 3.8Q0 3.8 0 1.9Q0 0 2.3 0Q4.6 0 4.6 1.9Q4.6 3.8 2.3 3.8',
  '9': 'M.5 1Q1 0 2.1 0Q4.6 0 4.6 4Q4.6 7 2.3 7Q0 7 0 4.8Q0 2.7 2.2 2.7Q4.2 2.7 4.6 4.6',
  ':': 'M0 .2L0 .21M0 4.4L0 4.41',
  ';': 'M.5 .2L0 -1.4M.5 4.4L.5 4.41',
  '<': 'M4 5.4L0 3.2L4 1',
  '=': 'M0 4.3L4.2 4.3M0 2.1L4.2 2.1',
  '>': 'M0 5.4L4 3.2L0 1',
  '?': 'M0 5.5Q.3 7 1.9 7Q3.9 7 3.9 5.3Q3.9 4.2 2.9 3.5Q1.9 2.9 1.9 2M1.9 0L1.9 .01',
  '@': 'M4.9 3Q4.9 5 3.4 5Q1.9 5 1.9 3Q1.9 1.1 3.3 1.1Q4.9 1.1 4.9 3L4.9 2.3Q4.9 1.1 5.9 1.1Q7 1.1 7 3.2Q7 7 3.6 7Q0 7 0 3Q0 -1.3 3.8 -1.3Q5.1 -1.3 6 -.7M4.9 4.8L4.9 3',
  A: 'M0 0L2.6 7L5.2 0M.8 2.2L4.4 2.2',
  B: 'M0 0L0 7L2.4 7Q4.2 7 4.2 5.4Q4.2 3.8 2.4 3.8L0 3.8M2.4 3.8Q4.6 3.8 4.6 1.9Q4.6 0 2.4 0L0 0',
  C: 'M5 5.4Q4.5 7 2.7 7Q0 7 0 3.5Q0 0 2.7 0Q4.5 0 5 1.6',
  D: 'M0 0L0 7L2.1 7Q4.9 7 4.9 3.5Q4.9 0 2.1 0L0 0',
  E: 'M4.1 7L0 7L0 0L4.1 0M0 3.6L3.6 3.6',
  F: 'M4.1 7L0 7L0 0M0 3.4L3.5 3.4',
  G: 'M5 5.4Q4.5 7 2.7 7Q0 7 0 3.5Q0 0 2.7 0Q5.2 0 5.2 3.1L3 3.1',
  H: 'M0 0L0 7M4.9 0L4.9 7M0 3.6L4.9 3.6',
  I: 'M0 0L0 7',
  J: 'M3.2 7L3.2 2Q3.2 0 1.5 0Q0 0 0 1.7',
  K: 'M0 0L0 7M4.5 7L0 2.5M1.6 4.1L4.7 0',
  L: 'M0 7L0 0L3.9 0',
  M: 'M0 0L0 7L3 2.2L6 7L6 0',
  N: 'M0 0L0 7L5 0L5 7',
  O: round,
  P: 'M0 0L0 7L2.3 7Q4.5 7 4.5 5.1Q4.5 3.1 2.3 3.1L0 3.1',
  Q: `${round}M3.5 1.8L5.5 -.4`,
  R: 'M0 0L0 7L2.3 7Q4.5 7 4.5 5.1Q4.5 3.1 2.3 3.1L0 3.1M2.4 3.1L4.7 0',
  S: snake,
  T: 'M0 7L5 7M2.5 7L2.5 0',
  U: 'M0 7L0 2.4Q0 0 2.45 0Q4.9 0 4.9 2.4L4.9 7',
  V: 'M0 7L2.6 0L5.2 7',
  W: 'M0 7L1.8 0L3.7 6.2L5.6 0L7.4 7',
  X: 'M0 7L4.9 0M4.9 7L0 0',
  Y: 'M0 7L2.5 3.3L5 7M2.5 3.3L2.5 0',
  Z: 'M0 7L4.7 7L0 0L4.7 0',
  '[': 'M1.5 7.4L0 7.4L0 -2L1.5 -2',
  '\\': 'M0 7.6L2.8 -1',
  ']': 'M0 7.4L1.5 7.4L1.5 -2L0 -2',
  '^': 'M0 4.4L1.9 7L3.8 4.4',
  _: 'M0 -1.4L4.6 -1.4',
  '`': 'M0 7.2L1 6',
  a: 'M.3 4.1Q.7 5 2 5Q3.9 5 3.9 3.3L3.9 0M3.9 2.9L2.1 2.9Q0 2.9 0 1.4Q0 0 1.7 0Q3.9 0 3.9 2',
  b: `M0 0L0 7.2${bowl}`,
  c: 'M3.7 3.8Q3.3 5 2 5Q0 5 0 2.5Q0 0 2 0Q3.3 0 3.7 1.2',
  d: `M4 0L4 7.2${bowl}`,
  e: 'M0 2.6L4 2.6Q4 5 2 5Q0 5 0 2.5Q0 0 2.1 0Q3.4 0 3.8 1.1',
  f: 'M2.7 7.1Q1 7.4 1 5.7L1 0M0 4.8L2.5 4.8',
  g: `${bowl}M4 5L4 -.2Q4 -2.2 2 -2.2Q.7 -2.2 .2 -1.4`,
  h: 'M0 0L0 7.2M0 2.8Q0 5 2 5Q3.9 5 3.9 3L3.9 0',
  i: 'M0 0L0 4.9M0 6.9L0 6.91',
  j: 'M1.2 4.9L1.2 -.8Q1.2 -2.2 0 -2.2M1.2 6.9L1.2 6.91',
  k: 'M0 0L0 7.2M3.6 5L0 1.7M1.4 3.1L3.8 0',
  l: 'M0 7.2L0 1.2Q0 0 1.1 0',
  m: 'M0 0L0 5M0 3Q0 5 1.7 5Q3.3 5 3.3 3.2L3.3 0M3.3 3Q3.3 5 5 5Q6.6 5 6.6 3.2L6.6 0',
  n: 'M0 0L0 5M0 2.8Q0 5 2 5Q3.9 5 3.9 3L3.9 0',
  o: bowl,
  p: `M0 5L0 -2.2${bowl}`,
  q: `M4 5L4 -2.2${bowl}`,
  r: 'M0 0L0 5M0 2.8Q0 5 2.3 4.9',
  s: 'M3.3 4Q2.9 5 1.8 5Q.2 5 .2 3.8Q.2 2.9 1.8 2.6Q3.5 2.3 3.5 1.3Q3.5 0 1.8 0Q.3 0 0 1.1',
  t: 'M1 6.6L1 1.3Q1 0 2.6 .1M0 4.8L2.5 4.8',
  u: 'M0 5L0 2Q0 0 1.9 0Q3.9 0 3.9 2.2M3.9 5L3.9 0',
  v: 'M0 5L2.05 0L4.1 5',
  w: 'M0 5L1.5 0L3.05 4.6L4.6 0L6.1 5',
  x: 'M0 5L3.9 0M3.9 5L0 0',
  y: 'M0 5L2.1 0M4.2 5L1.7 -1.2Q1.3 -2.2 .2 -2.1',
  z: 'M0 5L3.7 5L0 0L3.7 0',
  '{': 'M2 7.4Q1 7.4 1 6.8L1 4.4Q1 2.9 0 2.9Q1 2.9 1 1.5L1 -1Q1 -2 2 -2',
  '|': 'M0 7.4L0 -2',
  '}': 'M0 7.4Q1 7.4 1 6.8L1 4.4Q1 2.9 2 2.9Q1 2.9 1 1.5L1 -1Q1 -2 0 -2',
  '~': 'M0 2.5Q.6 3.8 1.6 3.4L2.6 2.9Q3.6 2.5 4.2 3.8',
};

/** Drawn for characters that neither the typeface nor `toAscii` knows. */
const missingGlyph = 'M0 0L0 7L3.6 7L3.6 0L0 0';
const SPACE_WIDTH = 2.4;

const replacements: Readonly<Record<string, string>> = {
  ß: 'ss', æ: 'ae', Æ: 'AE', œ: 'oe', Œ: 'OE', ø: 'o', Ø: 'O', đ: 'd', Đ: 'D', ł: 'l', Ł: 'L', ı: 'i', þ: 'th', ð: 'd',
  '‘': "'", '’': "'", '“': '"', '”': '"', '–': '-', '—': '-', '−': '-', '…': '...', '×': 'x', '·': '.', '•': '*',
}; // biome-ignore format: one replacement after the other reads best

/** Text as the typeface can show it: accents fall away, common signs become their ASCII kin, white space becomes a space. */
export function toAscii(text: string): string {
  return text
    .normalize('NFKD')
    .replace(/\p{Mark}/gu, '')
    .replace(/\s/g, ' ')
    .replace(/[^ -~]/gu, character => replacements[character] ?? character);
}

/** Coverage (0 … 1) of a line of text, row by row. */
export interface TextMask {
  readonly width: number;
  readonly height: number;
  readonly coverage: Float32Array;
}

interface Glyph {
  /** Line segments x0, y0, x1, y1 in units. */
  readonly segments: readonly (readonly [number, number, number, number])[];
  readonly width: number;
}

const parsedGlyphs = new Map<string, Glyph>();

function glyphOf(character: string): Glyph {
  const known = parsedGlyphs.get(character);
  if (known !== undefined) return known;
  const glyph = parseGlyph(glyphs[character] ?? missingGlyph);
  parsedGlyphs.set(character, glyph);
  return glyph;
}

function parseGlyph(path: string): Glyph {
  const segments: [number, number, number, number][] = [];
  let width = 0;
  let x = 0;
  let y = 0;
  const lineTo = (toX: number, toY: number) => {
    segments.push([x, y, toX, toY]);
    x = toX;
    y = toY;
  };
  for (const [, command, numbers] of path.matchAll(/([MLQ])([^MLQ]+)/g)) {
    const values = numbers!.trim().split(' ').map(Number);
    const [toX, toY] = values.slice(-2) as [number, number];
    width = Math.max(width, toX);
    if (command === 'M') {
      x = toX;
      y = toY;
    } else if (command === 'L') {
      lineTo(toX, toY);
    } else {
      const [controlX, controlY] = values as [number, number];
      const [fromX, fromY] = [x, y];
      const pieces = 8;
      for (let piece = 1; piece <= pieces; piece++) {
        const t = piece / pieces;
        const [a, b, c] = [(1 - t) * (1 - t), 2 * t * (1 - t), t * t];
        lineTo(a * fromX + b * controlX + c * toX, a * fromY + b * controlY + c * toY);
      }
    }
  }
  return { segments, width };
}

const advanceOf = (character: string) =>
  character === ' ' ? SPACE_WIDTH : glyphOf(character).width + 2 * SIDE_BEARING;

/** Size in whole pixels of a line of text whose capitals are `capitalPixels` high. */
export function measureText(text: string, capitalPixels: number): { width: number; height: number } {
  const unit = capitalPixels / CAPITAL_HEIGHT;
  let width = 0;
  for (const character of toAscii(text)) width += advanceOf(character);
  return { width: Math.ceil(width * unit), height: Math.ceil((ASCENT + DESCENT) * unit) };
}

/** The longest beginning of a line of text that fits into `width` pixels, with dots when something is left out. */
export function shortenText(text: string, capitalPixels: number, width: number): string {
  if (measureText(text, capitalPixels).width <= width) return text;
  const room = (width * CAPITAL_HEIGHT) / capitalPixels - 3 * advanceOf('.');
  let shown = '';
  let advance = 0;
  for (const character of text) {
    for (const drawn of toAscii(character)) advance += advanceOf(drawn);
    if (shown !== '' && advance > room) break;
    shown += character;
  }
  return `${shown}...`;
}

/** Renders a line of text whose capitals are `capitalPixels` high, anti-aliased. */
export function renderText(text: string, capitalPixels: number): TextMask {
  const unit = capitalPixels / CAPITAL_HEIGHT;
  const { width, height } = measureText(text, capitalPixels);
  const coverage = new Float32Array(width * height);
  const reach = (STROKE_WIDTH * unit) / 2;
  const baseline = Math.round(ASCENT * unit);
  let left = 0;
  for (const character of toAscii(text)) {
    if (character !== ' ') {
      const originX = (left + SIDE_BEARING) * unit;
      for (const [x0, y0, x1, y1] of glyphOf(character).segments) {
        coverSegment(coverage, width, height, reach, [
          originX + x0 * unit,
          baseline - y0 * unit,
          originX + x1 * unit,
          baseline - y1 * unit,
        ]);
      }
    }
    left += advanceOf(character);
  }
  return { width, height, coverage };
}

/** Marks the pixels within `reach` of a line segment (in pixels), by the distance of their centres. */
function coverSegment(
  coverage: Float32Array,
  width: number,
  height: number,
  reach: number,
  [x0, y0, x1, y1]: readonly [number, number, number, number],
): void {
  const [deltaX, deltaY] = [x1 - x0, y1 - y0];
  const squaredLength = deltaX * deltaX + deltaY * deltaY;
  const margin = reach + 1;
  const firstRow = Math.max(0, Math.floor(Math.min(y0, y1) - margin));
  const lastRow = Math.min(height - 1, Math.ceil(Math.max(y0, y1) + margin));
  const firstColumn = Math.max(0, Math.floor(Math.min(x0, x1) - margin));
  const lastColumn = Math.min(width - 1, Math.ceil(Math.max(x0, x1) + margin));
  for (let row = firstRow; row <= lastRow; row++) {
    for (let column = firstColumn; column <= lastColumn; column++) {
      const x = column + 0.5 - x0;
      const y = row + 0.5 - y0;
      const along = Math.min(1, Math.max(0, (x * deltaX + y * deltaY) / squaredLength));
      const distance = Math.sqrt((x - along * deltaX) ** 2 + (y - along * deltaY) ** 2);
      const covered = Math.min(1, Math.max(0, reach + 0.5 - distance));
      const index = row * width + column;
      if (covered > coverage[index]!) coverage[index] = covered;
    }
  }
}
