import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { CpuDevice } from '../../engine/cpu/cpu-device.ts';
import { DeviceLostError, FileError, OutOfMemoryError, ShapeError } from '../../engine/errors.ts';
import { Device, type DeviceOptions } from '../../engine/index.ts';
import { AutoImageProcessor, AutoModelForImageSegmentation, AutoModelForObjectDetection } from '../../models/auto.ts';
import { DetrForObjectDetection } from '../../models/detr.ts';
import type { Image } from '../../models/images/image.ts';
import type { ForwardInputs } from '../../models/inputs.ts';
import { embeddedModels } from '../../models/pretrained.ts';
import { Random } from '../fuzz/random.ts';

export interface SoakOptions {
  /** Forward passes in all. */
  readonly passes: number;
  /** Forward passes with one device, after the first one of each model. */
  readonly passesPerDevice: number;
  readonly device: DeviceOptions;
  readonly seed: number;
  readonly onSample?: (sample: SoakSample) => void;
}

/** What the process held at the end of a device's life. */
export interface SoakSample {
  readonly devices: number;
  readonly passes: number;
  readonly errors: number;
  /** The device's own count, with all models loaded and nothing else. */
  readonly liveBytes: number;
  readonly reservedBytes: number;
  /** After the device was destroyed and garbage collected. */
  readonly residentBytes: number;
  readonly handles: number;
}

const MEGABYTE = 1e6;
/** What garbage collection, the allocator's steps and pooled buffers may add or not. */
const slack = { liveBytes: 0, reservedBytes: 34 * MEGABYTE, residentBytes: 64 * MEGABYTE, handles: 0 };

/** Short edges of pictures, in pixels. */
const edges = [48, 64, 96, 128];
const MAXIMUM_BATCH = 3;

/**
 * Forward passes of all embedded models with mixed sizes and batches, devices made and destroyed, errors injected.
 * @throws Error when a pass gives another result than before or an injected error is another than it should be
 */
export async function soak(options: SoakOptions): Promise<SoakSample[]> {
  const random = new Random('soak', options.seed);
  const samples: SoakSample[] = [];
  const expected = new Map<string, Float32Array>();
  for (let passes = 0, errors = 0; passes < options.passes; ) {
    const device = await Device.create(options.device);
    const life = await liveOnce(device, Math.min(options.passesPerDevice, options.passes - passes), random, expected);
    passes += life.passes;
    errors += life.errors;
    await device.destroy();
    await collectGarbage();
    const sample = {
      ...{ devices: samples.length + 1, passes, errors, liveBytes: life.liveBytes, reservedBytes: life.reservedBytes },
      residentBytes: process.memoryUsage.rss(),
      handles: process.getActiveResourcesInfo().length,
    };
    samples.push(sample);
    options.onSample?.(sample);
  }
  return samples;
}

/**
 * What grew over a soak, in words; nothing when all is flat. The first third of the devices pay for what is made once, such
 * as the heap of a software adapter, which compiles shaders within the process.
 */
export function growthOf(samples: readonly SoakSample[]): string[] {
  const settled = samples.slice(Math.ceil(samples.length / 3));
  if (settled.length < 2) throw new Error('expected at least three devices to compare');
  const half = Math.ceil(settled.length / 2);
  return (Object.keys(slack) as (keyof typeof slack)[]).flatMap(key => {
    const least = (some: readonly SoakSample[]) => Math.min(...some.map(sample => sample[key]));
    const before = least(settled.slice(0, half));
    const after = least(settled.slice(half));
    return after > before + slack[key] ? [`${key} grew from ${before} to ${after}`] : [];
  });
}

type Model = Awaited<ReturnType<typeof loadModel>>;

const loadModel = async (name: (typeof embeddedModels)[number], device: Device) => ({
  name,
  processor: await AutoImageProcessor.fromPretrained(name),
  model: name.includes('panoptic')
    ? await AutoModelForImageSegmentation.fromPretrained(name, { device })
    : await AutoModelForObjectDetection.fromPretrained(name, { device }),
});

async function liveOnce(device: Device, count: number, random: Random, expected: Map<string, Float32Array>) {
  const models: Model[] = [];
  for (const name of embeddedModels) models.push(await loadModel(name, device));
  // The largest inputs first, so that memory has grown before it is watched.
  const largest = Math.max(...edges);
  const same = inputsOf(
    models[0]!,
    Array.from({ length: MAXIMUM_BATCH }, () => picture(largest, 2 * largest, new Random('same'))),
    largest,
  );
  for (const { name, model } of models) {
    const { logits } = await model.forward(same);
    const before = expected.get(name) ?? logits.data;
    expected.set(name, before);
    if (!logits.data.every((value, index) => Object.is(value, before[index]))) throw new Error(`${name}: other logits`);
  }
  const liveBytes = liveBytesOf(device);
  let errors = 0;
  for (let pass = 0; pass < count; pass++) {
    await onePass(random.pick(models), random);
    errors += await injectError(random.pick(models), device, random);
    const left = liveBytesOf(device);
    if (left !== liveBytes) throw new Error(`liveBytes: expected ${liveBytes} after every pass, got ${left}`);
  }
  const { reservedBytes } = device.memory;
  // Half of the devices are destroyed at work, the others in good order.
  if (random.chance(0.5)) {
    const lost = expectError(models[0]!.model.forward(same), DeviceLostError);
    await new Promise(resolve => setImmediate(resolve));
    await device.destroy();
    errors += await lost;
  } else {
    for (const { model } of models) model.dispose();
    if (liveBytesOf(device) !== 0) throw new Error(`liveBytes: expected 0 without models, got ${liveBytesOf(device)}`);
  }
  return { passes: count, errors, liveBytes, reservedBytes };
}

/** Bytes of tensors. */
const liveBytesOf = (device: Device) =>
  device.memory.liveBytes - (device instanceof CpuDevice ? device.scratchBytes : 0);

async function onePass(chosen: Model, random: Random): Promise<void> {
  const edge = random.pick(edges);
  const batch = 1 + random.below(MAXIMUM_BATCH);
  const pictures = Array.from({ length: batch }, () => picture(16 + random.below(100), 16 + random.below(100), random));
  const inputs = inputsOf(chosen, pictures, edge);
  const targetSizes = pictures.map(({ height, width }) => [height, width] as const);
  const outputs = await chosen.model.forward(inputs);
  const found = chosen.processor.postProcessObjectDetection(outputs, { threshold: 0, targetSizes });
  if (found.length !== batch || outputs.logits.data.some(Number.isNaN))
    throw new Error(`${chosen.name}: broken outputs`);
}

const inputsOf = ({ processor }: Model, pictures: readonly Image[], edge: number): ForwardInputs =>
  processor.preprocess(pictures, { size: { shortestEdge: edge, longestEdge: 2 * edge } });

const picture = (height: number, width: number, random: Random): Image => ({
  ...{ height, width, channels: 3 },
  data: random.bytes(height * width * 3),
});

/** One of the things that go wrong, for now and then. Returns how many errors there were. */
async function injectError({ model }: Model, device: Device, random: Random): Promise<number> {
  const pixelValues = { shape: [1, 3, 64, 64], data: new Float32Array(3 * 64 * 64) };
  switch (random.below(8)) {
    case 0:
      return expectError(model.forward({ pixelValues: { ...pixelValues, shape: [1, 3, 64, 65] } }), ShapeError);
    case 1: {
      const pixelMask = { shape: [1, 64, 32], data: new Int32Array(64 * 32) };
      return expectError(model.forward({ pixelValues, pixelMask }), ShapeError);
    }
    case 2:
      return expectError((async () => device.empty([2 ** 40]))(), OutOfMemoryError);
    case 3:
      return expectError(DetrForObjectDetection.fromPretrained('./no-such-folder', { device }), FileError);
    case 4: {
      // A read that nobody waits for, of a tensor that is given back at once.
      const tensor = device.tensor(pixelValues);
      const read = tensor.read();
      tensor.dispose();
      await Promise.all([read, model.forward({ pixelValues })]);
      return 0;
    }
    case 5:
      await Promise.all([model.forward({ pixelValues }), model.forward({ pixelValues })]);
      return 0;
    default:
      return 0;
  }
}

async function expectError(work: Promise<unknown>, type: new (...values: never[]) => Error): Promise<number> {
  try {
    await work;
  } catch (error) {
    if (error instanceof type) return 1;
    throw new Error(`expected ${type.name}, got ${error}`, { cause: error });
  }
  throw new Error(`expected ${type.name}, got a result`);
}

/** Thrice, since what finalizers and threads let go is only garbage in the next round. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let round = 0; round < 3; round++) {
    collect();
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}
