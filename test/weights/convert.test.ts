import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError, OptionError } from '../../engine/errors.ts';
import { convertCheckpoint } from '../../weights/convert.ts';
import { hubNames } from '../../weights/names.ts';
import { openSafetensors, writeSafetensors } from '../../weights/safetensors-file.ts';
import { testData } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { rejectsWith } from '../support/throws.ts';
import { originalNameOf } from './support/original-names.ts';
import { publishedTensors, publishedVariants } from './support/published.ts';

const folder = temporaryFolder('convert');

for (const variant of publishedVariants()) {
  test(`${variant}: every dialect becomes the hub's names`, () => {
    const tensors = publishedTensors(variant);
    const expected = tensors.map(({ name }) => name);
    const hub = hubNames(tensors.map(({ name }) => name));
    assert.equal([...hub.keys()], expected);
    assert.equal([...hubNames(tensors.map(({ nameInVersion5 }) => nameInVersion5)).keys()], expected);
    if (variant.endsWith('no_timm')) return;
    const original = new Set(tensors.map(({ name }) => originalNameOf(name, variant).name));
    const fromOriginal = hubNames([...original, 'backbone.0.body.bn1.num_batches_tracked']);
    assert.equal([...fromOriginal.keys()].sort(), [...expected].sort());
  });
}

test('of two tensors for one name the first counts', () => {
  const [first, second] = ['model.encoder.layers.0.mlp.fc1.weight', 'model.encoder.layers.0.fc1.weight'] as const;
  assert.equal([...hubNames([first, second])], [[second, { name: first }]]);
});

/** A tiny file with an original repository's names. */
async function originalFile(path: string): Promise<void> {
  const tensor = (shape: number[], first: number) => ({
    shape,
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => first + i),
  });
  await writeSafetensors(path, [
    ['transformer.encoder.layers.0.self_attn.in_proj_weight', tensor([6, 2], 0)],
    ['transformer.encoder.layers.0.norm2.bias', tensor([2], 100)],
    ['backbone.0.body.bn1.running_var', { shape: [2], dtype: 'F16', data: new Uint16Array([1, 2]) }],
    ['backbone.0.body.bn1.num_batches_tracked', { shape: [], data: new BigInt64Array([5n]) }],
    ['class_embed.weight', tensor([3, 2], 200)],
  ]);
}

test('an original checkpoint becomes a folder under hub names, types unchanged', async () => {
  const home = join(folder, 'original');
  mkdirSync(home);
  const path = join(home, 'detr.safetensors');
  await originalFile(path);
  writeFileSync(join(home, 'preprocessor_config.json'), '{"size":800}');
  const config = join(folder, 'the-config.json');
  writeFileSync(config, '{"model_type":"detr"}');
  const result = await convertCheckpoint(path, join(folder, 'converted'), { config });
  assert.equal(result, {
    folder: join(folder, 'converted'),
    tensorCount: 6,
    bytes: 4 * (12 + 2 + 6) + 4,
    dropped: ['backbone.0.body.bn1.num_batches_tracked'],
    companions: ['config.json', 'preprocessor_config.json'],
  });
  assert.is(readFileSync(join(folder, 'converted', 'config.json'), 'utf8'), '{"model_type":"detr"}');
  const written = await openSafetensors(join(folder, 'converted', 'model.safetensors'));
  assert.equal([...written.tensors.keys()].sort(), [
    'class_labels_classifier.weight',
    'model.backbone.conv_encoder.model.bn1.running_var',
    'model.encoder.layers.0.final_layer_norm.bias',
    'model.encoder.layers.0.self_attn.k_proj.weight',
    'model.encoder.layers.0.self_attn.q_proj.weight',
    'model.encoder.layers.0.self_attn.v_proj.weight',
  ]);
  assert.equal([...(await written.read('model.encoder.layers.0.self_attn.v_proj.weight')).data], [8, 9, 10, 11]);
  const halves = await written.readNative('model.backbone.conv_encoder.model.bn1.running_var');
  assert.equal(halves.data, new Uint16Array([1, 2]));
  await written.close();
  assert.equal(
    readdirSync(folder).filter(name => name.startsWith('.')),
    [],
  );
});

test('a PyTorch file is converted bit for bit', async () => {
  const destination = join(folder, 'from', 'torch');
  const { companions } = await convertCheckpoint(testData('weights', 'torch', 'zip.bin'), destination);
  assert.equal(companions, []);
  const expected = await openSafetensors(testData('weights', 'torch', 'expected.safetensors'));
  const actual = await openSafetensors(join(destination, 'model.safetensors'));
  assert.is(actual.tensors.size, expected.tensors.size);
  for (const name of expected.tensors.keys()) {
    assert.equal(await actual.readNative(`model.${name}`), await expected.readNative(name));
  }
  await Promise.all([actual.close(), expected.close()]);
});

test('what lies at the destination is left alone, a failure leaves nothing', async () => {
  const source = testData('weights', 'torch', 'linear.bin');
  const taken = join(folder, 'taken');
  mkdirSync(taken);
  writeFileSync(join(taken, 'mine.txt'), 'x');
  await rejectsWith(
    () => convertCheckpoint(source, taken),
    FileError,
    /expected a new or empty folder, but it has mine.txt/,
  );
  await rejectsWith(
    () => convertCheckpoint(source, join(taken, 'mine.txt')),
    FileError,
    /a part of the path is a file/,
  );
  const empty = join(folder, 'empty');
  mkdirSync(empty);
  await convertCheckpoint(source, empty);
  assert.equal(readdirSync(empty), ['model.safetensors']);
  assert.is(statSync(empty).mode, statSync(taken).mode, 'as any new folder');

  const config = join(folder, 'no-such-config.json');
  await rejectsWith(
    () => convertCheckpoint(source, join(folder, 'failed'), { config }),
    FileError,
    /no-such-config.json: no such file/,
  );
  const misspelt = { confg: config } as { config?: string };
  await rejectsWith(
    () => convertCheckpoint(source, join(folder, 'failed'), misspelt),
    OptionError,
    /convertCheckpoint: unknown option confg/,
  );
  const uneven = join(folder, 'uneven.safetensors');
  await writeSafetensors(uneven, [
    ['transformer.encoder.layers.0.self_attn.in_proj_bias', { shape: [4], data: new Float32Array(4) }],
  ]);
  await rejectsWith(() => convertCheckpoint(uneven, join(folder, 'failed')), FileError, /multiple of 3/);
  const reason = new Error('stop');
  const aborted = convertCheckpoint(source, join(folder, 'failed'), { signal: AbortSignal.abort(reason) });
  assert.is(await aborted.catch(error => error), reason);
  assert.not.ok(existsSync(join(folder, 'failed')));
  assert.equal(
    readdirSync(folder).filter(name => name.startsWith('.')),
    [],
  );
});

test.run();
