import { createHash } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { DetrError, type Device } from '../../engine/index.ts';
import type { CocoImage } from '../../models/evaluation/coco-format.ts';
import {
  type BatchOptions,
  conclude,
  type Failure,
  type Outcome,
  processBatches,
  RunEnded,
  summarize,
} from '../batches.ts';
import { exitCodes } from '../command.ts';
import { isInside, weightEndings, writeJsonFile } from '../files.ts';
import { Journal } from '../journal.ts';
import { type ChosenModel, type DeviceSettings, withDevice } from '../models.ts';
import { plural, printable } from '../terminal.ts';

export interface EvaluationSettings extends DeviceSettings {
  readonly chosen: ChosenModel;
  readonly annotations: string;
  readonly images: string;
  readonly out: string;
  readonly batch: number;
  readonly threshold: number;
  readonly maskThreshold: number;
  readonly overlapThreshold: number;
  readonly limit: number | undefined;
  readonly restart: boolean;
  readonly json: boolean;
  readonly signal: AbortSignal;
}

export type ListedImage = Pick<CocoImage, 'id' | 'file_name'> & Partial<Pick<CocoImage, 'width' | 'height'>>;

/** A model that is loaded, how it runs on pictures, and what is recorded of each. */
export interface LoadedModel<Entry, Result> extends Pick<BatchOptions<Result>, 'inputSize' | 'run'> {
  readonly model: { dispose(): void };
  record(imageId: number, result: Result): Entry;
}

export interface Score {
  /** For people. */
  readonly table: string;
  readonly metrics: object;
  /** In COCO's results format. */
  readonly predictions: object;
  /** Pictures that cannot be measured. */
  readonly failures: readonly Failure[];
}

/** What is measured, on a dataset that was checked. */
export interface Evaluation<Entry, Result> {
  readonly listed: readonly ListedImage[];
  /** What must be the same for a run to go on where another one stopped, beside model, pictures and threshold. */
  readonly identity: { readonly task: string } & Readonly<Record<string, unknown>>;
  /** @throws OptionError for a model that does not know the categories of the dataset */
  load(device: Device): Promise<LoadedModel<Entry, Result>>;
  /** Measures what was recorded, by image id. */
  score(entries: ReadonlyMap<number, Entry>): Promise<Score>;
}

/** Runs an evaluation, or what an interrupt left of it, to its end or the next interrupt. Returns the exit code. */
export async function runEvaluation<Entry, Result>(
  evaluation: Evaluation<Entry, Result>,
  settings: EvaluationSettings,
): Promise<number> {
  const { out, chosen } = settings;
  const { outcome, journal } = await withDevice(settings, device => processRemaining(evaluation, settings, device));
  const total = evaluation.listed.length;
  const exitCode = conclude(outcome, total);
  if (outcome.interrupted) {
    process.stderr.write('run the same command again to go on\n');
    return exitCodes.interrupted;
  }
  const recorded = evaluation.listed.filter(({ id }) => journal.entries.has(id)).length;
  if (recorded === 0) {
    await rm(journal.path);
    throw new DetrError('expected pictures to measure the model on, got none that could be read; nothing is written');
  }
  const score = await evaluation.score(journal.entries).catch(error => {
    if (error !== settings.signal.reason) throw error;
    return undefined;
  });
  if (score === undefined) {
    process.stderr.write('interrupted while scoring\nrun the same command again to go on\n');
    return exitCodes.interrupted;
  }
  const { table, metrics, predictions, failures } = score;
  process.stderr.write(summarize({ finished: recorded - failures.length, failures, interrupted: false }, recorded));
  const images = recorded - failures.length;
  if (images === 0) throw new DetrError('expected pictures that can be measured, got none; no metrics are written');
  const report = { task: evaluation.identity.task, model: chosen.name, images, images_listed: total, ...metrics };
  await writeJsonFile(join(out, 'predictions.json'), predictions);
  await writeJsonFile(join(out, 'metrics.json'), report);
  // Whoever ran the same beside us may have been first.
  if (failures.length === 0) await rm(journal.path, { force: true });
  else process.stderr.write('once that is repaired, the same command measures the rest without running the model\n');
  const part = images < total ? `over ${images} of ${plural(total, 'picture')}\n` : '';
  process.stdout.write(
    settings.json ? `${JSON.stringify(report)}\n` : `${part}${table}\n\npredictions and metrics in ${printable(out)}\n`,
  );
  return failures.length > 0 ? exitCodes.failure : exitCode;
}

/** Changes when one of the files does, by its size or its time. */
async function fingerprint(files: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) {
    const { size, mtimeMs } = await stat(file);
    hash.update(`${resolve(file)} ${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex').slice(0, 16);
}

async function weightsAndConfigs(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).sort();
  return names.filter(name => name.endsWith('.json') || weightEndings.test(name)).map(name => join(folder, name));
}

/** Runs the model over the pictures that the journal does not know, and records each in it. The journal comes back closed. */
async function processRemaining<Entry, Result>(
  { identity, listed, load }: Evaluation<Entry, Result>,
  { chosen, annotations, images, threshold, batch, signal, out, restart }: EvaluationSettings,
  device: Device,
): Promise<{ outcome: Outcome; journal: Journal<Entry> }> {
  const { task, ...others } = identity;
  const whole = {
    task,
    annotations: resolve(annotations),
    images: resolve(images),
    model: resolve(chosen.directory),
    files: await fingerprint([annotations, ...(await weightsAndConfigs(chosen.directory))]),
    threshold,
    ...others,
  };
  // Before the model, which may take long to load: this may be the record of another run.
  const journal = await Journal.open<Entry>(join(out, 'unfinished.jsonl'), whole, restart);
  try {
    const remaining = listed.filter(({ id }) => !journal.entries.has(id));
    if (remaining.length < listed.length) {
      process.stderr.write(`${plural(listed.length - remaining.length, 'picture')} done before (${printable(out)})\n`);
    }
    const inputs = remaining.map(({ id, file_name: name, width, height }) => {
      if (typeof name !== 'string') return { path: `image ${id}`, problem: 'expected a file_name in the annotations' };
      const problem = 'expected a file_name below --images in the annotations';
      if (!isInside(name)) return { path: name, problem };
      return { path: join(images, name), ...(width && height && { size: { width, height } }) };
    });
    const { model, inputSize, run, record } = await load(device);
    const finish = async ({ index }: { readonly index: number }, result: Result) => {
      const { id } = remaining[index]!;
      try {
        await journal.add(id, record(id, result));
      } catch (cause) {
        throw new RunEnded('nothing can be recorded', { cause });
      }
    };
    const outcome = await processBatches(inputs, { batchSize: batch, signal, inputSize, run, finish });
    await model.dispose();
    return { outcome, journal };
  } finally {
    await journal.close();
  }
}
