import { readFile } from 'node:fs/promises';
import { setFlagsFromString } from 'node:v8';
import { DeviceError, OptionError } from '../errors.ts';
import { joinsVectors } from './revectorization.ts';

/**
 * The builds of the kernels, each faster than the one before where the machine and V8 have what it needs: `relaxed` has fused
 * multiply-add, `wide` has tiles whose pairs of 128-bit vectors V8 can join to 256 bits. They add in the same order, so `relaxed`
 * and `wide` give the same bits.
 */
const BUILDS = { plain: 'kernels.wasm', relaxed: 'kernels.relaxed.wasm', wide: 'kernels.wide.wasm' } as const;
type Build = keyof typeof BUILDS;

export interface KernelModule {
  readonly build: Build;
  readonly module: WebAssembly.Module;
  readonly entries: readonly string[];
}

const loaded = new Map<Build | 'fastest', Promise<KernelModule>>();

/**
 * The fastest build of the kernels that this process can run, compiled once. DETR_KERNELS=plain, relaxed or wide takes that
 * one, for tests.
 * @param options revectorize: ask V8 to join vectors, for the whole process
 * @throws DeviceError if the build output is missing, OptionError for an unknown DETR_KERNELS
 */
export function loadKernelModule(options: { readonly revectorize: boolean }): Promise<KernelModule> {
  const wanted = process.env.DETR_KERNELS;
  if (wanted !== undefined && !Object.hasOwn(BUILDS, wanted)) {
    throw new OptionError(`DETR_KERNELS: expected ${Object.keys(BUILDS).join(', ')}, got ${wanted}`);
  }
  const relaxed = wanted !== 'plain' && enableRelaxedSimd();
  if (wanted !== undefined) return load(relaxed ? (wanted as Build) : 'plain');
  if (!relaxed) return load('plain');
  if (!enableRevectorization(options.revectorize)) return load('relaxed');
  return once('fastest', async () => {
    const kernels = await load('wide');
    return joinsVectors(kernels.module) ? kernels : load('relaxed');
  });
}

const load = (build: Build): Promise<KernelModule> => once(build, () => compile(build));

/** What was loaded before, unless that failed: the next may have better luck. */
function once(key: Build | 'fastest', start: () => Promise<KernelModule>): Promise<KernelModule> {
  let kernels = loaded.get(key);
  if (kernels === undefined) {
    kernels = start();
    loaded.set(key, kernels);
    kernels.catch(() => loaded.delete(key));
  }
  return kernels;
}

async function compile(build: Build): Promise<KernelModule> {
  const url = new URL(`../../kernels/${BUILDS[build]}`, import.meta.url);
  let bytes: Buffer;
  try {
    bytes = await readFile(url);
  } catch (cause) {
    const remedy = 'run the build, or leave detr-webgpu out of the bundle';
    throw new DeviceError(`cpu device: expected compiled kernels at ${url.pathname}, got none; ${remedy}`, { cause });
  }
  const module = await WebAssembly.compile(new Uint8Array(bytes));
  const entries = WebAssembly.Module.exports(module)
    .filter(item => item.kind === 'function')
    .map(item => item.name);
  return { build, module, entries };
}

/** `(func (result v128) … f32x4.relaxed_madd)`: valid only where relaxed SIMD is on. */
const RELAXED_SIMD_PROBE = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b, 0x03, 0x02, 0x01, 0x00,
  0x0a, 0x13, 0x01, 0x11, 0x00, 0x41, 0x00, 0xfd, 0x11, 0x41, 0x00, 0xfd, 0x11, 0x41, 0x00, 0xfd, 0x11, 0xfd, 0x85,
  0x02, 0x0b,
]);

/** Node 20 has relaxed SIMD behind a flag, which counts when a module is compiled. */
function enableRelaxedSimd(): boolean {
  if (WebAssembly.validate(RELAXED_SIMD_PROBE)) return true;
  setFlagsFromString('--experimental-wasm-relaxed-simd');
  return WebAssembly.validate(RELAXED_SIMD_PROBE);
}

const REVECTORIZE = '--experimental-wasm-revectorize';

/** Whether V8 was asked to join vectors, now or by the flags of the program. Before V8 13 (Node 24) it cannot. */
function enableRevectorization(ask: boolean): boolean {
  if (process.arch !== 'x64' || Number.parseInt(process.versions.v8, 10) < 13) return false;
  if (ask) setFlagsFromString(REVECTORIZE);
  return ask || process.execArgv.includes(REVECTORIZE);
}
