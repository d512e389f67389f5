import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Allocator } from '../../engine/cpu/allocator.ts';
import { OutOfMemoryError } from '../../engine/index.ts';
import { Random } from '../../kernels/index.ts';

const UNIT = 64;

test('random work: no two holders share memory, idle memory is idle, and all of it comes back in one piece', () => {
  for (let round = 0; round < 100; round++) {
    const seed = Number(process.env.DETR_SEED ?? Math.floor(Math.random() * 2 ** 31));
    const random = new Random(seed);
    const context = `seed ${seed}`;
    let end = 0;
    const allocator = new Allocator(UNIT, 2 ** 30, byteLength => {
      end = Math.max(end, byteLength);
    });
    const held: { address: number; units: number; lastUse: number }[] = [];
    /** For each unit of memory: who has it, and the last batch that uses it. */
    const holders = new Set<number>();
    const lastUses = new Map<number, number>();
    let batch = 0;
    let completed = 0;
    for (let step = 0; step < 200; step++) {
      const action = random.integer(0, 5);
      if (action === 0) batch += 1;
      else if (action === 1) completed = random.integer(completed, batch);
      else if (action <= 3 || held.length === 0) {
        const byteLength = random.integer(0, 40 * UNIT);
        const idle = random.boolean();
        const address = idle ? allocator.allocateIdle(byteLength, completed) : allocator.allocate(byteLength);
        const units = Math.max(1, Math.ceil(byteLength / UNIT));
        assert.is(address % UNIT, 0, context);
        assert.ok(address >= UNIT && address + byteLength <= end, context);
        // Not all that is had for recorded work is used by any.
        const block = { address, units, lastUse: idle || random.boolean() ? 0 : batch + 1 };
        for (let unit = address / UNIT; unit < address / UNIT + units; unit++) {
          assert.not(holders.has(unit), `${context}: ${unit} has a holder`);
          assert.ok(!idle || (lastUses.get(unit) ?? 0) <= completed, `${context}: ${unit} is in use`);
          holders.add(unit);
          lastUses.set(unit, Math.max(lastUses.get(unit) ?? 0, block.lastUse));
        }
        held.push(block);
      } else {
        const [block] = held.splice(random.integer(0, held.length - 1), 1);
        const { address, units, lastUse } = block!;
        for (let unit = address / UNIT; unit < address / UNIT + units; unit++) holders.delete(unit);
        allocator.release(address, lastUse, completed);
      }
    }
    for (const { address, lastUse } of held) allocator.release(address, lastUse, batch + 1);
    const before = end;
    assert.is(allocator.allocateIdle(end - UNIT, batch + 1), UNIT, context);
    assert.is(end, before, context);
  }
});

test('freed memory serves again, the smallest block first that is large enough', () => {
  const allocator = new Allocator(0, 100 * UNIT, () => {});
  const [large, , small] = [5, 1, 3, 1].map(units => allocator.allocate(units * UNIT)) as [number, number, number];
  for (const address of [large, small]) allocator.release(address, 0, 0);
  const taken = [3, 2, 3].map(units => allocator.allocate(units * UNIT));
  assert.equal(taken, [small, large, large + 2 * UNIT]);
});

test('what does not fit is refused, and what fits is still to be had', () => {
  const allocator = new Allocator(0, 10 * UNIT, () => {});
  allocator.allocate(6 * UNIT);
  assert.throws(
    () => allocator.allocate(5 * UNIT),
    (error: Error) => error instanceof OutOfMemoryError && /320 more bytes within 640, got 384/.test(error.message),
  );
  assert.is(allocator.allocate(4 * UNIT), 6 * UNIT);
  assert.throws(() => allocator.release(UNIT, 0, 0), /address 64 is not allocated/);
});

test.run();
