// Where models come from and where they are kept: options first, then huggingface_hub's environment variables.
import { setMaxListeners } from 'node:events';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe } from '../../engine/describe.ts';
import { OptionError } from '../../engine/errors.ts';
import { checkOptionNames } from '../../engine/options.ts';
import { LONGEST_TIMER } from './pause.ts';

/** How a model is fetched from the hub, and how it is cached. */
export interface HubOptions {
  /** Branch, tag or commit. Default `main`. */
  readonly revision?: string | undefined;
  /** Default `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `huggingface/hub` in `XDG_CACHE_HOME` or `~/.cache`. */
  readonly cacheDir?: string | undefined;
  /**
   * Access token for private models; `false` sends none. Default `HF_TOKEN`, else the file of `hf auth login`, which
   * `HF_TOKEN_PATH` may name.
   */
  readonly token?: string | false | undefined;
  /** Use what is in the cache and ask nobody. Default `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`. */
  readonly localFilesOnly?: boolean | undefined;
  /** Address of the hub. Default `HF_ENDPOINT`, else https://huggingface.co. */
  readonly endpoint?: string | undefined;
  /** Aborts the download; what was received is kept and the next call resumes there. */
  readonly signal?: AbortSignal | undefined;
  /** Told about each file that is being downloaded, a few times a second and at its end. */
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Longest silence of the server. Default 10 s, or `HF_HUB_DOWNLOAD_TIMEOUT` (in seconds). */
  readonly timeoutMilliseconds?: number | undefined;
  /** How often a request that fails in passing is tried. Default 5. */
  readonly attempts?: number | undefined;
  /** Pause after the first failure; it doubles each time. Default 500. */
  readonly retryDelayMilliseconds?: number | undefined;
}

export interface DownloadProgress {
  readonly file: string;
  /** Bytes of the file that are on disk, those of an earlier, interrupted download included. */
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

export interface HubSettings {
  readonly revision: string;
  readonly cacheDir: string;
  readonly token: string | undefined;
  readonly isOffline: boolean;
  /** Without a slash at the end. */
  readonly endpoint: string;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: (progress: DownloadProgress) => void;
  readonly timeoutMilliseconds: number;
  readonly attempts: number;
  readonly retryDelayMilliseconds: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Completes options from the environment, as huggingface_hub does.
 * @throws OptionError for an unknown option, one of another type, or a revision, endpoint or token that cannot be one
 */
export function hubSettings(options: HubOptions = {}, environment: Environment = process.env): HubSettings {
  checkTypes(options);
  // Each file that is being fetched listens; from eleven on Node.js would warn.
  if (options.signal !== undefined) setMaxListeners(0, options.signal);
  const home = environment.HF_HOME || join(environment.XDG_CACHE_HOME || join('~', '.cache'), 'huggingface');
  const cache = environment.HF_HUB_CACHE || environment.HUGGINGFACE_HUB_CACHE || join(home, 'hub');
  const seconds = Number(environment.HF_HUB_DOWNLOAD_TIMEOUT);
  return {
    revision: checkRevision(options.revision ?? 'main'),
    cacheDir: resolve(expandPath(options.cacheDir || cache, environment)),
    token: options.token === false ? undefined : checkToken(options.token ?? implicitToken(home, environment)),
    isOffline: options.localFilesOnly ?? isTrue(environment.HF_HUB_OFFLINE || environment.TRANSFORMERS_OFFLINE),
    endpoint: checkEndpoint(options.endpoint ?? (environment.HF_ENDPOINT || 'https://huggingface.co')),
    signal: options.signal,
    onProgress: options.onProgress ?? (() => {}),
    timeoutMilliseconds: Math.min(options.timeoutMilliseconds ?? 1000 * (seconds > 0 ? seconds : 10), LONGEST_TIMER),
    attempts: options.attempts ?? 5,
    retryDelayMilliseconds: options.retryDelayMilliseconds ?? 500,
  };
}

const isText = (value: unknown) => typeof value === 'string';
const isAtLeast = (minimum: number) => (value: unknown) => typeof value === 'number' && value >= minimum;

const optionTypes: Readonly<Record<keyof HubOptions, [expected: string, accepts: (value: unknown) => boolean]>> = {
  revision: ['text', isText],
  cacheDir: ['text', isText],
  token: ['text or false', value => value === false || isText(value)],
  localFilesOnly: ['true or false', value => typeof value === 'boolean'],
  endpoint: ['text', isText],
  signal: ['an AbortSignal', value => value instanceof AbortSignal],
  onProgress: ['a function', value => typeof value === 'function'],
  timeoutMilliseconds: ['a number from 1', isAtLeast(1)],
  attempts: ['a number from 1', isAtLeast(1)],
  retryDelayMilliseconds: ['a number from 0', isAtLeast(0)],
};

export const hubOptionNames: readonly string[] = Object.keys(optionTypes);

function checkTypes(options: HubOptions): void {
  checkOptionNames(options, hubOptionNames, 'hub');
  for (const [name, [expected, accepts]] of Object.entries(optionTypes)) {
    const value = options[name as keyof HubOptions];
    if (value === undefined || accepts(value)) continue;
    // A token goes into no message.
    const got = name === 'token' ? typeof value : describe(value);
    throw new OptionError(`hub: expected ${name} to be ${expected}, got ${got}`);
  }
}

function isTrue(value: string | undefined): boolean {
  return ['1', 'ON', 'YES', 'TRUE'].includes((value ?? '').toUpperCase());
}

/** `~`, `$NAME` and `${NAME}` as a shell would read them. */
function expandPath(path: string, environment: Environment): string {
  return path
    .replace(/^~(?=$|[/\\])/, () => environment.HOME ?? homeOfUser())
    .replace(/\$(?:(\w+)|\{(\w+)\})/g, (whole, plain, braced) => environment[plain ?? braced] ?? whole);
}

/** A user may have none, in a container say. */
function homeOfUser(): string {
  try {
    return homedir();
  } catch (cause) {
    const expected = 'expected a folder for models in cacheDir, HF_HOME or HOME';
    throw new OptionError(`hub: ${expected}, got none, and the user has no home folder`, { cause });
  }
}

function implicitToken(home: string, environment: Environment): string | undefined {
  if (isTrue(environment.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined;
  const fromEnvironment = environment.HF_TOKEN || environment.HUGGING_FACE_HUB_TOKEN;
  if (fromEnvironment) return fromEnvironment;
  try {
    return readFileSync(expandPath(environment.HF_TOKEN_PATH || join(home, 'token'), environment), 'utf8');
  } catch {
    return undefined;
  }
}

/** A token goes into a header, and never into a message. */
function checkToken(token: string | undefined): string | undefined {
  const trimmed = token?.trim();
  if (!trimmed) return undefined;
  if (!/^[\x21-\x7e]{1,4096}$/.test(trimmed)) throw new OptionError('token: expected printable ASCII without spaces');
  return trimmed;
}

function checkRevision(revision: string): string {
  const segments = revision.split('/');
  const isPlain = segments.every(segment => /^[\w.\-+@]{1,200}$/.test(segment) && !/^\.+$/.test(segment));
  if (!isPlain) {
    throw new OptionError(`revision: expected a branch, tag or commit, got ${JSON.stringify(revision.slice(0, 200))}`);
  }
  return revision;
}

function checkEndpoint(endpoint: string): string {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.search !== '') {
    const expected = 'expected an http or https address without user name and query';
    throw new OptionError(`endpoint: ${expected}, got ${JSON.stringify(endpoint.slice(0, 200))}`);
  }
  return url.href.replace(/\/+$/, '');
}
