// Models from the HuggingFace hub, or from a folder. Source of the protocol: huggingface_hub/file_download.py.
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { describe, listNames } from '../../engine/describe.ts';
import { DownloadError, FileError, OptionError } from '../../engine/errors.ts';
import { checkOptionNames } from '../../engine/options.ts';
import { collectBytes } from '../bytes.ts';
import { checkpointFileNames } from '../checkpoint.ts';
import { makeFolder } from '../files.ts';
import { readShardIndex } from '../safetensors-file.ts';
import { didYouMean } from '../suggest.ts';
import { CachedRepository, cachedRepositories, isCommit, isRepositoryId } from './cache.ts';
import { downloadFile } from './download.ts';
import { type HubResponse, PassingFailure, sendRequest, withRetries } from './http.ts';
import { withLock } from './lock.ts';
import { type HubOptions, type HubSettings, hubSettings } from './settings.ts';

/** Published checkpoints of the three models. */
export const knownRepositories = [
  'facebook/detr-resnet-50',
  'facebook/detr-resnet-50-dc5',
  'facebook/detr-resnet-101',
  'facebook/detr-resnet-101-dc5',
  'facebook/detr-resnet-50-panoptic',
  'facebook/detr-resnet-50-dc5-panoptic',
  'facebook/detr-resnet-101-panoptic',
  'microsoft/conditional-detr-resnet-50',
  'SenseTime/deformable-detr',
  'SenseTime/deformable-detr-single-scale',
  'SenseTime/deformable-detr-single-scale-dc5',
  'SenseTime/deformable-detr-with-box-refine',
  'SenseTime/deformable-detr-with-box-refine-two-stage',
] as const;

/** What of a model is needed: its configuration comes always. */
export interface ModelParts {
  /** preprocessor_config.json, where the repository has one. */
  readonly processor?: boolean;
  readonly weights?: boolean;
}

const everything: Required<ModelParts> = { processor: true, weights: true };

/**
 * The folder of a model: the given one, or that of a hub repository's snapshot in the cache, downloaded as far as needed.
 * @param idOrFolder a folder, or a repository's name such as `facebook/detr-resnet-50`
 * @throws FileError when a path is meant and there is no such folder, or the cache cannot be written
 * @throws OptionError for a name that can be none, and for options that are unknown or impossible
 * @throws DownloadError when the hub cannot give the model, or the cache lacks it while offline
 */
export async function resolveModel(
  idOrFolder: string,
  options: HubOptions = {},
  parts: ModelParts = everything,
): Promise<string> {
  checkArguments(idOrFolder, parts);
  const status = await stat(idOrFolder).catch(() => undefined);
  if (status?.isDirectory()) return resolve(idOrFolder);
  if (status !== undefined)
    throw new FileError({ file: idOrFolder }, 'expected a model folder or a name on the hub, got a file');
  if (!isRepositoryId(idOrFolder)) {
    const siblings = await readdir(dirname(idOrFolder)).catch(() => []);
    throw new FileError({ file: idOrFolder }, `no such folder${didYouMean(basename(idOrFolder), siblings)}`);
  }
  return downloadSnapshot(idOrFolder, options, parts);
}

/**
 * Brings a repository's model files into the cache and returns their folder. Files that are there are not asked for again;
 * without a connection what is in the cache is used.
 * @throws DownloadError saying what was tried, what came back and what to do
 * @throws FileError when the cache cannot be written; OptionError for impossible names and options
 * @throws the signal's reason when it aborts
 */
export async function downloadSnapshot(
  id: string,
  options: HubOptions = {},
  parts: ModelParts = everything,
): Promise<string> {
  checkArguments(id, parts);
  const settings = hubSettings(options);
  const snapshot = await Snapshot.find(new CachedRepository(settings.cacheDir, id), settings, parts);
  if (!(await snapshot.fetch('config.json'))) throw await snapshot.lacks('config.json');
  if (parts.processor) await snapshot.fetch('preprocessor_config.json');
  if (parts.weights) await fetchWeights(snapshot);
  await snapshot.remember();
  return snapshot.folder;
}

function checkArguments(name: unknown, parts: ModelParts): void {
  if (typeof name !== 'string') {
    throw new OptionError(`hub: expected a model folder or a name on the hub, got ${describe(name)}`);
  }
  checkOptionNames(parts, Object.keys(everything), 'hub: parts');
}

async function fetchWeights(snapshot: Snapshot): Promise<void> {
  for (const name of checkpointFileNames) {
    if (!(await snapshot.fetch(name))) continue;
    if (!name.endsWith('.index.json')) return;
    const shards = new Set((await readShardIndex(join(snapshot.folder, name))).values());
    for (const shard of shards) if (!(await snapshot.fetch(shard))) throw await snapshot.lacks(shard);
    return;
  }
  throw await snapshot.lacks('model.safetensors');
}

/** Whether nothing is left to download, as far as can be told without asking. */
async function isComplete(repository: CachedRepository, commit: string, parts: ModelParts): Promise<boolean> {
  if (!(await repository.hasFile(commit, 'config.json'))) return false;
  if (!parts.weights) return true;
  for (const name of checkpointFileNames) {
    if (!(await repository.hasFile(commit, name))) continue;
    if (!name.endsWith('.index.json')) return true;
    const shards = new Set((await readShardIndex(repository.snapshotFile(commit, name))).values());
    const present = await Promise.all([...shards].map(shard => repository.hasFile(commit, shard)));
    return present.every(isPresent => isPresent);
  }
  return false;
}

/** A repository at one commit: all files come from the same state of it. */
class Snapshot {
  readonly folder: string;
  readonly #repository: CachedRepository;
  readonly #settings: HubSettings;
  readonly #commit: string;
  /** The hub cannot or may not be asked: what the cache has is all there is. */
  readonly #isOffline: boolean;

  private constructor(repository: CachedRepository, settings: HubSettings, commit: string, isOffline: boolean) {
    this.folder = repository.snapshotFolder(commit);
    this.#repository = repository;
    this.#settings = settings;
    this.#commit = commit;
    this.#isOffline = isOffline;
  }

  /** Finds out which commit the revision stands for: from the hub, or from the cache if the hub cannot be asked. */
  static async find(repository: CachedRepository, settings: HubSettings, parts: ModelParts): Promise<Snapshot> {
    const { revision } = settings;
    const cached = await repository.commitOf(revision);
    const fromCache = (commit: string) => new Snapshot(repository, settings, commit, true);
    if (settings.isOffline) {
      if (cached !== undefined && (await repository.hasFile(cached, 'config.json'))) return fromCache(cached);
      throw new DownloadError(
        `${repository.id}: revision ${JSON.stringify(revision)} is not in the cache (${repository.folder}) and the hub may ` +
          `not be asked${await suggestion(repository.id, settings)}; download it once without localFilesOnly and HF_HUB_OFFLINE`,
      );
    }
    const complete = cached !== undefined && (await isComplete(repository, cached, parts)) ? cached : undefined;
    if (isCommit(revision) && complete !== undefined) return new Snapshot(repository, settings, revision, false);

    const ask = () => headOf(repository, settings, revision, 'config.json');
    let answer: HubResponse;
    try {
      const what = `${repository.id}: cannot ask ${settings.endpoint}`;
      answer = complete !== undefined ? await ask() : await withRetries(what, settings, ask);
    } catch (error) {
      if (complete !== undefined && error instanceof PassingFailure) return fromCache(complete);
      throw error;
    }
    const commit = answer.headers.get('x-repo-commit');
    if (commit !== null) return new Snapshot(repository, settings, commit, false);
    const isRevisionGone = answer.headers.get('x-error-code') === 'RevisionNotFound';
    if (complete !== undefined && !isRevisionGone) return fromCache(complete);
    throw await refusal(repository, settings, 'config.json', answer);
  }

  /** Notes what the revision stands for; last, so that the cache never prefers a commit that it lacks. */
  async remember(): Promise<void> {
    if (!this.#isOffline) await this.#repository.rememberCommit(this.#settings.revision, this.#commit);
  }

  /** Makes sure that a file is in the snapshot's folder; false when the repository has no such file. */
  async fetch(file: string): Promise<boolean> {
    const { id } = this.#repository;
    if (await this.#repository.hasFile(this.#commit, file)) return true;
    if (this.#isOffline || (await this.#repository.isKnownAbsent(this.#commit, file))) return false;

    const answer = await withRetries(
      `${id}: cannot ask for ${file} at ${this.#settings.endpoint}`,
      this.#settings,
      () => headOf(this.#repository, this.#settings, this.#commit, file),
    );
    if (answer.status === 404 && answer.headers.get('x-error-code') === 'EntryNotFound') {
      await this.#repository.rememberAbsence(this.#commit, file);
      return false;
    }
    if (answer.status === 404 && answer.headers.get('x-repo-commit') !== null) return false;
    if (answer.status >= 400) throw await refusal(this.#repository, this.#settings, file, answer);
    await this.#fetchContent(file, answer);
    return true;
  }

  async #fetchContent(file: string, answer: HubResponse): Promise<void> {
    const repository = this.#repository;
    const label = `${repository.id}/${file}`;
    const etag = (answer.headers.get('x-linked-etag') ?? answer.headers.get('etag'))
      ?.replace(/^W\//, '')
      .replaceAll('"', '');
    if (!etag) throw new DownloadError(`${label}: the server names no etag; is ${this.#settings.endpoint} a hub?`);
    const length = answer.headers.get('x-linked-size') ?? answer.headers.get('content-length');
    const size = length !== null && /^\d{1,15}$/.test(length) ? Number(length) : undefined;

    const blob = repository.blobFile(etag);
    await makeFolder(dirname(blob));
    await withLock(repository.lockFile(etag), this.#settings.signal, async () => {
      if (!(await repository.hasBlob(etag, size))) {
        // Asked for at the hub each time: the storage's address that it gives is good for minutes only.
        const url = resolveUrl(repository, this.#settings, this.#commit, file);
        const remote = { label, file, url, etag, size };
        await downloadFile(remote, repository.partialFile(etag), blob, this.#settings).catch(async error => {
          // Whoever took our lock for an abandoned one may have been faster.
          if (!(await repository.hasBlob(etag, size))) throw error;
        });
      }
      await repository.linkFile(this.#commit, file, etag);
    });
  }

  /** The error for a file that the repository should have. */
  async lacks(file: string): Promise<DownloadError> {
    const { id, folder } = this.#repository;
    if (this.#isOffline) {
      const present = await readdir(this.folder).catch(() => []);
      return new DownloadError(
        `${id}: ${file} is not in the cache (${folder} has only ${present.join(', ')}) and the hub cannot be asked; ` +
          'download the model once while online',
      );
    }
    const files = await this.#listFiles();
    const instead = files.length === 0 ? '' : `; this repository has only ${listNames(files, 12)}`;
    return new DownloadError(`${id}: the repository has no ${file}${instead}`);
  }

  /** The repository's files as the hub lists them; none when it does not answer, as this only completes a message. */
  async #listFiles(): Promise<string[]> {
    const url = `${this.#settings.endpoint}/api/models/${this.#repository.id}/revision/${this.#commit}`;
    try {
      const answer = await sendRequest('GET', url, { 'accept-encoding': 'identity' }, this.#settings);
      const bytes = await collectBytes(answer.content, MAXIMUM_LIST_BYTES);
      if (bytes === undefined) return [];
      const { siblings } = JSON.parse(new TextDecoder().decode(bytes)) as { siblings: { rfilename: string }[] };
      return siblings.map(({ rfilename }) => String(rfilename).slice(0, 200)).filter(name => name !== '.gitattributes');
    } catch {
      return [];
    }
  }
}

const MAXIMUM_LIST_BYTES = 1 << 22;

/** Asks for a file's commit, digest and size. */
async function headOf(
  repository: CachedRepository,
  settings: HubSettings,
  revision: string,
  file: string,
): Promise<HubResponse> {
  const url = resolveUrl(repository, settings, revision, file);
  return sendRequest('HEAD', url, { 'accept-encoding': 'identity' }, settings);
}

/** The hub's address of a file. */
function resolveUrl({ id }: CachedRepository, { endpoint }: HubSettings, revision: string, file: string): string {
  return `${endpoint}/${id}/resolve/${encodeURIComponent(revision)}/${encodeURIComponent(file)}`;
}

/** The error for an answer that gives no file. */
async function refusal(
  repository: CachedRepository,
  settings: HubSettings,
  file: string,
  { status, headers }: HubResponse,
): Promise<DownloadError> {
  const { id } = repository;
  const { endpoint, revision, token } = settings;
  const code = headers.get('x-error-code');
  const address = `${endpoint}/${id}`;
  const hint = await suggestion(id, settings);
  const credentials = token === undefined ? 'pass a token (or set HF_TOKEN)' : 'check that the token may read it';
  if (code === 'RevisionNotFound') {
    return new DownloadError(`${id}: has no revision ${JSON.stringify(revision)}; see ${address}/refs`);
  }
  if (code === 'GatedRepo' || status === 403) {
    return new DownloadError(`${id}: access is restricted (${status}); ask for it at ${address}, then ${credentials}`);
  }
  if (status === 401 || code === 'RepoNotFound') {
    return new DownloadError(
      `${id}: no such folder, and no such model at ${endpoint}, or it is private (${status})${hint}; if it is, ${credentials}`,
    );
  }
  if (status === 404) return new DownloadError(`${id}: no such folder, and no such model at ${endpoint} (404)${hint}`);
  if (status >= 400)
    return new DownloadError(`${id}: cannot ask for ${file} at ${endpoint}: the server answered ${status}`);
  return new DownloadError(
    `${id}: ${endpoint} does not answer like a hub (${status} without X-Repo-Commit); check the endpoint, proxy and firewall`,
  );
}

async function suggestion(id: string, settings: HubSettings): Promise<string> {
  const known = [...knownRepositories, ...(await cachedRepositories(settings.cacheDir))];
  return known.includes(id) ? '' : didYouMean(id, known);
}
