import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  Device,
  elementCount,
  FileError,
  formatShape,
  type HostTensor,
  OutOfMemoryError,
  ShapeError,
  sameShape,
  Tensor,
  tensorsIn,
} from '../engine/index.ts';
import { Random } from '../kernels/random.ts';
import { fileSystemError } from '../weights/files.ts';
import {
  type HubOptions,
  type ModelParts,
  matchCheckpoint,
  openCheckpoint,
  resolveModel,
  type WeightSource,
} from '../weights/index.ts';
import type { BaseConfig, RawConfig } from './configuration.ts';
import { type Initializer, Module, namedParameters, type ReadParameter } from './module.ts';

/*
 * What every model class has: making it from a checkpoint, a config or synthetic weights, and running it.
 * B batch, H x W padded image, S feature cells, Q queries, D = d_model.
 */

type MaskData = Int32Array | Float32Array | Uint8Array | BigInt64Array;

/** The arguments of HuggingFace's `forward`, in camelCase. */
export interface ForwardInputs {
  /** [B, 3, H, W], normalised; padded at the bottom and right. */
  readonly pixelValues?: HostTensor | undefined;
  /** [B, H, W], 1 = real, 0 = padding; all real when absent. */
  readonly pixelMask?: HostTensor<MaskData> | undefined;
  /** [B, S, D]: takes the place of the backbone's projected map (DETR; the other families ignore it). */
  readonly inputsEmbeds?: HostTensor | undefined;
  /** [B, Q, D]: the decoder's first state instead of zeros (DETR; the other families ignore it). */
  readonly decoderInputsEmbeds?: HostTensor | undefined;
  /** [B, Q], 1 = attend to the query, 0 = mask it in self-attention (DETR; the other families ignore it). */
  readonly decoderAttentionMask?: HostTensor<MaskData> | undefined;
  /** The encoder's result from an earlier pass, [B, S, D]; the encoder is skipped. */
  readonly encoderOutputs?: { readonly last_hidden_state: HostTensor } | undefined;
  readonly outputHiddenStates?: boolean;
  readonly outputAttentions?: boolean;
}

/** The same on the device, as the graph wants it. */
export interface GraphInputs {
  readonly batch: number;
  readonly pixels: Tensor | undefined;
  /** [B, H, W] of 0 and 1; undefined only beside `inputsEmbeds`. */
  readonly pixelMask: Tensor | undefined;
  /** Whether `pixelMask` holds a zero: without one, attention needs no key mask. */
  readonly padded: boolean;
  readonly inputsEmbeds: Tensor | undefined;
  readonly decoderInputsEmbeds: Tensor | undefined;
  readonly decoderAttentionMask: Tensor | undefined;
  readonly memory: Tensor | undefined;
  readonly outputHiddenStates: boolean;
  readonly outputAttentions: boolean;
  /** Whether predictions of the layers before the last are wanted as well, for auxiliary losses. */
  readonly auxiliaryOutputs: boolean;
}

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

  /** Where the weights are. */
  get device(): Device {
    if (this.#device === undefined) throw new Error(`${this.constructor.name}: expected a loaded model`);
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

/** Checks `forward`'s arguments and copies them to the device. */
function upload(device: Device, config: BaseConfig, inputs: ForwardInputs, auxiliaryOutputs: boolean): GraphInputs {
  const { pixelValues, pixelMask, inputsEmbeds, decoderInputsEmbeds, decoderAttentionMask, encoderOutputs } = inputs;
  const { num_queries: queries, d_model: width } = config;
  const given = pixelValues ?? inputsEmbeds;
  if (given === undefined) throw new ShapeError('forward: expected pixelValues or inputsEmbeds, got neither');
  const batch = given.shape[0] ?? 0;
  if (pixelValues !== undefined) {
    const [, channels, height, columns] = pixelValues.shape;
    checkShape('pixelValues', pixelValues, ['B', config.num_channels, 'H', 'W'], { B: batch, H: height!, W: columns! });
    if (channels === 0 || height === 0 || columns === 0) {
      throw new ShapeError(`forward: pixelValues: expected no empty axis, got ${formatShape(pixelValues.shape)}`);
    }
    if (pixelMask !== undefined) {
      checkShape('pixelMask', pixelMask, ['B', 'H', 'W'], { B: batch, H: height!, W: columns! });
    }
  }
  if (inputsEmbeds !== undefined) {
    checkShape('inputsEmbeds', inputsEmbeds, ['B', 'S', width], { B: batch, S: inputsEmbeds.shape[1] ?? 0 });
  }
  if (decoderInputsEmbeds !== undefined) {
    checkShape('decoderInputsEmbeds', decoderInputsEmbeds, ['B', queries, width], { B: batch });
  }
  if (decoderAttentionMask !== undefined) {
    checkShape('decoderAttentionMask', decoderAttentionMask, ['B', queries], { B: batch });
  }
  const memory = encoderOutputs?.last_hidden_state;
  if (memory !== undefined)
    checkShape('encoderOutputs', memory, ['B', 'S', width], { B: batch, S: memory.shape[1] ?? 0 });

  const optional = (host: HostTensor | undefined) => (host === undefined ? undefined : device.tensor(host));
  const mask = hostMask(pixelMask, pixelValues);
  return {
    batch,
    pixels: optional(pixelValues),
    pixelMask: optional(mask),
    padded: pixelMask !== undefined && mask!.data.includes(0),
    inputsEmbeds: optional(inputsEmbeds),
    decoderInputsEmbeds: optional(decoderInputsEmbeds),
    decoderAttentionMask: optional(decoderAttentionMask && toFloats(decoderAttentionMask)),
    memory: optional(memory),
    outputHiddenStates: inputs.outputHiddenStates ?? config.output_hidden_states,
    outputAttentions: inputs.outputAttentions ?? config.output_attentions,
    auxiliaryOutputs,
  };
}

function hostMask(
  pixelMask: HostTensor<MaskData> | undefined,
  pixelValues: HostTensor | undefined,
): HostTensor | undefined {
  if (pixelMask !== undefined) return toFloats(pixelMask);
  if (pixelValues === undefined) return undefined;
  const shape = [pixelValues.shape[0]!, pixelValues.shape[2]!, pixelValues.shape[3]!];
  return { shape, data: new Float32Array(elementCount(shape)).fill(1) };
}

function toFloats({ shape, data }: HostTensor<MaskData>): HostTensor {
  const floats = new Float32Array(data.length);
  for (let index = 0; index < floats.length; index++) floats[index] = Number(data[index]) === 0 ? 0 : 1;
  return { shape, data: floats };
}

function checkShape(
  name: string,
  tensor: HostTensor<MaskData>,
  axes: readonly (number | string)[],
  sizes: Readonly<Record<string, number>>,
): void {
  const expected = axes.map(axis => (typeof axis === 'number' ? axis : sizes[axis]!));
  if (sameShape(tensor.shape, expected) && tensor.data.length === elementCount(expected)) return;
  const got = sameShape(tensor.shape, expected) ? `${tensor.data.length} values` : formatShape(tensor.shape);
  throw new ShapeError(`forward: ${name}: expected [${axes.join(', ')}] = ${formatShape(expected)}, got ${got}`);
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
  const canonical = matchCheckpoint(source, model.parameters(), { ...model.config, refuseUnused: !model.isBare });
  const device = await openDevice(options);
  await model.load(device, parameter => canonical.read(names.get(parameter)!));
  await device.finish();
  return model;
}

/** Random values for every parameter, each from its own seed, so that reading order does not matter. */
function randomSource(model: PreTrainedModel<BaseConfig, object>, seed: number): WeightSource {
  const parameters = new Map(checkpointParameters(model));
  const order = new Map([...parameters.keys()].map((name, index) => [name, index]));
  return {
    name: `random initialisation (seed ${seed})`,
    tensors: new Map([...parameters].map(([name, { shape }]) => [name, { shape, dtype: 'F32' }])),
    async read(name) {
      const { shape, initializer } = parameters.get(name)!;
      const random = new Random(Math.imul(seed, 0x9e3779b1) + order.get(name)!);
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

const BACKBONE_PATH = 'backbone.conv_encoder.model.';

/** `base`, with the backbone's tensors out of a file of the backbone alone; a classifier's head beside it is not used. */
function overlayBackbone(
  model: PreTrainedModel<BaseConfig, object>,
  base: WeightSource,
  backbone: WeightSource,
): WeightSource {
  const wanted = [...model.parameters()].filter(([name]) => name.includes(BACKBONE_PATH));
  const [first] = wanted[0]!;
  const prefix = first.slice(0, first.indexOf(BACKBONE_PATH) + BACKBONE_PATH.length);
  const names = new Map([...backbone.tensors.keys()].map(name => [prefix + name.replace(/^resnet\./, ''), name]));
  const prefixed: WeightSource = {
    name: backbone.name,
    tensors: new Map([...names].map(([name, stored]) => [name, backbone.tensors.get(stored)!])),
    read: name => backbone.read(names.get(name)!),
    close: () => backbone.close(),
  };
  const stored = matchCheckpoint(prefixed, wanted, { refuseUnused: false });
  return {
    name: backbone.name,
    tensors: new Map([...base.tensors, ...stored.tensors]),
    read: name => (stored.tensors.has(name) ? stored.read(name) : base.read(name)),
    close: () => backbone.close(),
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
  return parsed as RawConfig;
}
