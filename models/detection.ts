import type { HostTensor, Tensor } from '../engine/index.ts';
import { checkOptionNames } from '../engine/options.ts';
import { concatenate } from '../kernels/index.ts';
import type { BaseConfig } from './configuration.ts';
import { type ForwardInputs, type GraphInputs, inputNames } from './inputs.ts';
import { computeLoss, type LossKind } from './losses/compute-loss.ts';
import { type ImageTargets, ownTargets } from './losses/matcher.ts';
import { type OnHost, PreTrainedModel } from './pretrained.ts';
import type { DecoderTrace, Memory } from './transformer.ts';

/*
 * What models with heads have in common: their outputs under HuggingFace's names, and losses when labels are given.
 * B batch, S feature cells, Q queries, D = d_model, N heads, L decoder layers, K classes.
 */

/** States and attentions, as HuggingFace names them. Lists are present only when they were asked for. */
export interface EncoderDecoderOutputs {
  /** [B, Q, D] */
  readonly last_hidden_state: Tensor;
  /**
   * (L + 1) x [B, Q, D]: the first state, then the state after each layer, before the norms that `auxiliary_loss` puts
   * between layers (transformers 5); the last one is `last_hidden_state`.
   */
  readonly decoder_hidden_states?: readonly Tensor[];
  /** L x [B, N, Q, Q] */
  readonly decoder_attentions?: readonly Tensor[];
  /** L x [B, N, Q, S]; Deformable DETR: L x [B, Q, N, levels, points]. */
  readonly cross_attentions?: readonly Tensor[];
  /** [B, S, D] */
  readonly encoder_last_hidden_state: Tensor;
  /** [B, S, D] before the first layer and after each one. */
  readonly encoder_hidden_states?: readonly Tensor[];
  /** [B, N, S, S] of each layer; Deformable DETR: [B, S, N, levels, points]. */
  readonly encoder_attentions?: readonly Tensor[];
}

export interface Predictions {
  /** [B, Q, K] */
  readonly logits: Tensor;
  /** [B, Q, 4], (cx, cy, w, h) in [0, 1]. */
  readonly pred_boxes: Tensor;
}

export interface ObjectDetectionOutputs extends EncoderDecoderOutputs, Predictions {
  /** Predictions of the layers before the last; with labels and `auxiliary_loss`. */
  readonly auxiliary_outputs?: readonly Predictions[];
}

/** What `forward` adds when it gets labels. */
export interface LossOutputs {
  readonly loss?: HostTensor;
  readonly loss_dict?: Readonly<Record<string, HostTensor>>;
}

export interface LabelledInputs extends ForwardInputs {
  /** One per image; `forward` then returns `loss` and `loss_dict` as well. */
  readonly labels?: readonly ImageTargets[] | undefined;
}

export function encoderDecoderOutputs(
  state: Tensor,
  decoder: DecoderTrace,
  encoder: Memory,
  inputs: GraphInputs,
): EncoderDecoderOutputs {
  const encoded = inputs.memory === undefined;
  return {
    last_hidden_state: state,
    encoder_last_hidden_state: encoder.memory,
    ...(inputs.outputHiddenStates && { decoder_hidden_states: decoder.hiddenStates }),
    ...(inputs.outputHiddenStates && encoded && { encoder_hidden_states: encoder.trace.hiddenStates }),
    ...(inputs.outputAttentions && {
      decoder_attentions: decoder.attentions,
      cross_attentions: decoder.crossAttentions,
    }),
    ...(inputs.outputAttentions && encoded && { encoder_attentions: encoder.trace.attentions }),
  };
}

/** Predictions of the layers before the last, when a loss needs them. */
export function auxiliaryPredictions(
  { intermediate }: DecoderTrace,
  { auxiliaryOutputs }: GraphInputs,
  predict: (state: Tensor) => Predictions,
): Pick<ObjectDetectionOutputs, 'auxiliary_outputs'> {
  return auxiliaryOutputs ? { auxiliary_outputs: intermediate.slice(0, -1).map(predict) } : {};
}

/** Tensors of one shape, side by side along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  return concatenate(
    tensors.map(tensor => tensor.reshape(tensor.shape.toSpliced(axis, 0, 1))),
    axis,
  );
}

const predictionNames = ['logits', 'pred_boxes', 'pred_masks'] as const;

/** The outputs of a model that its predictions are made of: logits and boxes, and masks where it has them. */
export type PredictionsOf<Outputs> = Pick<Outputs, Extract<keyof Outputs, (typeof predictionNames)[number]>>;

/** What `predict` takes: `forward`'s inputs but for those that ask for more outputs. Labels have no effect. */
export type PredictInputs = Omit<LabelledInputs, 'outputHiddenStates' | 'outputAttentions'>;

const predictInputNames = ['labels', ...inputNames].filter(name => !/^output/.test(name));

/** A model whose `forward` takes labels. */
export abstract class DetectionModel<
  Config extends BaseConfig,
  Outputs extends ObjectDetectionOutputs,
> extends PreTrainedModel<Config, Outputs> {
  protected abstract readonly lossKind: LossKind;

  override async forward(inputs: LabelledInputs): Promise<OnHost<Outputs> & LossOutputs> {
    checkOptionNames(inputs, [...inputNames, 'labels'], 'forward');
    const { labels, ...unlabelled } = inputs;
    if (labels === undefined) return (await this.run(unlabelled)) as OnHost<Outputs> & LossOutputs;
    const targets = ownTargets(labels); // Checked before the pass, whose work would be lost.
    const outputs = await this.run(unlabelled, { auxiliaryOutputs: this.config.auxiliary_loss });
    const { loss, lossDict } = computeLoss(this.lossKind, outputs, targets, this.config);
    return { ...outputs, loss: scalar(loss), loss_dict: mapValues(lossDict, scalar) };
  }

  /**
   * As `forward`, but only what post-processing reads comes back: `logits`, `pred_boxes` and, of models that segment,
   * `pred_masks`. The states stay behind, which for Deformable DETR are 18 MB for a picture of 800x1066.
   * @throws as `forward`
   */
  async predict(inputs: PredictInputs): Promise<OnHost<PredictionsOf<Outputs>>> {
    checkOptionNames(inputs, predictInputNames, 'predict');
    const { labels: _, ...unlabelled } = inputs;
    const lean = { ...unlabelled, outputHiddenStates: false, outputAttentions: false };
    return (await this.run(lean, { wanted: predictionNames, where: 'predict' })) as OnHost<PredictionsOf<Outputs>>;
  }
}

const scalar = (value: number): HostTensor => ({ shape: [], data: Float32Array.of(value) });

const mapValues = <From, To>(record: Readonly<Record<string, From>>, map: (value: From) => To): Record<string, To> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
