import { DetrError, OptionError } from '../../engine/errors.ts';

/** A short form of a value from a file, for messages. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}

/** Runs `read`, and adds the entry it reads to the message of its error. */
export function inEntry<Value>(entry: string, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (error instanceof DetrError) throw new OptionError(`${entry}: ${error.message}`, { cause: error });
    throw error;
  }
}
