import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DetrError } from '../../engine/errors.ts';
import { watchAllocations } from './allocation.ts';
import { jsonTarget } from './json.ts';
import { Random } from './random.ts';
import { fuzzInput, runTarget } from './run.ts';
import { superviseTarget } from './supervise.ts';
import type { FuzzTarget } from './target.ts';
import { fuzzTargets } from './targets.ts';

// A short run with the same inputs every time; `npm run fuzz` is the long one.
for (const name of Object.keys(fuzzTargets)) {
  test(`${name}: mutated input is read or refused in words`, async () => {
    const report = await superviseTarget(name, { seed: 7, begin: 0, end: 400 });
    assert.equal(report.findings, []);
    assert.is(report.runs, 400);
    assert.ok(report.refused > 0, 'no input was refused: is it mutated at all?');
  });
}

const sound = [new TextEncoder().encode('{"a": 1}')];
const targetThat = (run: FuzzTarget['run']): FuzzTarget => ({ seeds: () => sound, run });

test('the harness notices crashes, slow inputs and refused seeds', async () => {
  const isSound = (input: Uint8Array) => Buffer.compare(input, sound[0]!) === 0;
  const crashing = targetThat(input => {
    if (!isSound(input)) throw new TypeError('oops');
  });
  const report = await runTarget('x', crashing, { seed: 1, begin: 0, end: 100 });
  assert.is(report.findings.length, 20);
  assert.match(report.findings[0]!.problem, /TypeError: oops/);
  const refusing = targetThat(() => {
    throw new DetrError('no');
  });
  const refused = await runTarget('x', refusing, { seed: 1, begin: 0, end: 5 });
  assert.equal([refused.refused, refused.accepted], [5, 0]);
  assert.equal(
    refused.findings.map(({ index }) => index),
    [-1],
  );
});

test('JSON inputs do not depend on the inputs before them', () => {
  const target = jsonTarget({ seeds: () => [{ list: [1], object: { a: 1 } }], words: ['a', 'b'], run: () => {} });
  const seeds = target.seeds() as Uint8Array[];
  const input = (index: number) => Buffer.from(fuzzInput('x', target, seeds, 1, index)).toString();
  const fresh = Array.from({ length: 50 }, (_, index) => input(index));
  for (let index = 50; index < 20_000; index++) input(index);
  assert.equal(
    fresh.map((_, index) => input(index)),
    fresh,
  );
});

test('inputs are a function of seed, target and index', () => {
  const target = targetThat(() => {});
  const inputs = (seed: number, name: string) =>
    Array.from({ length: 50 }, (_, index) => Buffer.from(fuzzInput(name, target, sound, seed, index)).toString('hex'));
  assert.equal(inputs(1, 'x'), inputs(1, 'x'));
  assert.not.equal(inputs(1, 'x'), inputs(2, 'x'));
  assert.not.equal(inputs(1, 'x'), inputs(1, 'y'));
  assert.ok(new Set(inputs(1, 'x')).size > 40);
  const random = new Random('a', 1);
  assert.equal([random.below(1000), random.below(1000)], [new Random('a', 1).below(1000), 0 + secondOf('a', 1)]);
});

function secondOf(...parts: (string | number)[]): number {
  const random = new Random(...parts);
  random.below(1000);
  return random.below(1000);
}

test('excessive allocations are noticed even where the error is swallowed', () => {
  const takeExcess = watchAllocations(2 ** 31);
  try {
    new Float64Array(2 ** 29);
  } catch {}
  assert.match(takeExcess()!.message, /Float64Array of 4294967296 bytes/);
  assert.is(takeExcess(), undefined);
  assert.throws(() => Buffer.alloc(2 ** 32), /Buffer.alloc of 4294967296 bytes/);
  assert.ok(new Float32Array(4) instanceof Float32Array);
  assert.ok(Buffer.alloc(4) instanceof Uint8Array);
});

test.run();
