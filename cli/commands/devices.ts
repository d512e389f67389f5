import { DetrError, Device } from '../../engine/index.ts';
import { WebGpuDevice } from '../../engine/webgpu/webgpu-device.ts';
import { defineCommand, exitCodes } from '../command.ts';
import { flag } from '../options.ts';
import { formatBytes, formatTable } from '../terminal.ts';

interface DeviceReport {
  readonly device: 'webgpu' | 'cpu';
  readonly available: boolean;
  /** What the device calls itself, or why it is not to be had. */
  readonly name: string;
  readonly details: AdapterDetails | undefined;
}

/** What a WebGPU adapter offers. */
interface AdapterDetails {
  readonly adapter: 'software' | 'hardware';
  readonly largestBufferBytes: number;
  readonly workgroupMemoryBytes: number;
  readonly subgroups: boolean;
  readonly shaderF16: boolean;
  readonly profilesTimedBy: string;
}

export const devices = defineCommand({
  name: 'devices',
  summary: 'List the devices of this machine, and which one is the default',
  operands: '',
  minimumOperands: 0,
  maximumOperands: 0,
  description: [
    'Tries every device and says what it found. The default (--device auto) is a hardware WebGPU adapter if there is one, else cpu; a software WebGPU adapter is used only when it is asked for with --device webgpu.',
  ],
  options: { json: flag('Print JSON') },
  examples: [['', 'What can be used here?']],
  async run({ json }) {
    const reports = [await probe('webgpu'), await probe('cpu')];
    const hardware = reports.find(({ details }) => details?.adapter === 'hardware');
    const preferred = hardware ?? reports.find(({ device }) => device === 'cpu');
    if (json) {
      const listed = reports.map(report => {
        return { ...report, details: report.details ?? {}, default: report === preferred };
      });
      process.stdout.write(`${JSON.stringify(listed, undefined, 2)}\n`);
      return exitCodes.success;
    }
    const rows = reports.flatMap(report => [
      [
        `${report === preferred ? '*' : ' '} ${report.device}`,
        report.available ? report.name : `not available: ${report.name}`,
      ],
      ...(report.details === undefined ? [] : describeAdapter(report.details)).map(line => ['', line]),
    ]);
    process.stdout.write(formatTable([{ title: '  device' }, { title: 'what it is' }], rows));
    process.stdout.write('\n* used when no --device is given\n');
    return exitCodes.success;
  },
});

async function probe(kind: 'webgpu' | 'cpu'): Promise<DeviceReport> {
  let device: Device;
  try {
    device = await Device.create({ device: kind, revectorize: true });
  } catch (error) {
    if (!(error instanceof DetrError)) throw error;
    return { device: kind, available: false, name: error.message, details: undefined };
  }
  try {
    const details = device instanceof WebGpuDevice ? detailsOf(device) : undefined;
    return { device: kind, available: true, name: device.name, details };
  } finally {
    await device.destroy();
  }
}

function detailsOf({ traits, gpuDevice, timedBy }: WebGpuDevice): AdapterDetails {
  const { limits } = gpuDevice;
  return {
    adapter: traits.software ? 'software' : 'hardware',
    largestBufferBytes: Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize),
    workgroupMemoryBytes: limits.maxComputeWorkgroupStorageSize,
    subgroups: traits.subgroups,
    shaderF16: traits.shaderF16,
    profilesTimedBy: timedBy,
  };
}

function describeAdapter(details: AdapterDetails): string[] {
  const { adapter, largestBufferBytes, workgroupMemoryBytes, subgroups, shaderF16, profilesTimedBy } = details;
  return [
    `adapter: ${adapter}`,
    `largest buffer: ${formatBytes(largestBufferBytes)}`,
    `workgroup memory: ${formatBytes(workgroupMemoryBytes)}`,
    `subgroups: ${subgroups ? 'yes' : 'no'}`,
    `shader-f16: ${shaderF16 ? 'yes' : 'no'}`,
    `profiles timed by: ${profilesTimedBy}`,
  ];
}
