import { BUFFER_USAGE, MAP_MODE_READ } from './constants.ts';
import { calmly } from './polling.ts';

const QUERIES_PER_SET = 4096;
const BYTES_PER_QUERY = 8;

/** Begin and end times of the compute passes of one batch. */
export class Timestamps {
  readonly #gpuDevice: GPUDevice;
  readonly #sets: { querySet: GPUQuerySet; resolved: GPUBuffer; readable: GPUBuffer }[] = [];
  #queries = 0;

  constructor(gpuDevice: GPUDevice) {
    this.#gpuDevice = gpuDevice;
  }

  /** The descriptor of the next pass to be timed. */
  nextPass(): GPUComputePassTimestampWrites {
    const index = this.#queries % QUERIES_PER_SET;
    if (index === 0) this.#addSet();
    this.#queries += 2;
    const { querySet } = this.#sets.at(-1)!;
    return { querySet, beginningOfPassWriteIndex: index, endOfPassWriteIndex: index + 1 };
  }

  /** Records the transfer of the times to the host, after all passes. */
  resolve(encoder: GPUCommandEncoder): void {
    this.#sets.forEach(({ querySet, resolved, readable }, set) => {
      const count = Math.min(QUERIES_PER_SET, this.#queries - set * QUERIES_PER_SET);
      encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, readable, 0, count * BYTES_PER_QUERY);
    });
  }

  /** Milliseconds of every pass, once the batch is submitted. */
  async read(): Promise<number[]> {
    const nanoseconds: bigint[] = [];
    for (const { readable } of this.#sets) {
      await calmly(() => readable.mapAsync(MAP_MODE_READ));
      nanoseconds.push(...new BigUint64Array(readable.getMappedRange()));
      readable.unmap();
    }
    return passMilliseconds(nanoseconds.slice(0, this.#queries));
  }

  /** Frees the queries. */
  destroy(): void {
    for (const { querySet, resolved, readable } of this.#sets) {
      querySet.destroy();
      resolved.destroy();
      readable.destroy();
    }
    this.#sets.length = 0;
  }

  #addSet(): void {
    const size = QUERIES_PER_SET * BYTES_PER_QUERY;
    this.#sets.push({
      querySet: this.#gpuDevice.createQuerySet({ type: 'timestamp', count: QUERIES_PER_SET }),
      resolved: this.#gpuDevice.createBuffer({ size, usage: BUFFER_USAGE.queryResolve | BUFFER_USAGE.copySource }),
      readable: this.#gpuDevice.createBuffer({ size, usage: BUFFER_USAGE.mapRead | BUFFER_USAGE.copyDestination }),
    });
  }
}

/**
 * Milliseconds of passes that follow each other, from their begins and ends in nanoseconds. A pass is timed from the end of
 * those before it: Vulkan's begin is when the pass was started, which waits for none of them.
 */
export function passMilliseconds(nanoseconds: readonly bigint[]): number[] {
  let previousEnd = 0n;
  return Array.from({ length: nanoseconds.length / 2 }, (_, pass) => {
    const begin = later(nanoseconds[2 * pass]!, previousEnd);
    const end = nanoseconds[2 * pass + 1]!;
    previousEnd = later(previousEnd, end);
    return Math.max(0, Number(end - begin)) / 1e6;
  });
}

const later = (a: bigint, b: bigint): bigint => (a > b ? a : b);
