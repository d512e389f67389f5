import { createHash } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError } from '../../engine/errors.ts';
import { bytesOf } from '../../weights/stored-tensor.ts';
import { syntheticSource, syntheticTensor } from '../../weights/synthetic.ts';
import { readTestJson } from '../support/data.ts';
import { rejectsWith } from '../support/throws.ts';
import { publishedTensors } from './support/published.ts';

// Made by the Python reference (numpy): one tensor per rule, and digests of whole checkpoints.
const reference = readTestJson<{
  tensors: { name: string; shape: number[]; first: number[]; sha256: string }[];
  checkpoints: Record<string, { elements: number; sha256: string }>;
}>('weights', 'synthetic.json');

const sha256 = (data: Float32Array) => createHash('sha256').update(bytesOf(data)).digest('hex');

for (const { name, shape, first, sha256: expected } of reference.tensors) {
  test(`${name} [${shape}] has the reference's bits`, async () => {
    const source = syntheticSource([[name, shape]], { with_box_refine: true });
    const tensor = await source.read(name);
    assert.equal(tensor.shape, shape);
    assert.equal([...tensor.data.subarray(0, 4)], first);
    assert.is(sha256(tensor.data), expected);
  });
}

for (const [checkpoint, expected] of Object.entries(reference.checkpoints)) {
  test(`the whole of ${checkpoint} has the reference's bits`, async () => {
    const source = syntheticSource(publishedTensors(checkpoint).map(({ name, shape }) => [name, shape]));
    const digest = createHash('sha256');
    let elements = 0;
    for (const name of source.tensors.keys()) {
      const { data } = await source.read(name);
      digest.update(bytesOf(data));
      elements += data.length;
    }
    assert.is(elements, expected.elements);
    assert.is(digest.digest('hex'), expected.sha256);
  });
}

test("Deformable DETR's heads are tied unless each layer refines the boxes", async () => {
  const names = ['class_embed.0.weight', 'class_embed.3.weight', 'model.decoder.class_embed.3.weight'];
  const specs = names.map(name => [name, [7, 16]] as const);
  const values = async (with_box_refine: boolean) => {
    const source = syntheticSource(specs, { with_box_refine });
    return Promise.all(names.map(async name => [...(await source.read(name)).data]));
  };
  const [first, fourth, nested] = await values(false);
  assert.equal(fourth, first);
  assert.equal(nested, first);
  const refined = await values(true);
  assert.equal(refined[0], first);
  assert.not.equal(refined[1], first);
  assert.equal(refined[2], refined[1]);
});

test('counters are I64, unknown names and impossible shapes are refused', async () => {
  const source = syntheticSource([['bn.num_batches_tracked', []]], { name: 'synthetic:x' });
  assert.is(source.tensors.get('bn.num_batches_tracked')?.dtype, 'I64');
  assert.equal([...(await source.read('bn.num_batches_tracked')).data], [0]);
  await rejectsWith(() => source.read('bn.weight'), FileError, /synthetic:x: tensor "bn.weight": no such tensor/);
  await rejectsWith(() => syntheticTensor('a', [2 ** 20, 2 ** 20]), FileError, /fewer than 2\^32 elements/);
  await source.close();
});

test.run();
