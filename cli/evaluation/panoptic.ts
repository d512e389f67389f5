import { access, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Device, FileError, OptionError } from '../../engine/index.ts';
import { AutoModelForImageSegmentation } from '../../models/auto.ts';
import {
  isThing,
  type PanopticDataset,
  PanopticEvaluator,
  type PanopticPrediction,
  type PanopticSegment,
  panopticIds,
  panopticImage,
  toPanopticPrediction,
} from '../../models/evaluation/panoptic-evaluator.ts';
import { readImage, writePng } from '../../models/images/files.ts';
import { fileSystemError, makeFolder } from '../../weights/files.ts';
import { type Failure, isFaultOfInput } from '../batches.ts';
import { isFolder, isInside } from '../files.ts';
import { openSegmentationProcessor } from '../models.ts';
import { withoutPadding } from '../padding.ts';
import { matchCategories } from './categories.ts';
import type { Evaluation, EvaluationSettings, LoadedModel, Score } from './evaluation.ts';

type Entry = readonly PanopticSegment[];

/**
 * Panoptic quality. Makes the folders for the PNG files of predictions, which have the names of those of the annotations.
 * @throws FileError when such a name leads elsewhere or a PNG file of the annotations is missing; OptionError when `out` would
 *   put predictions in their place
 */
export async function panopticEvaluation(
  dataset: PanopticDataset,
  settings: EvaluationSettings,
): Promise<Evaluation<Entry, PanopticPrediction>> {
  const { annotations, out, maskThreshold, overlapThreshold, limit } = settings;
  const mapFolder = join(out, 'panoptic');
  const truths = dataset.annotations.slice(0, limit);
  const outside = truths.find(({ file_name: name }) => !isInside(name));
  if (outside !== undefined) {
    const expected = 'expected the name of a file below the folder of the annotations';
    throw new FileError({ file: annotations }, `${expected}, got ${JSON.stringify(outside.file_name)}`);
  }
  await checkTruths(truths, settings, mapFolder);
  const folders = new Set([mapFolder, ...truths.map(({ file_name: name }) => dirname(join(mapFolder, name)))]);
  for (const folder of folders) await makeFolder(folder);

  const images = new Map(dataset.images?.map(image => [image.id, image]));
  const mapNames = new Map(truths.map(({ image_id: id, file_name }) => [id, file_name]));
  return {
    // Without a list of images, a picture has the name of its PNG of segments.
    listed: truths.map(({ image_id: id, file_name }) => {
      const image = images.get(id);
      return { ...image, id, file_name: image?.file_name ?? file_name };
    }),
    identity: { task: 'panoptic', maskThreshold, overlapThreshold },
    load: async device => ({
      ...(await loadSegmenter(dataset, settings, device)),
      record: (imageId, { ids, segments }) => {
        writePng(join(mapFolder, mapNames.get(imageId)!), panopticImage(ids));
        return segments;
      },
    }),
    score: entries => scoreSegments(dataset, settings, mapFolder, entries),
  };
}

/** Where the PNG files of the annotations are. */
const truthFolderOf = (annotations: string) => annotations.replace(/\.json$/i, '');

/** Before the model runs: that all PNG files of the annotations are there, and that none would be overwritten. */
async function checkTruths(
  truths: PanopticDataset['annotations'],
  { annotations, out }: EvaluationSettings,
  mapFolder: string,
): Promise<void> {
  const truthFolder = truthFolderOf(annotations);
  if (!(await isFolder(truthFolder))) {
    throw new OptionError(
      `--annotations: expected the PNG files of ${annotations} in a folder ${truthFolder}, got none`,
    );
  }
  for (const { file_name: name } of truths) {
    const file = join(truthFolder, name);
    await access(file).catch(error => {
      throw fileSystemError(file, error);
    });
  }
  const places = await Promise.all([truthFolder, mapFolder].map(folder => realpath(folder).catch(() => folder)));
  if (places[0] === places[1]) {
    throw new OptionError(`--out: expected a folder other than that of the annotations, got ${out}`);
  }
}

async function loadSegmenter(
  { categories }: PanopticDataset,
  { chosen, threshold, maskThreshold, overlapThreshold: overlapMaskAreaThreshold }: EvaluationSettings,
  device: Device,
): Promise<Omit<LoadedModel<Entry, PanopticPrediction>, 'record'>> {
  const processor = await openSegmentationProcessor(chosen);
  const model = await AutoModelForImageSegmentation.fromPretrained(chosen.directory, { device });
  const categoryOf = matchCategories(model.config.id2label, categories);
  const stuff = new Set(categories.filter(category => !isThing(category)).map(({ id }) => id));
  const labelIdsToFuse = new Set([...categoryOf].filter(([, category]) => stuff.has(category)).map(([label]) => label));
  const options = { threshold, maskThreshold, overlapMaskAreaThreshold, labelIdsToFuse };
  return {
    model,
    inputSize: image => processor.resizedSize(image),
    run: async pictures => {
      const images = pictures.map(({ image }) => image);
      const inputs = processor.preprocess(images);
      const outputs = await model.predict(inputs);
      return withoutPadding(outputs, inputs.pixelMask, images).map(({ outputs, targetSizes, crop }) => {
        const [result] = processor.postProcessPanopticSegmentation(outputs, { ...options, targetSizes });
        const segmentation = crop(result!.segmentation);
        return ofCategories(toPanopticPrediction({ ...result!, segmentation }), categoryOf);
      });
    },
  };
}

/** The segments under category ids instead of labels; what has no category in the dataset is part of no segment. */
function ofCategories(
  { ids, segments }: PanopticPrediction,
  categoryOf: ReadonlyMap<number, number>,
): PanopticPrediction {
  const kept = segments.flatMap(segment => {
    const category = categoryOf.get(segment.category_id);
    return category === undefined ? [] : [{ ...segment, category_id: category }];
  });
  const listed = new Set(kept.map(({ id }) => id));
  return { ids: { shape: ids.shape, data: ids.data.map(id => (listed.has(id) ? id : 0)) }, segments: kept };
}

async function scoreSegments(
  dataset: PanopticDataset,
  { annotations, threshold, maskThreshold, overlapThreshold, limit, signal }: EvaluationSettings,
  mapFolder: string,
  entries: ReadonlyMap<number, Entry>,
): Promise<Score> {
  const truthFolder = truthFolderOf(annotations);
  const evaluator = new PanopticEvaluator(dataset);
  const failures: Failure[] = [];
  const done = dataset.annotations.slice(0, limit).filter(({ image_id: id }) => entries.has(id));
  for (const { image_id: id, file_name: name } of done) {
    signal.throwIfAborted();
    try {
      const truth = panopticIds(await readImage(join(truthFolder, name)));
      const ids = panopticIds(await readImage(join(mapFolder, name)));
      evaluator.update(id, truth, { ids, segments: entries.get(id)! });
    } catch (error) {
      if (!isFaultOfInput(error)) throw error;
      failures.push({ path: name, message: error.message });
    }
  }
  const { table, ...metrics } = evaluator.summarize();
  const predictions = done.map(({ image_id, file_name }) => {
    return { image_id, file_name, segments_info: entries.get(image_id)! };
  });
  return {
    table,
    metrics: { threshold, maskThreshold, overlapThreshold, ...metrics },
    predictions: { annotations: predictions, categories: dataset.categories },
    failures,
  };
}
