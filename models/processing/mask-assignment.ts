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
const TILE_SIDE = 16;
const REACH = TILE_SIDE + 1;
const SLACK = 2e-6;

export interface MaskAssignment {
  /** [H', W']: index into the queries, the first of the best. */
  readonly winner: Int32Array;
  /** [Q]: how many pixels a query has won. */
  readonly won: Int32Array;
  /**
   * At how many pixels a query's score · probability reaches the threshold, won or not. Counting stops early, with what
   * it has so far, once that is at least `enough`.
   */
  claimed(query: number, enough: number): number;
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
  const tile = new Tile(maskHeight, maskWidth, rows, columns);
  const floor = Math.fround(threshold);

  // Strong queries first: the more they leave, the fewer of the others can win anything.
  const order = Array.from(masks.keys()).sort((a, b) => masks[b]!.score - masks[a]!.score || a - b);
  const winner = new Int32Array(height * width);
  const won = new Int32Array(masks.length);
  for (let index = 0; index < rows.count * columns.count; index++) {
    tile.enter(index);
    let certain = 0;
    for (const { lower } of bounds) if (lower[index]! > certain) certain = lower[index]!;
    const contenders = order.filter(query => bounds[query]!.upper[index]! >= certain);
    tile.startContest(Math.min(...contenders));
    if (contenders.length > 1) {
      for (const [position, query] of contenders.entries()) {
        if (position % 8 === 7) certain = Math.max(certain, tile.leastBest());
        if (bounds[query]!.upper[index]! >= certain) tile.compete(query, masks[query]!);
      }
    }
    tile.finishContest(winner, width, won);
  }

  const claimed = (query: number, enough: number): number => {
    const { lower, upper } = bounds[query]!;
    let count = 0;
    for (let index = 0; index < lower.length && count < enough; index++) {
      if (upper[index]! < floor) continue;
      tile.enter(index);
      count += lower[index]! >= floor ? tile.pixels : tile.countFrom(masks[query]!, floor);
    }
    return count;
  };
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
  const count = Math.ceil(inputs / TILE_SIDE);
  const starts = new Int32Array(count + 1).fill(outputs);
  for (let output = outputs - 1; output >= 0; output--) starts[Math.floor(taps.low[output]! / TILE_SIDE)] = output;
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
    const top = tileRow * TILE_SIDE;
    const bottom = Math.min(top + REACH, height);
    for (let tileColumn = 0; tileColumn < tileColumns; tileColumn++) {
      const left = tileColumn * TILE_SIDE;
      const right = Math.min(left + REACH, width);
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
      lower[tile] = score * probability(least) * (1 - SLACK);
      upper[tile] = score * probability(most) * (1 + SLACK);
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
  readonly #row = new Float64Array(REACH);
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
    this.#wide = new Float64Array(REACH * columns.largest);
    this.#low = new Int32Array(columns.largest);
    this.#high = new Int32Array(columns.largest);
    this.#highWeight = new Float64Array(columns.largest);
  }

  /** Moves on to another tile. */
  enter(index: number): void {
    const tileRow = Math.floor(index / this.#columns.count);
    const tileColumn = index % this.#columns.count;
    this.#inputTop = tileRow * TILE_SIDE;
    this.#inputLeft = tileColumn * TILE_SIDE;
    this.#top = this.#rows.starts[tileRow]!;
    this.#bottom = this.#rows.starts[tileRow + 1]!;
    this.#left = this.#columns.starts[tileColumn]!;
    this.#width = this.#columns.starts[tileColumn + 1]! - this.#left;
    this.pixels = (this.#bottom - this.#top) * this.#width;
    const { low, high, highWeight } = this.#columns.taps;
    for (let x = 0; x < this.#width; x++) {
      this.#low[x] = low[this.#left + x]! - this.#inputLeft;
      this.#high[x] = high[this.#left + x]! - this.#inputLeft;
      this.#highWeight[x] = highWeight[this.#left + x]!;
    }
  }

  /** Gives all pixels to a query until better ones come. */
  startContest(query: number): void {
    this.#best.fill(-1, 0, this.pixels);
    this.#bestQuery.fill(query, 0, this.pixels);
  }

  /** Lets a query compete for the tile's pixels; of equal values that of the first query wins. */
  compete(query: number, { logits, score }: ScoredMask): void {
    this.#widen(logits);
    const width = this.#width;
    const wide = this.#wide;
    const best = this.#best;
    const bestQuery = this.#bestQuery;
    const { low, high, highWeight } = this.#rows.taps;
    for (let y = this.#top, pixel = 0; y < this.#bottom; y++) {
      const belowWeight = highWeight[y]!;
      const aboveWeight = 1 - belowWeight;
      let above = (low[y]! - this.#inputTop) * width;
      let below = (high[y]! - this.#inputTop) * width;
      for (const end = pixel + width; pixel < end; pixel++, above++, below++) {
        const value = (aboveWeight * wide[above]! + belowWeight * wide[below]!) * score;
        if (value < best[pixel]! || (value === best[pixel] && bestQuery[pixel]! < query)) continue;
        best[pixel] = value;
        bestQuery[pixel] = query;
      }
    }
  }

  /** The least of the pixels' best values. */
  leastBest(): number {
    let least = Number.POSITIVE_INFINITY;
    for (let pixel = 0; pixel < this.pixels; pixel++) if (this.#best[pixel]! < least) least = this.#best[pixel]!;
    return least;
  }

  /** Writes the winners into the picture and counts their pixels. */
  finishContest(winner: Int32Array, width: number, won: Int32Array): void {
    for (let y = this.#top, pixel = 0; y < this.#bottom; y++) {
      const end = y * width + this.#left + this.#width;
      for (let at = end - this.#width; at < end; at++, pixel++) {
        const query = this.#bestQuery[pixel]!;
        winner[at] = query;
        won[query] = won[query]! + 1;
      }
    }
  }

  /** At how many of the tile's pixels score · probability is at least `floor`. */
  countFrom({ logits, score }: ScoredMask, floor: number): number {
    this.#widen(logits);
    const width = this.#width;
    const wide = this.#wide;
    const { low, high, highWeight } = this.#rows.taps;
    let count = 0;
    for (let y = this.#top; y < this.#bottom; y++) {
      const belowWeight = highWeight[y]!;
      const aboveWeight = 1 - belowWeight;
      const above = (low[y]! - this.#inputTop) * width;
      const below = (high[y]! - this.#inputTop) * width;
      for (let x = 0; x < width; x++) {
        if ((aboveWeight * wide[above + x]! + belowWeight * wide[below + x]!) * score >= floor) count++;
      }
    }
    return count;
  }

  /** The probabilities of the tile's rows of inputs, interpolated to the columns of the outputs. */
  #widen(logits: Float32Array): void {
    const inputRows = Math.min(REACH, this.#maskHeight - this.#inputTop);
    const inputColumns = Math.min(REACH, this.#maskWidth - this.#inputLeft);
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
}
