// Safetensors files on disk, single and sharded (Node only; the format itself is safetensors.ts).
import { dirname, join } from 'node:path';
import { FileError } from '../engine/errors.ts';
import { readRange } from './bytes.ts';
import { openFile, writeAtomically } from './files.ts';
import { JsonReader } from './json-reader.ts';
import { layOutSafetensors, readSafetensors, type TensorToWrite } from './safetensors.ts';
import type { Checkpoint } from './source.ts';
import { bytesOf, tensorNamed } from './stored-tensor.ts';

/** An index of shards longer than this is refused before it is read. */
const MAXIMUM_INDEX_BYTES = 100_000_000;

/**
 * Opens a safetensors file, or a sharded checkpoint by its `….safetensors.index.json`. Only headers are read; tensors are
 * read from their place in the file when they are asked for. Files may be larger than memory.
 * @throws FileError naming file, tensor and byte when a file is missing or departs from the format
 */
export async function openSafetensors(path: string): Promise<Checkpoint> {
  if (path.endsWith('.index.json')) return openShards(path, openSafetensors);
  const source = await openFile(path);
  try {
    return await readSafetensors(source);
  } catch (error) {
    await source.close();
    throw error;
  }
}

/**
 * Opens every shard that an index file names, as one checkpoint.
 * @throws FileError when the index is not one, names a file outside its own folder, or disagrees with the shards
 */
export async function openShards(path: string, openShard: (path: string) => Promise<Checkpoint>): Promise<Checkpoint> {
  const shardOfTensor = await readShardIndex(path);
  const shards = new Map<string, Checkpoint>();
  const close = async () => {
    await Promise.all([...shards.values()].map(shard => shard.close()));
  };
  try {
    for (const shard of new Set(shardOfTensor.values())) shards.set(shard, await openShard(join(dirname(path), shard)));
    checkShards(path, shardOfTensor, shards);
  } catch (error) {
    await close();
    throw error;
  }
  const homeOf = new Map([...shardOfTensor].map(([name, shard]) => [name, shards.get(shard)!]));
  const named = (name: string) => tensorNamed(homeOf, name, path);
  return {
    name: path,
    tensors: new Map([...homeOf].map(([name, shard]) => [name, shard.tensors.get(name)!])),
    metadata: new Map([...shards.values()].flatMap(shard => [...shard.metadata])),
    read: async name => named(name).read(name),
    readNative: async name => named(name).readNative(name),
    close,
  };
}

/** The shard of each tensor, as an index file tells it. @throws FileError when the file is no index of shards beside it */
export async function readShardIndex(path: string): Promise<Map<string, string>> {
  const source = await openFile(path);
  let json: Uint8Array;
  try {
    if (source.size > MAXIMUM_INDEX_BYTES) {
      throw new FileError(
        { file: path },
        `an index of ${source.size} bytes is over the limit of ${MAXIMUM_INDEX_BYTES}`,
      );
    }
    json = await readRange(source, 0, source.size);
  } finally {
    await source.close();
  }
  const shardOfTensor = new Map<string, string>();
  let hasWeightMap = false;
  const reader = new JsonReader(json, (message, byte) => {
    throw new FileError({ file: path, byte }, message);
  });
  reader.object(key => {
    if (key !== 'weight_map') return reader.skip();
    hasWeightMap = true;
    reader.object(tensor => {
      const byte = reader.position;
      const shard = reader.string();
      if (!isPlainFileName(shard)) {
        const expected = 'expected the name of a shard in the same folder';
        throw new FileError({ file: path, tensor, byte }, `${expected}, got ${JSON.stringify(shard)}`);
      }
      shardOfTensor.set(tensor, shard);
    });
  });
  reader.end();
  if (!hasWeightMap) throw new FileError({ file: path }, 'has no "weight_map"');
  return shardOfTensor;
}

/** True for a name that cannot leave its folder on any system, nor be an index of further shards. */
function isPlainFileName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.\-+ ]{0,254}$/.test(name) && !name.endsWith('.index.json');
}

function checkShards(
  path: string,
  shardOfTensor: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, Checkpoint>,
): void {
  for (const [tensor, shard] of shardOfTensor) {
    if (!shards.get(shard)!.tensors.has(tensor)) {
      throw new FileError({ file: path, tensor }, `should be in ${shard}, but that file does not have it`);
    }
  }
  for (const [name, shard] of shards) {
    for (const tensor of shard.tensors.keys()) {
      const listed = shardOfTensor.get(tensor);
      if (listed !== name) {
        const where = listed === undefined ? 'the index does not list it' : `the index puts it in ${listed}`;
        throw new FileError({ file: path, tensor }, `is in ${name}, but ${where}`);
      }
    }
  }
}

/**
 * Writes a safetensors file, byte for byte as the reference implementation does. The file appears whole or not at all.
 * Tensors given as functions are read one at a time, so that a checkpoint can be rewritten in little memory.
 * @param metadata notes for `__metadata__`; HuggingFace's loaders expect `{ format: 'pt' }`
 * @throws FileError for a repeated name, an unknown dtype, data that does not fit its shape, or a failed write
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [name: string, tensor: TensorToWrite]>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const layout = layOutSafetensors(path, tensors, metadata);
  await writeAtomically(path, async append => {
    await append(layout.head);
    for (const { data } of layout.tensors) await append(bytesOf(typeof data === 'function' ? await data() : data));
  });
}
