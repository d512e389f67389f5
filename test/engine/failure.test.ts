import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Spoilable, spoil, UntoldFailure } from '../../engine/failure.ts';

const memory = (): Spoilable => ({});

test('what a failed step should have written is spoilt, and all that later steps make of it', () => {
  const [read, written, derived, other] = [memory(), memory(), memory(), memory()];
  const error = new Error('failed');
  spoil([{ inputs: [read], outputs: [written] }], error, [
    { inputs: [other], outputs: [read] },
    { inputs: [read, written], outputs: [derived] },
  ]);
  assert.equal(
    [read, written, derived, other].map(({ failure }) => failure),
    [undefined, error, error, undefined],
  );
});

test('who waits is told what spoilt the results; what else went wrong waits for the next', () => {
  const untold = new UntoldFailure();
  const [first, second] = [new Error('first'), new Error('second')];
  const spoilt = { failure: second };
  untold.note(first);
  untold.note(second);
  assert.is(untold.tell([memory(), spoilt]), second);
  assert.is(untold.tell([memory()]), first);
  assert.is(untold.tell([memory()]), undefined);
  assert.is(untold.tell([spoilt]), second);
});

test('a failure that its own reader was told of is not told again', () => {
  const untold = new UntoldFailure();
  const error = new Error('failed');
  untold.note(error);
  assert.is(untold.tell([{ failure: error }]), error);
  assert.is(untold.tell([]), undefined);
});

test.run();
