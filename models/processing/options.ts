import { OptionError } from '../../engine/errors.ts';

/**
 * Throws an `OptionError` if `options` has a key that is not in `known`. Callers from Python write `target_sizes`; an
 * ignored option would silently give other results.
 */
export function checkOptionNames(options: object, known: readonly string[], where: string): void {
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const plain = (text: string) => text.toLowerCase().replaceAll('_', '');
    const meant = known.find(candidate => plain(candidate) === plain(name));
    const hint = meant === undefined ? `known are ${known.join(', ')}` : `did you mean ${meant}?`;
    throw new OptionError(`${where}: unknown option ${name}; ${hint}`);
  }
}

/** A value for messages: JSON, cut short. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  // JSON has null for NaN and the infinities.
  const plain = (_: string, entry: unknown) =>
    Number.isFinite(entry) || typeof entry !== 'number' ? entry : `${entry}`;
  return typeof value === 'number' ? `${value}` : (JSON.stringify(value, plain) ?? String(value)).slice(0, 100);
}

/** Throws an `OptionError` unless `value` is a number (not NaN). */
export function checkNumber(value: unknown, name: string, where: string): asserts value is number {
  if (typeof value !== 'number' || Number.isNaN(value)) {
    throw new OptionError(`${where}: expected ${name} to be a number, got ${describe(value)}`);
  }
}

/** Height and width of a picture in pixels. */
export type ImageSize = readonly [height: number, width: number];

/** Throws an `OptionError` unless there is one size of positive whole pixels for each of `batch` images. */
export function checkSizes(sizes: readonly ImageSize[], batch: number, name: string, where: string): void {
  if (!Array.isArray(sizes) || sizes.length !== batch) {
    const got = Array.isArray(sizes) ? sizes.length : describe(sizes);
    throw new OptionError(
      `${where}: expected ${name} to be a list of [height, width] for each of ${batch} images, got ${got}`,
    );
  }
  for (const size of sizes) {
    if (!Array.isArray(size) || size.length !== 2 || !size.every(length => Number.isInteger(length) && length >= 1)) {
      throw new OptionError(
        `${where}: expected ${name} of [height, width] in positive whole pixels, got ${describe(size)}`,
      );
    }
  }
}
