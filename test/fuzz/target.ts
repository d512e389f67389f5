import type { Random } from './random.ts';

/** Something that reads untrusted input. To add one, write a file in `targets/` and list it in `targets.ts`. */
export interface FuzzTarget {
  /** Sound inputs, which are mutated. */
  readonly seeds: () => readonly Uint8Array[] | Promise<readonly Uint8Array[]>;
  /** Texts that mean something to the format, each character one byte. */
  readonly words?: readonly string[];
  /** Makes an input of its own accord, for formats whose checksums or lengths would give every plain mutation away. */
  readonly generate?: (random: Random, mutated: Uint8Array) => Uint8Array;
  /**
   * Reads the input. It must return, or throw a DetrError. When it succeeds although it should not have, it must say so by
   * throwing an error of another kind: check here what can be checked.
   */
  readonly run: (input: Uint8Array) => unknown;
}
