import { withDevice } from '../cli/models.ts';
import { formatTable } from '../cli/terminal.ts';
import { type Device, getOrInsert, type HostTensor, type KernelTiming } from '../engine/index.ts';
import { Random } from '../kernels/index.ts';
import { type BenchOptions, median, openModel } from './options.ts';

interface Share {
  readonly name: string;
  readonly milliseconds: number;
  readonly launches: number;
  readonly gigaflopsPerSecond: number;
  readonly gigabytesPerSecond: number;
}

/** Whole forward passes, host to host. */
export async function benchModel(options: BenchOptions): Promise<void> {
  const report = await withDevice(options, device => timePasses(device, options));
  if (options.json) console.log(JSON.stringify(report));
  else print(report);
}

async function timePasses(device: Device, { model: name, size, batch, runs }: BenchOptions) {
  const model = await openModel(name, device);
  const weightBytes = device.memory.liveBytes;
  const pixelValues: HostTensor = new Random(1).tensor([batch, model.config.num_channels, ...size]);

  const firstStart = performance.now();
  await model.forward({ pixelValues });
  const firstMilliseconds = performance.now() - firstStart;
  device.resetPeak();
  const times: number[] = [];
  const recordingTimes: number[] = [];
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    const outputs = model.forward({ pixelValues });
    recordingTimes.push(performance.now() - start);
    await outputs;
    times.push(performance.now() - start);
  }
  const { peakBytes } = device.memory;
  const { timings } = await device.profile(() => model.forward({ pixelValues }));
  const flops = timings.reduce((sum, timing) => sum + timing.flops, 0);
  await model.dispose();
  return {
    model: name,
    device: device.name,
    shape: pixelValues.shape,
    runs,
    firstMilliseconds,
    medianMilliseconds: median(times),
    minimumMilliseconds: Math.min(...times),
    // Until the caller goes on, with every launch recorded.
    recordingMilliseconds: median(recordingTimes),
    gigaflops: flops / 1e9,
    gigaflopsPerSecond: flops / median(times) / 1e6,
    weightBytes,
    peakBytes,
    stages: sharesBy(timings, timing => timing.stage.split('/')[0]!),
    kernels: sharesBy(timings, timing => timing.kernel),
  };
}

function sharesBy(timings: readonly KernelTiming[], key: (timing: KernelTiming) => string): Share[] {
  const groups = new Map<string, KernelTiming[]>();
  for (const timing of timings) getOrInsert(groups, key(timing), () => []).push(timing);
  return [...groups].map(([name, members]) => {
    const sum = (value: (timing: KernelTiming) => number) =>
      members.reduce((total, timing) => total + value(timing), 0);
    const milliseconds = sum(timing => timing.milliseconds);
    return {
      name: name === '' ? '(other)' : name,
      milliseconds,
      launches: members.length,
      gigaflopsPerSecond: sum(timing => timing.flops) / milliseconds / 1e6,
      gigabytesPerSecond: sum(timing => timing.bytes) / milliseconds / 1e6,
    };
  });
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

function print(report: Awaited<ReturnType<typeof timePasses>>): void {
  console.log(`${report.model}, ${report.shape.join('x')}, ${report.device}`);
  console.log(
    `median ${report.medianMilliseconds.toFixed(0)} ms, minimum ${report.minimumMilliseconds.toFixed(0)} ms of ${report.runs} runs` +
      ` (first run ${report.firstMilliseconds.toFixed(0)} ms), recorded in ${report.recordingMilliseconds.toFixed(1)} ms; ${report.gigaflops.toFixed(1)} GFLOP, ${report.gigaflopsPerSecond.toFixed(1)} GFLOP/s`,
  );
  const extra = report.peakBytes - report.weightBytes;
  console.log(
    `weights ${megabytes(report.weightBytes)}, peak ${megabytes(report.peakBytes)} (weights + ${megabytes(extra)})`,
  );
  for (const [title, shares] of [['stage', report.stages] as const, ['kernel', report.kernels] as const]) {
    const numbers = ['ms', 'launches', 'GFLOP/s', 'GB/s'].map(title => ({ title, align: 'right' as const }));
    const rows = shares
      .toSorted((a, b) => b.milliseconds - a.milliseconds)
      .map(share => [
        share.name,
        share.milliseconds.toFixed(1),
        String(share.launches),
        share.gigaflopsPerSecond.toFixed(1),
        share.gigabytesPerSecond.toFixed(1),
      ]);
    console.log(`\n${formatTable([{ title }, ...numbers], rows).trimEnd()}`);
  }
}
