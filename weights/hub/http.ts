// Requests to the hub: redirects that do not carry the token away, silence that ends, errors in words.
import { isNativeError } from 'node:util/types';
import { DownloadError } from '../../engine/errors.ts';
import { pause } from './pause.ts';
import type { HubSettings } from './settings.ts';

const MAXIMUM_REDIRECTS = 10;
/** A server that sends less than this within the time limit counts as silent. */
const AUDIBLE_BYTES = 1024;
/** Longest pause that a server may ask for before the request is tried again. */
const MAXIMUM_RETRY_AFTER_MILLISECONDS = 60_000;

/** A request failed in a way that may pass: try again. */
export class PassingFailure extends Error {
  /** How long the server asks to wait. */
  readonly retryAfterMilliseconds: number | undefined;

  constructor(message: string, retryAfterMilliseconds?: number, options?: ErrorOptions) {
    super(message, options);
    this.retryAfterMilliseconds = retryAfterMilliseconds;
  }
}

export interface HubResponse {
  readonly status: number;
  /** Headers of the answer; what only an earlier, redirecting answer said is kept. */
  readonly headers: Headers;
  /** The content, chunk by chunk. Ends the request when it is left early. */
  readonly content: AsyncIterable<Uint8Array>;
  /** Ends the request without reading its content. */
  readonly discard: () => void;
}

/**
 * Sends a request and follows redirects. The token goes to the hub's own origin only. A HEAD stops at the hub's last word:
 * it does not follow to storage on another host, whose answer would know nothing of commits.
 * @throws PassingFailure when there is no answer, or the server is overloaded or in trouble
 * @throws the signal's reason when it aborts
 */
export async function sendRequest(
  method: 'GET' | 'HEAD',
  address: string,
  headers: Readonly<Record<string, string>>,
  settings: HubSettings,
): Promise<HubResponse> {
  const hubOrigin = new URL(settings.endpoint).origin;
  const known = new Headers();
  let url = new URL(address);
  for (let redirects = 0; redirects <= MAXIMUM_REDIRECTS; redirects++) {
    const isHub = url.origin === hubOrigin;
    const authorization: Record<string, string> =
      isHub && settings.token !== undefined ? { authorization: `Bearer ${settings.token}` } : {};
    const response = await sendOnce(method, url, { ...headers, ...authorization }, settings);
    for (const [name, value] of response.headers) known.set(name, value);
    const location = response.headers.get('location');
    const isRedirect = [301, 302, 303, 307, 308].includes(response.status);
    if (!isRedirect || location === null) {
      failInPassing(response);
      return { ...response, headers: known };
    }
    response.discard();
    // Its length and encoding are those of the redirect's own text.
    for (const name of ['content-length', 'content-encoding']) known.delete(name);
    const next = URL.canParse(location, url) ? new URL(location, url) : undefined;
    if (next === undefined || !isAllowedRedirect(url, next)) {
      throw new DownloadError(
        `${url.href}: the server redirects to ${JSON.stringify(location.slice(0, 200))}, refused`,
      );
    }
    if (method === 'HEAD' && next.origin !== hubOrigin) return { ...response, headers: known };
    url = next;
  }
  throw new DownloadError(`${address}: more than ${MAXIMUM_REDIRECTS} redirects`);
}

/** Web addresses only, and none that gives up encryption. */
function isAllowedRedirect(from: URL, to: URL): boolean {
  return to.protocol === 'https:' || (to.protocol === 'http:' && from.protocol === 'http:');
}

async function sendOnce(
  method: string,
  url: URL,
  headers: Readonly<Record<string, string>>,
  settings: HubSettings,
): Promise<HubResponse> {
  settings.signal?.throwIfAborted();
  const request = new AbortController();
  const stop = () => request.abort();
  settings.signal?.addEventListener('abort', stop, { once: true });
  const silence = new PassingFailure(`the server was silent for ${settings.timeoutMilliseconds} ms`);
  let isSilent = false;
  const fallSilent = () => {
    isSilent = true;
    request.abort();
  };
  let timer = setTimeout(fallSilent, settings.timeoutMilliseconds);
  const finish = () => {
    clearTimeout(timer);
    settings.signal?.removeEventListener('abort', stop);
    request.abort();
  };
  const explain = (error: unknown): unknown => {
    if (settings.signal?.aborted) return settings.signal.reason;
    return isSilent ? silence : new PassingFailure(networkProblem(error) + proxyHint(), undefined, { cause: error });
  };

  try {
    const response = await fetch(url, { method, headers, redirect: 'manual', signal: request.signal });
    let deadline = performance.now() + settings.timeoutMilliseconds;
    const startTimer = () => {
      clearTimeout(timer);
      timer = setTimeout(fallSilent, Math.max(0, deadline - performance.now()));
    };
    startTimer();
    const content = async function* () {
      let received = 0;
      try {
        for await (const chunk of response.body ?? []) {
          clearTimeout(timer);
          received += (chunk as Uint8Array).byteLength;
          yield chunk as Uint8Array;
          if (received >= AUDIBLE_BYTES) {
            received = 0;
            deadline = performance.now() + settings.timeoutMilliseconds;
          }
          startTimer();
        }
      } catch (error) {
        throw explain(error);
      } finally {
        finish();
      }
    };
    if (method === 'HEAD') finish();
    return { status: response.status, headers: response.headers, content: content(), discard: finish };
  } catch (error) {
    finish();
    throw explain(error);
  }
}

function failInPassing(response: HubResponse): void {
  const { status, headers } = response;
  if (status !== 408 && status !== 429 && status < 500) return;
  response.discard();
  const asked = retryAfterMilliseconds(headers.get('retry-after'));
  const meaning = status === 429 ? 'too many requests' : status === 408 ? 'it waited too long' : 'it is in trouble';
  throw new PassingFailure(
    `the server answered ${status}: ${meaning}`,
    asked === undefined ? undefined : Math.min(asked, MAXIMUM_RETRY_AFTER_MILLISECONDS),
  );
}

/** The header holds seconds or a date (RFC 9110, 10.2.3). */
function retryAfterMilliseconds(header: string | null): number | undefined {
  if (header === null) return undefined;
  const milliseconds = /^\s*\d+(\.\d+)?\s*$/.test(header) ? 1000 * Number(header) : Date.parse(header) - Date.now();
  return milliseconds > 0 ? milliseconds : undefined;
}

const networkReasons: Readonly<Record<string, string>> = {
  ENOTFOUND: 'the host is unknown; is there a network connection?',
  EAI_AGAIN: 'the host cannot be looked up; is there a network connection?',
  ECONNREFUSED: 'the connection was refused',
  ECONNRESET: 'the connection was cut',
  EPIPE: 'the connection was cut',
  ETIMEDOUT: 'the connection timed out',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'there is no network',
  UND_ERR_SOCKET: 'the connection was cut',
  UND_ERR_CONNECT_TIMEOUT: 'the connection timed out',
  UND_ERR_HEADERS_TIMEOUT: 'the server did not answer',
  UND_ERR_BODY_TIMEOUT: 'the server fell silent',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the connection ended before the announced length',
};

/** Whether it is an error, of whatever realm; an AbortError, say, is a DOMException, which is no native one. */
const isError = (value: unknown): value is Error => isNativeError(value) || value instanceof Error;

/** What lies behind a bare "fetch failed". */
function networkProblem(error: unknown): string {
  let innermost: unknown = error;
  for (let depth = 0; depth < 8 && isError(innermost); depth++) {
    const { code } = innermost as NodeJS.ErrnoException;
    if (code !== undefined && networkReasons[code] !== undefined) return networkReasons[code];
    if (/CERT|LEAF_SIGNATURE|^ERR_TLS/.test(code ?? ''))
      return `the server's certificate is not trusted (${code}); if it is your proxy's or mirror's own, name its file in NODE_EXTRA_CA_CERTS`;
    const inner: unknown = (innermost as AggregateError).errors?.[0] ?? innermost.cause;
    if (inner === undefined) break;
    innermost = inner;
  }
  return isError(innermost) ? `the connection failed (${innermost.message})` : 'the connection failed';
}

/** Python's tools use a proxy as soon as it is named; Node.js wants to be told. */
function proxyHint(): string {
  const name = ['HTTPS_PROXY', 'https_proxy'].find(name => process.env[name]);
  if (name === undefined || process.env.NODE_USE_ENV_PROXY) return '';
  return ` (${name} is set: Node.js 24 and later use it with NODE_USE_ENV_PROXY=1)`;
}

/**
 * Tries `work` again when it fails in passing, with pauses that double, until the allowed number of failures in a row.
 * `work` may report that it got somewhere, which starts the count anew.
 * @throws DownloadError `what: reason (n attempts)` when it never succeeds
 */
export async function withRetries<Result>(
  what: string,
  settings: HubSettings,
  work: (report: { progress: () => void }) => Promise<Result>,
): Promise<Result> {
  let failures = 0;
  const progress = () => {
    failures = 0;
  };
  for (;;) {
    try {
      return await work({ progress });
    } catch (error) {
      if (!(error instanceof PassingFailure)) throw error;
      failures++;
      if (failures >= settings.attempts) {
        const attempts = failures === 1 ? '1 attempt' : `${failures} attempts`;
        throw new DownloadError(`${what}: ${error.message} (${attempts})`, { cause: error });
      }
      const delay = settings.retryDelayMilliseconds * 2 ** (failures - 1) * (0.75 + Math.random() / 2);
      await pause(error.retryAfterMilliseconds ?? delay, settings.signal);
    }
  }
}
