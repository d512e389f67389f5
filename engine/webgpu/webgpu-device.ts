import type { Device } from '../device.ts';
export class WebGpuDevice {
  static async open(_: { acceptSoftware: boolean }): Promise<Device | undefined> {
    return undefined;
  }
}
