import { AutoImageProcessor, AutoModelForObjectDetection } from '../../models/auto.ts';
import { CocoEvaluator } from '../../models/evaluation/coco-evaluator.ts';
import { type CocoDataset, type CocoResult, toCocoResults } from '../../models/evaluation/coco-format.ts';
import type { Detections } from '../../models/processing/detection.ts';
import { matchCategories } from './categories.ts';
import type { Evaluation, EvaluationSettings } from './evaluation.ts';

/** COCO's average precision of boxes. */
export function detectionEvaluation(
  dataset: CocoDataset,
  { chosen, threshold, limit }: EvaluationSettings,
): Evaluation<readonly CocoResult[], Detections> {
  const listed = dataset.images.slice(0, limit);
  return {
    listed,
    identity: { task: 'detection' },
    load: async device => {
      const processor = await AutoImageProcessor.fromPretrained(chosen.directory);
      const model = await AutoModelForObjectDetection.fromPretrained(chosen.directory, { device });
      const categoryOf = matchCategories(model.config.id2label, dataset.categories);
      return {
        model,
        inputSize: image => processor.resizedSize(image),
        run: async pictures => {
          const images = pictures.map(({ image }) => image);
          const outputs = await model.predict(processor.preprocess(images));
          const targetSizes = images.map(({ width, height }) => [height, width] as const);
          return processor.postProcessObjectDetection(outputs, { threshold, targetSizes });
        },
        record: (imageId, detections) =>
          toCocoResults(imageId, detections).flatMap(result => {
            const category = categoryOf.get(result.category_id);
            if (category === undefined) return [];
            const bbox = result.bbox!.map(edge => rounded(edge, 4));
            return [{ ...result, category_id: category, score: rounded(result.score, 7), bbox }];
          }),
      };
    },
    score: async entries => {
      const evaluator = new CocoEvaluator(dataset);
      const done = listed.map(({ id }) => id).filter(id => entries.has(id));
      const predictions = done.flatMap(id => entries.get(id)!);
      evaluator.updateResults(predictions, done);
      const { table, metrics, perCategory } = evaluator.summarize();
      return {
        table,
        metrics: { threshold, ...metrics, per_category_AP: perCategory },
        predictions,
        failures: [],
      };
    },
  };
}

const rounded = (value: number, digits: number) => Number(value.toFixed(digits));
