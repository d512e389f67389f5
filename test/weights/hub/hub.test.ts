import { spawn } from 'node:child_process';
import { getEventListeners, once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import fsPromises from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import os, { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DownloadError, FileError, OptionError } from '../../../engine/errors.ts';
import { openCheckpoint } from '../../../weights/checkpoint.ts';
import { PassingFailure, sendRequest, withRetries } from '../../../weights/hub/http.ts';
import { downloadSnapshot, type ModelParts, resolveModel } from '../../../weights/hub/hub.ts';
import { type DownloadProgress, type HubOptions, hubSettings } from '../../../weights/hub/settings.ts';
import { encodeSafetensors } from '../../../weights/safetensors.ts';
import { detrWebgpu } from '../../cli/run-command.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { rejectsWith } from '../../support/throws.ts';
import { selfSigned } from '../support/certificate.ts';
import {
  announceContent,
  FakeHub,
  firstCommit,
  gitSha1,
  type Misbehaviour,
  type Request,
  refuse,
  secondCommit,
  sendContent,
  sha256,
} from '../support/fake-hub.ts';

const root = temporaryFolder('hub');
let folders = 0;
const newCache = () => join(root, `cache-${folders++}`);

// 3 MiB that do not repeat, so that a piece in the wrong place is noticed.
const values = Float32Array.from({ length: 786_432 }, (_, i) => Math.fround(Math.sin(i) * i));
const weights = Buffer.from(encodeSafetensors([['a', { shape: [values.length], data: values }]], { format: 'pt' }));
const config = Buffer.from('{"model_type":"detr"}');

const hub = await FakeHub.start();
const unused = createServer().listen(0, '127.0.0.1');
await once(unused, 'listening');
/** Nobody listens there. */
const deserted = `http://127.0.0.1:${(unused.address() as { port: number }).port}`;
unused.close();
hub.files.set(`${firstCommit}/config.json`, config);
hub.files.set(`${firstCommit}/preprocessor_config.json`, Buffer.from('{"size":800}'));
hub.files.set(`${firstCommit}/model.safetensors`, weights);

const options = (cacheDir: string, more: HubOptions = {}): HubOptions => ({
  cacheDir,
  endpoint: hub.endpoint,
  token: false,
  retryDelayMilliseconds: 1,
  timeoutMilliseconds: 300,
  ...more,
});
const fetchModel = (cacheDir: string, more: HubOptions = {}) => resolveModel('owner/model', options(cacheDir, more));

const assertWhole = (folder: string) => {
  assert.ok(readFileSync(join(folder, 'model.safetensors')).equals(weights));
  assert.ok(readFileSync(join(folder, 'config.json')).equals(config));
};
/** Nothing but whole, rightly named blobs: what any later run could take for one. */
const assertSoundCache = (cacheDir: string, known: Buffer[] = [...hub.files.values()]) => {
  const blobs = join(cacheDir, 'models--owner--model', 'blobs');
  for (const name of existsSync(blobs) ? readdirSync(blobs) : []) {
    if (name.endsWith('.incomplete')) continue;
    assert.ok(
      known.some(content => [sha256(content), gitSha1(content)].includes(name)),
      `unexpected blob ${name}`,
    );
    const content = readFileSync(join(blobs, name));
    assert.ok([sha256(content), gitSha1(content)].includes(name), `blob ${name} is not whole`);
  }
};

test.before.each(() => hub.forget());

test('pauses between attempts double, unless the server says how long they are to be', async () => {
  // The first test, as no other timers may run meanwhile.
  const { setTimeout } = globalThis;
  const pauses: number[] = [];
  globalThis.setTimeout = ((work: () => void, milliseconds: number) => {
    pauses.push(milliseconds);
    return setTimeout(work);
  }) as never;
  const failures = [
    new PassingFailure('a'),
    new PassingFailure('b'),
    new PassingFailure('c', 7),
    new PassingFailure('d'),
  ];
  const settings = hubSettings({ retryDelayMilliseconds: 1000, attempts: 4 });
  const work = async () => {
    throw failures.shift();
  };
  try {
    await rejectsWith(() => withRetries('what', settings, work), DownloadError, /^what: d \(4 attempts\)$/);
  } finally {
    globalThis.setTimeout = setTimeout;
  }
  assert.is(pauses.length, 3);
  // Each by up to a quarter longer or shorter, so that those who failed together do not come back together.
  for (const [index, expected] of [1000, 2000].entries()) {
    assert.ok(Math.abs(pauses[index]! - expected) <= expected / 4, String(pauses));
  }
  assert.is(pauses[2], 7);
});

test("downloads into huggingface_hub's layout, and asks once when everything is there", async () => {
  const cache = newCache();
  const progress: DownloadProgress[] = [];
  const folder = await fetchModel(cache, { onProgress: told => progress.push(told) });
  const repository = join(cache, 'models--owner--model');
  assert.is(folder, join(repository, 'snapshots', firstCommit));
  assertWhole(folder);
  assert.is(readFileSync(join(repository, 'refs', 'main'), 'utf8'), firstCommit);
  assert.equal(readdirSync(folder).sort(), ['config.json', 'model.safetensors', 'preprocessor_config.json']);
  assert.ok(lstatSync(join(folder, 'model.safetensors')).isSymbolicLink());
  assert.is(readlinkSync(join(folder, 'model.safetensors')), join('..', '..', 'blobs', sha256(weights)));
  assert.is(readlinkSync(join(folder, 'config.json')), join('..', '..', 'blobs', gitSha1(config)));
  assert.equal(readdirSync(join(repository, 'blobs')).length, 3);
  assert.equal(readdirSync(join(cache, '.locks', 'models--owner--model')), []);
  assertSoundCache(cache);
  const last = progress.at(-1)!;
  assert.equal(last, { file: 'model.safetensors', loadedBytes: weights.length, totalBytes: weights.length });
  assert.equal(progress.filter(({ file }) => file === 'config.json').at(-1)?.loadedBytes, config.length);

  hub.forget();
  assert.is(await fetchModel(cache), folder);
  assert.equal(
    hub.requests.map(({ method, path }) => `${method} ${path}`),
    ['HEAD /owner/model/resolve/main/config.json'],
  );
  hub.forget();
  assert.is(await fetchModel(cache, { revision: firstCommit }), folder);
  assert.equal(hub.requests, []);
  const source = await openCheckpoint(folder);
  assert.equal((await source.read('a')).data, values);
  await source.close();
});

test('a branch that moved is followed, what did not change is not fetched again', async () => {
  const cache = newCache();
  await fetchModel(cache);
  for (const file of ['config.json', 'model.safetensors']) {
    hub.files.set(`${secondCommit}/${file}`, hub.files.get(`${firstCommit}/${file}`)!);
  }
  const changed = Buffer.from('{"model_type":"detr","changed":true}');
  hub.files.set(`${secondCommit}/config.json`, changed);
  hub.branches.set('main', secondCommit);
  hub.forget();
  const folder = await fetchModel(cache);
  assert.match(folder, secondCommit);
  assert.ok(readFileSync(join(folder, 'config.json')).equals(changed));
  assert.ok(readFileSync(join(folder, 'model.safetensors')).equals(weights));
  assert.is(hub.count('GET', 'storage', 'model.safetensors'), 0);
  assert.is(readFileSync(join(cache, 'models--owner--model', 'refs', 'main'), 'utf8'), secondCommit);
  assert.not.ok(existsSync(join(folder, 'preprocessor_config.json')));
  assert.ok(existsSync(join(cache, 'models--owner--model', '.no_exist', secondCommit, 'preprocessor_config.json')));
  hub.branches.set('main', firstCommit);
});

test('parts: a processor does not fetch weights', async () => {
  const cache = newCache();
  await resolveModel('owner/model', options(cache), { processor: true });
  assert.is(hub.requests.filter(({ host }) => host === 'storage').length, 0);
  const folder = await fetchModel(cache);
  assertWhole(folder);
});

test('the token goes to the hub and nowhere else, and into no message', async () => {
  const token = 'hf_secret_of_the_test';
  await fetchModel(newCache(), { token });
  assert.ok(hub.requests.length > 3);
  for (const { host, authorization } of hub.requests) {
    assert.is(authorization, host === 'hub' ? `Bearer ${token}` : undefined);
  }
  hub.forget();
  // A redirect within the hub keeps it, one to elsewhere and back does not take it along outside.
  hub.misbehave = ({ host, path, method }, response) => {
    if (host === 'hub' && path.startsWith('/owner/model/') && method === 'GET') {
      response.writeHead(307, { location: `${hub.storageEndpoint}/away${path}` });
      response.end();
      return true;
    }
    if (host === 'storage' && path.startsWith('/away')) {
      response.writeHead(307, { location: `${hub.endpoint}${path.replace('/away/owner/model', '/owner//model')}` });
      response.end();
      return true;
    }
    return false;
  };
  await rejectsWith(() => fetchModel(newCache(), { token }), DownloadError, /^((?!secret_of).)*$/s);
  assert.ok(hub.requests.some(({ host }) => host === 'storage'));
  for (const { host, authorization } of hub.requests) if (host === 'storage') assert.is(authorization, undefined);
  await rejectsWith(
    () => fetchModel(newCache(), { token: 'two\nlines' }),
    OptionError,
    /^token: expected printable ASCII/,
  );
});

test('relative and renamed-repository redirects are followed', async () => {
  hub.misbehave = ({ host, path }, response) => {
    if (host !== 'hub' || !path.startsWith('/old/name/')) return false;
    response.writeHead(307, { location: path.replace('/old/name/', '/owner/model/') });
    response.end();
    return true;
  };
  assertWhole(await resolveModel('old/name', options(newCache())));
});

test('what a redirect says of its own text is not taken for what the file is', async () => {
  hub.misbehave = ({ host, path, method }, response, content) => {
    if (host !== 'hub') return false;
    if (path.startsWith('/old/name/')) {
      const moved = path.replace('/old/name/', '/owner/model/');
      response.writeHead(307, { location: moved, 'content-length': 5, 'content-encoding': 'gzip' });
      response.end(method === 'HEAD' ? undefined : 'Moved');
      return true;
    }
    if (content === undefined) return false;
    // The length of the file itself is not announced.
    response.writeHead(200, { 'x-repo-commit': firstCommit, etag: `"${gitSha1(content)}"` });
    response.end(method === 'HEAD' ? undefined : content);
    return true;
  };
  assertWhole(await resolveModel('old/name', options(newCache())));
});

const firstTime = (when: (method: string, path: string) => boolean, how: Misbehaviour): Misbehaviour => {
  let isDone = false;
  return (request, response, content) => {
    if (isDone || !when(request.method, request.path)) return false;
    isDone = true;
    return how(request, response, content) ?? true;
  };
};
const isWeightsGet = (method: string, path: string) =>
  method === 'GET' && path.endsWith('model.safetensors') && !path.startsWith('/owner');

const beginOf = (range: string | undefined) => Number(/\d+/.exec(range ?? '')?.[0] ?? 0);
/** Sends the first `length` bytes of what was asked for and cuts the connection. */
const dropAfter = (length: number, request: Request, response: ServerResponse, content: Buffer) => {
  const begin = beginOf(request.range);
  announceContent(response, content, begin);
  response.write(content.subarray(begin, begin + length), () => response.destroy());
  return true;
};

test("storage is asked by an address of the hub's latest making", async () => {
  let isCut = false;
  hub.misbehave = ({ host, method, path }, response, content) => {
    if (host !== 'storage' || method !== 'GET') return false;
    if (!isCut) {
      isCut = true;
      announceContent(response, content!, 0);
      response.write(content!.subarray(0, 2_000_000), () => response.destroy());
      return true;
    }
    // The first signature has expired.
    if (hub.count('GET', 'hub', path.slice(path.lastIndexOf('/'))) > 1) return false;
    refuse(response, 403);
    return true;
  };
  assertWhole(await fetchModel(newCache()));
  assert.ok(isCut);
});

test('a Retry-After that is a date is heeded', async () => {
  let asked = 0;
  hub.misbehave = (_, response) => {
    if (asked > 0) return false;
    asked = performance.now();
    response.setHeader('retry-after', new Date(Date.now() + 2000).toUTCString());
    refuse(response, 429);
    return true;
  };
  assertWhole(await fetchModel(newCache()));
  assert.ok(performance.now() - asked > 900, `after ${performance.now() - asked} ms`);
});

test('no server makes anybody wait for more than a minute', async () => {
  hub.misbehave = (_, response) => {
    response.setHeader('retry-after', '3600');
    refuse(response, 503);
    return true;
  };
  const failure = await sendRequest('GET', hub.endpoint, {}, hubSettings(options(newCache()))).catch(error => error);
  assert.instance(failure, PassingFailure);
  assert.is(failure.retryAfterMilliseconds, 60_000);
});

test('a slow server is not a silent one', async () => {
  const { now } = performance;
  let clock = performance.now();
  performance.now = () => clock;
  hub.misbehave = ({ method, path }, response, content) => {
    if (!isWeightsGet(method, path)) return false;
    announceContent(response, content!, 0);
    let rest = content!;
    // Two thirds of the time limit pass between any two pieces.
    const timer = setInterval(() => {
      const length = Math.max(2_000, rest.length - 10_000);
      clock += 40_000;
      response.write(rest.subarray(0, length));
      rest = rest.subarray(length);
      if (rest.length === 0) response.end();
    }, 50);
    response.on('close', () => clearInterval(timer));
    return true;
  };
  try {
    assertWhole(await fetchModel(newCache(), { timeoutMilliseconds: 60_000, attempts: 1 }));
  } finally {
    performance.now = now;
  }
});

test('what is downloaded leaves neither timers nor listeners behind', async () => {
  const { signal } = new AbortController();
  const timers = () => process.getActiveResourcesInfo().filter(kind => kind === 'Timeout').length;
  const before = timers();
  await fetchModel(newCache(), { signal, timeoutMilliseconds: 60_000 });
  assert.equal([timers(), getEventListeners(signal, 'abort')], [before, []]);
  const failing = { signal, timeoutMilliseconds: 60_000, endpoint: deserted, attempts: 2 };
  await rejectsWith(() => fetchModel(newCache(), failing), DownloadError, /the connection was refused/);
  assert.equal([timers(), getEventListeners(signal, 'abort')], [before, []]);
});

test('https: a certificate has to be trusted, and one that Node.js is told of is', async () => {
  const secure = await FakeHub.start(selfSigned);
  for (const [name, content] of hub.files) secure.files.set(name, content);
  await rejectsWith(
    () => fetchModel(newCache(), { endpoint: secure.endpoint, attempts: 1 }),
    DownloadError,
    /certificate is not trusted \(\w+\); if it is your proxy's or mirror's own, name its file in NODE_EXTRA_CA_CERTS/,
  );
  const certificate = join(root, 'certificate.pem');
  writeFileSync(certificate, selfSigned.cert);
  const cache = newCache();
  const { exitCode, stderr } = await detrWebgpu(['convert', 'owner/model', join(root, 'from-https')], {
    environment: {
      NODE_EXTRA_CA_CERTS: certificate,
      HF_ENDPOINT: secure.endpoint,
      HF_HUB_CACHE: cache,
      HF_TOKEN: 'hf_x',
    },
  });
  assert.is(exitCode, 0, stderr);
  assertSoundCache(cache);
  assertWhole(join(cache, 'models--owner--model', 'snapshots', firstCommit));
  for (const { host, authorization } of secure.requests) {
    assert.is(authorization, host === 'hub' ? 'Bearer hf_x' : undefined);
  }
  // Nothing that was asked for in secret goes on in the open.
  hub.forget();
  secure.misbehave = ({ path }, response) => {
    response.writeHead(307, { location: hub.endpoint + path }).end();
    return true;
  };
  const environment = { NODE_EXTRA_CA_CERTS: certificate, HF_ENDPOINT: secure.endpoint, HF_HUB_CACHE: newCache() };
  const opened = await detrWebgpu(['convert', 'owner/model', join(root, 'opened')], { environment });
  assert.match(opened.stderr, /the server redirects to "http:.*, refused/);
  assert.equal(hub.requests, []);
  await secure.stop();
});

test('Ctrl-C during a download ends it without a word of an error, and the next one resumes there', async () => {
  hub.misbehave = ({ host, method }, response, content) => {
    if (host !== 'storage' || method !== 'GET') return false;
    announceContent(response, content!, 0);
    response.write(content!.subarray(0, 2_000_000));
    return true;
  };
  const cache = newCache();
  const environment = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache };
  const args = ['convert', 'owner/model', join(root, 'interrupted')];
  const partial = join(cache, 'models--owner--model', 'blobs', `${sha256(weights)}.detr-webgpu.incomplete`);
  const stopped = await detrWebgpu(args, {
    environment,
    during: child => {
      const timer = setInterval(() => {
        if ((statSync(partial, { throwIfNoEntry: false })?.size ?? 0) === 0) return;
        clearInterval(timer);
        child.kill('SIGINT');
      }, 20);
      child.on('close', () => clearInterval(timer));
    },
  });
  assert.equal([stopped.exitCode, stopped.stderr], [130, '']);
  hub.forget();
  assert.is((await detrWebgpu(args, { environment })).exitCode, 0);
  assert.match(hub.requests.find(({ host }) => host === 'storage')!.range!, /^bytes=[1-9]\d*-$/);
});

test('a connection that drops in the middle is resumed where it stopped', async () => {
  let drops = 0;
  hub.misbehave = (request, response, content) =>
    isWeightsGet(request.method, request.path) && drops++ < 3 && dropAfter(500_000, request, response, content!);
  const cache = newCache();
  assertWhole(await fetchModel(cache));
  const begins = hub.requests.filter(({ host }) => host === 'storage').map(({ range }) => beginOf(range));
  assert.is(begins.length, 4);
  assert.is(begins[0], 0);
  for (let i = 1; i < 4; i++) assert.ok(begins[i]! > begins[i - 1]! && begins[i]! <= i * 500_000, String(begins));
  assertSoundCache(cache);
});

test('a file of unknown length and digest is whole when the storage has given all of it', async () => {
  const asked: (string | undefined)[] = [];
  hub.misbehave = ({ method, path, range }, response, content) => {
    if (!path.endsWith('model.safetensors')) return false;
    if (method === 'HEAD') {
      response.writeHead(200, { 'x-repo-commit': firstCommit, etag: '"opaque"' }).end();
      return true;
    }
    asked.push(range);
    const begin = beginOf(range);
    const end = Math.min(begin + 1_500_000, content!.length);
    const piece = content!.subarray(begin, end);
    if (begin === 0) {
      response.writeHead(200, { 'content-length': content!.length });
      response.write(piece, () => response.destroy());
    } else {
      response.writeHead(206, {
        'content-length': piece.length,
        'content-range': `bytes ${begin}-${end - 1}/${content!.length}`,
      });
      response.end(piece);
    }
    return true;
  };
  const progress: DownloadProgress[] = [];
  const onProgress = (told: DownloadProgress) => progress.push(told);
  const folder = await fetchModel(newCache(), { onProgress });
  assertWhole(folder);
  assert.ok(asked.length > 2, String(asked));
  const told = progress.filter(({ file }) => file === 'model.safetensors');
  assert.equal(new Set(told.map(({ totalBytes }) => totalBytes)), new Set([weights.length]));
  assert.is(told.at(-1)!.loadedBytes, weights.length);
});

test('attempts count failures without progress', async () => {
  hub.misbehave = ({ method, path, range }, response, content) => {
    if (!isWeightsGet(method, path)) return false;
    const piece = content!.subarray(beginOf(range), beginOf(range) + 1_100_000);
    const place = `bytes ${beginOf(range)}-${content!.length - 1}/${content!.length}`;
    response.writeHead(range === undefined ? 200 : 206, { 'content-length': piece.length, 'content-range': place });
    response.end(piece);
    return true;
  };
  assertWhole(await fetchModel(newCache(), { attempts: 2 }));
  assert.is(hub.count('GET', 'storage', 'model.safetensors'), 3);
});

test('an interrupted process resumes what an earlier one received', async () => {
  const cache = newCache();
  const controller = new AbortController();
  hub.misbehave = (request, response, content) => {
    if (!isWeightsGet(request.method, request.path)) return false;
    response.writeHead(200, { 'content-length': content!.length });
    response.write(content!.subarray(0, 1_000_000), () => setTimeout(() => controller.abort(new Error('stop it')), 50));
    return true;
  };
  let caught: unknown;
  await fetchModel(cache, { signal: controller.signal, timeoutMilliseconds: 5000 }).catch(error => {
    caught = error;
  });
  assert.is((caught as Error).message, 'stop it');
  assertSoundCache(cache);
  assert.not.ok(existsSync(join(cache, 'models--owner--model', 'refs', 'main')));
  hub.forget();
  assertWhole(await fetchModel(cache));
  const begins = hub.requests.filter(({ host }) => host === 'storage').map(({ range }) => beginOf(range));
  assert.ok(begins.length === 1 && begins[0]! > 0 && begins[0]! <= 1_000_000, String(begins));
});

test('what lay there and is wrong is thrown away', async () => {
  const cache = newCache();
  const blobs = join(cache, 'models--owner--model', 'blobs');
  mkdirSync(blobs, { recursive: true });
  const partial = join(blobs, `${sha256(weights)}.detr-webgpu.incomplete`);
  for (const length of [1000, weights.length, weights.length + 1]) {
    writeFileSync(partial, Buffer.alloc(length, 7));
    const folder = await fetchModel(cache);
    assertWhole(folder);
    truncateSync(join(blobs, sha256(weights)), 10);
    const again = newCache();
    assertWhole(await fetchModel(again));
    // A blob that lost its end is not taken for whole.
    rmSync(join(folder, 'model.safetensors'));
    assertWhole(await fetchModel(cache));
    rmSync(folder, { recursive: true });
    rmSync(join(blobs, sha256(weights)));
  }
});

const misbehaviours: [what: string, misbehave: () => Misbehaviour, result: RegExp | 'works'][] = [
  [
    '429 with Retry-After, then 503, then good',
    () => {
      let count = 0;
      return ({ method }, response) => {
        if (method !== 'HEAD' || count >= 2) return false;
        response.setHeader('retry-after', '0.05');
        refuse(response, count++ === 0 ? 429 : 503);
        return true;
      };
    },
    'works',
  ],
  [
    '500 without end',
    () => (_, response) => {
      refuse(response, 500);
      return true;
    },
    /owner\/model: cannot ask http:\/\/127.*: the server answered 500: it is in trouble \(5 attempts\)/,
  ],
  [
    '429 without end',
    () => (_, response) => {
      refuse(response, 429);
      return true;
    },
    /the server answered 429: too many requests \(5 attempts\)/,
  ],
  [
    'silence, once',
    () =>
      firstTime(
        method => method === 'HEAD',
        () => true,
      ),
    'works',
  ],
  [
    'silence in the middle of a file, once',
    () =>
      firstTime(isWeightsGet, (_, response, content) => {
        response.writeHead(200, { 'content-length': content!.length });
        response.write(content!.subarray(0, 100_000));
        return true;
      }),
    'works',
  ],
  ['silence without end', () => () => true, /the server was silent for 300 ms \(5 attempts\)/],
  [
    'a trickle',
    () =>
      ({ method, path }, response, content) => {
        if (!isWeightsGet(method, path)) return false;
        response.writeHead(200, { 'content-length': content!.length });
        response.write(content!.subarray(0, 10_000));
        const timer = setInterval(() => response.write('x'), 20);
        response.on('close', () => clearInterval(timer));
        return true;
      },
    /model.safetensors from http.*the server was silent for 300 ms/,
  ],
  [
    'connections cut at once',
    () => (_, response) => {
      response.destroy();
      return true;
    },
    /the connection was cut \(5 attempts\)/,
  ],
  [
    'garbage instead of HTTP',
    () => (_, response) => {
      response.socket!.end('this is no HTTP\r\n\r\n');
      return true;
    },
    /the connection failed \(.*\(5 attempts\)/,
  ],
  [
    'a body shorter than announced',
    () =>
      ({ method, path }, response, content) => {
        if (!isWeightsGet(method, path)) return false;
        response.writeHead(200, { 'content-length': 1000 });
        response.end(content!.subarray(0, 1000));
        return true;
      },
    /the connection ended at byte 1000 of 3145\d+ \(5 attempts\)/,
  ],
  [
    'a first megabyte again and again',
    () =>
      ({ method, path }, response, content) => {
        if (!isWeightsGet(method, path)) return false;
        response.writeHead(200, { 'content-length': 2_000_000 });
        response.end(content!.subarray(0, 2_000_000));
        return true;
      },
    /the connection ended at byte 2000000 of 3145\d+ \(5 attempts\)/,
  ],
  [
    'a body longer than announced',
    () =>
      ({ method, path }, response, content) => {
        if (!isWeightsGet(method, path)) return false;
        response.writeHead(200);
        response.end(Buffer.concat([content!, content!]));
        return true;
      },
    /the server sends more than the announced 3145\d+ bytes/,
  ],
  [
    'wrong bytes, once',
    () =>
      firstTime(isWeightsGet, (request, response, content) => {
        sendContent(request, response, Buffer.alloc(content!.length, 1));
        return true;
      }),
    'works',
  ],
  [
    'wrong bytes always',
    () => (request, response, content) => {
      if (!isWeightsGet(request.method, request.path)) return false;
      sendContent(request, response, Buffer.alloc(content!.length, 1));
      return true;
    },
    /the content is not what the server announced: expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}/,
  ],
  [
    'a wrong small file',
    () => (request, response, content) => {
      if (request.method !== 'GET' || !request.path.endsWith('config.json')) return false;
      sendContent(request, response, Buffer.alloc(content!.length, 0x20));
      return true;
    },
    /config.json from .*expected git sha1/,
  ],
  [
    'a server that cannot resume',
    () => {
      let isFirst = true;
      return (request, response, content) => {
        if (!isWeightsGet(request.method, request.path)) return false;
        if (isFirst) {
          isFirst = false;
          dropAfter(100_000, request, response, content!);
        } else sendContent({ ...request, range: undefined }, response, content);
        return true;
      };
    },
    'works',
  ],
  [
    'a server that resumes elsewhere',
    () => {
      let count = 0;
      return (request, response, content) => {
        if (!isWeightsGet(request.method, request.path) || count >= 2) return false;
        if (count++ === 0) {
          dropAfter(100_000, request, response, content!);
        } else sendContent({ ...request, range: 'bytes=50000-' }, response, content);
        return true;
      };
    },
    'works',
  ],
  [
    '416 for every range',
    () => {
      let isFirst = true;
      return (request, response, content) => {
        if (!isWeightsGet(request.method, request.path)) return false;
        if (request.range !== undefined) refuse(response, 416);
        else if (isFirst) {
          isFirst = false;
          dropAfter(100_000, request, response, content!);
        } else return false;
        return true;
      };
    },
    'works',
  ],
  [
    'compressed content nobody asked for',
    () => (request, response) => {
      if (!isWeightsGet(request.method, request.path)) return false;
      response.writeHead(200, { 'content-encoding': 'br' });
      response.end('x');
      return true;
    },
    /sends it encoded as "br"/,
  ],
  [
    '404 from the storage',
    () => (request, response) => {
      if (!isWeightsGet(request.method, request.path)) return false;
      refuse(response, 404);
      return true;
    },
    /cannot download owner\/model\/model.safetensors from http:\/\/127[^?]*: the server answered 404$/,
  ],
  [
    'a circle of redirects',
    () =>
      ({ path }, response) => {
        response.writeHead(302, { location: path });
        response.end();
        return true;
      },
    /more than 10 redirects/,
  ],
  [
    'a redirect to a file',
    () => (_, response) => {
      response.writeHead(302, { location: 'file:///etc/passwd' });
      response.end();
      return true;
    },
    /redirects to "file:\/\/\/etc\/passwd", refused/,
  ],
  [
    'a redirect to nowhere',
    () => (_, response) => {
      response.writeHead(302, { location: 'http://[' });
      response.end();
      return true;
    },
    /redirects to "http:\/\/\[", refused/,
  ],
  [
    'an etag that leads out of the cache',
    () => (_, response) => {
      response.writeHead(200, { 'x-repo-commit': firstCommit, etag: '"../../../escaped"', 'content-length': 1 });
      response.end();
      return true;
    },
    /the server gives a name that is not used as a file name: "..\/..\/..\/escaped"/,
  ],
  [
    'a commit that leads out of the cache',
    () => (_, response) => {
      response.writeHead(200, { 'x-repo-commit': '../../../../escaped', etag: '"x"', 'content-length': 1 });
      response.end();
      return true;
    },
    /names a commit that is none: "..\/..\/..\/..\/escaped"/,
  ],
  [
    'no etag',
    () => (_, response) => {
      response.writeHead(200, { 'x-repo-commit': firstCommit, 'content-length': 1 });
      response.end();
      return true;
    },
    /the server names no etag/,
  ],
  [
    'a web server that is no hub',
    () => (_, response) => {
      response.writeHead(200, { 'content-type': 'text/html' });
      response.end('<html>Please log in</html>');
      return true;
    },
    /does not answer like a hub \(200 without X-Repo-Commit\)/,
  ],
  [
    '401 for a private model',
    () => (_, response) => {
      refuse(response, 401, 'RepoNotFound');
      return true;
    },
    /owner\/model: no such folder, and no such model at http.*, or it is private \(401\); if it is, pass a token/,
  ],
  [
    '403 for a gated model',
    () => (_, response) => {
      refuse(response, 403, 'GatedRepo');
      return true;
    },
    /access is restricted \(403\); ask for it at http.*owner\/model, then pass a token/,
  ],
  [
    '401 for a gated model',
    () => (_, response) => {
      refuse(response, 401, 'GatedRepo');
      return true;
    },
    /access is restricted \(401\); ask for it at http/,
  ],
  [
    '403 and no word why',
    () => (_, response) => {
      refuse(response, 403);
      return true;
    },
    /access is restricted \(403\); ask for it at http/,
  ],
  [
    '400',
    () => (_, response) => {
      refuse(response, 400);
      return true;
    },
    /cannot ask for config.json at http.*: the server answered 400/,
  ],
];
for (const [what, misbehave, result] of misbehaviours) {
  test(`a server with ${what}`, async () => {
    const cache = newCache();
    hub.misbehave = misbehave();
    if (result === 'works') assertWhole(await fetchModel(cache));
    else {
      const error = await rejectsWith(() => fetchModel(cache), DownloadError, result);
      assert.not.match(error.message, /fetch failed|signature=/);
      assert.not.ok(existsSync(join(cache, 'models--owner--model', 'refs', 'main')));
      // Nothing that a later run takes for whole.
      hub.forget();
      assertWhole(await fetchModel(cache));
    }
    assertSoundCache(cache);
    assert.not.ok(existsSync(join(root, 'escaped')));
  });
}

test('an answer that is refused is not received to its end', async () => {
  let closed: Promise<unknown> | undefined;
  hub.misbehave = ({ method, path }, response) => {
    if (!isWeightsGet(method, path)) return false;
    closed = once(response, 'close');
    response.writeHead(404).write('and so on');
    return true;
  };
  await rejectsWith(() => fetchModel(newCache()), DownloadError, /the server answered 404$/);
  assert.not(await Promise.race([closed!.then(() => false), pause(2000, true)]), 'the connection is still open');
});

test('nobody listening', async () => {
  const endpoint = deserted;
  const message = /cannot ask http:\/\/127.0.0.1:\d+: the connection was refused \(2 attempts\)/;
  await rejectsWith(() => fetchModel(newCache(), { endpoint, attempts: 2 }), DownloadError, message);
  const unknown = 'http://no-such-host.invalid';
  await rejectsWith(
    () => fetchModel(newCache(), { endpoint: unknown, attempts: 1 }),
    DownloadError,
    /the host (is unknown|cannot be looked up)/,
  );
});

test('without a connection the cache is used, if it has everything', async () => {
  const cache = newCache();
  const gone = { endpoint: deserted, attempts: 2 };
  await rejectsWith(
    () => fetchModel(cache, { localFilesOnly: true }),
    DownloadError,
    /revision "main" is not in the cache .*and the hub may not be asked/,
  );
  const folder = await fetchModel(cache);
  hub.forget();
  assert.is(await fetchModel(cache, { localFilesOnly: true }), folder);
  assert.equal(hub.requests, []);
  assert.is(await fetchModel(cache, gone), folder);
  for (const status of [401, 403, 500, 503]) {
    hub.misbehave = (_, response) => {
      refuse(response, status);
      return true;
    };
    assert.is(await fetchModel(cache), folder);
  }
  // A revision that the hub says is gone is an error, though.
  hub.misbehave = (_, response) => {
    refuse(response, 404, 'RevisionNotFound');
    return true;
  };
  await rejectsWith(() => fetchModel(cache), DownloadError, /has no revision "main"/);
  hub.forget();
  await rejectsWith(
    () => fetchModel(cache, { revision: 'v9' }),
    DownloadError,
    /owner\/model: has no revision "v9"; see http/,
  );

  const partial = newCache();
  const processor = await resolveModel('owner/model', options(partial), { processor: true });
  assert.is(await resolveModel('owner/model', options(partial, gone), { processor: true }), processor);
  await rejectsWith(
    () => fetchModel(partial, { localFilesOnly: true }),
    DownloadError,
    /model.safetensors is not in the cache \(.* has only config.json, preprocessor_config.json\)/,
  );
  await rejectsWith(() => fetchModel(partial, gone), DownloadError, /the connection was refused \(2 attempts\)/);
});

test('branches, tags with slashes, and revisions that are none', async () => {
  const cache = newCache();
  hub.branches.set('refs/pr/1', firstCommit);
  assertWhole(await fetchModel(cache, { revision: 'refs/pr/1' }));
  assert.is(readFileSync(join(cache, 'models--owner--model', 'refs', 'refs', 'pr', '1'), 'utf8'), firstCommit);
  for (const revision of ['../x', '/etc', 'a//b', '', 'a/../b', 'a\0b', '..']) {
    await rejectsWith(
      () => fetchModel(cache, { revision }),
      OptionError,
      /^revision: expected a branch, tag or commit/,
    );
  }
});

test('options of the wrong kind are refused before anything is asked for', async () => {
  const wrong: [option: object, message: RegExp][] = [
    [{ attempts: Number.NaN }, /^hub: expected attempts to be a number from 1, got NaN/],
    [{ attempts: 0 }, /attempts .* got 0/],
    [{ timeoutMilliseconds: Number.NaN }, /expected timeoutMilliseconds to be a number from 1, got NaN/],
    [{ retryDelayMilliseconds: -1 }, /expected retryDelayMilliseconds to be a number from 0, got -1/],
    [{ revision: 5 }, /expected revision to be text, got 5/],
    [{ cacheDir: 5 }, /expected cacheDir to be text/],
    [{ endpoint: 5 }, /expected endpoint to be text/],
    [{ token: 12345678 }, /expected token to be text or false, got number$/],
    [{ localFilesOnly: 'false' }, /expected localFilesOnly to be true or false, got "false"/],
    [{ signal: {} }, /expected signal to be an AbortSignal/],
    [{ onProgress: 5 }, /expected onProgress to be a function/],
  ];
  const asked = hub.requests.length;
  for (const [option, message] of wrong) await rejectsWith(() => fetchModel(newCache(), option), OptionError, message);
  const misspelt = { weight: true } as ModelParts;
  for (const get of [downloadSnapshot, resolveModel]) {
    const name = get === resolveModel ? root : 'owner/model';
    const parts = () => get(name, { cacheDir: newCache() }, misspelt);
    await rejectsWith(parts, OptionError, /hub: parts: unknown option weight; known are processor, weights/);
    const number = () => get(5 as unknown as string);
    await rejectsWith(number, OptionError, /hub: expected a model folder or a name on the hub, got 5/);
  }
  assert.is(hub.requests.length, asked);
  assertWhole(await fetchModel(newCache(), { timeoutMilliseconds: Number.POSITIVE_INFINITY }));
});

test('what the repository lacks', async () => {
  const files = [...hub.files];
  hub.files.clear();
  hub.files.set(`${firstCommit}/config.json`, config);
  hub.files.set(`${firstCommit}/tf_model.h5`, config);
  await rejectsWith(
    () => fetchModel(newCache()),
    DownloadError,
    /owner\/model: the repository has no model.safetensors; this repository has only config.json, tf_model.h5$/,
  );
  hub.files.delete(`${firstCommit}/config.json`);
  await rejectsWith(
    () => fetchModel(newCache()),
    DownloadError,
    /the repository has no config.json; this repository has only tf_model.h5$/,
  );
  hub.files.clear();
  for (const [name, content] of files) hub.files.set(name, content);
});

test('only a file that the repository is said to lack counts as absent from then on', async () => {
  const cache = newCache();
  for (const [code, message] of [
    ['RepoNotFound', /no such model/],
    [undefined, /no such model/],
  ] as const) {
    hub.misbehave = ({ path }, response) => {
      if (!path.endsWith('model.safetensors')) return false;
      refuse(response, 404, code);
      return true;
    };
    await rejectsWith(() => fetchModel(cache), DownloadError, message);
  }
  // A hub that knows the commit and gives no code, as mirrors do.
  hub.misbehave = ({ path }, response) => {
    if (!/model\.(safetensors|bin)|index/.test(path)) return false;
    response.setHeader('x-repo-commit', firstCommit);
    refuse(response, 404);
    return true;
  };
  await rejectsWith(() => fetchModel(cache), DownloadError, /the repository has no model.safetensors/);
  assert.not.ok(existsSync(join(cache, 'models--owner--model', '.no_exist')));
  hub.forget();
  assertWhole(await fetchModel(cache));
});

test('PyTorch weights, and shards with names that lead nowhere else', async () => {
  const files = [...hub.files];
  hub.files.clear();
  hub.files.set(`${firstCommit}/config.json`, config);
  hub.files.set(`${firstCommit}/pytorch_model.bin`, weights);
  const withTorch = await fetchModel(newCache());
  assert.equal(readdirSync(withTorch).sort(), ['config.json', 'pytorch_model.bin']);

  hub.files.delete(`${firstCommit}/pytorch_model.bin`);
  const index = (name: string) => Buffer.from(JSON.stringify({ weight_map: { a: name } }));
  hub.files.set(`${firstCommit}/model.safetensors.index.json`, index('model-00001-of-00001.safetensors'));
  await rejectsWith(() => fetchModel(newCache()), DownloadError, /has no model-00001-of-00001.safetensors/);
  hub.files.set(`${firstCommit}/model-00001-of-00001.safetensors`, weights);
  const source = await openCheckpoint(await fetchModel(newCache()));
  assert.equal((await source.read('a')).shape, [values.length]);
  await source.close();
  const cache = newCache();
  const complete = await fetchModel(cache);
  assert.is(await fetchModel(cache, { endpoint: deserted, attempts: 1 }), complete);

  hub.files.set(`${firstCommit}/model.safetensors.index.json`, index('../../../../../escaped.safetensors'));
  await rejectsWith(() => fetchModel(newCache()), FileError, /expected the name of a shard in the same folder/);
  hub.files.clear();
  for (const [name, content] of files) hub.files.set(name, content);
});

test('folders, files and names that can be neither', async () => {
  assert.is(await resolveModel(root), root);
  mkdirSync(join(root, 'my-model'), { recursive: true });
  await rejectsWith(() => resolveModel(join(root, 'my-modle')), FileError, /no such folder, did you mean "my-model"\?/);
  writeFileSync(join(root, 'file'), '');
  await rejectsWith(
    () => resolveModel(join(root, 'file')),
    FileError,
    /expected a model folder or a name on the hub, got a file/,
  );
  for (const name of ['a/b/c', '../no-such-model', 'owner/..', 'a--b/c', 'x.git', 'owner/mo del', '']) {
    await rejectsWith(() => resolveModel(name, options(newCache())), FileError, /no such folder/);
    await rejectsWith(
      () => downloadSnapshot(name, options(newCache())),
      OptionError,
      /expected a folder or a name such as/,
    );
  }
  const cache = newCache();
  const misspelled = () => resolveModel('facebok/detr-resnet-50', options(cache));
  await rejectsWith(misspelled, DownloadError, /did you mean "facebook\/detr-resnet-50"\?/);
  await rejectsWith(
    () => resolveModel('detr-resnet-101', options(cache)),
    DownloadError,
    /did you mean "facebook\/detr-resnet-101"\?/,
  );
  await fetchModel(cache);
  await rejectsWith(() => resolveModel('owner/modell', options(cache)), DownloadError, /did you mean "owner\/model"\?/);
});

test('two downloads at once share one', async () => {
  const cache = newCache();
  const both = await Promise.all([fetchModel(cache), fetchModel(cache), fetchModel(cache)]);
  assert.equal(new Set(both).size, 1);
  assertWhole(both[0]!);
  assert.is(hub.count('GET', 'storage', 'model.safetensors'), 1);
});

const compiled = JSON.stringify(new URL('../../../weights/hub/hub.js', import.meta.url).href);
const downloader = `
  import { resolveModel } from ${compiled};
  const [cacheDir, endpoint] = process.argv.slice(1);
  await resolveModel('owner/model', { cacheDir, endpoint, token: false, retryDelayMilliseconds: 1 });`;
const startProcess = (cache: string) =>
  spawn(process.execPath, ['--input-type=module', '-e', downloader, cache, hub.endpoint], { stdio: 'inherit' });
const ended = (child: ReturnType<typeof spawn>) =>
  new Promise<number | null>(resolve => child.on('exit', code => resolve(code)));

test('two processes share one download', async () => {
  const cache = newCache();
  hub.misbehave = ({ method, path }, response, content) => {
    if (!isWeightsGet(method, path)) return false;
    response.writeHead(200, { 'content-length': content!.length });
    response.write(content!.subarray(0, 1_000_000));
    setTimeout(() => response.end(content!.subarray(1_000_000)), 800);
    return true;
  };
  const codes = await Promise.all([startProcess(cache), startProcess(cache)].map(ended));
  assert.equal(codes, [0, 0]);
  assert.is(hub.count('GET', 'storage', 'model.safetensors'), 1);
  assertSoundCache(cache);
});

test('processes killed at random moments leave a cache that the next one completes', async () => {
  const cache = newCache();
  hub.misbehave = ({ method, path, range }, response, content) => {
    if (!isWeightsGet(method, path)) return false;
    // About a second for the whole file.
    let position = beginOf(range);
    announceContent(response, content!, position);
    const timer = setInterval(() => {
      response.write(content!.subarray(position, position + 60_000));
      position += 60_000;
      if (position >= content!.length) response.end();
    }, 20);
    response.on('close', () => clearInterval(timer));
    return true;
  };
  let kills = 0;
  let resumed = 0;
  for (let i = 0; i < 12; i++) {
    hub.requests.length = 0;
    const child = startProcess(cache);
    const exit = ended(child);
    while (hub.requests.length === 0 && child.exitCode === null) await pause(5);
    await Promise.race([pause((i * 37) % 250), exit]);
    if (child.kill('SIGKILL')) kills++;
    await exit;
    assertSoundCache(cache);
    resumed += hub.requests.filter(({ range }) => range !== undefined).length;
  }
  console.log(`killed ${kills} processes, ${resumed} of them had resumed the download of one before`);
  // How many of them resume depends on the machine's pace; resuming itself has tests of its own.
  assert.ok(kills >= 10, `${kills} kills`);
  hub.forget();
  assertWhole(await fetchModel(cache));
  assertSoundCache(cache);
});

test('a lock left behind by the dead is taken over, one of the living is waited for', async () => {
  const cache = newCache();
  const locks = join(cache, '.locks', 'models--owner--model');
  mkdirSync(locks, { recursive: true });
  const lock = join(locks, `${sha256(weights)}.detr-webgpu.lock`);
  const dead = spawn(process.execPath, ['-e', '']);
  await ended(dead);
  writeFileSync(lock, JSON.stringify({ pid: dead.pid, host: hostname(), id: 'x' }));
  assertWhole(await fetchModel(cache));
  assert.not.ok(existsSync(lock));

  const elsewhere = newCache();
  const otherLocks = join(elsewhere, '.locks', 'models--owner--model');
  mkdirSync(otherLocks, { recursive: true });
  const other = join(otherLocks, `${sha256(weights)}.detr-webgpu.lock`);
  writeFileSync(other, JSON.stringify({ pid: 1, host: 'another-machine', id: 'x' }));
  const controller = new AbortController();
  const waiting = fetchModel(elsewhere, { signal: controller.signal });
  await pause(400);
  assert.is(hub.requests.filter(({ method, host }) => method === 'GET' && host === 'storage').length, 1);
  controller.abort(new Error('waited enough'));
  let caught: unknown;
  await waiting.catch(error => {
    caught = error;
  });
  assert.is((caught as Error).message, 'waited enough');
  const longAgo = new Date(Date.now() - 120_000);
  utimesSync(other, longAgo, longAgo);
  assertWhole(await fetchModel(elsewhere));
});

test('an aborted signal stops everything at once', async () => {
  const reason = new Error('never mind');
  const outcomes: unknown[] = [];
  await fetchModel(newCache(), { signal: AbortSignal.abort(reason) }).catch(error => outcomes.push(error));
  const controller = new AbortController();
  hub.misbehave = () => true;
  const waiting = fetchModel(newCache(), { signal: controller.signal, timeoutMilliseconds: 60_000 });
  setTimeout(() => controller.abort(reason), 100);
  await waiting.catch(error => outcomes.push(error));
  // A pause between two attempts ends, too.
  const pausing = new AbortController();
  hub.misbehave = (_, response) => {
    refuse(response, 503);
    setTimeout(() => pausing.abort(reason), 100);
    return true;
  };
  const options = { signal: pausing.signal, retryDelayMilliseconds: 60_000 };
  await fetchModel(newCache(), options).catch(error => outcomes.push(error));
  assert.equal(outcomes, [reason, reason, reason]);
});

test('a cache that cannot be written', async () => {
  const path = join(root, 'is-a-file');
  writeFileSync(path, '');
  await rejectsWith(() => fetchModel(path), FileError, /a part of the path is a file, not a folder|no such file/);
});

test('where links cannot be made the files themselves lie in the snapshot', async () => {
  const { symlink } = fsPromises;
  fsPromises.symlink = async () => {
    throw new Error('EPERM');
  };
  syncBuiltinESMExports();
  try {
    const folder = await fetchModel(newCache());
    assertWhole(folder);
    assert.not.ok(lstatSync(join(folder, 'model.safetensors')).isSymbolicLink());
    assert.equal(readdirSync(folder).sort(), ['config.json', 'model.safetensors', 'preprocessor_config.json']);
  } finally {
    fsPromises.symlink = symlink;
    syncBuiltinESMExports();
  }
});

test('a user without a home folder names the cache', async () => {
  const { homedir } = os;
  os.homedir = () => {
    throw new Error('uv_os_homedir returned ENOENT');
  };
  syncBuiltinESMExports();
  try {
    assert.is(hubSettings({ cacheDir: '/models' }, {}).cacheDir, '/models');
    assert.is(hubSettings({}, { HF_HOME: '/hf' }).cacheDir, '/hf/hub');
    await rejectsWith(() => hubSettings({}, {}), OptionError, /expected .* cacheDir, HF_HOME or HOME, got none/);
  } finally {
    os.homedir = homedir;
    syncBuiltinESMExports();
  }
});

test('settings come from options, then from the environment', async () => {
  const home = { HOME: '/user' };
  assert.is(hubSettings({}, home).cacheDir, '/user/.cache/huggingface/hub');
  assert.is(hubSettings({}, { ...home, XDG_CACHE_HOME: '/xdg' }).cacheDir, '/xdg/huggingface/hub');
  assert.is(hubSettings({}, { ...home, HF_HOME: '$HOME/hf' }).cacheDir, '/user/hf/hub');
  assert.is(hubSettings({}, { ...home, HF_HOME: '/hf', HUGGINGFACE_HUB_CACHE: '/old' }).cacheDir, '/old');
  assert.is(hubSettings({}, { ...home, HUGGINGFACE_HUB_CACHE: '/old', HF_HUB_CACHE: '~/new' }).cacheDir, '/user/new');
  assert.is(hubSettings({ cacheDir: '$HOME/c' }, { ...home, HF_HUB_CACHE: '/new' }).cacheDir, '/user/c');
  const unset = { ...home, HF_HOME: '', HF_HUB_CACHE: '', XDG_CACHE_HOME: '', HF_ENDPOINT: '' };
  assert.is(hubSettings({}, unset).cacheDir, '/user/.cache/huggingface/hub');
  assert.is(hubSettings({}, home).endpoint, 'https://huggingface.co');
  assert.is(
    hubSettings({}, { ...home, HF_ENDPOINT: 'https://mirror.example/hf/' }).endpoint,
    'https://mirror.example/hf',
  );
  assert.is(hubSettings({}, { ...home, HF_HUB_OFFLINE: '1' }).isOffline, true);
  assert.is(hubSettings({}, { ...home, TRANSFORMERS_OFFLINE: 'yes' }).isOffline, true);
  assert.is(hubSettings({ localFilesOnly: false }, { ...home, HF_HUB_OFFLINE: '1' }).isOffline, false);
  assert.is(hubSettings({}, { ...home, HF_HUB_OFFLINE: '0' }).isOffline, false);
  assert.is(hubSettings({}, { ...home, HF_TOKEN: ' hf_a\n' }).token, 'hf_a');
  assert.is(hubSettings({ token: false }, { ...home, HF_TOKEN: 'hf_a' }).token, undefined);
  assert.is(hubSettings({ token: 'hf_b' }, { ...home, HF_TOKEN: 'hf_a' }).token, 'hf_b');
  assert.is(hubSettings({}, { ...home, HF_TOKEN: 'hf_a', HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }).token, undefined);
  const tokenFile = join(root, 'token');
  writeFileSync(tokenFile, 'hf_from_file\n');
  assert.is(hubSettings({}, { ...home, HF_TOKEN_PATH: tokenFile }).token, 'hf_from_file');
  assert.is(hubSettings({}, { ...home, HF_HOME: root }).token, 'hf_from_file');
  assert.is(hubSettings({}, { ...home, HF_HUB_DOWNLOAD_TIMEOUT: '30' }).timeoutMilliseconds, 30_000);
  for (const endpoint of ['ftp://x', 'nothing', 'https://user:password@x', 'https://x?a=b']) {
    await rejectsWith(
      () => hubSettings({ endpoint }, home),
      OptionError,
      /^endpoint: expected an http or https address/,
    );
  }
});

test('an unfriendly middle: a hub behind a path, on one host with its storage', async () => {
  const server = createServer((request, response) => {
    const path = request.url!;
    if (request.headers.authorization !== 'Bearer t') return refuse(response, 401);
    if (path.startsWith('/hf/owner/model/resolve/')) {
      response.setHeader('x-repo-commit', firstCommit);
      const file = path.split('/').at(-1)!;
      const content = hub.files.get(`${firstCommit}/${file}`);
      if (content === undefined) return refuse(response, 404, 'EntryNotFound');
      response.writeHead(302, {
        location: `/content/${file}`,
        'x-linked-etag': `"${sha256(content)}"`,
        'x-linked-size': content.length,
      });
      response.end();
      return;
    }
    const content = hub.files.get(`${firstCommit}/${path.split('/').at(-1)}`)!;
    response.setHeader('etag', '"another"');
    const wanted = {
      host: 'hub',
      method: request.method!,
      path,
      authorization: undefined,
      range: request.headers.range,
    } as const;
    sendContent(wanted, response, content);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as { port: number }).port}/hf`;
  const cache = newCache();
  assertWhole(await fetchModel(cache, { endpoint, token: 't' }));
  assertSoundCache(cache);
  server.closeAllConnections();
  server.close();
});

test.after(() => hub.stop());
test.run();
