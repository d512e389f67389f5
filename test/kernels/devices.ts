import { availableParallelism } from 'node:os';
import { type AdapterTraits, Device } from '../../engine/index.ts';
import { WebGpuDevice } from '../../engine/webgpu/webgpu-device.ts';

/** What kernels choose their form by on a GPU, and on a software adapter. */
export const gpu: AdapterTraits = {
  software: false,
  subgroups: true,
  subgroupSize: 32,
  shaderF16: true,
  maxWorkgroupStorageBytes: 32_768,
};
export const llvmpipe: AdapterTraits = { ...gpu, software: true, subgroupSize: 8 };

/** Each form that kernels take on WebGPU, tried on whatever adapter there is. */
const FORMS: Readonly<Record<string, Partial<AdapterTraits>>> = {
  hardware: { software: false },
  software: { software: true },
  plain: { software: true, subgroups: false, subgroupSize: 0 },
};

/**
 * The devices that kernels are tested on: `DETR_TEST_DEVICES`, a list of cpu, cpu:THREADS, webgpu, and webgpu:hardware,
 * webgpu:software and webgpu:plain (the forms for GPUs, for software adapters, and for those without subgroups). One that is
 * missing fails the test.
 */
export const deviceNames = (process.env.DETR_TEST_DEVICES ?? 'cpu:1,cpu:2,webgpu,webgpu:hardware,webgpu:plain').split(
  ',',
);

/** Whether the device only shows other forms of the kernels that have them. */
export function triesForms(name: string): boolean {
  return name.startsWith('webgpu:');
}

/** The devices that whole models are tested on: each kind once, since its other forms show in the kernels. */
export const modelDeviceNames =
  process.env.DETR_TEST_DEVICES === undefined ? ['cpu:2', 'webgpu'] : deviceNames.filter(name => !triesForms(name));

export async function openDevice(name: string): Promise<Device> {
  const [kind, variant] = name.split(':');
  if (kind === 'cpu') return Device.create({ device: 'cpu', threads: Number(variant ?? availableParallelism()) });
  const traits = FORMS[variant ?? ''];
  if (kind !== 'webgpu' || (variant !== undefined && traits === undefined)) {
    throw new Error(`DETR_TEST_DEVICES: expected cpu, cpu:THREADS, webgpu or webgpu:FORM, got ${name}`);
  }
  const device = await WebGpuDevice.open({ acceptSoftware: true, ...(traits && { traits }) });
  if (device === undefined) throw new Error('expected a WebGPU adapter, got none (try scripts/with-adapter.mjs)');
  return device;
}
