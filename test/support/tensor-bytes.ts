import { CpuDevice } from '../../engine/cpu/cpu-device.ts';
import type { Device } from '../../engine/index.ts';

/** Bytes of living tensors; the cpu device's scratch memory stays with the device. */
export function tensorBytes(device: Device): number {
  return device.memory.liveBytes - (device instanceof CpuDevice ? device.scratchBytes : 0);
}
