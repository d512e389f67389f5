import { existsSync, statSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, extname, isAbsolute, join, resolve } from 'node:path';
import { OptionError } from '../engine/errors.ts';
import { DEFAULT_MAX_PIXELS, maximumFileBytes } from '../models/images/files.ts';
import { collectBytes } from '../weights/bytes.ts';
import { weightEnding } from '../weights/checkpoint.ts';
import { fileSystemError, writeAtomically } from '../weights/files.ts';

/** A picture that a command was asked to work on, or the reason why it cannot. */
export interface InputFile {
  readonly path: string;
  /** What came from standard input; else the picture is in the file. */
  readonly bytes?: Uint8Array;
  readonly problem?: string;
  /** In pixels, where annotations say it: the picture must have it, upright or as it is stored. */
  readonly size?: { readonly width: number; readonly height: number };
}

/** Of file names. */
export const pictureEndings = /\.(png|jpe?g)$/i;
export const weightEndings = new RegExp(`${weightEnding.source}|\\.index\\.json$`);

/**
 * The files named on the command line, and the PNG and JPEG pictures in the folders named there, in natural order. `-` is
 * standard input, a picture by the name of stdin.
 * @throws the signal's reason when it aborts
 */
export async function findPictures(paths: readonly string[], signal?: AbortSignal): Promise<InputFile[]> {
  const found: InputFile[] = [];
  for (const path of paths) {
    if (path === '-') {
      found.push(await readStandardInput(signal));
      continue;
    }
    try {
      if (!(await stat(path)).isDirectory()) {
        found.push({ path });
        continue;
      }
      const names = (await readdir(path, { withFileTypes: true }))
        .filter(entry => !entry.isDirectory() && pictureEndings.test(entry.name) && !entry.name.startsWith('.'))
        .map(({ name }) => name);
      const inOrder = names.sort(new Intl.Collator('en', { numeric: true }).compare);
      for (const name of inOrder) found.push({ path: join(path, name) });
      if (names.length === 0) found.push({ path, problem: 'expected PNG or JPEG pictures in this folder, got none' });
    } catch (error) {
      const { message } = fileSystemError(path, error) as Error;
      found.push({ path, problem: withoutFile(message, path) });
    }
  }
  return found;
}

/** `readImage` takes no longer picture. */
const mostBytes = maximumFileBytes(DEFAULT_MAX_PIXELS);

async function readStandardInput(signal: AbortSignal | undefined): Promise<InputFile> {
  const path = 'stdin';
  const end = () => process.stdin.destroy();
  signal?.addEventListener('abort', end);
  try {
    const bytes = await collectBytes(process.stdin, mostBytes);
    signal?.throwIfAborted();
    return bytes === undefined ? { path, problem: `expected at most ${mostBytes} bytes, got more` } : { path, bytes };
  } catch (error) {
    signal?.throwIfAborted();
    return { path, problem: error instanceof Error ? error.message : String(error) };
  } finally {
    signal?.removeEventListener('abort', end);
  }
}

export async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}

/** @throws OptionError when there is no such folder */
export async function requireFolder(path: string, option: string): Promise<void> {
  if (await isFolder(path)) return;
  const problem = existsSync(path) ? 'is a file' : 'does not exist';
  throw new OptionError(`${option}: expected a folder, got ${path}, which ${problem}`);
}

/** Whether a name out of a file stays below the folder that it is joined to: annotations may come from anybody. */
export function isInside(name: string): boolean {
  return !isAbsolute(name) && !name.split(/[/\\]/).includes('..') && !name.includes('\0');
}

/** An error's message without the file's name in front, for tables that show the name anyway. */
export function withoutFile(message: string, file: string): string {
  return message.startsWith(`${file}: `) ? message.slice(file.length + 2) : message;
}

/**
 * Where the results for each picture go: the picture's own name with `ending`, numbered where two pictures share a name.
 * @throws OptionError when a result would take the place of a picture
 */
export function outputPaths(pictures: readonly string[], folder: string, ending: string): string[] {
  const taken = new Set<string>();
  const copies = new Map<string, number>();
  const paths = pictures.map(picture => {
    const stem = basename(picture, extname(picture));
    let path = join(folder, stem + ending);
    // On file systems that ignore case, Photo.png and photo.png are one file.
    let copy = copies.get(stem.toLowerCase()) ?? 1;
    while (taken.has(path.toLowerCase())) path = join(folder, `${stem}-${++copy}${ending}`);
    taken.add(path.toLowerCase());
    copies.set(stem.toLowerCase(), copy);
    return path;
  });
  refuseOverwriting(pictures, paths);
  return paths;
}

/**
 * Throws an `OptionError` if one of the files to be written is one of the pictures, by whatever name: through a link, or on a
 * file system that ignores case.
 */
export function refuseOverwriting(pictures: readonly string[], targets: readonly string[]): void {
  const inputs = new Set(pictures.map(fileIdentity));
  const target = targets.find(path => inputs.has(fileIdentity(path)));
  if (target !== undefined) {
    throw new OptionError(`--out: expected a folder without the pictures themselves, got one where ${target} is one`);
  }
}

function fileIdentity(path: string): string {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return resolve(path); // There is no such file, yet.
  }
}

/** Writes a value as JSON, whole or not at all. It may be longer than a string can be. */
export async function writeJsonFile(path: string, value: unknown): Promise<void> {
  await writeAtomically(path, async append => {
    let text = '';
    for (const piece of jsonPieces(value)) {
      text += piece;
      if (text.length < JSON_CHARACTERS_AT_ONCE) continue;
      await append(new TextEncoder().encode(text));
      text = '';
    }
    await append(new TextEncoder().encode(`${text}\n`));
  });
}

const JSON_CHARACTERS_AT_ONCE = 2 ** 20;

/** A value's JSON, entry by entry of the lists and objects that it consists of. */
function* jsonPieces(value: unknown): Generator<string> {
  const isList = Array.isArray(value);
  if (!isList && (typeof value !== 'object' || value === null)) {
    yield JSON.stringify(value);
    return;
  }
  let separator = isList ? '[' : '{';
  if (isList) {
    for (const entry of value) {
      yield `${separator}${JSON.stringify(entry) ?? 'null'}`;
      separator = ',';
    }
  } else {
    for (const [key, entry] of Object.entries(value)) {
      if (entry === undefined) continue;
      yield `${separator}${JSON.stringify(key)}:`;
      yield* jsonPieces(entry);
      separator = ',';
    }
  }
  if (separator !== ',') yield separator;
  yield isList ? ']' : '}';
}
