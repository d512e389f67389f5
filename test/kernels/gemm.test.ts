import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { gemmDispatch, gemmForm } from '../../kernels/gemm.wgsl.ts';
import { gpu, llvmpipe } from './devices.ts';

const rowsOf = (rows: number) => gemmForm({ batches: 1, rows, columns: 850 }, llvmpipe);

test('a GPU gets large tiles as soon as they fill it, smaller ones before', () => {
  const large = { kind: 'tiled', tileRows: 64, tileColumns: 64, threadRows: 8, threadQuads: 2 };
  const small = { kind: 'tiled', tileRows: 32, tileColumns: 32, threadRows: 4, threadQuads: 1 };
  assert.equal(gemmForm({ batches: 1, rows: 850, columns: 2048 }, gpu), large);
  assert.equal(gemmForm({ batches: 1, rows: 64, columns: 53_400 }, gpu), large);
  assert.equal(gemmForm({ batches: 16, rows: 512, columns: 850 }, gpu), large);
  assert.equal(gemmForm({ batches: 1, rows: 100, columns: 256 }, gpu), small);
  assert.equal(gemmForm({ batches: 1, rows: 32, columns: 1e6 }, gpu), small);
  assert.equal(gemmForm({ batches: 1, rows: 32, columns: 1e6 }, gpu, 9), small);
});

test('a thread of a GPU that holds sums of taps and their totals gets half of the columns', () => {
  const form = { kind: 'tiled', tileRows: 64, tileColumns: 64, threadRows: 8, threadQuads: 1 };
  assert.equal(gemmForm({ batches: 1, rows: 64, columns: 53_400 }, gpu, 9), form);
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
  assert.equal(gemmForm({ batches: 1, rows: 850, columns: 256 }, { ...llvmpipe, subgroupSize: 0 }), plain);
});

test('tiles cover the product, in two dimensions where one does not hold them', () => {
  for (const size of [
    { batches: 1, rows: 1, columns: 1 },
    { batches: 3, rows: 33, columns: 65 },
    { batches: 1, rows: 100_000_000, columns: 4 },
    { batches: 0, rows: 5, columns: 5 },
  ]) {
    for (const traits of [gpu, llvmpipe]) {
      const form = gemmForm(size, traits);
      const { workgroups } = gemmDispatch(size, form, 1, []);
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
