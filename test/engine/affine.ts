// What the tests of the WebGPU device launch.

import * as assert from 'uvu/assert';
import type { Tensor } from '../../engine/index.ts';
import type { Launch } from '../../engine/launch.ts';
import type { WebGpuDevice } from '../../engine/webgpu/webgpu-device.ts';

/** out = x * factor + offset, or what `code` says; `flops` is what the launch says that it costs. */
export function affine(x: Tensor, factor: number, offset = 0, code = AFFINE, flops = 2 * x.size): Tensor {
  const out = x.device.empty(x.shape);
  const launch: Launch = {
    kernel: 'affine',
    inputs: [x],
    outputs: [out],
    cost: { flops, bytes: 8 * x.size },
    wgsl: () => ({
      code,
      workgroups: [Math.ceil(x.size / 64), 1, 1],
      scalars: [x.size, { f32: factor }, { f32: offset }, slowIterations, { f32: 0 }],
    }),
    wasm: () => {
      throw new Error('not for the cpu device');
    },
  };
  x.device.launch(launch);
  return out;
}

export const AFFINE = /* wgsl */ `
struct Uniforms { count: u32, factor: f32, offset: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> uniforms: Uniforms;

@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < uniforms.count) { out[id.x] = x[id.x] * uniforms.factor + uniforms.offset; }
}`;

/** Adds zero, which no compiler knows to be one, at the end of a chain that takes its time. */
export const SLOW_AFFINE = AFFINE.replace('offset: f32 }', 'offset: f32, iterations: u32, zero: f32 }').replace(
  /out\[id\.x\] = (.*);/,
  `var zero = uniforms.zero;
  for (var i = 0u; i < uniforms.iterations; i++) { zero = zero * 0.5 + uniforms.zero; }
  out[id.x] = $1 + zero;`,
);

/** A uniform struct larger than the scalars is a validation error at dispatch. */
export const REFUSED_AFFINE = AFFINE.replace('offset: f32 }', 'offset: f32, more: array<vec4f, 100> }').replace(
  '+ uniforms.offset',
  '+ uniforms.more[50].x',
);

/** As many as keep the adapter busy for 100 to 200 milliseconds; see `calibrate`. */
let slowIterations = 1000;

export async function calibrate(device: WebGpuDevice): Promise<void> {
  const x = device.tensor({ shape: [64], data: new Float32Array(64) });
  const time = async () => {
    const start = performance.now();
    await device.scope(() => affine(x, 1, 0, SLOW_AFFINE)).read();
    return performance.now() - start;
  };
  await time(); // compiles
  // The faster of two, for the processor may have been busy otherwise.
  while (Math.min(await time(), await time()) < 100 && slowIterations < 2 ** 31) slowIterations *= 2;
  console.log(`${slowIterations} iterations take ${(await time()).toFixed(0)} ms`);
}

export async function rejection(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(
    () => undefined,
    reason => reason,
  );
  assert.instance(error, Error, 'expected a rejection');
  return error as Error;
}

export const values = (count: number, start = 0) => Float32Array.from({ length: count }, (_, index) => start + index);
