import type { Tensor } from '../engine/index.ts';
import {
  activate,
  add,
  attention,
  attentionWithPositions,
  attentionWithPositionsAndWeights,
  attentionWithWeights,
  broadcastTo,
  concatenate,
  inverseSigmoid,
  multiply,
  sineQueries,
} from '../kernels/index.ts';
import { Backbone } from './backbone.ts';
import { ConditionalDetrConfig, type ConditionalDetrConfigFields, type ConfigInput } from './configuration.ts';
import {
  auxiliaryPredictions,
  DetectionModel,
  type EncoderDecoderOutputs,
  encoderDecoderOutputs,
  type ObjectDetectionOutputs,
  type Predictions,
  stack,
} from './detection.ts';
import { type Encoded, encode } from './encode.ts';
import { type GraphInputs, requirePixels } from './inputs.ts';
import { Conv2d, LayerNorm, Linear, Module, MultilayerPerceptron, Table, zeros } from './module.ts';
import { PreTrainedModel } from './pretrained.ts';
import {
  type ImageSegmentationOutputs,
  predictMasks,
  type SegmentationHead,
  segmentationHead,
} from './segmentation.ts';
import { type DecoderLayerResult, type DecoderTrace, Encoder, FeedForwardLayer, NormedDecoder } from './transformer.ts';

/*
 * Conditional DETR (Meng et al., "Conditional DETR for Fast Training Convergence"; transformers' models/conditional_detr).
 *
 * It differs from DETR in the decoder and the heads:
 * - each query has a reference point; its sine embedding, scaled by the query's state, is the position part of the query;
 * - cross-attention compares content with content and position with position: per head, the query is [content ; position]
 *   and so is the key, twice as wide as the value;
 * - self-attention projects contents and positions apart, then adds them;
 * - boxes are offsets from the reference point; classes are independent (sigmoid, no "no object" class).
 *
 * B batch, S feature cells, Q queries, D = d_model, N heads, L decoder layers, K labels.
 */

interface DecoderInputs {
  /** [B, S, D] */
  readonly memory: Tensor;
  /** [B, S, D] */
  readonly positions: Tensor;
  readonly keyMask: Tensor | undefined;
  /** [Q, D] */
  readonly queryPositions: Tensor;
  readonly outputAttentions: boolean;
}

/** Attention before its output projection. */
interface Projected {
  readonly output: Tensor;
  readonly weights?: Tensor;
}

/** The projection after an attention: its inputs are projected by the layer itself. */
class OutputProjection extends Module {
  readonly out_proj: Linear;

  constructor(width: number) {
    super();
    this.out_proj = new Linear(width, width);
  }
}

class ConditionalDecoderLayer extends FeedForwardLayer {
  readonly sa_qcontent_proj: Linear;
  readonly sa_qpos_proj: Linear;
  readonly sa_kcontent_proj: Linear;
  readonly sa_kpos_proj: Linear;
  readonly sa_v_proj: Linear;
  readonly self_attn: OutputProjection;
  readonly self_attn_layer_norm: LayerNorm;

  readonly ca_qcontent_proj: Linear;
  /** Only the first layer has it. */
  declare readonly ca_qpos_proj?: Linear;
  readonly ca_kcontent_proj: Linear;
  readonly ca_kpos_proj: Linear;
  readonly ca_v_proj: Linear;
  readonly ca_qpos_sine_proj: Linear;
  readonly encoder_attn: OutputProjection;
  readonly encoder_attn_layer_norm: LayerNorm;

  readonly #heads: number;

  constructor(config: ConditionalDetrConfigFields, isFirst: boolean) {
    const { d_model: width } = config;
    super(width, config.decoder_ffn_dim, config.activation_function);
    const projection = () => new Linear(width, width);
    this.sa_qcontent_proj = projection();
    this.sa_qpos_proj = projection();
    this.sa_kcontent_proj = projection();
    this.sa_kpos_proj = projection();
    this.sa_v_proj = projection();
    this.self_attn = new OutputProjection(width);
    this.self_attn_layer_norm = new LayerNorm(width);
    this.ca_qcontent_proj = projection();
    if (isFirst) this.ca_qpos_proj = projection();
    this.ca_kcontent_proj = projection();
    this.ca_kpos_proj = projection();
    this.ca_v_proj = projection();
    this.ca_qpos_sine_proj = projection();
    this.encoder_attn = new OutputProjection(width);
    this.encoder_attn_layer_norm = new LayerNorm(width);
    this.#heads = config.decoder_attention_heads;
  }

  /** targets [B, Q, D], sine [B or 1, Q, D] → [B, Q, D]. */
  forward(targets: Tensor, sine: Tensor, inputs: DecoderInputs): DecoderLayerResult {
    const self = this.#selfAttention(targets, inputs);
    const x = this.self_attn_layer_norm.forward(this.self_attn.out_proj.forward(self.output, { residual: targets }));
    const cross = this.#crossAttention(x, sine, inputs);
    const y = this.encoder_attn_layer_norm.forward(this.encoder_attn.out_proj.forward(cross.output, { residual: x }));
    return { hidden: this.feedForward(y), weights: self.weights, crossWeights: cross.weights };
  }

  #selfAttention(targets: Tensor, { queryPositions, outputAttentions }: DecoderInputs): Projected {
    const q = add(this.sa_qcontent_proj.forward(targets), this.sa_qpos_proj.forward(queryPositions));
    const k = add(this.sa_kcontent_proj.forward(targets), this.sa_kpos_proj.forward(queryPositions));
    const v = this.sa_v_proj.forward(targets);
    const options = { heads: this.#heads };
    return outputAttentions ? attentionWithWeights(q, k, v, options) : { output: attention(q, k, v, options) };
  }

  #crossAttention(x: Tensor, sine: Tensor, inputs: DecoderInputs): Projected {
    const { memory, positions, keyMask, queryPositions, outputAttentions } = inputs;
    const keyPosition = this.ca_kpos_proj.forward(positions);
    let queryContent = this.ca_qcontent_proj.forward(x);
    let keyContent = this.ca_kcontent_proj.forward(memory);
    if (this.ca_qpos_proj !== undefined) {
      queryContent = add(queryContent, this.ca_qpos_proj.forward(queryPositions));
      keyContent = add(keyContent, keyPosition);
    }
    const queryPosition = broadcastTo(this.ca_qpos_sine_proj.forward(sine), queryContent.shape);
    const v = this.ca_v_proj.forward(memory);
    const options = { heads: this.#heads, keyMask };
    const operands = [queryContent, queryPosition, keyContent, keyPosition, v, options] as const;
    return outputAttentions
      ? attentionWithPositionsAndWeights(...operands)
      : { output: attentionWithPositions(...operands) };
  }
}

class ConditionalDecoder extends NormedDecoder<ConditionalDecoderLayer> {
  readonly query_scale: MultilayerPerceptron;
  readonly ref_point_head: MultilayerPerceptron;
  readonly #features: number;

  constructor(config: ConditionalDetrConfigFields) {
    super(config, index => new ConditionalDecoderLayer(config, index === 0));
    const { d_model: width } = config;
    this.query_scale = new MultilayerPerceptron(width, width, width);
    this.ref_point_head = new MultilayerPerceptron(width, width, 2);
    this.#features = width / 2;
  }

  /** targets [B, Q, D] → the last state [B, Q, D] and the reference points [Q, 2], (x, y) in [0, 1]. */
  forward(targets: Tensor, inputs: DecoderInputs): { state: Tensor; references: Tensor; trace: DecoderTrace } {
    const references = activate(this.ref_point_head.forward(inputs.queryPositions), 'sigmoid');
    const sine = sineQueries(references.reshape([1, -1, 2]), { features: this.#features, order: [1, 0] }); // [1, Q, D]
    const decoded = this.decode(targets, (layer, state, index) =>
      layer.forward(state, index === 0 ? sine : multiply(this.query_scale.forward(state), sine), inputs),
    );
    return { ...decoded, references };
  }
}

export interface ConditionalDetrModelOutputs extends EncoderDecoderOutputs {
  /** [L, B, Q, D]: the normed state after each layer; with `auxiliary_loss`. */
  readonly intermediate_hidden_states?: Tensor;
  /** [Q, B, 2], (x, y) in [0, 1]. */
  readonly reference_points: Tensor;
}

/** The bare model: backbone, encoder and decoder, without heads. */
export class ConditionalDetrModel extends PreTrainedModel<ConditionalDetrConfigFields, ConditionalDetrModelOutputs> {
  static readonly readConfig = (config: ConfigInput<ConditionalDetrConfigFields>) => ConditionalDetrConfig.from(config);
  override readonly isBare = true;

  readonly backbone: Backbone;
  readonly input_projection: Conv2d;
  readonly query_position_embeddings: Table;
  readonly encoder: Encoder;
  readonly decoder: ConditionalDecoder;

  constructor(config: ConditionalDetrConfigFields) {
    super(config);
    this.backbone = new Backbone(config);
    this.input_projection = new Conv2d(this.backbone.outChannels.at(-1)!, config.d_model, 1, { bias: true });
    this.query_position_embeddings = new Table(config.num_queries, config.d_model);
    this.encoder = new Encoder(config);
    this.decoder = new ConditionalDecoder(config);
  }

  override record(inputs: GraphInputs): ConditionalDetrModelOutputs {
    const encoded = this.encode(inputs, 1);
    const { state, references, trace } = this.decode(encoded, inputs);
    const queries = references.dim(0);
    return {
      ...encoderDecoderOutputs(state, trace, encoded, inputs),
      ...(this.config.auxiliary_loss && { intermediate_hidden_states: stack(trace.intermediate) }),
      reference_points: broadcastTo(references.reshape([queries, 1, 2]), [queries, inputs.batch, 2]),
    };
  }

  /** As HuggingFace, `inputsEmbeds` is accepted and ignored. */
  encode(inputs: GraphInputs, mapCount: number): Encoded {
    return encode(this, requirePixels(inputs), mapCount);
  }

  /** As HuggingFace, `decoderAttentionMask` is accepted and ignored; `targets` are zeros unless given. */
  decode({ memory, positions, keyMask }: Encoded, inputs: GraphInputs, targets?: Tensor) {
    const { num_queries, d_model } = this.config;
    return this.device.stage('decoder', () =>
      this.decoder.forward(targets ?? zeros(this.device, [inputs.batch, num_queries, d_model]), {
        memory,
        positions,
        keyMask,
        queryPositions: this.query_position_embeddings.values,
        outputAttentions: inputs.outputAttentions,
      }),
    );
  }
}

/** Conditional DETR with K independent class scores and a box for each query. */
export class ConditionalDetrForObjectDetection extends DetectionModel<
  ConditionalDetrConfigFields,
  ObjectDetectionOutputs
> {
  static readonly readConfig = (config: ConfigInput<ConditionalDetrConfigFields>) => ConditionalDetrConfig.from(config);
  protected override readonly lossKind = 'ConditionalDetrForObjectDetection';

  readonly model: ConditionalDetrModel;
  readonly class_labels_classifier: Linear;
  readonly bbox_predictor: MultilayerPerceptron;

  constructor(config: ConditionalDetrConfigFields) {
    super(config);
    const { d_model: width } = config;
    this.model = new ConditionalDetrModel(config);
    this.class_labels_classifier = new Linear(width, config.num_labels);
    this.bbox_predictor = new MultilayerPerceptron(width, width, width, 4);
  }

  override record(inputs: GraphInputs): ObjectDetectionOutputs {
    const encoded = this.model.encode(inputs, 1);
    const { state, references, trace } = this.model.decode(encoded, inputs);
    return this.device.stage('heads', () => {
      const origin = concatenate([inverseSigmoid(references), zeros(this.device, references.shape)], 1); // [Q, 4]
      return {
        ...this.predictFrom(state, origin),
        ...encoderDecoderOutputs(state, trace, encoded, inputs),
        ...auxiliaryPredictions(trace, inputs, layerState => this.predictFrom(layerState, origin)),
      };
    });
  }

  /** state [B, Q, D] → logits [B, Q, K] and boxes [B, Q, 4] around `origin` [Q, 4] (before the sigmoid). */
  predictFrom(state: Tensor, origin?: Tensor): Predictions {
    const offsets = this.bbox_predictor.forward(state);
    return {
      logits: this.class_labels_classifier.forward(state),
      pred_boxes: activate(origin === undefined ? offsets : add(offsets, origin), 'sigmoid'),
    };
  }
}

/** Conditional DETR with a mask for each query as well. */
export class ConditionalDetrForSegmentation extends DetectionModel<
  ConditionalDetrConfigFields,
  ImageSegmentationOutputs
> {
  static readonly readConfig = (config: ConfigInput<ConditionalDetrConfigFields>) => ConditionalDetrConfig.from(config);
  protected override readonly lossKind = 'ConditionalDetrForSegmentation';

  readonly conditional_detr: ConditionalDetrForObjectDetection;
  readonly bbox_attention: SegmentationHead['bbox_attention'];
  readonly mask_head: SegmentationHead['mask_head'];

  constructor(config: ConditionalDetrConfigFields) {
    super(config);
    this.conditional_detr = new ConditionalDetrForObjectDetection(config);
    const head = segmentationHead(config, this.conditional_detr.model.backbone.outChannels);
    this.bbox_attention = head.bbox_attention;
    this.mask_head = head.mask_head;
  }

  override record(inputs: GraphInputs): ImageSegmentationOutputs {
    const { conditional_detr: detector } = this;
    const encoded = detector.model.encode(inputs, detector.model.backbone.outChannels.length);
    const { state, trace } = detector.model.decode(encoded, inputs, inputs.decoderInputsEmbeds);
    return {
      // HuggingFace's quirk: the segmentation model leaves the reference points out of its boxes.
      ...this.device.stage('heads', () => detector.predictFrom(state)),
      pred_masks: predictMasks(this, state, encoded),
      ...encoderDecoderOutputs(state, trace, encoded, inputs),
      ...auxiliaryPredictions(trace, inputs, layerState => detector.predictFrom(layerState)),
    };
  }
}
