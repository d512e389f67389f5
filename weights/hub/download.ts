// Fetching one file: resumed where an earlier attempt stopped, verified, and moved into place when it is whole.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { DownloadError } from '../../engine/errors.ts';
import { fileSystemError, writeAll } from '../files.ts';
import { PassingFailure, sendRequest, withRetries } from './http.ts';
import type { HubSettings } from './settings.ts';

/** Of a file whose length nobody announces no more than this is accepted. */
const MAXIMUM_UNANNOUNCED_BYTES = 2 ** 30;
const PROGRESS_MILLISECONDS = 100;
/** After this much that no earlier attempt had received, failures are counted anew. */
const SUBSTANTIAL_BYTES = 1 << 20;

export interface RemoteFile {
  /** For messages and progress: `facebook/detr-resnet-50/config.json`. */
  readonly label: string;
  readonly file: string;
  readonly url: string;
  /** The content's sha256 (large files), git's sha1 of it (small ones), or something opaque. */
  readonly etag: string;
  readonly size: number | undefined;
}

/**
 * Downloads a file to `destination` by way of `partial`, where an earlier, interrupted download may lie.
 * @throws DownloadError when the server fails for good, or what it sends is not what it announced
 * @throws the signal's reason when it aborts; `partial` is kept then
 */
export async function downloadFile(
  remote: RemoteFile,
  partial: string,
  destination: string,
  settings: HubSettings,
): Promise<void> {
  const what = `cannot download ${remote.label} from ${remote.url}`;
  let mismatch: string | undefined;
  let furthest = 0;
  for (let tries = 0; tries < 2; tries++) {
    await withRetries(what, settings, report =>
      continueDownload(remote, partial, settings, position => {
        if (position < furthest + SUBSTANTIAL_BYTES) return;
        furthest = position;
        report.progress();
      }),
    );
    mismatch = await contentMismatch(partial, remote.etag);
    if (mismatch === undefined) {
      await rename(partial, destination).catch(error => {
        throw fileSystemError(destination, error);
      });
      return;
    }
    // Perhaps what lay there before was damaged: once more from the beginning.
    await rm(partial, { force: true });
  }
  throw new DownloadError(`${what}: the content is not what the server announced: ${mismatch}`);
}

async function continueDownload(
  remote: RemoteFile,
  partial: string,
  settings: HubSettings,
  onPosition: (position: number) => void,
): Promise<void> {
  const existing = await stat(partial).then(
    ({ size }) => size,
    () => undefined,
  );
  if (existing !== undefined && existing === remote.size) return;
  const isUsable = existing !== undefined && existing <= (remote.size ?? MAXIMUM_UNANNOUNCED_BYTES);
  const resumeAt = isUsable ? existing : 0;
  const range: Record<string, string> = resumeAt > 0 ? { range: `bytes=${resumeAt}-` } : {};
  const response = await sendRequest('GET', remote.url, { 'accept-encoding': 'identity', ...range }, settings);
  const refuse = (reason: string): never => {
    response.discard();
    throw new DownloadError(`cannot download ${remote.label} from ${remote.url}: ${reason}`);
  };
  if (response.status === 416) {
    response.discard();
    await rm(partial, { force: true });
    throw new PassingFailure('the server cannot resume the download');
  }
  if (response.status !== 200 && response.status !== 206) refuse(`the server answered ${response.status}`);
  const encoding = response.headers.get('content-encoding') ?? 'identity';
  if (encoding !== 'identity') refuse(`the server sends it encoded as ${JSON.stringify(encoding)}`);

  const isResumed = response.status === 206;
  const begin = isResumed ? rangeBegin(response.headers.get('content-range')) : 0;
  if (begin !== (isResumed ? resumeAt : 0)) {
    response.discard();
    await rm(partial, { force: true });
    throw new PassingFailure('the server resumed the download at the wrong place');
  }
  const expected = remote.size ?? announcedSize(response.headers, begin);
  if (!isResumed) await rm(partial, { force: true });

  const handle = await open(partial, isResumed ? 'r+' : 'w').catch(error => {
    response.discard();
    throw fileSystemError(partial, error);
  });
  try {
    await receive(handle, begin, expected, remote, response.content, settings, onPosition);
    await handle.sync();
  } catch (error) {
    throw fileSystemError(partial, error);
  } finally {
    await handle.close();
  }
}

async function receive(
  handle: FileHandle,
  begin: number,
  expected: number | undefined,
  remote: RemoteFile,
  content: AsyncIterable<Uint8Array>,
  settings: HubSettings,
  onPosition: (position: number) => void,
): Promise<void> {
  const limit = expected ?? MAXIMUM_UNANNOUNCED_BYTES;
  let position = begin;
  let reportedAt = 0;
  const tell = () => {
    reportedAt = performance.now();
    settings.onProgress({ file: remote.file, loadedBytes: position, totalBytes: expected ?? position });
  };
  tell();
  for await (const chunk of content) {
    if (position + chunk.byteLength > limit) {
      throw new DownloadError(
        `cannot download ${remote.label}: the server sends more than the announced ${limit} bytes`,
      );
    }
    await writeAll(handle, chunk, position);
    position += chunk.byteLength;
    onPosition(position);
    if (performance.now() - reportedAt >= PROGRESS_MILLISECONDS) tell();
  }
  if (expected !== undefined && position < expected) {
    throw new PassingFailure(`the connection ended at byte ${position} of ${expected}`);
  }
  tell();
}

function rangeBegin(contentRange: string | null): number | undefined {
  const match = /^bytes (\d+)-/.exec(contentRange ?? '');
  return match === null ? undefined : Number(match[1]);
}

/** The whole file's length as a GET's answer tells it. */
function announcedSize(headers: Headers, begin: number): number | undefined {
  const whole = /^bytes \d+-\d+\/(\d+)$/.exec(headers.get('content-range') ?? '');
  if (whole !== null) return Number(whole[1]);
  const length = headers.get('content-length');
  return length === null || !/^\d+$/.test(length) ? undefined : begin + Number(length);
}

/** Compares a file with its etag where that is a digest; undefined when it fits. */
async function contentMismatch(path: string, etag: string): Promise<string | undefined> {
  const isSha256 = /^[0-9a-f]{64}$/.test(etag);
  const isGitSha1 = /^[0-9a-f]{40}$/.test(etag);
  if (!isSha256 && !isGitSha1) return undefined;
  const hash = createHash(isSha256 ? 'sha256' : 'sha1');
  try {
    if (isGitSha1) hash.update(`blob ${(await stat(path)).size}\0`);
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Uint8Array);
  } catch (error) {
    throw fileSystemError(path, error);
  }
  const digest = hash.digest('hex');
  return digest === etag ? undefined : `expected ${isSha256 ? 'sha256' : 'git sha1'} ${etag}, got ${digest}`;
}
