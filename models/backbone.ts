import type { Device, Tensor } from '../engine/index.ts';
import { downsampleMask, learnedPositions, sinePositions, type sinePositionsHalfPixel } from '../kernels/index.ts';
import { MobileNetV3 } from './backbones/mobilenetv3.ts';
import { ResNet } from './backbones/resnet.ts';
import type { BackboneConfig, BaseConfig } from './configuration.ts';
import { Module, Table } from './module.ts';

/*
 * The convolutional backbone and the positions of its maps' cells.
 * B batch, H x W padded image, h x w one feature map, S = h·w, D = d_model.
 */

/** One level of the backbone as the models see it. */
export interface FeatureMap {
  /** [B, C, h, w] */
  readonly map: Tensor;
  /** [B, h, w], 1 = real, 0 = padding. */
  readonly mask: Tensor;
}

class ConvEncoder extends Module {
  readonly model: ResNet | MobileNetV3;

  constructor(config: BackboneConfig) {
    super();
    this.model = config.kind === 'resnet' ? new ResNet(config) : new MobileNetV3(config);
  }
}

/** Positions as a table of 50 rows and 50 columns (DetrLearnedPositionEmbedding). */
class LearnedPositionEmbedding extends Module {
  readonly row_embeddings: Table;
  readonly column_embeddings: Table;

  constructor(features: number) {
    super();
    this.row_embeddings = new Table(50, features, { kind: 'uniform', from: 0, to: 1 });
    this.column_embeddings = new Table(50, features, { kind: 'uniform', from: 0, to: 1 });
  }
}

/** How the three families differ in their sine positions. */
export type SinePositions = typeof sinePositions | typeof sinePositionsHalfPixel;

export class Backbone extends Module {
  readonly conv_encoder: ConvEncoder;
  declare readonly position_embedding?: LearnedPositionEmbedding;
  readonly #features: number;
  readonly #sine: SinePositions;

  constructor(config: BaseConfig, sine: SinePositions = sinePositions) {
    super();
    this.conv_encoder = new ConvEncoder(config.backbone);
    this.#features = config.d_model / 2;
    this.#sine = sine;
    if (config.position_embedding_type === 'learned') {
      this.position_embedding = new LearnedPositionEmbedding(this.#features);
    }
  }

  /** Channels of the configured maps, finest first. */
  get outChannels(): readonly number[] {
    return this.conv_encoder.model.outChannels;
  }

  /** pixels [B, 3, H, W], pixelMask [B, H, W] or [B, 1, 1] → the last `count` maps, finest first. */
  forward(device: Device, pixels: Tensor, pixelMask: Tensor, count: number): FeatureMap[] {
    return this.conv_encoder.model
      .forward(device, pixels, count)
      .map(map => ({ map, mask: downsampleMask(pixelMask, [map.dim(2), map.dim(3)]) }));
  }

  /** mask [B, h, w] → positions [B, S, D] of its cells. */
  positions(mask: Tensor): Tensor {
    const learned = this.position_embedding;
    if (learned === undefined) return this.#sine(mask, { features: this.#features });
    const shape = [mask.dim(0), mask.dim(1), mask.dim(2)] as const;
    return learnedPositions(learned.row_embeddings.values, learned.column_embeddings.values, shape);
  }
}
