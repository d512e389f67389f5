import * as assert from 'uvu/assert';

/** Fails unless the bytes are equal; names the worst byte, both values and how many differ. */
export function assertSameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  assert.is(actual.length, expected.length, `${what}: number of bytes`);
  let worst = 0;
  let worstIndex = -1;
  let different = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (difference > 0) different++;
    if (difference > worst) [worst, worstIndex] = [difference, i];
  }
  assert.ok(
    different === 0,
    `${what}: ${different} of ${expected.length} bytes differ, most at ${worstIndex}: expected ${expected[worstIndex]}, got ${actual[worstIndex]} (tolerance 0)`,
  );
}
