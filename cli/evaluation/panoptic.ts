import { dirname, isAbsolute, join } from 'node:path';
import { type Device, FileError } from '../../engine/index.ts';
import { AutoModelForImageSegmentation } from '../../models/auto.ts';
import {
  type PanopticDataset,
  PanopticEvaluator,
  type PanopticSegment,
  panopticIds,
  panopticImage,
  toPanopticPrediction,
} from '../../models/evaluation/panoptic-evaluator.ts';
import { readImage, writePng } from '../../models/images/files.ts';
import type { Segmentation } from '../../models/processing/segmentation.ts';
import { makeFolder } from '../../weights/files.ts';
import { openSegmentationProcessor } from '../models.ts';
import { withoutPadding } from '../padding.ts';
import type { Evaluation, EvaluationSettings, ListedImage, LoadedModel, Score } from './evaluation.ts';

type Entry = readonly PanopticSegment[];

/**
 * Panoptic quality. Makes the folders for the PNG files of predictions, which have the names of those of the annotations.
 * @throws FileError when such a name leads elsewhere
 */
export async function panopticEvaluation(
  dataset: PanopticDataset,
  settings: EvaluationSettings,
): Promise<Evaluation<Entry, Segmentation>> {
  const { annotations, out, maskThreshold, overlapThreshold, limit } = settings;
  const mapFolder = join(out, 'panoptic');
  const truths = dataset.annotations.slice(0, limit);
  const outside = truths.find(({ file_name: name }) => !isInside(name));
  if (outside !== undefined) {
    const expected = 'expected the name of a file below the folder of the annotations';
    throw new FileError({ file: annotations }, `${expected}, got ${JSON.stringify(outside.file_name)}`);
  }
  const folders = new Set([mapFolder, ...truths.map(({ file_name: name }) => dirname(join(mapFolder, name)))]);
  for (const folder of folders) await makeFolder(folder);

  const names = new Map(
    (dataset as { images?: readonly ListedImage[] }).images?.map(image => [image.id, image.file_name]),
  );
  const mapNames = new Map(truths.map(({ image_id: id, file_name }) => [id, file_name]));
  return {
    // Without a list of images, a picture has the name of its PNG of segments.
    listed: truths.map(({ image_id: id, file_name }) => ({ id, file_name: names.get(id) ?? file_name })),
    identity: { task: 'panoptic', maskThreshold, overlapThreshold },
    load: device => loadSegmenter(dataset, settings, device),
    record: (imageId, result) => {
      const { ids, segments } = toPanopticPrediction(result);
      writePng(join(mapFolder, mapNames.get(imageId)!), panopticImage(ids));
      return segments;
    },
    score: entries => scoreSegments(dataset, settings, mapFolder, entries),
  };
}

/** Predictions are written under the names that the annotations give: they must not lead elsewhere. */
const isInside = (name: string) => !isAbsolute(name) && !name.split(/[/\\]/).includes('..') && !name.includes('\0');

async function loadSegmenter(
  { categories }: PanopticDataset,
  { chosen, threshold, maskThreshold, overlapThreshold: overlapMaskAreaThreshold }: EvaluationSettings,
  device: Device,
): Promise<LoadedModel<Segmentation>> {
  const labelIdsToFuse = new Set(categories.filter(({ isthing }) => isthing !== 1).map(({ id }) => id));
  const options = { threshold, maskThreshold, overlapMaskAreaThreshold, labelIdsToFuse };
  const processor = await openSegmentationProcessor(chosen);
  const model = await AutoModelForImageSegmentation.fromPretrained(chosen.directory, { device });
  return {
    model,
    run: async pictures => {
      const images = pictures.map(({ image }) => image);
      const inputs = processor.preprocess(images);
      const outputs = await model.forward(inputs);
      return withoutPadding(outputs, inputs.pixelMask, images).map(({ outputs, targetSizes, crop }) => {
        const [result] = processor.postProcessPanopticSegmentation(outputs, { ...options, targetSizes });
        return { ...result!, segmentation: crop(result!.segmentation) };
      });
    },
  };
}

async function scoreSegments(
  dataset: PanopticDataset,
  { annotations, threshold, maskThreshold, overlapThreshold, limit }: EvaluationSettings,
  mapFolder: string,
  entries: ReadonlyMap<number, Entry>,
): Promise<Score> {
  const truthFolder = annotations.replace(/\.json$/i, '');
  const evaluator = new PanopticEvaluator(dataset);
  const done = dataset.annotations.slice(0, limit).filter(({ image_id: id }) => entries.has(id));
  for (const { image_id: id, file_name: name } of done) {
    const truth = panopticIds(await readImage(join(truthFolder, name)));
    const ids = panopticIds(await readImage(join(mapFolder, name)));
    evaluator.update(id, truth, { ids, segments: entries.get(id)! });
  }
  const { table, ...metrics } = evaluator.summarize();
  const predictions = done.map(({ image_id, file_name }) => {
    return { image_id, file_name, segments_info: entries.get(image_id)! };
  });
  return {
    table,
    metrics: { threshold, maskThreshold, overlapThreshold, ...metrics },
    predictions: { annotations: predictions, categories: dataset.categories },
  };
}
