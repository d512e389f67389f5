import { join } from 'node:path';
import { ConfigError, describe, OptionError } from '../engine/index.ts';
import { type HubOptions, readJson, type WeightSource } from '../weights/index.ts';
import {
  ConditionalDetrForObjectDetection,
  ConditionalDetrForSegmentation,
  ConditionalDetrModel,
} from './conditional-detr.ts';
import type { BaseConfig, ConfigInput, RawConfig } from './configuration.ts';
import { DeformableDetrForObjectDetection, DeformableDetrModel } from './deformable-detr.ts';
import type { LabelledInputs } from './detection.ts';
import { DetrForObjectDetection, DetrForSegmentation, DetrModel } from './detr.ts';
import {
  checkPretrainedOptions,
  locatePretrained,
  type ModelClass,
  type PreTrainedModel,
  type PretrainedOptions,
} from './pretrained.ts';
import { type ProcessorOptions, readProcessorConfig, splitOptions } from './processing/image-processor.ts';
import {
  ConditionalDetrImageProcessor,
  DeformableDetrImageProcessor,
  DetrImageProcessor,
} from './processing/processors.ts';

/*
 * Picks the class that a checkpoint's config.json asks for, as transformers' Auto classes do.
 */

interface Loadable<Model> {
  fromPretrained(pretrained: string, options?: PretrainedOptions): Promise<Model>;
}

/** The classes of one task, by `model_type`. */
type Registry<Model> = Readonly<Record<string, Loadable<Model>>>;

/** The `model_type` of a config, checked against those that a task has. @throws ConfigError listing the known ones. */
function pickByModelType<Choice>(raw: RawConfig, choices: Readonly<Record<string, Choice>>, task: string): Choice {
  const type = raw.model_type;
  if (typeof type === 'string' && Object.hasOwn(choices, type)) return choices[type]!;
  const known = Object.keys(choices).join(', ');
  throw new ConfigError(`config: model_type: expected one of ${known} for ${task}, got ${describe(type)}`);
}

async function fromPretrained<Model>(
  registry: Registry<Model>,
  task: string,
  pretrained: string,
  options: PretrainedOptions,
): Promise<Model> {
  checkPretrainedOptions(options, 'fromPretrained');
  const { device: _, ...hubOptions } = options;
  const directory = await locatePretrained(pretrained, hubOptions);
  const raw = await readJson(join(directory, 'config.json'));
  return pickByModelType(raw, registry, task).fromPretrained(directory, options);
}

export type AnyModel = DetrModel | ConditionalDetrModel | DeformableDetrModel;
export type AnyObjectDetector =
  | DetrForObjectDetection
  | ConditionalDetrForObjectDetection
  | DeformableDetrForObjectDetection;
export type AnySegmenter = DetrForSegmentation | ConditionalDetrForSegmentation;

const baseModels: Registry<AnyModel> = {
  detr: DetrModel,
  conditional_detr: ConditionalDetrModel,
  deformable_detr: DeformableDetrModel,
};

const objectDetectors: Registry<AnyObjectDetector> = {
  detr: DetrForObjectDetection,
  conditional_detr: ConditionalDetrForObjectDetection,
  deformable_detr: DeformableDetrForObjectDetection,
};

const segmenters: Registry<AnySegmenter> = {
  detr: DetrForSegmentation,
  conditional_detr: ConditionalDetrForSegmentation,
};

export const AutoModel = {
  fromPretrained: (pretrained: string, options: PretrainedOptions = {}) =>
    fromPretrained(baseModels, 'AutoModel', pretrained, options),
};

export const AutoModelForObjectDetection = {
  fromPretrained: (pretrained: string, options: PretrainedOptions = {}) =>
    fromPretrained(objectDetectors, 'object detection', pretrained, options),
};

export const AutoModelForImageSegmentation = {
  fromPretrained: (pretrained: string, options: PretrainedOptions = {}) =>
    fromPretrained(segmenters, 'image segmentation', pretrained, options),
};

export type AnyImageProcessor = DetrImageProcessor | ConditionalDetrImageProcessor | DeformableDetrImageProcessor;

interface AnyProcessorClass {
  fromPretrained(directory: string, options?: ProcessorOptions): Promise<AnyImageProcessor>;
}

const processors: Readonly<Record<string, AnyProcessorClass>> = {
  detr: DetrImageProcessor,
  conditional_detr: ConditionalDetrImageProcessor,
  deformable_detr: DeformableDetrImageProcessor,
};

const processorsByName: Readonly<Record<string, AnyProcessorClass>> = {
  DetrImageProcessor,
  ConditionalDetrImageProcessor,
  DeformableDetrImageProcessor,
};

export const AutoImageProcessor = {
  /**
   * The processor whose class preprocessor_config.json names, or else the one that belongs to the model of config.json; see
   * `ImageProcessor.fromPretrained`.
   */
  async fromPretrained(pretrained: string, options: ProcessorOptions & HubOptions = {}): Promise<AnyImageProcessor> {
    const { hubOptions, processorOptions } = splitOptions(options);
    const directory = await locatePretrained(pretrained, hubOptions, { processor: true });
    const Processor = await processorOf(directory);
    return Processor.fromPretrained(directory, processorOptions);
  },
};

async function processorOf(directory: string): Promise<AnyProcessorClass> {
  const [raw] = await readProcessorConfig(directory);
  const type = raw.image_processor_type ?? raw.feature_extractor_type ?? undefined;
  if (type === undefined) {
    return pickByModelType(await readJson(join(directory, 'config.json')), processors, 'AutoImageProcessor');
  }
  // Old files name the feature extractor, new ones may name one of several implementations.
  const name = String(type)
    .replace(/(?:Fast|Pil)$/, '')
    .replace(/FeatureExtractor$/, 'ImageProcessor');
  if (Object.hasOwn(processorsByName, name)) return processorsByName[name]!;
  const known = Object.keys(processorsByName).join(', ');
  throw new ConfigError(`preprocessor_config: image_processor_type: expected one of ${known}, got ${describe(type)}`);
}

/** Every model class by its HuggingFace name, as `architectures` in config.json spells it. */
export const modelClasses = {
  DetrModel,
  DetrForObjectDetection,
  DetrForSegmentation,
  ConditionalDetrModel,
  ConditionalDetrForObjectDetection,
  ConditionalDetrForSegmentation,
  DeformableDetrModel,
  DeformableDetrForObjectDetection,
} as const;

type ModelClassName = keyof typeof modelClasses;

/** What tools need of a model class when they do not know which one it is. */
export interface AnyModelClass extends ModelClass {
  fromPretrained(pretrained: string, options?: PretrainedOptions): Promise<RunnableModel>;
  fromSource(
    config: ConfigInput<BaseConfig>,
    source: WeightSource,
    options?: PretrainedOptions,
  ): Promise<RunnableModel>;
}

/** A model whose outputs are only known by name. */
export interface RunnableModel extends Omit<PreTrainedModel<BaseConfig, object>, 'forward'> {
  forward(inputs: LabelledInputs): Promise<object>;
}

/** @throws OptionError listing the known classes. */
export function modelClass(name: string): AnyModelClass {
  if (!Object.hasOwn(modelClasses, name)) {
    throw new OptionError(`model class: expected one of ${Object.keys(modelClasses).join(', ')}, got ${name}`);
  }
  return modelClasses[name as ModelClassName] as unknown as AnyModelClass;
}
