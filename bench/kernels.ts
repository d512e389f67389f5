import benny from 'benny';
import { withDevice } from '../cli/models.ts';
import { checkEffect } from '../cli/options.ts';
import { formatTable, ProgressBar } from '../cli/terminal.ts';
import { type Device, OptionError } from '../engine/index.ts';
import { allKernels, type Kernel, Random } from '../kernels/index.ts';
import { didYouMean } from '../weights/suggest.ts';
import type { BenchOptions } from './options.ts';

/** Enough for a stable median without letting a software adapter take all day. */
const SAMPLING = { minSamples: 5, maxTime: 1 } as const;

/**
 * Launches are recorded and waited for in batches, so that handing work to the device and hearing that it is done, which
 * take longer than a small kernel on a fast GPU, are shared by many. A batch grows until it lasts so long or is so large.
 */
const BATCH = { milliseconds: 10, launches: 512 } as const;

export const howKernelsAreTimed = `the time of the median batch over its launches; a batch takes ${BATCH.milliseconds} ms or holds ${BATCH.launches} launches`;

interface Row {
  readonly kernel: string;
  readonly case: string;
  readonly launchesPerBatch: number;
  readonly milliseconds: number;
  readonly gigaflopsPerSecond: number;
  readonly gigabytesPerSecond: number;
}

/** Every kernel at its named cases, or the kernels named. */
export async function benchKernels(options: BenchOptions): Promise<void> {
  const { names, json } = options;
  checkEffect(options.given, ['model', 'size', 'batch', 'runs'], { needed: 'model or event-loop', got: 'kernels' });
  const known = allKernels.map(kernel => kernel.name);
  for (const name of names) {
    if (known.includes(name)) continue;
    throw new OptionError(`expected a kernel out of ${known.join(', ')}, got ${name}${didYouMean(name, known)}`);
  }
  const kernels = allKernels.filter(({ name }) => names.length === 0 || names.includes(name));
  const progress = new ProgressBar(kernels.reduce((sum, { cases }) => sum + Object.keys(cases).length, 0));
  let isFirst = true;
  for (const kernel of kernels) {
    // A device a kernel: what its cases hold goes with it.
    await withDevice(options, async device => {
      if (!json && isFirst) progress.above(() => console.log(`${device.name}\n${howKernelsAreTimed}`));
      isFirst = false;
      const rows: Row[] = [];
      for (const name of Object.keys(kernel.cases)) {
        progress.show(`${kernel.name}: ${name}`);
        const row = await timeCase(kernel, name, device);
        if (json) progress.above(() => console.log(JSON.stringify(row)));
        rows.push(row);
        progress.advance(1);
      }
      if (!json) progress.above(() => process.stdout.write(`\n${tableOf(kernel.name, rows)}`));
    });
  }
  progress.clear();
}

async function timeCase(kernel: Kernel<unknown>, name: string, device: Device): Promise<Row> {
  const problem = kernel.cases[name];
  const launch = kernel.prepare(device, problem, kernel.inputs(problem, new Random(1)));
  const runBatch = async (launches: number) => {
    for (let index = 0; index < launches; index++) device.scope(() => void launch());
    await device.finish();
  };
  await runBatch(1); // compiles
  const launchesPerBatch = await batchSize(runBatch);
  const seconds = (await medianSeconds(() => runBatch(launchesPerBatch))) / launchesPerBatch;
  const { flops, bytes } = kernel.cost(problem);
  return {
    kernel: kernel.name,
    case: name,
    launchesPerBatch,
    milliseconds: seconds * 1e3,
    gigaflopsPerSecond: flops / seconds / 1e9,
    gigabytesPerSecond: bytes / seconds / 1e9,
  };
}

async function batchSize(runBatch: (launches: number) => Promise<void>): Promise<number> {
  let launches = 1;
  while (launches < BATCH.launches && (await isShort(() => runBatch(launches)))) launches *= 2;
  return launches;
}

/** Whether a batch is still too short: a single slow run, of a GPU that wakes up, say, must not make it count as long. */
async function isShort(run: () => Promise<void>): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt++) {
    const start = performance.now();
    await run();
    if (performance.now() - start < BATCH.milliseconds) return true;
  }
  return false;
}

async function medianSeconds(body: () => Promise<void>): Promise<number> {
  const summary = await quietly(() =>
    benny.suite(
      '',
      benny.add('', () => body, SAMPLING),
    ),
  );
  return summary.results[0]!.details.median;
}

/** benny announces every suite on standard output, which belongs to the table. */
async function quietly<Result>(run: () => Promise<Result>): Promise<Result> {
  const { log } = console;
  console.log = () => {};
  try {
    return await run();
  } finally {
    console.log = log;
  }
}

function tableOf(kernel: string, rows: readonly Row[]): string {
  const numbers = ['ms', 'GFLOP/s', 'GB/s'].map(title => ({ title, align: 'right' as const }));
  return formatTable(
    [{ title: kernel }, ...numbers],
    rows.map(row => [
      row.case,
      row.milliseconds.toFixed(3),
      row.gigaflopsPerSecond.toFixed(1),
      row.gigabytesPerSecond.toFixed(1),
    ]),
  );
}
