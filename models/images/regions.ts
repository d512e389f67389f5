/*
 * The regions of a map of ids, and how far their pixels are from others.
 */

/** Which segment each pixel belongs to; ids without a `SegmentToDraw` are left as they are. */
export interface SegmentationMap {
  readonly width: number;
  readonly height: number;
  /** [height, width] */
  readonly data: ArrayLike<number>;
}

/** Enlarges a map of ids by a whole factor with smooth borders: nine neighbours vote, weighted by a quadratic B-spline. */
export function enlargeMap({ width, height, data }: SegmentationMap, factor: number): Int32Array {
  const ids = new Int32Array(width * factor * height * factor);
  if (factor === 1) {
    for (let index = 0; index < ids.length; index++) ids[index] = data[index]!;
    return ids;
  }
  const weights = Array.from({ length: factor }, (_, step) => {
    const offset = (step + 0.5) / factor - 0.5;
    return [0.5 * (0.5 - offset) ** 2, 0.75 - offset ** 2, 0.5 * (0.5 + offset) ** 2];
  });
  const alone = withoutOtherNeighbours(data, width, height);
  const votes = new Map<number, number>();
  for (let row = 0; row < height * factor; row++) {
    const y = Math.floor(row / factor);
    const rowWeights = weights[row % factor]!;
    for (let column = 0; column < width * factor; column++) {
      const x = Math.floor(column / factor);
      if (alone[y * width + x]) {
        ids[row * width * factor + column] = data[y * width + x]!;
        continue;
      }
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

/** 1 for the pixels inside the map whose eight neighbours have the same id. */
function withoutOtherNeighbours(data: ArrayLike<number>, width: number, height: number): Uint8Array {
  const alone = new Uint8Array(width * height);
  for (let y = 1; y < height - 1; y++) {
    for (let x = 1; x < width - 1; x++) {
      const at = y * width + x;
      let same = 1;
      for (let row = at - width; row <= at + width; row += width) {
        if (data[row - 1] !== data[at] || data[row] !== data[at] || data[row + 1] !== data[at]) same = 0;
      }
      alone[at] = same;
    }
  }
  return alone;
}

export interface InnermostPoint {
  readonly x: number;
  readonly y: number;
  /** Pixels to the border of the segment or of the picture. */
  readonly clearance: number;
}

/** Distances are counted in thirds of a pixel: 3 for a step along an axis, 4 for a diagonal one. */
export const STRAIGHT_STEP = 3;
const DIAGONAL_STEP = 4;
const FAR_AWAY = 1 << 28;

/** The segments of a map as they are drawn. */
export class Regions {
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
    const distances = new Int32Array(regions.length).fill(FAR_AWAY);
    const via = (own: number, neighbour: number, step: number): number => {
      const other = regions[neighbour]!;
      if (other === own) return distances[neighbour]! + step;
      return counts(own, other) ? step : FAR_AWAY;
    };
    const relax = (place: number, direction: 1 | -1) => {
      const own = regions[place]!;
      const row = place + direction * stride;
      let nearest = Math.min(
        distances[place]!,
        via(own, place + direction, STRAIGHT_STEP),
        via(own, row, STRAIGHT_STEP),
      );
      nearest = Math.min(nearest, via(own, row - 1, DIAGONAL_STEP), via(own, row + 1, DIAGONAL_STEP));
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
        const clearance = distances[place]! / STRAIGHT_STEP;
        if (clearance > points[region]!.clearance) points[region] = { x, y, clearance };
      }
    }
    return new Map(points.map((point, region) => [this.ids[region]!, point]));
  }
}
