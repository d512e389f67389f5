import { elementCount, type HostTensor } from '../engine/index.ts';

/** A small seeded generator (mulberry32), so that a failing case can be repeated from its printed seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Uniform in [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let bits = this.#state;
    bits = Math.imul(bits ^ (bits >>> 15), bits | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  /** An integer in [low, high]. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.integer(0, items.length - 1)]!;
  }

  boolean(): boolean {
    return this.next() < 0.5;
  }

  /** Standard normal. */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }

  /** A float32 tensor of normal values, times `scale`, plus `offset`. */
  tensor(shape: readonly number[], scale = 1, offset = 0): HostTensor {
    const data = new Float32Array(elementCount(shape));
    for (let index = 0; index < data.length; index += 2) {
      // Box and Muller's two values at a time; a write beyond the end is dropped.
      const radius = Math.sqrt(-2 * Math.log(1 - this.next())) * scale;
      const angle = 2 * Math.PI * this.next();
      data[index] = radius * Math.cos(angle) + offset;
      data[index + 1] = radius * Math.sin(angle) + offset;
    }
    return { shape, data };
  }
}
