export { describe } from './describe.ts';
export {
  Device,
  type DeviceChoice,
  type DeviceOptions,
  deviceChoices,
  type MemoryUse,
  tensorsIn,
} from './device.ts';
export * from './errors.ts';
export * from './host-tensor.ts';
export type { AdapterTraits, Cost, KernelTiming, Launch, Scalar, WasmProgram, WgslProgram } from './launch.ts';
export { MAXIMUM_WORKGROUPS_PER_DIMENSION } from './launch.ts';
export { getOrInsert } from './maps.ts';
export { type HostArray, type Storage, Tensor } from './tensor.ts';
