import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  Device,
  DeviceError,
  elementCount,
  FileError,
  type HostTensor,
  OutOfMemoryError,
  Tensor,
  tensorsIn,
} from '../engine/index.ts';
import { Random } from '../kernels/random.ts';
import { fileSystemError } from '../weights/files.ts';
import {
  type HeadTying,
  type HubOptions,
  type ModelParts,
  matchCheckpoint,
  openCheckpoint,
  resolveModel,
  sharedHead,
  type WeightSource,
} from '../weights/index.ts';
import type { BaseConfig, RawConfig } from './configuration.ts';
import { type ForwardInputs, type GraphInputs, upload } from './inputs.ts';
import { type Initializer, Module, namedParameters, type ReadParameter } from './module.ts';

/*
 * What every model class has: making it from a checkpoint, a config or synthetic weights, and running it.
 */

/** A device result with its tensors read back. */
export type OnHost<Value> = Value extends Tensor
  ? HostTensor
  : Value extends readonly (infer Item)[]
    ? OnHost<Item>[]
    : Value extends object
      ? { [Key in keyof Value]: OnHost<Value[Key]> }
      : Value;

export interface LoadOptions {
  /** Where the model runs; a new `Device.create()` when absent. */
  readonly device?: Device;
}

/** How a checkpoint is found and where the model goes. */
export interface PretrainedOptions extends LoadOptions, HubOptions {}

export interface RandomOptions extends LoadOptions {
  /** Seed of the random initialisation; default 0. */
  readonly seed?: number;
  /** A checkpoint (file or folder) of the backbone alone, in timm's or transformers' names. */
  readonly backboneWeights?: string;
}

interface ModelClass<Config extends BaseConfig, Model extends PreTrainedModel<Config, object>> {
  new (config: Config): Model;
  readConfig(raw: RawConfig): Config;
}

export abstract class PreTrainedModel<Config extends BaseConfig, Outputs extends object> extends Module {
  readonly config: Config;
  /** A model without heads: in a checkpoint its tensors lie under `model.`, and the heads beside it are not its own. */
  readonly isBare: boolean = false;
  #device: Device | undefined;

  constructor(config: Config) {
    super();
    this.config = config;
  }

  /**
   * Records the forward pass on the device; nothing waits. Tensors belong to the caller's `device.scope`. For those who
   * keep working on the device; `forward` is the whole way from host to host.
   */
  abstract record(inputs: GraphInputs): Outputs;

  /**
   * Loads a model: from a folder with `config.json` and weights, from the hub by its repository's name, or an embedded one
   * by its name. Loading is strict: every missing, misshapen or unused
   * tensor is reported, all at once.
   * @throws FileError, ConfigError, DownloadError
   */
  static async fromPretrained<Config extends BaseConfig, Model extends PreTrainedModel<Config, object>>(
    this: ModelClass<Config, Model>,
    pretrained: string,
    options: PretrainedOptions = {},
  ): Promise<Model> {
    const directory = await locatePretrained(pretrained, options);
    const raw = await readJson(join(directory, 'config.json'));
    const source = await openCheckpoint(directory);
    try {
      return await loadModel(new this(this.readConfig(raw)), source, options);
    } finally {
      await source.close();
    }
  }

  /** Loads a model from a config and any source of named weights (a checkpoint, synthetic weights, your own). */
  static async fromSource<Config extends BaseConfig, Model extends PreTrainedModel<Config, object>>(
    this: ModelClass<Config, Model>,
    raw: RawConfig,
    source: WeightSource,
    options: LoadOptions = {},
  ): Promise<Model> {
    return loadModel(new this(this.readConfig(raw)), source, options);
  }

  /** A model with random weights, and the backbone's from a file if one is given. The same seed gives the same weights. */
  static async fromConfig<Config extends BaseConfig, Model extends PreTrainedModel<Config, object>>(
    this: ModelClass<Config, Model>,
    raw: RawConfig,
    options: RandomOptions = {},
  ): Promise<Model> {
    const model = new this(this.readConfig(raw));
    const random = randomSource(model, options.seed ?? 0);
    if (options.backboneWeights === undefined) return loadModel(model, random, options);
    const backbone = await openCheckpoint(options.backboneWeights);
    try {
      return await loadModel(model, overlayBackbone(model, random, backbone), options);
    } finally {
      await backbone.close();
    }
  }

  /** Where the weights are. @throws DeviceError before they are loaded. */
  get device(): Device {
    if (this.#device === undefined)
      throw new DeviceError(`${this.constructor.name}: expected a loaded model, got none`);
    return this.#device;
  }

  /** Every parameter with its checkpoint name (hub naming) and shape. */
  *parameters(): Generator<[name: string, shape: readonly number[]]> {
    for (const [name, parameter] of checkpointParameters(this)) yield [name, parameter.shape];
  }

  override async load(device: Device, read: ReadParameter): Promise<void> {
    this.#device = device;
    await super.load(device, read);
  }

  /**
   * Runs the model. Outputs have HuggingFace's names; what was not asked for is absent.
   * @throws ShapeError for inputs that do not fit
   */
  async forward(inputs: ForwardInputs): Promise<OnHost<Outputs>> {
    return this.run(inputs, false);
  }

  /** Compiles what a forward pass at this image size needs, so that the first real one is not slower. */
  async warmup(height: number, width: number): Promise<void> {
    const shape = [1, this.config.num_channels, height, width];
    await this.forward({ pixelValues: { shape, data: new Float32Array(elementCount(shape)) } });
  }

  /** Without memory half a pass is recorded; what it holds is free again once the device is through with it. */
  async #recordOrRecover(inputs: () => GraphInputs): Promise<Outputs> {
    const { device } = this;
    try {
      return device.scope(() => this.record(inputs()));
    } catch (error) {
      if (error instanceof OutOfMemoryError) await device.finish().catch(() => {});
      throw error;
    }
  }

  protected async run(inputs: ForwardInputs, auxiliaryOutputs: boolean): Promise<OnHost<Outputs>> {
    const { device } = this;
    const outputs = await this.#recordOrRecover(() => upload(device, this.config, inputs, auxiliaryOutputs));
    const tensors = new Set(tensorsIn(outputs));
    try {
      const read = await Promise.all([...tensors].map(async tensor => [tensor, await tensor.read()] as const));
      return onHost(outputs, new Map(read as [Tensor, HostTensor][])) as OnHost<Outputs>;
    } finally {
      for (const tensor of tensors) tensor.dispose();
    }
  }
}

function onHost(value: unknown, read: ReadonlyMap<Tensor, HostTensor>): unknown {
  if (value instanceof Tensor) return read.get(value);
  if (Array.isArray(value)) return value.map(item => onHost(item, read));
  return Object.fromEntries(
    Object.entries(value as object)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => [key, onHost(item, read)]),
  );
}

const BARE_PREFIX = 'model.';

const checkpointParameters = (model: PreTrainedModel<BaseConfig, object>) =>
  namedParameters(model, model.isBare ? BARE_PREFIX : '');

async function loadModel<Config extends BaseConfig, Model extends PreTrainedModel<Config, object>>(
  model: Model,
  source: WeightSource,
  options: LoadOptions,
): Promise<Model> {
  const names = new Map([...checkpointParameters(model)].map(([name, parameter]) => [parameter, name]));
  const canonical = matchCheckpoint(source, model.parameters(), { ...model.config, mayHoldHeads: model.isBare });
  const device = await openDevice(options);
  try {
    await model.load(device, parameter => canonical.read(names.get(parameter)!));
    await device.finish();
    return model;
  } catch (error) {
    model.dispose();
    if (options.device === undefined) await device.destroy();
    throw error;
  }
}

/** Random values for every parameter, each from its own seed, so that reading order does not matter. Tied heads share one. */
function randomSource(model: PreTrainedModel<BaseConfig, object>, seed: number): WeightSource {
  const parameters = new Map(checkpointParameters(model));
  const order = new Map([...parameters.keys()].map((name, index) => [name, index]));
  return {
    name: `random initialisation (seed ${seed})`,
    tensors: new Map([...parameters].map(([name, { shape }]) => [name, { shape, dtype: 'F32' }])),
    async read(name) {
      const { shape, initializer } = parameters.get(name)!;
      const random = new Random(Math.imul(seed, 0x9e3779b1) + order.get(sharedHead(name, model.config as HeadTying))!);
      return { shape, data: initialize(initializer, elementCount(shape), random) };
    },
    async close() {},
  };
}

function initialize(initializer: Initializer, length: number, random: Random): Float32Array {
  switch (initializer.kind) {
    case 'zeros':
      return new Float32Array(length);
    case 'ones':
      return new Float32Array(length).fill(1);
    case 'normal':
      return Float32Array.from({ length }, () => random.normal() * initializer.standardDeviation);
    case 'uniform':
      return Float32Array.from({ length }, () => (2 * random.next() - 1) * initializer.bound);
  }
}

/** `base`, with the backbone's tensors out of a file of the backbone alone; a classifier's head beside it is not used. */
function overlayBackbone(
  model: PreTrainedModel<BaseConfig, object>,
  base: WeightSource,
  backbone: WeightSource,
): WeightSource {
  const wanted = [...model.parameters()].filter(([name]) => name.includes('backbone.conv_encoder.model.'));
  const stored = matchCheckpoint(backbone, wanted);
  return {
    ...base,
    name: backbone.name,
    read: name => (stored.tensors.has(name) ? stored.read(name) : base.read(name)),
  };
}

/** The device that the options name, or a new one. */
export async function openDevice({ device }: LoadOptions): Promise<Device> {
  return device ?? (await Device.create());
}

const embeddedFolder = new URL('../../weights/embedded/', import.meta.url);

/** Checkpoints that come with the package. */
export const embeddedModels = [
  'scenes-deformable-detr',
  'scenes-conditional-detr',
  'scenes-detr',
  'scenes-detr-panoptic',
] as const;

/**
 * The folder of a model: an embedded one by its name, a folder, or a hub repository's files in the cache, downloaded as far
 * as `parts` says.
 * @throws FileError, DownloadError
 */
export async function locatePretrained(
  pretrained: string,
  options: HubOptions = {},
  parts?: ModelParts,
): Promise<string> {
  const isEmbedded = embeddedModels.some(name => name === pretrained);
  return isEmbedded ? fileURLToPath(new URL(pretrained, embeddedFolder)) : resolveModel(pretrained, options, parts);
}

/** No file of ours is a tenth as deep; what walks deeper values, error messages say, could run out of stack. */
const MOST_LEVELS = 100;

/** Reads a JSON object. @throws FileError naming the file. */
export async function readJson(file: string): Promise<RawConfig> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw fileSystemError(file, error);
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new FileError({ file }, `expected JSON, got ${(cause as Error).message}`, { cause });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new FileError({ file }, 'expected a JSON object');
  }
  const levels = levelsOf(text);
  if (levels > MOST_LEVELS) {
    throw new FileError({ file }, `expected JSON of at most ${MOST_LEVELS} levels, got ${levels}`);
  }
  return parsed as RawConfig;
}

/** How deep the arrays and objects of a JSON text lie in each other. */
function levelsOf(json: string): number {
  let level = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < json.length; at++) {
    const character = json[at];
    if (character === '"') inString = !inString;
    else if (inString) at += character === '\\' ? 1 : 0;
    else if (character === '[' || character === '{') deepest = Math.max(deepest, ++level);
    else if (character === ']' || character === '}') level--;
  }
  return deepest;
}
