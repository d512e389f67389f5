// Opening a checkpoint whatever its format (Node only).
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { describe, listNames } from '../engine/describe.ts';
import { FileError, OptionError } from '../engine/errors.ts';
import { type ByteSource, readRange } from './bytes.ts';
import { fileSystemError, fileSystemReason, openFile } from './files.ts';
import { readSafetensors } from './safetensors.ts';
import { openShards } from './safetensors-file.ts';
import type { Checkpoint } from './source.ts';
import { didYouMean } from './suggest.ts';
import { looksLikeTorchFile, readTorchFile, TORCH_HEAD_BYTES } from './torch-file.ts';

/** What HuggingFace's loaders look for in a folder, the preferred one first. */
export const checkpointFileNames = [
  'model.safetensors',
  'model.safetensors.index.json',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
] as const;

/** Of the names of files that may hold weights. */
export const weightEnding = /\.(safetensors|bin|pth|pt|ckpt)$/;

/** Weights of other frameworks, recognised to say so. */
const foreignFiles: Readonly<Record<string, string>> = {
  'tf_model.h5': 'TensorFlow',
  'flax_model.msgpack': 'Flax',
  'model.onnx': 'ONNX',
  'model.ckpt.index': 'TensorFlow',
};

/**
 * Opens a checkpoint: a folder as HuggingFace lays it out, a safetensors or PyTorch file, or the index of a sharded one.
 * Formats are told by content. Of a folder the weights in safetensors are preferred to those in pickles. Tensors keep the
 * names they are stored under: see `matchCheckpoint`.
 * @throws FileError when there is nothing to open, saying what there is instead; when a file is damaged
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  if (typeof path !== 'string') throw new OptionError(`openCheckpoint: expected a path, got ${describe(path)}`);
  const isFolder = await stat(path).then(
    status => status.isDirectory(),
    async error => {
      throw await missingPath(path, error);
    },
  );
  return openCheckpointFile(isFolder ? await findCheckpointFile(path) : path);
}

async function openCheckpointFile(path: string): Promise<Checkpoint> {
  if (path.endsWith('.index.json')) return openShards(path, openCheckpointFile);
  const source = await openFile(path);
  try {
    return await readByContent(source);
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function readByContent(source: ByteSource): Promise<Checkpoint> {
  const head = await readRange(source, 0, Math.min(TORCH_HEAD_BYTES, source.size));
  const text = new TextDecoder('latin1').decode(head);
  if (text.startsWith('version https://git-lfs')) {
    throw new FileError(
      { file: source.name },
      'is a Git LFS pointer, not the weights; run "git lfs pull" in its folder',
    );
  }
  if (/^\s*<(!doctype|html)/i.test(text)) {
    throw new FileError(
      { file: source.name },
      'is a web page, not the weights; was it downloaded from the wrong address?',
    );
  }
  const picture = text.startsWith('PNG\r\n', 1) ? 'PNG' : text.startsWith('\xff\xd8\xff') ? 'JPEG' : undefined;
  if (picture !== undefined) throw new FileError({ file: source.name }, `is a ${picture} picture, not the weights`);
  const isTorchByName = /\.(bin|pth|pt)$/.test(source.name);
  return looksLikeTorchFile(head) || isTorchByName ? readTorchFile(source) : readSafetensors(source);
}

/**
 * The file that holds a folder's weights: one of the standard names, or the only one that looks like weights.
 * @throws FileError when there is none, or several that could be meant
 */
async function findCheckpointFile(folder: string): Promise<string> {
  const names = await readdir(folder).catch(error => {
    throw fileSystemError(folder, error);
  });
  const standard = checkpointFileNames.find(name => names.includes(name));
  if (standard !== undefined) return join(folder, standard);

  const candidates = names.filter(name => weightEnding.test(name)).sort();
  if (candidates.length === 1) return join(folder, candidates[0]!);
  if (candidates.length > 1) {
    throw new FileError({ file: folder }, `has several files that could be meant, name one: ${candidates.join(', ')}`);
  }
  const expected = `expected ${checkpointFileNames[0]} or ${checkpointFileNames[2]}`;
  const foreign = names.find(name => Object.hasOwn(foreignFiles, name));
  if (foreign !== undefined) {
    const advice = 'convert it with transformers in Python';
    throw new FileError(
      { file: folder },
      `${expected}, but it has only ${foreignFiles[foreign]} weights (${foreign}); ${advice}`,
    );
  }
  const got = names.length === 0 ? 'no files' : `only ${listNames(names.sort(), 10)}`;
  throw new FileError({ file: folder }, `${expected}, but it has ${got}`);
}

async function missingPath(path: string, error: unknown): Promise<unknown> {
  const reason = fileSystemReason(error);
  if (reason === undefined) return error;
  const siblings = await readdir(dirname(path)).catch(() => []);
  const hint = didYouMean(basename(path), siblings);
  return new FileError({ file: path }, reason + hint, { cause: error });
}
