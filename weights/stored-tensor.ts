import { FileError, type FileLocation } from '../engine/errors.ts';
import { elementCount, formatShape, type HostTensor, type NumericArray } from '../engine/host-tensor.ts';
import type { ByteSource } from './bytes.ts';
import type { StoredDataType } from './data-types.ts';
import type { TensorEntry } from './source.ts';

/** Where a tensor's elements lie in a file: row-major, little-endian, without gaps. */
export interface StoredTensor extends TensorEntry {
  readonly type: StoredDataType;
  /** Byte offset of the first element from the start of the file. */
  readonly begin: number;
}

/** Elements converted at a time: bounds what reading needs beyond its result. */
const CHUNK_ELEMENTS = 1 << 18;

/** @throws FileError if no tensor has that name */
export function tensorNamed<Entry>(tensors: ReadonlyMap<string, Entry>, name: string, file: string): Entry {
  const entry = tensors.get(name);
  if (entry === undefined)
    throw new FileError({ file, tensor: name }, `no such tensor among the file's ${tensors.size}`);
  return entry;
}

/** Reads a stored tensor with its bits unchanged. */
export async function readNative(
  bytes: ByteSource,
  stored: StoredTensor,
  name: string,
): Promise<HostTensor<NumericArray>> {
  const location = { file: bytes.name, tensor: name, byte: stored.begin };
  const data = allocate(stored, stored.type.native, location);
  await bytes.read(bytesOf(data), stored.begin);
  return { shape: [...stored.shape], data };
}

/** Reads a stored tensor as float32, holding no more than a small chunk beyond the result. */
export async function readFloat32(
  bytes: ByteSource,
  stored: StoredTensor,
  name: string,
): Promise<HostTensor<Float32Array>> {
  const location = { file: bytes.name, tensor: name, byte: stored.begin };
  const data = allocate(stored, Float32Array, location);
  if (stored.type.name === 'F32') {
    await bytes.read(bytesOf(data), stored.begin);
    return { shape: [...stored.shape], data };
  }
  const chunk = new stored.type.native(Math.min(CHUNK_ELEMENTS, data.length));
  for (let start = 0; start < data.length; start += CHUNK_ELEMENTS) {
    const part = chunk.subarray(0, data.length - start);
    await bytes.read(bytesOf(part), stored.begin + start * stored.type.bytes);
    stored.type.toFloat32(part, data.subarray(start, start + part.length));
  }
  return { shape: [...stored.shape], data };
}

/** The bytes of an array, shared with it. */
export function bytesOf(data: NumericArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function allocate<Data>(stored: StoredTensor, arrayType: new (length: number) => Data, location: FileLocation): Data {
  try {
    return new arrayType(elementCount(stored.shape));
  } catch (cause) {
    throw new FileError(location, `no memory for shape ${formatShape(stored.shape)}`, { cause });
  }
}
