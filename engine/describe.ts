import { DetrError, OptionError } from './errors.ts';

/** How deep and how many a side values are shown: more would not fit, and deep ones would overflow the stack. */
const SHOWN_LEVELS = 3;
const SHOWN_ENTRIES = 20;
const SHOWN_CHARACTERS = 100;

/** A value for messages: JSON, cut short in depth and in length. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  const isJson = typeof value === 'string' || typeof value === 'object';
  const text = isJson ? JSON.stringify(abridge(value, SHOWN_LEVELS)) : String(value);
  return text.slice(0, SHOWN_CHARACTERS);
}

/** The outer levels of a value that JSON can hold; what JSON lacks becomes a string. */
function abridge(value: unknown, levels: number): unknown {
  if (typeof value === 'string') return value.slice(0, SHOWN_CHARACTERS);
  if (value === null || typeof value === 'boolean' || Number.isFinite(value)) return value;
  if (typeof value !== 'object') return String(value);
  if (levels === 0) return '…';
  if (ArrayBuffer.isView(value)) return value.constructor.name;
  if (Array.isArray(value)) return value.slice(0, SHOWN_ENTRIES).map(item => abridge(item, levels - 1));
  const entries = Object.entries(value).slice(0, SHOWN_ENTRIES);
  return Object.fromEntries(entries.map(([key, item]) => [key, abridge(item, levels - 1)]));
}

/** Names for messages: the first `most` of them, and whether there are more. */
export function listNames(names: readonly string[], most: number): string {
  return names.slice(0, most).join(', ') + (names.length > most ? ', …' : '');
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
