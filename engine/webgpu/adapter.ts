import { DeviceError } from '../errors.ts';
import type { AdapterTraits } from '../launch.ts';
import { calmly, pollEagerly } from './polling.ts';
import { hasVulkanLoader } from './vulkan-loader.ts';

/** An adapter's `GPUDevice` with every limit and feature that kernels can use. */
export interface OpenedAdapter {
  readonly gpuDevice: GPUDevice;
  readonly traits: AdapterTraits;
  /** `webgpu (nvidia-geforce-rtx-4090, NVIDIA: 550.54.14)`, `webgpu (llvmpipe-…, software)`. */
  readonly name: string;
}

const WANTED_FEATURES: readonly GPUFeatureName[] = ['timestamp-query', 'subgroups', 'shader-f16'];

/** Without asking, a device gets the smallest limits that any implementation has to offer. */
const WANTED_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupsPerDimension',
  'minUniformBufferOffsetAlignment',
] as const satisfies readonly (keyof GPUSupportedLimits)[];

/** Dawn quantizes timestamps to 100 microseconds unless told otherwise. */
const DAWN_OPTIONS = ['disable-dawn-features=timestamp_quantization'];

// One instance per process, never given up: Dawn crashes when it is garbage-collected while anything of it is in use.
let dawn: GPU | undefined;
let openingDawn: Promise<GPU | undefined> | undefined;

/** The browser's WebGPU, or Dawn in Node; undefined where there is nothing for it to run on. */
async function findGpu(): Promise<GPU | undefined> {
  if (typeof navigator !== 'undefined' && navigator.gpu !== undefined) return navigator.gpu;
  if (dawn !== undefined) return dawn;
  openingDawn ??= openDawn();
  try {
    dawn = await openingDawn;
    return dawn;
  } finally {
    openingDawn = undefined; // Without success perhaps only for want of memory or open files: to be tried again.
  }
}

async function openDawn(): Promise<GPU | undefined> {
  if (!(await hasVulkanLoader())) return undefined;
  try {
    const { create } = await import('webgpu');
    return create(DAWN_OPTIONS);
  } catch (cause) {
    // Not installed, not for this platform, not permitted, …
    const { message } = cause as Error;
    throw new DeviceError(`device: expected the package webgpu to load, got: ${message}`, { cause });
  }
}

/**
 * Undefined without an adapter, or if only a software one is there and that is not accepted.
 * @throws DeviceError if the package webgpu does not load, or the adapter gives no device
 */
export async function openAdapter(acceptSoftware: boolean): Promise<OpenedAdapter | undefined> {
  const gpu = await findGpu();
  const adapter = await calmly(() => gpu?.requestAdapter({ powerPreference: 'high-performance' }));
  if (adapter === null || adapter === undefined) return undefined;
  const software = isSoftware(adapter.info);
  if (software && !acceptSoftware) return undefined;

  const requiredFeatures = WANTED_FEATURES.filter(feature => adapter.features.has(feature));
  const requiredLimits = Object.fromEntries(WANTED_LIMITS.map(limit => [limit, adapter.limits[limit]]));
  const name = `webgpu (${describeAdapter(adapter.info)}${software ? ', software' : ''})`;
  const gpuDevice = await calmly(() => adapter.requestDevice({ requiredFeatures, requiredLimits })).catch(
    (cause: Error) => {
      throw new DeviceError(`device: expected ${name} to give a device, got: ${cause.message}`, { cause });
    },
  );
  if (!software) pollEagerly();
  const { limits, features } = gpuDevice;
  const traits: AdapterTraits = {
    software,
    subgroups: features.has('subgroups'),
    subgroupSize: features.has('subgroups') ? fixedSubgroupSize(adapter.info) : 0,
    shaderF16: features.has('shader-f16'),
    maxWorkgroupStorageBytes: limits.maxComputeWorkgroupStorageSize,
  };
  return { gpuDevice, traits, name };
}

/**
 * What an adapter is, for people. In Node `device` is the GPU, written as an identifier, and `description` its driver;
 * browsers may keep them to themselves.
 */
export function describeAdapter({ device, description, vendor, architecture }: GPUAdapterInfo): string {
  const parts = [device.replace(/-+$/, ''), description].filter(text => text !== '');
  return parts.join(', ') || `${vendor} ${architecture}`.trim() || 'unnamed adapter';
}

function fixedSubgroupSize({ subgroupMinSize, subgroupMaxSize }: GPUAdapterInfo): number {
  return subgroupMinSize === subgroupMaxSize ? subgroupMinSize : 0;
}

function isSoftware(info: GPUAdapterInfo): boolean {
  const text = `${info.description} ${info.device} ${info.architecture}`;
  return info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader|basic render|software/i.test(text);
}
