import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { Random } from '../../kernels/index.ts';
import {
  type CocoAccumulation,
  CocoEvaluator,
  type CocoSummary,
  evaluateCoco,
} from '../../models/evaluation/coco-evaluator.ts';
import {
  type CocoDataset,
  type CocoResult,
  type ImageDetections,
  toCocoResults,
} from '../../models/evaluation/coco-format.ts';
import { COCO_PARAMETERS, evaluateImageCategory, type IouType } from '../../models/evaluation/coco-matching.ts';
import { rleFromCoco, rleToMask } from '../../models/evaluation/rle.ts';
import { readTestJson, sharedData } from '../support/data.ts';
import { rejectsWith } from '../support/throws.ts';

/** What COCOeval of pycocotools 2.0.11 gives. */
interface Expected {
  stats: number[];
  table: string[];
  perCategory: Record<string, number>;
  /** Over all entries of the accumulated arrays. */
  sums: { precision: number; recall: number; scores: number };
}

interface FrozenCase {
  name: string;
  iouType: IouType;
  groundTruth: 'instances' | 'keypoints' | 'zero';
  results: CocoResult[];
  expected: Expected;
  subset?: number[];
  expectedOfSubset?: Expected;
  /** Index of the annotation that has id 0. */
  zeroed?: number;
}

const frozen = readTestJson<{ instances: CocoDataset; keypoints: CocoDataset; cases: FrozenCase[] }>(
  'evaluation',
  'coco.json',
);

const groundTruthOf = ({ groundTruth, zeroed }: FrozenCase): CocoDataset => {
  if (groundTruth !== 'zero') return frozen[groundTruth];
  const { annotations, ...rest } = frozen.instances;
  return { ...rest, annotations: annotations.map((entry, index) => (index === zeroed ? { ...entry, id: 0 } : entry)) };
};

const TOLERANCE = 1e-9;

function compare(what: string, summary: CocoSummary, expected: readonly number[]): number {
  assert.is(summary.stats.length, expected.length, what);
  const names = Object.keys(summary.metrics);
  let worst = 0;
  expected.forEach((value, index) => {
    const error = Math.abs(summary.stats[index]! - value);
    assert.ok(
      error <= TOLERANCE,
      `${what}, ${names[index]}: ${summary.stats[index]}, expected ${value} within ${TOLERANCE}`,
    );
    worst = Math.max(worst, error);
  });
  return worst;
}

function compareAll(what: string, evaluator: CocoEvaluator, expected: Expected): void {
  const summary = evaluator.summarize();
  compare(what, summary, expected.stats);
  assert.equal(summary.table.split('\n'), expected.table, what);
  assert.equal(Object.keys(summary.perCategory).sort(), Object.keys(expected.perCategory).sort());
  for (const [name, value] of Object.entries(expected.perCategory)) {
    assert.ok(Math.abs(summary.perCategory[name]! - value) <= TOLERANCE, `${what}, ${name}`);
  }
  const accumulation = evaluator.accumulate();
  for (const key of ['precision', 'recall', 'scores'] as const) {
    const sum = (accumulation[key] as CocoAccumulation['recall']).data.reduce((total, value) => total + value, 0);
    assert.ok(Math.abs(sum - expected.sums[key]) <= 1e-8, `${what}, ${key}: ${sum}, expected ${expected.sums[key]}`);
  }
}

test('boxes, masks and keypoints are judged as pycocotools does', () => {
  for (const problem of frozen.cases) {
    const groundTruth = groundTruthOf(problem);
    const evaluator = new CocoEvaluator(groundTruth, { iouTypes: [problem.iouType] });
    evaluator.updateResults(
      problem.results,
      groundTruth.images.map(({ id }) => id),
    );
    compareAll(problem.name, evaluator, problem.expected);
  }
});

test('only the images that were given count, in any order', () => {
  for (const { name, iouType, groundTruth, results, subset, expectedOfSubset } of frozen.cases) {
    if (groundTruth === 'zero' || subset === undefined || expectedOfSubset === undefined) continue;
    const evaluator = new CocoEvaluator(frozen[groundTruth], { iouTypes: [iouType] });
    for (const imageId of subset.toReversed()) {
      evaluator.updateResults(
        results.filter(result => result.image_id === imageId),
        [imageId],
      );
      evaluator.accumulate();
    }
    assert.equal(evaluator.imageIds, subset);
    compareAll(`${name}, half of the images`, evaluator, expectedOfSubset);
  }
});

test('what accumulate returns is the caller’s own', () => {
  const problem = frozen.cases[0]!;
  const evaluator = new CocoEvaluator(groundTruthOf(problem), { iouTypes: [problem.iouType] });
  evaluator.updateResults(problem.results);
  const { stats } = evaluator.summarize();
  const { precision, parameters } = evaluator.accumulate();
  precision.data.fill(7);
  (parameters.iouThresholds as number[])[0] = 0.99;
  assert.equal(evaluator.summarize().stats, stats);
  assert.is(new CocoEvaluator(groundTruthOf(problem)).accumulate().parameters.iouThresholds[0], 0.5);
});

test('the scenes models reach their metrics', () => {
  const groundTruth = readTestJson<CocoDataset>('scenes', 'instances.json');
  const expected = readTestJson<Record<string, { coco: Record<string, number> }>>('scenes', 'expected.json');
  for (const model of ['scenes-detr', 'scenes-conditional-detr', 'scenes-deformable-detr']) {
    const results = readTestJson<CocoResult[]>('scenes', 'predictions', `${model}.json`);
    const [summary] = evaluateCoco(groundTruth, results);
    assert.equal(Object.keys(summary!.metrics), Object.keys(expected[model]!.coco));
    const worst = compare(model, summary!, Object.values(expected[model]!.coco));
    console.log(`${model}: AP ${summary!.metrics.AP!.toFixed(6)}, worst difference ${worst.toExponential(1)}`);
  }
});

test('the whole scenes validation set gives the published metrics', () => {
  const zoo = sharedData('the whole scenes validation set', 'zoo');
  if (zoo === undefined) return;
  const read = <Content>(...path: string[]) => JSON.parse(readFileSync(join(zoo, ...path), 'utf8')) as Content;
  const groundTruth = read<CocoDataset>('val', 'instances.json');
  for (const model of ['scenes-detr', 'scenes-detr-panoptic', 'scenes-conditional-detr', 'scenes-deformable-detr']) {
    const { coco } = read<{ coco: Record<string, number> & { per_class_AP: Record<string, number> } }>(
      model,
      'metrics.json',
    );
    const [summary] = evaluateCoco(groundTruth, read<CocoResult[]>(model, 'predictions.json'));
    // The file has six decimals.
    const rounded = (values: Record<string, number>) => Object.values(values).map(value => value.toFixed(6));
    assert.equal(rounded(summary!.metrics), rounded({ ...coco, per_class_AP: 0 }).slice(0, 12), model);
    assert.equal(rounded(summary!.perCategory), rounded(coco.per_class_AP), model);
    console.log(`${model}: ${rounded(summary!.metrics).join(' ')}`);
  }
});

test('real COCO detections give the numbers of pycocotools', () => {
  const folder = sharedData('real COCO detections', 'data', 'coco-eval');
  if (folder === undefined) return;
  const read = <Content>(name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Content;
  const groundTruth = read<CocoDataset>('instances_val2014_100.json');
  const expected = read<Record<'bbox' | 'segm', number[]>>('expected.json');
  for (const iouType of ['bbox', 'segm'] as const) {
    const results = read<CocoResult[]>(`instances_val2014_fake${iouType}100_results.json`);
    const [summary] = evaluateCoco(groundTruth, results, { iouTypes: [iouType] });
    const worst = compare(iouType, summary!, expected[iouType]);
    console.log(`COCO ${iouType}: worst difference ${worst.toExponential(1)}`);
  }
});

test('post-processed tensors are judged as their results', () => {
  const { name, results, expected } = frozen.cases.find(({ name }) => name === 'masks')!;
  const evaluator = new CocoEvaluator(frozen.instances, { iouTypes: ['segm', 'bbox'] });
  const predictions = new Map<number, ImageDetections>();
  for (const { id, height, width } of frozen.instances.images) {
    const ofImage = results.filter(result => result.image_id === id);
    const masks = new Float32Array(ofImage.length * height * width);
    const boxes = new Float32Array(4 * ofImage.length);
    ofImage.forEach((result, index) => {
      const mask = rleToMask(rleFromCoco(result.segmentation as { size: number[]; counts: string }));
      masks.set(
        mask.map(pixel => pixel),
        index * height * width,
      );
    });
    predictions.set(id, {
      scores: ofImage.map(({ score }) => score),
      labels: { shape: [ofImage.length], data: Int32Array.from(ofImage, result => result.category_id) },
      boxes: { shape: [ofImage.length, 4], data: boxes },
      masks: { shape: [ofImage.length, 1, height, width], data: masks },
    });
  }
  evaluator.update(predictions);
  evaluator.update(predictions);
  // The zero boxes only decide which size a wrong detection counts for, so AP over all sizes stays.
  assert.ok(Math.abs(evaluator.summarize('segm').metrics.AP! - expected.stats[0]!) <= TOLERANCE, name);
  assert.is(evaluator.summarize('bbox').metrics.AP, 0);
  assert.is(evaluator.summarize().iouType, 'segm');
  assert.is(evaluator.summarize().images, frozen.instances.images.length);
});

test('of an image that is given twice, the first counts', () => {
  const groundTruth: CocoDataset = {
    images: [{ id: 1, width: 50, height: 50 }],
    categories: [{ id: 1, name: 'thing' }],
    annotations: [{ id: 1, image_id: 1, category_id: 1, bbox: [5, 5, 20, 20], area: 400, iscrowd: 0 }],
  };
  const found = (left: number): ImageDetections => ({
    scores: [0.9],
    labels: [1],
    boxes: { shape: [1, 4], data: Float32Array.of(left, 5, left + 20, 25) },
  });
  const apOf = (...updates: (readonly [number, ImageDetections])[][]) => {
    const evaluator = new CocoEvaluator(groundTruth);
    for (const update of updates) evaluator.update(update);
    return evaluator.summarize().metrics.AP!;
  };
  const [right, wrong] = [[1, found(5)] as const, [1, found(25)] as const];
  assert.ok(apOf([right, wrong]) > 0.99);
  assert.is(apOf([wrong, right]), 0);
  assert.ok(apOf([right], [wrong]) > 0.99);
});

test('masks and keypoints of a model count for the size that they have, not for that of the box', () => {
  const [side, square] = [200, 900];
  const groundTruth: CocoDataset = {
    images: [{ id: 1, width: side, height: side }],
    categories: [{ id: 1, name: 'thing' }],
    annotations: [
      {
        ...{ id: 1, image_id: 1, category_id: 1, bbox: [0, 0, 30, 30], area: square, iscrowd: 0 },
        segmentation: [[0, 0, 30, 0, 30, 30, 0, 30]],
      },
    ],
  };
  // The better one is wrong: 840 pixels of a box of 1600, small as a mask and medium as a box.
  const masks = new Uint8Array(2 * side * side);
  for (let y = 100; y < 140; y++) masks.fill(1, y * side + 100, y * side + 120).fill(1, y * side + 139, y * side + 140);
  for (let y = 0; y < 30; y++) masks.fill(1, (side + y) * side, (side + y) * side + 30);
  const evaluator = new CocoEvaluator(groundTruth, { iouTypes: ['segm', 'bbox'] });
  const boxes = { shape: [2, 4], data: Float32Array.of(100, 100, 140, 140, 0, 0, 30, 30) };
  evaluator.update([
    [1, { scores: [0.9, 0.8], labels: [1, 1], boxes, masks: { shape: [2, 1, side, side], data: masks } }],
  ]);
  // As pycocotools gives.
  assert.ok(Math.abs(evaluator.summarize('segm').metrics.AP_small! - 0.5) < TOLERANCE);
  assert.ok(Math.abs(evaluator.summarize('bbox').metrics.AP_small! - 1) < TOLERANCE);
});

test('keypoints are as similar as COCO defines', () => {
  // As pycocotools writes them, in tenths.
  const sigmas = [
    ...[0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72],
    ...[0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89],
  ].map(sigma => sigma / 10);
  const random = new Random(7);
  const uniform = (below: number) => below * random.next();
  const image = { id: 1, width: 400, height: 400 };
  for (let round = 0; round < 200; round++) {
    // Of some objects all keypoints are hidden, of some none is labelled, and of some only one.
    const visibilities = sigmas.map((_, index) => {
      const visibility = random.integer(0, 2);
      return [visibility, Math.min(visibility, 1), 0, index === round % 17 ? 1 : 0][round % 4]!;
    });
    const [x, y, width, height] = [100 + uniform(50), 100 + uniform(50), 20 + uniform(80), 20 + uniform(80)] as const;
    const keypoints = visibilities.flatMap(visibility => [x + uniform(width), y + uniform(height), visibility]);
    const found = keypoints.map((value, at) =>
      at % 3 === 2 ? uniform(1) : round % 4 === 2 ? 120 + 300 * (uniform(1) - 0.5) : value + 8 * (uniform(1) - 0.5),
    );
    const area = width * height * 0.6;
    const outside = (value: number, start: number, extent: number) =>
      Math.max(0, start - extent - value, value - (start + 2 * extent));
    const compared = visibilities.some(visibility => visibility > 0) ? visibilities : visibilities.map(() => 1);
    let [sum, count] = [0, 0];
    for (const [index, sigma] of sigmas.entries()) {
      if (compared[index] === 0) continue;
      const [foundX, foundY] = [found[3 * index]!, found[3 * index + 1]!];
      const distance =
        compared === visibilities
          ? Math.hypot(foundX - keypoints[3 * index]!, foundY - keypoints[3 * index + 1]!)
          : Math.hypot(outside(foundX, x, width), outside(foundY, y, height));
      sum += Math.exp(-(distance ** 2) / (2 * area * (2 * sigma) ** 2));
      count++;
    }
    const similarity = sum / count;
    const { matched, ignored } = evaluateImageCategory(
      {
        image,
        results: [{ image_id: 1, category_id: 1, score: 1, keypoints: found }],
        annotations: [{ id: 5, image_id: 1, category_id: 1, bbox: [x, y, width, height], area, keypoints }],
      },
      'keypoints',
      { ...COCO_PARAMETERS.keypoints, iouThresholds: [similarity - 1e-9, similarity + 1e-9] },
    );
    assert.is(matched[0], 0b01, `round ${round}: ${similarity}`);
    const isLabelled = compared === visibilities;
    assert.is(ignored[0], isLabelled ? 0b00 : 0b01, `round ${round}: objects without labels do not count`);
  }
});

test('tensors become COCO results', () => {
  const detections: ImageDetections = {
    scores: { shape: [2], data: Float32Array.of(0.5, 0.25) },
    labels: [3, 7],
    boxes: { shape: [2, 4], data: Float32Array.of(0.1, 0.2, 1.3, 2.4, 5, 6, 7, 9) },
    masks: { shape: [2, 2, 2], data: Uint8Array.of(0, 1, 1, 1, 0, 0, 0, 0) },
    keypoints: { shape: [2, 1, 3], data: Float32Array.of(1, 2, 0.5, 3, 4, 0.5) },
  };
  const [first, second] = toCocoResults(9, detections);
  assert.equal(first, {
    image_id: 9,
    category_id: 3,
    bbox: [
      Math.fround(0.1),
      Math.fround(0.2),
      Math.fround(Math.fround(1.3) - Math.fround(0.1)),
      Math.fround(Math.fround(2.4) - Math.fround(0.2)),
    ],
    score: 0.5,
    segmentation: { size: [2, 2], counts: '13' },
    keypoints: [1, 2, 0.5],
  });
  const asArrays = { ...detections, scores: Float32Array.of(0.5, 0.25), labels: Int32Array.of(3, 7) };
  assert.equal(toCocoResults(9, asArrays), [first, second]);
  assert.equal(second!.bbox, [5, 6, 2, 3]);
  assert.equal(second!.segmentation, { size: [2, 2], counts: '4' });
  const probabilities = { shape: [2, 2, 2], data: Float32Array.of(0.5, 0.6, 1, 0.51, 0.5, 0.4, 0, -3) };
  assert.equal(
    toCocoResults(9, { ...detections, masks: probabilities }).map(({ segmentation }) => segmentation),
    [first!.segmentation, second!.segmentation],
    'inside is what is above a half',
  );
  assert.equal(toCocoResults(1, { scores: [], labels: [], boxes: { shape: [0, 4], data: new Float32Array(0) } }), []);
});

test('nothing to be found is -1, nothing found is 0', () => {
  const groundTruth: CocoDataset = {
    images: [{ id: 1, width: 10, height: 10 }],
    annotations: [{ id: 1, image_id: 1, category_id: 1, bbox: [0, 0, 5, 5], area: 25 }],
    categories: [
      { id: 1, name: 'there' },
      { id: 2, name: 'not there' },
    ],
  };
  const [summary] = evaluateCoco(groundTruth, []);
  assert.equal(summary!.stats, [0, 0, 0, 0, -1, -1, 0, 0, 0, 0, -1, -1]);
  assert.equal(summary!.perCategory, { there: 0, 'not there': -1 });
  assert.equal(JSON.parse(JSON.stringify(summary)), summary);
  const [perfect] = evaluateCoco(groundTruth, [{ image_id: 1, category_id: 1, bbox: [0, 0, 5, 5], score: 0.1 }]);
  assert.ok(Math.abs(perfect!.metrics.AP! - 1) < 1e-12);
});

test('malformed ground truth, results and tensors are refused by name', async () => {
  const image = { id: 1, width: 10, height: 10 };
  const annotation = { id: 1, image_id: 1, category_id: 1, bbox: [0, 0, 5, 5], area: 25 };
  const category = { id: 1, name: 'a' };
  const whole = { images: [image], annotations: [annotation], categories: [category] };
  const dataset = (changed: object, message: RegExp) =>
    rejectsWith(() => new CocoEvaluator({ ...whole, ...changed } as CocoDataset), OptionError, message);
  await rejectsWith(
    () => new CocoEvaluator([] as unknown as CocoDataset),
    OptionError,
    /dataset: expected an object, got \[\]/,
  );
  await dataset({ images: undefined }, /images: expected a list, got nothing/);
  await dataset({ images: [{ ...image, width: '10' }] }, /images\[0\]\.width: expected a whole number, got "10"/);
  await dataset({ images: [image, image] }, /images\[1\]\.id: expected ids that occur once, got 1 again/);
  await dataset({ categories: [{ id: 1 }] }, /categories\[0\]\.name: expected a string, got nothing/);
  await dataset({ annotations: [null] }, /annotations\[0\]: expected an object, got null/);
  await dataset(
    { annotations: [{ ...annotation, bbox: [1, 2, 3] }] },
    /annotations\[0\]\.bbox: .* 4 numbers, got \[1,2,3\]/,
  );
  await dataset(
    { annotations: [{ ...annotation, bbox: [1, 2, 3, null] }] },
    /annotations\[0\]\.bbox\[3\]: .* got null/,
  );
  await dataset(
    { annotations: [{ ...annotation, area: undefined }] },
    /annotations\[0\]\.area: expected a number, got nothing/,
  );
  for (const key of ['id', 'image_id', 'category_id']) {
    await dataset(
      { annotations: [{ ...annotation, [key]: '1' }] },
      new RegExp(`annotations\\[0\\]\\.${key}: expected a whole number, got "1"`),
    );
  }
  await dataset({ annotations: [annotation, annotation] }, /annotations\[1\]\.id: .* got 1 again/);

  const evaluator = new CocoEvaluator(whole, { iouTypes: ['bbox', 'segm'] });
  const result = { image_id: 1, category_id: 1, score: 0.5, bbox: [0, 0, 5, 5] };
  const refuses = (results: unknown, message: RegExp, type: typeof OptionError | typeof ShapeError = OptionError) =>
    rejectsWith(() => evaluator.updateResults(results as CocoResult[]), type, message);
  await refuses({}, /results: expected a list, got \{\}/);
  await refuses([{ ...result, score: Number.NaN }], /results\[0\]\.score: expected a number, got NaN/);
  await refuses([{ ...result, image_id: 2 }], /no image 2/);
  await refuses([result], /annotation 1: expected a segmentation, got none/);
  await rejectsWith(() => evaluator.summarize('keypoints'), OptionError, /one of bbox, segm, got keypoints/);
  await rejectsWith(() => new CocoEvaluator(whole, { iouTypes: [] }), OptionError, /at least one/);
  const options = (given: unknown, message: RegExp) =>
    rejectsWith(() => new CocoEvaluator(whole, given as object), OptionError, message);
  await options({ iou_types: ['segm'] }, /CocoEvaluator: unknown option iou_types; did you mean iouTypes\?/);
  await options(null, /CocoEvaluator: expected an object/);
  await options({ iouTypes: 'segm' }, /expected a list of iouTypes, got "segm"/);
  await options({ keypointSigmas: 5 }, /expected a list of keypointSigmas, got 5/);
  for (const name of ['mask', 'toString']) {
    await rejectsWith(
      () => new CocoEvaluator(whole, { iouTypes: [name as 'segm'] }),
      OptionError,
      new RegExp(`got ${name}`),
    );
  }

  const masks = new CocoEvaluator({ ...whole, annotations: [] }, { iouTypes: ['segm'] });
  const wrongRuns = { ...result, segmentation: { size: [5, 5], counts: [24] } };
  await rejectsWith(() => masks.updateResults([wrongRuns]), OptionError, /a result of image 1: segmentation: .*25/);
  const small = { scores: [1], labels: [1], boxes: { shape: [1, 4], data: new Float32Array(4) } };
  const smallMask = { shape: [1, 5, 5], data: new Uint8Array(25) };
  await rejectsWith(
    () => masks.update([[1, { ...small, masks: smallMask }]]),
    ShapeError,
    /image 1: expected masks of the image's size \[10, 10\], got \[5, 5\]; give targetSizes/,
  );
  const none = { scores: [], labels: [], boxes: { shape: [0, 4], data: new Float32Array(0) } };
  const empty = new CocoEvaluator({ ...whole, annotations: [] }, { iouTypes: ['segm'] });
  empty.update([[1, { ...none, masks: { shape: [0, 5, 5], data: new Uint8Array(0) } }]]);
  new CocoEvaluator(whole).update([[1, { ...small, masks: smallMask }]]);
  for (const side of ['width', 'height']) {
    // A file that does not say how large the image is.
    const dataset = { ...whole, images: [{ id: 1, [side]: 10 }], annotations: [] } as unknown as CocoDataset;
    new CocoEvaluator(dataset, { iouTypes: ['segm'] }).update([[1, { ...small, masks: smallMask }]]);
  }
  for (const bbox of [[], undefined]) {
    const boxless = { image_id: 1, category_id: 1, score: 0.5, ...(bbox && { bbox }) };
    await rejectsWith(
      () => masks.updateResults([boxless]),
      OptionError,
      /a result of image 1: expected a segm.* neither/,
    );
  }
  await rejectsWith(
    () => masks.updateResults([{ ...result, bbox: [0, 0, 1e10, 5] }]),
    OptionError,
    /a result of image 1: rleFromPolygon: expected coordinates/,
  );
  const points = new CocoEvaluator(whole, { iouTypes: ['keypoints'] });
  await rejectsWith(
    () => points.updateResults([result]),
    OptionError,
    /a result of image 1: expected keypoints of 17 x 3/,
  );
  const boxes = new CocoEvaluator(whole);
  boxes.updateResults([result]);
  await rejectsWith(() => boxes.updateResults([result]), OptionError, /image 1 was given before/);

  await rejectsWith(() => boxes.update(5 as never), OptionError, /update: expected a map of image ids .*, got 5/);
  await rejectsWith(() => boxes.update([5 as never]), OptionError, /update: expected \[image id, detections\], got 5/);

  const box = { shape: [1, 4], data: new Float32Array(4) };
  const tensors = (detections: ImageDetections, message: RegExp) =>
    rejectsWith(() => toCocoResults(1, detections), ShapeError, message);
  await tensors({ scores: [1], labels: [1, 2], boxes: box }, /labels: expected 1 numbers, got 2/);
  await tensors({ scores: [1, 2], labels: [1, 2], boxes: box }, /boxes: expected 8 numbers, got 4/);
  const mask = { shape: [2, 3, 3], data: new Uint8Array(18) };
  await tensors({ scores: [1], labels: [1], boxes: box, masks: mask }, /masks: expected 9 numbers, got 18/);
  const flat = { shape: [9], data: new Uint8Array(9) };
  await tensors({ scores: [1], labels: [1], boxes: box, masks: flat }, /masks: expected \[N, H, W\], got \[9\]/);
  const pairs = { shape: [1, 4, 2], data: new Float32Array(8) };
  await tensors({ scores: [1], labels: [1], boxes: box, keypoints: pairs }, /keypoints: expected \[1, K, 3\], got 8/);
});

test('files as other tools write them: flags as false and true, no sizes, no boxes, masks of another size', () => {
  const category = { id: 1, name: 'a' };
  const square = { size: [10, 10], counts: [0, 50, 50] };
  const truth = { id: 1, image_id: 1, category_id: 1, area: 50, segmentation: square };
  const crowd = { id: 2, image_id: 2, category_id: 1, area: 50, segmentation: square, iscrowd: true };
  const parsed: unknown = { images: [{ id: 1 }, { id: 2 }], annotations: [truth, crowd], categories: [category] };
  const dataset = parsed as CocoDataset;
  const result = { image_id: 1, category_id: 1, score: 0.9, segmentation: square };
  const apOf = (results: CocoResult[]) => evaluateCoco(dataset, results, { iouTypes: ['segm'] })[0]!.metrics.AP;
  const inCrowd = { ...result, image_id: 2, score: 0.95 };
  assert.ok(apOf([result, inCrowd])! > 1 - TOLERANCE, 'what lies in a crowd is not wrong');
  assert.is(apOf([{ ...result, segmentation: { size: [5, 20], counts: [0, 50, 50] } }]), 0);
  assert.throws(
    () => evaluateCoco(dataset, [{ ...result, bbox: [0, 0, 5, 5] }]),
    /annotation 1: expected a bbox, got none/,
  );
  const outline = { ...result, segmentation: [[0, 0, 9, 0, 9, 9]] };
  assert.throws(() => apOf([outline]), /a result of image 1: expected width and height of image 1, .* got none/);
});

test('a failed update changes nothing', () => {
  const { instances } = frozen;
  const evaluator = new CocoEvaluator(instances, { iouTypes: ['bbox', 'segm'] });
  const imageId = instances.images[0]!.id;
  const good = { image_id: imageId, category_id: 3, score: 1, bbox: [0, 0, 9, 9] };
  const bad = { ...good, image_id: instances.images[1]!.id, segmentation: { size: [1, 1], counts: [2] } };
  assert.throws(() => evaluator.updateResults([good, bad]), /counts|cover|runs/);
  assert.equal(evaluator.imageIds, []);
  evaluator.updateResults([good]);
  const fresh = new CocoEvaluator(instances, { iouTypes: ['bbox', 'segm'] });
  fresh.updateResults([good]);
  assert.equal(evaluator.summarize('bbox'), fresh.summarize('bbox'));
  assert.equal(evaluator.summarize('segm'), fresh.summarize('segm'));
});

test.run();
