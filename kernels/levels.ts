// The feature maps of several resolutions whose cells, one map after the other, make up S tokens.

import { formatShape, ShapeError } from '../engine/index.ts';

/** Height and width of every feature map, in the order of their tokens. */
export type FeatureLevels = readonly (readonly [height: number, width: number])[];

/** The maps of an image of 800x1066 at the strides 8, 16, 32 and 64, for named cases. */
export const LEVELS_800x1066: FeatureLevels = [
  [100, 134],
  [50, 67],
  [25, 34],
  [13, 17],
];

/** Tokens of all maps together. */
export function tokensOf(levels: FeatureLevels): number {
  return levels.reduce((sum, [height, width]) => sum + height * width, 0);
}

/** @throws ShapeError unless the maps have exactly `tokens` cells */
export function expectLevels(operation: string, levels: FeatureLevels, tokens: number): void {
  const valid = levels.length > 0 && levels.flat().every(size => Number.isInteger(size) && size > 0);
  if (!valid || tokensOf(levels) !== tokens) {
    const maps = levels.map(formatShape).join(' + ');
    throw new ShapeError(`${operation}: expected feature maps of ${tokens} cells, got ${maps}`);
  }
}

/** Height, width and first token of every map. */
export function levelScalars(levels: FeatureLevels): number[] {
  let start = 0;
  return levels.flatMap(([height, width]) => {
    const fields = [height, width, start];
    start += height * width;
    return fields;
  });
}

/**
 * The first field of a uniform struct: `levels`, whose items hold a map's height (x), width (y) and first token (z).
 * Shaders had better walk it by a count that they read, lest compilers unroll the walk.
 */
export function levelsField(count: number): string {
  return `levels: array<vec4<u32>, ${count}>,`;
}

/** The scalars of `levelsField`. */
export function levelsFieldScalars(levels: FeatureLevels): number[] {
  const scalars = levelScalars(levels);
  return levels.flatMap((_, level) => [...scalars.slice(3 * level, 3 * level + 3), 0]);
}
