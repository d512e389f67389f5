import { describe } from './describe.ts';
import { OptionError } from './errors.ts';

/**
 * Throws an `OptionError` unless `options` is an object whose keys are all in `known`. Callers from Python write
 * `target_sizes`, or give by position what is an option here; an ignored option would silently give other results.
 */
export function checkOptionNames(options: object, known: readonly string[], where: string): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new OptionError(`${where}: expected an object { ${known.join(', ')} }, got ${describe(options)}`);
  }
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

/** Throws an `OptionError` unless `value` is true, false or left out: text, `'no'` say, would count as true. */
export function checkFlag(value: unknown, name: string, where: string): asserts value is boolean | undefined {
  if (value !== undefined && typeof value !== 'boolean') {
    throw new OptionError(`${where}: expected ${name} to be true or false, got ${describe(value)}`);
  }
}

/** Throws an `OptionError` unless `value` is a number from 0 to 1, as probabilities and parts of areas are. */
export function checkFraction(value: unknown, name: string, where: string): asserts value is number {
  checkNumber(value, name, where);
  if (value < 0 || value > 1) throw new OptionError(`${where}: expected ${name} from 0 to 1, got ${value}`);
}
