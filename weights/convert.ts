// Rewriting a checkpoint as the hub would have it (Node only).
import { copyFile, mkdir, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { describe, listNames } from '../engine/describe.ts';
import { FileError, OptionError } from '../engine/errors.ts';
import { elementCount } from '../engine/host-tensor.ts';
import { checkOptionNames } from '../engine/options.ts';
import { openCheckpoint } from './checkpoint.ts';
import { storedDataType } from './data-types.ts';
import { checkIsFile, fileSystemError, makeFolder, temporaryBeside } from './files.ts';
import { renamedSource } from './match.ts';
import { hubNames } from './names.ts';
import type { TensorToWrite } from './safetensors.ts';
import { writeSafetensors } from './safetensors-file.ts';

/** What belongs to a model besides its weights. */
const companionFiles = ['config.json', 'preprocessor_config.json'];

export interface ConvertOptions {
  /** A config.json for weights that come without one (the original repositories' files). */
  readonly config?: string | undefined;
  /** Gives up before the next tensor, leaving nothing behind. */
  readonly signal?: AbortSignal | undefined;
}

export interface ConvertResult {
  /** The folder that was written. */
  readonly folder: string;
  readonly tensorCount: number;
  /** Bytes of all tensors. */
  readonly bytes: number;
  /** Stored names that were left out: batch counters, criteria, classifiers of backbones. */
  readonly dropped: readonly string[];
  /** Other files that came along; without config.json the model cannot be loaded by its folder alone. */
  readonly companions: readonly string[];
}

/**
 * Writes a checkpoint of any format and dialect as a folder with `model.safetensors` under hub names, types unchanged, and
 * the configuration files that lie beside it. Tensors pass through one at a time. The folder appears whole or not at all.
 * @param source anything `openCheckpoint` opens
 * @param destination a folder that does not exist yet, or is empty
 * @throws FileError when the source cannot be read, or the destination is taken or cannot be written
 * @throws OptionError for an unknown option or what is no path; the signal's reason when it aborts
 */
export async function convertCheckpoint(
  source: string,
  destination: string,
  options: ConvertOptions = {},
): Promise<ConvertResult> {
  checkOptionNames(options, ['config', 'signal'], 'convertCheckpoint');
  for (const [name, value] of Object.entries({ source, destination })) {
    if (typeof value === 'string') continue;
    throw new OptionError(`convertCheckpoint: expected ${name} to be a path, got ${describe(value)}`);
  }
  await checkDestination(destination);
  const checkpoint = await openCheckpoint(source);
  try {
    const names = hubNames(checkpoint.tensors.keys());
    if (names.size === 0) throw new FileError({ file: checkpoint.name }, 'has no tensors to convert');
    const renamed = renamedSource(checkpoint, names);
    const tensors = [...renamed.tensors].map(([name, { shape, dtype }]): readonly [string, TensorToWrite] => [
      name,
      {
        shape,
        dtype,
        data: async () => {
          options.signal?.throwIfAborted();
          return (await renamed.readNative(name)).data;
        },
      },
    ]);
    const used = new Set([...names.values()].map(({ name }) => name));
    const bytesOf = ({ shape, dtype }: TensorToWrite) => elementCount(shape) * storedDataType(dtype!)!.bytes;
    const companions = await writeFolder(destination, async folder => {
      await writeSafetensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' });
      return copyCompanions(source, folder, options.config);
    });
    return {
      folder: resolve(destination),
      tensorCount: tensors.length,
      bytes: tensors.reduce((sum, [, tensor]) => sum + bytesOf(tensor), 0),
      dropped: [...checkpoint.tensors.keys()].filter(name => !used.has(name)),
      companions,
    };
  } finally {
    await checkpoint.close();
  }
}

async function checkDestination(destination: string): Promise<void> {
  const existing = await readdir(destination).catch(error => {
    if (error.code === 'ENOENT') return [];
    throw fileSystemError(destination, error);
  });
  if (existing.length > 0) {
    throw new FileError({ file: destination }, `expected a new or empty folder, but it has ${listNames(existing, 5)}`);
  }
}

/** Fills a temporary folder beside the destination and moves it there. */
async function writeFolder<Result>(destination: string, fill: (folder: string) => Promise<Result>): Promise<Result> {
  const path = resolve(destination);
  const parent = dirname(path);
  let temporary: string | undefined;
  try {
    await makeFolder(parent);
    temporary = temporaryBeside(path);
    await mkdir(temporary);
    const result = await fill(temporary);
    await rmdir(path).catch(error => {
      if (error.code !== 'ENOENT') throw error;
    });
    await rename(temporary, path);
    return result;
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true });
    throw fileSystemError(destination, error);
  }
}

async function copyCompanions(source: string, folder: string, config: string | undefined): Promise<string[]> {
  const isFolder = (await stat(source)).isDirectory();
  const home = isFolder ? source : dirname(source);
  const copied: string[] = [];
  for (const name of companionFiles) {
    const origin = name === 'config.json' && config !== undefined ? config : join(home, name);
    try {
      checkIsFile(origin, await stat(origin));
      await copyFile(origin, join(folder, name));
      copied.push(name);
    } catch (error) {
      const isAbsent = (error as NodeJS.ErrnoException).code === 'ENOENT' && origin !== config;
      if (!isAbsent) throw fileSystemError(origin, error);
    }
  }
  return copied;
}
