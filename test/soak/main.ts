// npm run soak -- [--passes N] [--device cpu|webgpu|auto] [--threads N] [--passes-per-device N] [--seed S]
import { parseArgs } from 'node:util';
import type { DeviceOptions } from '../../engine/index.ts';
import { growthOf, type SoakSample, soak } from './soak.ts';

const { values } = parseArgs({
  options: {
    passes: { type: 'string', default: '1000' },
    'passes-per-device': { type: 'string', default: '20' },
    device: { type: 'string', default: 'auto' },
    threads: { type: 'string' },
    seed: { type: 'string', default: '1' },
  },
});

const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1).padStart(8);

function show({ devices, passes, errors, liveBytes, reservedBytes, residentBytes, handles }: SoakSample): void {
  const memory = [liveBytes, reservedBytes, residentBytes].map(megabytes).join('  ');
  console.log(
    `${String(devices).padStart(7)}  ${String(passes).padStart(6)}  ${String(errors).padStart(6)}  ${memory}  ${handles}`,
  );
}

console.log('devices  passes  errors   live MB  reserved  resident  handles');
const started = performance.now();
const samples = await soak({
  passes: Number(values.passes),
  passesPerDevice: Number(values['passes-per-device']),
  device: {
    device: values.device as NonNullable<DeviceOptions['device']>,
    ...(values.threads === undefined ? {} : { threads: Number(values.threads) }),
  },
  seed: Number(values.seed),
  onSample: show,
});
const growth = growthOf(samples);
const { devices, passes, errors } = samples.at(-1)!;
const seconds = ((performance.now() - started) / 1000).toFixed(0);
console.log(`${passes} passes on ${devices} devices, ${errors} injected errors, ${seconds} s`);
console.log(growth.length === 0 ? 'memory and handles are flat' : growth.join('\n'));
process.exitCode = growth.length === 0 ? 0 : 1;
