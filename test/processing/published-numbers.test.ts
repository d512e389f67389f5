import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readImage } from '../../models/images/files.ts';
import type { CocoObject, CocoPanopticAnnotation } from '../../models/processing/annotations.ts';
import { sharedData } from '../support/data.ts';
import { processors } from './reference-case.ts';

// What transformers' own tests expect of preprocessing the COCO photo 39769 (two cats on a couch). The photo is not ours to
// give away, so these tests run only where the reference data lie.
const find = () => sharedData('the published numbers of the COCO photo', 'data');

interface Published {
  readonly detection: {
    readonly pixel_values_shape: number[];
    readonly 'pixel_values[0,0,0,:3]': number[];
    readonly area: number[];
    readonly 'boxes[0]': number[];
    readonly class_labels: number[];
    readonly orig_size: number[];
    readonly size: number[];
  };
  readonly panoptic: {
    readonly area: number[];
    readonly 'boxes[0]': number[];
    readonly class_labels: number[];
    readonly masks_sum: number;
  };
}

function published(folder: string): Published {
  const all = JSON.parse(readFileSync(join(folder, 'published-numbers.json'), 'utf8')) as Record<string, Published>;
  return all[Object.keys(all).find(key => key.startsWith('image processor'))!]!;
}

function assertClose(
  actual: ArrayLike<number>,
  expected: readonly number[],
  what: string,
  absolute: number,
  relative = 0,
): void {
  assert.is(actual.length, expected.length, `${what}: length`);
  for (const [index, value] of expected.entries()) {
    const tolerance = absolute + relative * Math.abs(value);
    const message = `${what}[${index}]: expected ${value}, got ${actual[index]} (tolerance ${tolerance})`;
    assert.ok(Math.abs(actual[index]! - value) <= tolerance, message);
  }
}

const json = (folder: string, name: string) => JSON.parse(readFileSync(join(folder, 'coco', name), 'utf8'));

for (const [name, Processor] of Object.entries(processors)) {
  test(`${name}: detection annotations`, async () => {
    const data = find();
    if (data === undefined) return;
    const expected = published(data).detection;
    const image = await readImage(join(data, 'coco', '000000039769.png'));
    const annotations = { image_id: 39769, annotations: json(data, 'coco_annotations.txt') as CocoObject[] };
    const { pixelValues, pixelMask, labels } = new Processor().preprocess(image, { annotations });
    assert.equal([...pixelValues.shape], expected.pixel_values_shape);
    assertClose(pixelValues.data.subarray(0, 3), expected['pixel_values[0,0,0,:3]'], 'pixel_values', 1e-4);
    assert.ok(pixelMask!.data.every(value => value === 1));
    const [label] = labels!;
    assertClose(label!.area.data, expected.area, 'area', 1e-4, 1e-7);
    assertClose(label!.boxes.data.subarray(0, 4), expected['boxes[0]'], 'boxes[0]', 1e-4);
    assert.equal([...label!.classLabels.data], expected.class_labels);
    assert.is(label!.imageId, 39769);
    assert.ok(label!.iscrowd.data.every(value => value === 0));
    assert.equal(label!.origSize, expected.orig_size);
    assert.equal(label!.size, expected.size);
  });

  test(`${name}: panoptic annotations`, async () => {
    const data = find();
    if (data === undefined) return;
    const expected = published(data).panoptic;
    const image = await readImage(join(data, 'coco', '000000039769.png'));
    const annotation: CocoPanopticAnnotation = {
      file_name: '000000039769.png',
      image_id: 39769,
      segments_info: json(data, 'coco_panoptic_annotations.txt'),
    };
    const masksPath = join(data, 'coco', 'coco_panoptic');
    const processor = new Processor({ format: 'coco_panoptic' });
    const [label] = processor.preprocess([image], { annotations: [annotation], masksPath }).labels!;
    assertClose(label!.area.data, expected.area, 'area', 1e-4, 1e-7);
    assertClose(label!.boxes.data.subarray(0, 4), expected['boxes[0]'], 'boxes[0]', 1e-4);
    assert.equal([...label!.classLabels.data], expected.class_labels);
    assert.equal([...label!.masks!.shape], [6, 800, 1066]);
    assert.is(
      label!.masks!.data.reduce((sum, value) => sum + value, 0),
      expected.masks_sum,
    );
    const withPicture = processor.preprocess([image], {
      annotations: [annotation],
      masks: [await readImage(join(masksPath, annotation.file_name))],
    });
    assert.equal(withPicture.labels![0], label);
  });
}

test.run();
