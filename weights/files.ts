// Files on disk (Node only): reading from any position, and writing so that no half-written file is ever seen.
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fsyncSync, openSync, renameSync, rmSync, type Stats, writeFileSync } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { isNativeError } from 'node:util/types';
import { FileError } from '../engine/errors.ts';
import { type ByteSource, checkRange } from './bytes.ts';

/** Longest single read or write; the operating system's own limit is 2 GiB. */
const SLICE_BYTES = 1 << 28;

/** How files are opened for reading: opening a pipe without this waits for a writer, and nothing ends the wait. */
export const readFlags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0); // Windows has no such flag

/** @throws FileError unless the status is that of a regular file: what is none may never begin, or have no end */
export function checkIsFile(file: string, status: Stats): void {
  if (status.isFile()) return;
  const kind = status.isDirectory() ? 'folder' : status.isFIFO() ? 'pipe' : status.isSocket() ? 'socket' : 'device';
  throw new FileError({ file }, `expected a file, got a ${kind}`);
}

/**
 * Opens a file for positioned reads.
 * @throws FileError saying why: there is no such file, it is a folder, permission is denied, …
 */
export async function openFile(path: string): Promise<ByteSource> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, readFlags);
    // Of the file that is open, whatever takes its name meanwhile.
    const status = await handle.stat();
    checkIsFile(path, status);
    return new OpenFile(path, status.size, handle);
  } catch (error) {
    await handle?.close();
    throw fileSystemError(path, error);
  }
}

class OpenFile implements ByteSource {
  readonly name: string;
  readonly size: number;
  #handle: FileHandle | undefined;

  constructor(name: string, size: number, handle: FileHandle) {
    this.name = name;
    this.size = size;
    this.#handle = handle;
  }

  async read(into: Uint8Array, position: number): Promise<void> {
    checkRange(this, position, into.byteLength);
    let done = 0;
    while (done < into.byteLength) {
      if (this.#handle === undefined) throw new FileError({ file: this.name }, 'was closed before it was read');
      const length = Math.min(SLICE_BYTES, into.byteLength - done);
      let bytesRead: number;
      try {
        ({ bytesRead } = await this.#handle.read(into, done, length, position + done));
      } catch (error) {
        throw fileSystemError(this.name, error, position + done);
      }
      if (bytesRead === 0) {
        throw new FileError({ file: this.name, byte: position + done }, 'the file became shorter while it was read');
      }
      done += bytesRead;
    }
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }
}

/**
 * Writes a file beside its destination and moves it there when it is whole and on disk, so that other processes, and a run
 * after a crash, see the old file or the new one and nothing between. On any failure the destination is left as it was.
 * @throws FileError when the file system refuses; whatever `write` throws
 */
export async function writeAtomically(
  path: string,
  write: (append: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  const temporary = temporaryBeside(path);
  let handle: FileHandle;
  try {
    handle = await open(temporary, 'wx');
  } catch (error) {
    throw fileSystemError(path, error);
  }
  try {
    await write(bytes => writeAll(handle, bytes));
    await handle.sync();
    await handle.close();
    await rename(temporary, path);
  } catch (error) {
    await handle.close().catch(() => {});
    await rm(temporary, { force: true });
    throw fileSystemError(path, error);
  }
}

/** `writeAtomically` of bytes that are all there, for callers that cannot wait. @throws FileError */
export function writeAtomicallySync(path: string, bytes: Uint8Array): void {
  const temporary = temporaryBeside(path);
  let descriptor: number;
  try {
    descriptor = openSync(temporary, 'wx');
  } catch (error) {
    throw fileSystemError(path, error);
  }
  try {
    try {
      writeFileSync(descriptor, bytes);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw fileSystemError(path, error);
  }
}

/** A name that nothing has, in the folder of `path` and so on its file system. */
export const temporaryBeside = (path: string) =>
  join(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`);

/**
 * Makes a folder and those it lies in, as far as they do not exist. (Node's own recursive `mkdir` takes a file for a folder,
 * blames a missing parent where the file system is read-only, and never returns in /proc.)
 * @throws FileError when a file is in the way or the file system refuses
 */
export async function makeFolder(path: string): Promise<void> {
  const folder = resolve(path);
  try {
    await mkdir(folder).catch(async error => {
      if (error.code !== 'ENOENT' || dirname(folder) === folder) throw error;
      await makeFolder(dirname(folder));
      await mkdir(folder);
    });
  } catch (error) {
    const isThere = await stat(folder).then(
      status => status.isDirectory(),
      () => undefined,
    );
    if (isThere === false) throw new FileError({ file: path }, 'expected a folder, got a file', { cause: error });
    if (!isThere) throw fileSystemError(path, error);
  }
}

/** Writes `bytes` from where the last write to the file ended, or from `position`. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const length = Math.min(SLICE_BYTES, bytes.byteLength - done);
    const { bytesWritten } = await handle.write(bytes, done, length, position === undefined ? null : position + done);
    done += bytesWritten;
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or folder',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EISDIR: 'expected a file, got a folder',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  ENOSPC: 'no space left on the disk',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  ELOOP: 'too many symbolic links, or a loop of them',
  EMFILE: 'too many open files in this process',
  ENAMETOOLONG: 'the name is too long',
  ERR_ACCESS_DENIED: "Node's permission model denies access",
};

/** Why Node's file system refused, in words; undefined for any other error. */
export function fileSystemReason(error: unknown): string | undefined {
  // Test runners give programs another Error than Node's own.
  if (!isNativeError(error)) return undefined;
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  if (code === undefined || (syscall === undefined && code !== 'ERR_ACCESS_DENIED')) return undefined;
  return reasons[code] ?? message;
}

/** An error of Node's file system as a FileError in words; any other error unchanged. */
export function fileSystemError(file: string, error: unknown, byte?: number): unknown {
  const reason = fileSystemReason(error);
  if (reason === undefined) return error;
  return new FileError({ file, ...(byte === undefined ? {} : { byte }) }, reason, { cause: error });
}
