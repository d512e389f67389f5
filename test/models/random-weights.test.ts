import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type BaseConfig, DeformableDetrConfig, DetrConfig, type RawConfig } from '../../models/configuration.ts';
import { DeformableDetrForObjectDetection } from '../../models/deformable-detr.ts';
import { DetrForSegmentation } from '../../models/detr.ts';
import { type Module, namedParameters } from '../../models/module.ts';
import { randomSource } from '../../models/random-weights.ts';
import { smallBackbone } from '../support/small-backbone.ts';

// What HuggingFace's `_init_weights` makes of every kind of parameter.

const raw: RawConfig = {
  backbone_config: smallBackbone,
  d_model: 64,
  encoder_layers: 1,
  decoder_layers: 2,
  num_queries: 50,
  num_labels: 20,
  init_std: 0.5,
  init_xavier_std: 3,
};

type Read = (name: string) => Promise<Float32Array>;

const readerOf =
  (model: Module, config: BaseConfig): Read =>
  async name =>
    (await randomSource(new Map(namedParameters(model)), config, 1).read(name)).data as Float32Array;

const all = (values: Float32Array, value: number) => values.every(element => element === value);

function rangeOf(values: Float32Array): [least: number, most: number] {
  const sorted = values.toSorted();
  return [sorted[0]!, sorted.at(-1)!];
}

/** Values from -bound to bound (or from 0), and near to both ends. */
function assertUniform(values: Float32Array, bound: number, from = -bound): void {
  const [least, most] = rangeOf(values);
  const margin = 0.1 * (bound - from);
  assert.ok(from <= least && least < from + margin, `expected values from ${from}, got ${least}`);
  assert.ok(bound - margin < most && most <= bound, `expected values to ${bound}, got ${most}`);
}

function assertNormal(values: Float32Array, standardDeviation: number): void {
  const squares = values.reduce((sum, value) => sum + value * value, 0);
  const actual = Math.sqrt(squares / values.length);
  assert.ok(Math.abs(actual / standardDeviation - 1) < 0.1, `expected deviation ${standardDeviation}, got ${actual}`);
  assert.ok(rangeOf(values)[1] > 2 * standardDeviation, 'a normal distribution has values far out');
}

const test = suite('random weights');

test('DETR for segmentation', async () => {
  const config = DetrConfig.from({ ...raw, position_embedding_type: 'learned' });
  const read = readerOf(new DetrForSegmentation(config), config);
  assertNormal(await read('detr.model.encoder.layers.0.fc1.weight'), 0.5);
  assertNormal(await read('detr.model.decoder.layers.1.encoder_attn.v_proj.weight'), 0.5);
  assertNormal(await read('detr.model.input_projection.weight'), 0.5);
  assertNormal(await read('detr.model.query_position_embeddings.weight'), 0.5);
  assertNormal(await read('detr.class_labels_classifier.weight'), 0.5);
  assert.ok(all(await read('detr.class_labels_classifier.bias'), 0));
  assert.ok(all(await read('detr.model.decoder.layernorm.weight'), 1));
  assertUniform(await read('detr.model.backbone.position_embedding.row_embeddings.weight'), 1, 0);
  assertUniform(await read('bbox_attention.q_linear.weight'), 3 * Math.sqrt(6 / 128));
  assertUniform(await read('bbox_attention.k_linear.weight'), 3 * Math.sqrt(6 / 128));
  assert.ok(all(await read('bbox_attention.k_linear.bias'), 0));
  assertUniform(await read('mask_head.lay1.weight'), Math.sqrt(3 / (72 * 9)));
  assertUniform(await read('mask_head.adapter1.weight'), Math.sqrt(3 / 48));
  assert.ok(all(await read('mask_head.lay1.bias'), 0));
  const backbone = 'detr.model.backbone.conv_encoder.model';
  assertUniform(await read(`${backbone}.layer2.0.conv2.weight`), Math.sqrt(6 / (64 * 9)));
  assert.ok(all(await read(`${backbone}.layer2.0.bn2.running_var`), 1));
});

test('Deformable DETR', async () => {
  const config = DeformableDetrConfig.from({ ...raw, num_feature_levels: 5 });
  const read = readerOf(new DeformableDetrForObjectDetection(config), config);
  const attention = 'model.encoder.layers.0.self_attn';
  assert.ok(all(await read(`${attention}.sampling_offsets.weight`), 0));
  assert.ok(all(await read(`${attention}.attention_weights.weight`), 0));
  assertUniform(await read(`${attention}.value_proj.weight`), Math.sqrt(6 / 128));
  assertUniform(await read(`${attention}.output_proj.weight`), Math.sqrt(6 / 128));
  // [8 heads, 5 levels, 4 points, 2]: east, south-east, south, … in steps of one cell.
  const offsets = await read(`${attention}.sampling_offsets.bias`);
  assert.is(offsets.length, 8 * 5 * 4 * 2);
  const directions = [1, 0, 1, 1, 0, 1, -1, 1, -1, 0, -1, -1, 0, -1, 1, -1];
  offsets.forEach((value, index) => {
    const [head, point, axis] = [Math.floor(index / 40), Math.floor(index / 2) % 4, index % 2];
    const expected = directions[2 * head + axis]! * (point + 1);
    assert.ok(Math.abs(value - expected) < 1e-6, `offset ${index}: expected ${expected}, got ${value}`);
  });
  assertNormal(await read('model.level_embed'), 1);
  assertNormal(await read('model.query_position_embeddings.weight'), 0.5);
  assertUniform(await read('model.reference_points.weight'), Math.sqrt(6 / 66));
  assertNormal(await read('class_embed.0.weight'), 0.5);
  assert.equal(await read('class_embed.0.weight'), await read('class_embed.1.weight'), 'tied heads are one');
});

test.run();
