import type { AdapterTraits, HostTensor, WgslProgram } from '../../engine/index.ts';
import { type Activation, activationWgsl } from '../activation.ts';
import type { Conv2dGeometry } from './conv2d.ts';

export interface Conv2dLaunch extends Conv2dGeometry {
  readonly bias: boolean;
  readonly residual: boolean;
  readonly activation: Activation | undefined;
}

/** The weight [O, C / G, h, w] as the WebGPU kernel reads it. */
export function packConv2dForWebGpu(
  weight: HostTensor,
  _options: { stride: number; dilation: number; groups: number },
): HostTensor {
  return weight;
}

const WORKGROUP = 64;
const MAXIMUM_WORKGROUPS = 65_535;

/** One thread per output. */
export function conv2dProgram(_traits: AdapterTraits, launch: Conv2dLaunch): WgslProgram {
  const { bias, residual, activation, batch, outChannels, outHeight, outWidth } = launch;
  const code = /* wgsl */ `
struct Sizes {
  planes: u32, channels: u32, height: i32, width: i32, outChannels: u32, outHeight: u32, outWidth: u32,
  kernelHeight: u32, kernelWidth: u32, stride: u32, dilation: u32, paddingTop: i32, paddingLeft: i32, groups: u32,
}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
${bias ? '@group(0) @binding(2) var<storage, read> bias: array<f32>;' : ''}
${residual ? '@group(0) @binding(3) var<storage, read> residual: array<f32>;' : ''}
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
@group(0) @binding(5) var<uniform> sizes: Sizes;
${activationWgsl(activation)}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let pixel = id.x;
  if (pixel >= sizes.outHeight * sizes.outWidth) { return; }
  let top = i32(pixel / sizes.outWidth * sizes.stride) - sizes.paddingTop;
  let left = i32(pixel % sizes.outWidth * sizes.stride) - sizes.paddingLeft;
  let groupSize = sizes.channels / sizes.groups;
  for (var plane = id.y; plane < sizes.planes; plane += ${MAXIMUM_WORKGROUPS}u) {
    let channel = plane % sizes.outChannels;
    let firstInput = plane / sizes.outChannels * sizes.channels + channel / (sizes.outChannels / sizes.groups) * groupSize;
    var sum = 0.0;
    for (var c = 0u; c < groupSize; c++) {
      for (var i = 0u; i < sizes.kernelHeight; i++) {
        let row = top + i32(i * sizes.dilation);
        if (row < 0 || row >= sizes.height) { continue; }
        for (var j = 0u; j < sizes.kernelWidth; j++) {
          let column = left + i32(j * sizes.dilation);
          if (column < 0 || column >= sizes.width) { continue; }
          let value = x[((firstInput + c) * u32(sizes.height) + u32(row)) * u32(sizes.width) + u32(column)];
          sum += value * weight[((channel * groupSize + c) * sizes.kernelHeight + i) * sizes.kernelWidth + j];
        }
      }
    }
    let index = plane * sizes.outHeight * sizes.outWidth + pixel;
    ${bias ? 'sum += bias[channel];' : ''}
    ${residual ? 'sum += residual[index];' : ''}
    output[index] = activate(sum);
  }
}`;
  const planes = batch * outChannels;
  const workgroups = [Math.ceil((outHeight * outWidth) / WORKGROUP), Math.min(planes, MAXIMUM_WORKGROUPS), 1] as const;
  const { inChannels, height, width, kernelHeight, kernelWidth, stride, dilation, paddingTop, paddingLeft } = launch;
  const input = [planes, inChannels, height, width, outChannels, outHeight, outWidth];
  const window = [kernelHeight, kernelWidth, stride, dilation, paddingTop, paddingLeft, launch.groups];
  return { code, workgroups, scalars: [...input, ...window] };
}
