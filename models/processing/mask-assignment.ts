// Which query each pixel belongs to: the arg max over queries of score · probability, the probabilities being
// interpolated to the picture's size (the heart of HF `compute_segments`).
//
// Computed directly this is Q · H' · W' interpolations. Most of them cannot matter: the masks are taken in tiles, and a
// query whose largest logit in a tile stays below what another has everywhere in it is left out there. Interpolation
// mixes neighbours, so a tile of outputs is bounded by its inputs; the bounds carry a slack beyond float32's rounding,
// and the result is that of the direct computation.
//
// Q queries, H x W masks, H' x W' picture
import { type LinearTaps, linearTaps } from './interpolation.ts';
import { probability } from './probability.ts';

/** Inputs per side of a tile; interpolation reaches one further. */
const tileSide = 8;
const reach = tileSide + 1;
const slack = 2e-6;

export interface MaskAssignment {
  /** [H', W']: index into the queries, the first of the best. */
  readonly winner: Int32Array;
  /** [Q]: how many pixels a query has won. */
  readonly won: Int32Array;
  /** [Q]: at how many pixels score · probability reaches the threshold, won or not. */
  readonly claimed: Int32Array;
}

/** A query's mask. */
export interface ScoredMask {
  /** [H, W] logits. */
  readonly logits: Float32Array;
  readonly score: number;
}

/** Assigns the pixels of a picture of `height` x `width` to masks of `maskHeight` x `maskWidth` (at least one). */
export function assignMasks(
  masks: readonly ScoredMask[],
  maskHeight: number,
  maskWidth: number,
  height: number,
  width: number,
  threshold: number,
): MaskAssignment {
  const rows = tilesOf(maskHeight, height);
  const columns = tilesOf(maskWidth, width);
  const bounds = masks.map(mask => boundsOf(mask, maskHeight, maskWidth, rows.count, columns.count));
  const floor = Math.fround(threshold);

  const winner = new Int32Array(height * width);
  const won = new Int32Array(masks.length);
  const claimed = new Int32Array(masks.length);
  const tile = new Tile(maskHeight, maskWidth, rows, columns);

  for (let tileRow = 0; tileRow < rows.count; tileRow++) {
    for (let tileColumn = 0; tileColumn < columns.count; tileColumn++) {
      const index = tileRow * columns.count + tileColumn;
      let certain = 0;
      for (const { lower } of bounds) if (lower[index]! > certain) certain = lower[index]!;
      let contenders = 0;
      let first = 0;
      for (let query = masks.length - 1; query >= 0; query--) {
        if (bounds[query]!.upper[index]! < certain) continue;
        contenders++;
        first = query;
      }
      tile.enter(tileRow, tileColumn, first, contenders > 1);
      for (let query = 0; query < masks.length; query++) {
        const lower = bounds[query]!.lower[index]!;
        const upper = bounds[query]!.upper[index]!;
        const contends = contenders > 1 && upper >= certain;
        const claimsAll = lower >= floor;
        const claimsSome = upper >= floor && !claimsAll;
        const reached = contends || claimsSome ? tile.compete(query, masks[query]!, floor) : 0;
        claimed[query] = claimed[query]! + (claimsAll ? tile.pixels : claimsSome ? reached : 0);
      }
      tile.put(winner, width, won);
    }
  }
  return { winner, won, claimed };
}

/** One axis cut into tiles. */
interface Tiles {
  readonly count: number;
  readonly taps: LinearTaps;
  /** [count + 1]: the first output whose lower input lies in the tile; the next one's is where it ends. */
  readonly starts: Int32Array;
  /** Most outputs of a tile. */
  readonly largest: number;
}

function tilesOf(inputs: number, outputs: number): Tiles {
  const taps = linearTaps(inputs, outputs);
  const count = Math.ceil(inputs / tileSide);
  const starts = new Int32Array(count + 1).fill(outputs);
  for (let output = outputs - 1; output >= 0; output--) starts[Math.floor(taps.low[output]! / tileSide)] = output;
  // Tiles that no output looks at, when the picture is smaller than the masks, are empty.
  let largest = 0;
  for (let tile = count - 1; tile >= 0; tile--) {
    starts[tile] = Math.min(starts[tile]!, starts[tile + 1]!);
    largest = Math.max(largest, starts[tile + 1]! - starts[tile]!);
  }
  return { count, taps, starts, largest };
}

/** By tile: between what score · probability lies at all of its outputs. */
interface Bounds {
  readonly lower: Float64Array;
  readonly upper: Float64Array;
}

function boundsOf(
  { logits, score }: ScoredMask,
  height: number,
  width: number,
  tileRows: number,
  tileColumns: number,
): Bounds {
  const lower = new Float64Array(tileRows * tileColumns);
  const upper = new Float64Array(tileRows * tileColumns);
  for (let tileRow = 0; tileRow < tileRows; tileRow++) {
    const top = tileRow * tileSide;
    const bottom = Math.min(top + reach, height);
    for (let tileColumn = 0; tileColumn < tileColumns; tileColumn++) {
      const left = tileColumn * tileSide;
      const right = Math.min(left + reach, width);
      let least = Number.POSITIVE_INFINITY;
      let most = Number.NEGATIVE_INFINITY;
      for (let row = top; row < bottom; row++) {
        const end = row * width + right;
        for (let at = row * width + left; at < end; at++) {
          const logit = logits[at]!;
          if (logit < least) least = logit;
          if (logit > most) most = logit;
        }
      }
      const tile = tileRow * tileColumns + tileColumn;
      lower[tile] = score * probability(least) * (1 - slack);
      upper[tile] = score * probability(most) * (1 + slack);
    }
  }
  return { lower, upper };
}

/** The outputs of one tile. Values are float64, which spares conversions in the inner loops. */
class Tile {
  pixels = 0;

  readonly #maskHeight: number;
  readonly #maskWidth: number;
  readonly #rows: Tiles;
  readonly #columns: Tiles;
  /** [outputs]: the best value of score · probability so far, and whose it is. */
  readonly #best: Float64Array;
  readonly #bestQuery: Int32Array;
  /** Probabilities of one row of inputs; of all rows at the outputs' columns. */
  readonly #row = new Float64Array(reach);
  readonly #wide: Float64Array;
  /** The columns' taps, counted from the tile's first input. */
  readonly #low: Int32Array;
  readonly #high: Int32Array;
  readonly #highWeight: Float64Array;
  #inputTop = 0;
  #inputLeft = 0;
  #top = 0;
  #bottom = 0;
  #left = 0;
  #width = 0;

  constructor(maskHeight: number, maskWidth: number, rows: Tiles, columns: Tiles) {
    this.#maskHeight = maskHeight;
    this.#maskWidth = maskWidth;
    this.#rows = rows;
    this.#columns = columns;
    this.#best = new Float64Array(rows.largest * columns.largest);
    this.#bestQuery = new Int32Array(rows.largest * columns.largest);
    this.#wide = new Float64Array(reach * columns.largest);
    this.#low = new Int32Array(columns.largest);
    this.#high = new Int32Array(columns.largest);
    this.#highWeight = new Float64Array(columns.largest);
  }

  /** Moves on to another tile, whose winner is `first` until another competes, or anyway if it is not `contested`. */
  enter(tileRow: number, tileColumn: number, first: number, contested: boolean): void {
    this.#inputTop = tileRow * tileSide;
    this.#inputLeft = tileColumn * tileSide;
    this.#top = this.#rows.starts[tileRow]!;
    this.#bottom = this.#rows.starts[tileRow + 1]!;
    this.#left = this.#columns.starts[tileColumn]!;
    this.#width = this.#columns.starts[tileColumn + 1]! - this.#left;
    this.pixels = (this.#bottom - this.#top) * this.#width;
    this.#best.fill(contested ? -1 : Number.POSITIVE_INFINITY, 0, this.pixels);
    this.#bestQuery.fill(first, 0, this.pixels);
    const { low, high, highWeight } = this.#columns.taps;
    for (let x = 0; x < this.#width; x++) {
      this.#low[x] = low[this.#left + x]! - this.#inputLeft;
      this.#high[x] = high[this.#left + x]! - this.#inputLeft;
      this.#highWeight[x] = highWeight[this.#left + x]!;
    }
  }

  /** Lets a query compete for the tile's pixels. Returns at how many it reaches `floor`, which is in (0, 1]. */
  compete(query: number, { logits, score }: ScoredMask, floor: number): number {
    this.#widen(logits);
    const width = this.#width;
    const inputTop = this.#inputTop;
    const wide = this.#wide;
    const best = this.#best;
    const bestQuery = this.#bestQuery;
    const { low, high, highWeight } = this.#rows.taps;
    let missed = 0;
    for (let y = this.#top, pixel = 0; y < this.#bottom; y++) {
      const belowWeight = highWeight[y]!;
      const aboveWeight = 1 - belowWeight;
      let above = (low[y]! - inputTop) * width;
      let below = (high[y]! - inputTop) * width;
      for (const end = pixel + width; pixel < end; pixel++, above++, below++) {
        const value = (aboveWeight * wide[above]! + belowWeight * wide[below]!) * score;
        // 0 from `floor` on, else -1, without a branch that random masks would make unpredictable.
        missed += Math.floor(value - floor);
        if (value > best[pixel]!) {
          best[pixel] = value;
          bestQuery[pixel] = query;
        }
      }
    }
    return this.pixels + missed;
  }

  /** The probabilities of the tile's rows of inputs, interpolated to the columns of the outputs. */
  #widen(logits: Float32Array): void {
    const inputRows = Math.min(reach, this.#maskHeight - this.#inputTop);
    const inputColumns = Math.min(reach, this.#maskWidth - this.#inputLeft);
    const width = this.#width;
    const row = this.#row;
    const wide = this.#wide;
    const low = this.#low;
    const high = this.#high;
    const highWeight = this.#highWeight;
    for (let y = 0, to = 0; y < inputRows; y++) {
      const from = (this.#inputTop + y) * this.#maskWidth + this.#inputLeft;
      for (let x = 0; x < inputColumns; x++) row[x] = probability(logits[from + x]!);
      for (let x = 0; x < width; x++, to++) {
        const weight = highWeight[x]!;
        wide[to] = (1 - weight) * row[low[x]!]! + weight * row[high[x]!]!;
      }
    }
  }

  /** Writes the winners into the picture and counts their pixels. */
  put(winner: Int32Array, width: number, won: Int32Array): void {
    for (let y = this.#top, pixel = 0; y < this.#bottom; y++) {
      const end = y * width + this.#left + this.#width;
      for (let at = end - this.#width; at < end; at++, pixel++) {
        const query = this.#bestQuery[pixel]!;
        winner[at] = query;
        won[query] = won[query]! + 1;
      }
    }
  }
}
