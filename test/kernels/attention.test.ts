import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type AttentionForm, attentionKind } from '../../kernels/attention/attention.wgsl.ts';
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

test('a software adapter gets broadcasts where subgroups have one size that divides a tile of keys', () => {
  assert.is(attentionKind(detr, llvmpipe), 'broadcast');
  assert.is(attentionKind({ ...detr, width: 128 }, llvmpipe), 'broadcast');
  assert.is(attentionKind({ ...detr, valueWidth: 65 }, llvmpipe), 'single');
  assert.is(attentionKind(detr, { ...llvmpipe, subgroupSize: 0 }), 'single');
  assert.is(attentionKind(detr, { ...llvmpipe, subgroupSize: 64 }), 'single');
});

test.run();
