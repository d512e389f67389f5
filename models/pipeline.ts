import { describe, type HostTensor, OptionError } from '../engine/index.ts';
import { checkFlag, checkFraction, checkOptionNames } from '../engine/options.ts';
import { AutoImageProcessor, AutoModelForImageSegmentation, AutoModelForObjectDetection } from './auto.ts';
import { CallsInFlight } from './calls-in-flight.ts';
import type { Image, ImageDataLike } from './images/image.ts';
import { type PipelineInput, readPicture, snapshot } from './pipeline-input.ts';
import { checkPretrainedOptions, type PretrainedOptions } from './pretrained.ts';

/*
 * The short way from a picture to objects or segments, as transformers' pipelines: model, processor and device in one call.
 */

export interface DetectedObject {
  readonly score: number;
  readonly label: string;
  /** Corners in pixels of the picture, or as parts of its width and height (`percentage`). */
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
  /** Objects with a higher score are reported, 0 … 1; default 0.5. */
  readonly threshold?: number | undefined;
  /** Whether boxes are given as parts of the picture, 0 … 1, and not in pixels; default false. */
  readonly percentage?: boolean | undefined;
}

export interface SegmentOptions {
  /** Default panoptic. */
  readonly subtask?: 'panoptic' | 'instance' | 'semantic' | undefined;
  /** Queries with a higher score are kept, 0 … 1; default 0.9, as in transformers' pipeline. Not for semantic segmentation. */
  readonly threshold?: number | undefined;
  /**
   * Score times probability from which on a pixel counts as part of a query's whole mask, 0 … 1; default 0.5. It decides
   * which segments are dropped, not which pixels they get.
   */
  readonly maskThreshold?: number | undefined;
  /** Segments that do not keep more than this part of their whole mask are dropped, 0 … 1; default 0.5. */
  readonly overlapMaskAreaThreshold?: number | undefined;
}

/**
 * A loaded pipeline: call it as often as needed, then `dispose()` it. One picture gives one list, several give several: each
 * is run by itself, so that it gives what it gives alone. Pixels, bytes and options count as they are at the call. Unknown
 * options are an OptionError.
 */
export interface Pipeline<Options, Result> {
  (picture: PipelineInput, options?: Options): Promise<Result[]>;
  (pictures: readonly PipelineInput[], options?: Options): Promise<Result[][]>;
  (pictures: PipelineInput | readonly PipelineInput[], options?: Options): Promise<Result[] | Result[][]>;
  /** Waits for the calls under way; then frees the model, and the device unless the caller gave it. Idempotent. */
  dispose(): Promise<void>;
  /** `dispose()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * `const detect = await pipeline('object-detection', 'facebook/detr-resnet-50'); await detect('photo.jpg')`
 *
 * @param pretrained a model folder, an embedded model's name or a repository on the hub
 * @throws OptionError for an unknown task or option; FileError, DownloadError, ConfigError for a model that cannot be had
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
export async function pipeline(
  task: 'object-detection' | 'image-segmentation',
  pretrained: string,
  options?: PretrainedOptions,
): Promise<Pipeline<DetectOptions, DetectedObject> | Pipeline<SegmentOptions, DetectedSegment>>;
export async function pipeline(task: string, pretrained: string, options: PretrainedOptions = {}): Promise<unknown> {
  if (task !== 'object-detection' && task !== 'image-segmentation') {
    throw new OptionError(`pipeline: expected object-detection or image-segmentation, got ${describe(task)}`);
  }
  checkPretrainedOptions(options, 'pipeline');
  return callable(await (task === 'object-detection' ? objectDetection : imageSegmentation)(pretrained, options));
}

type Options = DetectOptions & SegmentOptions;

/** Runs one picture. */
type Process = (image: Image | ImageDataLike, options: Options) => Promise<unknown[]>;

interface Loaded {
  readonly model: { dispose(): Promise<void> };
  readonly optionNames: readonly (keyof Options)[];
  readonly process: Process;
}

async function loadProcessor(pretrained: string, { device: _, ...hubOptions }: PretrainedOptions) {
  return AutoImageProcessor.fromPretrained(pretrained, hubOptions);
}

async function objectDetection(pretrained: string, options: PretrainedOptions): Promise<Loaded> {
  const processor = await loadProcessor(pretrained, options);
  const model = await AutoModelForObjectDetection.fromPretrained(pretrained, options);
  const process: Process = async (image, { threshold = 0.5, percentage = false }) => {
    const outputs = await model.predict(processor.preprocess([image]));
    const { scores, labels, boxes } = processor.postProcessObjectDetection(outputs, {
      threshold,
      ...(percentage ? {} : { targetSizes: [[image.height, image.width]] }),
    })[0]!;
    return Array.from(scores.data, (score, index): DetectedObject => {
      const [xmin, ymin, xmax, ymax] = boxes.data.subarray(4 * index, 4 * index + 4);
      const label = model.config.id2label[labels.data[index]!]!;
      return { score, label, box: { xmin: xmin!, ymin: ymin!, xmax: xmax!, ymax: ymax! } };
    });
  };
  return { model, optionNames: ['threshold', 'percentage'], process };
}

async function imageSegmentation(pretrained: string, options: PretrainedOptions): Promise<Loaded> {
  const processor = await loadProcessor(pretrained, options);
  if (!processor.segments) {
    throw new OptionError(`pipeline: expected a model that segments, got ${pretrained}`);
  }
  const model = await AutoModelForImageSegmentation.fromPretrained(pretrained, options);
  const nameOf = (label: number) => model.config.id2label[label]!;
  const process: Process = async (image, segmentOptions) => {
    const { subtask = 'panoptic', threshold = 0.9, maskThreshold = 0.5 } = segmentOptions;
    const { overlapMaskAreaThreshold = 0.5 } = segmentOptions;
    const targetSizes = [[image.height, image.width]] as const;
    const outputs = await model.predict(processor.preprocess([image]));
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
  return { model, optionNames: ['subtask', 'threshold', 'maskThreshold', 'overlapMaskAreaThreshold'], process };
}

/** The pixels of a map that hold `value`. */
function maskOf({ shape, data }: HostTensor<Int32Array>, value: number): HostTensor<Uint8Array> {
  return { shape, data: Uint8Array.from(data, pixel => (pixel === value ? 1 : 0)) };
}

/** Before pictures are read and run. @throws OptionError */
function checkOptions(options: Options, known: readonly (keyof Options)[]): void {
  checkOptionNames(options, known, 'pipeline');
  for (const name of ['threshold', 'maskThreshold', 'overlapMaskAreaThreshold'] as const) {
    if (options[name] !== undefined) checkFraction(options[name], name, 'pipeline');
  }
  const { subtask = 'panoptic', percentage } = options;
  if (!['panoptic', 'instance', 'semantic'].includes(subtask)) {
    throw new OptionError(`subtask: expected panoptic, instance or semantic, got ${describe(subtask)}`);
  }
  checkFlag(percentage, 'percentage', 'pipeline');
}

function callable({ model, optionNames, process }: Loaded): unknown {
  const calls = new CallsInFlight();
  const run = async (input: PipelineInput | readonly PipelineInput[], options: Options) => {
    checkOptions(options, optionNames);
    const own = { ...options };
    if (!Array.isArray(input)) return process(await readPicture(snapshot(input as PipelineInput)), own);
    const results: unknown[][] = [];
    for (const item of input.map(snapshot)) results.push(await process(await readPicture(item), own));
    return results;
  };
  const dispose = async () => {
    await calls.settled();
    await model.dispose();
  };
  const call = (input: PipelineInput | readonly PipelineInput[], options: Options = {}) =>
    calls.track(run(input, options));
  return Object.assign(call, { dispose, [Symbol.asyncDispose]: dispose });
}
