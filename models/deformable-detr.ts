import { ConfigError, type Device, type Tensor } from '../engine/index.ts';
import {
  activate,
  add,
  broadcastTo,
  concatenate,
  downsampleMask,
  flattenSpace,
  gatherRows,
  sinePositionsHalfPixel,
  sineQueries,
  slice,
  topK,
  twoStageProposals,
  validRatios,
} from '../kernels/index.ts';
import { Backbone, type FeatureMap } from './backbone.ts';
import { type ConfigInput, DeformableDetrConfig, type DeformableDetrConfigFields } from './configuration.ts';
import {
  boxesAround,
  DeformableDecoder,
  type DeformableDecoderTrace,
  DeformableEncoder,
  type Pyramid,
  type Queries,
} from './deformable-transformer.ts';
import {
  DetectionModel,
  type EncoderDecoderOutputs,
  encoderDecoderOutputs,
  type ObjectDetectionOutputs,
  type Predictions,
  stack,
} from './detection.ts';
import { xavier } from './initializers.ts';
import { type GraphInputs, requirePixels } from './inputs.ts';
import {
  Conv2d,
  GroupNorm,
  LayerNorm,
  Linear,
  loaded,
  MultilayerPerceptron,
  Parameter,
  type ReadParameter,
  Table,
} from './module.ts';
import { PreTrainedModel } from './pretrained.ts';
import { givenMemory } from './transformer.ts';

/*
 * Deformable DETR (Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection"; transformers'
 * models/deformable_detr).
 *
 * It differs from DETR in these:
 * - the encoder sees several levels of the backbone at once, as one sequence;
 * - attention over the image samples a few points around a reference point in every level, instead of all cells;
 * - boxes are offsets from reference points; classes are independent (sigmoid, no "no object" class);
 * - `with_box_refine`: each decoder layer refines the reference of the next one;
 * - `two_stage`: the encoder's best proposals are the queries.
 *
 * B batch, NL levels of h x w cells, S = Σ h·w, Q queries, D = d_model, N heads, P points, L decoder layers, K labels.
 * Points are (x, y), boxes (cx, cy, w, h), both relative to the unpadded image.
 */

const GROUP_NORM_GROUPS = 32;

/** Heads of the layers, and of the proposals when there are two stages. */
export interface Heads {
  readonly class_embed: readonly Linear[];
  readonly bbox_embed: readonly MultilayerPerceptron[];
}

export interface DeformableDetrModelOutputs extends EncoderDecoderOutputs {
  /** [B, Q, 2], or [B, Q, 4] with `two_stage`. */
  readonly init_reference_points: Tensor;
  /** [B, L, Q, D] */
  readonly intermediate_hidden_states: Tensor;
  /** [B, L, Q, 2], or [B, L, Q, 4] with `with_box_refine`. */
  readonly intermediate_reference_points: Tensor;
  /** [B, S, K]; with `two_stage`. */
  readonly enc_outputs_class?: Tensor;
  /** [B, S, 4], infinite where there is no proposal; with `two_stage`. */
  readonly enc_outputs_coord_logits?: Tensor;
}

interface Decoded {
  readonly outputs: DeformableDetrModelOutputs;
  readonly trace: DeformableDecoderTrace;
}

/**
 * The bare model, without heads. As in transformers, it does not refine boxes (the heads do that), and a two-stage model
 * cannot run without its heads.
 */
export class DeformableDetrModel extends PreTrainedModel<DeformableDetrConfigFields, DeformableDetrModelOutputs> {
  static readonly readConfig = (config: ConfigInput<DeformableDetrConfigFields>) => DeformableDetrConfig.from(config);
  override readonly isBare = true;

  readonly backbone: Backbone;
  readonly input_proj: readonly (readonly [Conv2d, GroupNorm])[];
  readonly level_embed: Parameter;
  readonly encoder: DeformableEncoder;
  readonly decoder: DeformableDecoder;
  /** One stage: [Q, 2 D], positions and first targets of the queries. */
  declare readonly query_position_embeddings?: Table;
  declare readonly reference_points?: Linear;
  /** Two stages: */
  declare readonly enc_output?: Linear;
  declare readonly enc_output_norm?: LayerNorm;
  declare readonly pos_trans?: Linear;
  declare readonly pos_trans_norm?: LayerNorm;
  #levelEmbedding: Tensor | undefined;

  constructor(config: DeformableDetrConfigFields) {
    super(config);
    const { d_model: width, num_feature_levels: levels } = config;
    if (width % GROUP_NORM_GROUPS !== 0) {
      throw new ConfigError(`config: d_model: expected a multiple of ${GROUP_NORM_GROUPS}, got ${width}`);
    }
    this.backbone = new Backbone(config, sinePositionsHalfPixel);
    this.input_proj = inputProjections(this.backbone.outChannels, levels, width);
    this.level_embed = new Parameter([levels, width], { kind: 'normal', standardDeviation: 1 });
    this.encoder = new DeformableEncoder(config);
    this.decoder = new DeformableDecoder(config);
    if (config.two_stage) {
      this.enc_output = new Linear(width, width);
      this.enc_output_norm = new LayerNorm(width);
      this.pos_trans = new Linear(2 * width, 2 * width);
      this.pos_trans_norm = new LayerNorm(2 * width);
    } else {
      this.query_position_embeddings = new Table(config.num_queries, 2 * width);
      this.reference_points = new Linear(width, 2, { weight: xavier });
    }
  }

  override async load(device: Device, read: ReadParameter): Promise<void> {
    this.#levelEmbedding = device.tensor(await read(this.level_embed));
    await super.load(device, read);
  }

  protected override get packed(): unknown {
    return this.#levelEmbedding;
  }

  override record(inputs: GraphInputs): DeformableDetrModelOutputs {
    return this.decode(inputs, undefined).outputs;
  }

  /** The whole graph up to the decoder's states. As HuggingFace, embedding inputs are accepted and ignored. */
  decode(inputs: GraphInputs, heads: Heads | undefined): Decoded {
    const { device, config } = this;
    const { sequence, positions, pyramid } = device.stage('backbone', () =>
      device.scope(() => this.#pyramid(requirePixels(inputs))),
    );
    const encoded = device.stage('encoder', () =>
      givenMemory(inputs, sequence, () => this.encoder.forward(sequence, positions, pyramid, inputs)),
    );
    const { memory } = encoded;
    positions.dispose();
    const { queries, proposals } = device.stage('queries', () =>
      config.two_stage
        ? this.#proposals(memory, pyramid, heads)
        : { queries: this.#learnedQueries(inputs.batch), proposals: {} },
    );
    const { state, trace } = device.stage('decoder', () =>
      this.decoder.forward(
        queries,
        { queryPositions: queries.positions, memory, pyramid, outputAttentions: inputs.outputAttentions },
        config.with_box_refine ? heads?.bbox_embed : undefined,
      ),
    );
    const outputs = {
      ...encoderDecoderOutputs(state, trace, encoded, inputs),
      init_reference_points: queries.references,
      intermediate_hidden_states: stack(trace.intermediate, 1),
      intermediate_reference_points: stack(trace.references, 1),
      ...proposals,
    };
    return { outputs, trace };
  }

  /** All levels as one sequence [B, S, D], and the positions of its cells. */
  #pyramid({ pixels, pixelMask, padded }: GraphInputs): { sequence: Tensor; positions: Tensor; pyramid: Pyramid } {
    const { device } = this;
    const features = device.scope(() =>
      this.#levels(this.backbone.forward(device, pixels!, pixelMask!, this.backbone.outChannels.length), pixelMask!),
    );
    const positions = features.map(({ mask }, level) =>
      add(this.backbone.positions(mask), slice(loaded(this.#levelEmbedding, this), 0, level, level + 1)),
    );
    const masks = features.map(({ mask }) => mask);
    return {
      sequence: joined(features.map(({ map }) => flattenSpace(map))),
      positions: joined(positions),
      pyramid: {
        levels: features.map(({ map }) => [map.dim(2), map.dim(3)] as const),
        ratios: validRatios(masks),
        masks,
        keyMask: padded ? joined(masks.map(mask => mask.reshape([mask.dim(0), -1]))) : undefined,
      },
    };
  }

  /** The backbone's maps and further, coarser levels, all of width D. */
  #levels(features: readonly FeatureMap[], pixelMask: Tensor): FeatureMap[] {
    const levels: FeatureMap[] = [];
    for (const [level, [convolution, norm]] of this.input_proj.entries()) {
      // The first extra level reads the backbone's last map as it is, further ones the level before.
      const source = features[level] ?? (level === features.length ? features.at(-1)! : levels[level - 1]!);
      const map = this.device.scope(() => norm.forward(convolution.forward(source.map)));
      const mask = features[level]?.mask ?? downsampleMask(pixelMask, [map.dim(2), map.dim(3)]);
      levels.push({ map, mask });
    }
    return levels;
  }

  #learnedQueries(batch: number): Queries {
    const { num_queries: queries, d_model: width } = this.config;
    const table = this.query_position_embeddings!.values; // [Q, 2 D]
    const positions = slice(table, 1, 0, width);
    const points = activate(this.reference_points!.forward(positions), 'sigmoid');
    return {
      targets: broadcastTo(slice(table, 1, width, 2 * width), [batch, queries, width]),
      positions,
      references: broadcastTo(points, [batch, queries, 2]),
    };
  }

  /** The proposals of the encoder's cells that look most like an object (class 0, as the reference does). */
  #proposals(
    memory: Tensor,
    pyramid: Pyramid,
    heads: Heads | undefined,
  ): { queries: Queries; proposals: Partial<DeformableDetrModelOutputs> } {
    if (heads === undefined) {
      throw new ConfigError('config: two_stage: expected the detection heads, which this class does not have');
    }
    const { config } = this;
    const { d_model: width, two_stage_num_proposals: count } = config;
    const cells = memory.dim(1);
    if (cells < count) {
      throw new ConfigError(
        `config: two_stage_num_proposals: expected at most ${cells} (cells of this image), got ${count}`,
      );
    }
    const { logits, memory: candidates } = twoStageProposals(memory, pyramid.masks);
    const embedded = this.enc_output_norm!.forward(this.enc_output!.forward(candidates)); // [B, S, D]
    const classes = heads.class_embed[config.decoder_layers]!.forward(embedded); // [B, S, K]
    const coordinates = add(heads.bbox_embed[config.decoder_layers]!.forward(embedded), logits); // [B, S, 4]
    const objectness = slice(classes, 2, 0, 1).reshape([memory.dim(0), cells]);
    const { indices } = topK(objectness, count);
    const references = activate(gatherRows(coordinates, indices), 'sigmoid'); // [B, Q, 4]
    const sine = sineQueries(references, { features: width / 2 }); // [B, Q, 2 D]
    const transformed = this.pos_trans_norm!.forward(this.pos_trans!.forward(sine));
    return {
      queries: {
        targets: slice(transformed, 2, width, 2 * width),
        positions: slice(transformed, 2, 0, width),
        references,
      },
      proposals: { enc_outputs_class: classes, enc_outputs_coord_logits: coordinates },
    };
  }
}

function joined(sequences: readonly Tensor[]): Tensor {
  return sequences.length === 1 ? sequences[0]! : concatenate(sequences, 1);
}

function inputProjections(
  mapChannels: readonly number[],
  levels: number,
  width: number,
): (readonly [Conv2d, GroupNorm])[] {
  if (mapChannels.length > levels) {
    throw new ConfigError(
      `config: num_feature_levels: expected at least ${mapChannels.length}, the backbone's maps, got ${levels}`,
    );
  }
  return Array.from({ length: levels }, (_, level) => {
    const channels = mapChannels[level];
    const convolution =
      channels === undefined
        ? new Conv2d(level === mapChannels.length ? mapChannels.at(-1)! : width, width, 3, {
            stride: 2,
            padding: 1,
            bias: true,
          })
        : new Conv2d(channels, width, 1, { bias: true });
    return [convolution, new GroupNorm(GROUP_NORM_GROUPS, width)] as const;
  });
}

export interface DeformableDetrObjectDetectionOutputs extends ObjectDetectionOutputs, DeformableDetrModelOutputs {}

/** Deformable DETR with K independent class scores and a box for each query. */
export class DeformableDetrForObjectDetection extends DetectionModel<
  DeformableDetrConfigFields,
  DeformableDetrObjectDetectionOutputs
> {
  static readonly readConfig = (config: ConfigInput<DeformableDetrConfigFields>) => DeformableDetrConfig.from(config);
  protected override readonly lossKind = 'DeformableDetrForObjectDetection';

  readonly model: DeformableDetrModel;
  /** One head a layer (the same one under every name unless boxes are refined), and one for the proposals. */
  readonly class_embed: readonly Linear[];
  readonly bbox_embed: readonly MultilayerPerceptron[];

  constructor(config: DeformableDetrConfigFields) {
    super(config);
    const { d_model: width } = config;
    const length = config.decoder_layers + (config.two_stage ? 1 : 0);
    this.model = new DeformableDetrModel(config);
    this.class_embed = Array.from({ length }, () => new Linear(width, config.num_labels));
    this.bbox_embed = Array.from({ length }, () => new MultilayerPerceptron(width, width, width, 4));
  }

  override record(inputs: GraphInputs): DeformableDetrObjectDetectionOutputs {
    const { outputs, trace } = this.model.decode(inputs, this);
    const last = this.config.decoder_layers - 1;
    const layer = (index: number): Predictions => {
      const state = trace.intermediate[index]!;
      const references = trace.references[index - 1] ?? outputs.init_reference_points;
      return {
        logits: this.class_embed[index]!.forward(state),
        pred_boxes: boxesAround(this.bbox_embed[index]!.forward(state), references),
      };
    };
    return this.device.stage('heads', () => ({
      ...layer(last),
      ...outputs,
      ...(inputs.auxiliaryOutputs && { auxiliary_outputs: Array.from({ length: last }, (_, index) => layer(index)) }),
    }));
  }
}
