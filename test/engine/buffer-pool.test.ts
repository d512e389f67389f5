import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OutOfMemoryError } from '../../engine/index.ts';
import { BufferPool, type PooledBuffer } from '../../engine/webgpu/buffer-pool.ts';
import { Random } from '../../kernels/index.ts';

const LIMIT = 20_000;

/** A pool of buffers that are none: which of them the system still has, and how to refuse one. */
function makePool() {
  const alive = new Map<GPUBuffer, number>();
  const refuse = new Map<GPUBuffer, (error: Error) => void>();
  let destroyed = 0;
  const pool = new BufferPool({
    usage: 0,
    maximumByteLength: LIMIT,
    create: ({ size }, failed) => {
      const buffer = { destroy: () => assert.ok(alive.delete(buffer), 'destroyed once') } as unknown as GPUBuffer;
      alive.set(buffer, size);
      refuse.set(buffer, failed);
      return buffer;
    },
    destroyed: () => {
      destroyed += 1;
    },
  });
  const check = (context: string) => {
    assert.is(pool.bufferCount, alive.size, context);
    assert.is(
      pool.reservedBytes,
      [...alive.values()].reduce((sum, size) => sum + size, 0),
      context,
    );
    assert.is(destroyed, refuse.size - alive.size, context);
  };
  return { pool, alive, refuse: ({ gpuBuffer }: PooledBuffer) => refuse.get(gpuBuffer)!(new Error('refused')), check };
}

test('random work: no buffer has two holders, idle ones are idle, and the system gets back what nobody holds', () => {
  for (let round = 0; round < 100; round++) {
    const seed = Number(process.env.DETR_SEED ?? Math.floor(Math.random() * 2 ** 31));
    const random = new Random(seed);
    const context = `seed ${seed}`;
    const { pool, alive, refuse, check } = makePool();
    const held: PooledBuffer[] = [];
    const free = new Set<PooledBuffer>();
    let batch = 0;
    for (let step = 0; step < 200; step++) {
      const action = random.integer(0, 9);
      if (action === 0) batch += 1;
      else if (action === 1) {
        const idle = random.integer(0, batch);
        pool.trim(idle);
        for (const buffer of free) if (buffer.lastBatch <= idle) free.delete(buffer);
      } else if (action === 2 && alive.size > 0) {
        const buffer = random.pick([...held, ...free]);
        refuse(buffer);
        if (free.delete(buffer)) assert.not(alive.has(buffer.gpuBuffer), context);
      } else if (action <= 6 || held.length === 0) {
        const byteLength = random.pick([0, 1, 256, 257, 300, 1000, 5000, random.integer(0, LIMIT)]);
        const idle = random.boolean() ? Number.POSITIVE_INFINITY : random.integer(0, batch);
        const fitting = [...free].filter(buffer => {
          return buffer.byteLength >= byteLength && buffer.byteLength <= 1.25 * byteLength && buffer.lastBatch <= idle;
        });
        const buffer = pool.take(byteLength, idle);
        const smallest = Math.min(...fitting.map(other => other.byteLength));
        assert.ok(free.delete(buffer) || fitting.length === 0, `${context}: one that is free is taken first`);
        assert.ok(buffer.byteLength <= smallest, `${context}: the smallest`);
        assert.ok(buffer.byteLength >= byteLength && buffer.lastBatch <= idle && !held.includes(buffer), context);
        assert.is(buffer.failure, undefined, context);
        assert.ok(alive.has(buffer.gpuBuffer), context);
        buffer.lastBatch = batch;
        held.push(buffer);
      } else {
        const [buffer] = held.splice(random.integer(0, held.length - 1), 1) as [PooledBuffer];
        if (buffer.failure === undefined && random.boolean()) {
          pool.give(buffer);
          free.add(buffer);
        } else if (buffer.failure !== undefined) pool.give(buffer);
        else pool.discard(buffer);
      }
      assert.is(alive.size, held.length + free.size, context);
      check(context);
    }
    pool.destroyAll();
    assert.is(alive.size, 0, context);
    for (const buffer of held) pool.give(buffer);
    check(context);
    for (const { byteLength } of held) assert.ok(alive.has(pool.take(byteLength).gpuBuffer), context);
  }
});

test('a buffer is a whole number of vectors, no larger than the adapter can bind', () => {
  const { pool } = makePool();
  assert.equal(
    [0, 1, 256, 257, LIMIT - 1, LIMIT].map(byteLength => pool.take(byteLength).byteLength),
    [256, 256, 256, 512, LIMIT, LIMIT],
  );
  assert.throws(
    () => pool.take(LIMIT + 1),
    (error: Error) => error instanceof OutOfMemoryError && error.message.endsWith(`got ${LIMIT + 1}`),
  );
});

test('the same buffers serve again in the same order, however they came back', () => {
  const { pool } = makePool();
  const sizes = [1000, 300, 1000, 5000, 1000];
  const first = sizes.map(size => pool.take(size));
  for (const index of [3, 4, 0, 1, 2]) pool.give(first[index]!);
  assert.equal(
    sizes.map(size => pool.take(size).id),
    first.map(({ id }) => id),
  );
});

test.run();
