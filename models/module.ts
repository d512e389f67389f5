import { type Device, DeviceError, elementCount, type HostTensor, type Tensor, tensorsIn } from '../engine/index.ts';
import {
  type Activation,
  type Conv2dGeometryOptions,
  type Conv2dOptions,
  type Conv2dWeights,
  conv2d,
  groupNorm,
  type LinearOptions,
  type LinearWeights,
  layerNorm,
  linear,
  packConv2d,
  packLinear,
} from '../kernels/index.ts';
import { type Initializer, NORMAL, ONES, xavier, ZEROS } from './initializers.ts';

/** A tensor of the checkpoint: its place in the module tree is its name. */
export class Parameter {
  readonly shape: readonly number[];
  readonly initializer: Initializer;

  constructor(shape: readonly number[], initializer: Initializer) {
    this.shape = shape;
    this.initializer = initializer;
  }
}

/** Gives a parameter's values, float32, of exactly the parameter's shape. */
export type ReadParameter = (parameter: Parameter) => Promise<HostTensor>;

/**
 * A node of the model. Its parameters and submodules are its enumerable properties, and the property path is the name in
 * the checkpoint (`decoder.layers.0.self_attn.q_proj.weight`), which is why those properties are in snake_case.
 */
export abstract class Module {
  /** Reads and packs the weights onto the device, one module after the other, so that host memory stays small. */
  async load(device: Device, read: ReadParameter): Promise<void> {
    for (const [, child] of childrenOf(this)) await child.load(device, read);
  }

  /** The module's own weights on the device: tensors, in whatever holds them. */
  protected get packed(): unknown {
    return undefined;
  }

  /** All weights on the device. */
  *tensors(): Generator<Tensor> {
    for (const [, child] of childrenOf(this)) yield* child.tensors();
    yield* tensorsIn(this.packed);
  }

  /** Gives the weights' device memory back. */
  dispose(): void {
    for (const [, child] of childrenOf(this)) child.dispose();
    for (const tensor of tensorsIn(this.packed)) tensor.dispose();
  }
}

/** Submodules with their names; lists (of lists) of modules are numbered, as `torch.nn.ModuleList` does. */
function* childrenOf(parent: object): Generator<[string, Module]> {
  for (const [name, value] of Object.entries(parent)) {
    if (value instanceof Module) yield [name, value];
    else if (Array.isArray(value)) for (const [path, child] of childrenOf(value)) yield [`${name}.${path}`, child];
  }
}

/** Every parameter below a module with its checkpoint name. */
export function* namedParameters(module: Module, prefix = ''): Generator<[string, Parameter]> {
  for (const [name, value] of Object.entries(module)) {
    if (value instanceof Parameter) yield [prefix + name, value];
  }
  for (const [name, child] of childrenOf(module)) yield* namedParameters(child, `${prefix}${name}.`);
}

/** Calls that need weights before `load` are a programming error; this names the module. */
export function loaded<Weights>(weights: Weights | undefined, module: Module): Weights {
  if (weights === undefined) throw new DeviceError(`${module.constructor.name}: expected loaded weights, got none`);
  return weights;
}

/** How a linear layer's parameters start. */
export interface LinearInitializers {
  /** By its shape [out, in]; default normal. */
  readonly weight?: (shape: readonly number[]) => Initializer;
  /** Default zeros. */
  readonly bias?: Initializer;
}

/** y = activation(x·Wᵀ + b + residual) over the last axis, as `torch.nn.Linear`. */
export class Linear extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  #weights: LinearWeights | undefined;

  constructor(inFeatures: number, outFeatures: number, initializers: LinearInitializers = {}) {
    super();
    const { weight = () => NORMAL, bias = ZEROS } = initializers;
    const shape = [outFeatures, inFeatures];
    this.weight = new Parameter(shape, weight(shape));
    this.bias = new Parameter([outFeatures], bias);
  }

  override async load(device: Device, read: ReadParameter): Promise<void> {
    this.#weights = packLinear(device, await read(this.weight), await read(this.bias));
  }

  /** x [..., inFeatures] → [..., outFeatures]. */
  forward(x: Tensor, options?: LinearOptions): Tensor {
    return linear(x, loaded(this.#weights, this), options);
  }

  protected override get packed(): unknown {
    return this.#weights;
  }
}

/** A parameter that the graph uses as it is: query tables, position tables. */
export class Table extends Module {
  readonly weight: Parameter;
  #values: Tensor | undefined;

  constructor(rows: number, columns: number, initializer: Initializer = NORMAL) {
    super();
    this.weight = new Parameter([rows, columns], initializer);
  }

  override async load(device: Device, read: ReadParameter): Promise<void> {
    this.#values = device.tensor(await read(this.weight));
  }

  /** [rows, columns] */
  get values(): Tensor {
    return loaded(this.#values, this);
  }

  protected override get packed(): unknown {
    return this.#values;
  }
}

abstract class AffineNorm extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  #scale: Tensor | undefined;
  #shift: Tensor | undefined;

  constructor(features: number) {
    super();
    this.weight = new Parameter([features], ONES);
    this.bias = new Parameter([features], ZEROS);
  }

  override async load(device: Device, read: ReadParameter): Promise<void> {
    this.#scale = device.tensor(await read(this.weight));
    this.#shift = device.tensor(await read(this.bias));
  }

  protected get scale(): Tensor {
    return loaded(this.#scale, this);
  }

  protected get shift(): Tensor {
    return loaded(this.#shift, this);
  }

  protected override get packed(): unknown {
    return [this.#scale, this.#shift];
  }
}

/** Over the last axis, eps 1e-5. */
export class LayerNorm extends AffineNorm {
  forward(x: Tensor): Tensor {
    return layerNorm(x, this.scale, this.shift);
  }
}

/** Over groups of channels of [B, C, H, W], eps 1e-5. */
export class GroupNorm extends AffineNorm {
  readonly #groups: number;

  constructor(groups: number, channels: number) {
    super(channels);
    this.#groups = groups;
  }

  forward(x: Tensor, options: { activation?: Activation } = {}): Tensor {
    return groupNorm(x, this.#groups, this.scale, this.shift, options);
  }
}

const FROZEN_BATCH_NORM_EPSILON = 1e-5;

/**
 * Batch norm with fixed statistics (DetrFrozenBatchNorm2d). It has no kernel: the convolution before it takes it in when
 * the weights are loaded. HuggingFace replaces every batch norm by this one, so eps is 1e-5 whatever the backbone's own.
 */
export class FrozenBatchNorm2d extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly running_mean: Parameter;
  readonly running_var: Parameter;

  constructor(channels: number) {
    super();
    this.weight = new Parameter([channels], ONES);
    this.bias = new Parameter([channels], ZEROS);
    this.running_mean = new Parameter([channels], ZEROS);
    this.running_var = new Parameter([channels], ONES);
  }

  override async load(): Promise<void> {}

  /** norm(x) = x·scale + shift per channel, in float64. */
  async affine(read: ReadParameter): Promise<{ scale: Float64Array; shift: Float64Array }> {
    const weight = (await read(this.weight)).data;
    const bias = (await read(this.bias)).data;
    const mean = (await read(this.running_mean)).data;
    const variance = (await read(this.running_var)).data;
    const scale = Float64Array.from(weight, (value, c) => value / Math.sqrt(variance[c]! + FROZEN_BATCH_NORM_EPSILON));
    return { scale, shift: scale.map((value, c) => bias[c]! - mean[c]! * value) };
  }
}

export interface Conv2dLayerOptions extends Conv2dGeometryOptions {
  readonly bias?: boolean;
  /** The batch norm that follows in the graph; it is folded into the weights. */
  readonly norm?: FrozenBatchNorm2d;
  /** How the weight starts, by its shape [out, in, height, width]; default normal, and Glorot's before a batch norm. */
  readonly initializer?: (shape: readonly number[]) => Initializer;
}

/** y = activation(conv(x) + b + residual), as `torch.nn.Conv2d`, with the frozen batch norm after it folded in. */
export class Conv2d extends Module {
  readonly weight: Parameter;
  declare readonly bias?: Parameter;
  readonly #norm: FrozenBatchNorm2d | undefined;
  readonly #geometry: Conv2dGeometryOptions;
  #weights: Conv2dWeights | undefined;

  constructor(inChannels: number, outChannels: number, kernel: number, options: Conv2dLayerOptions = {}) {
    super();
    const { bias = false, norm, initializer = norm === undefined ? () => NORMAL : xavier, ...geometry } = options;
    const shape = [outChannels, inChannels / (geometry.groups ?? 1), kernel, kernel];
    this.weight = new Parameter(shape, initializer(shape));
    if (bias) this.bias = new Parameter([outChannels], ZEROS);
    this.#norm = norm;
    this.#geometry = geometry;
  }

  override async load(device: Device, read: ReadParameter): Promise<void> {
    const weight = await read(this.weight);
    const bias = this.bias === undefined ? undefined : await read(this.bias);
    if (this.#norm === undefined) {
      this.#weights = packConv2d(device, weight, bias, this.#geometry);
      return;
    }
    const { scale, shift } = await this.#norm.affine(read);
    const filterSize = weight.data.length / scale.length;
    const folded = new Float32Array(weight.data.length);
    for (let channel = 0, index = 0; channel < scale.length; channel++) {
      const factor = scale[channel]!;
      for (const end = index + filterSize; index < end; index++) folded[index] = weight.data[index]! * factor;
    }
    const foldedBias = Float32Array.from(
      shift,
      (value, channel) => value + (bias?.data[channel] ?? 0) * scale[channel]!,
    );
    this.#weights = packConv2d(
      device,
      { shape: weight.shape, data: folded },
      { shape: [scale.length], data: foldedBias },
      this.#geometry,
    );
  }

  /** x [B, C, H, W] → [B, O, H', W']. */
  forward(x: Tensor, options?: Conv2dOptions): Tensor {
    return conv2d(x, loaded(this.#weights, this), options);
  }

  protected override get packed(): unknown {
    return this.#weights;
  }
}

/** Linear layers with ReLU between them (DetrMLPPredictionHead). */
export class MultilayerPerceptron extends Module {
  readonly layers: readonly Linear[];

  /** @param widths input, hidden and output widths. */
  constructor(...widths: readonly number[]) {
    super();
    this.layers = widths.slice(1).map((width, index) => new Linear(widths[index]!, width));
  }

  forward(x: Tensor): Tensor {
    return this.layers.reduce(
      (state, layer) => layer.forward(state, { activation: layer === this.layers.at(-1) ? 'linear' : 'relu' }),
      x,
    );
  }
}

interface Step {
  forward(x: Tensor): Tensor;
}

/** Runs steps one after the other and gives each intermediate tensor back as soon as the next one is there; `x` stays. */
function sequential(device: Device, x: Tensor, steps: readonly Step[]): Tensor {
  let state = x;
  for (const step of steps) {
    const next = device.scope(() => step.forward(state));
    if (state !== x) state.dispose();
    state = next;
  }
  return state;
}

/**
 * Runs a backbone's stages of at least one step. Returns the maps of those that are wanted, where 0 is `x` itself and n
 * what the n-th stage makes of it; the others are given back.
 */
export function runStages(
  device: Device,
  x: Tensor,
  stages: readonly (readonly Step[])[],
  wanted: ReadonlySet<number>,
): Tensor[] {
  const maps = wanted.has(0) ? [x] : [];
  let state = x;
  for (const [index, steps] of stages.entries()) {
    const next = sequential(device, state, steps);
    if (!wanted.has(index)) state.dispose();
    state = next;
    if (wanted.has(index + 1)) maps.push(state);
  }
  return maps;
}

/** A constant tensor. */
export const filled = (device: Device, shape: readonly number[], value: number): Tensor =>
  device.tensor({ shape, data: new Float32Array(elementCount(shape)).fill(value) });

export const zeros = (device: Device, shape: readonly number[]): Tensor => filled(device, shape, 0);
export const ones = (device: Device, shape: readonly number[]): Tensor => filled(device, shape, 1);
