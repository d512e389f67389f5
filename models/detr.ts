import type { Tensor } from '../engine/index.ts';
import { activate, add } from '../kernels/index.ts';
import { Backbone } from './backbone.ts';
import { type ConfigInput, DetrConfig, type DetrConfigFields } from './configuration.ts';
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
import { Conv2d, LayerNorm, Linear, MultilayerPerceptron, Table, zeros } from './module.ts';
import { PreTrainedModel } from './pretrained.ts';
import {
  type ImageSegmentationOutputs,
  predictMasks,
  type SegmentationHead,
  segmentationHead,
} from './segmentation.ts';
import {
  type DecoderLayerResult,
  type DecoderTrace,
  Encoder,
  FeedForwardLayer,
  MultiHeadAttention,
  NormedDecoder,
} from './transformer.ts';

/*
 * DETR (Carion et al., "End-to-End Object Detection with Transformers"; transformers' models/detr).
 *
 *   image → backbone → 1x1 projection → encoder → decoder over learned queries → class and box of each query
 *
 * B batch, H x W padded image, h x w the backbone's last map (stride 32, DC5 16), S = h·w, Q queries, D = d_model,
 * N heads, L decoder layers, K labels.
 */

interface DecoderInputs {
  /** [B, S, D] */
  readonly memory: Tensor;
  /** memory + positions: the keys of cross-attention, [B, S, D]. */
  readonly memoryKeys: Tensor;
  readonly keyMask: Tensor | undefined;
  /** [Q, D] */
  readonly queryPositions: Tensor;
  /** [B, Q] */
  readonly queryMask: Tensor | undefined;
  readonly outputAttentions: boolean;
}

class DecoderLayer extends FeedForwardLayer {
  readonly self_attn: MultiHeadAttention;
  readonly self_attn_layer_norm: LayerNorm;
  readonly encoder_attn: MultiHeadAttention;
  readonly encoder_attn_layer_norm: LayerNorm;

  constructor(config: DetrConfigFields) {
    const { d_model: width, decoder_attention_heads: heads } = config;
    super(width, config.decoder_ffn_dim, config.activation_function);
    this.self_attn = new MultiHeadAttention(width, heads);
    this.self_attn_layer_norm = new LayerNorm(width);
    this.encoder_attn = new MultiHeadAttention(width, heads);
    this.encoder_attn_layer_norm = new LayerNorm(width);
  }

  forward(targets: Tensor, inputs: DecoderInputs): DecoderLayerResult {
    const { memory, memoryKeys, keyMask, queryPositions, queryMask, outputAttentions } = inputs;
    const placed = add(targets, queryPositions);
    const self = this.self_attn.forward({
      query: placed,
      key: placed,
      value: targets,
      keyMask: queryMask,
      residual: targets,
      outputAttentions,
    });
    const x = this.self_attn_layer_norm.forward(self.hidden);
    const cross = this.encoder_attn.forward({
      query: add(x, queryPositions),
      key: memoryKeys,
      value: memory,
      keyMask,
      residual: x,
      outputAttentions,
    });
    const hidden = this.feedForward(this.encoder_attn_layer_norm.forward(cross.hidden));
    return { ...self, hidden, crossWeights: cross.weights };
  }
}

class Decoder extends NormedDecoder<DecoderLayer> {
  constructor(config: DetrConfigFields) {
    super(config, () => new DecoderLayer(config));
  }

  /** targets [B, Q, D] → the last state [B, Q, D]. */
  forward(targets: Tensor, inputs: DecoderInputs): { state: Tensor; trace: DecoderTrace } {
    return this.decode(targets, (layer, state) => layer.forward(state, inputs));
  }
}

export interface DetrModelOutputs extends EncoderDecoderOutputs {
  /** [L, B, Q, D]: the normed state after each layer; with `auxiliary_loss`. */
  readonly intermediate_hidden_states?: Tensor;
}

/** The bare model: backbone, encoder and decoder, without heads. */
export class DetrModel extends PreTrainedModel<DetrConfigFields, DetrModelOutputs> {
  static readonly readConfig = (config: ConfigInput<DetrConfigFields>) => DetrConfig.from(config);
  override readonly isBare = true;

  readonly backbone: Backbone;
  readonly input_projection: Conv2d;
  readonly query_position_embeddings: Table;
  readonly encoder: Encoder;
  readonly decoder: Decoder;

  constructor(config: DetrConfigFields) {
    super(config);
    this.backbone = new Backbone(config);
    this.input_projection = new Conv2d(this.backbone.outChannels.at(-1)!, config.d_model, 1, { bias: true });
    this.query_position_embeddings = new Table(config.num_queries, config.d_model);
    this.encoder = new Encoder(config);
    this.decoder = new Decoder(config);
  }

  override record(inputs: GraphInputs): DetrModelOutputs {
    const encoded = encode(this, inputs, 1);
    const { state, trace } = this.decode(encoded, inputs);
    return {
      ...encoderDecoderOutputs(state, trace, encoded, inputs),
      ...(this.config.auxiliary_loss && { intermediate_hidden_states: stack(trace.intermediate) }),
    };
  }

  /** The decoder over the encoder's memory. */
  decode({ memory, positions, keyMask }: Encoded, inputs: GraphInputs): { state: Tensor; trace: DecoderTrace } {
    const { num_queries, d_model } = this.config;
    return this.device.stage('decoder', () =>
      this.decoder.forward(inputs.decoderInputsEmbeds ?? zeros(this.device, [inputs.batch, num_queries, d_model]), {
        memory,
        memoryKeys: add(memory, positions),
        keyMask,
        queryPositions: this.query_position_embeddings.values,
        queryMask: inputs.decoderAttentionMask,
        outputAttentions: inputs.outputAttentions,
      }),
    );
  }
}

/** DETR with a class and a box for each query. */
export class DetrForObjectDetection extends DetectionModel<DetrConfigFields, ObjectDetectionOutputs> {
  static readonly readConfig = (config: ConfigInput<DetrConfigFields>) => DetrConfig.from(config);
  protected override readonly lossKind = 'DetrForObjectDetection';

  readonly model: DetrModel;
  readonly class_labels_classifier: Linear;
  readonly bbox_predictor: MultilayerPerceptron;

  constructor(config: DetrConfigFields) {
    super(config);
    const { d_model: width } = config;
    this.model = new DetrModel(config);
    // One more class than labels: "no object".
    this.class_labels_classifier = new Linear(width, config.num_labels + 1);
    this.bbox_predictor = new MultilayerPerceptron(width, width, width, 4);
  }

  override record(inputs: GraphInputs): ObjectDetectionOutputs {
    const encoded = encode(this.model, inputs, 1);
    const { state, trace } = this.model.decode(encoded, inputs);
    return this.device.stage('heads', () => ({
      ...this.predictFrom(state),
      ...encoderDecoderOutputs(state, trace, encoded, inputs),
      ...auxiliaryPredictions(trace, inputs, layerState => this.predictFrom(layerState)),
    }));
  }

  /** state [B, Q, D] → logits [B, Q, K + 1] and boxes [B, Q, 4], (cx, cy, w, h) in [0, 1]. */
  predictFrom(state: Tensor): Predictions {
    return {
      logits: this.class_labels_classifier.forward(state),
      pred_boxes: activate(this.bbox_predictor.forward(state), 'sigmoid'),
    };
  }
}

/** DETR with a mask for each query as well: instance, semantic and panoptic segmentation. */
export class DetrForSegmentation extends DetectionModel<DetrConfigFields, ImageSegmentationOutputs> {
  static readonly readConfig = (config: ConfigInput<DetrConfigFields>) => DetrConfig.from(config);
  protected override readonly lossKind = 'DetrForSegmentation';

  readonly detr: DetrForObjectDetection;
  readonly bbox_attention: SegmentationHead['bbox_attention'];
  readonly mask_head: SegmentationHead['mask_head'];

  constructor(config: DetrConfigFields) {
    super(config);
    this.detr = new DetrForObjectDetection(config);
    const head = segmentationHead(config, this.detr.model.backbone.outChannels);
    this.bbox_attention = head.bbox_attention;
    this.mask_head = head.mask_head;
  }

  override record(inputs: GraphInputs): ImageSegmentationOutputs {
    const { detr } = this;
    const encoded = encode(detr.model, requirePixels(inputs), detr.model.backbone.outChannels.length);
    const { state, trace } = detr.model.decode(encoded, inputs);
    return {
      ...this.device.stage('heads', () => detr.predictFrom(state)),
      pred_masks: predictMasks(this, state, encoded),
      ...encoderDecoderOutputs(state, trace, encoded, inputs),
      ...auxiliaryPredictions(trace, inputs, layerState => detr.predictFrom(layerState)),
    };
  }
}
