import { describe } from '../engine/describe.ts';
import { type Device, type HostTensor, OptionError } from '../engine/index.ts';
import { checkOptionNames } from '../engine/options.ts';
import { AutoImageProcessor, AutoModelForImageSegmentation, AutoModelForObjectDetection } from './auto.ts';
import { readImage } from './images/files.ts';
import type { Image } from './images/image.ts';
import { openDevice, type PretrainedOptions } from './pretrained.ts';

/*
 * The short way from a picture to objects or segments, as transformers' pipelines: model, processor and device in one call.
 */

/** A picture: a file's path, a file's bytes, or pixels. */
export type PipelineInput = string | Uint8Array | Image;

export interface DetectedObject {
  readonly score: number;
  readonly label: string;
  /** Corners in pixels of the picture. */
  readonly box: { readonly xmin: number; readonly ymin: number; readonly xmax: number; readonly ymax: number };
}

export interface DetectedSegment {
  /** Absent for semantic segmentation. */
  readonly score?: number;
  readonly label: string;
  /** [H, W] of the picture: 1 inside, 0 outside. */
  readonly mask: HostTensor<Uint8Array>;
}

export interface DetectOptions {
  /** Objects with a higher score are reported; default 0.5. */
  readonly threshold?: number;
}

export interface SegmentOptions {
  /** Default panoptic. */
  readonly subtask?: 'panoptic' | 'instance' | 'semantic';
  /** Queries with a higher score are kept; default 0.9, as in transformers' pipeline. Not for semantic segmentation. */
  readonly threshold?: number;
  /** A mask's pixels are those with a higher probability; default 0.5. */
  readonly maskThreshold?: number;
  /** Segments that keep a smaller part of their mask than this are dropped; default 0.5. */
  readonly overlapMaskAreaThreshold?: number;
}

/**
 * A loaded pipeline: call it as often as needed, then `dispose()` it. One picture gives one list, several give several: each
 * is run by itself, so that it gives what it gives alone. Unknown options are an OptionError.
 */
export interface Pipeline<Options, Result> {
  (picture: PipelineInput, options?: Options): Promise<Result[]>;
  (pictures: readonly PipelineInput[], options?: Options): Promise<Result[][]>;
  /** Frees the model, and the device unless the caller gave it. */
  dispose(): Promise<void>;
}

/**
 * `const detect = await pipeline('object-detection', 'facebook/detr-resnet-50'); await detect('photo.jpg')`
 *
 * @param pretrained a model folder, an embedded model's name or a repository on the hub
 * @throws OptionError for an unknown task; FileError, DownloadError, ConfigError for a model that cannot be had
 */
export async function pipeline(
  task: 'object-detection',
  pretrained: string,
  options?: PretrainedOptions,
): Promise<Pipeline<DetectOptions, DetectedObject>>;
export async function pipeline(
  task: 'image-segmentation',
  pretrained: string,
  options?: PretrainedOptions,
): Promise<Pipeline<SegmentOptions, DetectedSegment>>;
export async function pipeline(task: string, pretrained: string, options: PretrainedOptions = {}): Promise<unknown> {
  if (task !== 'object-detection' && task !== 'image-segmentation') {
    throw new OptionError(`pipeline: expected object-detection or image-segmentation, got ${describe(task)}`);
  }
  const device = await openDevice(options);
  try {
    const run = task === 'object-detection' ? objectDetection : imageSegmentation;
    const { model, optionNames, process } = await run(pretrained, { ...options, device });
    return callable(process, optionNames, async () => {
      model.dispose();
      if (options.device === undefined) await device.destroy();
    });
  } catch (error) {
    if (options.device === undefined) await device.destroy();
    throw error;
  }
}

/** Runs one picture. */
type Process = (image: Image, options: SegmentOptions) => Promise<unknown[]>;

interface Loaded {
  readonly model: { dispose(): void };
  readonly optionNames: readonly string[];
  readonly process: Process;
}

async function objectDetection(pretrained: string, options: PretrainedOptions & { device: Device }): Promise<Loaded> {
  const processor = await AutoImageProcessor.fromPretrained(pretrained, options);
  const model = await AutoModelForObjectDetection.fromPretrained(pretrained, options);
  const process: Process = async (image, { threshold = 0.5 }) => {
    const outputs = await model.forward(processor.preprocess([image]));
    const targetSizes = [[image.height, image.width]] as const;
    const { scores, labels, boxes } = processor.postProcessObjectDetection(outputs, { threshold, targetSizes })[0]!;
    return Array.from(scores.data, (score, index): DetectedObject => {
      const [xmin, ymin, xmax, ymax] = boxes.data.subarray(4 * index, 4 * index + 4);
      const label = model.config.id2label[labels.data[index]!]!;
      return { score, label, box: { xmin: xmin!, ymin: ymin!, xmax: xmax!, ymax: ymax! } };
    });
  };
  return { model, optionNames: ['threshold'], process };
}

async function imageSegmentation(pretrained: string, options: PretrainedOptions & { device: Device }): Promise<Loaded> {
  const processor = await AutoImageProcessor.fromPretrained(pretrained, options);
  if (!('postProcessPanopticSegmentation' in processor)) {
    throw new OptionError(`pipeline: expected a model that segments, got ${pretrained}`);
  }
  const model = await AutoModelForImageSegmentation.fromPretrained(pretrained, options);
  const nameOf = (label: number) => model.config.id2label[label]!;
  const process: Process = async (image, segmentOptions) => {
    const { subtask = 'panoptic', threshold = 0.9, maskThreshold = 0.5 } = segmentOptions;
    const { overlapMaskAreaThreshold = 0.5 } = segmentOptions;
    if (subtask !== 'panoptic' && subtask !== 'instance' && subtask !== 'semantic') {
      throw new OptionError(`subtask: expected panoptic, instance or semantic, got ${describe(subtask)}`);
    }
    const targetSizes = [[image.height, image.width]] as const;
    const outputs = await model.forward(processor.preprocess([image]));
    if (subtask === 'semantic') {
      const map = processor.postProcessSemanticSegmentation(outputs, { targetSizes })[0]!;
      const labels = [...new Set(map.data)].toSorted((a, b) => a - b);
      return labels.map((label): DetectedSegment => ({ label: nameOf(label), mask: maskOf(map, label) }));
    }
    const thresholds = { threshold, maskThreshold, overlapMaskAreaThreshold, targetSizes };
    const { segmentation, segmentsInfo } =
      subtask === 'panoptic'
        ? processor.postProcessPanopticSegmentation(outputs, thresholds)[0]!
        : processor.postProcessInstanceSegmentation(outputs, thresholds)[0]!;
    return segmentsInfo.map(({ id, labelId, score }): DetectedSegment => {
      return { score, label: nameOf(labelId), mask: maskOf(segmentation, id) };
    });
  };
  const optionNames = ['subtask', 'threshold', 'maskThreshold', 'overlapMaskAreaThreshold'];
  return { model, optionNames, process };
}

/** The pixels of a map that hold `value`. */
function maskOf({ shape, data }: HostTensor<Int32Array>, value: number): HostTensor<Uint8Array> {
  return { shape, data: Uint8Array.from(data, pixel => (pixel === value ? 1 : 0)) };
}

const isImage = (input: PipelineInput): input is Image => typeof input === 'object' && 'width' in input;

function callable(process: Process, optionNames: readonly string[], dispose: () => Promise<void>): unknown {
  const call = async (input: PipelineInput | readonly PipelineInput[], options: SegmentOptions = {}) => {
    checkOptionNames(options, optionNames, 'pipeline');
    const several = Array.isArray(input);
    const inputs: readonly PipelineInput[] = several ? input : [input as PipelineInput];
    const results: unknown[][] = [];
    for (const item of inputs) results.push(await process(isImage(item) ? item : await readImage(item), options));
    return several ? results : results[0];
  };
  return Object.assign(call, { dispose });
}
