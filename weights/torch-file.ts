// PyTorch's own checkpoint files (`pytorch_model.bin`, `.pth`): the zip format of torch >= 1.6 and the plain format before it.
// Both are a pickle of the structure, with the tensors' bytes beside it. Source: torch/serialization.py, torch/_utils.py.
import { FileError } from '../engine/errors.ts';
import { elementCount, type HostTensor, type NumericArray } from '../engine/host-tensor.ts';
import { type ByteSource, partOfBytes, readRange } from './bytes.ts';
import { PickleTruncated, type PickleValue, plainText, unpickle } from './pickle.ts';
import type { Checkpoint } from './source.ts';
import { readFloat32, readNative, type StoredTensor, tensorNamed } from './stored-tensor.ts';
import { type StridedTensor, storageOf, stridedTensors, type TorchStorage, torchGlobals } from './torch-pickle.ts';
import { openZip } from './zip.ts';

/** Longest pickle that is read; a real one needs about 200 bytes for each tensor. */
const MAXIMUM_PICKLE_BYTES = 1 << 26;

/** How much of a file's beginning tells its format. */
export const TORCH_HEAD_BYTES = 512;

/** Whether a file that begins with these bytes is one that `readTorchFile` knows, if only to refuse it in words. */
export function looksLikeTorchFile(head: Uint8Array): boolean {
  return hasBytes(head, 0, zipMagic) || hasBytes(head, 0, plainMagic) || hasBytes(head, TAR_MAGIC_BYTE, tarMagic);
}

/**
 * Opens a PyTorch checkpoint, running none of its code: tensors and plain containers are read, anything else is refused by
 * name. Of a training checkpoint only the model is kept. The checkpoint closes the source.
 * @throws FileError for damage, foreign classes, tensors outside their storage
 */
export async function readTorchFile(source: ByteSource): Promise<Checkpoint> {
  const head = await readRange(source, 0, Math.min(TORCH_HEAD_BYTES, source.size));
  if (hasBytes(head, 0, zipMagic)) return readZipFormat(source);
  if (hasBytes(head, 0, plainMagic)) return readPlainFormat(source);
  if (hasBytes(head, TAR_MAGIC_BYTE, tarMagic)) {
    const advice = 'load it in Python and save it again with torch.save';
    throw new FileError({ file: source.name }, `is in torch's tar format of before 2017; ${advice}`);
  }
  throw new FileError({ file: source.name, byte: 0 }, 'expected a PyTorch checkpoint (zip, or a pickle of torch.save)');
}

const zipMagic = [0x50, 0x4b, 0x03, 0x04];
/** Protocol 2 and torch's magic number 0x1950a86a20f9469cfc6c as a pickled integer of 10 bytes. */
const plainMagic = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];

const tarMagic = [0x75, 0x73, 0x74, 0x61, 0x72];
const TAR_MAGIC_BYTE = 257;

function hasBytes(bytes: Uint8Array, begin: number, expected: readonly number[]): boolean {
  return expected.every((byte, i) => bytes[begin + i] === byte);
}

function checkpointOf(
  source: ByteSource,
  value: PickleValue,
  openStorage: (key: string) => Promise<ByteSource>,
): Checkpoint {
  const tensors = stridedTensors(value, source.name);
  const readAs = async <Data extends NumericArray>(
    name: string,
    read: StorageReader<Data>,
  ): Promise<HostTensor<Data>> => {
    const tensor = tensorNamed(tensors, name, source.name);
    const storage = await openStorage(tensor.storageKey);
    if (isDense(tensor)) return read(storage, tensor, name);
    const { data } = await read(storage, spanOf(tensor), name);
    return { shape: tensor.shape, data: gather(data, tensor) };
  };
  return {
    name: source.name,
    tensors,
    metadata: new Map(),
    read: name => readAs(name, readFloat32),
    readNative: name => readAs(name, readNative),
    close: () => source.close(),
  };
}

type StorageReader<Data extends NumericArray> = (
  storage: ByteSource,
  stored: StoredTensor,
  name: string,
) => Promise<HostTensor<Data>>;

/** Whether the elements lie row-major without gaps. */
function isDense({ shape, stride }: StridedTensor): boolean {
  if (elementCount(shape) === 0) return true;
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis]! > 1 && stride[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

/** The stretch of storage from a tensor's first element to its last, as a flat tensor. */
function spanOf({ type, begin, span }: StridedTensor): StoredTensor {
  return { shape: [span], dtype: type.name, type, begin };
}

/** Row-major copy of a strided tensor's elements. */
function gather<Data extends NumericArray>(span: Data, { shape, stride }: StridedTensor): Data {
  const data = new (span.constructor as new (length: number) => Data)(elementCount(shape));
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < data.length; to++) {
    data[to] = span[from]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis]!++;
      from += stride[axis]!;
      if (index[axis]! < shape[axis]!) break;
      from -= index[axis]! * stride[axis]!;
      index[axis] = 0;
    }
  }
  return data;
}

async function readZipFormat(source: ByteSource): Promise<Checkpoint> {
  const file = source.name;
  const archive = await openZip(source);
  const pickles = [...archive.entries.keys()].filter(name => /^(?:[^/]+\/)?data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    throw new FileError(
      { file },
      `expected a PyTorch checkpoint, got a zip archive with ${pickles.length} files data.pkl`,
    );
  }
  const folder = pickles[0]!.slice(0, -'data.pkl'.length);
  if (archive.entries.has(`${folder}constants.pkl`)) {
    throw new FileError({ file }, 'is a TorchScript program, not a checkpoint; in Python, save its state_dict()');
  }
  if (archive.entries.has(`${folder}byteorder`)) {
    const order = new TextDecoder().decode(await readAll(await archive.open(`${folder}byteorder`), 16)).trim();
    if (order !== 'little') throw new FileError({ file }, `expected byte order "little", got ${JSON.stringify(order)}`);
  }
  const pickle = await readAll(await archive.open(pickles[0]!), MAXIMUM_PICKLE_BYTES);
  const { value } = unpickle(pickle, 0, {
    file: `${file}/${pickles[0]}`,
    byte: 0,
    globals: torchGlobals(pickle.byteLength),
    persistent: id => storageOf(id, file),
  });
  return checkpointOf(source, value, key => archive.open(`${folder}data/${key}`));
}

async function readAll(source: ByteSource, maximumBytes: number): Promise<Uint8Array> {
  if (source.size > maximumBytes) {
    throw new FileError({ file: source.name }, `a pickle of ${source.size} bytes is over the limit of ${maximumBytes}`);
  }
  return readRange(source, 0, source.size);
}

/** The format before torch 1.6: five pickles (magic, version, system, structure, storage keys), then the storages. */
async function readPlainFormat(source: ByteSource): Promise<Checkpoint> {
  const file = source.name;
  const storages = new Map<string, TorchStorage>();
  const { values, end } = await unpickleHead(source, 5, id => {
    const storage = storageOf(id, file);
    storages.set(storage.key, storage);
    return storage;
  });
  const [, version, system, value, keys] = values;
  if (version !== 1001) throw new FileError({ file }, `expected torch's format 1001, got ${plainText(version)}`);
  if (!(system instanceof Map) || system.get('little_endian') !== true) {
    throw new FileError({ file }, 'expected a checkpoint written on a little-endian machine');
  }
  if (!Array.isArray(keys)) throw new FileError({ file, byte: end }, 'expected a list of storages');
  const places = await locateStorages(source, keys, storages, end);
  return checkpointOf(source, value, async key => {
    const place = places.get(key);
    if (place === undefined) throw new FileError({ file }, `storage ${JSON.stringify(key)} is not in the file`);
    return place;
  });
}

/** Reads the first pickles of a file, fetching no more of it than they need. */
async function unpickleHead(
  source: ByteSource,
  count: number,
  persistent: (id: PickleValue) => PickleValue,
): Promise<{ values: PickleValue[]; end: number }> {
  for (let length = 1 << 20; ; length *= 4) {
    const head = await readRange(source, 0, Math.min(length, source.size));
    try {
      const values: PickleValue[] = [];
      let end = 0;
      while (values.length < count) {
        const globals = torchGlobals(head.byteLength);
        const pickle = unpickle(head, end, { file: source.name, byte: 0, globals, persistent });
        values.push(pickle.value);
        end = pickle.end;
      }
      return { values, end };
    } catch (error) {
      const mayGoOn = error instanceof PickleTruncated && length < source.size && length < MAXIMUM_PICKLE_BYTES;
      if (!mayGoOn) throw error;
    }
  }
}

/** After the pickles each storage follows: its element count in 8 bytes, then its elements. */
async function locateStorages(
  source: ByteSource,
  keys: readonly PickleValue[],
  storages: ReadonlyMap<string, TorchStorage>,
  begin: number,
): Promise<Map<string, ByteSource>> {
  const places = new Map<string, ByteSource>();
  const counterAt = counterReader(source);
  let position = begin;
  for (const key of keys) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined;
    const location = { file: source.name, byte: position };
    if (storage?.type === undefined)
      throw new FileError(location, `nothing refers to storage ${JSON.stringify(plainText(key))}`);
    const count = await counterAt(position);
    if (count !== BigInt(storage.wholeLength)) {
      throw new FileError(location, `expected a storage of ${storage.wholeLength} elements, got ${count}`);
    }
    const end = position + 8 + storage.wholeLength * storage.type.bytes;
    if (end > source.size) {
      throw new FileError(
        location,
        `truncated: the storage should end at byte ${end}, the file has ${source.size} bytes`,
      );
    }
    places.set(storage.key, partOfBytes(source, position + 8, end));
    position = end;
  }
  return places;
}

/** Bytes that are read with a counter: those of small storages lie close together, and one read for each takes long. */
const COUNTER_WINDOW_BYTES = 4096;

/** Reads the element count of 8 bytes at a position; positions must not fall. */
function counterReader(source: ByteSource): (position: number) => Promise<bigint> {
  let window: DataView = new DataView(new ArrayBuffer(0));
  let windowBegin = 0;
  return async position => {
    if (position + 8 > windowBegin + window.byteLength) {
      const end = Math.max(position + 8, Math.min(position + COUNTER_WINDOW_BYTES, source.size));
      window = new DataView((await readRange(source, position, end)).buffer);
      windowBegin = position;
    }
    return window.getBigInt64(position - windowBegin, true);
  };
}
