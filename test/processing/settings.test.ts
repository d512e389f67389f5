import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError, FileError, OptionError, ShapeError } from '../../engine/errors.ts';
import {
  ConditionalDetrFeatureExtractor,
  ConditionalDetrImageProcessor,
  DeformableDetrFeatureExtractor,
  DeformableDetrImageProcessor,
  DetrFeatureExtractor,
  DetrImageProcessor,
} from '../../models/processing/processors.ts';
import { parseConfig, type Size } from '../../models/processing/settings.ts';
import { targetSize } from '../../models/processing/target-size.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { rejectsWith } from '../support/throws.ts';

// As published with facebook/detr-resnet-50 …
const oldConfig = {
  do_normalize: true,
  do_resize: true,
  feature_extractor_type: 'DetrFeatureExtractor',
  format: 'coco_detection',
  image_mean: [0.485, 0.456, 0.406],
  image_std: [0.229, 0.224, 0.225],
  max_size: 1333,
  size: 800,
};
// … and as transformers 5 writes it.
const newConfig = {
  do_convert_annotations: true,
  do_normalize: true,
  do_pad: true,
  do_rescale: true,
  do_resize: true,
  format: 'coco_detection',
  image_mean: [0.485, 0.456, 0.406],
  image_processor_type: 'DetrImageProcessor',
  image_std: [0.229, 0.224, 0.225],
  resample: 2,
  rescale_factor: 0.00392156862745098,
  size: { longest_edge: 1333, shortest_edge: 800 },
};

test('the old form, the new form and nothing at all say the same', () => {
  const settings = parseConfig(newConfig, 'test');
  assert.equal(settings, {
    format: 'coco_detection',
    doResize: true,
    size: { shortestEdge: 800, longestEdge: 1333 },
    resample: 'bilinear',
    doRescale: true,
    rescaleFactor: 0.00392156862745098,
    doNormalize: true,
    imageMean: [0.485, 0.456, 0.406],
    imageStd: [0.229, 0.224, 0.225],
    doConvertAnnotations: true,
    doPad: true,
    padSize: undefined,
  });
  assert.equal(parseConfig(oldConfig, 'test'), settings);
  assert.equal(parseConfig({}, 'test'), settings);
});

test('null is a no for what can be left out, and the default of all else', () => {
  const flags = { do_resize: null, do_rescale: null, do_normalize: null, do_pad: null, do_convert_annotations: null };
  const settings = parseConfig({ ...flags, pad_and_return_pixel_mask: true, image_mean: null }, 'test');
  assert.equal(settings, {
    ...parseConfig({}, 'test'),
    doResize: false,
    doRescale: false,
    doNormalize: false,
    doPad: false,
    doConvertAnnotations: false,
  });
  assert.is(parseConfig({ do_convert_annotations: null }, 'test').doConvertAnnotations, false);
  assert.is(parseConfig({ pad_and_return_pixel_mask: null }, 'test').doPad, false);
});

test('overrides go before the configuration, but for those that are null or not given', () => {
  const config = { size: { height: 4, width: 6 }, do_pad: false, image_mean: 0.25 };
  const overrides = { size: undefined, doPad: undefined, imageMean: null, imageStd: null, doResize: false } as object;
  assert.equal(parseConfig(config, 'test', overrides), { ...parseConfig(config, 'test'), doResize: false });
});

test('every form of size, padding and filter', () => {
  const sizes: [config: object, size: Size][] = [
    [{ size: 600 }, { shortestEdge: 600, longestEdge: 1333 }],
    [
      { size: 600, max_size: 1000 },
      { shortestEdge: 600, longestEdge: 1000 },
    ],
    [
      { size: 600, max_size: null },
      { shortestEdge: 600, longestEdge: 1333 },
    ],
    [
      { size: { shortest_edge: 5, longest_edge: 9 }, max_size: 7 },
      { shortestEdge: 5, longestEdge: 9 },
    ],
    [{ size: [4, 6] }, { height: 4, width: 6 }],
    [{ size: { width: 6, height: 4 } }, { height: 4, width: 6 }],
    [{ size: { max_height: 4, max_width: 6 } }, { maxHeight: 4, maxWidth: 6 }],
    [{ size: { shortest_edge: 5, longest_edge: 9, height: null } }, { shortestEdge: 5, longestEdge: 9 }],
    [{ size: null }, { shortestEdge: 800, longestEdge: 1333 }],
  ];
  for (const [config, size] of sizes)
    assert.equal(parseConfig({ ...config }, 'test').size, size, JSON.stringify(config));
  for (const [resample, filter] of ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'].entries()) {
    assert.is(parseConfig({ resample }, 'test').resample, filter);
    assert.is(parseConfig({ resample: filter }, 'test').resample, filter);
  }
  assert.equal(parseConfig({ pad_size: 7 }, 'test').padSize, { height: 7, width: 7 });
  assert.equal(parseConfig({ pad_size: [7, 8] }, 'test').padSize, { height: 7, width: 8 });
  assert.equal(parseConfig({ pad_size: { height: 7, width: 8 } }, 'test').padSize, { height: 7, width: 8 });
  assert.equal(parseConfig({ image_mean: 0.5 }, 'test').imageMean, [0.5, 0.5, 0.5]);
  assert.is(parseConfig({ pad_and_return_pixel_mask: false }, 'test').doPad, false);
  assert.is(parseConfig({ pad_and_return_pixel_mask: false, do_pad: true }, 'test').doPad, true);
  assert.is(parseConfig({ do_normalize: false }, 'test').doConvertAnnotations, false);
  assert.is(parseConfig({ do_normalize: false, do_convert_annotations: true }, 'test').doConvertAnnotations, true);
});

test('values that mean nothing are refused by key', async () => {
  const refusals: [config: object, message: RegExp][] = [
    [
      { size: { shortest_edge: 800 } },
      /^test: size: expected \{ shortest_edge, longest_edge \}.* got \{"shortest_edge":800\}$/,
    ],
    [{ size: { shortest_edge: 800, longest_edge: 0 } }, /size: expected .* got /],
    [{ size: { height: 8, width: 8, longest_edge: 9 } }, /size: expected/],
    [{ size: -5 }, /size: expected .* got -5/],
    [{ size: 7.5 }, /size: expected .* got 7.5/],
    [{ size: '800' }, /size: expected .* got "800"/],
    [{ size: [1, 2, 3] }, /size: expected .* got \[1,2,3\]/],
    [{ max_size: 'large' }, /max_size: expected a positive whole number of pixels, got "large"/],
    [{ resample: 6 }, /resample: expected a number from 0 to 5 or one of nearest, .* got 6/],
    [{ resample: 'cubic' }, /resample: .* got "cubic"/],
    [{ do_resize: 1 }, /do_resize: expected true or false, got 1/],
    [{ rescale_factor: '1/255' }, /rescale_factor: expected a number/],
    [{ image_mean: [] }, /image_mean: expected a number or a list of numbers, got \[\]/],
    [{ image_std: [1, 0, 1] }, /image_std: .* none of them 0, got \[1,0,1\]/],
    [{ format: 'yolo' }, /format: expected coco_detection or coco_panoptic, got "yolo"/],
    [{ pad_size: { height: 5 } }, /pad_size: expected/],
  ];
  for (const [config, message] of refusals) {
    await rejectsWith(() => parseConfig({ ...config }, 'test'), ConfigError, message);
  }
  await rejectsWith(() => parseConfig([] as never, 'test'), ConfigError, /test: expected a JSON object, got \[\]/);
  await rejectsWith(() => new DetrImageProcessor({ size: 0 }), ConfigError, /^DetrImageProcessor: size: expected/);
  const backend = 'opencv' as 'pil';
  await rejectsWith(
    () => new DetrImageProcessor({}, { backend }),
    OptionError,
    /expected backend pil or torchvision, got opencv/,
  );
});

test('fromPretrained reads a model folder', async () => {
  const folder = temporaryFolder('processor');
  const write = (name: string, content: string) => {
    mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(join(folder, name, 'preprocessor_config.json'), content);
    return join(folder, name);
  };
  const processor = await DeformableDetrImageProcessor.fromPretrained(
    write('old', JSON.stringify({ ...oldConfig, size: 480 })),
  );
  assert.ok(processor instanceof DeformableDetrImageProcessor);
  assert.equal(processor.settings.size, { shortestEdge: 480, longestEdge: 1333 });
  const v4 = await DetrImageProcessor.fromPretrained(write('new', JSON.stringify(newConfig)), { behaviour: 'v4' });
  assert.is(v4.behaviour, 'v4');

  const absent = join(folder, 'absent');
  await rejectsWith(() => DetrImageProcessor.fromPretrained(absent), FileError, /absent: no such folder/);
  mkdirSync(join(folder, 'empty'));
  await rejectsWith(
    () => DetrImageProcessor.fromPretrained(join(folder, 'empty')),
    FileError,
    /empty: expected preprocessor_config\.json, which says how pictures are prepared; copy that of the model/,
  );
  const broken = write('broken', '{"size": 8');
  await rejectsWith(
    () => DetrImageProcessor.fromPretrained(broken),
    FileError,
    /broken\/preprocessor_config\.json: expected JSON, got/,
  );
  const wrong = write('wrong', '{"size": {"edge": 5}}');
  const message = /wrong\/preprocessor_config\.json: DetrImageProcessor: size: expected .* got \{"edge":5\}/;
  await rejectsWith(() => DetrImageProcessor.fromPretrained(wrong), ConfigError, message);
});

test('the old names are the new classes', () => {
  assert.ok(new DetrFeatureExtractor(oldConfig) instanceof DetrImageProcessor);
  assert.ok(new ConditionalDetrFeatureExtractor() instanceof ConditionalDetrImageProcessor);
  assert.ok(new DeformableDetrFeatureExtractor() instanceof DeformableDetrImageProcessor);
});

test('target sizes are Python’s', async () => {
  const published: Size = { shortestEdge: 800, longestEdge: 1333 };
  // height, width → transformers 5.18 get_size_with_aspect_ratio, and 4.34's where it differs.
  const cases: [height: number, width: number, v5: [number, number], v4?: [number, number]][] = [
    [480, 640, [800, 1066]],
    [640, 480, [1066, 800]],
    [800, 800, [800, 800]],
    [800, 1000, [800, 1000]],
    [500, 500, [800, 800]],
    [375, 1242, [402, 1333], [402, 1331]],
    [1242, 375, [1333, 402], [1331, 402]],
    [10, 1000, [13, 1333], [13, 1300]],
    [427, 640, [800, 1199]],
    [333, 500, [800, 1201]],
    // The short side is what it would become, although the long one exceeds the limit.
    [402, 1334, [402, 1334]],
    [1334, 402, [1334, 402]],
  ];
  for (const [height, width, v5, v4 = v5] of cases) {
    assert.equal(targetSize(height, width, published, 'v5'), v5, `${height} x ${width}`);
    assert.equal(targetSize(height, width, published, 'v4'), v4, `${height} x ${width}, version 4`);
  }
  // Half-way cases of the short edge go to the even neighbour: 5 · 1 / 2 = 2.5, 7 · 1 / 2 = 3.5.
  assert.equal(targetSize(10, 20, { shortestEdge: 9, longestEdge: 5 }, 'v5'), [2, 5]);
  assert.equal(targetSize(10, 20, { shortestEdge: 9, longestEdge: 7 }, 'v5'), [4, 7]);
  assert.equal(targetSize(100, 200, { maxHeight: 50, maxWidth: 50 }, 'v5'), [25, 50]);
  assert.equal(targetSize(100, 200, { maxHeight: 200, maxWidth: 500 }, 'v5'), [200, 400]);
  assert.equal(targetSize(3, 5, { height: 11, width: 2 }, 'v5'), [11, 2]);
  await rejectsWith(() => targetSize(1, 9000, published, 'v5'), ShapeError, /1 x 9000 would become 0 x 1333/);
});

test.run();
