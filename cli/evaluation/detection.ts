import { AutoImageProcessor, AutoModelForObjectDetection } from '../../models/auto.ts';
import { CocoEvaluator } from '../../models/evaluation/coco-evaluator.ts';
import { type CocoDataset, type CocoResult, toCocoResults } from '../../models/evaluation/coco-format.ts';
import type { Detections } from '../../models/processing/detection.ts';
import type { Evaluation, EvaluationSettings } from './evaluation.ts';

/** COCO's average precision of boxes. */
export function detectionEvaluation(
  dataset: CocoDataset,
  { chosen, threshold, limit }: EvaluationSettings,
): Evaluation<readonly CocoResult[], Detections> {
  const listed = dataset.images.slice(0, limit);
  const known = new Set(dataset.categories.map(({ id }) => id));
  return {
    listed,
    identity: { task: 'detection' },
    load: async device => {
      const processor = await AutoImageProcessor.fromPretrained(chosen.directory);
      const model = await AutoModelForObjectDetection.fromPretrained(chosen.directory, { device });
      return {
        model,
        run: async pictures => {
          const images = pictures.map(({ image }) => image);
          const outputs = await model.forward(processor.preprocess(images));
          const targetSizes = images.map(({ width, height }) => [height, width] as const);
          return processor.postProcessObjectDetection(outputs, { threshold, targetSizes });
        },
      };
    },
    record: (imageId, detections) =>
      toCocoResults(imageId, detections)
        .filter(({ category_id: category }) => known.has(category))
        .map(result => ({
          ...result,
          score: rounded(result.score, 7),
          bbox: result.bbox!.map(edge => rounded(edge, 4)),
        })),
    score: async entries => {
      const evaluator = new CocoEvaluator(dataset);
      const done = listed.map(({ id }) => id).filter(id => entries.has(id));
      const predictions = done.flatMap(id => entries.get(id)!);
      evaluator.updateResults(predictions, done);
      const { table, metrics, perCategory } = evaluator.summarize();
      return {
        table,
        metrics: { images: done.length, threshold, ...metrics, per_category_AP: perCategory },
        predictions,
      };
    },
  };
}

const rounded = (value: number, digits: number) => Number(value.toFixed(digits));
