// PyTorch's own checkpoint files (`pytorch_model.bin`, `.pth`): the zip format of torch >= 1.6 and the plain format before it.
// Both are a pickle of the structure, with the tensors' bytes beside it. Source: torch/serialization.py, torch/_utils.py.
import { FileError } from '../engine/errors.ts';
import { elementCount, formatShape, type HostTensor, type NumericArray } from '../engine/host-tensor.ts';
import { type ByteSource, partOfBytes, readRange } from './bytes.ts';
import { type StoredDataType, storedDataType } from './data-types.ts';
import {
  PickleGlobal,
  type PickleGlobals,
  PickleObject,
  PickleTruncated,
  type PickleValue,
  plainText,
  unpickle,
} from './pickle.ts';
import type { Checkpoint, TensorEntry } from './source.ts';
import { readFloat32, readNative, type StoredTensor, tensorNamed } from './stored-tensor.ts';
import { openZip } from './zip.ts';

/** Longest pickle that is read; a real one needs about 200 bytes for each tensor. */
const maximumPickleBytes = 1 << 26;
const maximumDimensions = 64;
/** Under these keys a training checkpoint keeps the model's tensors. */
const stateKeys = ['model', 'state_dict', 'model_state_dict', 'module'];

/** How much of a file's beginning tells its format. */
export const torchHeadBytes = 512;

/** Whether a file that begins with these bytes is one that `readTorchFile` knows, if only to refuse it in words. */
export function looksLikeTorchFile(head: Uint8Array): boolean {
  return hasBytes(head, 0, zipMagic) || hasBytes(head, 0, plainMagic) || hasBytes(head, tarMagicByte, tarMagic);
}

/**
 * Opens a PyTorch checkpoint, running none of its code: tensors and plain containers are read, anything else is refused by
 * name. Of a training checkpoint only the model is kept. The checkpoint closes the source.
 * @throws {FileError} for damage, foreign classes, tensors outside their storage
 */
export async function readTorchFile(source: ByteSource): Promise<Checkpoint> {
  const head = await readRange(source, 0, Math.min(torchHeadBytes, source.size));
  if (hasBytes(head, 0, zipMagic)) return readZipFormat(source);
  if (hasBytes(head, 0, plainMagic)) return readPlainFormat(source);
  if (hasBytes(head, tarMagicByte, tarMagic)) {
    const advice = 'load it in Python and save it again with torch.save';
    throw new FileError({ file: source.name }, `is in torch's tar format of before 2017; ${advice}`);
  }
  throw new FileError({ file: source.name, byte: 0 }, 'expected a PyTorch checkpoint (zip, or a pickle of torch.save)');
}

const zipMagic = [0x50, 0x4b, 0x03, 0x04];
/** Protocol 2 and torch's magic number 0x1950a86a20f9469cfc6c as a pickled integer of 10 bytes. */
const plainMagic = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];

const tarMagic = [0x75, 0x73, 0x74, 0x61, 0x72];
const tarMagicByte = 257;

function hasBytes(bytes: Uint8Array, begin: number, expected: readonly number[]): boolean {
  return expected.every((byte, i) => bytes[begin + i] === byte);
}

/** Memory that tensors share, by the key under which the file keeps it; or a stretch of it. */
class Storage {
  readonly key: string;
  /** Undefined for untyped storages, whose tensors bring their own. */
  readonly type: StoredDataType | undefined;
  /** Elements of `type` that the file keeps under this key; bytes when untyped. */
  readonly wholeLength: number;
  /** The stretch that tensors may use. */
  readonly start: number;
  readonly length: number;

  constructor(
    key: string,
    type: StoredDataType | undefined,
    wholeLength: number,
    stretch?: { start: number; length: number },
  ) {
    this.key = key;
    this.type = type;
    this.wholeLength = wholeLength;
    this.start = stretch?.start ?? 0;
    this.length = stretch?.length ?? wholeLength;
  }
}

/** The arguments of torch._utils._rebuild_tensor, still unchecked. */
class TensorRecipe {
  readonly storage: PickleValue;
  readonly offset: PickleValue;
  readonly shape: PickleValue;
  readonly stride: PickleValue;
  readonly dtype: PickleValue;

  constructor(storage: PickleValue, offset: PickleValue, shape: PickleValue, stride: PickleValue, dtype?: PickleValue) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.stride = stride;
    this.dtype = dtype;
  }
}

interface StridedTensor extends TensorEntry {
  readonly type: StoredDataType;
  readonly storageKey: string;
  /** Byte offset of the first element in the storage. */
  readonly begin: number;
  /** Elements between neighbours along each axis. */
  readonly stride: readonly number[];
  /** Elements from the first to the last, both included. */
  readonly span: number;
}

const storageTypes: Readonly<Record<string, string>> = {
  DoubleStorage: 'F64',
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
};

const dtypes: Readonly<Record<string, string>> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  uint16: 'U16',
  uint32: 'U32',
  uint64: 'U64',
  bool: 'BOOL',
  float8_e4m3fn: 'F8_E4M3',
  float8_e5m2: 'F8_E5M2',
  float8_e4m3fnuz: 'F8_E4M3FNUZ',
  float8_e5m2fnuz: 'F8_E5M2FNUZ',
};

/** Everything a checkpoint may name. `budget` bounds what the container constructors may copy. */
function torchGlobals(budget: number): PickleGlobals {
  let copied = 0;
  const listOf = (value: PickleValue): PickleValue[] => {
    if (value === undefined) return [];
    if (!Array.isArray(value)) throw new Error('expected a list');
    copied += value.length;
    if (copied > budget) throw new Error('the pickle copies its lists without end');
    return value;
  };
  const pairOf = (value: PickleValue): [PickleValue, PickleValue] => {
    if (!Array.isArray(value) || value.length !== 2) throw new Error('expected a pair');
    return [value[0], value[1]];
  };
  const dictOf = (value: PickleValue) => (value instanceof Map ? value : new Map(listOf(value).map(pairOf)));
  const firstOf = (value: PickleValue) => value;
  const globals = new Map<string, (...values: PickleValue[]) => PickleValue>([
    ['collections OrderedDict', dictOf],
    ['collections Counter', dictOf],
    ['collections defaultdict', (_, values) => dictOf(values)],
    ['argparse Namespace', () => new PickleObject()],
    ['_codecs encode', firstOf],
    ['torch Size', value => listOf(value)],
    ['torch device', (...values) => values.map(plainText).join(':')],
    [
      'torch._utils _rebuild_tensor',
      (storage, offset, shape, stride) => new TensorRecipe(storage, offset, shape, stride),
    ],
    [
      'torch._utils _rebuild_tensor_v2',
      (storage, offset, shape, stride) => new TensorRecipe(storage, offset, shape, stride),
    ],
    [
      'torch._utils _rebuild_tensor_v3',
      (storage, offset, shape, stride, _grad, _hooks, dtype) => new TensorRecipe(storage, offset, shape, stride, dtype),
    ],
    ['torch._utils _rebuild_parameter', firstOf],
    ['torch._utils _rebuild_parameter_with_state', firstOf],
    ['torch.storage UntypedStorage', () => undefined],
  ]);
  for (const module of ['__builtin__', 'builtins']) {
    globals.set(`${module} set`, value => new Set(listOf(value)));
    globals.set(`${module} frozenset`, value => new Set(listOf(value)));
    globals.set(`${module} list`, value => listOf(value).slice());
    globals.set(`${module} dict`, dictOf);
    globals.set(`${module} bytes`, () => new Uint8Array(0));
  }
  for (const name of [...Object.keys(storageTypes), ...Object.keys(dtypes)])
    globals.set(`torch ${name}`, () => undefined);
  return globals;
}

/** torch's persistent id: ('storage', type, key, device, element count[, (view key, start, length)]). */
function storageOf(id: PickleValue, file: string): Storage {
  const [kind, type, key, , length, view] = Array.isArray(id) ? id : [];
  const refuse = (): never => {
    throw new FileError({ file }, 'expected the pickle to refer to a storage of torch');
  };
  if (kind !== 'storage' || !(type instanceof PickleGlobal) || typeof key !== 'string' || !isNatural(length))
    return refuse();
  const typeName = type.name.replace(/^torch\./, '');
  const isUntyped = typeName === 'storage.UntypedStorage';
  const stored = storedDataType(storageTypes[typeName] ?? '');
  if (stored === undefined && !isUntyped) return refuse();
  if (view === undefined || view === null) return new Storage(key, stored, length);
  const [, start, viewLength] = Array.isArray(view) ? view : [];
  if (!isNatural(start) || !isNatural(viewLength) || start + viewLength > length) return refuse();
  return new Storage(key, stored, length, { start, length: viewLength });
}

function isNatural(value: PickleValue): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The model's tensors out of whatever the file holds. */
function stateOf(value: PickleValue, file: string): Map<string, TensorRecipe> {
  const tensorsIn = (container: PickleValue) =>
    new Map(
      [...(container instanceof Map ? container : [])].filter(
        (member): member is [string, TensorRecipe] =>
          typeof member[0] === 'string' && member[1] instanceof TensorRecipe,
      ),
    );
  const nested = stateKeys.map(key => (value instanceof Map ? tensorsIn(value.get(key)) : new Map()));
  const state = [...nested, tensorsIn(value)].find(tensors => tensors.size > 0);
  if (state !== undefined) return state;
  const keys = value instanceof Map ? [...value.keys()].slice(0, 20).map(key => JSON.stringify(plainText(key))) : [];
  const found = value instanceof Map ? `a dict with ${keys.join(', ') || 'nothing'}` : 'no dict';
  const places = stateKeys.map(key => `"${key}"`).join(', ');
  throw new FileError({ file }, `expected a dict of tensors, or one under ${places}; got ${found}`);
}

/** Checks a tensor against its storage and works out where its elements lie. */
function strideTensor(recipe: TensorRecipe, name: string, file: string): StridedTensor {
  const refuse = (message: string): never => {
    throw new FileError({ file, tensor: name }, message);
  };
  const { storage, offset, shape, stride } = recipe;
  if (!(storage instanceof Storage)) return refuse('expected a tensor over a storage');
  const type = storage.type ?? namedType(recipe.dtype) ?? refuse('has no dtype that can be read');
  if (!isNatural(offset) || !isNaturals(shape) || !isNaturals(stride) || shape.length !== stride.length) {
    return refuse('expected an offset, a shape and as many strides, all non-negative integers');
  }
  const count = elementCount(shape);
  const span = count === 0 ? 0 : 1 + shape.reduce((sum, size, axis) => sum + (size - 1) * stride[axis]!, 0);
  const available = storage.type === undefined ? Math.floor(storage.length / type.bytes) : storage.length;
  const what = `shape ${formatShape(shape)}, stride ${formatShape(stride)}, offset ${offset}`;
  if (!Number.isSafeInteger(count) || !Number.isSafeInteger(span)) return refuse(`${what} is too large`);
  if (offset + span > available && count > 0)
    return refuse(`${what} lies outside its storage of ${available} elements`);
  if (count > span) return refuse(`${what} repeats elements, which is not supported`);
  const begin = (storage.start + offset) * type.bytes;
  return { shape, dtype: type.name, type, storageKey: storage.key, begin, stride, span };
}

function isNaturals(value: PickleValue): value is number[] {
  return Array.isArray(value) && value.length <= maximumDimensions && value.every(isNatural);
}

function namedType(dtype: PickleValue): StoredDataType | undefined {
  return dtype instanceof PickleGlobal ? storedDataType(dtypes[dtype.name.replace(/^torch\./, '')] ?? '') : undefined;
}

function checkpointOf(
  source: ByteSource,
  value: PickleValue,
  openStorage: (key: string) => Promise<ByteSource>,
): Checkpoint {
  const tensors = new Map<string, StridedTensor>();
  for (const [name, recipe] of stateOf(value, source.name)) tensors.set(name, strideTensor(recipe, name, source.name));
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
  const pickle = await readAll(await archive.open(pickles[0]!), maximumPickleBytes);
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
  const storages = new Map<string, Storage>();
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
      const mayGoOn = error instanceof PickleTruncated && length < source.size && length < maximumPickleBytes;
      if (!mayGoOn) throw error;
    }
  }
}

/** After the pickles each storage follows: its element count in 8 bytes, then its elements. */
async function locateStorages(
  source: ByteSource,
  keys: readonly PickleValue[],
  storages: ReadonlyMap<string, Storage>,
  begin: number,
): Promise<Map<string, ByteSource>> {
  const places = new Map<string, ByteSource>();
  let position = begin;
  for (const key of keys) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined;
    const location = { file: source.name, byte: position };
    if (storage?.type === undefined)
      throw new FileError(location, `nothing refers to storage ${JSON.stringify(plainText(key))}`);
    const counter = await readRange(source, position, position + 8);
    const count = new DataView(counter.buffer).getBigInt64(0, true);
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
