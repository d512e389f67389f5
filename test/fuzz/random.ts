/** A small seeded generator of pseudo-random numbers (mulberry32): the same seed gives the same sequence everywhere. */
export class Random {
  #state: number;

  /** @param parts anything that identifies the sequence, a seed and a name, say */
  constructor(...parts: readonly (string | number)[]) {
    let hash = 2166136261;
    for (const byte of new TextEncoder().encode(parts.join('\0'))) hash = Math.imul(hash ^ byte, 16777619);
    this.#state = hash;
  }

  /** Uniform in [0, 2^32). */
  uint32(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let x = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    x ^= x + Math.imul(x ^ (x >>> 7), 61 | x);
    return (x ^ (x >>> 14)) >>> 0;
  }

  /** An integer in [0, limit). */
  below(limit: number): number {
    return Math.floor((this.uint32() / 2 ** 32) * limit);
  }

  chance(probability: number): boolean {
    return this.uint32() / 2 ** 32 < probability;
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}
