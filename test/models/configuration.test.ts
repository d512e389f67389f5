import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError, OptionError } from '../../engine/index.ts';
import { modelClass } from '../../models/auto.ts';
import type { ResNetConfig } from '../../models/backbones/resnet.ts';
import { ConditionalDetrConfig, DeformableDetrConfig, DetrConfig, type RawConfig } from '../../models/configuration.ts';
import { publishedConfigs, syntheticModel } from '../../models/published.ts';
import { rejectsWith } from '../support/throws.ts';
import { publishedTensors, publishedVariants } from '../weights/support/published.ts';

function refuses(read: () => unknown, message: RegExp): void {
  assert.throws(read, (error: Error) => {
    assert.instance(error, ConfigError);
    assert.match(error.message, message);
    return true;
  });
}

test('defaults are the classes’ own', () => {
  // Those of transformers 5.18.
  const common = {
    ...{ num_channels: 3, d_model: 256, encoder_layers: 6, decoder_layers: 6 },
    ...{ encoder_attention_heads: 8, decoder_attention_heads: 8, activation_function: 'relu' },
    ...{ position_embedding_type: 'sine', auxiliary_loss: false, init_std: 0.02, init_xavier_std: 1 },
    ...{ bbox_cost: 5, giou_cost: 2, mask_loss_coefficient: 1, dice_loss_coefficient: 1 },
    ...{ bbox_loss_coefficient: 5, giou_loss_coefficient: 2, num_labels: 2 },
  };
  const wide = { encoder_ffn_dim: 2048, decoder_ffn_dim: 2048 };
  const narrow = { encoder_ffn_dim: 1024, decoder_ffn_dim: 1024 };
  const deformable = {
    ...{ num_feature_levels: 4, encoder_n_points: 4, decoder_n_points: 4, with_box_refine: false },
    ...{ two_stage: false, two_stage_num_proposals: 300, tie_word_embeddings: true },
  };
  const defaults: [config: object, expected: object][] = [
    [DetrConfig.from(), { ...common, ...wide, num_queries: 100, class_cost: 1, eos_coefficient: 0.1 }],
    [
      ConditionalDetrConfig.from(),
      { ...common, ...wide, num_queries: 300, class_cost: 2, cls_loss_coefficient: 2, focal_alpha: 0.25 },
    ],
    [
      DeformableDetrConfig.from(),
      { ...common, ...narrow, ...deformable, num_queries: 300, class_cost: 1, focal_alpha: 0.25 },
    ],
  ];
  for (const [config, expected] of defaults) {
    const read = config as Record<string, unknown>;
    assert.equal(Object.fromEntries(Object.keys(expected).map(key => [key, read[key]])), expected);
  }
});

test('labels are counted by their names, and gaps are filled', () => {
  const { num_labels, id2label } = DetrConfig.from({ id2label: { 0: 'N/A', 1: 'person' }, num_labels: 7 });
  assert.is(num_labels, 2);
  assert.equal(id2label, { 0: 'N/A', 1: 'person' });
  assert.is(DetrConfig.from({ num_labels: 7 }).id2label[6], 'LABEL_6');
});

test('aliases, nulls and unknown keys of old files are understood', () => {
  const config = DetrConfig.from({
    hidden_size: 64,
    num_attention_heads: 4,
    decoder_attention_heads: 4,
    dilation: null,
    use_pretrained_backbone: null,
    scale_embedding: false,
    max_position_embeddings: 1024,
  });
  assert.is(config.d_model, 64);
  assert.is(config.encoder_attention_heads, 4);
  assert.is(ConditionalDetrConfig.from({ num_hidden_layers: 3 }).encoder_layers, 3);
  assert.is(ConditionalDetrConfig.from({ num_hidden_layers: 3, encoder_layers: 2 }).encoder_layers, 2);
  assert.is(DeformableDetrConfig.from({ num_hidden_layers: 3 }).encoder_layers, 6);
  // Of the other two the alias wins.
  const both = DetrConfig.from({ hidden_size: 64, d_model: 32, num_attention_heads: 2, encoder_attention_heads: 4 });
  assert.equal([both.d_model, both.encoder_attention_heads], [64, 2]);
});

test('the channels of the pictures are those of the backbone', () => {
  assert.is(DetrConfig.from({ num_channels: 1 }).backbone.inChannels, 1);
  assert.is(DetrConfig.fromBackboneConfig({ model_type: 'resnet', num_channels: 1 }).num_channels, 1);
});

test('activation functions go by transformers’ names', () => {
  assert.is(DetrConfig.from({ activation_function: 'gelu_new' }).activation_function, 'gelu_tanh');
  refuses(
    () => DetrConfig.from({ activation_function: 'softsign?' }),
    /activation_function.*expected one of.*"softsign\?"/,
  );
});

test('a timm backbone in every spelling', () => {
  const plain = DetrConfig.from({}).backbone;
  const v5 = DetrConfig.from({ backbone_config: { model_type: 'timm_backbone', backbone: 'resnet50' } }).backbone;
  assert.equal(plain, v5);
  assert.equal(DetrConfig.from({ backbone: 'resnet50.a1_in1k' }).backbone, plain);
  for (const raw of [
    { dilation: true },
    { backbone_kwargs: { output_stride: 16 } },
    { backbone_config: { model_type: 'timm_backbone', backbone: 'resnet50', output_stride: 16 } },
  ]) {
    const { backbone } = DetrConfig.from(raw);
    assert.ok(backbone.kind === 'resnet' && backbone.dilation, JSON.stringify(raw));
  }
  assert.equal(DeformableDetrConfig.from({}).backbone.outStages, [2, 3, 4]);
  assert.equal(DeformableDetrConfig.from({ num_feature_levels: 1 }).backbone.outStages, [4]);
  assert.equal(DetrConfig.from({ backbone_kwargs: { out_indices: [-1, 2] } }).backbone.outStages, [2, 4]);
  const depthsOf = (raw: RawConfig) => (DetrConfig.from(raw).backbone as ResNetConfig).depths;
  assert.equal(depthsOf({ backbone_kwargs: { out_indices: [3, 1] } }), [3, 4, 6]);
  assert.equal(depthsOf({ backbone_kwargs: { out_indices: [1, 4] } }), [3, 4, 6, 3]);
  const mobile = DetrConfig.from({ backbone: 'tf_mobilenetv3_small_075', dilation: true }).backbone;
  assert.ok(mobile.kind === 'mobilenetv3' && mobile.dilation);
});

test('a transformers backbone by features, by indices and by default', () => {
  const stages = (raw: object) => DetrConfig.fromBackboneConfig({ model_type: 'resnet', ...raw }).backbone.outStages;
  assert.equal(stages({}), [4]);
  assert.equal(stages({ out_features: ['stage4', 'stage2'] }), [2, 4]);
  assert.equal(stages({ out_indices: [0, -1] }), [0, 4]);
  assert.equal(DetrConfig.from({ use_timm_backbone: false }).backbone.outStages, [4]);
});

test('a transformers backbone by the name of its repository', () => {
  const named = (backbone: string, raw: RawConfig = {}) =>
    DetrConfig.from({ use_timm_backbone: false, backbone, ...raw }).backbone as ResNetConfig;
  assert.equal(named('microsoft/resnet-50'), DetrConfig.fromBackboneConfig({}).backbone);
  assert.equal(named('microsoft/resnet-101').depths, [3, 4, 23, 3]);
  assert.is(named('microsoft/resnet-18').layerType, 'basic');
  const kwargs = { backbone_kwargs: { out_features: ['stage2', 'stage4'] } };
  assert.equal(named('microsoft/resnet-34', kwargs).outStages, [2, 4]);
  assert.equal(named('resnet101').depths, [3, 4, 23, 3]);
  refuses(() => named('owner/swin'), /backbone: expected one of resnet18.*got "owner\/swin"/);
});

test('a config gives the same config again, also out of JSON', () => {
  const raws: RawConfig[] = [
    {},
    {
      d_model: 64,
      activation_function: 'gelu_new',
      id2label: { 0: 'a', 3: 'b' },
      architectures: ['X'],
      dilation: true,
    },
    { backbone: 'tf_mobilenetv3_small_075', dilation: true, backbone_block_activations: true },
    { backbone: 'resnet18', backbone_kwargs: { out_indices: [1, 3] }, num_channels: 1 },
    {
      backbone_config: {
        model_type: 'resnet',
        hidden_act: 'silu',
        downsample_in_bottleneck: true,
        out_indices: [0, 2],
      },
    },
  ];
  for (const raw of raws) {
    for (const family of [DetrConfig, ConditionalDetrConfig, DeformableDetrConfig]) {
      const config = family.from(raw);
      assert.equal((family.from as (config: object) => object)(config), config);
      assert.equal(family.from(JSON.parse(JSON.stringify(config))), config);
    }
  }
  const config = DetrConfig.from({ id2label: { 0: 'a', 3: 'b' } });
  const { backbone } = config;
  refuses(
    () => DetrConfig.from({ backbone: { ...backbone, depths: 'many' } }),
    /^config: backbone: .*depths: expected/,
  );
  for (const other of [[], { kind: 'swin' }, { model_type: 'resnet' }]) {
    refuses(() => DetrConfig.from({ backbone: other }), /^config: backbone: expected a name, or that of a config, got/);
  }
  for (const key of ['dilation', 'backbone_config', 'num_channels']) {
    refuses(() => DetrConfig.from({ ...config, [key]: 1 }), new RegExp(`^config: ${key}: expected none beside the`));
  }
  // What is set beside it counts.
  assert.is(DetrConfig.from({ ...config, d_model: 64 }).d_model, 64);
  for (const names of [['a'], ['a', 'b'], ['a', 'b', 'c']]) {
    assert.is(DetrConfig.from({ ...config, id2label: { ...names } }).num_labels, names.length);
  }
  const other = DetrConfig.fromBackboneConfig({ depths: [1, 1], hidden_sizes: [32, 64] }, config);
  assert.equal([other.num_labels, (other.backbone as ResNetConfig).depths], [2, [1, 1]]);
});

test('what cannot be is refused, naming the key', () => {
  refuses(() => DetrConfig.from({ d_model: 0 }), /d_model: expected a positive integer up to 65536, got 0/);
  refuses(() => DetrConfig.from({ d_model: '256' }), /d_model: expected a positive integer up to 65536, got "256"/);
  for (const { from } of [DetrConfig, ConditionalDetrConfig, DeformableDetrConfig]) {
    refuses(() => from({ d_model: 36 }), /d_model: expected a multiple of encoder_attention_heads \(8\), got 36/);
    const heads = { encoder_attention_heads: 1, decoder_attention_heads: 1 };
    refuses(() => from({ d_model: 35, ...heads }), /d_model: expected an even number, got 35/);
    refuses(
      () => from({ d_model: 32, decoder_attention_heads: 5 }),
      /a multiple of decoder_attention_heads \(5\), got 32/,
    );
  }
  refuses(
    () => DetrConfig.from({ position_embedding_type: 'fourier' }),
    /position_embedding_type: expected one of sine, learned/,
  );
  refuses(() => DetrConfig.from({ backbone: 'vgg16' }), /backbone: expected one of resnet18.*got "vgg16"/);
  refuses(() => DetrConfig.from({ backbone_config: [] }), /backbone_config: expected an object/);
  refuses(
    () => DetrConfig.from({ backbone_config: { model_type: 'swin' } }),
    /model_type: expected resnet or timm_backbone/,
  );
  refuses(
    () => DetrConfig.fromBackboneConfig({ out_features: ['stage9'] }),
    /out_features: expected different names out of stem/,
  );
  refuses(
    () => DetrConfig.fromBackboneConfig({ hidden_sizes: [64, 6, 8, 16] }),
    /hidden_sizes: expected multiples of 4 for bottleneck layers, got \[64, 6, 8, 16\]/,
  );
  refuses(
    () => DetrConfig.fromBackboneConfig({ hidden_sizes: [64, 128], depths: [1, 1, 1] }),
    /expected hidden_sizes and depths of the same length, at most 4, got 2 and 3/,
  );
  refuses(
    () => DetrConfig.fromBackboneConfig({ hidden_sizes: '64' }),
    /hidden_sizes: expected a list of positive integers, got "64"/,
  );
  refuses(
    () => DetrConfig.fromBackboneConfig({ out_features: ['stage4', 'stage4'] }),
    /out_features: expected different names out of stem, .*\["stage4","stage4"\]/,
  );
  for (const out_indices of ['x', ['x'], [5], [-6], [1.5], [4, -1]]) {
    refuses(
      () => DetrConfig.fromBackboneConfig({ out_indices }),
      /out_indices: expected different indices from 0 to 4/,
    );
  }
  refuses(() => DetrConfig.from({ backbone_kwargs: { out_indices: [4, -1] } }), /out_indices: expected different/);
  refuses(() => DetrConfig.from({ backbone_kwargs: { output_stride: 8 } }), /output_stride: expected 16 or 32, got 8/);
  refuses(() => DetrConfig.from({ backbone_kwargs: 'x' }), /backbone_kwargs: expected an object, got "x"/);
  refuses(() => DetrConfig.from({ activation_function: 'constructor' }), /expected one of .*, got "constructor"/);
  refuses(
    () => DetrConfig.from({ model_type: 'conditional_detr' }),
    /model_type: expected detr, got "conditional_detr"/,
  );
  refuses(() => DeformableDetrConfig.from({ two_stage: true }), /two_stage: expected with_box_refine/);
  refuses(() => DetrConfig.from({ id2label: ['a'] }), /id2label: expected an object/);
  refuses(() => DetrConfig.from({ id2label: { a: 'b' } }), /id2label: expected whole numbers as keys, got "a"/);
  refuses(() => DetrConfig.from({ backbone: 'constructor' }), /backbone: expected one of resnet18.*got "constructor"/);
  refuses(() => DetrConfig.from(null as unknown as RawConfig), /config: expected an object, got null/);
});

test('what no model has is refused before anything of that size is made', () => {
  const refusals: [RawConfig, RegExp][] = [
    [{ encoder_layers: 1e9 }, /encoder_layers: expected an integer from 0 to 512, got 1000000000/],
    [{ d_model: 2 ** 31 }, /d_model: expected a positive integer up to 65536/],
    [{ num_labels: 1e300 }, /num_labels: expected a positive integer up to 65536/],
    [{ num_queries: 1e8 }, /num_queries: expected a positive integer up to 65536/],
    [{ backbone_config: { depths: [1e9, 1, 1, 1] } }, /backbone_config.depths: expected a positive integer up to 512/],
  ];
  for (const [raw, message] of refusals) refuses(() => DetrConfig.from(raw), message);
  refuses(() => DeformableDetrConfig.from({ num_feature_levels: 1e6 }), /num_feature_levels: expected .* up to 16/);
});

test('a published configuration makes the model of its checkpoint', async () => {
  const variants = publishedVariants();
  let compared = 0;
  for (const [name, raw] of Object.entries(publishedConfigs)) {
    const Model = modelClass((raw.architectures as string[])[0]!);
    const config = Model.readConfig(raw);
    assert.is(Object.keys(config.id2label).length, name.endsWith('panoptic') ? 250 : 91, name);
    assert.is((config.backbone as ResNetConfig).dilation, /dc5/.test(name), name);
    assert.is((config.backbone as ResNetConfig).depths[2], /101/.test(name) ? 23 : 6, name);
    const variant = name.split('/')[1]!;
    if (!variants.includes(variant)) continue;
    // Files hold the heads of box refinement twice.
    const isRefined = variant.includes('box-refine');
    const stored = publishedTensors(variant).filter(
      ({ name }) => !isRefined || !/decoder\.(bbox|class)_embed/.test(name),
    );
    const shapes = (tensors: Iterable<readonly [string, readonly number[]]>) => Object.fromEntries(tensors);
    const model = new Model(config as never);
    assert.equal(shapes(model.parameters()), shapes(stored.map(({ name, shape }) => [name, shape])), name);
    compared += 1;
  }
  assert.is(compared, 8);
  const unknown = /^synthetic: expected one of facebook\/detr-resnet-50, .*, got facebook\/detr-resnet-18$/;
  await rejectsWith(() => syntheticModel('facebook/detr-resnet-18'), OptionError, unknown);
});

test.run();
