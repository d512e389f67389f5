import { monitorEventLoopDelay } from 'node:perf_hooks';
import { withDevice } from '../cli/models.ts';
import type { Device, HostTensor } from '../engine/index.ts';
import { Random } from '../kernels/index.ts';
import { type BenchOptions, openModel } from './options.ts';

const RESOLUTION_MILLISECONDS = 5;

/** How free the caller stays while the device works, and whether memory stays flat over many passes. */
export async function benchEventLoop(options: BenchOptions): Promise<void> {
  await withDevice(options, device => watchEventLoop(device, options));
}

async function watchEventLoop(device: Device, { model: name, size, batch, runs, json }: BenchOptions): Promise<void> {
  const model = await openModel(name, device);
  const pixelValues: HostTensor = new Random(1).tensor([batch, model.config.num_channels, ...size]);
  await model.forward({ pixelValues });
  if (!json) console.log(`${name}, ${pixelValues.shape.join('x')}, ${device.name}`);

  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MILLISECONDS });
  const before = snapshot();
  for (let run = 0; run < runs; run++) {
    delay.enable();
    await model.forward({ pixelValues });
    delay.disable();
  }
  const after = snapshot();
  const [longest, percentile99] = [delay.max / 1e6, delay.percentile(99) / 1e6];
  if (json) {
    const inputs = { model: name, shape: pixelValues.shape, device: device.name, runs };
    const milliseconds = { longestDelayMilliseconds: longest, percentile99Milliseconds: percentile99 };
    console.log(JSON.stringify({ ...inputs, ...milliseconds, before, after }));
  } else {
    console.log(
      `event loop over ${runs} passes: longest delay ${longest.toFixed(1)} ms, 99th percentile ${percentile99.toFixed(1)} ms`,
    );
    for (const key of ['liveBytes', 'reservedBytes', 'residentBytes', 'handles'] as const) {
      console.log(`${key}: ${before[key]} → ${after[key]}`);
    }
  }
  await model.dispose();

  function snapshot() {
    const { liveBytes, reservedBytes } = device.memory;
    const handles = process.getActiveResourcesInfo().length;
    return { liveBytes, reservedBytes, residentBytes: process.memoryUsage.rss(), handles };
  }
}
