import type { Device, Tensor } from '../../engine/index.ts';
import { type Activation, meanOverSpace, multiply } from '../../kernels/index.ts';
import { xavier } from '../initializers.ts';
import { Conv2d, FrozenBatchNorm2d, Module, runStages } from '../module.ts';

/*
 * timm's `tf_mobilenetv3_small_075` (Howard et al., "Searching for MobileNetV3"), with TensorFlow's SAME padding on strided
 * convolutions. Property names are timm's.
 *
 * HuggingFace replaces every batch norm of a backbone by a frozen one. timm's block norms are `BatchNormAct2d`, which hold
 * the block's activation, so with any timm since 0.8 the activations inside the blocks vanish (the stem's and the squeeze
 * and excitation's stay). That network is the default here, since it is what transformers runs; `blockActivations` gives
 * the one that the paper means.
 */

export interface MobileNetV3Config {
  readonly kind: 'mobilenetv3';
  readonly inChannels: number;
  readonly blockActivations: boolean;
  /** DC5: the last strided stage keeps its resolution and dilates its depthwise convolutions. */
  readonly dilation: boolean;
  /** Positions in timm's feature list that the model gets: 1 = blocks.0, 2 = blocks.1, 3 = blocks.3, 4 = blocks.5. */
  readonly outStages: readonly number[];
}

const STEM_CHANNELS = 16;
/** How many of `blocks` the feature maps 1 to 4 have run through. */
const FEATURE_BLOCKS = [1, 2, 4, 6];
const FEATURE_CHANNELS = [16, 24, 40, 432];
/** Index in `blocks` of the stage that dilates. */
const DILATED_BLOCKS = 4;

interface InvertedResidualOptions {
  readonly kernel: number;
  readonly stride: number;
  readonly inChannels: number;
  readonly expandedChannels: number;
  readonly outChannels: number;
  /** Channels inside the squeeze-and-excitation, 0 for none. */
  readonly squeezed: number;
  readonly activation: Activation;
  readonly dilation?: number;
}

const residual = (
  kernel: number,
  stride: number,
  inChannels: number,
  expandedChannels: number,
  outChannels: number,
  squeezed: number,
  activation: Activation,
): InvertedResidualOptions => ({ kernel, stride, inChannels, expandedChannels, outChannels, squeezed, activation });

const INVERTED_RESIDUALS: readonly (readonly InvertedResidualOptions[])[] = [
  [residual(3, 2, 16, 72, 24, 0, 'relu'), residual(3, 1, 24, 88, 24, 0, 'relu')],
  [
    residual(5, 2, 24, 96, 32, 24, 'hardswish'),
    residual(5, 1, 32, 192, 32, 48, 'hardswish'),
    residual(5, 1, 32, 192, 32, 48, 'hardswish'),
  ],
  [residual(5, 1, 32, 96, 40, 24, 'hardswish'), residual(5, 1, 40, 120, 40, 32, 'hardswish')],
  [
    residual(5, 2, 40, 240, 72, 64, 'hardswish'),
    residual(5, 1, 72, 432, 72, 112, 'hardswish'),
    residual(5, 1, 72, 432, 72, 112, 'hardswish'),
  ],
];

/** Strided convolutions pad as TensorFlow does, the others evenly. */
const paddingFor = (kernel: number, stride: number, dilation: number) =>
  stride > 1 ? ('same' as const) : (dilation * (kernel - 1)) / 2;

class SqueezeExcite extends Module {
  readonly conv_reduce: Conv2d;
  readonly conv_expand: Conv2d;

  constructor(channels: number, squeezed: number) {
    super();
    this.conv_reduce = new Conv2d(channels, squeezed, 1, { bias: true, initializer: xavier });
    this.conv_expand = new Conv2d(squeezed, channels, 1, { bias: true, initializer: xavier });
  }

  forward(x: Tensor): Tensor {
    const reduced = this.conv_reduce.forward(meanOverSpace(x), { activation: 'relu' });
    return multiply(x, this.conv_expand.forward(reduced, { activation: 'hardsigmoid' }));
  }
}

class DepthwiseSeparable extends Module {
  readonly conv_dw: Conv2d;
  readonly bn1: FrozenBatchNorm2d;
  readonly se: SqueezeExcite;
  readonly conv_pw: Conv2d;
  readonly bn2: FrozenBatchNorm2d;
  readonly #activation: Activation | undefined;

  constructor(channels: number, squeezed: number, activation: Activation | undefined) {
    super();
    this.#activation = activation;
    this.bn1 = new FrozenBatchNorm2d(channels);
    this.conv_dw = new Conv2d(channels, channels, 3, { stride: 2, padding: 'same', groups: channels, norm: this.bn1 });
    this.se = new SqueezeExcite(channels, squeezed);
    this.bn2 = new FrozenBatchNorm2d(channels);
    this.conv_pw = new Conv2d(channels, channels, 1, { norm: this.bn2 });
  }

  forward(x: Tensor): Tensor {
    return this.conv_pw.forward(this.se.forward(this.conv_dw.forward(x, { activation: this.#activation })));
  }
}

class InvertedResidual extends Module {
  readonly conv_pw: Conv2d;
  readonly bn1: FrozenBatchNorm2d;
  readonly conv_dw: Conv2d;
  readonly bn2: FrozenBatchNorm2d;
  declare readonly se?: SqueezeExcite;
  readonly conv_pwl: Conv2d;
  readonly bn3: FrozenBatchNorm2d;
  readonly #activation: Activation | undefined;
  readonly #skip: boolean;

  constructor(options: InvertedResidualOptions, blockActivations: boolean) {
    super();
    const { kernel, stride, dilation = 1, inChannels, expandedChannels, outChannels, squeezed } = options;
    this.#activation = blockActivations ? options.activation : undefined;
    this.#skip = stride === 1 && inChannels === outChannels;
    this.bn1 = new FrozenBatchNorm2d(expandedChannels);
    this.conv_pw = new Conv2d(inChannels, expandedChannels, 1, { norm: this.bn1 });
    this.bn2 = new FrozenBatchNorm2d(expandedChannels);
    this.conv_dw = new Conv2d(expandedChannels, expandedChannels, kernel, {
      stride,
      dilation,
      padding: paddingFor(kernel, stride, dilation),
      groups: expandedChannels,
      norm: this.bn2,
    });
    if (squeezed > 0) this.se = new SqueezeExcite(expandedChannels, squeezed);
    this.bn3 = new FrozenBatchNorm2d(outChannels);
    this.conv_pwl = new Conv2d(expandedChannels, outChannels, 1, { norm: this.bn3 });
  }

  forward(x: Tensor): Tensor {
    const options = { activation: this.#activation };
    const expanded = this.conv_pw.forward(x, options);
    const filtered = this.conv_dw.forward(expanded, options);
    const gated = this.se?.forward(filtered) ?? filtered;
    return this.conv_pwl.forward(gated, { residual: this.#skip ? x : undefined });
  }
}

class ConvNormActivation extends Module {
  readonly conv: Conv2d;
  readonly bn1: FrozenBatchNorm2d;
  readonly #activation: Activation | undefined;

  constructor(inChannels: number, outChannels: number, activation: Activation | undefined) {
    super();
    this.#activation = activation;
    this.bn1 = new FrozenBatchNorm2d(outChannels);
    this.conv = new Conv2d(inChannels, outChannels, 1, { norm: this.bn1 });
  }

  forward(x: Tensor): Tensor {
    return this.conv.forward(x, { activation: this.#activation });
  }
}

export class MobileNetV3 extends Module {
  readonly conv_stem: Conv2d;
  readonly bn1: FrozenBatchNorm2d;
  readonly blocks: readonly (readonly (DepthwiseSeparable | InvertedResidual | ConvNormActivation)[])[];
  readonly #config: MobileNetV3Config;

  constructor(config: MobileNetV3Config) {
    super();
    this.#config = config;
    const { blockActivations, dilation } = config;
    this.bn1 = new FrozenBatchNorm2d(STEM_CHANNELS);
    this.conv_stem = new Conv2d(config.inChannels, STEM_CHANNELS, 3, { stride: 2, padding: 'same', norm: this.bn1 });
    this.blocks = [
      [new DepthwiseSeparable(STEM_CHANNELS, 8, blockActivations ? 'relu' : undefined)],
      ...INVERTED_RESIDUALS.map((stage, index) =>
        stage.map((options, block) => {
          const isDilated = dilation && index + 1 === DILATED_BLOCKS;
          const dilated = { ...options, stride: 1, dilation: block === 0 ? 1 : 2 };
          return new InvertedResidual(isDilated ? dilated : options, blockActivations);
        }),
      ),
      [new ConvNormActivation(72, 432, blockActivations ? 'hardswish' : undefined)],
    ];
  }

  get outChannels(): readonly number[] {
    return this.#config.outStages.map(stage => FEATURE_CHANNELS[stage - 1]!);
  }

  /** pixels [B, 3, H, W] → the maps of the last `count` of the configured stages, finest first. */
  forward(device: Device, pixels: Tensor, count: number): Tensor[] {
    const wanted = new Set(this.#config.outStages.slice(-count).map(stage => FEATURE_BLOCKS[stage - 1]!));
    const stem = this.conv_stem.forward(pixels, { activation: 'hardswish' });
    return runStages(device, stem, this.blocks, wanted);
  }
}
