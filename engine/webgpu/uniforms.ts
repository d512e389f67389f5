import { DeviceError } from '../errors.ts';
import { type Scalar, writeScalars } from '../launch.ts';
import { BUFFER_USAGE } from './constants.ts';

/** Where a launch's scalars lie. */
export interface UniformSlot {
  /** Number of the uniform buffer. */
  readonly chunk: number;
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** Uniform structs that hold vectors or arrays are a multiple of this long, and the binding has to be as long as they. */
const LARGEST_STRUCT_ALIGNMENT = 16;

/** The scalars of one batch of launches, collected on the host. */
export class UniformWriter {
  readonly #alignment: number;
  readonly #chunks: ArrayBuffer[] = [];
  #used = UNIFORM_CHUNK_BYTES;
  /** The chunk and the byte from which on nothing was taken yet. */
  #taken = { chunk: 0, byteOffset: 0 };

  /** @param offsetAlignment the adapter's minUniformBufferOffsetAlignment, a power of two */
  constructor(offsetAlignment: number) {
    this.#alignment = Math.max(offsetAlignment, LARGEST_STRUCT_ALIGNMENT);
  }

  /** @throws DeviceError if a launch has more scalars than a uniform binding holds. */
  write(scalars: readonly Scalar[]): UniformSlot {
    const byteLength = Math.ceil((scalars.length * 4) / this.#alignment) * this.#alignment;
    if (byteLength > UNIFORM_CHUNK_BYTES) {
      throw new DeviceError(`launch: expected at most ${UNIFORM_CHUNK_BYTES / 4} scalars, got ${scalars.length}`);
    }
    if (this.#used + byteLength > UNIFORM_CHUNK_BYTES) {
      this.#chunks.push(new ArrayBuffer(UNIFORM_CHUNK_BYTES));
      this.#used = 0;
    }
    const chunk = this.#chunks.length - 1;
    const byteOffset = this.#used;
    this.#used += byteLength;
    const data = this.#chunks[chunk]!;
    writeScalars(scalars, new Uint32Array(data), new Float32Array(data), byteOffset / 4);
    return { chunk, byteOffset, byteLength };
  }

  /** What was written since the last time, chunk by chunk. */
  *takeWritten(): Generator<{ chunk: number; data: ArrayBuffer; byteOffset: number; byteLength: number }> {
    const last = this.#chunks.length - 1;
    for (let chunk = this.#taken.chunk; chunk <= last; chunk++) {
      const byteOffset = chunk === this.#taken.chunk ? this.#taken.byteOffset : 0;
      const end = chunk === last ? this.#used : UNIFORM_CHUNK_BYTES;
      if (end > byteOffset) yield { chunk, data: this.#chunks[chunk]!, byteOffset, byteLength: end - byteOffset };
    }
    if (last >= 0) this.#taken = { chunk: last, byteOffset: this.#used };
  }
}

const UNIFORM_CHUNK_BYTES = 65_536;

/**
 * Uniform buffers of one size, used by every batch in the same order: so bind groups stay valid from one forward pass to the
 * next, and since writes to a queue happen in order with its submits, no batch sees another's scalars.
 */
export class UniformBuffers {
  readonly #gpuDevice: GPUDevice;
  readonly #buffers: GPUBuffer[] = [];

  constructor(gpuDevice: GPUDevice) {
    this.#gpuDevice = gpuDevice;
  }

  get reservedBytes(): number {
    return this.#buffers.length * UNIFORM_CHUNK_BYTES;
  }

  /** Puts a batch's new scalars where its launches will read them. */
  upload(writer: UniformWriter): void {
    for (const { chunk, data, byteOffset, byteLength } of writer.takeWritten()) {
      this.#gpuDevice.queue.writeBuffer(this.buffer(chunk), byteOffset, data, byteOffset, byteLength);
    }
  }

  buffer(chunk: number): GPUBuffer {
    while (this.#buffers.length <= chunk) {
      const usage = BUFFER_USAGE.uniform | BUFFER_USAGE.copyDestination;
      this.#buffers.push(this.#gpuDevice.createBuffer({ label: 'uniforms', size: UNIFORM_CHUNK_BYTES, usage }));
    }
    return this.#buffers[chunk]!;
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    this.#buffers.length = 0;
  }
}
