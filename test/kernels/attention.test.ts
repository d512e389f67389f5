import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Device, type Tensor } from '../../engine/index.ts';
import {
  type AttentionForm,
  type AttentionSizes,
  attentionKind,
  attentionSlices,
} from '../../kernels/attention/attention.wgsl.ts';
import { attention, attentionWithWeights, Random } from '../../kernels/index.ts';
import { gpu, llvmpipe } from './devices.ts';

const detr: AttentionForm = { width: 32, valueWidth: 32, positions: false, mask: true, weights: false };

test('a GPU gets tiles in workgroup memory while they fit', () => {
  assert.is(attentionKind(detr, gpu), 'tiled');
  assert.is(attentionKind({ ...detr, positions: true }, gpu), 'tiled');
  assert.is(attentionKind({ ...detr, width: 128 }, gpu), 'single');
  // What every adapter has is enough for one kind of scores.
  const smallest = { ...gpu, maxWorkgroupStorageBytes: 16_384 };
  assert.is(attentionKind(detr, smallest), 'tiled');
  assert.is(attentionKind({ ...detr, positions: true }, smallest), 'single');
});

test('a GPU divides the keys into slices, as many as there are tiles of them and as fit, until there are workgroups enough', () => {
  const encoder: AttentionSizes = { batch: 1, heads: 8, queries: 850, keys: 850, scale: 1 };
  const slices = (sizes: Partial<AttentionSizes>, kilobytes = 48, form: Partial<AttentionForm> = {}) =>
    attentionSlices(
      { ...detr, ...form },
      { ...encoder, ...sizes },
      { ...gpu, maxWorkgroupStorageBytes: 1024 * kilobytes },
    );
  assert.equal(
    [16, 32, 48].map(kilobytes => slices({}, kilobytes)),
    [1, 2, 4],
  );
  assert.equal(
    [32, 48].map(kilobytes => slices({}, kilobytes, { positions: true })),
    [1, 2],
  );
  assert.equal(
    [1, 32, 33, 64, 65, 850].map(keys => slices({ keys })),
    [1, 1, 2, 2, 4, 4],
  );
  assert.equal(
    [1, 4, 5].map(batch => slices({ batch })),
    [4, 4, 1],
  );
});

test('the cpu device writes nothing behind the results, however the queries divide into blocks', async () => {
  const device = await Device.create({ device: 'cpu', threads: 2 });
  const random = new Random(11);
  try {
    for (const withWeights of [false, true]) {
      // DETR-DC5's at 800x1333, 750x1333 and 800x1066, the first of those that divide unevenly, and short ones.
      for (const queries of [4200, 3948, 3350, 2899, 850, 129, 7]) {
        const [keys, heads, channels] = [3, 2, 2];
        const [query, key, value] = [queries, keys, keys].map(count => {
          return device.tensor(random.tensor([1, count, channels]));
        }) as [Tensor, Tensor, Tensor];
        const run = () => {
          if (!withWeights) return [attention(query, key, value, { heads })];
          const { output, weights } = attentionWithWeights(query, key, value, { heads });
          return [output, weights];
        };
        // Results take the place of these two, right before what must not change.
        const places = run();
        const behind = device.tensor({ shape: [8192], data: new Float32Array(8192).fill(7) });
        for (const place of places) place.dispose();
        const results = run();
        const { data } = await behind.read();
        assert.ok(
          data.every(element => element === 7),
          `${queries} queries`,
        );
        for (const tensor of [...results, behind, query, key, value]) tensor.dispose();
      }
    }
  } finally {
    await device.destroy();
  }
});

test('a software adapter gets broadcasts where subgroups have one size that divides a tile of keys', () => {
  assert.is(attentionKind(detr, llvmpipe), 'broadcast');
  assert.is(attentionKind({ ...detr, width: 128 }, llvmpipe), 'broadcast');
  assert.is(attentionKind({ ...detr, valueWidth: 65 }, llvmpipe), 'single');
  assert.is(attentionKind(detr, { ...llvmpipe, subgroupSize: 0 }), 'single');
  assert.is(attentionKind(detr, { ...llvmpipe, subgroupSize: 64 }), 'single');
});

test.run();
