import { DetrError, DeviceLostError } from '../engine/errors.ts';
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

export interface Failure {
  readonly path: string;
  readonly message: string;
}

export interface BatchOptions<Result> {
  /** Pictures that are read together; those of them that the model gets in one size go through it together. */
  readonly batchSize: number;
  /** Work stops before the next batch once this is aborted. */
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

export interface Outcome {
  readonly finished: number;
  readonly failures: readonly Failure[];
  readonly interrupted: boolean;
}

/**
 * Takes pictures through a model in batches, whose size does not change what is found in a picture. A picture that cannot be
 * read, or on which the model fails, is recorded and the others go on; while one batch is on the device the next is read.
 * Shows progress on a terminal.
 */
export async function processBatches<Result>(
  inputs: readonly InputFile[],
  options: BatchOptions<Result>,
): Promise<Outcome> {
  const { batchSize, signal, inputSize, run, finish } = options;
  const failures: Failure[] = [];
  let finished = 0;
  const progress = new ProgressBar(inputs.length);
  const fail = (path: string, error: unknown) => {
    if (error instanceof RunEnded) throw error.cause;
    if (!isFaultOfInput(error)) throw error;
    const failure = { path, message: withoutFile(error.message, path) };
    failures.push(failure);
    progress.above(() => options.onFailure?.(failure));
  };
  const read = async (start: number): Promise<(SizedPicture | { path: string; error: unknown })[]> => {
    const batch = inputs.slice(start, start + batchSize);
    return Promise.all(
      batch.map(async ({ path, bytes, problem }, offset) => {
        try {
          if (problem !== undefined) throw new DetrError(problem);
          const image = await (bytes === undefined ? readImage(path) : readImage(bytes, { name: path }));
          return { index: start + offset, path, image, inputSize: inputSize(image).join(' x ') };
        } catch (error) {
          return { path, error };
        }
      }),
    );
  };
  /** Together if possible; one by one when that fails, so that one picture's failure is not its neighbours'. */
  const runSafely = async (pictures: readonly Picture[]): Promise<(Result | undefined)[]> => {
    try {
      return [...(await run(pictures))];
    } catch (error) {
      const [only] = pictures;
      if (pictures.length === 1) {
        fail(only!.path, error);
        return [undefined];
      }
      if (!isFaultOfInput(error)) throw error;
      const results: (Result | undefined)[] = [];
      for (const picture of pictures) results.push(...(await runSafely([picture])));
      return results;
    }
  };
  /** Those of one input size together. Returns the results in the order of the pictures. */
  const runBySize = async (pictures: readonly SizedPicture[]): Promise<(Result | undefined)[]> => {
    const places = new Map<string, number[]>();
    for (const [place, { inputSize }] of pictures.entries()) {
      const alike = places.get(inputSize);
      if (alike === undefined) places.set(inputSize, [place]);
      else alike.push(place);
    }
    const results = new Array<Result | undefined>(pictures.length);
    for (const alike of places.values()) {
      const found = await runSafely(alike.map(place => pictures[place]!));
      for (const [index, place] of alike.entries()) results[place] = found[index];
    }
    return results;
  };

  try {
    let next = read(0);
    for (let start = 0; start < inputs.length && !signal.aborted; start += batchSize) {
      progress.show(inputs[start]!.path);
      const batch = await next;
      const pictures: SizedPicture[] = [];
      for (const entry of batch) {
        if ('error' in entry) fail(entry.path, entry.error);
        else pictures.push(entry);
      }
      const running = runBySize(pictures);
      next = start + batchSize < inputs.length ? read(start + batchSize) : Promise.resolve([]);
      const results = await running;
      for (const [place, picture] of pictures.entries()) {
        const result = results[place];
        if (result === undefined) continue;
        try {
          progress.clear();
          await finish(picture, result);
          finished++;
        } catch (error) {
          fail(picture.path, error);
        }
      }
      progress.advance(batch.length, inputs[start + batchSize]?.path ?? '');
    }
  } finally {
    progress.clear();
  }
  return { finished, failures, interrupted: finished + failures.length < inputs.length };
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
