import { DetrError, DeviceLostError } from '../engine/errors.ts';
import { getOrInsert } from '../engine/maps.ts';
import { readImage } from '../models/images/files.ts';
import type { Image } from '../models/images/image.ts';
import { exitCodes } from './command.ts';
import { type InputFile, withoutFile } from './files.ts';
import { ProgressBar, plural, printable } from './terminal.ts';

/** A picture that was read. */
export interface Picture {
  /** Its place among the inputs. */
  readonly index: number;
  readonly path: string;
  readonly image: Image;
}

interface SizedPicture extends Picture {
  readonly inputSize: string;
}

/** A picture, or why it could not be read. */
type Entry = SizedPicture | { readonly path: string; readonly error: unknown };

/** What became of an entry. */
type Attempt<Result> = { readonly result: Result } | { readonly error: unknown };

/** A batch that went through the model. */
interface RunBatch<Result> {
  readonly batch: readonly Entry[];
  readonly attempts: readonly Attempt<Result>[];
  /** What comes after it, for the progress bar. */
  readonly nextPath: string;
}

export interface Failure {
  readonly path: string;
  readonly message: string;
}

export interface BatchOptions<Result> {
  /** Pictures that are read together; those of them that the model gets in one size go through it together. */
  readonly batchSize: number;
  /** No batch begins once this is aborted. */
  readonly signal: AbortSignal;
  /**
   * The size in which the model gets a picture. Pictures of different sizes would be padded to one, and padding changes what
   * these models find.
   */
  readonly inputSize: (image: Image) => readonly [height: number, width: number];
  /** Runs the model on a batch and returns one result per picture. */
  readonly run: (pictures: readonly Picture[]) => Promise<readonly Result[]>;
  /** Prints and writes what was found in one picture. Called in the order of the inputs. */
  readonly finish: (picture: Picture, result: Result) => Promise<void>;
  readonly onFailure?: (failure: Failure) => void;
}

/** What `finish` throws when the other pictures would fare no better; the run ends with its cause. */
export class RunEnded extends Error {}

/** A disk that is full, or a folder that nobody may write to, takes nothing else either. */
const hopelessCodes = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EIO']);

/** Runs `write`, which writes a file of results. @throws RunEnded where no other file could be written either */
export function writeResults(write: () => void): void {
  try {
    write();
  } catch (error) {
    const code = ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code;
    if (code !== undefined && hopelessCodes.has(code)) throw new RunEnded('nothing can be written', { cause: error });
    throw error;
  }
}

export interface Outcome {
  readonly finished: number;
  readonly failures: readonly Failure[];
  readonly interrupted: boolean;
}

/**
 * Takes pictures through a model in batches, whose size does not change what is found in a picture. A picture that cannot be
 * read, or on which the model fails, is recorded and the others go on. While a batch is on the device, the next is read and the
 * one before is printed and written. Shows progress on a terminal.
 */
export async function processBatches<Result>(
  inputs: readonly InputFile[],
  options: BatchOptions<Result>,
): Promise<Outcome> {
  return new BatchRun(inputs, options).run();
}

class BatchRun<Result> {
  readonly #inputs: readonly InputFile[];
  readonly #options: BatchOptions<Result>;
  readonly #progress: ProgressBar;
  readonly #failures: Failure[] = [];
  #finished = 0;

  constructor(inputs: readonly InputFile[], options: BatchOptions<Result>) {
    this.#inputs = inputs;
    this.#options = options;
    this.#progress = new ProgressBar(inputs.length);
  }

  async run(): Promise<Outcome> {
    const inputs = this.#inputs;
    const { batchSize, signal } = this.#options;
    let running: Promise<RunBatch<Result>> | undefined;
    try {
      let next = this.#read(0);
      for (let start = 0; start < inputs.length && !signal.aborted; start += batchSize) {
        this.#progress.show(inputs[start]!.path);
        const batch = await next;
        const previous = await running;
        const nextPath = inputs[start + batchSize]?.path ?? '';
        running = this.#attempt(batch).then(attempts => ({ batch, attempts, nextPath }));
        running.catch(() => {}); // It is waited for below.
        next = start + batchSize < inputs.length ? this.#read(start + batchSize) : Promise.resolve([]);
        if (previous === undefined) continue;
        await new Promise(resolve => setImmediate(resolve)); // The device gets its work first.
        await this.#finish(previous);
      }
      const last = await running;
      running = undefined;
      if (last !== undefined) await this.#finish(last);
    } finally {
      await running?.catch(() => {}); // Whoever owns the model may free it next.
      this.#progress.clear();
    }
    const [finished, failures] = [this.#finished, this.#failures];
    return { finished, failures, interrupted: finished + failures.length < inputs.length };
  }

  async #read(start: number): Promise<Entry[]> {
    const { batchSize, inputSize } = this.#options;
    return Promise.all(
      this.#inputs.slice(start, start + batchSize).map(async (input, offset) => {
        const { path } = input;
        try {
          const image = await readInput(input);
          return { index: start + offset, path, image, inputSize: inputSize(image).join(' x ') };
        } catch (error) {
          return { path, error };
        }
      }),
    );
  }

  /** Those of one input size together. Returns what became of each entry, in their order. */
  async #attempt(batch: readonly Entry[]): Promise<Attempt<Result>[]> {
    const attempts = new Array<Attempt<Result>>(batch.length);
    const places = new Map<string, number[]>();
    for (const [place, entry] of batch.entries()) {
      if ('error' in entry) attempts[place] = { error: entry.error };
      else getOrInsert(places, entry.inputSize, () => []).push(place);
    }
    for (const alike of places.values()) {
      const found = await this.#runSafely(alike.map(place => batch[place] as SizedPicture));
      for (const [index, place] of alike.entries()) attempts[place] = found[index]!;
    }
    return attempts;
  }

  /** Together if possible; one by one when that fails, so that one picture's failure is not its neighbours'. */
  async #runSafely(pictures: readonly Picture[]): Promise<Attempt<Result>[]> {
    try {
      return (await this.#options.run(pictures)).map(result => ({ result }));
    } catch (error) {
      if (!isFaultOfInput(error)) throw error;
      if (pictures.length === 1) return [{ error }];
      const attempts: Attempt<Result>[] = [];
      for (const picture of pictures) attempts.push(...(await this.#runSafely([picture])));
      return attempts;
    }
  }

  /** Tells of each entry in order, so that output comes in the order of the inputs. */
  async #finish({ batch, attempts, nextPath }: RunBatch<Result>): Promise<void> {
    for (const [place, entry] of batch.entries()) {
      const attempt = attempts[place]!;
      try {
        if ('error' in attempt) throw attempt.error;
        this.#progress.clear();
        await this.#options.finish(entry as SizedPicture, attempt.result);
        this.#finished++;
      } catch (error) {
        this.#fail(entry.path, error);
      }
    }
    this.#progress.advance(batch.length, nextPath);
  }

  #fail(path: string, error: unknown): void {
    if (error instanceof RunEnded) throw error.cause;
    if (!isFaultOfInput(error)) throw error;
    const failure = { path, message: withoutFile(error.message, path) };
    this.#failures.push(failure);
    this.#progress.above(() => this.#options.onFailure?.(failure));
  }
}

/** The picture, upright unless its size in the annotations is that of the pixels as they are stored. */
async function readInput({ path, bytes, problem, size }: InputFile): Promise<Image> {
  if (problem !== undefined) throw new DetrError(problem);
  const image = await readImage(bytes ?? path, { name: path });
  if (size === undefined || (image.width === size.width && image.height === size.height)) return image;
  if (image.width === size.height && image.height === size.width) {
    const stored = await readImage(bytes ?? path, { name: path, exifTranspose: false });
    if (stored.width === size.width) return stored;
  }
  const expected = `expected ${size.width} x ${size.height} pixels as in the annotations`;
  throw new DetrError(`${expected}, got ${image.width} x ${image.height}`);
}

/** A lost device fails everything that follows, and what is no DetrError is a bug: neither is the fault of one input. */
export function isFaultOfInput(error: unknown): error is DetrError {
  return error instanceof DetrError && !(error instanceof DeviceLostError);
}

/** A picture's failure as `--json` shows it. */
export function printAsJson({ path, message }: Failure): void {
  process.stdout.write(`${JSON.stringify({ file: path, error: message })}\n`);
}

/** Says at the end what went wrong, and returns the exit code. */
export function conclude(outcome: Outcome, total: number): number {
  process.stderr.write(summarize(outcome, total));
  if (outcome.interrupted) return exitCodes.interrupted;
  return outcome.failures.length > 0 ? exitCodes.failure : exitCodes.success;
}

/** What is said at the end when something went wrong: `2 of 5 pictures failed`, and how each did. */
export function summarize({ finished, failures, interrupted }: Outcome, total: number): string {
  const lines: string[] = [];
  if (failures.length > 0) {
    lines.push(`${failures.length} of ${plural(total, 'picture')} failed:`);
    for (const { path, message } of failures) lines.push(`  ${printable(path)}: ${printable(message)}`);
  }
  if (interrupted) lines.push(`interrupted: ${finished} of ${plural(total, 'picture')} done`);
  return lines.map(line => `${line}\n`).join('');
}
