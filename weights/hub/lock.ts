// One download at a time for each file of the cache, across processes. A lock is a file that exists: its owner touches it
// while it works, so that one left behind by a dead process is seen to be dead. The lock only saves bandwidth: two holders
// would write the same bytes to the same places, and the slower one finds the file there.
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readFile, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { fileSystemError, makeFolder } from '../files.ts';
import { pause } from './pause.ts';

const POLL_MILLISECONDS = 100;
const TOUCH_MILLISECONDS = 5_000;
/** A lock that nobody touched for so long is abandoned, whatever machine its owner ran on. */
const ABANDONED_MILLISECONDS = 60_000;

/**
 * Runs `work` while holding the lock at `path`, waiting for another holder to finish first.
 * @throws whatever `work` throws; the signal's reason when it aborts the wait; FileError when the folder is not writable
 */
export async function withLock<Result>(
  path: string,
  signal: AbortSignal | undefined,
  work: () => Promise<Result>,
): Promise<Result> {
  const owner = JSON.stringify({ pid: process.pid, host: hostname(), id: randomBytes(8).toString('hex') });
  await makeFolder(dirname(path));
  while (!(await tryToCreate(path, owner))) {
    if (!(await removeAbandoned(path))) await pause(POLL_MILLISECONDS, signal);
  }
  const touch = setInterval(() => utimes(path, new Date(), new Date()).catch(() => {}), TOUCH_MILLISECONDS);
  touch.unref();
  try {
    return await work();
  } finally {
    clearInterval(touch);
    if ((await readFile(path, 'utf8').catch(() => '')) === owner) await rm(path, { force: true });
  }
}

async function tryToCreate(path: string, owner: string): Promise<boolean> {
  let file: FileHandle;
  try {
    file = await open(path, 'wx');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw fileSystemError(path, error);
  }
  try {
    await file.writeFile(owner);
    return true;
  } catch (error) {
    // A lock without its owner's name would hold others up until it counts as abandoned.
    await rm(path, { force: true }).catch(() => {});
    throw fileSystemError(path, error);
  } finally {
    await file.close();
  }
}

/** Says whether it has. One waiter at a time, for another one might remove what the first has made in its place. */
async function removeAbandoned(path: string): Promise<boolean> {
  if (!(await isAbandoned(path))) return false;
  const guard = `${path}.removal`;
  if (!(await tryToCreate(guard, ''))) {
    if (await isOld(guard)) await rm(guard, { force: true });
    return false;
  }
  try {
    if (!(await isAbandoned(path))) return false;
    await rm(path, { force: true });
    return true;
  } finally {
    await rm(guard, { force: true });
  }
}

async function isOld(path: string): Promise<boolean> {
  const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
  return Date.now() - mtimeMs > ABANDONED_MILLISECONDS;
}

async function isAbandoned(path: string): Promise<boolean> {
  try {
    if (await isOld(path)) return true;
    const { pid, host } = JSON.parse(await readFile(path, 'utf8')) as { pid: number; host: string };
    return host === hostname() && !isAlive(pid);
  } catch {
    // Released meanwhile, or its owner has not written its name yet.
    return false;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
