import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  checkHostTensor,
  Device,
  type DeviceChoice,
  DeviceError,
  describe,
  deviceChoices,
  elementCount,
  FileError,
  formatShape,
  type HostTensor,
  OptionError,
  OutOfMemoryError,
  ShapeError,
  sameShape,
  Tensor,
  tensorsIn,
} from '../engine/index.ts';
import { checkOptionNames } from '../engine/options.ts';
import {
  didYouMean,
  type HubOptions,
  hubOptionNames,
  type ModelParts,
  matchCheckpoint,
  openCheckpoint,
  readJson,
  resolveModel,
  type WeightSource,
} from '../weights/index.ts';
import { CallsInFlight } from './calls-in-flight.ts';
import type { BaseConfig, ConfigInput } from './configuration.ts';
import { type ForwardInputs, type GraphInputs, upload } from './inputs.ts';
import { Module, namedParameters, type ReadParameter } from './module.ts';
import { overlayBackbone, randomSource } from './random-weights.ts';

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
  /**
   * Where the model runs: a device, which may serve several models and stays when they are disposed, or the kind of one that
   * the model creates and destroys. Default `auto`.
   */
  readonly device?: Device | DeviceChoice | undefined;
}

/** How a checkpoint is found and where the model goes. */
export interface PretrainedOptions extends LoadOptions, HubOptions {}

export interface RandomOptions extends LoadOptions {
  /** Seed of the random initialisation; default 0. */
  readonly seed?: number | undefined;
  /** A checkpoint (file or folder) of the backbone alone, in timm's or transformers' names. */
  readonly backboneWeights?: string | undefined;
}

/** What differs between the ways to run a model. */
export interface PassSettings {
  /** Whether predictions of the layers before the last are wanted as well. Default false. */
  readonly auxiliaryOutputs?: boolean;
  /** Names of the outputs that are read; default all. */
  readonly wanted?: readonly string[];
  /** What errors call the method; default `forward`. */
  readonly where?: string;
}

/** A class of models, as `fromPretrained` and its kin are called on. */
export interface ModelClass {
  new (config: never): PreTrainedModel<BaseConfig, object>;
  readConfig(config: ConfigInput<BaseConfig>): BaseConfig;
}

export abstract class PreTrainedModel<Config extends BaseConfig, Outputs extends object> extends Module {
  readonly config: Config;
  /** A model without heads: in a checkpoint its tensors lie under `model.`, and the heads beside it are not its own. */
  readonly isBare: boolean = false;
  #device: Device | undefined;
  #ownsDevice = false;
  #isDisposed = false;
  readonly #passes = new CallsInFlight();

  constructor(config: Config) {
    super();
    this.config = config;
  }

  /**
   * Records the forward pass on the device; nothing waits. Tensors belong to the caller's `device.scope`.
   * @internal `forward` is the whole way from host to host.
   */
  abstract record(inputs: GraphInputs): Outputs;

  /**
   * Loads a model: from a folder with `config.json` and weights, from the hub by its repository's name, or an embedded one
   * by its name. Loading is strict: every missing, misshapen or unused tensor is reported, all at once.
   * @throws FileError, ConfigError, DownloadError; OptionError for unknown options
   */
  static async fromPretrained<Class extends ModelClass>(
    this: Class,
    pretrained: string,
    options: PretrainedOptions = {},
  ): Promise<InstanceType<Class>> {
    checkPretrainedOptions(options, 'fromPretrained');
    const { device, ...hubOptions } = options;
    const directory = await locatePretrained(pretrained, hubOptions);
    const raw = await readJson(join(directory, 'config.json'));
    const source = await openCheckpoint(directory);
    try {
      return (await create(this, raw).#loadFrom(source, device)) as InstanceType<Class>;
    } finally {
      await source.close();
    }
  }

  /** Loads a model from a config and any source of named weights (a checkpoint, synthetic weights, your own). */
  static async fromSource<Class extends ModelClass>(
    this: Class,
    config: ConfigInput<BaseConfig>,
    source: WeightSource,
    options: LoadOptions = {},
  ): Promise<InstanceType<Class>> {
    checkLoadOptions(options, ['device'], 'fromSource');
    if (!(source?.tensors instanceof Map) || typeof source.read !== 'function') {
      throw new OptionError(`fromSource: expected a source { name, tensors, read }, got ${describe(source)}`);
    }
    return (await create(this, config).#loadFrom(source, options.device)) as InstanceType<Class>;
  }

  /**
   * A model with random weights as HuggingFace initialises them (`init_std`, `init_xavier_std`), and the backbone's from a
   * file if one is given. The same seed gives the same weights.
   */
  static async fromConfig<Class extends ModelClass>(
    this: Class,
    config: ConfigInput<BaseConfig>,
    options: RandomOptions = {},
  ): Promise<InstanceType<Class>> {
    checkLoadOptions(options, ['device', 'seed', 'backboneWeights'], 'fromConfig');
    const { device, seed = 0, backboneWeights } = options;
    if (!Number.isInteger(seed))
      throw new OptionError(`fromConfig: expected a whole number as seed, got ${describe(seed)}`);
    const model = create(this, config);
    const random = randomSource(new Map(checkpointParameters(model)), model.config, seed);
    const backbone = backboneWeights === undefined ? undefined : await openCheckpoint(backboneWeights);
    try {
      const source = backbone === undefined ? random : overlayBackbone(random, backbone);
      return (await model.#loadFrom(source, device)) as InstanceType<Class>;
    } finally {
      await backbone?.close();
    }
  }

  /** Where the weights are. @throws DeviceError before they are loaded. */
  get device(): Device {
    if (this.#device === undefined)
      throw new DeviceError(
        `${this.constructor.name}: expected a model of fromPretrained, fromConfig or fromSource, got one without weights`,
      );
    return this.#device;
  }

  /** Every parameter with its checkpoint name (hub naming) and shape. */
  *parameters(): Generator<[name: string, shape: readonly number[]]> {
    for (const [name, parameter] of checkpointParameters(this)) yield [name, parameter.shape];
  }

  /** Strict: every tensor of the source that does not fit is reported. */
  async #loadFrom(source: WeightSource, device: LoadOptions['device']): Promise<this> {
    const names = new Map([...checkpointParameters(this)].map(([name, parameter]) => [parameter, name]));
    const canonical = matchCheckpoint(source, this.parameters(), { ...this.config, mayHoldHeads: this.isBare });
    this.#ownsDevice = !(device instanceof Device);
    this.#device = device instanceof Device ? device : await Device.create({ device: device ?? 'auto' });
    try {
      await this.load(this.#device, async parameter => {
        const name = names.get(parameter)!;
        const host = await canonical.read(name);
        const where = `${source.name}: tensor "${name}"`;
        checkHostTensor(host, where, Float32Array);
        if (sameShape(host.shape, parameter.shape)) return host;
        throw new ShapeError(`${where}: expected ${formatShape(parameter.shape)}, got ${formatShape(host.shape)}`);
      });
      await this.#device.finish(this.tensors());
      return this;
    } catch (error) {
      await this.dispose();
      throw error;
    }
  }

  override async load(device: Device, read: ReadParameter): Promise<void> {
    this.#device = device;
    await super.load(device, read);
  }

  /**
   * Gives the weights' memory back at once; then, if the model created its device itself, waits for the passes under way and
   * destroys it. Idempotent.
   */
  override async dispose(): Promise<void> {
    this.#isDisposed = true;
    super.dispose();
    if (!this.#ownsDevice) return;
    await this.#passes.settled();
    await this.#device?.destroy();
  }

  /** `dispose()`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  /**
   * Runs the model. Outputs have HuggingFace's names; what was not asked for is absent.
   * @throws ShapeError for inputs that do not fit; OptionError for unknown ones; DeviceError after `dispose()`
   */
  async forward(inputs: ForwardInputs): Promise<OnHost<Outputs>> {
    return this.run(inputs);
  }

  /** Compiles what a forward pass at this image size needs, so that the first real one is not slower. */
  async warmup(height: number, width: number): Promise<void> {
    for (const [name, value] of Object.entries({ height, width })) {
      if (!Number.isInteger(value) || value < 1)
        throw new ShapeError(`warmup: expected a positive ${name}, got ${value}`);
    }
    const shape = [1, this.config.num_channels, height, width];
    await this.forward({ pixelValues: { shape, data: new Float32Array(elementCount(shape)) } });
  }

  /**
   * What fails halfway leaves work behind: the device is to be through with it before the next pass, which would wait for it,
   * and what it holds is to be free again. Inputs that do not fit are refused at once.
   */
  async #recordOrRecover(inputs: () => GraphInputs): Promise<Outputs> {
    const { device } = this;
    let isRecording = false;
    try {
      return device.scope(() => {
        const uploaded = inputs();
        isRecording = true;
        return this.record(uploaded);
      });
    } catch (error) {
      if (isRecording || error instanceof OutOfMemoryError) await device.drain().catch(() => {});
      throw error;
    }
  }

  protected async run(inputs: ForwardInputs, settings: PassSettings = {}): Promise<OnHost<Outputs>> {
    if (this.#isDisposed) {
      throw new DeviceError(`${this.constructor.name}: expected a model with its weights, got one that was disposed`);
    }
    return this.#passes.track(this.#pass(inputs, settings));
  }

  async #pass(
    inputs: ForwardInputs,
    { auxiliaryOutputs = false, wanted, where }: PassSettings,
  ): Promise<OnHost<Outputs>> {
    const { device } = this;
    const recorded = await this.#recordOrRecover(() => upload(device, this.config, inputs, auxiliaryOutputs, where));
    const isWanted = ([name]: [string, unknown]) => wanted === undefined || wanted.includes(name);
    const outputs = Object.fromEntries(Object.entries(recorded).filter(isWanted));
    const tensors = new Set(tensorsIn(outputs));
    for (const tensor of tensorsIn(recorded)) if (!tensors.has(tensor)) tensor.dispose();
    try {
      const read = await Promise.all([...tensors].map(async tensor => [tensor, await tensor.read()] as const));
      return onHost(outputs, new Map(read as [Tensor, HostTensor][])) as OnHost<Outputs>;
    } finally {
      for (const tensor of tensors) tensor.dispose();
    }
  }
}

const create = (Model: ModelClass, config: ConfigInput<BaseConfig>) => new Model(Model.readConfig(config) as never);

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

/** Before anything is loaded: throws an `OptionError` for options that are not in `known`, and for a device that is none. */
function checkLoadOptions(options: LoadOptions, known: readonly string[], where: string): void {
  checkOptionNames(options, known, where);
  const { device } = options;
  if (device === undefined || device instanceof Device || deviceChoices.includes(device as DeviceChoice)) return;
  throw new OptionError(`${where}: expected a Device, auto, webgpu or cpu as device, got ${describe(device)}`);
}

export function checkPretrainedOptions(options: PretrainedOptions, where: string): void {
  checkLoadOptions(options, ['device', ...hubOptionNames], where);
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
 * @throws FileError, DownloadError; OptionError for a name that is none
 */
export async function locatePretrained(
  pretrained: string,
  options: HubOptions = {},
  parts?: ModelParts,
): Promise<string> {
  if (typeof pretrained !== 'string' || pretrained === '') {
    throw new OptionError(
      `fromPretrained: expected a model's folder, its repository on the hub or the name of an embedded one, got ${describe(pretrained)}`,
    );
  }
  if (embeddedModels.some(name => name === pretrained)) return fileURLToPath(new URL(pretrained, embeddedFolder));
  // The hub has no model of these families whose name has no owner: it need not be asked about a misspelled one.
  const meant = pretrained.includes('/') || existsSync(pretrained) ? '' : didYouMean(pretrained, embeddedModels);
  if (meant !== '') throw new FileError({ file: pretrained }, `no such folder and no such embedded model${meant}`);
  return resolveModel(pretrained, options, parts);
}
