import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Device, OptionError } from '../../engine/index.ts';
import {
  AutoImageProcessor,
  AutoModelForImageSegmentation,
  AutoModelForObjectDetection,
  type CocoDataset,
  CocoEvaluator,
  type CocoResult,
  type Detections,
  DetrImageProcessor,
  type PanopticDataset,
  PanopticEvaluator,
  panopticIds,
  pipeline,
  readImage,
  toPanopticPrediction,
} from '../../index.ts';
import { modelDeviceNames, openDevice } from '../kernels/devices.ts';
import { readTestJson, testData } from '../support/data.ts';
import { rejectsWith } from '../support/throws.ts';

// The embedded models from picture to metric: detections equal to transformers', AP and PQ equal to the reference tools'.

const SCORE_TOLERANCE = 1e-3;
const BOX_TOLERANCE_PIXELS = 0.1;
const METRIC_TOLERANCE = 1e-3;
/** predictions.json holds what scores higher. */
const LOWEST_SCORE = 0.001;

interface SceneImage {
  readonly id: number;
  readonly file_name: string;
}

const instances = readTestJson<CocoDataset>('scenes', 'instances.json');
const images = instances.images as readonly SceneImage[];
const panoptic = readTestJson<PanopticDataset>('scenes', 'panoptic.json');
const expected = readTestJson<Record<string, Expected>>('scenes', 'expected.json');
const things = new Set(instances.categories.map(({ id }) => id));

interface Expected {
  readonly coco: Readonly<Record<string, number>>;
  readonly panoptic?: { readonly all: Quality; readonly things: Quality; readonly stuff: Quality };
}
interface Quality {
  readonly pq: number;
  readonly sq: number;
  readonly rq: number;
}

/** A software adapter takes its time: a few pictures show that it computes the same. */
const imagesFor = (device: string) => (device === 'webgpu' ? images.slice(0, 2) : images);

for (const deviceName of modelDeviceNames) {
  const test = suite(`scenes on ${deviceName}`);
  let device: Device;
  test.before(async () => {
    device = await openDevice(deviceName);
  });
  test.after(() => device.destroy());

  for (const name of ['scenes-deformable-detr', 'scenes-conditional-detr', 'scenes-detr']) {
    test(`${name} detects what transformers detects`, async () => {
      const predictions = readTestJson<CocoResult[]>('scenes', 'predictions', `${name}.json`);
      const model = await AutoModelForObjectDetection.fromPretrained(name, { device });
      const processor = await AutoImageProcessor.fromPretrained(name);
      const evaluator = new CocoEvaluator(instances);
      for (const { id, file_name } of imagesFor(deviceName)) {
        const image = await readImage(testData('scenes', 'images', file_name));
        const outputs = await model.forward(processor.preprocess([image]));
        const targetSizes = [[image.height, image.width] as const];
        const [found] = processor.postProcessObjectDetection(outputs, { threshold: 0, targetSizes });
        compareDetections(
          found!,
          predictions.filter(({ image_id }) => image_id === id),
          file_name,
        );
        evaluator.update(new Map([[id, ofThings(found!)]]));
      }
      model.dispose();
      if (imagesFor(deviceName).length < images.length) return;
      const { metrics } = evaluator.summarize();
      for (const [metric, value] of Object.entries(expected[name]!.coco)) {
        const ours = metrics[metric] ?? Number.NaN;
        assert.ok(Math.abs(ours - value) <= METRIC_TOLERANCE, `${metric}: expected ${value}, got ${ours}`);
      }
    });
  }

  test('scenes-detr-panoptic reaches the reference’s panoptic quality', async () => {
    const name = 'scenes-detr-panoptic';
    const model = await AutoModelForImageSegmentation.fromPretrained(name, { device });
    const processor = await DetrImageProcessor.fromPretrained(testData('..', '..', 'weights', 'embedded', name));
    const evaluator = new PanopticEvaluator(panoptic);
    const ids = new Set(imagesFor(deviceName).map(({ id }) => id));
    for (const { image_id, file_name } of panoptic.annotations.filter(annotation => ids.has(annotation.image_id))) {
      const { file_name: picture } = images.find(({ id }) => id === image_id)!;
      const image = await readImage(testData('scenes', 'images', picture));
      const outputs = await model.forward(processor.preprocess([image]));
      const [result] = processor.postProcessPanopticSegmentation(outputs, {
        threshold: 0.5,
        targetSizes: [[image.height, image.width]],
        labelIdsToFuse: new Set([5, 6]),
      });
      const truth = await readImage(readFileSync(testData('scenes', 'panoptic', file_name)));
      evaluator.update(image_id, panopticIds(truth), toPanopticPrediction(result!));
    }
    model.dispose();
    const summary = evaluator.summarize();
    assert.ok(summary.all.pq > 0.5);
    if (ids.size < images.length) return;
    for (const part of ['all', 'things', 'stuff'] as const) {
      for (const quality of ['pq', 'sq', 'rq'] as const) {
        const value = expected[name]!.panoptic![part][quality];
        const ours = summary[part][quality];
        assert.ok(Math.abs(ours - value) <= METRIC_TOLERANCE, `${part} ${quality}: expected ${value}, got ${ours}`);
      }
    }
  });

  test('pipelines give objects and segments of one picture and of several', async () => {
    const picture = testData('scenes', 'images', images[0]!.file_name);
    const detect = await pipeline('object-detection', 'scenes-deformable-detr', { device });
    const objects = await detect(picture, { threshold: 0.35 });
    assert.ok(objects.length > 0);
    assert.ok(objects.every(({ score, box }) => score > 0.35 && box.xmin < box.xmax && box.ymin < box.ymax));
    const [first, second] = await detect([picture, await readImage(picture)], { threshold: 0.35 });
    assert.equal(first!.length, objects.length);
    assert.equal(second!.length, objects.length);
    assert.equal(await detect([]), []);
    await rejectsWith(
      () => detect([], { maskThreshold: 0.5 } as object),
      OptionError,
      /pipeline: unknown option maskThreshold; known are threshold/,
    );
    await detect.dispose();

    const segment = await pipeline('image-segmentation', 'scenes-detr-panoptic', { device });
    const segments = await segment(picture, { subtask: 'panoptic' });
    assert.ok(segments.some(({ label }) => label === 'sky') && segments.every(({ mask }) => mask.data.includes(1)));
    const semantic = await segment(picture, { subtask: 'semantic' });
    const covered = semantic.reduce((sum, { mask }) => sum + mask.data.reduce((count, pixel) => count + pixel, 0), 0);
    assert.is(covered, semantic[0]!.mask.data.length, 'every pixel has one class');
    const ids = semantic.map(({ label }) => panoptic.categories.findIndex(({ name }) => name === label));
    assert.ok(
      ids.every((id, index) => index === 0 || id > ids[index - 1]!),
      'classes come in their order',
    );
    const instances = await segment(picture, { subtask: 'instance' });
    assert.ok(instances.length > 0 && instances.every(({ mask, score }) => mask.data.includes(1) && score! > 0.5));
    const whole = await readImage(picture);
    const top = { ...whole, height: 40, data: whole.data.slice(0, (whole.data.length / whole.height) * 40) };
    assert.equal(await segment([top, whole]), [await segment(top), segments], 'pictures of other sizes do not matter');
    await rejectsWith(
      () => segment(picture, { mask_threshold: 0.9 } as object),
      OptionError,
      /unknown option mask_threshold; did you mean maskThreshold\?/,
    );
    await rejectsWith(() => segment(picture, { subtask: 'parts' as 'semantic' }), OptionError, /subtask: .*"parts"/);
    await segment.dispose();
  });

  test.run();
}

function compareDetections({ scores, labels, boxes }: Detections, wanted: readonly CocoResult[], file: string): void {
  const free = new Set(scores.data.keys());
  for (const { category_id, score, bbox } of wanted) {
    const [x, y, width, height] = bbox as readonly [number, number, number, number];
    const corners = [x, y, x + width, y + height];
    const match = [...free].find(
      index =>
        labels.data[index] === category_id &&
        Math.abs(scores.data[index]! - score) <= SCORE_TOLERANCE &&
        corners.every((value, corner) => Math.abs(boxes.data[4 * index + corner]! - value) <= BOX_TOLERANCE_PIXELS),
    );
    assert.ok(match !== undefined, `${file}: expected label ${category_id}, score ${score}, box ${corners}`);
    free.delete(match);
  }
  const surplus = [...free].filter(
    index => scores.data[index]! > LOWEST_SCORE + SCORE_TOLERANCE && things.has(labels.data[index]!),
  );
  assert.is(surplus.length, 0, `${file}: ${surplus.length} detections too many`);
}

/** Ground truth for boxes knows things only. */
function ofThings({ scores, labels, boxes }: Detections): Detections {
  const kept = [...labels.data.keys()].filter(
    index => things.has(labels.data[index]!) && scores.data[index]! > LOWEST_SCORE,
  );
  return {
    scores: { shape: [kept.length], data: Float32Array.from(kept, index => scores.data[index]!) },
    labels: { shape: [kept.length], data: Int32Array.from(kept, index => labels.data[index]!) },
    boxes: {
      shape: [kept.length, 4],
      data: Float32Array.from(kept.flatMap(index => [...boxes.data.subarray(4 * index, 4 * index + 4)])),
    },
  };
}
