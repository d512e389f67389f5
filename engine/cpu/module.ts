import { readFile } from 'node:fs/promises';
import { setFlagsFromString } from 'node:v8';
import { DeviceError } from '../errors.ts';

/** `(func (result v128) … f32x4.relaxed_madd)`: valid only where relaxed SIMD is on. */
const RELAXED_SIMD_PROBE = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b, 0x03, 0x02, 0x01, 0x00,
  0x0a, 0x13, 0x01, 0x11, 0x00, 0x41, 0x00, 0xfd, 0x11, 0x41, 0x00, 0xfd, 0x11, 0x41, 0x00, 0xfd, 0x11, 0xfd, 0x85,
  0x02, 0x0b,
]);

/**
 * Node 20 has relaxed SIMD behind a flag, which counts when a module is compiled. DETR_RELAXED_SIMD=0 does without, as
 * machines must that lack it.
 */
function enableRelaxedSimd(): boolean {
  if (process.env.DETR_RELAXED_SIMD === '0') return false;
  if (WebAssembly.validate(RELAXED_SIMD_PROBE)) return true;
  setFlagsFromString('--experimental-wasm-relaxed-simd');
  return WebAssembly.validate(RELAXED_SIMD_PROBE);
}

export interface KernelModule {
  readonly module: WebAssembly.Module;
  readonly entries: readonly string[];
  readonly fusedMultiplyAdd: boolean;
}

let compiled: Promise<KernelModule> | undefined;

/** The kernels, compiled once per process. @throws DeviceError if the build output is missing. */
export function loadKernelModule(): Promise<KernelModule> {
  compiled ??= compileKernels();
  return compiled;
}

async function compileKernels(): Promise<KernelModule> {
  const fusedMultiplyAdd = enableRelaxedSimd();
  const url = new URL(`../../kernels/kernels${fusedMultiplyAdd ? '.relaxed' : ''}.wasm`, import.meta.url);
  let bytes: Buffer;
  try {
    bytes = await readFile(url);
  } catch (cause) {
    throw new DeviceError(`cpu device: expected compiled kernels at ${url.pathname}, got none; run the build`, {
      cause,
    });
  }
  const module = await WebAssembly.compile(new Uint8Array(bytes));
  const entries = WebAssembly.Module.exports(module)
    .filter(item => item.kind === 'function')
    .map(item => item.name);
  return { module, entries, fusedMultiplyAdd };
}
