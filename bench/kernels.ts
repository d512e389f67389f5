import benny from 'benny';
import { OptionError } from '../engine/index.ts';
import { allKernels, Random } from '../kernels/index.ts';
import { benchOptions } from './options.ts';

/** Enough for a stable median without letting a software adapter take all day. */
const SAMPLING = { minSamples: 5, maxTime: 1 } as const;

/** Every kernel at its named cases, or the kernels named. */
export async function benchKernels(args: string[]): Promise<void> {
  const { names, device: first, openDevice, json } = await benchOptions(args);
  const known = allKernels.map(kernel => kernel.name);
  for (const name of names) {
    if (!known.includes(name))
      throw new OptionError(`bench: expected a kernel out of ${known.join(', ')}, got ${name}`);
  }
  if (!json) {
    console.log(first.name);
    console.log(`${'kernel: case'.padEnd(70)}${'ms'.padStart(10)}${'GFLOP/s'.padStart(10)}${'GB/s'.padStart(8)}`);
  }
  for (const kernel of allKernels) {
    if (names.length > 0 && !names.includes(kernel.name)) continue;
    // A device a kernel: what its cases hold goes with it.
    const device = await openDevice();
    for (const [title, problem] of Object.entries(kernel.cases)) {
      const inputs = kernel.inputs(problem, new Random(1));
      const launch = kernel.prepare(device, problem, inputs);
      const seconds = await measure(`${kernel.name}: ${title}`, async () => {
        device.scope(() => void launch());
        await device.finish();
      });
      const { flops, bytes } = kernel.cost(problem);
      const row = {
        kernel: kernel.name,
        case: title,
        milliseconds: seconds * 1e3,
        gigaflopsPerSecond: flops / seconds / 1e9,
        gigabytesPerSecond: bytes / seconds / 1e9,
      };
      if (json) console.log(JSON.stringify(row));
      else {
        console.log(
          `${row.kernel}: ${row.case}`.padEnd(70) +
            row.milliseconds.toFixed(3).padStart(10) +
            row.gigaflopsPerSecond.toFixed(1).padStart(10) +
            row.gigabytesPerSecond.toFixed(1).padStart(8),
        );
      }
    }
    await device.destroy();
  }
  await first.destroy();
}

/** Median seconds of one call. */
async function measure(title: string, body: () => Promise<void>): Promise<number> {
  await body();
  const summary = await quietly(() =>
    benny.suite(
      title,
      benny.add(title, () => body, SAMPLING),
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
