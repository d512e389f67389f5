import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';

export const firstCommit = '1111111111111111111111111111111111111111';
export const secondCommit = '2222222222222222222222222222222222222222';

export interface Request {
  readonly host: 'hub' | 'storage';
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
}

/** Answers a request in place of the server's good manners; returns false to leave it to them. */
export type Misbehaviour = (
  request: Request,
  response: ServerResponse,
  content: Buffer | undefined,
) => boolean | undefined;

/**
 * Plays the hub on 127.0.0.1: small files are served by the hub itself with git's sha1 as etag, large ones ("….safetensors",
 * "….bin") by a second server that plays the storage, to which the hub redirects, with their sha256.
 */
export class FakeHub {
  /** Files by `commit/path`. */
  readonly files = new Map<string, Buffer>();
  readonly branches = new Map([['main', firstCommit]]);
  readonly requests: Request[] = [];
  /** Asked for every request, the latest first. */
  misbehave: Misbehaviour = () => false;
  repository = 'owner/model';
  readonly #hub: Server;
  readonly #storage: Server;

  readonly #scheme: string;

  private constructor(certificate: { key: string; cert: string } | undefined) {
    const serve = (answer: RequestListener) =>
      certificate === undefined ? createServer(answer) : createSecureServer(certificate, answer);
    this.#scheme = certificate === undefined ? 'http' : 'https';
    this.#hub = serve((request, response) => this.#answer('hub', request, response));
    this.#storage = serve((request, response) => this.#answer('storage', request, response));
  }

  static async start(certificate?: { key: string; cert: string }): Promise<FakeHub> {
    const hub = new FakeHub(certificate);
    for (const server of [hub.#hub, hub.#storage]) {
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
      server.unref();
    }
    return hub;
  }

  get endpoint(): string {
    return `${this.#scheme}://127.0.0.1:${(this.#hub.address() as AddressInfo).port}`;
  }

  get storageEndpoint(): string {
    return `${this.#scheme}://127.0.0.1:${(this.#storage.address() as AddressInfo).port}`;
  }

  /** Requests of that kind so far: `GET storage model.safetensors`. */
  count(method: string, host: string, ending: string): number {
    return this.requests.filter(r => r.method === method && r.host === host && r.path.endsWith(ending)).length;
  }

  forget(): void {
    this.requests.length = 0;
    this.misbehave = () => false;
  }

  async stop(): Promise<void> {
    for (const server of [this.#hub, this.#storage]) {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    }
  }

  #answer(host: 'hub' | 'storage', message: IncomingMessage, response: ServerResponse): void {
    const path = new URL(message.url!, 'http://x').pathname;
    const { authorization, range } = message.headers;
    const request = { host, method: message.method!, path, authorization, range };
    this.requests.push(request);
    const stored = { commit: '', file: path, content: this.files.get(path.slice(1)) };
    const found = host === 'hub' ? this.#find(path) : stored;
    const content = typeof found === 'string' ? undefined : found.content;
    if (this.misbehave(request, response, content)) return;
    if (host === 'storage') {
      sendContent(request, response, content);
    } else if (path.startsWith('/api/')) {
      const siblings = [...this.files.keys()].map(name => ({ rfilename: name.slice(41) }));
      response.end(JSON.stringify({ siblings }));
    } else if (typeof found === 'string') {
      refuse(response, found === 'RepoNotFound' ? 401 : 404, found);
    } else {
      response.setHeader('x-repo-commit', found.commit);
      if (found.content === undefined) refuse(response, 404, 'EntryNotFound');
      else this.#give(request, response, found.commit, found.file, found.content);
    }
  }

  #give(request: Request, response: ServerResponse, commit: string, file: string, content: Buffer): void {
    if (/\.(safetensors|bin)$/.test(file)) {
      response.writeHead(302, {
        location: `${this.storageEndpoint}/${commit}/${file}?signature=secret`,
        'x-linked-etag': `"${sha256(content)}"`,
        'x-linked-size': content.length,
      });
      response.end('Found. Redirecting');
      return;
    }
    response.setHeader('etag', `"${gitSha1(content)}"`);
    sendContent(request, response, content);
  }

  #find(path: string): FoundFile | 'RepoNotFound' | 'RevisionNotFound' {
    const match = /^\/(.+)\/resolve\/([^/]+)\/([^/]+)$/.exec(path);
    if (match === null || match[1] !== this.repository) return 'RepoNotFound';
    const revision = decodeURIComponent(match[2]!);
    const commit = this.branches.get(revision) ?? revision;
    if (![...this.files.keys()].some(name => name.startsWith(`${commit}/`))) return 'RevisionNotFound';
    const file = decodeURIComponent(match[3]!);
    return { commit, file, content: this.files.get(`${commit}/${file}`) };
  }
}

interface FoundFile {
  readonly commit: string;
  readonly file: string;
  /** Undefined where the commit has no such file. */
  readonly content: Buffer | undefined;
}

export const sha256 = (content: Uint8Array) => createHash('sha256').update(content).digest('hex');
export const gitSha1 = (content: Uint8Array) =>
  createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');

export function refuse(response: ServerResponse, status: number, code?: string): void {
  if (code !== undefined) response.setHeader('x-error-code', code);
  response.writeHead(status);
  response.end(`{"error":"${status}"}`);
}

/** The content, or the rest of it that a range asks for. */
export function sendContent(request: Request, response: ServerResponse, content: Buffer | undefined): void {
  const begin = Number(/^bytes=(\d+)-$/.exec(request.range ?? '')?.[1] ?? 0);
  if (content === undefined) refuse(response, 404);
  else if (begin > 0 && begin >= content.length) refuse(response, 416);
  else {
    announceContent(response, content, begin);
    response.end(request.method === 'HEAD' ? undefined : content.subarray(begin));
  }
}

/** The head of an answer that gives `content` from `begin` on. */
export function announceContent(response: ServerResponse, content: Buffer, begin: number): void {
  const range = { 'content-range': `bytes ${begin}-${content.length - 1}/${content.length}` };
  response.writeHead(begin > 0 ? 206 : 200, { 'content-length': content.length - begin, ...(begin > 0 ? range : {}) });
}
