// huggingface_hub's cache on disk, shared with Python:
//   models--OWNER--NAME/blobs/ETAG               the files' contents
//   models--OWNER--NAME/snapshots/COMMIT/FILE    links to them
//   models--OWNER--NAME/refs/REVISION            which commit a branch or tag stood for when it was last asked
//   models--OWNER--NAME/.no_exist/COMMIT/FILE    files known not to be there
import { randomBytes } from 'node:crypto';
import { copyFile, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { DownloadError, OptionError } from '../../engine/errors.ts';
import { fileSystemError, makeFolder, writeAtomically } from '../files.ts';

const commitPattern = /^[0-9a-f]{40}$/;

export function isCommit(revision: string): boolean {
  return commitPattern.test(revision);
}

/**
 * Whether a text has the form of a repository's name: `owner/name` or `name`.
 * Source: huggingface_hub/utils/_validators.py
 */
export function isRepositoryId(text: string): boolean {
  const name = '[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?';
  return new RegExp(`^(?:${name}/)?${name}$`).test(text) && !/--|\.\.|\.git$/.test(text);
}

/** One repository in the cache. Names that come from outside are checked before they become paths. */
export class CachedRepository {
  readonly id: string;
  readonly folder: string;
  readonly #lockFolder: string;

  /** @throws OptionError when `id` cannot be a repository's name */
  constructor(cacheDir: string, id: string) {
    if (!isRepositoryId(id)) {
      throw new OptionError(
        `model: expected a folder or a name such as "facebook/detr-resnet-50", got ${JSON.stringify(id)}`,
      );
    }
    const name = `models--${id.replace('/', '--')}`;
    this.id = id;
    this.folder = join(cacheDir, name);
    this.#lockFolder = join(cacheDir, '.locks', name);
  }

  /** The folder of a commit's files, in the form that loaders read. */
  snapshotFolder(commit: string): string {
    return join(this.folder, 'snapshots', this.#checkCommit(commit));
  }

  snapshotFile(commit: string, file: string): string {
    return join(this.snapshotFolder(commit), this.#checkName(file));
  }

  blobFile(etag: string): string {
    return join(this.folder, 'blobs', this.#checkName(etag));
  }

  /** Where a download grows until it is whole. */
  partialFile(etag: string): string {
    return `${this.blobFile(etag)}.detr-webgpu.incomplete`;
  }

  lockFile(etag: string): string {
    return join(this.#lockFolder, `${this.#checkName(etag)}.detr-webgpu.lock`);
  }

  async hasFile(commit: string, file: string): Promise<boolean> {
    return exists(this.snapshotFile(commit, file));
  }

  /** Whether a blob is there and has the size it should have (any, where that is not known). */
  async hasBlob(etag: string, size: number | undefined): Promise<boolean> {
    const found = await stat(this.blobFile(etag)).catch(() => undefined);
    return found?.isFile() === true && (size === undefined || found.size === size);
  }

  /** The commit that a branch or tag last stood for. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    const commit = await readFile(join(this.folder, 'refs', ...revision.split('/')), 'utf8').catch(() => '');
    return isCommit(commit.trim()) ? commit.trim() : undefined;
  }

  async rememberCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit || (await this.commitOf(revision)) === commit) return;
    const path = join(this.folder, 'refs', ...revision.split('/'));
    await makeFolder(dirname(path));
    await writeAtomically(path, append => append(new TextEncoder().encode(this.#checkCommit(commit))));
  }

  async isKnownAbsent(commit: string, file: string): Promise<boolean> {
    return exists(this.#absenceMark(commit, file));
  }

  async rememberAbsence(commit: string, file: string): Promise<void> {
    const path = this.#absenceMark(commit, file);
    await makeFolder(dirname(path));
    await writeFile(path, '').catch(error => {
      throw fileSystemError(path, error);
    });
  }

  #absenceMark(commit: string, file: string): string {
    return join(this.folder, '.no_exist', this.#checkCommit(commit), this.#checkName(file));
  }

  /** Names a commit's file: a relative link to its blob, or the content itself where links cannot be made. */
  async linkFile(commit: string, file: string, etag: string): Promise<void> {
    const path = this.snapshotFile(commit, file);
    const blob = this.blobFile(etag);
    const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
    await makeFolder(dirname(path));
    try {
      await symlink(relative(dirname(path), blob), temporary).catch(() => copyFile(blob, temporary));
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw fileSystemError(path, error);
    }
  }

  #checkCommit(commit: string): string {
    if (!isCommit(commit))
      throw new DownloadError(`${this.id}: the server names a commit that is none: ${quote(commit)}`);
    return commit;
  }

  /** File names and etags come from the server: they must not lead out of their folder. */
  #checkName(name: string): string {
    if (!/^[A-Za-z0-9_][A-Za-z0-9_.\-+ ]{0,200}$/.test(name)) {
      throw new DownloadError(`${this.id}: the server gives a name that is not used as a file name: ${quote(name)}`);
    }
    return name;
  }
}

/** The repositories of which something is in the cache. */
export async function cachedRepositories(cacheDir: string): Promise<string[]> {
  const names = await readdir(cacheDir).catch(() => []);
  return names
    .filter(name => name.startsWith('models--'))
    .map(name => name.slice('models--'.length).replace('--', '/'));
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

const quote = (text: string) => JSON.stringify(text.slice(0, 100));
