import { describe } from './describe.ts';
import { OptionError, ShapeError } from './errors.ts';

/** Element types that tensors have on a device. Checkpoints hold more; they are converted on reading. */
export type DataType = 'float32' | 'int32';

export type NumericArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/** Bytes that are not shared with other threads, as `Response`, `Blob` and `fetch` want them. */
export type OwnBytes = ReturnType<Uint8Array['slice']>;

/** A dense row-major tensor in host memory. `data.length` equals the product of `shape`. */
export interface HostTensor<Data extends NumericArray = Float32Array> {
  readonly shape: readonly number[];
  readonly data: Data;
}

/**
 * Throws unless `host` is a tensor whose `data` fill its `shape`, for callers without types. `name` starts the message.
 * @param arrays what the data may be; unless told, any typed array
 * @throws OptionError for what is no tensor, ShapeError for data of another length
 */
export function checkHostTensor(
  host: HostTensor<NumericArray>,
  name: string,
  ...arrays: readonly (new (
    length: number,
  ) => NumericArray)[]
): void {
  const { shape, data } = (host ?? {}) as Partial<HostTensor<NumericArray>>;
  const isData = arrays.length === 0 ? isTypedArray(data) : arrays.some(array => data instanceof array);
  if (!Array.isArray(shape) || !isData) {
    const expected = arrays.map(array => array.name).join(' or ') || 'typed array';
    throw new OptionError(`${name}: expected { shape, data } with a ${expected}, got ${describe(host)}`);
  }
  if (!isShape(shape) || elementCount(shape) !== data!.length) {
    throw new ShapeError(`${name}: expected as many values as ${formatShape(shape)} has, got ${data!.length}`);
  }
}

export function isTypedArray(value: unknown): boolean {
  return ArrayBuffer.isView(value) && !(value instanceof DataView);
}

/** A copy of an array that shares nothing with it, as `slice` of Node's Buffer does. */
export function copyOf<Data extends NumericArray>(data: Data): Data {
  return Uint8Array.prototype.slice.call(data) as NumericArray as Data; // of any typed array
}

/** Number of elements of a shape; 1 for a scalar (`[]`). */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const size of shape) count *= size;
  return Number.isNaN(count) && shape.includes(0) ? 0 : count; // beyond all numbers, times 0
}

/** Whether a number can be the size of an axis. */
export function isSize(size: number): boolean {
  return Number.isSafeInteger(size) && size >= 0;
}

/** Whether a value can be a shape, for callers without types. */
export function isShape(shape: readonly number[]): boolean {
  return Array.isArray(shape) && shape.every(isSize);
}

/** `[2, 3]` → `"[2, 3]"`, for messages. */
export function formatShape(shape: readonly number[]): string {
  return Array.isArray(shape) ? `[${shape.join(', ')}]` : describe(shape);
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}
