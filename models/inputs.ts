import {
  type Device,
  describe,
  elementCount,
  formatShape,
  type HostTensor,
  ShapeError,
  type Tensor,
} from '../engine/index.ts';
import { checkFlag, checkOptionNames } from '../engine/options.ts';
import type { BaseConfig } from './configuration.ts';

/*
 * The arguments of a forward pass: what a caller gives, checked and copied to the device.
 * B batch, H x W padded image, S feature cells, Q queries, D = d_model.
 */

/** 0 hides, anything else shows. */
export type MaskData = Int32Array | Float32Array | Uint8Array | BigInt64Array;

/** The arguments of HuggingFace's `forward`, in camelCase. */
export interface ForwardInputs {
  /** [B, num_channels, H, W], normalised; padded at the bottom and right. */
  readonly pixelValues?: HostTensor | undefined;
  /** [B, H, W], 0 = padding, anything else = real; all real when absent. */
  readonly pixelMask?: HostTensor<MaskData> | undefined;
  /**
   * [B, S, D] with S a square number: takes the place of the backbone's projected map (DETR but for segmentation; the others
   * ignore it).
   */
  readonly inputsEmbeds?: HostTensor | undefined;
  /** [B, Q, D]: the decoder's first state instead of zeros (DETR, ConditionalDetrForSegmentation; the others ignore it). */
  readonly decoderInputsEmbeds?: HostTensor | undefined;
  /** [B, Q], 0 = hide the query in self-attention, anything else = show it (DETR; the others ignore it). */
  readonly decoderAttentionMask?: HostTensor<MaskData> | undefined;
  /** The encoder's result from an earlier pass, [B, S, D]; the encoder is skipped. */
  readonly encoderOutputs?: { readonly last_hidden_state: HostTensor } | undefined;
  readonly outputHiddenStates?: boolean | undefined;
  readonly outputAttentions?: boolean | undefined;
}

export const inputNames: readonly string[] = Object.keys({
  pixelValues: true,
  pixelMask: true,
  inputsEmbeds: true,
  decoderInputsEmbeds: true,
  decoderAttentionMask: true,
  encoderOutputs: true,
  outputHiddenStates: true,
  outputAttentions: true,
} satisfies Record<keyof ForwardInputs, true>);

/** The same on the device, as the graph wants it. */
export interface GraphInputs {
  readonly batch: number;
  readonly pixels: Tensor | undefined;
  /** [B, H, W] of 0 and 1, or [B, 1, 1] where all pixels are real; undefined only beside `inputsEmbeds`. */
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

/**
 * Checks the arguments of `forward`, or of what `where` says, and copies them to the device.
 * @throws ShapeError; OptionError for unknown ones
 */
export function upload(
  device: Device,
  config: BaseConfig,
  inputs: ForwardInputs,
  auxiliaryOutputs: boolean,
  where = 'forward',
): GraphInputs {
  checkOptionNames(inputs, inputNames, where);
  const { pixelValues, pixelMask, inputsEmbeds, decoderInputsEmbeds, decoderAttentionMask, encoderOutputs } = inputs;
  const { num_queries: queries, d_model: width } = config;
  const given = pixelValues ?? inputsEmbeds;
  if (given === undefined) throw new ShapeError(`${where}: expected pixelValues or inputsEmbeds, got neither`);
  const sizes = new AxisSizes(where);
  if (pixelValues !== undefined) sizes.check('pixelValues', pixelValues, ['B', config.num_channels, 'H', 'W']);
  if (inputsEmbeds !== undefined) sizes.check('inputsEmbeds', inputsEmbeds, ['B', 'S', width]);
  if (pixelMask !== undefined) sizes.check('pixelMask', pixelMask, ['B', 'H', 'W'], MASK_ARRAYS);
  if (decoderInputsEmbeds !== undefined) {
    sizes.check('decoderInputsEmbeds', decoderInputsEmbeds, ['B', queries, width]);
  }
  if (decoderAttentionMask !== undefined) {
    sizes.check('decoderAttentionMask', decoderAttentionMask, ['B', queries], MASK_ARRAYS);
  }
  const { outputHiddenStates, outputAttentions } = inputs;
  for (const [name, flag] of Object.entries({ outputHiddenStates, outputAttentions })) {
    checkFlag(flag ?? undefined, name, where);
  }
  const memory = encoderOutputs?.last_hidden_state;
  if (encoderOutputs !== undefined) sizes.check('encoderOutputs.last_hidden_state', memory, ['B', 'S', width]);

  const optional = (host: HostTensor | undefined) => (host === undefined ? undefined : device.tensor(host));
  const batch = given.shape[0]!;
  const padded = pixelMask !== undefined && hasZero(pixelMask.data);
  const allReal =
    (pixelMask ?? pixelValues) ? { shape: [batch, 1, 1], data: new Float32Array(batch).fill(1) } : undefined;
  return {
    batch,
    pixels: optional(pixelValues),
    pixelMask: optional(padded ? toFloats(pixelMask) : allReal),
    padded,
    inputsEmbeds: optional(inputsEmbeds),
    decoderInputsEmbeds: optional(decoderInputsEmbeds),
    decoderAttentionMask: optional(decoderAttentionMask && toFloats(decoderAttentionMask)),
    memory: optional(memory),
    outputHiddenStates: outputHiddenStates ?? config.output_hidden_states,
    outputAttentions: outputAttentions ?? config.output_attentions,
    auxiliaryOutputs,
  };
}

/** For models that need the picture itself: `inputsEmbeds` does not take its place. @throws ShapeError without pixels. */
export function requirePixels(inputs: GraphInputs): GraphInputs {
  if (inputs.pixels === undefined) throw new ShapeError('forward: expected pixelValues, got only inputsEmbeds');
  return { ...inputs, inputsEmbeds: undefined };
}

const hasZero = (data: MaskData) => (data instanceof BigInt64Array ? data.includes(0n) : data.includes(0));

function toFloats({ shape, data }: HostTensor<MaskData>): HostTensor {
  const floats = new Float32Array(data.length);
  for (let index = 0; index < floats.length; index++) floats[index] = Number(data[index]) === 0 ? 0 : 1;
  return { shape, data: floats };
}

type ArrayClass = { new (length: number): MaskData; readonly name: string };
const MASK_ARRAYS: readonly ArrayClass[] = [Int32Array, Float32Array, Uint8Array, BigInt64Array];

/** What the letters of shapes stand for, which is the same size in every argument. */
class AxisSizes {
  readonly #sizes = new Map<number | string, number>();
  readonly #where: string;

  constructor(where: string) {
    this.#where = where;
  }

  /** @throws ShapeError unless the tensor has these axes, sizes or letters for any size above 0, and its data are one of `arrays`. */
  check(
    name: string,
    tensor: HostTensor<MaskData> | undefined,
    axes: readonly (number | string)[],
    arrays: readonly ArrayClass[] = [Float32Array],
  ): void {
    const refuse = (expected: string, got: unknown) =>
      new ShapeError(`${this.#where}: ${name}: expected ${expected}, got ${got}`);
    if (!Array.isArray(tensor?.shape))
      throw refuse(`a tensor [${axes.join(', ')}] as { shape, data }`, describe(tensor));
    const { shape, data } = tensor;
    const known = axes.map(axis => this.#sizes.get(axis) ?? axis);
    if (shape.length !== axes.length || known.some((size, axis) => typeof size === 'number' && size !== shape[axis])) {
      const [pattern, sizes] = [axes, known].map(list => `[${list.join(', ')}]`);
      throw refuse(pattern === sizes ? `${pattern}` : `${pattern} = ${sizes}`, formatShape(shape));
    }
    if (!shape.every(size => Number.isInteger(size) && size > 0))
      throw refuse('whole sizes above 0', formatShape(shape));
    if (!arrays.some(array => data instanceof array)) {
      throw refuse(`data of ${arrays.map(array => array.name).join(' or ')}`, data?.constructor.name);
    }
    const count = elementCount(shape);
    if (data.length !== count) throw refuse(`${count} values for ${formatShape(shape)}`, `${data.length} values`);
    for (const [axis, size] of shape.entries()) this.#sizes.set(axes[axis]!, size);
  }
}
