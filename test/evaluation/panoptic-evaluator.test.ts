import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import type { HostTensor } from '../../engine/host-tensor.ts';
import {
  type PanopticAnnotation,
  type PanopticCategory,
  type PanopticDataset,
  PanopticEvaluator,
  type PanopticPrediction,
  type PanopticQuality,
  type PanopticSegment,
  type PanopticSummary,
  panopticIds,
  panopticImage,
  toPanopticPrediction,
} from '../../models/evaluation/panoptic-evaluator.ts';
import { readImageSync } from '../../models/images/files.ts';
import { readTestJson, sharedData, testData } from '../support/data.ts';
import { rejectsWith } from '../support/throws.ts';

/** Boxes x, y, width, height painted one over the other with an id, on 0. */
type PaintedBox = [x: number, y: number, width: number, height: number, id: number];

function paint(
  [height, width]: readonly [number, number],
  boxes: readonly PaintedBox[],
  background = 0,
): HostTensor<Int32Array> {
  const data = new Int32Array(height * width).fill(background);
  for (const [x, y, boxWidth, boxHeight, id] of boxes) {
    for (let row = y; row < y + boxHeight; row++) data.fill(id, row * width + x, row * width + x + boxWidth);
  }
  return { shape: [height, width], data };
}

const readIds = (path: string) => panopticIds(readImageSync(path));

const TOLERANCE = 1e-12;

function compare(
  what: string,
  summary: PanopticSummary,
  expected: Record<'all' | 'things' | 'stuff', PanopticQuality>,
): void {
  for (const group of ['all', 'things', 'stuff'] as const) {
    for (const key of ['pq', 'sq', 'rq', 'n'] as const) {
      const value = summary[group][key];
      const reference = expected[group][key];
      const message = `${what}, ${group} ${key}: ${value}, expected ${reference} within ${TOLERANCE}`;
      assert.ok(Math.abs(value - reference) <= TOLERANCE, message);
    }
  }
}

test('random segmentations with crowds, void and wrong areas are judged as panopticapi does', () => {
  const frozen = readTestJson<{
    categories: PanopticCategory[];
    images: {
      image_id: number;
      size: [number, number];
      truth: PaintedBox[];
      prediction: PaintedBox[];
      segments_info: PanopticSegment[];
      predicted_segments: PanopticSegment[];
    }[];
    expected: Record<'all' | 'things' | 'stuff', PanopticQuality> & {
      counts: Record<string, { iou: number; tp: number; fp: number; fn: number }>;
    };
  }>('evaluation', 'panoptic.json');
  const annotations = frozen.images.map(({ image_id, segments_info }) => ({
    image_id,
    file_name: `${image_id}.png`,
    segments_info,
  }));
  const evaluator = new PanopticEvaluator({ annotations, categories: frozen.categories });
  assert.is(evaluator.missingImageIds.length, frozen.images.length);
  for (const { image_id: id, size, truth, prediction, predicted_segments: segments } of frozen.images) {
    evaluator.update(id, paint(size, truth), { ids: paint(size, prediction), segments });
  }
  assert.equal(evaluator.missingImageIds, []);
  assert.equal(
    evaluator.imageIds,
    frozen.images.map(({ image_id: id }) => id),
  );
  const summary = evaluator.summarize();
  compare('random', summary, frozen.expected);
  for (const [name, { iou, tp, fp, fn }] of Object.entries(frozen.expected.counts)) {
    const quality = summary.perCategory[name]!;
    assert.equal([quality.truePositives, quality.falsePositives, quality.falseNegatives], [tp, fp, fn], name);
    assert.ok(Math.abs(quality.iou - iou) <= 1e-12, name);
  }
});

test('the panoptic scenes model reaches its metrics', () => {
  const groundTruth = readTestJson<PanopticDataset>('scenes', 'panoptic.json');
  const predictions = readTestJson<{ annotations: PanopticAnnotation[] }>('scenes', 'predictions', 'panoptic.json');
  const expected = readTestJson<Record<string, { panoptic: Record<'all' | 'things' | 'stuff', PanopticQuality> }>>(
    'scenes',
    'expected.json',
  )['scenes-detr-panoptic']!.panoptic;
  const evaluator = new PanopticEvaluator(groundTruth);
  for (const { image_id: id, file_name: name, segments_info: segments } of predictions.annotations) {
    const ids = readIds(testData('scenes', 'predictions', 'panoptic', name));
    evaluator.update(id, readIds(testData('scenes', 'panoptic', name)), { ids, segments });
  }
  assert.equal(evaluator.missingImageIds, []);
  const summary = evaluator.summarize();
  compare('scenes', summary, expected);
  console.log(summary.table);
});

test('the whole scenes validation set gives the published qualities', () => {
  const zoo = sharedData('the whole scenes validation set', 'zoo');
  if (zoo === undefined) return;
  const read = <Content>(...path: string[]) => JSON.parse(readFileSync(join(zoo, ...path), 'utf8')) as Content;
  const model = 'scenes-detr-panoptic';
  const evaluator = new PanopticEvaluator(read<PanopticDataset>('val', 'panoptic.json'));
  const predictions = read<{ annotations: PanopticAnnotation[] }>(model, 'panoptic_predictions.json');
  for (const { image_id: id, file_name: name, segments_info: segments } of predictions.annotations) {
    const ids = readIds(join(zoo, model, 'panoptic_pred', name));
    evaluator.update(id, readIds(join(zoo, 'val', 'panoptic', name)), { ids, segments });
  }
  const { panoptic } = read<{ panoptic: Record<'All' | 'Things' | 'Stuff', PanopticQuality> }>(model, 'metrics.json');
  const summary = evaluator.summarize();
  compare('scenes', summary, { all: panoptic.All, things: panoptic.Things, stuff: panoptic.Stuff });
  console.log(summary.table);
});

test('the toy case has its published qualities', () => {
  const folder = sharedData('the toy case', 'data', 'panoptic');
  if (folder === undefined) return;
  type Painted = { category: string; box: [number, number, number, number] };
  const toy = JSON.parse(readFileSync(join(folder, 'expected-toy.json'), 'utf8')) as {
    image: { height: number; width: number };
    background: { category: string };
    ground_truth_painted_in_order_xywh: Painted[];
    prediction_painted_in_order_xywh: Painted[];
    expected_percent: Record<'all' | 'things' | 'stuff', Record<'pq' | 'sq' | 'rq', number>>;
  };
  const categories = ['person', 'dog', 'wall'].map((name, id) => ({ id, name, isthing: name === 'wall' ? 0 : 1 }));
  const segmentation = (painted: Painted[]): PanopticPrediction => {
    const background = painted.length + 1;
    const boxes = painted.map(({ box }, index) => [...box, index + 1] as PaintedBox);
    const ids = paint([toy.image.height, toy.image.width], boxes, background);
    const names = [...painted.map(({ category }) => category), toy.background.category];
    const segments = names.map((name, index) => ({
      id: index + 1,
      category_id: categories.find(category => category.name === name)!.id,
      area: ids.data.filter(id => id === index + 1).length,
    }));
    return { ids, segments };
  };
  const truth = segmentation(toy.ground_truth_painted_in_order_xywh);
  const evaluator = new PanopticEvaluator({
    annotations: [{ image_id: 1, file_name: 'toy', segments_info: truth.segments }],
    categories,
  });
  evaluator.update(1, truth.ids, segmentation(toy.prediction_painted_in_order_xywh));
  const summary = evaluator.summarize();
  for (const group of ['all', 'things', 'stuff'] as const) {
    for (const key of ['pq', 'sq', 'rq'] as const) {
      const error = Math.abs(100 * summary[group][key] - toy.expected_percent[group][key]);
      assert.ok(error <= 1e-10, `${group} ${key}: off by ${error}`);
    }
  }
});

test('ids survive their picture', () => {
  const ids = { shape: [2, 3], data: Int32Array.of(0, 1, 255, 256, 65536, 2 ** 24 - 1) };
  const image = panopticImage(ids);
  assert.equal([...image.data], [0, 0, 0, 1, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 1, 255, 255, 255]);
  assert.equal(panopticIds(image), ids);
  const withAlpha = { width: 1, height: 1, channels: 4, data: Uint8Array.of(1, 2, 3, 255) };
  assert.equal([...panopticIds(withAlpha).data], [1 + 512 + 3 * 65536]);
});

test('post-processed segmentations become predictions', () => {
  const { ids, segments } = toPanopticPrediction({
    segmentation: { shape: [2, 3], data: Int32Array.of(0, 1, 1, 2, 2, 2) },
    segmentsInfo: [
      { id: 1, labelId: 5, score: 0.9 },
      { id: 2, labelId: 6, score: 0.8 },
      { id: 1, labelId: 5, score: 0.7 },
      { id: 3, labelId: 4, score: 0.6 },
    ],
  });
  assert.equal([...ids.data], [0, 1, 1, 2, 2, 2]);
  assert.equal(segments, [
    { id: 1, category_id: 5, area: 2, score: 0.7 },
    { id: 2, category_id: 6, area: 3, score: 0.8 },
  ]);
  const nothing = toPanopticPrediction({
    segmentation: { shape: [1, 2], data: Float32Array.of(-1, -1) },
    segmentsInfo: [],
  });
  assert.equal(nothing, { ids: { shape: [1, 2], data: Int32Array.of(0, 0) }, segments: [] });
});

test('categories that occur nowhere do not count, and none at all is NaN', () => {
  const categories = [
    { id: 1, name: 'a', isthing: 1 },
    { id: 2, name: 'b', isthing: 1 },
    { id: 3, name: 'c', isthing: 0 },
  ];
  const segments = [{ id: 4, category_id: 1, area: 2 }];
  const evaluator = new PanopticEvaluator({
    annotations: [{ image_id: 1, file_name: 'a.png', segments_info: segments }],
    categories,
  });
  const ids = { shape: [1, 2], data: Int32Array.of(4, 4) };
  evaluator.update(1, ids, { ids, segments });
  const { things, stuff, perCategory, table } = evaluator.summarize();
  assert.equal(things, { pq: 1, sq: 1, rq: 1, n: 1 });
  assert.equal(stuff, { pq: Number.NaN, sq: Number.NaN, rq: Number.NaN, n: 0 });
  assert.is(perCategory.b!.pq, 0);
  assert.equal(table.split('\n').slice(0, 4), [
    '          |    PQ     SQ     RQ     N',
    '--------------------------------------',
    'All       | 100.0  100.0  100.0     1',
    'Things    | 100.0  100.0  100.0     1',
  ]);
});

test('flags may be false and true', () => {
  const categories = [
    { id: 1, name: 'a', isthing: true },
    { id: 2, name: 'b', isthing: false },
  ];
  const truth = [
    { id: 4, category_id: 1, area: 2, iscrowd: true },
    { id: 5, category_id: 2, area: 2, iscrowd: false },
  ];
  const annotations = [{ image_id: 1, file_name: 'a.png', segments_info: truth }];
  const evaluator = new PanopticEvaluator({ annotations, categories, images: null } as unknown as PanopticDataset);
  const ids = { shape: [1, 4], data: Int32Array.of(4, 4, 5, 5) };
  const segments = [
    { id: 4, category_id: 1 },
    { id: 5, category_id: 2 },
  ];
  evaluator.update(1, ids, { ids, segments });
  const { things, stuff } = evaluator.summarize();
  assert.is(things.n, 0, 'what lies in a crowd is neither right nor wrong');
  assert.equal(stuff, { pq: 1, sq: 1, rq: 1, n: 1 });
});

test('what does not fit together is refused by name', async () => {
  const segments = [{ id: 4, category_id: 1, area: 2 }];
  const whole = {
    annotations: [{ image_id: 1, file_name: 'a.png', segments_info: segments }],
    categories: [{ id: 1, name: 'a', isthing: 1 }],
  };
  const ids = { shape: [1, 2], data: Int32Array.of(4, 4) };
  const evaluator = new PanopticEvaluator(whole);
  const refuses = (
    prediction: PanopticPrediction,
    message: RegExp,
    type: typeof OptionError | typeof ShapeError = OptionError,
  ) => rejectsWith(() => evaluator.update(1, ids, prediction), type, message);
  await rejectsWith(() => evaluator.update(2, ids, { ids, segments }), OptionError, /no image 2/);
  await refuses({ ids: { shape: [2, 1], data: ids.data }, segments }, /got \[1, 2\] and \[2, 1\]/, ShapeError);
  await refuses({ ids, segments: [] }, /image 1: segment 4 has pixels, but/);
  await refuses(
    { ids, segments: [...segments, { id: 5, category_id: 1 }] },
    /segment 5 is listed, but it has no pixels/,
  );
  await refuses({ ids, segments: [{ id: 4, category_id: 9 }] }, /segment 4 has unknown category 9/);
  await refuses({ ids: { shape: [1, 2], data: Int32Array.of(-1, 4) }, segments }, /ids from 0 to 16777215, got -1/);
  evaluator.update(1, ids, { ids, segments });
  await rejectsWith(() => evaluator.update(1, ids, { ids, segments }), OptionError, /image 1 was given before/);
  assert.is(evaluator.summarize().all.pq, 1);

  const dataset = (changed: object, message: RegExp) =>
    rejectsWith(() => new PanopticEvaluator({ ...whole, ...changed } as PanopticDataset), OptionError, message);
  await dataset({ categories: null }, /categories: expected a list, got null/);
  await dataset({ images: {} }, /images: expected a list, got \{\}/);
  await dataset({ images: [null] }, /images\[0\]: expected an object, got null/);
  await dataset({ categories: [{ id: 1, name: 'a' }] }, /categories\[0\]\.isthing: expected 0 or 1, got nothing/);
  await dataset({ categories: [{ id: 1, isthing: 1 }] }, /categories\[0\]\.name: expected a string, got nothing/);
  await dataset(
    { annotations: [{ ...whole.annotations[0], file_name: 3 }] },
    /annotations\[0\]\.file_name: expected a string, got 3/,
  );
  await dataset({ annotations: [...whole.annotations, ...whole.annotations] }, /annotations\[1\]\.image_id/);
  await dataset(
    { annotations: [...whole.annotations, { ...whole.annotations[0], image_id: 2 }] },
    /annotations\[1\]\.file_name: expected a map of its own, got "a.png"/,
  );
  const segment = (entry: object, message: RegExp) =>
    dataset({ annotations: [{ ...whole.annotations[0], segments_info: [entry] }] }, message);
  await segment({ id: 4, category_id: 1 }, /segments_info\[0\]\.area: expected a number, got nothing/);
  await segment({ id: 4, category_id: 2, area: 1 }, /category_id: expected a category of the file, got 2/);
  await rejectsWith(
    () => panopticIds({ width: 2, height: 2, channels: 1, data: new Uint8Array(4) }),
    ShapeError,
    /3 or 4 channels/,
  );
  await rejectsWith(() => panopticImage({ shape: [1, 1], data: Int32Array.of(-1) }), OptionError, /got -1/);
  await rejectsWith(
    () => panopticImage({ shape: [2], data: new Int32Array(2) }),
    ShapeError,
    /ids \[H, W\], got \[2\]/,
  );
});

test.run();
