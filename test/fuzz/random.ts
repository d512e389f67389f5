import { Random as SeededRandom } from '../../kernels/random.ts';

/** The kernels' generator with what mutations need; the same identity gives the same sequence everywhere. */
export class Random extends SeededRandom {
  /** @param parts anything that identifies the sequence, a seed and a name, say */
  constructor(...parts: readonly (string | number)[]) {
    let hash = 2166136261;
    for (const byte of new TextEncoder().encode(parts.join('\0'))) hash = Math.imul(hash ^ byte, 16777619);
    super(hash);
  }

  /** An integer in [0, limit). */
  below(limit: number): number {
    return this.integer(0, limit - 1);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}
