// A checkpoint under the names that a model asks for.
import { FileError } from '../engine/errors.ts';
import { elementCount, formatShape, type HostTensor, type NumericArray, sameShape } from '../engine/host-tensor.ts';
import { anyHead, type HeadTying, maskHead, resolveNames, type StoredName } from './names.ts';
import type { Checkpoint, TensorEntry, WeightSource } from './source.ts';
import { tensorNamed } from './stored-tensor.ts';

/** Missing and unused tensors are named up to here, the rest is counted. */
const MAXIMUM_LISTED = 1000;

/**
 * The source under the names that `resolveNames` found. A wanted tensor that is part of a stored one (the rows of a joint
 * query, key and value projection) is cut out when it is read. Closing it closes the source.
 * @throws FileError when a stored tensor cannot be cut into equal parts
 */
export function renamedSource(source: Checkpoint, found: ReadonlyMap<string, StoredName>): Checkpoint;
export function renamedSource(source: WeightSource, found: ReadonlyMap<string, StoredName>): WeightSource;
export function renamedSource(source: WeightSource, found: ReadonlyMap<string, StoredName>): WeightSource {
  const tensors = new Map([...found].map(([name, stored]) => [name, entryOf(source, stored)]));
  const cut = <Data extends NumericArray>(name: string, whole: HostTensor<Data>): HostTensor<Data> => {
    const { part } = found.get(name)!;
    const { shape } = tensors.get(name)!;
    const length = elementCount(shape);
    if (part === undefined) return whole;
    return { shape, data: whole.data.slice(part.index * length, (part.index + 1) * length) as Data };
  };
  const storedNameOf = (name: string) => tensorNamed(found, name, source.name).name;
  const renamed: WeightSource = {
    name: source.name,
    tensors,
    read: async name => cut(name, await source.read(storedNameOf(name))),
    close: () => source.close(),
  };
  if (!isCheckpoint(source)) return renamed;
  const readNative = async (name: string) => cut(name, await source.readNative(storedNameOf(name)));
  return { ...renamed, metadata: source.metadata, readNative } as Checkpoint;
}

function isCheckpoint(source: WeightSource): source is Checkpoint {
  return 'readNative' in source;
}

function entryOf(source: WeightSource, { name, part }: StoredName): TensorEntry {
  const { shape, dtype } = tensorNamed(source.tensors, name, source.name);
  if (part === undefined) return { shape, dtype };
  const [rows, ...rest] = shape;
  if (rows === undefined || rows % part.of !== 0) {
    const got = `expected a first dimension that is a multiple of ${part.of}, got ${formatShape(shape)}`;
    throw new FileError({ file: source.name, tensor: name }, got);
  }
  return { shape: [rows / part.of, ...rest], dtype };
}

export interface MatchOptions extends HeadTying {
  /** Whether heads that nobody asked for may be stored, as for a model without its heads. Default false. */
  readonly mayHoldHeads?: boolean;
}

/** A network of timm goes without the stages behind the last map that is wanted of it; a whole one may be stored. */
const backboneStage = /\blayer[2-4]\./;

/**
 * Matches a checkpoint, in any dialect that `resolveNames` knows, with the tensors that a model needs, and returns it under
 * their names. A model that detects takes the checkpoint of one that segments, without the mask head.
 * @throws FileError naming every missing, misshapen and unused tensor at once, with the shapes expected and found; saying so
 *   when a model that segments gets a checkpoint without a mask head
 */
export function matchCheckpoint(
  source: WeightSource,
  wanted: Iterable<readonly [name: string, shape: readonly number[]]>,
  options: MatchOptions = {},
): WeightSource {
  const shapes = new Map(wanted);
  const { found, missing, unused } = resolveNames(shapes.keys(), source.tensors.keys(), options);
  const renamed = renamedSource(source, found);

  const misshapen: string[] = [];
  for (const [name, { shape, dtype }] of renamed.tensors) {
    const expected = shapes.get(name)!;
    if (sameShape(shape, expected)) continue;
    const { name: stored } = found.get(name)!;
    const storedAs = stored === name ? '' : ` (stored as "${stored}")`;
    misshapen.push(
      `tensor "${name}": expected ${formatShape(expected)}, got ${dtype} ${formatShape(shape)}${storedAs}`,
    );
  }
  if (missing.some(name => maskHead.test(name)) && ![...source.tensors.keys()].some(name => maskHead.test(name))) {
    throw new FileError(
      { file: source.name },
      'has no mask head: the weights are of a detector, which does not segment',
    );
  }
  const absent = missing.map(name => `tensor "${name}": expected ${formatShape(shapes.get(name)!)}, is missing`);
  // A segmentation model is a whole detector and a mask head, which is not in the way where nobody asks for it.
  const segments = [...shapes.keys()].some(name => maskHead.test(name));
  const mayBeUnused = options.mayHoldHeads ? anyHead : segments ? undefined : maskHead;
  const isBehind = (name: string) => {
    const stage = backboneStage.exec(name)?.[0];
    return stage !== undefined && ![...shapes.keys()].some(wanted => wanted.includes(stage));
  };
  const extra = unused.filter(name => !mayBeUnused?.test(name) && !isBehind(name));
  const surplus = extra.map(name => {
    const { shape, dtype } = source.tensors.get(name)!;
    return `tensor "${name}": ${dtype} ${formatShape(shape)} is not part of the model`;
  });

  const problems = [...misshapen, ...absent, ...surplus];
  if (problems.length === 1) throw new FileError({ file: source.name }, problems[0]!);
  if (problems.length > 1) {
    const counts = `${absent.length} missing, ${misshapen.length} misshapen and ${surplus.length} unused tensors`;
    const rest = problems.length > MAXIMUM_LISTED ? [`and ${problems.length - MAXIMUM_LISTED} more`] : [];
    const lines = [...problems.slice(0, MAXIMUM_LISTED), ...rest].map(line => `\n  ${line}`);
    throw new FileError({ file: source.name }, `does not fit the model: ${counts}${lines.join('')}`);
  }
  return renamed;
}
