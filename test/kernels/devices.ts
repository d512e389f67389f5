import { availableParallelism } from 'node:os';
import { Device } from '../../engine/index.ts';

/**
 * The devices that kernels are tested on: `DETR_TEST_DEVICES`, default `cpu:1,cpu:2,webgpu` (cpu:N has N threads). One
 * that is missing fails the test.
 */
export const deviceNames = (process.env.DETR_TEST_DEVICES ?? 'cpu:1,cpu:2,webgpu').split(',');

export function openDevice(name: string): Promise<Device> {
  const [kind, threads] = name.split(':');
  if (kind === 'cpu') return Device.create({ device: 'cpu', threads: Number(threads ?? availableParallelism()) });
  if (kind === 'webgpu') return Device.create({ device: 'webgpu' });
  throw new Error(`DETR_TEST_DEVICES: expected cpu, cpu:THREADS or webgpu, got ${name}`);
}
