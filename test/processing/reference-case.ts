// Reference cases in test/data/processing: one call of a processor of transformers, its inputs, and what it returned.
// Tensors of results are named by their dotted path; a path that begins in a list begins with a dot.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { HostTensor, NumericArray } from '../../engine/host-tensor.ts';
import { readImageSync } from '../../models/images/files.ts';
import type { Image } from '../../models/images/image.ts';
import type { DetectionOutputs } from '../../models/processing/detection.ts';
import type { PreprocessOptions, ProcessorOptions } from '../../models/processing/image-processor.ts';
import type { ImageSize } from '../../models/processing/image-size.ts';
import {
  ConditionalDetrImageProcessor,
  DeformableDetrImageProcessor,
  DetrImageProcessor,
} from '../../models/processing/processors.ts';
import type { SegmentationOutputs } from '../../models/processing/segmentation.ts';
import { parseSafetensors } from '../../weights/safetensors.ts';

export const processors = { DetrImageProcessor, ConditionalDetrImageProcessor, DeformableDetrImageProcessor };

type AnyTensor = HostTensor<NumericArray>;

/** A call as case.json has it. */
export interface ReferenceCall {
  readonly class: keyof typeof processors;
  readonly method: string;
  readonly config: Record<string, unknown>;
  readonly options?: ProcessorOptions;
  readonly args: Record<string, unknown>;
  /** JSON in which a tensor is `{ "tensor": shape }`. */
  readonly expected: unknown;
}

/** A call with its tensors. */
export interface ReferenceCase extends ReferenceCall {
  readonly name: string;
  readonly inputs: ReadonlyMap<string, AnyTensor>;
  readonly tensors: ReadonlyMap<string, AnyTensor>;
}

export async function readTensors(file: string): Promise<Map<string, AnyTensor>> {
  const checkpoint = parseSafetensors(readFileSync(file), file);
  const tensors = new Map<string, AnyTensor>();
  for (const name of checkpoint.tensors.keys()) tensors.set(name, await checkpoint.readNative(name));
  return tensors;
}

export async function readCase(folder: string, name: string): Promise<ReferenceCase> {
  return {
    name,
    ...JSON.parse(readFileSync(join(folder, 'case.json'), 'utf8')),
    inputs: await readTensors(join(folder, 'inputs.safetensors')),
    tensors: await readTensors(join(folder, 'expected.safetensors')),
  };
}

/** Makes the call. `masksPath` is the folder of the PNG files that panoptic annotations name. */
export function runCase(
  { class: name, method, config, options = {}, args, inputs }: ReferenceCase,
  masksPath?: string,
): unknown {
  const processor = new processors[name](config, options);
  const given = Object.entries(args).filter(([, value]) => value !== null);
  const camelArgs = Object.fromEntries(given.map(([key, value]) => [camelCase(key), value]));
  if (method === 'preprocess') {
    const masks = imagesOf(inputs, 'masks');
    if (masks.length > 0) camelArgs.masks = masks;
    if (camelArgs.masksPath !== undefined) camelArgs.masksPath = masksPath;
    if (camelArgs.annotations === undefined) delete camelArgs.returnSegmentationMasks;
    return processor.preprocess(imagesOf(inputs, 'images'), camelArgs as PreprocessOptions);
  }
  const outputs = Object.fromEntries(inputs) as unknown as DetectionOutputs & SegmentationOutputs;
  const detr = processor as DetrImageProcessor;
  const { targetSizes, origTargetSizes, maxTargetSizes, processedSizes, ...rest } = camelArgs as Record<
    string,
    ImageSize[]
  >;
  switch (method) {
    case 'post_process':
      return detr.postProcess(outputs, targetSizes!);
    case 'post_process_segmentation':
      return detr.postProcessSegmentation(outputs, targetSizes!, rest);
    case 'post_process_instance': {
      const results = detr.postProcess(outputs, origTargetSizes!);
      return detr.postProcessInstance(results, outputs, origTargetSizes!, maxTargetSizes!, args.threshold as number);
    }
    case 'post_process_panoptic': {
      const panoptic = detr.postProcessPanoptic(
        outputs,
        processedSizes!,
        targetSizes === undefined ? rest : { ...rest, targetSizes },
      );
      return panoptic.map(({ pngString, segmentsInfo }) => ({
        pngString: imageTensor(readImageSync(pngString)),
        segmentsInfo,
      }));
    }
    default: {
      const methods = processor as unknown as Record<string, (outputs: object, options: object) => unknown>;
      return methods[camelCase(method)]!(outputs, camelArgs);
    }
  }
}

const imageTensor = ({ height, width, channels, data }: Image): AnyTensor => ({
  shape: [height, width, channels],
  data,
});

function imagesOf(inputs: ReadonlyMap<string, AnyTensor>, prefix: string): Image[] {
  const images: Image[] = [];
  for (
    let tensor = inputs.get(`${prefix}.0`);
    tensor !== undefined;
    tensor = inputs.get(`${prefix}.${images.length}`)
  ) {
    const [height, width, channels] = tensor.shape as [number, number, number];
    images.push({ height, width, channels, data: tensor.data as Uint8Array });
  }
  return images;
}

const camelCase = (key: string): string => key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
const snakeCase = (key: string): string => key.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`);

const isTensor = (value: unknown): value is AnyTensor =>
  typeof value === 'object' && value !== null && 'shape' in value && 'data' in value;

/** Reference tensors that are plain numbers with us. */
const plainFields = new Set(['image_id', 'size', 'orig_size']);

/** Fails unless `actual` is what the case expects: the same fields, integers equal, floats within 1e-6 (relative above 1). */
export function assertAsExpected(actual: unknown, { name, expected, tensors }: ReferenceCase): void {
  compare(actual, expected, '', name, tensors);
}

function compare(
  actual: unknown,
  expected: unknown,
  path: string,
  name: string,
  tensors: ReadonlyMap<string, AnyTensor>,
): void {
  const where = `${name}: ${path}`;
  if (isReferenceTensor(expected)) {
    const tensor = tensors.get(path)!;
    assert.ok(tensor, `${where}: in the reference`);
    if (isTensor(actual)) {
      compareTensors(actual, tensor, where);
      return;
    }
    assert.ok(plainFields.has(path.split('.').at(-1)!), `${where}: expected a tensor, got ${JSON.stringify(actual)}`);
    assert.equal([actual].flat(), Array.from(tensor.data, Number), where);
  } else if (Array.isArray(expected)) {
    assert.ok(Array.isArray(actual), `${where}: expected a list`);
    assert.is((actual as unknown[]).length, expected.length, `${where}: length`);
    for (const [index, item] of expected.entries()) {
      compare((actual as unknown[])[index], item, `${path}.${index}`, name, tensors);
    }
  } else if (typeof expected === 'object' && expected !== null) {
    const fields = Object.fromEntries(Object.entries(actual as object).map(([key, value]) => [snakeCase(key), value]));
    // transformers' labels have no size unless the picture was resized or padded; ours always have.
    if ('orig_size' in expected && !('size' in expected)) delete fields.size;
    assert.equal(Object.keys(fields).sort(), Object.keys(expected).sort(), `${where}: fields`);
    for (const [key, value] of Object.entries(expected)) {
      compare(fields[key], value, path === '' ? key : `${path}.${key}`, name, tensors);
    }
  } else if (typeof expected === 'number' && path.endsWith('.score')) {
    const difference = Math.abs((actual as number) - expected);
    assert.ok(difference <= 1e-6 + 1e-12, `${where}: expected ${expected}, got ${actual} (tolerance 1e-6)`);
  } else {
    assert.is(actual, expected, where);
  }
}

const isReferenceTensor = (value: unknown): value is { tensor: number[] } =>
  typeof value === 'object' && value !== null && 'tensor' in value;

function compareTensors(actual: AnyTensor, expected: AnyTensor, where: string): void {
  assert.equal([...actual.shape], [...expected.shape], `${where}: shape`);
  const tolerance = expected.data instanceof Float32Array || expected.data instanceof Float64Array ? 1e-6 : 0;
  assert.is(actual.data.length, expected.data.length, `${where}: number of elements`);
  let worst = 0;
  let at = -1;
  for (let index = 0; index < expected.data.length; index++) {
    const value = Number(expected.data[index]);
    const difference = Math.abs(Number(actual.data[index]) - value) / Math.max(1, Math.abs(value));
    if (!(difference <= worst)) [worst, at] = [difference, index];
  }
  const message = `${where}: worst at ${at}: expected ${expected.data[at]}, got ${actual.data[at]} (tolerance ${tolerance})`;
  assert.ok(worst <= tolerance, message);
}
