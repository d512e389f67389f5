import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError } from '../../engine/errors.ts';
import { matchCheckpoint, renamedSource } from '../../weights/match.ts';
import { type HeadTying, resolveNames, type StoredName } from '../../weights/names.ts';
import { encodeSafetensors, parseSafetensors } from '../../weights/safetensors.ts';
import { syntheticSource } from '../../weights/synthetic.ts';
import { rejectsWith } from '../support/throws.ts';
import { originalNameOf } from './support/original-names.ts';
import { publishedTensors, publishedVariants } from './support/published.ts';

const configOf = (variant: string): HeadTying => ({
  with_box_refine: variant.includes('box-refine'),
  two_stage: variant.includes('two-stage'),
});

/** A model asks for timm's backbone naming, the hub's usual one. */
const wantedVariant = (variant: string) => (variant === 'detr-resnet-50.no_timm' ? 'detr-resnet-50' : variant);

function assertComplete(wanted: string[], available: string[], config: HeadTying): ReadonlyMap<string, StoredName> {
  const { found, missing, unused } = resolveNames(wanted, available, config);
  assert.equal(missing, []);
  assert.equal(unused, []);
  assert.equal([...found.keys()], wanted);
  return found;
}

for (const variant of publishedVariants()) {
  const config = configOf(variant);
  const tensors = publishedTensors(variant);
  const wanted = publishedTensors(wantedVariant(variant)).map(({ name }) => name);

  for (const dialect of ['name', 'nameInVersion5'] as const) {
    const title = dialect === 'name' ? 'hub names' : 'the names of transformers 5 in memory';
    test(`${variant}: ${title}`, () => {
      const shapes = new Map(tensors.map(tensor => [tensor[dialect], tensor.shape]));
      const found = assertComplete(wanted, [...shapes.keys()], config);
      for (const [i, { name, shape }] of publishedTensors(wantedVariant(variant)).entries()) {
        const stored = found.get(name)!.name;
        assert.equal(shapes.get(stored), shape);
        // The lists go through the model in the same order, but for the shortcut of HuggingFace's ResNet.
        if (variant.endsWith('no_timm')) continue;
        const isNestedHead = /^model\.decoder\.(class|bbox)_embed/.test(name);
        assert.is(stored, isNestedHead ? name.replace('model.decoder.', '') : tensors[i]![dialect]);
      }
      if (variant.endsWith('no_timm'))
        assert.is(new Set([...found.values()].map(({ name }) => name)).size, wanted.length);
    });
  }

  test(`${variant}: the original repository's names`, () => {
    const available = new Set<string>();
    const expected = new Map<string, StoredName>();
    for (const name of wanted) {
      const stored = originalNameOf(name, variant);
      available.add(stored.name);
      expected.set(name, stored);
      if (name.endsWith('running_var')) available.add(stored.name.replace('running_var', 'num_batches_tracked'));
    }
    const found = assertComplete(wanted, [...available], config);
    for (const [name, stored] of found) {
      const isNestedHead = /^model\.decoder\.(class|bbox)_embed/.test(name);
      const { name: expectedName, ...part } = expected.get(name)!;
      const preferred = isNestedHead ? expectedName.replace('transformer.decoder.', '') : expectedName;
      assert.equal(stored, { name: preferred, ...part });
    }
  });

  test(`${variant}: without the wrapping class's prefix, and saved from parallel training`, () => {
    const stripped = wanted.map(name => name.replace(/^(detr\.|conditional_detr\.)?(model\.)?/, ''));
    assertComplete(stripped, wanted, config);
    assertComplete(wanted, stripped, config);
    for (const wrapper of ['module.', 'model.', '_orig_mod.', 'module.model.', 'base_model.model.', 'detr.model.']) {
      assertComplete(
        wanted,
        wanted.map(name => wrapper + name),
        config,
      );
    }
    const leftovers = [
      'criterion.empty_weight',
      'model.criterion.x',
      'model.decoder.position_ids',
      'backbone.0.body.fc.bias',
    ];
    assertComplete(wanted, [...wanted, ...leftovers], config);
  });
}

test('both backbone namings serve both, and a bare backbone file serves a backbone', () => {
  const timm = publishedTensors('detr-resnet-50').map(({ name }) => name);
  const huggingFace = publishedTensors('detr-resnet-50.no_timm').map(({ name }) => name);
  const found = assertComplete(timm, huggingFace, {});
  assert.equal(found.get('model.backbone.conv_encoder.model.layer3.4.conv2.weight'), {
    name: 'model.backbone.conv_encoder.model.encoder.stages.2.layers.4.layer.1.convolution.weight',
  });
  assert.equal(found.get('model.backbone.conv_encoder.model.layer2.0.downsample.1.running_var'), {
    name: 'model.backbone.conv_encoder.model.encoder.stages.1.layers.0.shortcut.normalization.running_var',
  });
  assertComplete(huggingFace, timm, {});

  const backboneOf = (names: string[]) => names.filter(name => name.includes('conv_encoder'));
  const wanted = backboneOf(timm);
  const bare = wanted.map(name => name.replace('model.backbone.conv_encoder.model.', ''));
  assertComplete(wanted, [...bare, 'fc.weight', 'fc.bias', 'bn1.num_batches_tracked'], {});
  const resnet = backboneOf(huggingFace).map(name => name.replace('model.backbone.conv_encoder.model.', 'resnet.'));
  assertComplete(wanted, [...resnet, 'classifier.1.weight', 'classifier.1.bias'], {});
});

test('learned positions at both places', () => {
  const wanted = ['model.backbone.position_embedding.row_embeddings.weight'];
  assertComplete(wanted, ['model.position_embedding.row_embeddings.weight'], {});
  assertComplete(wanted, ['backbone.1.row_embed.weight'], {});
});

test("Deformable DETR's heads however they are spelled", () => {
  const heads = (layers: number, prefix = '') =>
    Array.from({ length: layers }, (_, i) => [
      `${prefix}class_embed.${i}.bias`,
      `${prefix}bbox_embed.${i}.layers.2.weight`,
    ]).flat();
  const nested = (layers: number) => heads(layers, 'model.decoder.');
  const single: HeadTying = { with_box_refine: false };
  const refined: HeadTying = { with_box_refine: true };
  const twoStage: HeadTying = { with_box_refine: true, two_stage: true };
  assertComplete(heads(6), heads(6), single);
  assertComplete(heads(6), heads(1), single);
  assertComplete(heads(6), nested(1), single);
  assertComplete(heads(1), heads(6), single);
  assertComplete(heads(1), [...nested(6), ...heads(6)], single);
  assertComplete(heads(6), nested(6), refined);
  assertComplete(heads(6), [...nested(6), ...heads(6)], refined);
  assertComplete(nested(7), heads(7), twoStage);
  // As transformers 5 writes box refinement: boxes nested, one classifier.
  const version5 = [...nested(6).filter(name => name.includes('bbox')), 'class_embed.0.bias'];
  assertComplete(heads(6), version5, refined);
  assert.is(resolveNames(heads(6), version5, { ...refined, tie_word_embeddings: false }).missing.length, 5);
  assert.is(resolveNames(heads(7), version5, twoStage).missing.length, 7);
  assert.equal(resolveNames(heads(6), heads(1), refined).missing.length, 5);
  assert.equal(resolveNames(heads(6), heads(7), refined).unused, heads(7).slice(12));
  // Where copies disagree the top-level name counts.
  const { found } = resolveNames(['class_embed.1.bias'], [...nested(6), ...heads(6)], refined);
  assert.equal(found.get('class_embed.1.bias'), { name: 'class_embed.1.bias' });
});

test('what is missing or unused is said by name', () => {
  const { found, missing, unused } = resolveNames(
    ['model.encoder.layers.0.fc1.weight', 'model.encoder.layers.1.fc1.weight'],
    [
      'model.encoder.layers.0.mlp.fc1.weight',
      'model.encoder.layers.0.fc1.weight',
      'x.fc1.weight',
      'a.num_batches_tracked',
    ],
  );
  assert.equal([...found], [['model.encoder.layers.0.fc1.weight', { name: 'model.encoder.layers.0.mlp.fc1.weight' }]]);
  assert.equal(missing, ['model.encoder.layers.1.fc1.weight']);
  assert.equal(unused, ['model.encoder.layers.0.fc1.weight', 'x.fc1.weight']);
  assert.equal(resolveNames(['bn1.num_batches_tracked'], []).missing, []);
});

test('a joint projection is cut into its rows', async () => {
  const prefix = 'transformer.encoder.layers.0.self_attn';
  const values = Float32Array.from({ length: 12 }, (_, i) => i);
  const source = parseSafetensors(
    encodeSafetensors([
      [`${prefix}.in_proj_weight`, { shape: [6, 2], data: values }],
      [`${prefix}.in_proj_bias`, { shape: [6], data: values.slice(0, 6) }],
    ]),
  );
  const wanted = ['q', 'k', 'v'].flatMap(kind => [
    [`model.encoder.layers.0.self_attn.${kind}_proj.weight`, [2, 2]] as const,
    [`model.encoder.layers.0.self_attn.${kind}_proj.bias`, [2]] as const,
  ]);
  const matched = matchCheckpoint(source, wanted);
  const valuesOf = async (name: string) => [...(await matched.read(name)).data];
  assert.equal(await valuesOf('model.encoder.layers.0.self_attn.q_proj.weight'), [0, 1, 2, 3]);
  assert.equal(await valuesOf('model.encoder.layers.0.self_attn.k_proj.weight'), [4, 5, 6, 7]);
  assert.equal(await valuesOf('model.encoder.layers.0.self_attn.v_proj.bias'), [4, 5]);
  assert.equal(matched.tensors.get('model.encoder.layers.0.self_attn.v_proj.weight'), { shape: [2, 2], dtype: 'F32' });

  const { found } = resolveNames(['encoder.layers.0.self_attn.q_proj.weight'], source.tensors.keys());
  const native = await renamedSource(source, found).readNative('encoder.layers.0.self_attn.q_proj.weight');
  assert.equal(native, { shape: [2, 2], data: new Float32Array([0, 1, 2, 3]) });

  const uneven = syntheticSource([[`${prefix}.in_proj_weight`, [7, 2]]]);
  const message = /in_proj_weight": expected a first dimension that is a multiple of 3, got \[7, 2\]/;
  await rejectsWith(() => matchCheckpoint(uneven, wanted), FileError, message);
});

test('matching reports everything at once, with both shapes', async () => {
  const stored = syntheticSource(
    [
      ['model.encoder.layers.0.mlp.fc1.weight', [4, 2]],
      ['model.level_embed', [1, 3]],
      ['class_labels_classifier.bias', [5]],
    ],
    { name: 'model.safetensors' },
  );
  const wanted = [
    ['model.encoder.layers.0.fc1.weight', [2, 4]],
    ['model.level_embed', [1, 3]],
    ['model.query_position_embeddings.weight', [10, 2]],
  ] as const;
  const error = await rejectsWith(() => matchCheckpoint(stored, wanted), FileError, /./);
  assert.is(
    error.message,
    [
      'model.safetensors: does not fit the model: 1 missing, 1 misshapen and 1 unused tensors',
      '  tensor "model.encoder.layers.0.fc1.weight": expected [2, 4], got F32 [4, 2] (stored as "model.encoder.layers.0.mlp.fc1.weight")',
      '  tensor "model.query_position_embeddings.weight": expected [10, 2], is missing',
      '  tensor "class_labels_classifier.bias": F32 [5] is not part of the model',
    ].join('\n'),
  );
  const rest = [wanted[1], ['model.encoder.layers.0.fc1.weight', [4, 2]]] as const;
  const single = /^model.safetensors: tensor "class_labels_classifier.bias": F32 \[5\] is not part of the model$/;
  await rejectsWith(() => matchCheckpoint(stored, rest), FileError, single);
  assert.is(matchCheckpoint(stored, rest, { mayHoldHeads: true }).tensors.size, 2);
});

test('the stages of a whole backbone behind the last one of the model are left alone', async () => {
  const stages = [1, 2, 3, 4].map(stage => [`backbone.conv_encoder.model.layer${stage}.0.conv1.weight`, [2]] as const);
  const stored = syntheticSource(stages);
  assert.is(matchCheckpoint(stored, stages.slice(0, 3)).tensors.size, 3);
  const gap = [stages[0]!, stages[1]!, ['backbone.conv_encoder.model.layer4.1.conv1.weight', [2]]] as const;
  await rejectsWith(() => matchCheckpoint(stored, gap), FileError, /layer4\.1.* is missing\n.*layer4\.0.* is not part/);
});

test('a detector leaves the mask head of a segmentation checkpoint alone, which a detector does not have', async () => {
  const detector = [['model.level_embed', [1, 3]]] as const;
  const head = [['mask_head.lay1.bias', [5]]] as const;
  const segmenter = syntheticSource([...detector, ...head, ['bbox_attention.q_linear.bias', [5]]]);
  assert.equal([...matchCheckpoint(segmenter, detector).tensors.keys()], ['model.level_embed']);
  const surplus = /"bbox_attention\.q_linear\.bias": F32 \[5\] is not part of the model$/;
  await rejectsWith(() => matchCheckpoint(segmenter, [...detector, ...head]), FileError, surplus);
  const without = syntheticSource(detector, { name: 'model.safetensors' });
  const message = /^model\.safetensors: has no mask head: the weights are of a detector, which does not segment$/;
  await rejectsWith(() => matchCheckpoint(without, [...detector, ...head]), FileError, message);
});

test.run();
