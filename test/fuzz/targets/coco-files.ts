import { CocoEvaluator, evaluateCoco } from '../../../models/evaluation/coco-evaluator.ts';
import type { CocoDataset, CocoResult } from '../../../models/evaluation/coco-format.ts';
import { jsonTarget } from '../json.ts';

const dataset = {
  info: { description: 'two images' },
  images: [
    { id: 1, width: 16, height: 12, file_name: 'a.png' },
    { id: 5, width: 30, height: 20, file_name: 'b.png' },
  ],
  categories: [
    { id: 1, name: 'cat', supercategory: 'animal' },
    { id: 9, name: 'dog' },
  ],
  annotations: [
    {
      ...{ id: 1, image_id: 1, category_id: 1, bbox: [1, 2, 5, 6], area: 30, iscrowd: 0 },
      ...{ segmentation: [[1, 2, 6, 2, 6, 8, 1, 8]], keypoints: [2, 3, 2, 4, 5, 1], num_keypoints: 2 },
    },
    {
      ...{ id: 2, image_id: 5, category_id: 9, bbox: [0, 0, 9, 9], area: 60, iscrowd: 1 },
      ...{ segmentation: { size: [20, 30], counts: [0, 60, 540] }, keypoints: [0, 0, 0, 1, 1, 2], num_keypoints: 1 },
    },
  ],
};
const results = [
  {
    ...{ image_id: 1, category_id: 1, score: 0.9, bbox: [1, 2, 5, 5.5] },
    ...{ segmentation: { size: [12, 16], counts: [20, 40, 132] }, keypoints: [2, 3, 1, 4, 4, 1] },
  },
  {
    ...{ image_id: 5, category_id: 9, score: 0.4, bbox: [0, 1, 9, 9] },
    ...{ segmentation: { size: [20, 30], counts: [1, 70, 529] }, keypoints: [0, 0, 1, 1, 1, 1] },
  },
];

/** A ground truth and a results file, judged in all three ways. */
export const target = jsonTarget({
  seeds: () => [
    { dataset, results },
    { dataset: { ...dataset, annotations: [] }, results: [] },
  ],
  words: [
    ...['images', 'annotations', 'categories', 'id', 'width', 'height', 'image_id', 'category_id', 'bbox', 'area'],
    ...[
      'iscrowd',
      'segmentation',
      'size',
      'counts',
      'keypoints',
      'num_keypoints',
      'score',
      'name',
      'd0X1T4',
      'ooooooo',
    ],
  ],
  run: checkFiles,
});

function checkFiles(value: unknown): void {
  const files = (typeof value === 'object' && value !== null ? value : {}) as {
    dataset: CocoDataset;
    results: readonly CocoResult[];
  };
  let isRefused: unknown;
  for (const iouType of ['bbox', 'segm', 'keypoints'] as const) {
    const options = { iouTypes: [iouType], keypointSigmas: [0.1, 0.2] };
    try {
      const evaluator = new CocoEvaluator(files.dataset, options);
      evaluator.updateResults(files.results);
      checkSummary(evaluator.summarize(iouType));
      checkSummary(evaluateCoco(files.dataset, files.results, options)[0]!);
    } catch (error) {
      isRefused ??= error;
      if ((error as Error).constructor.name.match(/^(Error|TypeError|RangeError)$/)) throw error;
    }
  }
  if (isRefused !== undefined) throw isRefused;
}

function checkSummary({ stats, table }: { readonly stats: readonly number[]; readonly table: string }): void {
  if (stats.some(value => !(value === -1 || (value >= 0 && value <= 1 + 1e-9)))) throw new Error(`stats ${stats}`);
  if (table.split('\n').length < 10) throw new Error('a table of too few lines');
}
