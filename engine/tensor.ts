import type { Device } from './device.ts';
import { DeviceError, OutOfMemoryError, ShapeError } from './errors.ts';
import type { Spoilable } from './failure.ts';
import { type DataType, elementCount, formatShape, type HostTensor, isSize } from './host-tensor.ts';

/** Device memory behind one or more tensors; each device extends it with its own handle. */
export interface Storage extends Spoilable {
  readonly byteLength: number;
  /** Tensors and pending reads that use the memory; at zero it goes back to the device's pool. */
  references: number;
}

/** The host array type of a data type. */
export type HostArray<Type extends DataType> = Type extends 'int32' ? Int32Array : Float32Array;

/** Systems hand memory out in pages of this many bytes, or of a multiple. */
const PAGE_BYTES = 4096;

/**
 * An array of zeros to read into. The system hands a large one's memory out page by page, as each is first written, which
 * takes several times as long as copying into it; this is to be called while the device works.
 * @throws OutOfMemoryError
 */
export function reserveHostArray<Type extends DataType>(dtype: Type, length: number): HostArray<Type> {
  let data: Int32Array | Float32Array;
  try {
    data = dtype === 'int32' ? new Int32Array(length) : new Float32Array(length);
  } catch (cause) {
    throw new OutOfMemoryError(`read: expected ${4 * length} bytes of host memory, got: ${String(cause)}`, { cause });
  }
  for (let index = 0; index < length; index += PAGE_BYTES / 4) data[index] = 0;
  return data as HostArray<Type>;
}

/**
 * A dense row-major tensor in device memory. Created by kernels and by `device.tensor(…)`; released by the enclosing
 * `device.scope`, or by `dispose()` outside of any scope.
 */
export class Tensor<Type extends DataType = DataType> {
  readonly device: Device;
  readonly shape: readonly number[];
  readonly dtype: Type;
  readonly #storage: Storage;
  #disposed = false;

  /** Not for users: devices make tensors. Takes over one reference of `storage`. */
  constructor(device: Device, shape: readonly number[], dtype: Type, storage: Storage) {
    this.device = device;
    this.shape = shape;
    this.dtype = dtype;
    this.#storage = storage;
  }

  get size(): number {
    return elementCount(this.shape);
  }

  get byteLength(): number {
    return this.size * 4;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** The memory behind the tensor. @throws DeviceError after `dispose()`. */
  get storage(): Storage {
    if (this.#disposed) throw new DeviceError(`tensor ${formatShape(this.shape)}: expected live, got disposed`);
    return this.#storage;
  }

  /** The axis' size; negative axes count from the end. @throws ShapeError for an axis that does not exist. */
  dim(axis: number): number {
    const size = this.shape.at(axis);
    if (size === undefined)
      throw new ShapeError(`tensor: expected an axis ${axis}, got shape ${formatShape(this.shape)}`);
    return size;
  }

  /** The same memory under another shape. One size may be -1 and is then inferred. @throws ShapeError if sizes differ. */
  reshape(shape: readonly number[]): Tensor<Type> {
    const given = Array.isArray(shape) ? shape.filter(size => size !== -1) : undefined;
    if (given === undefined || !given.every(isSize) || shape.length - given.length > 1) {
      throw new ShapeError(`reshape: expected whole sizes from 0, of which one may be -1, got ${formatShape(shape)}`);
    }
    const resolved = shape.map(size => (size === -1 ? this.size / elementCount(given) : size));
    // Beside a size of 0 there is nothing to infer another one from.
    if (!resolved.every(isSize) || elementCount(resolved) !== this.size) {
      throw new ShapeError(
        `reshape: expected ${this.size} elements for ${formatShape(this.shape)}, got ${formatShape(shape)}`,
      );
    }
    return this.device.view(this, resolved);
  }

  /** Waits for the device and copies the values to the host: the one place that waits. */
  read(): Promise<HostTensor<HostArray<Type>>> {
    return this.device.read(this);
  }

  /** Gives the memory back; later launches may reuse it at once, since the device works in order. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.device.release(this, this.#storage);
  }
}
