import { type Device, ShapeError, type Tensor } from '../engine/index.ts';
import { downsampleMask, flattenSpace } from '../kernels/index.ts';
import type { Backbone, FeatureMap } from './backbone.ts';
import type { GraphInputs } from './inputs.ts';
import { type Conv2d, ones } from './module.ts';
import { type Encoder, givenMemory, type Memory } from './transformer.ts';

/*
 * The image's way to the decoder's memory, the same in DETR and Conditional DETR.
 * B batch, h x w the backbone's last map, S = h·w, D = d_model.
 */

/** What the encoder's side of the model hands on. */
export interface Encoded extends Memory {
  /** The backbone's maps that were asked for, finest first; empty with `inputsEmbeds`. */
  readonly features: readonly FeatureMap[];
  /** [B, D, h, w]; undefined with `inputsEmbeds`. */
  readonly projected: Tensor | undefined;
  /** [B, S, D] */
  readonly positions: Tensor;
  /** [B, S], when something is padded. */
  readonly keyMask: Tensor | undefined;
}

/** The backbone's last map as a sequence, through the encoder. `mapCount` maps are kept for whoever needs them. */
export function encode(
  { backbone, input_projection, encoder, device }: EncoderSide,
  inputs: GraphInputs,
  mapCount: number,
): Encoded {
  const { features, projected, sequence, positions, keyMask } =
    inputs.inputsEmbeds === undefined
      ? device.stage('backbone', () => projectPixels(backbone, input_projection, device, inputs, mapCount))
      : embedSequence(backbone, device, inputs, inputs.inputsEmbeds);
  return device.stage('encoder', () => {
    const encoded = givenMemory(inputs, sequence, () => encoder.forward(sequence, positions, keyMask, inputs));
    return { features, projected, positions, keyMask, ...encoded };
  });
}

export interface EncoderSide {
  readonly device: Device;
  readonly backbone: Backbone;
  readonly input_projection: Conv2d;
  readonly encoder: Encoder;
}

interface Sequence extends Pick<Encoded, 'features' | 'projected' | 'positions' | 'keyMask'> {
  /** [B, S, D] */
  readonly sequence: Tensor;
}

function projectPixels(
  backbone: Backbone,
  projection: Conv2d,
  device: Device,
  { pixels, pixelMask, padded }: GraphInputs,
  mapCount: number,
): Sequence {
  const features = device.scope(() => backbone.forward(device, pixels!, pixelMask!, mapCount));
  const { map, mask } = features.at(-1)!;
  const projected = projection.forward(map); // [B, D, h, w]
  const sequence = flattenSpace(projected); // [B, S, D]
  const keyMask = padded ? mask.reshape([mask.dim(0), -1]) : undefined;
  return { features, projected, sequence, positions: backbone.positions(mask), keyMask };
}

/** As transformers 5: the sequence is taken for a square map. */
function embedSequence(backbone: Backbone, device: Device, inputs: GraphInputs, sequence: Tensor): Sequence {
  const cells = sequence.dim(1);
  const side = Math.floor(Math.sqrt(cells));
  if (side * side !== cells) {
    throw new ShapeError(`forward: inputsEmbeds: expected [B, S, D] with S a square number, got S = ${cells}`);
  }
  const positions = backbone.positions(ones(device, [inputs.batch, side, side]));
  const keyMask =
    inputs.pixelMask === undefined
      ? undefined
      : downsampleMask(inputs.pixelMask, [side, side]).reshape([inputs.batch, cells]);
  return { features: [], projected: undefined, sequence, positions, keyMask };
}
