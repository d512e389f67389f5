import type { AdapterTraits, HostTensor, WgslProgram } from '../../engine/index.ts';
import { type Activation, activationWgsl } from '../activation.ts';

export interface LinearSizes {
  readonly rows: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias: boolean;
  readonly residual: boolean;
  readonly activation: Activation | undefined;
}

/** The weight [N, K] as the WebGPU kernel reads it. */
export function packLinearForWebGpu(weight: HostTensor): HostTensor {
  return weight;
}

const WORKGROUP = 64;

/** One thread per output. */
export function linearProgram(_traits: AdapterTraits, sizes: LinearSizes): WgslProgram {
  const { rows, inFeatures, outFeatures, bias, residual, activation } = sizes;
  const code = /* wgsl */ `
struct Sizes { rows: u32, inFeatures: u32, outFeatures: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
${bias ? '@group(0) @binding(2) var<storage, read> bias: array<f32>;' : ''}
${residual ? '@group(0) @binding(3) var<storage, read> residual: array<f32>;' : ''}
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
@group(0) @binding(5) var<uniform> sizes: Sizes;
${activationWgsl(activation)}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let column = id.x;
  if (column >= sizes.outFeatures) { return; }
  for (var row = id.y; row < sizes.rows; row += ${MAXIMUM_WORKGROUPS}u) {
    var sum = 0.0;
    for (var k = 0u; k < sizes.inFeatures; k++) {
      sum += x[row * sizes.inFeatures + k] * weight[column * sizes.inFeatures + k];
    }
    let index = row * sizes.outFeatures + column;
    ${bias ? 'sum += bias[column];' : ''}
    ${residual ? 'sum += residual[index];' : ''}
    output[index] = activate(sum);
  }
}`;
  const workgroups = [Math.ceil(outFeatures / WORKGROUP), Math.min(rows, MAXIMUM_WORKGROUPS), 1] as const;
  return { code, workgroups, scalars: [rows, inFeatures, outFeatures] };
}

const MAXIMUM_WORKGROUPS = 65_535;
