import { rm } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { type Device, FileError, OptionError } from '../../engine/index.ts';
import { AutoImageProcessor, AutoModelForImageSegmentation, AutoModelForObjectDetection } from '../../models/auto.ts';
import { CocoEvaluator } from '../../models/evaluation/coco-evaluator.ts';
import {
  type CocoDataset,
  type CocoResult,
  checkCocoDataset,
  toCocoResults,
} from '../../models/evaluation/coco-format.ts';
import {
  checkPanopticDataset,
  type PanopticDataset,
  PanopticEvaluator,
  type PanopticSegment,
  panopticIds,
  panopticImage,
  toPanopticPrediction,
} from '../../models/evaluation/panoptic-evaluator.ts';
import { readImage, writePng } from '../../models/images/files.ts';
import { makeFolder } from '../../weights/files.ts';
import { readJson } from '../../weights/json-file.ts';
import { type BatchOptions, type Outcome, type Picture, processBatches, RunEnded, summarize } from '../batches.ts';
import { defineCommand, exitCodes } from '../command.ts';
import { requireFolder, writeJsonFile } from '../files.ts';
import { Journal } from '../journal.ts';
import {
  anyModelOptions,
  type ChosenModel,
  chooseModel,
  defaultDetector,
  defaultSegmenter,
  openSegmentationProcessor,
  withDevice,
} from '../models.ts';
import { choice, flag, number, text } from '../options.ts';
import { withoutPadding } from '../padding.ts';
import { plural, printable } from '../terminal.ts';

interface Settings {
  readonly chosen: ChosenModel;
  readonly images: string;
  readonly out: string;
  readonly batchSize: number;
  readonly threshold: number;
  readonly maskThreshold: number;
  readonly overlapThreshold: number;
  readonly limit: number | undefined;
  readonly restart: boolean;
  readonly signal: AbortSignal;
}

/** The metrics of an evaluation that ran to its end. */
interface Evaluation {
  readonly outcome: Outcome;
  readonly total: number;
  readonly table: string;
  readonly metrics: object;
}

export const evaluate = defineCommand({
  name: 'evaluate',
  summary: 'Measure a model on a COCO data set: average precision or panoptic quality',
  operands: '',
  minimumOperands: 0,
  maximumOperands: 0,
  description: [
    'Runs a model over the pictures of a COCO annotation file and prints the familiar table: the twelve numbers of COCOeval for boxes (--task detection), or PQ, SQ and RQ (--task panoptic, where the PNG files of the annotations lie in a folder beside the JSON file with its name: panoptic.json, panoptic/).',
    'Predictions (COCO results format) and metrics are written to --out. What is done is recorded there after every batch: after an interrupt, the same command goes on where it stopped.',
  ],
  options: {
    annotations: text('FILE', 'COCO annotations: instances or panoptic (required)'),
    images: text('DIR', 'The folder of the pictures (required)'),
    task: choice(['detection', 'panoptic'], 'What to measure', 'detection'),
    ...anyModelOptions,
    threshold: number(
      'SCORE',
      { minimum: 0, maximum: 1 },
      'Use predictions with a higher score (default: 0.001 for detection, 0.5 for panoptic)',
    ),
    maskThreshold: number(
      'P',
      { minimum: 0, maximum: 1 },
      'Panoptic: pixels with at least this probability belong to a mask',
      0.5,
    ),
    overlapThreshold: number(
      'SHARE',
      { minimum: 0, maximum: 1 },
      'Panoptic: drop masks of which no larger share is left',
      0.8,
    ),
    batch: number('N', { minimum: 1, maximum: 256, integer: true }, 'Pictures that go through the model together', 1),
    limit: number('N', { minimum: 1, integer: true }, 'Only the first N pictures'),
    out: text('DIR', 'Predictions, metrics and the record of what is done', 'evaluation'),
    restart: flag('Forget what an interrupted run has done'),
    json: flag('Print the metrics as JSON'),
  },
  examples: [
    ['--annotations instances_val2017.json --images val2017 --model ./detr', 'AP on COCO'],
    ['--annotations panoptic.json --images val --task panoptic', 'Panoptic quality'],
  ],
  async run(options, _operands, { signal }) {
    const { annotations, images, task, json } = options;
    if (annotations === undefined) throw new OptionError('--annotations: expected a file, got none');
    if (images === undefined) throw new OptionError('--images: expected a folder, got none');
    const panoptic = task === 'panoptic';
    const settings: Settings = {
      chosen: await chooseModel(
        options.model ?? (panoptic ? defaultSegmenter : defaultDetector),
        options.revision,
        signal,
      ),
      images,
      out: options.out,
      batchSize: options.batch,
      threshold: options.threshold ?? (panoptic ? 0.5 : 0.001),
      maskThreshold: options.maskThreshold,
      overlapThreshold: options.overlapThreshold,
      limit: options.limit,
      restart: options.restart,
      signal,
    };
    await requireFolder(images, '--images');
    const dataset = await readJson(annotations);
    await makeFolder(settings.out);
    const { outcome, total, table, metrics } = await withDevice(options, device =>
      panoptic
        ? evaluatePanoptic(checkPanopticDataset(dataset), annotations, device, settings)
        : evaluateDetection(checkCocoDataset(dataset), annotations, device, settings),
    );
    process.stderr.write(summarize(outcome, total));
    if (outcome.interrupted) {
      process.stderr.write('run the same command again to go on\n');
      return exitCodes.interrupted;
    }
    await writeJsonFile(join(settings.out, 'metrics.json'), metrics);
    process.stdout.write(
      json ? `${JSON.stringify(metrics)}\n` : `${table}\n\npredictions and metrics in ${printable(settings.out)}\n`,
    );
    return outcome.failures.length > 0 ? exitCodes.failure : exitCodes.success;
  },
});

/** What must be the same for a run to go on where another one stopped. */
const identity = (
  task: string,
  annotations: string,
  { chosen, images, threshold, maskThreshold, overlapThreshold }: Settings,
) => ({
  task,
  annotations: resolve(annotations),
  images: resolve(images),
  model: resolve(chosen.directory),
  threshold,
  ...(task === 'panoptic' && { maskThreshold, overlapThreshold }),
});

interface ListedImage {
  readonly id: number;
  readonly file_name?: string;
}

/** Runs the model over the pictures that the journal does not know, and records every batch in it. */
async function processRemaining<Entry, Result>(
  listed: readonly ListedImage[],
  journal: Journal<Entry>,
  { images, batchSize, signal, out }: Settings,
  run: BatchOptions<Result>['run'],
  record: (imageId: number, picture: Picture, result: Result) => Entry,
): Promise<Outcome> {
  const remaining = listed.filter(({ id }) => !journal.entries.has(id));
  if (remaining.length < listed.length) {
    process.stderr.write(`${plural(listed.length - remaining.length, 'picture')} done before (${printable(out)})\n`);
  }
  const inputs = remaining.map(({ id, file_name: name }) => {
    return name === undefined
      ? { path: `image ${id}`, problem: 'expected a file_name in the annotations' }
      : { path: join(images, name) };
  });
  return processBatches(inputs, {
    batchSize,
    signal,
    run,
    finish: async (picture, result) => {
      const { id } = remaining[picture.index]!;
      try {
        await journal.add(id, record(id, picture, result));
      } catch (cause) {
        throw new RunEnded('nothing can be recorded', { cause });
      }
    },
  });
}

async function evaluateDetection(
  dataset: CocoDataset,
  annotations: string,
  device: Device,
  settings: Settings,
): Promise<Evaluation> {
  const { chosen, out, threshold, limit, restart } = settings;
  const listed = dataset.images.slice(0, limit);
  const known = new Set(dataset.categories.map(({ id }) => id));
  const processor = await AutoImageProcessor.fromPretrained(chosen.directory);
  const model = await AutoModelForObjectDetection.fromPretrained(chosen.directory, { device });
  const journal = await Journal.open<CocoResult[]>(
    join(out, 'unfinished.jsonl'),
    identity('detection', annotations, settings),
    restart,
  );
  const outcome = await processRemaining(
    listed,
    journal,
    settings,
    async pictures => {
      const images = pictures.map(({ image }) => image);
      const outputs = await model.forward(processor.preprocess(images));
      const targetSizes = images.map(({ width, height }) => [height, width] as const);
      return processor.postProcessObjectDetection(outputs, { threshold, targetSizes });
    },
    (imageId, _picture, detections) =>
      toCocoResults(imageId, detections)
        .filter(({ category_id: category }) => known.has(category))
        .map(result => ({
          ...result,
          score: rounded(result.score, 7),
          bbox: result.bbox!.map(edge => rounded(edge, 4)),
        })),
  );
  model.dispose();
  await journal.close();

  const evaluator = new CocoEvaluator(dataset);
  const done = listed.map(({ id }) => id).filter(id => journal.entries.has(id));
  const results = done.flatMap(id => journal.entries.get(id)!);
  evaluator.updateResults(results, done);
  const { table, metrics, perCategory } = evaluator.summarize();
  if (!outcome.interrupted) {
    await writeJsonFile(join(out, 'predictions.json'), results);
    await rm(journal.path);
  }
  return {
    outcome,
    total: listed.length,
    table,
    metrics: {
      task: 'detection',
      model: chosen.name,
      images: done.length,
      threshold,
      ...metrics,
      per_category_AP: perCategory,
    },
  };
}

async function evaluatePanoptic(
  dataset: PanopticDataset,
  annotations: string,
  device: Device,
  settings: Settings,
): Promise<Evaluation> {
  const { chosen, out, threshold, maskThreshold, overlapThreshold, limit, restart } = settings;
  const truthFolder = annotations.replace(/\.json$/i, '');
  const mapFolder = join(out, 'panoptic');
  const truths = dataset.annotations.slice(0, limit);
  const stuff = new Set(dataset.categories.filter(({ isthing }) => isthing !== 1).map(({ id }) => id));
  const names = new Map(
    (dataset as { images?: readonly ListedImage[] }).images?.map(image => [image.id, image.file_name]),
  );
  // Without a list of images, a picture has the name of its PNG of segments.
  const listed = truths.map(({ image_id: id, file_name }) => ({ id, file_name: names.get(id) ?? file_name }));
  const mapNames = new Map(truths.map(({ image_id, file_name }) => [image_id, file_name]));

  const outside = truths.find(({ file_name: name }) => !isInside(name));
  if (outside !== undefined) {
    const expected = 'expected the name of a file below the folder of the annotations';
    throw new FileError({ file: annotations }, `${expected}, got ${JSON.stringify(outside.file_name)}`);
  }
  const folders = new Set([mapFolder, ...truths.map(({ file_name: name }) => dirname(join(mapFolder, name)))]);
  for (const folder of folders) await makeFolder(folder);
  const processor = await openSegmentationProcessor(chosen);
  const model = await AutoModelForImageSegmentation.fromPretrained(chosen.directory, { device });
  const journal = await Journal.open<readonly PanopticSegment[]>(
    join(out, 'unfinished.jsonl'),
    identity('panoptic', annotations, settings),
    restart,
  );
  const outcome = await processRemaining(
    listed,
    journal,
    settings,
    async pictures => {
      const images = pictures.map(({ image }) => image);
      const inputs = processor.preprocess(images);
      const outputs = await model.forward(inputs);
      return withoutPadding(outputs, inputs.pixelMask, images).map(({ outputs, targetSizes, crop }) => {
        const [result] = processor.postProcessPanopticSegmentation(outputs, {
          threshold,
          maskThreshold,
          overlapMaskAreaThreshold: overlapThreshold,
          labelIdsToFuse: stuff,
          targetSizes,
        });
        return { ...result!, segmentation: crop(result!.segmentation) };
      });
    },
    (imageId, _picture, result) => {
      const { ids, segments } = toPanopticPrediction(result);
      writePng(join(mapFolder, mapNames.get(imageId)!), panopticImage(ids));
      return segments;
    },
  );
  model.dispose();
  await journal.close();

  const evaluator = new PanopticEvaluator(dataset);
  const done = truths.filter(({ image_id: id }) => journal.entries.has(id));
  for (const { image_id: id, file_name: name } of done) {
    const truth = panopticIds(await readImage(join(truthFolder, name)));
    const ids = panopticIds(await readImage(join(mapFolder, name)));
    evaluator.update(id, truth, { ids, segments: journal.entries.get(id)! });
  }
  const { table, ...metrics } = evaluator.summarize();
  if (!outcome.interrupted) {
    const predictions = done.map(({ image_id, file_name }) => {
      return { image_id, file_name, segments_info: journal.entries.get(image_id)! };
    });
    await writeJsonFile(join(out, 'predictions.json'), { annotations: predictions, categories: dataset.categories });
    await rm(journal.path);
  }
  return {
    outcome,
    total: listed.length,
    table,
    metrics: { task: 'panoptic', model: chosen.name, threshold, maskThreshold, overlapThreshold, ...metrics },
  };
}

/** Predictions are written under the names that the annotations give: they must not lead elsewhere. */
const isInside = (name: string) => !isAbsolute(name) && !name.split(/[/\\]/).includes('..') && !name.includes('\0');

const rounded = (value: number, digits: number) => Number(value.toFixed(digits));
