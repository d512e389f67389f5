import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  AutoImageProcessor,
  AutoModelForImageSegmentation,
  AutoModelForObjectDetection,
  ConfigError,
  convertCheckpoint,
  DetrForObjectDetection,
  DetrImageProcessor,
  Device,
  DeviceError,
  DeviceLostError,
  DownloadError,
  drawDetections,
  drawSegmentation,
  FileError,
  OptionError,
  openCheckpoint,
  type Pipeline,
  type PipelineInput,
  parseSafetensors,
  pipeline,
  readImage,
  resize,
  resolveModel,
  ShapeError,
  toCocoResults,
  writePng,
} from '../../index.ts';
import { fetchBytes } from '../../weights/index.ts';
import { testData } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { rejectsWith } from '../support/throws.ts';

// What callers without types meet, and whose the device is. The models are the embedded ones, on the cpu device.

const name = 'scenes-detr';
const file = testData('scenes', 'images', 'val_000000.png');
const device = await Device.create({ device: 'cpu', threads: 2 });
test.after(() => device.destroy());

type Refusal = [run: () => unknown, message: RegExp];
const refuse = async (refusals: readonly Refusal[]) => {
  for (const [run, message] of refusals) await rejectsWith(async () => run(), OptionError, message);
};

/** What callers without types can write. */
// biome-ignore lint/suspicious/noExplicitAny: the point of these tests
const untyped = <Value>(value: Value): any => value;

test('options that do not exist are refused wherever options are taken', async () => {
  const model = await AutoModelForObjectDetection.fromPretrained(name, { device });
  const processor = await AutoImageProcessor.fromPretrained(name);
  const image = await readImage(file);
  const inputs = processor.preprocess([image]);
  const detect = await pipeline('object-detection', name, { device });
  const { pixelValues } = inputs;
  await refuse([
    [() => untyped(AutoImageProcessor.fromPretrained)(name, { do_resize: false }), /did you mean doResize\?/],
    [() => untyped(AutoImageProcessor.fromPretrained)(name, { device }), /unknown option device/],
    [() => AutoImageProcessor.fromPretrained(name, { size: -1 }), /DetrImageProcessor: size: expected .* got -1/],
    [
      () => untyped(AutoModelForObjectDetection.fromPretrained)(name, { local_files_only: true }),
      /fromPretrained: unknown option local_files_only; did you mean localFilesOnly\?/,
    ],
    [() => untyped(AutoModelForObjectDetection.fromPretrained)(name, 'cpu'), /fromPretrained: .* got "cpu"/],
    [() => untyped(resolveModel)('owner/model', { cache_dir: '.' }), /hub: .* did you mean cacheDir\?/],
    [() => untyped(processor).preprocess(image, 5), /preprocess: expected an object \{ .* \}, got 5/],
    [() => untyped(model).forward(), /forward: expected an object \{ pixelValues, .* \}, got nothing/],
    [() => untyped(model).forward({ pixelValues, pixel_mask: inputs.pixelMask }), /did you mean pixelMask\?/],
    [() => untyped(model).forward({ pixel_values: pixelValues }), /did you mean pixelValues\?/],
    [() => untyped(model).forward({ pixelValues, return_dict: true }), /forward: unknown option return_dict/],
    [
      () => untyped(model).forward({ pixelValues, outputAttentions: 'no' }),
      /outputAttentions to be true or false, got "no"/,
    ],
    [() => untyped(processor).preprocess(image, { masks: [image] }), /expected annotations beside masks, got none/],
    [
      () => untyped(processor).preprocess(image, { returnSegmentationMasks: 'no' }),
      /returnSegmentationMasks to be true or false, got "no"/,
    ],
    [() => untyped(model).forward({ pixelValues, labels: 'x' }), /labels: expected a list of .* got "x"/],
    [() => untyped(model).forward({ pixelValues, labels: [5] }), /labels: expected a list of .* got \[5\]/],
    [() => untyped(pipeline)('object-detection', name, { treshold: 1 }), /pipeline: unknown option treshold/],
    [() => untyped(detect)(file, 0.9), /pipeline: expected an object \{ threshold, percentage \}, got 0.9/],
    [() => untyped(detect)(file, { treshold: 0.9 }), /pipeline: unknown option treshold; known are threshold/],
    [() => untyped(detect)(file, { topK: 5 }), /pipeline: unknown option topK/],
    [() => untyped(detect)(file, { percentage: 1 }), /pipeline: expected percentage to be true or false, got 1/],
    [() => detect('absent.png', { threshold: 1.5 }), /pipeline: expected threshold from 0 to 1, got 1.5/],
  ]);
  await model.dispose();
});

test('what is no model, picture, tensor or detection is refused in words', async () => {
  const model = await AutoModelForObjectDetection.fromPretrained(name, { device });
  const processor = await AutoImageProcessor.fromPretrained(name);
  const image = await readImage(file);
  const outputs = await model.forward(processor.preprocess(image));
  const detect = await pipeline('object-detection', name, { device });
  const [found] = processor.postProcessObjectDetection(outputs);
  const tooLong = 'A'.repeat(1_000_000);
  for (const run of [() => readImage(tooLong), () => detect(tooLong), () => openCheckpoint(tooLong)]) {
    await rejectsWith(run, FileError, /^A{100}…: the name is too long$/);
  }
  await refuse([
    [() => untyped(pipeline)('object-detection'), /fromPretrained: expected a model's folder, .* got nothing/],
    [() => untyped(AutoModelForObjectDetection.fromPretrained)(), /expected a model's folder, .* got nothing/],
    [() => AutoModelForObjectDetection.fromPretrained(''), /expected a model's folder, .* got ""/],
    [() => AutoImageProcessor.fromPretrained(''), /expected a model's folder, .* got ""/],
    [
      () => untyped(AutoModelForObjectDetection.fromPretrained)(name, { device: 'gpu' }),
      /expected a Device, auto, webgpu or cpu as device, got "gpu"/,
    ],
    [() => detect(untyped(null)), /pipeline: expected a path, .* got null/],
    [() => detect(untyped(readImage(file))), /pipeline: expected a path, .* got a promise, which is to be awaited/],
    [() => readImage(untyped(Promise.resolve(file))), /readImage: .* got a promise/],
    [() => readImage('data:image/png;base64,AAAA'), /readImage: .* got data:.*; pipelines take such addresses/],
    [() => device.tensor(untyped(undefined)), /tensor: expected \{ shape, data \} with a Float32Array or Int32Array/],
    [() => resolveModel(untyped(undefined)), /hub: expected a model folder or a name on the hub, got nothing/],
    [() => openCheckpoint(untyped(undefined)), /openCheckpoint: expected a path, got nothing/],
    [
      () => DetrForObjectDetection.fromSource({}, untyped({ tensors: new Map() })),
      /fromSource: expected a source \{ name, tensors, read \}, got /,
    ],
    [
      () => DetrForObjectDetection.fromSource({}, untyped('x.safetensors')),
      /fromSource: expected a source \{ name, tensors, read \}, got "x.safetensors"/,
    ],
    [
      () => toCocoResults(1, untyped({ scores: [], labels: [], boxes: [[1]] })),
      /image 1: boxes: expected \{ shape, data \}/,
    ],
    [() => toCocoResults(1, untyped(null)), /image 1: scores: expected \{ shape, data \}/],
    [() => writePng(untyped(5), image), /writePng: expected a path or a file: URL, got 5/],
    [() => writePng('https://example.org/a.png', image), /writePng: expected a path or a file: URL, got https:/],
    [() => parseSafetensors(untyped('x')), /parseSafetensors: expected a file's bytes, got "x"/],
    [() => untyped(convertCheckpoint)('x'), /convertCheckpoint: expected destination to be a path, got nothing/],
    [() => drawDetections(image, untyped(found)), /drawDetections: expected a list of \{ label, .* got \{"scores"/],
    [
      () => drawDetections(image, untyped([{ label: 'a', labelId: 1, box: { xmin: 1 } }])),
      /expected a box of left, top, .* got \{"xmin":1\}/,
    ],
    [
      () => drawSegmentation(image, { ...image, data: new Uint8Array(image.width * image.height) }, untyped({})),
      /drawSegmentation: expected a list of/,
    ],
  ]);
  const wrongShapes: Refusal[] = [
    [() => model.warmup(-1, 5), /warmup: expected a positive height, got -1/],
    [() => device.empty(untyped(undefined)), /empty: expected whole sizes from 0, got nothing/],
    [() => resize(image, 70_000, 70_000), /resize: expected at most 2147483647 bytes, got 70000 x 70000/],
    [() => processor.preprocess(untyped(new Array(2))), /images\[0\]: expected a picture .*, got nothing/],
    [() => processor.preprocess(untyped([readImage(file)])), /images\[0\]: expected a picture, got a promise/],
    [
      () => model.forward({ pixelValues: untyped({ dims: [1, 3, 8, 8], data: new Float32Array(192) }) }),
      /pixelValues: expected a tensor \[B, 3, H, W\] as \{ shape, data \}, got \{"dims":\[1,3,8,8\],"data":"Float32Array"\}/,
    ],
    [() => model.forward({ pixelValues: untyped([[[[0]]]]) }), /as \{ shape, data \}, got \[\[\[/],
    [() => drawSegmentation(image, untyped(undefined), []), /drawSegmentation: expected a map/],
    [
      () => drawSegmentation(image, { shape: [1, image.height, image.width], data: new Int32Array(1) }, []),
      /drawSegmentation: expected a map of two axes, got \[1, /,
    ],
    [() => model.predict({ pixelValues: untyped(5) }), /^predict: pixelValues: expected a tensor .*, got 5/],
    [
      () => processor.postProcessObjectDetection({ ...outputs, pred_boxes: untyped(null) }),
      /expected pred_boxes \[1, 25, 4\], got null/,
    ],
    [
      () => processor.postProcessObjectDetection({ ...outputs, logits: untyped({ shape: [1, 25, 7], data: [0] }) }),
      /expected logits .*, got data of \[0\] instead of a Float32Array/,
    ],
  ];
  for (const [run, message] of wrongShapes) await rejectsWith(async () => run(), ShapeError, message);
  await model.dispose();
  await rejectsWith(() => model.warmup(64, 64), DeviceError, /DetrForObjectDetection: .* got one that was disposed/);
});

test('a misspelled embedded model is suggested, and no hub is asked', async () => {
  const options = { endpoint: 'http://127.0.0.1:1' };
  const message = /scenes-dter: no such folder and no such embedded model, did you mean "scenes-detr"\?/;
  await rejectsWith(() => AutoModelForObjectDetection.fromPretrained('scenes-dter', options), FileError, message);
  await rejectsWith(() => AutoImageProcessor.fromPretrained('scenes-dter', options), FileError, message);
  // Somebody's own model may be called so.
  const own = () =>
    AutoImageProcessor.fromPretrained('me/scenes-detr', {
      ...options,
      attempts: 1,
      cacheDir: temporaryFolder('cache'),
    });
  await rejectsWith(own, DownloadError, /^me\/scenes-detr: cannot ask http/);
});

test('a model of another kind is refused by its type', async () => {
  const folder = temporaryFolder('type');
  for (const type of ['vit', 'constructor', 5, undefined]) {
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ model_type: type }));
    const message = /model_type: expected one of detr, conditional_detr, deformable_detr for object detection, got /;
    await rejectsWith(() => AutoModelForObjectDetection.fromPretrained(folder, { device }), ConfigError, message);
  }
  writeFileSync(join(folder, 'config.json'), '{"model_type":"deformable_detr"}');
  const message = /model_type: expected one of detr, conditional_detr for image segmentation, got "deformable_detr"/;
  await rejectsWith(() => AutoModelForImageSegmentation.fromPretrained(folder, { device }), ConfigError, message);
});

test('a source that gives another shape than it announces is refused', async () => {
  const { config } = await DetrForObjectDetection.fromPretrained(name, { device });
  const shapes = new Map(new DetrForObjectDetection(config).parameters());
  const source = {
    name: 'mine',
    tensors: new Map([...shapes].map(([name, shape]) => [name, { shape, dtype: 'F32' }])),
    read: async (name: string) => {
      const shape = name === 'class_labels_classifier.bias' ? [1] : shapes.get(name)!;
      return { shape, data: new Float32Array(shape.reduce((product, size) => product * size, 1)) };
    },
    close: async () => {},
  };
  const message = /^mine: tensor "class_labels_classifier\.bias": expected \[\d+\], got \[1\]$/;
  await rejectsWith(() => DetrForObjectDetection.fromSource(config, source, { device }), ShapeError, message);
});

test('settings given to fromPretrained take the place of the file’s', async () => {
  const processor = await AutoImageProcessor.fromPretrained(name, {
    size: { shortestEdge: 96, longestEdge: 128 },
    doNormalize: false,
    imageMean: null,
  });
  const { settings } = await AutoImageProcessor.fromPretrained(name);
  assert.equal(processor.settings, {
    ...settings,
    size: { shortestEdge: 96, longestEdge: 128 },
    doNormalize: false,
  });
  assert.equal(processor.preprocess(await readImage(file)).pixelValues.shape.slice(0, 2), [1, 3]);
});

test('what a caller changes after a call changes nothing', async () => {
  const model = await AutoModelForImageSegmentation.fromPretrained('scenes-detr-panoptic', { device });
  const inputs = new DetrImageProcessor().preprocess(await readImage(file), { size: { height: 64, width: 64 } });
  const boxes = { shape: [1, 4], data: Float32Array.of(0.5, 0.5, 0.2, 0.2) };
  const masks = { shape: [1, 64, 64], data: Buffer.alloc(64 * 64, 1) };
  const labels = [{ classLabels: [1], boxes, masks }];
  const expected = (await model.forward({ ...inputs, labels })).loss;
  assert.equal(Object.keys(await model.predict({ ...inputs, labels })).sort(), ['logits', 'pred_boxes', 'pred_masks']);
  const pass = model.forward({ ...inputs, labels });
  labels[0]!.classLabels[0] = 2;
  boxes.data.fill(0.1);
  masks.data.fill(0);
  labels.length = 0;
  inputs.pixelValues.data.fill(0);
  assert.equal((await pass).loss, expected);
  await model.dispose();

  const detect = await pipeline('object-detection', name, { device });
  const options = { threshold: 0.5 };
  const found = await detect(file, options);
  const calls = detect([file, file], options);
  options.threshold = 2;
  assert.equal(await calls, [found, found]);
  await detect.dispose();
});

test('what a caller got is the caller’s own', async () => {
  const [tensor, other] = [1, 2].map(value => device.tensor({ shape: [2, 2], data: new Float32Array(4).fill(value) }));
  const { shape } = await tensor!.read();
  (shape as number[])[0] = 40;
  assert.equal(await tensor!.read(), { shape: [2, 2], data: new Float32Array(4).fill(1) });
  tensor!.dispose();
  other!.dispose();

  const image_mean = [0.5, 0.5, 0.5];
  const processor = new DetrImageProcessor({ image_mean });
  image_mean[0] = 9;
  assert.equal(processor.settings.imageMean, [0.5, 0.5, 0.5]);
  const { settings } = new DetrImageProcessor();
  (settings.imageMean as number[])[0] = 9;
  assert.is(new DetrImageProcessor().settings.imageMean[0], 0.485);
});

test('options of undefined are options left out', async () => {
  const own = await Device.create({ device: 'cpu', threads: undefined, revectorize: undefined });
  await own.destroy();
  const model = await AutoModelForImageSegmentation.fromPretrained('scenes-detr-panoptic', { device });
  const left = { size: undefined, doResize: undefined, imageMean: undefined, padSize: undefined };
  const processor = await AutoImageProcessor.fromPretrained('scenes-detr-panoptic', { ...left, backend: undefined });
  const image = await readImage(file, { maxPixels: undefined, exifTranspose: undefined, name: undefined });
  const plain = await AutoImageProcessor.fromPretrained('scenes-detr-panoptic');
  const inputs = processor.preprocess(image, {
    ...left,
    annotations: undefined,
    returnSegmentationMasks: undefined,
    masks: undefined,
    masksPath: undefined,
  });
  assert.equal(inputs, plain.preprocess(image));
  const outputs = await model.forward({ ...inputs, outputAttentions: undefined, outputHiddenStates: undefined });
  const thresholds = { threshold: undefined, maskThreshold: undefined, overlapMaskAreaThreshold: undefined };
  const instances = { ...thresholds, targetSizes: undefined };
  assert.equal(
    plain.postProcessPanopticSegmentation(outputs, { ...instances, labelIdsToFuse: undefined }),
    plain.postProcessPanopticSegmentation(outputs),
  );
  assert.equal(
    plain.postProcessInstanceSegmentation(outputs, { ...instances, returnCocoAnnotation: undefined }),
    plain.postProcessInstanceSegmentation(outputs),
  );
  assert.equal(
    plain.postProcessObjectDetection(outputs, { threshold: undefined, targetSizes: undefined }),
    plain.postProcessObjectDetection(outputs),
  );
  const [found] = plain.postProcessPanopticSegmentation(outputs, { targetSizes: [[image.height, image.width]] });
  const segments = found!.segmentsInfo.map(({ id, labelId }) => ({ id, labelId, label: 'a', score: undefined }));
  const { height, width } = image;
  assert.equal(
    drawSegmentation(image, found!.segmentation, segments),
    drawSegmentation(image, { height, width, data: found!.segmentation.data }, segments),
  );
  await model.dispose();
});

test('a model destroys the device that it created, and no other', async () => {
  const own = await AutoModelForObjectDetection.fromPretrained(name, { device: 'cpu' });
  assert.is(own.device.kind, 'cpu');
  const pixelValues = { shape: [1, 3, 64, 64], data: new Float32Array(3 * 64 * 64) };
  const pass = own.forward({ pixelValues });
  const disposed = own.dispose();
  assert.is((await pass).logits.shape[0], 1, 'passes under way end first');
  await disposed;
  await own.dispose();
  await rejectsWith(() => own.device.finish(), DeviceLostError, /the device was destroyed/);

  const detect = await pipeline('object-detection', name, { device: 'cpu' });
  await detect.dispose();
  const guest = await AutoModelForObjectDetection.fromPretrained(name, { device });
  await guest.dispose();
  await device.finish();
});

test('await using disposes of devices, models and pipelines', async () => {
  let kept: Device;
  {
    await using model = await AutoModelForObjectDetection.fromPretrained(name, { device: 'cpu' });
    await using other = await Device.create({ device: 'cpu', threads: 1 });
    await using _detect = await pipeline('object-detection', name, { device: other });
    kept = model.device;
  }
  await rejectsWith(() => kept.finish(), DeviceLostError, /the device was destroyed/);
});

test('a pipeline that is disposed of waits for its calls', async () => {
  const detect = await pipeline('object-detection', name, { device: 'cpu' });
  const calls = [detect(file), detect([file, file])];
  await detect.dispose();
  assert.equal((await calls[1])!.length, 2);
  assert.equal((await Promise.all(calls)).length, 2);
  await rejectsWith(() => detect(file), DeviceError, /got one that was disposed/);
});

test('pixels and bytes given to a pipeline count as they are at the call', async () => {
  const detect = await pipeline('object-detection', name, { device });
  const { width, height, channels, data } = await readImage(file);
  const bytes = readFileSync(file);
  const expected = await detect(file);
  const reused = { width, height, channels, data: data.slice() };
  const calls = [detect(reused), detect([file, bytes, reused])] as const;
  reused.data.fill(0);
  bytes.fill(0);
  assert.equal(await calls[0], expected);
  assert.equal(await calls[1], [expected, expected, expected]);
  await detect.dispose();
});

test('boxes are given as parts of the picture when asked for', async () => {
  const detect = await pipeline('object-detection', name, { device });
  const { width, height } = await readImage(file);
  const [pixels, parts] = [await detect(file), await detect(file, { percentage: true })];
  assert.ok(pixels.length > 0);
  for (const [index, { box }] of pixels.entries()) {
    assert.ok(Math.abs(parts[index]!.box.xmax * width - box.xmax) < 1e-3);
    assert.ok(Math.abs(parts[index]!.box.ymin * height - box.ymin) < 1e-3);
  }
});

test('pipelines take paths, addresses, bytes and pixels', async () => {
  const bytes = readFileSync(file);
  const server = createServer((request, response) => {
    if (request.url === '/moved.png') response.writeHead(302, { location: '/picture.png' }).end();
    else if (request.url === '/picture.png') response.end(bytes);
    else if (request.url === '/chunks') response.write(bytes, () => response.end());
    else if (request.url === '/endless') response.writeHead(200, { 'content-length': 1e12 }).write(bytes);
    else response.writeHead(404).end();
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const detect: Pipeline<object, object> = await pipeline('object-detection', name, { device });
    const { width, height, data } = await readImage(file);
    const rgba = new Uint8ClampedArray(width * height * 4);
    for (let pixel = 0; pixel < width * height; pixel++) rgba.set(data.subarray(3 * pixel, 3 * pixel + 3), 4 * pixel);
    const base64 = `data:image/png;base64,${bytes.toString('base64')}`;
    const inputs: readonly PipelineInput[] = [
      ...[pathToFileURL(file), pathToFileURL(file).href],
      ...[`${origin}/picture.png`, new URL(`${origin}/moved.png`), base64],
      ...[bytes, new Uint8Array(bytes).buffer, { width, height, channels: 3, data }, { width, height, data: rgba }],
    ];
    const expected = await detect(file);
    for (const [index, result] of (await detect(inputs)).entries()) {
      assert.equal(result, expected, `input ${index}`);
    }
    await rejectsWith(() => detect(`${origin}/absent`), DownloadError, /cannot download http.*absent: .* answered 404/);
    await rejectsWith(() => detect(`${origin}/endless`), DownloadError, /at most \d+ bytes, got more/);
    const bounded = (path: string) => fetchBytes(new URL(path, origin), bytes.length - 1);
    await rejectsWith(() => bounded('/picture.png'), DownloadError, /at most \d+ bytes, got more/);
    await rejectsWith(() => bounded('/chunks'), DownloadError, /at most \d+ bytes, got more/);
    await rejectsWith(() => detect('ftp://127.0.0.1/x.png'), FileError, /no such file/);
    const damaged = await rejectsWith(() => detect(base64.slice(0, -4000)), FileError, /^data: address: /);
    assert.ok(damaged.message.length < 200);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('the processor is the one that preprocessor_config.json names, else that of the model', async () => {
  const folder = temporaryFolder('processor');
  const write = (file: string, value: object) => writeFileSync(join(folder, file), JSON.stringify(value));
  const named = async (preprocessor: object) => {
    write('preprocessor_config.json', { size: 20, ...preprocessor });
    return (await AutoImageProcessor.fromPretrained(folder)).constructor.name;
  };
  assert.is(await named({ image_processor_type: 'DetrImageProcessorFast' }), 'DetrImageProcessor');
  assert.is(await named({ image_processor_type: 'DetrImageProcessorPil' }), 'DetrImageProcessor');
  await rejectsWith(() => named({}), FileError, /config\.json: no such file/);
  write('config.json', { model_type: 'conditional_detr' });
  assert.is(await named({}), 'ConditionalDetrImageProcessor');
  assert.is(await named({ feature_extractor_type: 'DeformableDetrFeatureExtractor' }), 'DeformableDetrImageProcessor');
  assert.is(
    await named({ image_processor_type: 'DetrImageProcessor', feature_extractor_type: 'ViTFeatureExtractor' }),
    'DetrImageProcessor',
  );
  const unknown = /image_processor_type: expected one of DetrImageProcessor, .* got "ViTImageProcessor"/;
  await rejectsWith(() => named({ image_processor_type: 'ViTImageProcessor' }), ConfigError, unknown);
});

test('the obvious program for segmentation compiles and runs', async () => {
  const model = await AutoModelForImageSegmentation.fromPretrained('scenes-detr-panoptic', { device });
  const processor = await AutoImageProcessor.fromPretrained('scenes-detr-panoptic');
  const image = await readImage(file);
  const outputs = await model.forward(processor.preprocess([image]));
  const targetSizes = [[image.height, image.width]] as const;
  const [found] = processor.postProcessPanopticSegmentation(outputs, { threshold: 0.5, targetSizes });
  const { width, height } = image;
  const map = { width, height, data: found!.segmentation.data };
  const segments = found!.segmentsInfo.map(({ id, labelId, score }) => {
    return { id, labelId, score, label: model.config.id2label[labelId]! };
  });
  assert.ok(segments.length > 0);
  assert.ok(drawSegmentation(image, map, segments).height > height);
  await model.dispose();
  const deformable = await AutoImageProcessor.fromPretrained('scenes-deformable-detr');
  const message = /postProcess\w+: expected the processor of a model that segments, got DeformableDetrImageProcessor/;
  await refuse([
    [() => deformable.postProcessPanopticSegmentation(outputs), message],
    [() => deformable.postProcessInstanceSegmentation(outputs), message],
    [() => deformable.postProcessSemanticSegmentation(outputs), message],
    [() => pipeline('image-segmentation', 'scenes-deformable-detr', { device }), /pipeline: .* that segments, got/],
  ]);
});

test.run();
