// What the pickles of PyTorch's checkpoints say: which classes and functions they may name, and the storages and tensors that
// these stand for. Source: torch/serialization.py, torch/_utils.py.
import { FileError } from '../engine/errors.ts';
import { elementCount, formatShape } from '../engine/host-tensor.ts';
import { type StoredDataType, storedDataType } from './data-types.ts';
import { PickleGlobal, type PickleGlobals, PickleObject, type PickleValue, plainText } from './pickle.ts';
import type { TensorEntry } from './source.ts';

const MAXIMUM_DIMENSIONS = 64;
/** Under these keys a training checkpoint keeps the model's tensors. */
const stateKeys = ['model', 'state_dict', 'model_state_dict', 'module'];

/** Memory that tensors share, by the key under which the file keeps it; or a stretch of it. */
export class TorchStorage {
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

/** A tensor that may have gaps between its elements, or another order than row-major. */
export interface StridedTensor extends TensorEntry {
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
export function torchGlobals(budget: number): PickleGlobals {
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
  const rebuild = (storage: PickleValue, offset: PickleValue, shape: PickleValue, stride: PickleValue) =>
    new TensorRecipe(storage, offset, shape, stride);
  const globals = new Map<string, (...values: PickleValue[]) => PickleValue>([
    ['collections OrderedDict', dictOf],
    ['collections Counter', dictOf],
    ['collections defaultdict', (_, values) => dictOf(values)],
    ['argparse Namespace', () => new PickleObject()],
    ['_codecs encode', firstOf],
    ['torch Size', value => listOf(value)],
    ['torch device', (...values) => values.map(plainText).join(':')],
    ['torch._utils _rebuild_tensor', rebuild],
    ['torch._utils _rebuild_tensor_v2', rebuild],
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

/**
 * torch's persistent id: ('storage', type, key, device, element count[, (view key, start, length)]).
 * @throws FileError for anything else
 */
export function storageOf(id: PickleValue, file: string): TorchStorage {
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
  if (view === undefined || view === null) return new TorchStorage(key, stored, length);
  const [, start, viewLength] = Array.isArray(view) ? view : [];
  if (!isNatural(start) || !isNatural(viewLength) || start + viewLength > length) return refuse();
  return new TorchStorage(key, stored, length, { start, length: viewLength });
}

/**
 * The model's tensors out of whatever a checkpoint's pickle holds, by name.
 * @throws FileError when it holds none, or one that lies outside its storage
 */
export function stridedTensors(value: PickleValue, file: string): Map<string, StridedTensor> {
  const recipes = stateOf(value, file);
  return new Map([...recipes].map(([name, recipe]) => [name, strideTensor(recipe, name, file)]));
}

/** The dict that holds the model's tensors. */
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
  if (!(storage instanceof TorchStorage)) return refuse('expected a tensor over a storage');
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
  const begin = count === 0 ? 0 : (storage.start + offset) * type.bytes;
  return { shape, dtype: type.name, type, storageKey: storage.key, begin, stride, span };
}

function isNaturals(value: PickleValue): value is number[] {
  return Array.isArray(value) && value.length <= MAXIMUM_DIMENSIONS && value.every(isNatural);
}

function namedType(dtype: PickleValue): StoredDataType | undefined {
  return dtype instanceof PickleGlobal ? storedDataType(dtypes[dtype.name.replace(/^torch\./, '')] ?? '') : undefined;
}

function isNatural(value: PickleValue): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
