import { OutOfMemoryError } from '../errors.ts';

/** A device buffer that passes from tensor to tensor. */
export interface PooledBuffer {
  readonly id: number;
  readonly gpuBuffer: GPUBuffer;
  readonly byteLength: number;
  /** Number of the last batch of recorded work that uses the buffer. */
  lastBatch: number;
  /** Why it can't be used, once that is known: the system refused it. */
  failure?: Error;
}

export interface BufferPoolOptions {
  readonly usage: GPUBufferUsageFlags;
  readonly maximumByteLength: number;
  /** Creates a buffer so that a failure, which shows only later, is reported. */
  readonly create: (descriptor: GPUBufferDescriptor, failed: (error: Error) => void) => GPUBuffer;
  readonly destroyed?: (buffer: PooledBuffer) => void;
}

/** Buffers are whole cache lines, so that kernels may read past a tensor's end to the next vec4. */
const GRANULARITY = 256;

/** A tensor may take a free buffer of up to this multiple of its size. */
const LARGEST_WASTE = 1.25;

/**
 * Buffers between uses. Of the free buffers that fit, the smallest and then the oldest is taken, so that a repeated forward
 * pass gets the same buffers, and with them the same bind groups, each time.
 */
export class BufferPool {
  readonly #options: BufferPoolOptions;
  /** Ascending by size, then by id. */
  readonly #free: PooledBuffer[] = [];
  readonly #all = new Set<PooledBuffer>();
  #lastId = 0;
  #reservedBytes = 0;

  constructor(options: BufferPoolOptions) {
    this.#options = options;
  }

  get reservedBytes(): number {
    return this.#reservedBytes;
  }

  get bufferCount(): number {
    return this.#all.size;
  }

  /**
   * A buffer of at least `byteLength`, with undefined contents, that no batch after `idleBatch` uses.
   * @throws OutOfMemoryError if it would be larger than the adapter can bind.
   */
  take(byteLength: number, idleBatch = Number.POSITIVE_INFINITY): PooledBuffer {
    const { maximumByteLength } = this.#options;
    if (byteLength > maximumByteLength) {
      throw new OutOfMemoryError(
        `webgpu device: expected a tensor of at most ${maximumByteLength} bytes (the adapter's maxStorageBufferBindingSize), got ${byteLength}`,
      );
    }
    const needed = Math.min(Math.max(1, Math.ceil(byteLength / GRANULARITY)) * GRANULARITY, maximumByteLength);
    for (let index = this.#firstAtLeast(needed); index < this.#free.length; index++) {
      const buffer = this.#free[index]!;
      if (buffer.byteLength > needed * LARGEST_WASTE) break;
      if (buffer.lastBatch > idleBatch) continue;
      this.#free.splice(index, 1);
      return buffer;
    }
    return this.#create(needed);
  }

  give(buffer: PooledBuffer): void {
    if (buffer.failure !== undefined) {
      this.discard(buffer);
      return;
    }
    if (!this.#all.has(buffer)) return; // everything was destroyed meanwhile
    let index = this.#firstAtLeast(buffer.byteLength);
    while (index < this.#free.length && isBefore(this.#free[index]!, buffer)) index++;
    this.#free.splice(index, 0, buffer);
  }

  /** Takes back a buffer that is of no more use. */
  discard(buffer: PooledBuffer): void {
    if (this.#all.has(buffer)) this.#destroy(buffer);
  }

  /** Gives free buffers back to the system that no batch after `batch` uses. */
  trim(batch: number): void {
    for (let index = this.#free.length - 1; index >= 0; index--) {
      const buffer = this.#free[index]!;
      if (buffer.lastBatch > batch) continue;
      this.#free.splice(index, 1);
      this.#destroy(buffer);
    }
  }

  destroyAll(): void {
    for (const buffer of this.#all) this.#destroy(buffer);
    this.#free.length = 0;
  }

  #create(byteLength: number): PooledBuffer {
    const { usage, create } = this.#options;
    const failed = (error: Error) => {
      buffer.failure = error;
      // It may have been given back before the system refused it.
      const place = this.#free.indexOf(buffer);
      if (place === -1) return;
      this.#free.splice(place, 1);
      this.#destroy(buffer);
    };
    const gpuBuffer = create({ size: byteLength, usage }, failed);
    const buffer: PooledBuffer = { id: ++this.#lastId, gpuBuffer, byteLength, lastBatch: 0 };
    this.#all.add(buffer);
    this.#reservedBytes += byteLength;
    return buffer;
  }

  #destroy(buffer: PooledBuffer): void {
    this.#all.delete(buffer);
    this.#reservedBytes -= buffer.byteLength;
    buffer.gpuBuffer.destroy();
    this.#options.destroyed?.(buffer);
  }

  #firstAtLeast(byteLength: number): number {
    let low = 0;
    let high = this.#free.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#free[middle]!.byteLength < byteLength) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function isBefore(a: PooledBuffer, b: PooledBuffer): boolean {
  return a.byteLength === b.byteLength ? a.id < b.id : a.byteLength < b.byteLength;
}
