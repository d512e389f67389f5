import { ConfigError, type Device, type Tensor } from '../engine/index.ts';
import {
  type Activation,
  add,
  type Conv2dWeights,
  concatenate,
  conv2d,
  matmul,
  multiply,
  packConv2d,
  permute,
  resizeNearest,
  slice,
  softmax,
} from '../kernels/index.ts';
import type { BaseConfig } from './configuration.ts';
import type { ObjectDetectionOutputs } from './detection.ts';
import type { Encoded } from './encode.ts';
import { kaiming, xavier, ZEROS } from './initializers.ts';
import { Conv2d, filled, GroupNorm, Linear, loaded, Module, Parameter, type ReadParameter } from './module.ts';

/*
 * The panoptic head (Carion et al. §4.4; DetrMHAttentionMap and DetrMaskHeadSmallConv), shared by DETR and Conditional DETR:
 * each query's attention over the encoder's memory is refined to a mask by a small feature pyramid network.
 *
 * B batch, Q queries, n queries of one chunk, D = d_model, N heads, h x w the last map, h2 x w2 … the finer ones.
 */

export interface ImageSegmentationOutputs extends ObjectDetectionOutputs {
  /** [B, Q, H / 4, W / 4]: logits. */
  readonly pred_masks: Tensor;
}

const LARGEST_FLOAT = 3.4028234663852886e38;

/** 1 → 0, 0 → the most negative float32, which is added to the scores of padded cells. */
function additiveMask(mask: Tensor): Tensor {
  const { device } = mask;
  return add(multiply(mask, filled(device, [1], LARGEST_FLOAT)), filled(device, [1], -LARGEST_FLOAT));
}

/** Attention of queries over the memory, softmaxed over all heads and cells of a query at once. */
class AttentionMap extends Module {
  readonly q_linear: Linear;
  readonly k_linear: Linear;
  readonly #heads: number;

  /** @param gain of the initialisation: the configuration's `init_xavier_std` */
  constructor(width: number, heads: number, gain: number) {
    super();
    const initializers = { weight: (shape: readonly number[]) => xavier(shape, gain) };
    this.q_linear = new Linear(width, width, initializers);
    this.k_linear = new Linear(width, width, initializers);
    this.#heads = heads;
  }

  /** state [B, Q, D], memory [B, S, D], keyMask [B, S] → [B, Q, N, S]. */
  forward(state: Tensor, memory: Tensor, keyMask: Tensor | undefined): Tensor {
    const { device } = state;
    const [batch, queries, width] = [state.dim(0), state.dim(1), state.dim(2)];
    const heads = this.#heads;
    const channels = width / heads;
    const cells = memory.dim(1);
    const perHead = (x: Tensor) => permute(x.reshape([batch, -1, heads, channels]), [0, 2, 1, 3]); // [B, N, T, c]
    const q = perHead(multiply(this.q_linear.forward(state), filled(device, [1], channels ** -0.5)));
    const k = perHead(this.k_linear.forward(memory));
    const scores = matmul(q, k, { transposeB: true }); // [B, N, Q, S]
    const masked = keyMask === undefined ? scores : add(scores, additiveMask(keyMask).reshape([batch, 1, 1, cells]));
    const joint = permute(masked, [0, 2, 1, 3]).reshape([batch, queries, heads * cells]);
    return softmax(joint).reshape([batch, queries, heads, cells]);
  }
}

/**
 * A convolution over channels that are joined from two sources, [shared ; own]: the shared part is the same for all queries
 * of an image and is computed once. A convolution is linear, so the sum of both parts is the whole.
 */
class JoinedConv2d extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly #sharedChannels: number;
  #shared: Conv2dWeights | undefined;
  #own: Conv2dWeights | undefined;

  constructor(sharedChannels: number, ownChannels: number, outChannels: number) {
    super();
    const shape = [outChannels, sharedChannels + ownChannels, 3, 3];
    this.weight = new Parameter(shape, kaiming(shape));
    this.bias = new Parameter([outChannels], ZEROS);
    this.#sharedChannels = sharedChannels;
  }

  override async load(device: Device, read: ReadParameter): Promise<void> {
    const { shape, data } = await read(this.weight);
    const [outChannels, inChannels, kernelHeight, kernelWidth] = shape as [number, number, number, number];
    const area = kernelHeight * kernelWidth;
    const channels = (from: number, to: number) => {
      const part = new Float32Array(outChannels * (to - from) * area);
      for (let out = 0; out < outChannels; out++) {
        const row = out * inChannels * area;
        part.set(data.subarray(row + from * area, row + to * area), out * (to - from) * area);
      }
      return { shape: [outChannels, to - from, kernelHeight, kernelWidth], data: part };
    };
    this.#shared = packConv2d(device, channels(0, this.#sharedChannels), await read(this.bias), { padding: 1 });
    this.#own = packConv2d(device, channels(this.#sharedChannels, inChannels), undefined, { padding: 1 });
  }

  /** [1, shared channels, h, w] → [1, out channels, h, w] */
  shared(x: Tensor): Tensor {
    return conv2d(x, loaded(this.#shared, this));
  }

  /** [n, own channels, h, w] → [n, out channels, h, w] */
  own(x: Tensor): Tensor {
    return conv2d(x, loaded(this.#own, this));
  }

  protected override get packed(): unknown {
    return [this.#shared, this.#own];
  }
}

const NORM_GROUPS = 8;
/** Bytes that the largest tensors of one chunk of queries may take together. */
const CHUNK_BYTES = 96 * 2 ** 20;

const conv3x3 = (inChannels: number, outChannels: number) =>
  new Conv2d(inChannels, outChannels, 3, { padding: 1, bias: true, initializer: kaiming });
const adapter = (inChannels: number, outChannels: number) =>
  new Conv2d(inChannels, outChannels, 1, { bias: true, initializer: kaiming });
const norm = (channels: number) => new GroupNorm(Math.min(NORM_GROUPS, channels), channels);

/** Channels of the mask head's layers: a half, a quarter, an eighth and a sixteenth of d_model. */
const maskWidths = (width: number) =>
  [2, 4, 8, 16].map(divisor => Math.floor(width / divisor)) as [number, number, number, number];

class MaskHead extends Module {
  readonly lay1: JoinedConv2d;
  readonly gn1: GroupNorm;
  readonly lay2: Conv2d;
  readonly gn2: GroupNorm;
  readonly lay3: Conv2d;
  readonly gn3: GroupNorm;
  readonly lay4: Conv2d;
  readonly gn4: GroupNorm;
  readonly lay5: Conv2d;
  readonly gn5: GroupNorm;
  readonly out_lay: Conv2d;
  readonly adapter1: Conv2d;
  readonly adapter2: Conv2d;
  readonly adapter3: Conv2d;
  readonly #activation: Activation;
  readonly #finestChannels: number;

  /** @param mapChannels channels of the maps that the adapters read, coarsest first. */
  constructor(width: number, heads: number, mapChannels: readonly number[], activation: Activation) {
    super();
    const [half, quarter, eighth, sixteenth] = maskWidths(width);
    const joined = width + heads;
    this.lay1 = new JoinedConv2d(width, heads, joined);
    this.gn1 = norm(joined);
    this.lay2 = conv3x3(joined, half);
    this.gn2 = norm(half);
    this.lay3 = conv3x3(half, quarter);
    this.gn3 = norm(quarter);
    this.lay4 = conv3x3(quarter, eighth);
    this.gn4 = norm(eighth);
    this.lay5 = conv3x3(eighth, sixteenth);
    this.gn5 = norm(sixteenth);
    this.out_lay = conv3x3(sixteenth, 1);
    this.adapter1 = adapter(mapChannels[0]!, half);
    this.adapter2 = adapter(mapChannels[1]!, quarter);
    this.adapter3 = adapter(mapChannels[2]!, eighth);
    this.#activation = activation;
    this.#finestChannels = eighth;
  }

  /**
   * One image: projected [1, D, h, w], attention [Q, N, h, w], maps coarsest first → mask logits [Q, 1, H / 4, W / 4].
   * Queries are independent (the norms are per query), so chunks of them bound the memory.
   */
  forward(projected: Tensor, attention: Tensor, maps: readonly Tensor[]): Tensor {
    const { device } = projected;
    const queries = attention.dim(0);
    const finest = maps[2]!;
    const bytesPerQuery = 3 * this.#finestChannels * finest.dim(2) * finest.dim(3) * 4;
    const chunk = Math.max(1, Math.floor(CHUNK_BYTES / bytesPerQuery));
    const shared = this.lay1.shared(projected);
    const adapted = [this.adapter1, this.adapter2, this.adapter3].map((layer, index) => layer.forward(maps[index]!));
    const masks: Tensor[] = [];
    for (let start = 0; start < queries; start += chunk) {
      const part = slice(attention, 0, start, Math.min(start + chunk, queries));
      masks.push(device.scope(() => this.#chunk(part, shared, adapted)));
      part.dispose();
    }
    return masks.length === 1 ? masks[0]! : concatenate(masks, 0);
  }

  #chunk(attention: Tensor, shared: Tensor, adapted: readonly Tensor[]): Tensor {
    const activation = { activation: this.#activation };
    let x = this.gn1.forward(add(this.lay1.own(attention), shared), activation);
    x = this.gn2.forward(this.lay2.forward(x), activation);
    const refine = [
      [this.lay3, this.gn3],
      [this.lay4, this.gn4],
      [this.lay5, this.gn5],
    ] as const;
    for (const [index, [layer, layerNorm]] of refine.entries()) {
      const finer = adapted[index]!;
      x = x.device.scope(() => {
        // One item for all queries: the map is the image's.
        const merged = resizeNearest(x, [finer.dim(2), finer.dim(3)], { residual: finer });
        return layerNorm.forward(layer.forward(merged), activation);
      });
    }
    return this.out_lay.forward(x);
  }
}

/** The two parts of the segmentation head, in one place for both families' segmentation models. */
export interface SegmentationHead {
  readonly bbox_attention: AttentionMap;
  readonly mask_head: MaskHead;
}

/**
 * @param backboneChannels channels of the backbone's maps, finest first; three or more, of which the first three are read
 * @throws ConfigError for sizes that the head cannot have
 */
export function segmentationHead(config: BaseConfig, backboneChannels: readonly number[]): SegmentationHead {
  const { d_model: width, encoder_attention_heads: heads } = config;
  if (backboneChannels.length < 3) {
    throw new ConfigError(
      `config: segmentation: expected a backbone that gives at least 3 maps, got ${backboneChannels.length}`,
    );
  }
  if ((width + heads) % NORM_GROUPS !== 0) {
    throw new ConfigError(
      `config: segmentation: expected d_model + encoder_attention_heads to be a multiple of ${NORM_GROUPS}, got ${width + heads}`,
    );
  }
  if (maskWidths(width).some(channels => channels === 0 || channels % Math.min(NORM_GROUPS, channels) !== 0)) {
    throw new ConfigError(
      `config: segmentation: expected a d_model whose 2nd to 16th parts are 1 to ${NORM_GROUPS} or multiples of ${NORM_GROUPS}, got ${width}`,
    );
  }
  // With three maps the coarsest one feeds both the encoder and the first adapter, as in the reference.
  const mapChannels = backboneChannels.slice(0, 3).toReversed();
  return {
    bbox_attention: new AttentionMap(width, heads, config.init_xavier_std),
    mask_head: new MaskHead(width, heads, mapChannels, config.activation_function),
  };
}

/** state [B, Q, D] → mask logits [B, Q, H / 4, W / 4]. */
export function predictMasks({ bbox_attention, mask_head }: SegmentationHead, state: Tensor, encoded: Encoded): Tensor {
  const { features, memory, keyMask } = encoded;
  const projected = encoded.projected!;
  const { device } = state;
  return device.stage('masks', () => {
    const attention = device.scope(() => bbox_attention.forward(state, memory, keyMask)); // [B, Q, N, S]
    const [batch, queries, heads] = [attention.dim(0), attention.dim(1), attention.dim(2)];
    const [height, width] = [projected.dim(2), projected.dim(3)];
    const maps = features.slice(0, 3).map(feature => feature.map);
    const masks = Array.from({ length: batch }, (_, image) =>
      device.scope(() => {
        const one = (x: Tensor) => (batch === 1 ? x : slice(x, 0, image, image + 1));
        const own = one(attention).reshape([queries, heads, height, width]);
        return mask_head.forward(one(projected), own, maps.map(one).toReversed());
      }),
    );
    const joined = batch === 1 ? masks[0]! : concatenate(masks, 0);
    return joined.reshape([batch, queries, joined.dim(2), joined.dim(3)]);
  });
}
