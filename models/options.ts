import { OptionError } from '../engine/errors.ts';
import { describe } from './describe.ts';

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

/** Throws an `OptionError` unless `value` is a number (not NaN). */
export function checkNumber(value: unknown, name: string, where: string): asserts value is number {
  if (typeof value !== 'number' || Number.isNaN(value)) {
    throw new OptionError(`${where}: expected ${name} to be a number, got ${describe(value)}`);
  }
}
