import { OutOfMemoryError } from '../errors.ts';

interface FreeBlock {
  address: number;
  byteLength: number;
  /** The last batch of recorded work that may still use the block; the host may write it once that batch is done. */
  lastBatch: number;
}

interface TakenBlock {
  readonly byteLength: number;
  /** The last batch that may use the block on behalf of whoever had it before. */
  readonly lastBatch: number;
}

const ALIGNMENT = 64;

const touches = (block: FreeBlock, next: FreeBlock) => block.address + block.byteLength === next.address;

export const alignUp = (value: number, alignment: number): number => Math.ceil(value / alignment) * alignment;

/**
 * A best-fit allocator with coalescing over one linear memory. Memory that a kernel will write can be reused as soon as it
 * is given back, because kernels run in the order they were recorded; memory that the host writes must first be idle.
 */
export class Allocator {
  /** Sorted by address. */
  readonly #free: FreeBlock[] = [];
  readonly #taken = new Map<number, TakenBlock>();
  readonly #grow: (byteLength: number) => void;
  readonly #limit: number;
  #end: number;

  /**
   * @param start first address that may be handed out
   * @param limit bytes that the memory can hold at most
   * @param grow makes the memory at least that many bytes long, or throws
   */
  constructor(start: number, limit: number, grow: (byteLength: number) => void) {
    this.#end = alignUp(start, ALIGNMENT);
    this.#limit = limit;
    this.#grow = grow;
  }

  /** Address of `byteLength` bytes, usable by work recorded from now on. */
  allocate(byteLength: number): number {
    return this.#take(byteLength, Number.POSITIVE_INFINITY);
  }

  /** Address of `byteLength` bytes that no batch after `completedBatch` uses, so that the host may write them now. */
  allocateIdle(byteLength: number, completedBatch: number): number {
    return this.#take(byteLength, completedBatch);
  }

  /**
   * Gives memory back, whose holder recorded no work with it after `lastUse`. It joins free neighbours that are idle if it is
   * and busy until the same batch if it is not: one small block in use must not keep the host from all the memory around.
   */
  release(address: number, lastUse: number, completedBatch: number): void {
    const taken = this.#taken.get(address);
    if (taken === undefined) throw new Error(`allocator: address ${address} is not allocated`);
    this.#taken.delete(address);
    const { byteLength } = taken;
    const busyUntil = (batch: number) => (batch <= completedBatch ? 0 : batch);
    const lastBatch = busyUntil(Math.max(taken.lastBatch, lastUse));
    let low = 0;
    let high = this.#free.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#free[middle]!.address < address) low = middle + 1;
      else high = middle;
    }
    const block = { address, byteLength, lastBatch };
    const next = this.#free[low];
    if (next !== undefined && touches(block, next) && busyUntil(next.lastBatch) === lastBatch) {
      block.byteLength += next.byteLength;
      this.#free.splice(low, 1);
    }
    const previous = this.#free[low - 1];
    if (previous !== undefined && touches(previous, block) && busyUntil(previous.lastBatch) === lastBatch) {
      previous.byteLength += block.byteLength;
      previous.lastBatch = lastBatch;
    } else {
      this.#free.splice(low, 0, block);
    }
  }

  #take(byteLength: number, completedBatch: number): number {
    const size = alignUp(Math.max(byteLength, 1), ALIGNMENT);
    let best = this.#bestFit(size, completedBatch);
    if (best === -1) {
      this.#join(completedBatch);
      best = this.#bestFit(size, completedBatch);
    }
    const { address, lastBatch } = best === -1 ? this.#extend(size, completedBatch) : this.#split(best, size);
    this.#taken.set(address, { byteLength: size, lastBatch });
    return address;
  }

  /** The smallest free block that is large enough and idle after `completedBatch`, or -1. */
  #bestFit(size: number, completedBatch: number): number {
    let best = -1;
    for (let index = 0; index < this.#free.length; index++) {
      const block = this.#free[index]!;
      if (block.byteLength < size || block.lastBatch > completedBatch) continue;
      if (best === -1 || block.byteLength < this.#free[best]!.byteLength) best = index;
    }
    return best;
  }

  /** Joins free neighbours that are idle after `completedBatch`. */
  #join(completedBatch: number): void {
    for (let index = this.#free.length - 2; index >= 0; index--) {
      const block = this.#free[index]!;
      const next = this.#free[index + 1]!;
      if (!touches(block, next) || Math.max(block.lastBatch, next.lastBatch) > completedBatch) continue;
      block.byteLength += next.byteLength;
      block.lastBatch = Math.max(block.lastBatch, next.lastBatch);
      this.#free.splice(index + 1, 1);
    }
  }

  #split(index: number, size: number): { address: number; lastBatch: number } {
    const block = this.#free[index]!;
    const { address, lastBatch } = block;
    if (block.byteLength === size) this.#free.splice(index, 1);
    else {
      block.address += size;
      block.byteLength -= size;
    }
    return { address, lastBatch };
  }

  #extend(size: number, completedBatch: number): { address: number; lastBatch: number } {
    const last = this.#free.at(-1);
    const joins =
      last !== undefined && last.address + last.byteLength === this.#end && last.lastBatch <= completedBatch;
    const address = joins ? last.address : this.#end;
    const end = address + size;
    if (end > this.#limit) {
      throw new OutOfMemoryError(
        `cpu device: expected ${size} more bytes within ${this.#limit}, got ${this.#end} in use`,
      );
    }
    this.#grow(end);
    if (joins) this.#free.pop();
    this.#end = end;
    return { address, lastBatch: joins ? last.lastBatch : 0 };
  }
}
