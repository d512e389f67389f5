import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { gemmDispatch, gemmForm } from '../../kernels/gemm.wgsl.ts';
import { gpu, llvmpipe } from './devices.ts';

const rowsOf = (rows: number) => gemmForm({ batches: 1, rows, columns: 850, quads: 64 }, llvmpipe);

const onGpu = (rows: number, columns: number, quads: number, taps = 1, maxWorkgroupStorageBytes = 32_768) => {
  const form = gemmForm({ batches: 1, rows, columns, quads, taps }, { ...gpu, maxWorkgroupStorageBytes });
  if (form.kind !== 'tiled') throw new Error(form.kind);
  const { tileRows, tileColumns, threadRows, threadQuads, slices } = form;
  return `${tileRows}x${tileColumns} by ${threadRows}x${4 * threadQuads}, ${slices}`;
};

test('a GPU gets large tiles where they fill it, and slices of K where they do not', () => {
  assert.is(onGpu(64, 53_400, 64), '64x64 by 4x4, 1', '1x1, 256 to 64');
  assert.is(onGpu(1024, 3350, 256), '64x64 by 8x4, 1', '1x1, 1024 to 1024');
  assert.is(onGpu(64, 53_400, 16, 9), '64x64 by 8x4, 1', '3x3, 64 to 64');
  assert.is(onGpu(256, 3350, 64, 9), '64x64 by 8x8, 2', '3x3, 256 to 256');
  assert.is(onGpu(256, 3350, 256), '64x32 by 8x4, 2', '1x1, 1024 to 256');
  assert.is(onGpu(512, 850, 128, 9), '64x32 by 8x4, 4', '3x3, 512 to 512');
  assert.is(onGpu(100, 256, 64), '32x32 by 4x4, 4', 'projection of queries');
  assert.is(onGpu(32, 10_000, 64), '32x32 by 4x4, 2');
  assert.is(onGpu(17_821, 4, 64), '32x32 by 4x4, 2', 'columns that large tiles would leave empty');
  assert.is(onGpu(32, 1e6, 64), '32x32 by 4x4, 1');
});

test('there are no slices without work, nor more than workgroup memory holds', () => {
  assert.is(onGpu(100, 256, 1), '32x32 by 4x4, 1');
  assert.is(onGpu(100, 256, 8), '32x32 by 4x4, 2');
  assert.is(onGpu(512, 850, 128, 9, 16_384), '64x32 by 8x4, 2');
  assert.is(onGpu(256, 3350, 64, 9, 16_384), '64x64 by 8x8, 1');
  assert.is(onGpu(100, 256, 64, 1, 16_384), '32x32 by 4x4, 2');
});

test('a software adapter gets no barriers, and as many rows per thread as the problem fills', () => {
  assert.equal(rowsOf(64), { kind: 'broadcast', threadRows: 32, lanes: 8 });
  assert.equal(rowsOf(850), { kind: 'broadcast', threadRows: 32, lanes: 8 });
  assert.equal(rowsOf(4), { kind: 'broadcast', threadRows: 8, lanes: 8 });
  assert.equal(rowsOf(17), { kind: 'broadcast', threadRows: 24, lanes: 8 });
  assert.equal(rowsOf(16), { kind: 'broadcast', threadRows: 16, lanes: 8 });
});

test('a software adapter without subgroups of one size loads rows in every thread', () => {
  const plain = { kind: 'plain', threadRows: 8 };
  assert.equal(gemmForm({ batches: 1, rows: 850, columns: 256, quads: 64 }, { ...llvmpipe, subgroupSize: 0 }), plain);
});

test('tiles cover the product, in two dimensions where one does not hold them', () => {
  for (const size of [
    { batches: 1, rows: 1, columns: 1, quads: 1 },
    { batches: 3, rows: 33, columns: 65, quads: 9 },
    { batches: 1, rows: 100_000_000, columns: 4, quads: 1 },
    { batches: 0, rows: 5, columns: 5, quads: 2 },
  ]) {
    for (const traits of [gpu, llvmpipe]) {
      const form = gemmForm(size, traits);
      const { workgroups } = gemmDispatch(size, form, []);
      const [tileRows, tileColumns] = form.kind === 'tiled' ? [form.tileRows, form.tileColumns] : [form.threadRows, 64];
      const tiles = size.batches * Math.ceil(size.rows / tileRows) * Math.ceil(size.columns / tileColumns);
      const dispatched = workgroups[0] * workgroups[1] * workgroups[2];
      assert.ok(
        dispatched >= tiles && dispatched < tiles + Math.max(1, workgroups[1]),
        `${workgroups} for ${tiles} tiles`,
      );
      assert.ok(Math.max(...workgroups) <= 65_535, `${workgroups}`);
    }
  }
});

test.run();
