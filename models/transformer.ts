import { formatShape, ShapeError, sameShape, type Tensor } from '../engine/index.ts';
import { type Activation, add, attention, attentionWithWeights } from '../kernels/index.ts';
import type { BaseConfig } from './configuration.ts';
import type { GraphInputs } from './inputs.ts';
import { LayerNorm, Linear, Module } from './module.ts';

/*
 * Transformer parts that the families share (Carion et al., "End-to-End Object Detection with Transformers", §A.3): layers
 * norm after each residual, positions are added to queries and keys but not to values.
 *
 * B batch, S feature cells, Q queries, T either of them, D = d_model, N heads.
 */

/** A layer's result; `weights` when attentions were asked for. */
export interface Attended {
  readonly hidden: Tensor;
  /** [B, N, T, T'] after the softmax. */
  readonly weights?: Tensor | undefined;
}

export interface AttentionInputs {
  /** [B, T, D] */
  readonly query: Tensor;
  /** [B, T', D] */
  readonly key: Tensor;
  /** [B, T', D] */
  readonly value: Tensor;
  /** [B, T'], 1 = real, 0 = padding. */
  readonly keyMask?: Tensor | undefined;
  /** [B, T, D], added to the output. */
  readonly residual: Tensor;
  readonly outputAttentions: boolean;
}

export class MultiHeadAttention extends Module {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly out_proj: Linear;
  readonly #heads: number;

  constructor(width: number, heads: number) {
    super();
    this.q_proj = new Linear(width, width);
    this.k_proj = new Linear(width, width);
    this.v_proj = new Linear(width, width);
    this.out_proj = new Linear(width, width);
    this.#heads = heads;
  }

  /** residual + attention, before the norm. */
  forward({ query, key, value, keyMask, residual, outputAttentions }: AttentionInputs): Attended {
    const q = this.q_proj.forward(query);
    const k = this.k_proj.forward(key);
    const v = this.v_proj.forward(value);
    const options = { heads: this.#heads, keyMask };
    if (!outputAttentions) return { hidden: this.out_proj.forward(attention(q, k, v, options), { residual }) };
    const { output, weights } = attentionWithWeights(q, k, v, options);
    return { hidden: this.out_proj.forward(output, { residual }), weights };
  }
}

/** A layer that ends in x = norm(x + fc2(activation(fc1(x)))). */
export abstract class FeedForwardLayer extends Module {
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly final_layer_norm: LayerNorm;
  readonly #activation: Activation;

  constructor(width: number, hiddenWidth: number, activation: Activation) {
    super();
    this.fc1 = new Linear(width, hiddenWidth);
    this.fc2 = new Linear(hiddenWidth, width);
    this.final_layer_norm = new LayerNorm(width);
    this.#activation = activation;
  }

  protected feedForward(x: Tensor): Tensor {
    const hidden = this.fc1.forward(x, { activation: this.#activation });
    return this.final_layer_norm.forward(this.fc2.forward(hidden, { residual: x }));
  }
}

/** DetrEncoderLayer, which Conditional DETR shares. */
class EncoderLayer extends FeedForwardLayer {
  readonly self_attn: MultiHeadAttention;
  readonly self_attn_layer_norm: LayerNorm;

  constructor(config: BaseConfig) {
    super(config.d_model, config.encoder_ffn_dim, config.activation_function);
    this.self_attn = new MultiHeadAttention(config.d_model, config.encoder_attention_heads);
    this.self_attn_layer_norm = new LayerNorm(config.d_model);
  }

  forward(x: Tensor, positions: Tensor, keyMask: Tensor | undefined, outputAttentions: boolean): Attended {
    const placed = add(x, positions);
    const attended = this.self_attn.forward({
      query: placed,
      key: placed,
      value: x,
      keyMask,
      residual: x,
      outputAttentions,
    });
    const hidden = this.feedForward(this.self_attn_layer_norm.forward(attended.hidden));
    return { ...attended, hidden };
  }
}

/** What a stack of layers gives beside its last state. */
export interface Trace {
  /** [B, T, D] before the first layer and after each one; of an encoder when they are wanted. */
  readonly hiddenStates: Tensor[];
  readonly attentions: Tensor[];
}

/** What an encoder makes of the image. */
export interface Memory {
  /** [B, S, D] */
  readonly memory: Tensor;
  readonly trace: Trace;
}

/** The memory that was given, or the encoder's. @throws ShapeError for one that is not as long as `sequence` [B, S, D]. */
export function givenMemory({ memory }: GraphInputs, sequence: Tensor, encode: () => Memory): Memory {
  if (memory === undefined) return encode();
  if (!sameShape(memory.shape, sequence.shape)) {
    throw new ShapeError(
      `forward: encoderOutputs: expected last_hidden_state [B, S, D] = ${formatShape(sequence.shape)}, got ${formatShape(memory.shape)}`,
    );
  }
  return { memory, trace: { hiddenStates: [], attentions: [] } };
}

/** The same of a decoder. */
export interface DecoderTrace extends Trace {
  readonly crossAttentions: Tensor[];
  /** The state that each layer's predictions are made of, where a model keeps it. */
  readonly intermediate: Tensor[];
}

/** A decoder layer's result. */
export interface DecoderLayerResult extends Attended {
  /** [B, N, Q, S] after the softmax; Deformable DETR: [B, Q, N, levels, points]. */
  readonly crossWeights?: Tensor | undefined;
}

/** The trace of a decoder that has not yet run. */
export const decoderTrace = (targets: Tensor): DecoderTrace => ({
  hiddenStates: [targets],
  attentions: [],
  crossAttentions: [],
  intermediate: [],
});

/** Notes a layer's result. */
export function traceLayer(trace: DecoderTrace, { hidden, weights, crossWeights }: DecoderLayerResult): void {
  trace.hiddenStates.push(hidden);
  if (weights !== undefined) trace.attentions.push(weights);
  if (crossWeights !== undefined) trace.crossAttentions.push(crossWeights);
}

/** Which inner results of a stack of layers are wanted; states that are not are freed. */
export type WantedTrace = Pick<GraphInputs, 'outputHiddenStates' | 'outputAttentions'>;

/** Runs an encoder's layers one after the other, without a norm at the end: x [B, S, D] → memory [B, S, D]. */
export function encodeLayers<Layer>(
  x: Tensor,
  layers: readonly Layer[],
  { outputHiddenStates }: WantedTrace,
  forward: (layer: Layer, state: Tensor) => Attended,
): Memory {
  const trace: Trace = { hiddenStates: [x], attentions: [] };
  let memory = x;
  for (const layer of layers) {
    const { hidden, weights } = x.device.scope(() => forward(layer, memory));
    if (outputHiddenStates) trace.hiddenStates.push(hidden);
    else if (memory !== x) memory.dispose();
    if (weights !== undefined) trace.attentions.push(weights);
    memory = hidden;
  }
  return { memory, trace };
}

/** DetrEncoder, which Conditional DETR shares. */
export class Encoder extends Module {
  readonly layers: readonly EncoderLayer[];

  constructor(config: BaseConfig) {
    super();
    this.layers = Array.from({ length: config.encoder_layers }, () => new EncoderLayer(config));
  }

  /** x [B, S, D] → memory [B, S, D]. */
  forward(x: Tensor, positions: Tensor, keyMask: Tensor | undefined, wanted: WantedTrace): Memory {
    return encodeLayers(x, this.layers, wanted, (layer, state) =>
      layer.forward(state, positions, keyMask, wanted.outputAttentions),
    );
  }
}

/** A decoder whose last state is normed, as DETR's and Conditional DETR's are. */
export abstract class NormedDecoder<Layer extends Module> extends Module {
  readonly layers: readonly Layer[];
  readonly layernorm: LayerNorm;
  readonly #normalizesBetweenLayers: boolean;

  constructor(config: BaseConfig, makeLayer: (index: number) => Layer) {
    super();
    this.layers = Array.from({ length: config.decoder_layers }, (_, index) => makeLayer(index));
    this.layernorm = new LayerNorm(config.d_model);
    this.#normalizesBetweenLayers = config.auxiliary_loss;
  }

  /** targets [B, Q, D] → the last state [B, Q, D]. */
  protected decode(
    targets: Tensor,
    forward: (layer: Layer, state: Tensor, index: number) => DecoderLayerResult,
  ): { state: Tensor; trace: DecoderTrace } {
    const trace = decoderTrace(targets);
    let state = targets;
    for (const [index, layer] of this.layers.entries()) {
      const result = targets.device.scope(() => forward(layer, state, index));
      traceLayer(trace, result);
      state = result.hidden;
      if (this.#normalizesBetweenLayers) {
        // HuggingFace's quirk: with auxiliary_loss the normed state goes on to the next layer, and the last is normed twice.
        state = this.layernorm.forward(state);
        trace.intermediate.push(state);
      }
    }
    state = this.layernorm.forward(state);
    trace.hiddenStates[this.layers.length] = state;
    return { state, trace };
  }
}
