import { availableParallelism } from 'node:os';
import { Device } from '../../engine/index.ts';
import { WebGpuDevice } from '../../engine/webgpu/webgpu-device.ts';

/**
 * The devices that kernels are tested on, `DETR_TEST_DEVICES`: `cpu:N` has N threads; `webgpu` is the adapter at hand, and
 * `webgpu:other` the same one with the kernel forms that are meant for the other kind of adapter (hardware or software).
 * One that is missing fails the test.
 */
export const deviceNames = (process.env.DETR_TEST_DEVICES ?? 'cpu:1,cpu:2,webgpu,webgpu:other').split(',');

export async function openDevice(name: string): Promise<Device> {
  const [kind, variant] = name.split(':');
  if (kind === 'cpu') return Device.create({ device: 'cpu', threads: Number(variant ?? availableParallelism()) });
  if (kind !== 'webgpu' || (variant !== undefined && variant !== 'other')) {
    throw new Error(`DETR_TEST_DEVICES: expected cpu, cpu:THREADS, webgpu or webgpu:other, got ${name}`);
  }
  const device = await Device.create({ device: 'webgpu' });
  if (variant === 'other' && device instanceof WebGpuDevice) {
    Object.assign(device, { traits: { ...device.traits, software: !device.traits.software } });
  }
  return device;
}
