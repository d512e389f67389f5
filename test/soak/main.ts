// npm run soak -- --help
import { deviceOptions } from '../../cli/models.ts';
import { number } from '../../cli/options.ts';
import { toolOptions } from '../support/tool.ts';
import { growthOf, type SoakSample, soak } from './soak.ts';

const count = { minimum: 1, integer: true };
const { device, threads, passes, passesPerDevice, seed } = toolOptions('npm run soak --', {
  ...deviceOptions,
  passes: number('N', count, 'Forward passes in all', 1000),
  passesPerDevice: number('N', count, 'Forward passes of one device before another takes its place', 20),
  seed: number('S', { minimum: 0, integer: true }, 'Other seeds give other errors', 1),
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
  passes,
  passesPerDevice,
  device: { device, ...(threads === undefined ? {} : { threads }) },
  seed,
  onSample: show,
});
const growth = growthOf(samples);
const { devices, passes: done, errors } = samples.at(-1)!;
const seconds = ((performance.now() - started) / 1000).toFixed(0);
console.log(`${done} passes on ${devices} devices, ${errors} injected errors, ${seconds} s`);
console.log(growth.length === 0 ? 'memory and handles are flat' : growth.join('\n'));
process.exitCode = growth.length === 0 ? 0 : 1;
