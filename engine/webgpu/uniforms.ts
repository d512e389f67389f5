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

  /** Every chunk's used part, in order. */
  *written(): Generator<{ chunk: number; data: ArrayBuffer; byteLength: number }> {
    for (const [chunk, data] of this.#chunks.entries()) {
      const last = chunk === this.#chunks.length - 1;
      yield { chunk, data, byteLength: last ? this.#used : UNIFORM_CHUNK_BYTES };
    }
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

  /** Puts a batch's scalars where its launches will read them. */
  upload(writer: UniformWriter): void {
    for (const { chunk, data, byteLength } of writer.written()) {
      this.#gpuDevice.queue.writeBuffer(this.buffer(chunk), 0, data, 0, byteLength);
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
