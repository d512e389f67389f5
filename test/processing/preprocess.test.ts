import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { panopticImage } from '../../models/evaluation/panoptic-evaluator.ts';
import { writePng } from '../../models/images/files.ts';
import { type Image, toRgb } from '../../models/images/image.ts';
import type { CocoDetectionAnnotation, ImageAnnotation } from '../../models/processing/annotations.ts';
import type { PreprocessOptions } from '../../models/processing/image-processor.ts';
import { DetrImageProcessor } from '../../models/processing/processors.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { rejectsWith } from '../support/throws.ts';

function picture(height: number, width: number, channels = 3): Image {
  const data = Uint8Array.from(
    { length: height * width * channels },
    (_, i) => (Math.imul(i + 3, 2654435761) >>> 11) & 255,
  );
  return { height, width, channels, data };
}

const small = { size: { shortest_edge: 24, longest_edge: 40 } };
const processor = new DetrImageProcessor(small);

const annotation = (objects: Partial<CocoDetectionAnnotation['annotations'][number]>[]): CocoDetectionAnnotation => ({
  image_id: 7,
  annotations: objects.map(object => ({ category_id: 1, bbox: [2, 3, 8, 10], area: 80, ...object })),
});

test('one picture or a list of one, and calls do not change what they are given', () => {
  const image = picture(30, 20);
  const before = image.data.slice();
  const result = processor.preprocess(image);
  assert.equal(processor.preprocess([image]), result);
  assert.equal(image.data, before);
  assert.equal([...result.pixelValues.shape], [1, 3, 36, 24]);
  assert.equal([...result.pixelMask!.shape], [1, 36, 24]);
  assert.is(result.labels, undefined);
});

test('pixels of a batch: normalised on the picture, zero on the padding, and the mask says which', () => {
  const plain = new DetrImageProcessor({ do_resize: false });
  const images = [picture(5, 9), picture(8, 4)];
  const { pixelValues, pixelMask } = plain.preprocess(images);
  assert.equal([...pixelValues.shape], [2, 3, 8, 9]);
  const { imageMean, imageStd } = plain.settings;
  for (const [index, { height, width, data }] of images.entries()) {
    for (let y = 0; y < 8; y++) {
      for (let x = 0; x < 9; x++) {
        const inside = y < height && x < width;
        assert.is(pixelMask!.data[(index * 8 + y) * 9 + x], inside ? 1 : 0);
        for (let channel = 0; channel < 3; channel++) {
          const expected = inside
            ? (data[(y * width + x) * 3 + channel]! / 255 - imageMean[channel]!) / imageStd[channel]!
            : 0;
          const actual = pixelValues.data[((index * 3 + channel) * 8 + y) * 9 + x]!;
          assert.ok(
            Math.abs(actual - expected) < 1e-6,
            `[${index}, ${channel}, ${y}, ${x}]: expected ${expected}, got ${actual}`,
          );
        }
      }
    }
  }
});

test('grey and RGBA pictures become RGB, unless the processor is made for one channel', () => {
  for (const channels of [1, 4]) {
    const image = picture(30, 20, channels);
    assert.equal(processor.preprocess(image), processor.preprocess(toRgb(image)));
  }
  const grey = new DetrImageProcessor({ ...small, image_mean: [0.5], image_std: [0.25] });
  const { pixelValues } = grey.preprocess(picture(30, 20, 1));
  assert.equal([...pixelValues.shape], [1, 1, 36, 24]);
});

test('a canvas gives pictures whose fields are accessors', () => {
  const { width, height, data } = picture(30, 20);
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let pixel = 0; pixel < width * height; pixel++) rgba.set(data.subarray(3 * pixel, 3 * pixel + 3), 4 * pixel);
  class CanvasPicture {
    get width() {
      return width;
    }
    get height() {
      return height;
    }
    get data() {
      return rgba;
    }
  }
  assert.equal(processor.preprocess(new CanvasPicture()), processor.preprocess(picture(30, 20)));
});

test('an option of a call overrides the settings', () => {
  const image = picture(30, 20);
  const call = (options: PreprocessOptions) => processor.preprocess(image, options);
  assert.equal([...call({ size: { height: 11, width: 12 } }).pixelValues.shape], [1, 3, 11, 12]);
  assert.equal([...call({ size: 15, maxSize: 18 }).pixelValues.shape], [1, 3, 18, 12]);
  assert.equal([...call({ maxSize: 18 }).pixelValues.shape], [1, 3, 18, 12]);
  const other = new DetrImageProcessor({ size: { shortest_edge: 24, longest_edge: 40 } }, { maxSize: 18 });
  assert.equal([...other.preprocess(image).pixelValues.shape], [1, 3, 18, 12]);
  assert.equal([...call({ doResize: false, padSize: [40, 50] }).pixelValues.shape], [1, 3, 40, 50]);
  assert.is(call({ doPad: false }).pixelMask, undefined);
  const bytes = call({ doResize: false, doRescale: false, doNormalize: false }).pixelValues.data;
  assert.is(bytes[1], image.data[3]);
  const cubic = new DetrImageProcessor({ ...small, resample: 3 });
  assert.equal(call({ resample: 'bicubic' }), cubic.preprocess(image));
});

test('the torchvision backend differs by one grey level at most', () => {
  const image = picture(61, 47);
  const pillow = processor.preprocess(image).pixelValues.data;
  const torchvision = new DetrImageProcessor(small, { backend: 'torchvision' }).preprocess(image).pixelValues.data;
  const worst = pillow.reduce((most, value, index) => Math.max(most, Math.abs(value - torchvision[index]!)), 0);
  assert.ok(worst > 0 && worst <= 1.001 / 255 / 0.224, `largest difference ${worst}`);
});

test('labels follow the picture, and its padding unless version 4 is asked for', () => {
  const objects = annotation([
    { category_id: 5, segmentation: [[2, 3, 10, 3, 10, 13, 2, 13]] },
    { category_id: 6, iscrowd: 1 },
    { category_id: 6, iscrowd: true as never },
    { category_id: 7, bbox: [4, 4, 0, 9] },
    { category_id: 8, bbox: [-10, -10, 100, 100], segmentation: [[0, 0, 20, 0, 20, 30, 0, 30]] },
  ]);
  const options = { annotations: [objects, annotation([])], returnSegmentationMasks: true };
  const images = [picture(30, 20), picture(24, 48)];
  const [first, second] = processor.preprocess(images, options).labels!;
  // 30 x 20 → 36 x 24, beside 20 x 40: padded to 36 x 40.
  assert.equal(
    [first!.origSize, first!.size],
    [
      [30, 20],
      [36, 40],
    ],
  );
  assert.equal([...first!.classLabels.data], [5, 8]);
  const unpadded = [0.3, 8 / 30, 0.4, 1 / 3, 0.5, 0.5, 1, 1];
  const assertBoxes = (actual: Float32Array, expected: number[]) => {
    for (const [index, value] of expected.entries())
      assert.ok(Math.abs(actual[index]! - value) < 1e-6, `${actual} ${expected}`);
  };
  assertBoxes(
    first!.boxes.data,
    unpadded.map((value, index) => value * (index % 2 === 0 ? 24 / 40 : 1)),
  );
  assert.equal([...first!.masks!.shape], [2, 36, 40]);
  const areas = [0, 1].map(index =>
    first!.masks!.data.subarray(index * 36 * 40, (index + 1) * 36 * 40).reduce((a, b) => a + b, 0),
  );
  assert.equal(areas[1], 36 * 24);
  assert.ok(Math.abs(areas[0]! - 80 * 1.44) < 15, `${areas[0]}`);
  assert.equal([...second!.boxes.shape], [0, 4]);
  assert.equal([...second!.masks!.shape], [0, 36, 40]);

  const old = new DetrImageProcessor(small, { behaviour: 'v4' });
  const [firstOld] = old.preprocess(images, options).labels!;
  assert.equal(firstOld!.size, [36, 24]);
  assertBoxes(firstOld!.boxes.data, unpadded);
  assert.equal([...firstOld!.masks!.shape], [2, 36, 24]);
  // Version 4 converts boxes whenever it normalises.
  const absolute = { ...options, doConvertAnnotations: false };
  assertBoxes(old.preprocess(images, absolute).labels![0]!.boxes.data, unpadded);
  assertBoxes(processor.preprocess(images, absolute).labels![0]!.boxes.data, [2.4, 3.6, 12, 15.6, 0, 0, 24, 36]);
});

test('panoptic masks come from a folder or as pictures, and never from outside the folder', async () => {
  const folder = temporaryFolder('panoptic');
  const mask = picture(30, 20);
  writePng(`${folder}/mask.png`, mask);
  const panoptic = new DetrImageProcessor({ ...small, format: 'coco_panoptic' });
  const id = mask.data[0]! + 256 * mask.data[1]! + 65536 * mask.data[2]!;
  const segments = [{ id, category_id: 9, iscrowd: true as never, area: 1 }];
  const named = (file_name: string) => [{ image_id: 1, file_name, segments_info: segments }];
  const image = picture(30, 20);
  const read = panoptic.preprocess(image, { annotations: named('mask.png'), masksPath: folder });
  const given = panoptic.preprocess(image, { annotations: named('elsewhere.png'), masks: [mask] });
  assert.equal(given.labels, read.labels);
  assert.equal([...read.labels![0]!.iscrowd.data], [1]);
  assert.is(
    panoptic.preprocess(image, { annotations: named('mask.png'), masksPath: folder, returnSegmentationMasks: false })
      .labels![0]!.masks,
    undefined,
  );
  const twice = panoptic.preprocess(image, {
    annotations: [{ ...named('')[0]!, segments_info: [...segments, { ...segments[0]!, id: -1 }, ...segments] }],
    masks: [mask],
  }).labels![0]!;
  const { masks, boxes } = read.labels![0]!;
  const pixels = masks!.data.length;
  assert.equal(twice.masks!.data.subarray(0, pixels), masks!.data);
  assert.ok(twice.masks!.data.subarray(pixels, 2 * pixels).every(value => value === 0));
  assert.equal(twice.masks!.data.subarray(2 * pixels), masks!.data, 'segments of one id have the same mask');
  assert.equal(twice.boxes.data.subarray(0, 4), boxes.data);
  assert.equal(twice.boxes.data.subarray(8), boxes.data);
  for (const name of ['../mask.png', 'a/../../mask.png', '', '..']) {
    const options = { annotations: named(name), masksPath: folder };
    await rejectsWith(() => panoptic.preprocess(image, options), OptionError, /expected a file_name inside masksPath/);
  }
  const nowhere = { annotations: named('mask.png') };
  await rejectsWith(() => panoptic.preprocess(image, nowhere), OptionError, /expected masksPath \(a folder\) or masks/);
  const other = { annotations: named('mask.png'), masks: [picture(20, 30)] };
  await rejectsWith(
    () => panoptic.preprocess(image, other),
    ShapeError,
    /mask picture of 30 x 20 like the image, got 20 x 30/,
  );
});

test('of thousands of panoptic segments each has its own box, with and without masks', () => {
  const [height, width] = [480, 640];
  const ids = Int32Array.from({ length: height * width }, (_, pixel) => 1 + (Math.floor(pixel / 7) % 4000));
  const segments = Array.from({ length: 4000 }, (_, index) => ({ id: index + 1, category_id: 1, iscrowd: 0, area: 1 }));
  const panoptic = new DetrImageProcessor({ format: 'coco_panoptic', doResize: false });
  const image = panopticImage({ shape: [height, width], data: ids });
  const [labels] = panoptic.preprocess(image, {
    annotations: [{ image_id: 1, file_name: '', segments_info: segments }],
    masks: [image],
    returnSegmentationMasks: false,
  }).labels!;
  assert.is(labels!.boxes.shape[0], 4000);
});

test('annotations that do not fit are refused by field', async () => {
  let deep: unknown = 1;
  for (let level = 0; level < 100_000; level++) deep = [deep];
  const image = picture(30, 20);
  const refusals: [annotations: unknown, message: RegExp, options?: PreprocessOptions][] = [
    [[], /expected one annotation for each of 1 pictures, got 0/],
    [{ annotations: [] }, /annotations\[0\]: expected image_id to be a whole number, got nothing/],
    [{ image_id: '7', annotations: [] }, /expected image_id to be a whole number, got "7"/],
    [{ image_id: deep, annotations: [] }, /expected image_id to be a whole number, got \[\[\["…"\]\]\]/],
    [{ image_id: 7 }, /expected annotations to be a list of COCO objects, got nothing/],
    [annotation([{ bbox: [1, 2, 3] }]), /annotations\[0\]\.bbox to be \[x, y, width, height\], got \[1,2,3\]/],
    [annotation([{}, { bbox: [1, 2, 3, Number.NaN] }]), /annotations\[1\]\.bbox to be/],
    [annotation([{ area: undefined as never }]), /annotations\[0\]\.area to be a number, got nothing/],
    [annotation([{ category_id: 1.5 }]), /category_id to be a whole number, got 1.5/],
    [annotation([{ iscrowd: 'no' as never }]), /iscrowd to be 0 or 1, got "no"/],
    [annotation([{ keypoints: [1, 2, 3] }, {}]), /as many keypoints for every object, got nothing/],
    [annotation([{ bbox: [1, 2, 3, Number.POSITIVE_INFINITY] }]), /got \[1,2,3,"Infinity"\]/],
    [
      annotation([{ iscrowd: 1 }, {}]),
      /annotations\[0\]: annotations\[1\]: expected a segmentation for every object/,
      { returnSegmentationMasks: true },
    ],
    [
      annotation([{ segmentation: [[1, 1, 9, 1, 9, 9]] }, { segmentation: [[1, 2]] }]),
      /annotations\[0\]: annotations\[1\]: segmentation: expected polygons of at least 3 corners, got 2 numbers/,
      { returnSegmentationMasks: true },
    ],
    [
      annotation([{ segmentation: { size: [2, 2], counts: [4] } }]),
      /annotations\[0\]: annotations\[0\]: segmentation: expected the image's size \[30, 20\], got size \[2, 2\]/,
      { returnSegmentationMasks: true },
    ],
    [
      { image_id: 7, segments_info: [] },
      /expected file_name to be the name of a PNG file/,
      { format: 'coco_panoptic' },
    ],
    [
      { image_id: 7, file_name: 'a.png' },
      /expected segments_info to be a list of segments/,
      { format: 'coco_panoptic' },
    ],
    ...[null, 5].map((segment): (typeof refusals)[number] => [
      { image_id: 7, file_name: 'a.png', segments_info: [segment] },
      /segments_info\[0\] to be a segment, got (null|5)/,
      { format: 'coco_panoptic' },
    ]),
    [
      { image_id: 7, file_name: 'a.png', segments_info: [{ category_id: 1, iscrowd: 0, area: 1 }] },
      /segments_info\[0\]\.id to be a whole number, got nothing/,
      { format: 'coco_panoptic' },
    ],
    [
      { image_id: 7, file_name: 'a.png', segments_info: [{ id: 5 }] },
      /segments_info\[0\]\.category_id to be a whole number, got nothing/,
      { format: 'coco_panoptic' },
    ],
  ];
  for (const [annotations, message, options] of refusals) {
    const call = { ...options, annotations: annotations as ImageAnnotation };
    await rejectsWith(() => processor.preprocess(image, call), OptionError, message);
  }
});

test('pictures and options that do not fit are refused', async () => {
  const image = picture(30, 20);
  const refusals: [call: () => unknown, type: typeof ShapeError | typeof OptionError, message: RegExp][] = [
    [() => processor.preprocess([]), ShapeError, /expected at least one picture, got none/],
    [
      () => new DetrImageProcessor({ image_mean: [0.5], image_std: [0.5] }).preprocess([picture(30, 20, 1), image]),
      ShapeError,
      /expected pictures of one kind, got 1 and 3 channels/,
    ],
    [() => new DetrImageProcessor({}, { behaviour: 'v6' as 'v5' }), OptionError, /expected behaviour v5 or v4, got v6/],
    [
      () => processor.preprocess(image, { annotations: annotation([]), masks: [] }),
      OptionError,
      /expected one mask picture for each of 1 pictures, got 0/,
    ],
    [() => processor.preprocess([null as never]), ShapeError, /images\[0\]: expected a picture .*, got null/],
    [
      () => processor.preprocess([{ ...image, height: 31 }]),
      ShapeError,
      /images\[0\]: expected a Uint8Array of 31 x 20 x 3/,
    ],
    [
      () => processor.preprocess([image, picture(30, 50)], { doPad: false }),
      ShapeError,
      /one size with doPad: false, got 36 x 24, 24 x 40/,
    ],
    ...[
      [31, 20],
      [30, 21],
    ].map(([height, width]): (typeof refusals)[number] => [
      () => processor.preprocess([image, picture(height!, width!)], { doPad: false, doResize: false }),
      ShapeError,
      new RegExp(`one size with doPad: false, got 30 x 20, ${height} x ${width}`),
    ]),
    [
      () => processor.preprocess(image, { padSize: 30 }),
      ShapeError,
      /expected padSize to be at least 36 x 24, got 30 x 30/,
    ],
    [
      () => processor.preprocess(image, { size: 5000, maxSize: 9000 }),
      ShapeError,
      /at most 16777216 pixels .* got 7500 x 5000/,
    ],
    [() => processor.preprocess(image, { size: [1, 70000] }), ShapeError, /65536 on a side, got 1 x 70000/],
    [
      () => processor.preprocess(image, { padSize: 10 ** 9 }),
      ShapeError,
      /pictures are padded to at most .* got 1000000000 x 1000000000/,
    ],
    [() => processor.preprocess(picture(1, 4000)), ShapeError, /1 x 4000 would become 0 x 40/],
    [
      () => processor.preprocess(image, { do_resize: false } as never),
      OptionError,
      /unknown option do_resize; did you mean doResize\?/,
    ],
    [
      () => processor.preprocess(image, { colour: 1 } as never),
      OptionError,
      /unknown option colour; known are annotations, /,
    ],
    [
      () => processor.preprocess(image, { resample: 'sinc' as never }),
      OptionError,
      /resample: expected a number from 0 to 5/,
    ],
    [
      () => processor.preprocess(image, { size: [30, 20], maxSize: 40 }),
      OptionError,
      /maxSize: expected beside a size of one number, got size \[30,20\]/,
    ],
    [
      () => new DetrImageProcessor({ size: [30, 20] }, { maxSize: 40 }),
      OptionError,
      /maxSize: expected beside a size of one number, got size \{"height":30,"width":20\}/,
    ],
    [
      () => processor.preprocess(image, { imageMean: [1, 2] }),
      OptionError,
      /of 3 numbers for pictures of 3 channels, got 2 and 3/,
    ],
  ];
  for (const [call, type, message] of refusals) await rejectsWith(call, type, message);
});

test.run();
