import type { Tensor } from '../engine/index.ts';
import {
  activate,
  add,
  concatenate,
  encoderReferencePoints,
  inverseSigmoid,
  multiply,
  multiScaleDeformableAttention,
  multiScaleDeformableAttentionWithWeights,
} from '../kernels/index.ts';
import type { DeformableDetrConfigFields } from './configuration.ts';
import { xavier, ZEROS } from './initializers.ts';
import { LayerNorm, Linear, Module, type MultilayerPerceptron, zeros } from './module.ts';
import {
  type Attended,
  type DecoderLayerResult,
  type DecoderTrace,
  decoderTrace,
  encodeLayers,
  FeedForwardLayer,
  type Memory,
  MultiHeadAttention,
  traceLayer,
  type WantedTrace,
} from './transformer.ts';

/*
 * Deformable DETR's encoder and decoder (Zhu et al., section 4.1): attention over the image samples a few points around each
 * query's reference, in every level of the pyramid, instead of all cells.
 *
 * B batch, NL levels of h x w cells, S = Σ h·w, Q queries, T queries or cells, D = d_model, N heads, P points, L decoder
 * layers. Points are (x, y), boxes (cx, cy, w, h), both relative to the unpadded image.
 */

/** The image as the transformer sees it. */
export interface Pyramid {
  /** Sizes [h, w] of the levels. */
  readonly levels: readonly (readonly [number, number])[];
  /** [B, NL, 2]: the real part of each level's width and height. */
  readonly ratios: Tensor;
  /** Per level [B, h, w]. */
  readonly masks: readonly Tensor[];
  /** [B, S], when something is padded. */
  readonly keyMask: Tensor | undefined;
}

interface SampledAttentionInputs {
  /** [B, T, D], positions added. */
  readonly query: Tensor;
  /** [B, S, D], without positions. */
  readonly value: Tensor;
  /** [B, T, NL, 2] points or [B, T, NL, 4] boxes. */
  readonly references: Tensor;
  readonly pyramid: Pyramid;
  /** [B, T, D], added to the output. */
  readonly residual: Tensor;
  readonly outputAttentions: boolean;
}

/**
 * The offsets that sampling starts from, [N, NL, P, 2]: each head looks into a direction of its own, each point one step
 * further, in the same way in every level (DeformableDetrPreTrainedModel's `_init_weights`).
 */
function samplingRays(heads: number, levels: number, points: number): Float32Array {
  const offsets: number[] = [];
  for (let head = 0; head < heads; head++) {
    const angle = (2 * Math.PI * head) / heads;
    const [x, y] = [Math.cos(angle), Math.sin(angle)];
    const longer = Math.max(Math.abs(x), Math.abs(y));
    for (let level = 0; level < levels; level++) {
      for (let step = 1; step <= points; step++) offsets.push((step * x) / longer, (step * y) / longer);
    }
  }
  return Float32Array.from(offsets);
}

class MultiScaleDeformableAttention extends Module {
  readonly sampling_offsets: Linear;
  readonly attention_weights: Linear;
  readonly value_proj: Linear;
  readonly output_proj: Linear;
  readonly #heads: number;
  readonly #points: number;

  constructor(width: number, heads: number, levels: number, points: number) {
    super();
    const rays = { kind: 'values', values: samplingRays(heads, levels, points) } as const;
    this.sampling_offsets = new Linear(width, heads * levels * points * 2, { weight: () => ZEROS, bias: rays });
    this.attention_weights = new Linear(width, heads * levels * points, { weight: () => ZEROS });
    this.value_proj = new Linear(width, width, { weight: xavier });
    this.output_proj = new Linear(width, width, { weight: xavier });
    this.#heads = heads;
    this.#points = points;
  }

  /** residual + attention, before the norm; weights [B, T, N, NL, P]. */
  forward({ query, value, references, pyramid, residual, outputAttentions }: SampledAttentionInputs): Attended {
    const { levels, keyMask } = pyramid;
    const operands = [
      this.value_proj.forward(value),
      this.sampling_offsets.forward(query),
      this.attention_weights.forward(query),
      references,
      { heads: this.#heads, points: this.#points, levels, keyMask },
    ] as const;
    if (!outputAttentions) {
      return { hidden: this.output_proj.forward(multiScaleDeformableAttention(...operands), { residual }) };
    }
    const { output, weights } = multiScaleDeformableAttentionWithWeights(...operands);
    return { hidden: this.output_proj.forward(output, { residual }), weights };
  }
}

class DeformableEncoderLayer extends FeedForwardLayer {
  readonly self_attn: MultiScaleDeformableAttention;
  readonly self_attn_layer_norm: LayerNorm;

  constructor(config: DeformableDetrConfigFields) {
    const { d_model: width, encoder_attention_heads: heads, num_feature_levels: levels } = config;
    super(width, config.encoder_ffn_dim, config.activation_function);
    this.self_attn = new MultiScaleDeformableAttention(width, heads, levels, config.encoder_n_points);
    this.self_attn_layer_norm = new LayerNorm(width);
  }

  forward(x: Tensor, positions: Tensor, references: Tensor, pyramid: Pyramid, outputAttentions: boolean): Attended {
    const { device } = x;
    // The sampling tensors are large (Σ h·w queries); their scope ends before the feed-forward needs its own.
    const attended = device.scope(() => {
      const result = this.self_attn.forward({
        query: add(x, positions),
        value: x,
        references,
        pyramid,
        residual: x,
        outputAttentions,
      });
      return { ...result, hidden: this.self_attn_layer_norm.forward(result.hidden) };
    });
    return { ...attended, hidden: this.feedForward(attended.hidden) };
  }
}

export class DeformableEncoder extends Module {
  readonly layers: readonly DeformableEncoderLayer[];

  constructor(config: DeformableDetrConfigFields) {
    super();
    this.layers = Array.from({ length: config.encoder_layers }, () => new DeformableEncoderLayer(config));
  }

  /** x [B, S, D] → memory [B, S, D]. */
  forward(x: Tensor, positions: Tensor, pyramid: Pyramid, wanted: WantedTrace): Memory {
    const references = encoderReferencePoints(pyramid.ratios, pyramid.levels); // [B, S, NL, 2]
    return encodeLayers(x, this.layers, wanted, (layer, state) =>
      layer.forward(state, positions, references, pyramid, wanted.outputAttentions),
    );
  }
}

/** What the decoder starts from. */
export interface Queries {
  /** [B, Q, D] */
  readonly targets: Tensor;
  /** [B or 1, Q, D] */
  readonly positions: Tensor;
  /** [B, Q, 2] points, or [B, Q, 4] boxes of a two-stage model. */
  readonly references: Tensor;
}

interface DecoderInputs {
  readonly queryPositions: Tensor;
  /** [B, S, D] */
  readonly memory: Tensor;
  readonly pyramid: Pyramid;
  readonly outputAttentions: boolean;
}

class DeformableDecoderLayer extends FeedForwardLayer {
  readonly self_attn: MultiHeadAttention;
  readonly self_attn_layer_norm: LayerNorm;
  readonly encoder_attn: MultiScaleDeformableAttention;
  readonly encoder_attn_layer_norm: LayerNorm;

  constructor(config: DeformableDetrConfigFields) {
    const { d_model: width, decoder_attention_heads: heads, num_feature_levels: levels } = config;
    super(width, config.decoder_ffn_dim, config.activation_function);
    this.self_attn = new MultiHeadAttention(width, heads);
    this.self_attn_layer_norm = new LayerNorm(width);
    this.encoder_attn = new MultiScaleDeformableAttention(width, heads, levels, config.decoder_n_points);
    this.encoder_attn_layer_norm = new LayerNorm(width);
  }

  /** targets [B, Q, D], references [B, Q, NL, 2 or 4] → [B, Q, D]. */
  forward(targets: Tensor, references: Tensor, inputs: DecoderInputs): DecoderLayerResult {
    const { queryPositions, memory, pyramid, outputAttentions } = inputs;
    const placed = add(targets, queryPositions);
    const self = this.self_attn.forward({
      query: placed,
      key: placed,
      value: targets,
      residual: targets,
      outputAttentions,
    });
    const x = this.self_attn_layer_norm.forward(self.hidden);
    const cross = this.encoder_attn.forward({
      query: add(x, queryPositions),
      value: memory,
      references,
      pyramid,
      residual: x,
      outputAttentions,
    });
    const hidden = this.feedForward(this.encoder_attn_layer_norm.forward(cross.hidden));
    return { ...self, hidden, crossWeights: cross.weights };
  }
}

/** Offsets [B, Q, 4] around points or boxes in [0, 1] → boxes [B, Q, 4]. */
export function boxesAround(offsets: Tensor, references: Tensor): Tensor {
  const origin = inverseSigmoid(references);
  const missing = 4 - references.dim(-1);
  const shape = [...references.shape.slice(0, -1), missing];
  const padded = missing === 0 ? origin : concatenate([origin, zeros(origin.device, shape)], shape.length - 1);
  return activate(add(offsets, padded), 'sigmoid');
}

/** Points or boxes [B, Q, c] → the same within the padded image, for every level: [B, Q, NL, c]. */
function perLevel(references: Tensor, ratios: Tensor): Tensor {
  const [batch, queries, coordinates] = [references.dim(0), references.dim(1), references.dim(2)];
  const levels = ratios.dim(1);
  const scale = coordinates === 4 ? concatenate([ratios, ratios], 2) : ratios;
  return multiply(references.reshape([batch, queries, 1, coordinates]), scale.reshape([batch, 1, levels, coordinates]));
}

export interface DeformableDecoderTrace extends DecoderTrace {
  /** The reference after each layer: [B, Q, 2 or 4]. */
  readonly references: Tensor[];
}

export class DeformableDecoder extends Module {
  readonly layers: readonly DeformableDecoderLayer[];

  constructor(config: DeformableDetrConfigFields) {
    super();
    this.layers = Array.from({ length: config.decoder_layers }, () => new DeformableDecoderLayer(config));
  }

  /** @param refine box heads of the layers, with `with_box_refine`. There is no norm at the end. */
  forward(
    queries: Queries,
    inputs: DecoderInputs,
    refine: readonly MultilayerPerceptron[] | undefined,
  ): { state: Tensor; trace: DeformableDecoderTrace } {
    const { device } = queries.targets;
    const trace: DeformableDecoderTrace = { ...decoderTrace(queries.targets), references: [] };
    let state = queries.targets;
    let { references } = queries;
    for (const [index, layer] of this.layers.entries()) {
      const result = device.scope(() => layer.forward(state, perLevel(references, inputs.pyramid.ratios), inputs));
      traceLayer(trace, result);
      state = result.hidden;
      trace.intermediate.push(state);
      const head = refine?.[index];
      if (head !== undefined) references = device.scope(() => boxesAround(head.forward(state), references));
      trace.references.push(references);
    }
    return { state, trace };
  }
}
