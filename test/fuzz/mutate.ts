import type { Random } from './random.ts';

/** Mutated inputs do not grow beyond this. */
const MAXIMUM_BYTES = 1 << 20;

const interestingIntegers = [
  ...[0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 257, 512, 1000, 1024, 4096],
  ...[32767, 32768, 65535, 65536, 2 ** 24, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, -1, -2, -128, -32768, -(2 ** 31)],
];

/** One to a few random changes to one of the seeds. `words` are texts that mean something to the format. */
export function mutate(seeds: readonly Uint8Array[], words: readonly string[], random: Random): Uint8Array {
  let bytes: Uint8Array = random.pick(seeds).slice();
  const changes = 1 + (random.chance(0.5) ? 0 : random.below(6));
  for (let i = 0; i < changes; i++) bytes = mutateOnce(bytes, seeds, words, random);
  return bytes.length > MAXIMUM_BYTES ? bytes.slice(0, MAXIMUM_BYTES) : bytes;
}

function mutateOnce(
  bytes: Uint8Array,
  seeds: readonly Uint8Array[],
  words: readonly string[],
  random: Random,
): Uint8Array {
  // Headers come first in most formats: half of all changes go there.
  const reach = random.chance(0.5) ? Math.min(bytes.length, 256) : bytes.length;
  const at = random.below(reach + 1);
  const length = 1 + random.below(random.chance(0.8) ? 16 : Math.max(1, bytes.length >> 1));
  switch (random.below(11)) {
    case 0:
      return overwrite(bytes, at, Uint8Array.of((bytes[at] ?? 0) ^ (1 << random.below(8))));
    case 1:
      return overwrite(bytes, at, random.bytes(1 + random.below(4)));
    case 2:
      return overwrite(bytes, at, integerBytes(random));
    case 3:
      return concatenate(bytes.subarray(0, at), bytes.subarray(at + length));
    case 4:
      return concatenate(bytes.subarray(0, at), random.bytes(Math.min(length, 64)), bytes.subarray(at));
    case 5:
      return concatenate(bytes.subarray(0, at + length), bytes.subarray(at));
    case 6:
      return bytes.slice(0, at);
    case 7: {
      const other = random.pick(seeds);
      return concatenate(bytes.subarray(0, at), other.subarray(random.below(other.length + 1)));
    }
    case 8:
      return changeNumber(bytes, random);
    case 9:
      return concatenate(bytes.subarray(0, at), wordBytes(words, random), bytes.subarray(at));
    default:
      return overwrite(bytes, at, wordBytes(words, random));
  }
}

/** Changes a decimal number written as text, where there is one. */
function changeNumber(bytes: Uint8Array, random: Random): Uint8Array {
  const text = new TextDecoder('latin1').decode(bytes.subarray(0, 1 << 16));
  const numbers = [...text.matchAll(/-?\d+(\.\d+)?/g)];
  if (numbers.length === 0) return overwrite(bytes, random.below(bytes.length + 1), random.bytes(1));
  const { index, 0: digits } = random.pick(numbers);
  const value = Number(digits);
  const choices = [
    value + 1,
    value - 1,
    -value,
    value * 2,
    value / 2,
    value * 1e9,
    1e308,
    2 ** 53,
    ...interestingIntegers,
  ];
  const changed = new TextEncoder().encode(String(random.pick(choices)));
  return concatenate(bytes.subarray(0, index), changed, bytes.subarray(index + digits.length));
}

function wordBytes(words: readonly string[], random: Random): Uint8Array {
  return words.length === 0
    ? random.bytes(2)
    : Uint8Array.from(random.pick(words), character => character.charCodeAt(0));
}

function integerBytes(random: Random): Uint8Array {
  const value = BigInt(random.pick(interestingIntegers));
  const size = random.pick([1, 2, 4, 8]);
  const view = new DataView(new ArrayBuffer(8));
  const isLittleEndian = random.chance(0.5);
  view.setBigInt64(0, value, isLittleEndian);
  return new Uint8Array(view.buffer, isLittleEndian ? 0 : 8 - size, size);
}

function overwrite(bytes: Uint8Array, at: number, replacement: Uint8Array): Uint8Array {
  return concatenate(bytes.subarray(0, at), replacement, bytes.subarray(at + replacement.length));
}

export function concatenate(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let position = 0;
  for (const part of parts) {
    whole.set(part, position);
    position += part.length;
  }
  return whole;
}
