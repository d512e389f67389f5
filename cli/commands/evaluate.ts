import { OptionError } from '../../engine/index.ts';
import { checkCocoDataset } from '../../models/evaluation/coco-format.ts';
import { checkPanopticDataset } from '../../models/evaluation/panoptic-evaluator.ts';
import { makeFolder } from '../../weights/files.ts';
import { readJson } from '../../weights/json-file.ts';
import { defineCommand } from '../command.ts';
import { detectionEvaluation } from '../evaluation/detection.ts';
import { type EvaluationSettings, runEvaluation } from '../evaluation/evaluation.ts';
import { panopticEvaluation } from '../evaluation/panoptic.ts';
import { requireFolder } from '../files.ts';
import {
  anyModelOptions,
  batchOption,
  chooseModel,
  defaultDetector,
  defaultSegmenter,
  maskOptions,
} from '../models.ts';
import { checkEffect, choice, flag, number, text } from '../options.ts';

export const evaluate = defineCommand({
  name: 'evaluate',
  summary: 'Measure a model on a COCO data set: average precision or panoptic quality',
  operands: '',
  minimumOperands: 0,
  maximumOperands: 0,
  description: [
    'Runs a model over the pictures of a COCO annotation file and prints the familiar table: the twelve numbers of COCOeval for boxes (--task detection), or PQ, SQ and RQ (--task panoptic, where the PNG files of the annotations lie in a folder beside the JSON file with its name: panoptic.json, panoptic/).',
    'Pictures must have the size that the annotations say, upright or as they are stored.',
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
    ...maskOptions,
    ...batchOption,
    limit: number('N', { minimum: 1, integer: true }, 'Only the first N pictures'),
    out: text('DIR', 'Predictions, metrics and the record of what is done', 'evaluation'),
    restart: flag('Forget what an interrupted run has done'),
    json: flag('Print the metrics as JSON'),
  },
  examples: [
    ['--annotations instances_val2017.json --images val2017 --model ./detr', 'AP on COCO'],
    ['--annotations panoptic.json --images val --task panoptic', 'Panoptic quality'],
  ],
  async run(options, _operands, { signal, given }) {
    const { annotations, images, task } = options;
    if (task === 'detection') {
      const masks = { needed: '--task panoptic', got: '--task detection' };
      checkEffect(given, Object.keys(maskOptions), masks);
    }
    if (annotations === undefined) throw new OptionError('--annotations: expected a file, got none');
    if (images === undefined) throw new OptionError('--images: expected a folder, got none');
    const panoptic = task === 'panoptic';
    const model = options.model ?? (panoptic ? defaultSegmenter : defaultDetector);
    const settings: EvaluationSettings = {
      ...options,
      annotations,
      images,
      signal,
      chosen: await chooseModel(model, options.revision, signal),
      threshold: options.threshold ?? (panoptic ? 0.5 : 0.001),
    };
    await requireFolder(images, '--images');
    const content = await readJson(annotations);
    if (panoptic) {
      const dataset = checkAnnotations(annotations, content, task, checkPanopticDataset);
      await makeFolder(settings.out);
      return runEvaluation(await panopticEvaluation(dataset, settings), settings);
    }
    const dataset = checkAnnotations(annotations, content, task, checkCocoDataset);
    await makeFolder(settings.out);
    return runEvaluation(detectionEvaluation(dataset, settings), settings);
  },
});

/** Checks an annotation file's content for a task. @throws OptionError naming the file, and the task that it is for */
function checkAnnotations<Dataset>(
  file: string,
  content: Readonly<Record<string, unknown>>,
  task: 'detection' | 'panoptic',
  check: (content: unknown) => Dataset,
): Dataset {
  try {
    return check(content);
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    const first: unknown = Array.isArray(content.annotations) ? content.annotations[0] : undefined;
    const has = (key: string) => typeof first === 'object' && first !== null && Object.hasOwn(first, key);
    const fitting = has('segments_info') ? 'panoptic' : has('bbox') ? 'detection' : task;
    const hint = fitting === task ? '' : `; these are annotations for --task ${fitting}`;
    throw new OptionError(`${file}: ${error.message}${hint}`, { cause: error });
  }
}
