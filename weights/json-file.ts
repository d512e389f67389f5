// JSON files (Node only).
import { constants } from 'node:buffer';
import { readFile, stat } from 'node:fs/promises';
import { FileError } from '../engine/errors.ts';
import { checkIsFile, fileSystemError, readFlags } from './files.ts';

/** No file of ours is a tenth as deep; what walks deeper values, error messages say, could run out of stack. */
const MOST_LEVELS = 100;

/** Reads a JSON object, no longer than a string can be. @throws FileError naming the file. */
export async function readJson(file: string): Promise<Readonly<Record<string, unknown>>> {
  let text: string;
  try {
    const stats = await stat(file);
    checkIsFile(file, stats);
    if (stats.size > constants.MAX_STRING_LENGTH) {
      throw new FileError({ file }, `expected JSON of at most ${constants.MAX_STRING_LENGTH} bytes, got ${stats.size}`);
    }
    text = await readFile(file, { encoding: 'utf8', flag: readFlags });
  } catch (error) {
    throw fileSystemError(file, error);
  }
  let parsed: unknown;
  try {
    // Some editors begin a file with a byte order mark.
    text = text.replace(/^\uFEFF/, '');
    parsed = parsePythonJson(text);
  } catch (cause) {
    throw new FileError({ file }, `expected JSON, got ${(cause as Error).message}`, { cause });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new FileError({ file }, 'expected a JSON object');
  }
  const levels = levelsOf(text);
  if (levels > MOST_LEVELS) {
    throw new FileError({ file }, `expected JSON of at most ${MOST_LEVELS} levels, got ${levels}`);
  }
  return parsed as Record<string, unknown>;
}

/** JSON with the NaN and Infinity that Python writes, which become null. */
function parsePythonJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!/NaN|Infinity/.test(text)) throw error;
    const stringOrWord = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g;
    return JSON.parse(text.replace(stringOrWord, found => (found.startsWith('"') ? found : 'null')));
  }
}

/** How deep the arrays and objects of a JSON text lie in each other. */
function levelsOf(json: string): number {
  let level = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < json.length; at++) {
    const character = json[at];
    if (character === '"') inString = !inString;
    else if (inString) at += character === '\\' ? 1 : 0;
    else if (character === '[' || character === '{') deepest = Math.max(deepest, ++level);
    else if (character === ']' || character === '}') level--;
  }
  return deepest;
}
