/** Checks of parsed JSON: annotation and result files. Each error names the entry that it is about. */
import { describe } from '../../engine/describe.ts';
import { OptionError } from '../../engine/errors.ts';

type JsonObject = Readonly<Record<string, unknown>>;

export function requireObject(value: unknown, where: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw unexpected(where, 'an object', value);
  return value as JsonObject;
}

export function requireList(object: JsonObject, key: string, where = key): readonly unknown[] {
  const value = object[key];
  if (!Array.isArray(value)) throw unexpected(where, 'a list', value);
  return value;
}

export function requireInteger(value: unknown, where: string): number {
  if (!Number.isSafeInteger(value)) throw unexpected(where, 'a whole number', value);
  return value as number;
}

export function requireFinite(value: unknown, where: string): number {
  if (!Number.isFinite(value)) throw unexpected(where, 'a number', value);
  return value as number;
}

/** COCO's files say 0 and 1, some exporters false and true. */
export function requireFlag(value: unknown, where: string): void {
  if (typeof value !== 'boolean' && !Number.isSafeInteger(value)) throw unexpected(where, '0 or 1', value);
}

export function requireUniqueIds(entries: readonly unknown[], where: string): void {
  const seen = new Set<unknown>();
  entries.forEach((entry, index) => {
    const { id } = entry as { id: unknown };
    if (seen.has(id)) throw new OptionError(`${where}[${index}].id: expected ids that occur once, got ${id} again`);
    seen.add(id);
  });
}

export function unexpected(where: string, expected: string, value: unknown): OptionError {
  return new OptionError(`${where}: expected ${expected}, got ${describe(value)}`);
}

export function requireNumbers(value: unknown, where: string, count?: number): void {
  if (!Array.isArray(value) || (count !== undefined && value.length !== count)) {
    throw unexpected(where, count === undefined ? 'a list of numbers' : `a list of ${count} numbers`, value);
  }
  for (const [index, number] of value.entries()) requireFinite(number, `${where}[${index}]`);
}
