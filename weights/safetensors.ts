// The safetensors format: 8 bytes header length, a JSON header, then the tensors' bytes without gaps.
// Source: https://github.com/huggingface/safetensors (README "Format" and the validation in safetensors/src/tensor.rs).
import { describe } from '../engine/describe.ts';
import { FileError, OptionError } from '../engine/errors.ts';
import {
  elementCount,
  formatShape,
  type HostTensor,
  isShape,
  type NumericArray,
  type OwnBytes,
} from '../engine/host-tensor.ts';
import { type ByteSource, memoryBytes, readRange } from './bytes.ts';
import {
  compareFileOrder,
  dataTypeOfArray,
  explainUnreadableDataType,
  type StoredDataType,
  storedDataType,
} from './data-types.ts';
import { JsonReader } from './json-reader.ts';
import type { Checkpoint } from './source.ts';
import { bytesOf, readFloat32, readNative, type StoredTensor, tensorNamed } from './stored-tensor.ts';

/** The specification's limit on the header's length, in bytes. */
const MAXIMUM_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;

interface Header {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Opens a safetensors file held in memory. The bytes are shared, not copied.
 * @throws FileError naming `name`, the tensor and the byte, when the file departs from the format in any way; OptionError for
 *   what are no bytes
 */
export function parseSafetensors(file: Uint8Array | ArrayBuffer, name = 'safetensors'): Checkpoint {
  const bytes = file instanceof ArrayBuffer ? new Uint8Array(file) : file;
  if (!(bytes instanceof Uint8Array)) {
    throw new OptionError(`parseSafetensors: expected a file's bytes, got ${describe(bytes)}`);
  }
  const headerEnd = readHeaderEnd(bytes.subarray(0, LENGTH_BYTES), bytes.byteLength, name);
  const header = parseHeader(bytes.subarray(LENGTH_BYTES, headerEnd), bytes.byteLength, name);
  return checkpointOf(memoryBytes(bytes, name), header);
}

/**
 * Opens a safetensors file from any byte source, reading its header only. The checkpoint closes the source.
 * @throws FileError as `parseSafetensors`
 */
export async function readSafetensors(source: ByteSource): Promise<Checkpoint> {
  const length = await readRange(source, 0, Math.min(LENGTH_BYTES, source.size));
  const headerEnd = readHeaderEnd(length, source.size, source.name);
  const header = parseHeader(await readRange(source, LENGTH_BYTES, headerEnd), source.size, source.name);
  return checkpointOf(source, header);
}

function checkpointOf(source: ByteSource, { tensors, metadata }: Header): Checkpoint {
  const named = (name: string) => tensorNamed(tensors, name, source.name);
  return {
    name: source.name,
    tensors,
    metadata,
    read: async name => readFloat32(source, named(name), name),
    readNative: async name => readNative(source, named(name), name),
    close: () => source.close(),
  };
}

function readHeaderEnd(length: Uint8Array, fileSize: number, file: string): number {
  if (length.byteLength < LENGTH_BYTES) {
    throw new FileError({ file, byte: fileSize }, `expected a safetensors file of at least 8 bytes, got ${fileSize}`);
  }
  const headerBytes = new DataView(length.buffer, length.byteOffset).getBigUint64(0, true);
  if (headerBytes > BigInt(MAXIMUM_HEADER_BYTES)) {
    throw new FileError(
      { file, byte: 0 },
      `header length ${headerBytes} is over the limit of ${MAXIMUM_HEADER_BYTES} bytes; is this a safetensors file?`,
    );
  }
  const headerEnd = LENGTH_BYTES + Number(headerBytes);
  if (headerEnd > fileSize) {
    throw new FileError(
      { file, byte: fileSize },
      `truncated: the header should end at byte ${headerEnd}, the file has ${fileSize} bytes`,
    );
  }
  return headerEnd;
}

function parseHeader(json: Uint8Array, fileSize: number, file: string): Header {
  const dataBegin = LENGTH_BYTES + json.byteLength;
  if (json[0] !== 0x7b) throw new FileError({ file, byte: LENGTH_BYTES }, 'expected the header to begin with "{"');
  const tensors = new Map<string, StoredTensor>();
  const metadata = new Map<string, string>();
  const reader = new JsonReader(json, (message, byte) => {
    throw new FileError({ file, byte: LENGTH_BYTES + byte }, `header: ${message}`);
  });
  reader.object(name => {
    if (name === '__metadata__') reader.object(key => metadata.set(key, reader.string()));
    else tensors.set(name, parseTensor(reader, name, dataBegin, file));
  });
  reader.end();
  checkLayout(tensors, dataBegin, fileSize, file);
  return { tensors, metadata };
}

function parseTensor(reader: JsonReader, name: string, dataBegin: number, file: string): StoredTensor {
  const entryByte = LENGTH_BYTES + reader.position;
  const fail = (message: string, byte: number): never => {
    throw new FileError({ file, tensor: name, byte }, message);
  };
  let type: StoredDataType | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  reader.object((key, keyByte) => {
    const valueByte = LENGTH_BYTES + reader.position;
    if (key === 'dtype') {
      const dtype = reader.string();
      type = storedDataType(dtype) ?? fail(explainUnreadableDataType(dtype), valueByte);
    } else if (key === 'shape') {
      shape = naturalNumbers(reader);
      if (!Number.isSafeInteger(elementCount(shape))) fail(`shape ${formatShape(shape)} is too large`, valueByte);
    } else if (key === 'data_offsets') {
      offsets = naturalNumbers(reader);
      if (offsets.length !== 2) fail(`expected data_offsets [begin, end], got ${formatShape(offsets)}`, valueByte);
    } else {
      fail(`expected dtype, shape and data_offsets, got ${JSON.stringify(key)}`, LENGTH_BYTES + keyByte);
    }
  });
  if (type === undefined) return fail('has no dtype', entryByte);
  if (shape === undefined) return fail('has no shape', entryByte);
  if (offsets === undefined) return fail('has no data_offsets', entryByte);
  const [begin, end] = offsets as [number, number];
  const expectedBytes = elementCount(shape) * type.bytes;
  if (end - begin !== expectedBytes) {
    const what = `${type.name} of shape ${formatShape(shape)}`;
    fail(`expected ${expectedBytes} bytes for ${what}, got data_offsets [${begin}, ${end}]`, entryByte);
  }
  return { shape, dtype: type.name, type, begin: dataBegin + begin };
}

function naturalNumbers(reader: JsonReader): number[] {
  const numbers: number[] = [];
  reader.array(() => numbers.push(reader.naturalNumber()));
  return numbers;
}

/** The tensors must cover the bytes after the header exactly: no overlap, no hole, nothing missing or left over. */
function checkLayout(
  tensors: ReadonlyMap<string, StoredTensor>,
  dataBegin: number,
  fileSize: number,
  file: string,
): void {
  const sizeOf = ({ shape, type }: StoredTensor) => elementCount(shape) * type.bytes;
  const inFileOrder = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || sizeOf(a) - sizeOf(b));
  let expectedBegin = dataBegin;
  let previous = 'the header';
  for (const [name, stored] of inFileOrder) {
    const end = stored.begin + sizeOf(stored);
    const location = { file, tensor: name, byte: stored.begin };
    if (stored.begin < expectedBegin)
      throw new FileError(location, `overlaps ${previous}, which ends at byte ${expectedBegin}`);
    if (stored.begin > expectedBegin) {
      throw new FileError(
        location,
        `hole: ${previous} ends at byte ${expectedBegin}, nothing describes the bytes between`,
      );
    }
    if (end > fileSize) {
      throw new FileError(location, `truncated: the tensor should end at byte ${end}, the file has ${fileSize} bytes`);
    }
    expectedBegin = end;
    previous = `tensor "${name}"`;
  }
  if (expectedBegin !== fileSize) {
    throw new FileError({ file, byte: expectedBegin }, `${fileSize - expectedBegin} bytes after the last tensor`);
  }
}

/** A tensor to be written: in memory, or read when its turn comes. `dtype` defaults to the array's own. */
export interface TensorToWrite {
  readonly shape: readonly number[];
  /** Needed where the array does not tell: `BOOL` for a Uint8Array, `F16` or `BF16` for a Uint16Array of bits, … */
  readonly dtype?: string;
  readonly data: NumericArray | (() => Promise<NumericArray>);
}

/** The parts of a safetensors file, in the order in which they are written. */
export interface SafetensorsLayout {
  /** Header length and header. */
  readonly head: Uint8Array;
  /** Length of the whole file in bytes. */
  readonly size: number;
  readonly tensors: readonly TensorToWrite[];
}

/**
 * Lays a safetensors file out exactly as the reference implementation does: wide types first, then by name.
 * @throws FileError for a repeated name, an unknown dtype, metadata other than text, or data that does not fit its shape
 */
export function layOutSafetensors(
  file: string,
  tensors: Iterable<readonly [name: string, tensor: TensorToWrite]>,
  metadata: Readonly<Record<string, string>> = {},
): SafetensorsLayout {
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== 'string') {
      throw new FileError({ file }, `metadata: expected text for ${describe(key)}, got ${describe(value)}`);
    }
  }
  const seen = new Set(['__metadata__']);
  const entries = [...tensors].map(([name, tensor]) => {
    if (seen.has(name)) throw new FileError({ file, tensor: name }, 'this name cannot be used or was used already');
    seen.add(name);
    const type = typeToWrite(tensor, name, file);
    if (!isShape(tensor.shape)) {
      const got = formatShape(tensor.shape);
      throw new FileError({ file, tensor: name }, `expected a shape of whole numbers from 0, got ${got}`);
    }
    const count = elementCount(tensor.shape);
    if (typeof tensor.data !== 'function') checkData(tensor.data, type, count, name, file);
    return { name, tensor, type, count };
  });
  entries.sort((a, b) => compareFileOrder(a.type, b.type) || compareUtf8(a.name, b.name));

  let offset = 0;
  const members = Object.keys(metadata).length > 0 ? [`"__metadata__":${JSON.stringify(metadata)}`] : [];
  const laidOut = entries.map(({ name, tensor, type, count }) => {
    const bytes = count * type.bytes;
    const entry = { dtype: type.name, shape: tensor.shape, data_offsets: [offset, offset + bytes] };
    members.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
    offset += bytes;
    const data = tensor.data;
    const checked =
      typeof data !== 'function'
        ? data
        : async () => {
            const read = await data();
            checkData(read, type, count, name, file);
            return read;
          };
    return { ...tensor, data: checked };
  });

  const json = new TextEncoder().encode(`{${members.join(',')}}`);
  const headerBytes = 8 * Math.ceil(json.byteLength / 8);
  const head = new Uint8Array(LENGTH_BYTES + headerBytes).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(headerBytes), true);
  head.set(json, LENGTH_BYTES);
  return { head, size: head.byteLength + offset, tensors: laidOut };
}

function typeToWrite({ dtype, data }: TensorToWrite, name: string, file: string): StoredDataType {
  if (dtype === undefined) {
    if (typeof data === 'function')
      throw new FileError({ file, tensor: name }, 'a tensor that is read later needs a dtype');
    return dataTypeOfArray(data);
  }
  const type = storedDataType(dtype);
  if (type === undefined) throw new FileError({ file, tensor: name }, explainUnreadableDataType(dtype));
  return type;
}

function checkData(data: NumericArray, type: StoredDataType, count: number, name: string, file: string): void {
  if (!(data instanceof type.native) || data.length !== count) {
    throw new FileError(
      { file, tensor: name },
      `expected ${type.native.name} of ${count} elements for ${type.name}, got ${data.constructor.name} of ${data.length}`,
    );
  }
}

/** Orders strings by their UTF-8 bytes, which is also code point order, as Rust and Python do. */
function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [left, right] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (left === right) continue;
    // Half a pair stands for a code point beyond those of single units, though its own number is below some of theirs.
    if (isSurrogate(left) !== isSurrogate(right)) return isSurrogate(left) ? 1 : -1;
    return left - right;
  }
  return a.length - b.length;
}

const isSurrogate = (unit: number) => unit >= 0xd800 && unit <= 0xdfff;

/** Tensors as a safetensors file in memory. For files on disk use `writeSafetensors`. */
export function encodeSafetensors(
  tensors: Iterable<readonly [name: string, tensor: HostTensor<NumericArray> & { readonly dtype?: string }]>,
  metadata: Readonly<Record<string, string>> = {},
): OwnBytes {
  const layout = layOutSafetensors('safetensors', tensors, metadata);
  const file = new Uint8Array(layout.size);
  file.set(layout.head);
  let position = layout.head.byteLength;
  for (const { data } of layout.tensors) {
    const bytes = bytesOf(data as NumericArray);
    file.set(bytes, position);
    position += bytes.byteLength;
  }
  return file;
}
