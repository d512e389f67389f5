import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type AttentionForm,
  type AttentionSizes,
  attentionKind,
  attentionSlices,
} from '../../kernels/attention/attention.wgsl.ts';
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

test('a software adapter gets broadcasts where subgroups have one size that divides a tile of keys', () => {
  assert.is(attentionKind(detr, llvmpipe), 'broadcast');
  assert.is(attentionKind({ ...detr, width: 128 }, llvmpipe), 'broadcast');
  assert.is(attentionKind({ ...detr, valueWidth: 65 }, llvmpipe), 'single');
  assert.is(attentionKind(detr, { ...llvmpipe, subgroupSize: 0 }), 'single');
  assert.is(attentionKind(detr, { ...llvmpipe, subgroupSize: 64 }), 'single');
});

test.run();
