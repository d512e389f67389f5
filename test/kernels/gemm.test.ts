import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Device, Tensor } from '../../engine/index.ts';
import { type GemmForm, type GemmOperation, gemmCode, gemmDispatch, gemmForm } from '../../kernels/gemm.wgsl.ts';
import { Random } from '../../kernels/index.ts';
import { deviceNames, gpu, llvmpipe, openDevice, triesForms } from './devices.ts';

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
  assert.is(onGpu(850, 256, 64), '32x32 by 4x4, 4', 'projection of a feature map');
  assert.is(onGpu(100, 256, 64), '16x32 by 4x4, 8', 'projection of queries');
  assert.is(onGpu(32, 10_000, 64), '32x32 by 4x4, 2');
  assert.is(onGpu(17_821, 4, 64), '32x32 by 4x4, 2', 'columns that large tiles would leave empty');
  assert.is(onGpu(32, 1e6, 64), '32x32 by 4x4, 1');
});

test('there are no slices without work, nor more than workgroup memory holds', () => {
  assert.is(onGpu(850, 256, 1), '32x32 by 4x4, 1');
  assert.is(onGpu(850, 256, 8), '32x32 by 4x4, 2');
  assert.is(onGpu(100, 256, 9), '16x32 by 4x4, 2');
  assert.is(onGpu(512, 850, 128, 9, 16_384), '64x32 by 8x4, 2');
  assert.is(onGpu(256, 3350, 64, 9, 16_384), '64x64 by 8x8, 1');
  assert.is(onGpu(850, 256, 64, 1, 16_384), '32x32 by 4x4, 2');
  assert.is(onGpu(100, 256, 64, 1, 16_384), '16x32 by 4x4, 4');
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

// Every tiled form, also those that kernels choose only for large sizes, of a product whose last tiles are mostly empty.

/** Left [B, M, T, K], right [B, T, K, N], whose taps are added up. */
const operation = (taps: number, leftNeighbours: GemmOperation['leftNeighbours']): GemmOperation => ({
  taps,
  bindings: /* wgsl */ `
@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;`,
  uniformBinding: 3,
  uniforms: [],
  functions: /* wgsl */ `
struct Columns { first: u32, column: u32 }
fn columnsAt(batch: u32, column: u32) -> Columns { return Columns(batch * ${taps}u * 4u * sizes.quads, column); }
fn atTap(start: Columns, tap: u32) -> Columns { return Columns(start.first + tap * 4u * sizes.quads, start.column); }
fn left(batch: u32, row: u32, quad: u32) -> vec4f {
  return a[(batch * sizes.rows + row) * ${taps}u * sizes.quads + quad];
}
fn right(columns: Columns, k: u32) -> vec4f {
  let at = min(vec4u(columns.column) + vec4u(0, 1, 2, 3), vec4u(sizes.columns - 1u));
  let row = (columns.first + k) * sizes.columns;
  return vec4f(b[row + at.x], b[row + at.y], b[row + at.z], b[row + at.w]);
}
fn finish(batch: u32, row: u32, column: u32, sum: vec4f) {
  for (var i = 0u; i < min(4u, sizes.columns - column); i++) {
    out[(batch * sizes.rows + row) * sizes.columns + column + i] = sum[i];
  }
}`,
  leftNeighbours,
});

function product(a: Tensor, b: Tensor, form: GemmForm, neighbours: GemmOperation['leftNeighbours']): Tensor {
  const [batches, rows, taps, inner] = a.shape as [number, number, number, number];
  const size = { batches, rows, columns: b.dim(3), quads: inner / 4, taps };
  const out = a.device.empty([batches, rows, size.columns]);
  a.device.launch({
    kernel: 'product',
    inputs: [a, b],
    outputs: [out],
    cost: { flops: 0, bytes: 0 },
    wgsl: () => ({ code: gemmCode(operation(taps, neighbours), form), ...gemmDispatch(size, form, []) }),
    wasm: () => {
      throw new Error('not for the cpu device');
    },
  });
  return out;
}

const FORMS = [
  { tile: [64, 64], thread: [4, 1], slices: 1, taps: 1, neighbours: 'rows' },
  { tile: [64, 64], thread: [8, 1], slices: 1, taps: 1, neighbours: 'quads' },
  { tile: [64, 64], thread: [8, 1], slices: 1, taps: 2, neighbours: 'rows' },
  { tile: [64, 64], thread: [8, 2], slices: 2, taps: 2, neighbours: 'rows' },
  { tile: [64, 32], thread: [8, 1], slices: 2, taps: 1, neighbours: 'quads' },
  { tile: [64, 32], thread: [8, 1], slices: 4, taps: 2, neighbours: 'rows' },
  { tile: [32, 32], thread: [4, 1], slices: 4, taps: 1, neighbours: 'quads' },
  { tile: [16, 32], thread: [4, 1], slices: 8, taps: 1, neighbours: 'quads' },
] as const;

async function checkForm(device: Device, form: (typeof FORMS)[number]): Promise<void> {
  const [batches, rows, inner, columns] = [2, 69, 44, 71];
  const { tile, thread, slices, taps, neighbours } = form;
  const random = new Random(slices + taps);
  const [a, b] = [random.tensor([batches, rows, taps, inner]), random.tensor([batches, taps, inner, columns])];
  const { data } = await device
    .scope(() => {
      const tiled = { kind: 'tiled', tileRows: tile[0], tileColumns: tile[1], threadRows: thread[0] } as const;
      return product(device.tensor(a), device.tensor(b), { ...tiled, threadQuads: thread[1], slices }, neighbours);
    })
    .read();
  const depth = taps * inner;
  let worst = 0;
  for (const [index, value] of data.entries()) {
    const [batch, row, column] = [
      Math.floor(index / (rows * columns)),
      Math.floor(index / columns) % rows,
      index % columns,
    ];
    let sum = 0;
    for (let k = 0; k < depth; k++) {
      sum += a.data[(batch * rows + row) * depth + k]! * b.data[(batch * depth + k) * columns + column]!;
    }
    const error = Math.abs(value - sum);
    if (!(error <= worst)) worst = error;
  }
  assert.ok(worst < 1e-4, `${JSON.stringify(form)}: off by ${worst}`);
}

for (const name of deviceNames.filter(name => name.startsWith('webgpu') && !triesForms(name))) {
  test(`every tiled form gives the product on ${name}`, async () => {
    await using device = await openDevice(name);
    for (const form of FORMS) await checkForm(device, form);
  });
}

test.run();
