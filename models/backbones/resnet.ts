import type { Device, Tensor } from '../../engine/index.ts';
import { type Activation, maxPool2d } from '../../kernels/index.ts';
import { Conv2d, FrozenBatchNorm2d, Module, runStages } from '../module.ts';

/*
 * ResNet (He et al., "Deep Residual Learning for Image Recognition"), as timm's `resnet18` … `resnet101` and transformers'
 * `ResNetBackbone` compute it: v1.5, the stride of a bottleneck on its 3x3 convolution. Property names are timm's.
 *
 * B batch, H x W image; stage s gives [B, hiddenSizes[s - 1], H / 2^(s + 1), W / 2^(s + 1)], stage 0 is the pooled stem.
 */

export interface ResNetConfig {
  readonly kind: 'resnet';
  readonly inChannels: number;
  readonly embeddingSize: number;
  /** Output channels of each stage. */
  readonly hiddenSizes: readonly number[];
  /** Blocks of each stage. */
  readonly depths: readonly number[];
  readonly layerType: 'basic' | 'bottleneck';
  /** After the stem and each block. Inside a block it is always ReLU, whatever `hidden_act` says: transformers' quirk. */
  readonly activation: Activation;
  readonly downsampleInFirstStage: boolean;
  /** The original v1: the stride of a bottleneck on its first 1x1 convolution. */
  readonly downsampleInBottleneck: boolean;
  /** DC5: stage 4 keeps its resolution and dilates its 3x3 convolutions. */
  readonly dilation: boolean;
  /** Stages whose maps the model gets, ascending; 0 is the stem. */
  readonly outStages: readonly number[];
}

interface BlockOptions {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly stride: number;
  /** Dilation of the block's first 3x3 convolution, and of the following ones. */
  readonly firstDilation: number;
  readonly dilation: number;
  readonly activation: Activation;
  readonly downsampleInBottleneck: boolean;
}

abstract class ResidualBlock extends Module {
  declare readonly downsample?: readonly [Conv2d, FrozenBatchNorm2d];
  protected readonly activation: Activation;

  constructor({ inChannels, outChannels, stride, activation }: BlockOptions) {
    super();
    this.activation = activation;
    if (stride !== 1 || inChannels !== outChannels) {
      const norm = new FrozenBatchNorm2d(outChannels);
      this.downsample = [new Conv2d(inChannels, outChannels, 1, { stride, norm }), norm];
    }
  }

  abstract forward(x: Tensor): Tensor;

  protected shortcut(x: Tensor): Tensor {
    return this.downsample === undefined ? x : this.downsample[0].forward(x);
  }
}

class BasicBlock extends ResidualBlock {
  readonly conv1: Conv2d;
  readonly bn1: FrozenBatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn2: FrozenBatchNorm2d;

  constructor(options: BlockOptions) {
    super(options);
    const { inChannels, outChannels, stride, firstDilation, dilation } = options;
    this.bn1 = new FrozenBatchNorm2d(outChannels);
    this.conv1 = new Conv2d(inChannels, outChannels, 3, {
      stride,
      padding: firstDilation,
      dilation: firstDilation,
      norm: this.bn1,
    });
    this.bn2 = new FrozenBatchNorm2d(outChannels);
    this.conv2 = new Conv2d(outChannels, outChannels, 3, { padding: dilation, dilation, norm: this.bn2 });
  }

  override forward(x: Tensor): Tensor {
    const hidden = this.conv1.forward(x, { activation: 'relu' });
    return this.conv2.forward(hidden, { residual: this.shortcut(x), activation: this.activation });
  }
}

const BOTTLENECK_EXPANSION = 4;

class Bottleneck extends ResidualBlock {
  readonly conv1: Conv2d;
  readonly bn1: FrozenBatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn2: FrozenBatchNorm2d;
  readonly conv3: Conv2d;
  readonly bn3: FrozenBatchNorm2d;

  constructor(options: BlockOptions) {
    super(options);
    const { inChannels, outChannels, stride, firstDilation, downsampleInBottleneck } = options;
    const width = outChannels / BOTTLENECK_EXPANSION;
    this.bn1 = new FrozenBatchNorm2d(width);
    this.conv1 = new Conv2d(inChannels, width, 1, { stride: downsampleInBottleneck ? stride : 1, norm: this.bn1 });
    this.bn2 = new FrozenBatchNorm2d(width);
    this.conv2 = new Conv2d(width, width, 3, {
      stride: downsampleInBottleneck ? 1 : stride,
      padding: firstDilation,
      dilation: firstDilation,
      norm: this.bn2,
    });
    this.bn3 = new FrozenBatchNorm2d(outChannels);
    this.conv3 = new Conv2d(width, outChannels, 1, { norm: this.bn3 });
  }

  override forward(x: Tensor): Tensor {
    const narrow = this.conv1.forward(x, { activation: 'relu' });
    const hidden = this.conv2.forward(narrow, { activation: 'relu' });
    narrow.dispose();
    return this.conv3.forward(hidden, { residual: this.shortcut(x), activation: this.activation });
  }
}

export class ResNet extends Module {
  readonly conv1: Conv2d;
  readonly bn1: FrozenBatchNorm2d;
  readonly layer1: readonly ResidualBlock[];
  readonly layer2: readonly ResidualBlock[];
  readonly layer3: readonly ResidualBlock[];
  readonly layer4: readonly ResidualBlock[];
  readonly #config: ResNetConfig;

  constructor(config: ResNetConfig) {
    super();
    this.#config = config;
    const { embeddingSize } = config;
    this.bn1 = new FrozenBatchNorm2d(embeddingSize);
    this.conv1 = new Conv2d(config.inChannels, embeddingSize, 7, { stride: 2, padding: 3, norm: this.bn1 });
    this.layer1 = this.#buildStage(1);
    this.layer2 = this.#buildStage(2);
    this.layer3 = this.#buildStage(3);
    this.layer4 = this.#buildStage(4);
  }

  /** Channels of the maps that the model gets. */
  get outChannels(): readonly number[] {
    const { embeddingSize, hiddenSizes, outStages } = this.#config;
    return outStages.map(stage => (stage === 0 ? embeddingSize : hiddenSizes[stage - 1]!));
  }

  /** pixels [B, 3, H, W] → the maps of the last `count` of the configured stages, finest first. */
  forward(device: Device, pixels: Tensor, count: number): Tensor[] {
    const wanted = new Set(this.#config.outStages.slice(-count));
    const { activation } = this.#config;
    const stem = device.scope(() =>
      maxPool2d(this.conv1.forward(pixels, { activation }), { kernel: 3, stride: 2, padding: 1 }),
    );
    const stages = [this.layer1, this.layer2, this.layer3, this.layer4].filter(blocks => blocks.length > 0);
    return runStages(device, stem, stages, wanted);
  }

  #buildStage(stage: number): ResidualBlock[] {
    const { embeddingSize, hiddenSizes, depths, layerType, activation } = this.#config;
    const { downsampleInFirstStage, downsampleInBottleneck } = this.#config;
    const outChannels = hiddenSizes[stage - 1];
    if (outChannels === undefined) return [];
    const stageChannels = hiddenSizes[stage - 2] ?? embeddingSize;
    const dilated = this.#config.dilation && stage === 4;
    const stride = dilated || (stage === 1 && !downsampleInFirstStage) ? 1 : 2;
    const Block = layerType === 'basic' ? BasicBlock : Bottleneck;
    return Array.from({ length: depths[stage - 1]! }, (_, block) => {
      const first = block === 0;
      return new Block({
        inChannels: first ? stageChannels : outChannels,
        outChannels,
        stride: first ? stride : 1,
        firstDilation: dilated && !first ? 2 : 1,
        dilation: dilated ? 2 : 1,
        activation,
        downsampleInBottleneck,
      });
    });
  }
}
