import { OutOfMemoryError } from '../errors.ts';

interface FreeBlock {
  address: number;
  byteLength: number;
  /** The last batch of recorded work that may still use the block; the host may write it once that batch is done. */
  lastBatch: number;
}

const ALIGNMENT = 64;

export const alignUp = (value: number, alignment: number): number => Math.ceil(value / alignment) * alignment;

/**
 * A best-fit allocator with coalescing over one linear memory. Memory that a kernel will write can be reused as soon as it
 * is given back, because kernels run in the order they were recorded; memory that the host writes must first be idle.
 */
export class Allocator {
  /** Sorted by address; no two neighbours touch. */
  readonly #free: FreeBlock[] = [];
  readonly #sizes = new Map<number, number>();
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

  /** Gives memory back that work up to and including `lastBatch` may use. */
  release(address: number, lastBatch: number): void {
    const byteLength = this.#sizes.get(address);
    if (byteLength === undefined) throw new Error(`allocator: address ${address} is not allocated`);
    this.#sizes.delete(address);
    let low = 0;
    let high = this.#free.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#free[middle]!.address < address) low = middle + 1;
      else high = middle;
    }
    const block = { address, byteLength, lastBatch };
    const next = this.#free[low];
    if (next !== undefined && address + byteLength === next.address) {
      block.byteLength += next.byteLength;
      block.lastBatch = Math.max(block.lastBatch, next.lastBatch);
      this.#free.splice(low, 1);
    }
    const previous = this.#free[low - 1];
    if (previous !== undefined && previous.address + previous.byteLength === address) {
      previous.byteLength += block.byteLength;
      previous.lastBatch = Math.max(previous.lastBatch, block.lastBatch);
    } else {
      this.#free.splice(low, 0, block);
    }
  }

  #take(byteLength: number, completedBatch: number): number {
    const size = alignUp(Math.max(byteLength, 1), ALIGNMENT);
    let best = -1;
    for (let index = 0; index < this.#free.length; index++) {
      const block = this.#free[index]!;
      if (block.byteLength < size || block.lastBatch > completedBatch) continue;
      if (best === -1 || block.byteLength < this.#free[best]!.byteLength) best = index;
    }
    const address = best === -1 ? this.#extend(size, completedBatch) : this.#split(best, size);
    this.#sizes.set(address, size);
    return address;
  }

  #split(index: number, size: number): number {
    const block = this.#free[index]!;
    const address = block.address;
    if (block.byteLength === size) this.#free.splice(index, 1);
    else {
      block.address += size;
      block.byteLength -= size;
    }
    return address;
  }

  #extend(size: number, completedBatch: number): number {
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
    return address;
  }
}
