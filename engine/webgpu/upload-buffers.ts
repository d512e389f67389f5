import { DeviceError } from '../errors.ts';
import { BufferPool, type BufferPoolOptions, type PooledBuffer } from './buffer-pool.ts';
import { BUFFER_USAGE, MAP_MODE_WRITE } from './constants.ts';
import { calmly } from './polling.ts';

/** Smaller uploads are as fast by `writeBuffer`. */
const LEAST_BYTES = 65_536;

/** What a batch's uploads may take together, so that memory stays small. */
const MOST_BYTES_PER_BATCH = 2 ** 26;

/**
 * Buffers by way of which a GPU gets what every pass uploads. They stay mapped from pass to pass, while `writeBuffer` takes
 * new memory each time, and four times as long.
 */
export class UploadBuffers extends BufferPool {
  constructor({ create, maximumByteLength }: Omit<BufferPoolOptions, 'usage'>) {
    super({
      usage: BUFFER_USAGE.mapWrite | BUFFER_USAGE.copySource,
      maximumByteLength,
      create: (descriptor, failed) => create({ ...descriptor, mappedAtCreation: true }, failed),
    });
  }

  /** Whether an upload may join the batch's `uploads`. */
  accepts(byteLength: number, uploads: readonly PooledBuffer[]): boolean {
    const taken = uploads.reduce((sum, upload) => sum + upload.byteLength, 0);
    return byteLength >= LEAST_BYTES && taken + byteLength <= MOST_BYTES_PER_BATCH;
  }

  /** A buffer that holds `data`, to be copied from. @throws OutOfMemoryError; DeviceError where the adapter is gone */
  fill({ buffer, byteOffset, byteLength }: Float32Array | Int32Array): PooledBuffer {
    const filled = this.take(byteLength);
    let mapped: ArrayBuffer;
    try {
      mapped = filled.gpuBuffer.getMappedRange(0, byteLength);
    } catch (cause) {
      throw new DeviceError(`webgpu device: expected memory to write to, got: ${String(cause)}`, { cause });
    }
    new Uint8Array(mapped).set(new Uint8Array(buffer, byteOffset, byteLength));
    filled.gpuBuffer.unmap();
    return filled;
  }

  /**
   * Once what copies from it is submitted or never will be, frees a buffer for the next upload, or for good if it can't be
   * mapped.
   */
  async giveBack(filled: PooledBuffer): Promise<void> {
    try {
      await calmly(() => filled.gpuBuffer.mapAsync(MAP_MODE_WRITE));
    } catch {
      this.discard(filled);
      return;
    }
    this.give(filled);
  }
}
