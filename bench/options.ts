import { parseArgs } from 'node:util';
import { Device, OptionError } from '../engine/index.ts';
import { modelClass, type RunnableModel } from '../models/auto.ts';
import { syntheticModel } from '../models/published.ts';
import { readJson } from '../weights/json-file.ts';

export interface BenchOptions {
  readonly names: readonly string[];
  readonly device: Device;
  /** Another device of the same kind. */
  readonly openDevice: () => Promise<Device>;
  readonly model: string;
  readonly height: number;
  readonly width: number;
  readonly batch: number;
  readonly runs: number;
  readonly json: boolean;
}

/** Reads the options that the benches share and opens the device. */
export async function benchOptions(args: string[]): Promise<BenchOptions> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      device: { type: 'string', default: 'auto' },
      threads: { type: 'string' },
      model: { type: 'string', default: 'synthetic:facebook/detr-resnet-50' },
      size: { type: 'string', default: '800x1066' },
      batch: { type: 'string', default: '1' },
      runs: { type: 'string', default: '5' },
      json: { type: 'boolean', default: false },
    },
  });
  const size = /^(\d+)x(\d+)$/.exec(values.size);
  if (size === null) throw new OptionError(`--size: expected HEIGHTxWIDTH, got ${values.size}`);
  const openDevice = () =>
    Device.create({
      device: values.device as 'auto',
      revectorize: true,
      ...(values.threads && { threads: Number(values.threads) }),
    });
  return {
    names: positionals,
    device: await openDevice(),
    openDevice,
    model: values.model,
    height: Number(size[1]),
    width: Number(size[2]),
    batch: positive('--batch', values.batch),
    runs: positive('--runs', values.runs),
    json: values.json,
  };
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new OptionError(`${option}: expected a positive integer, got ${text}`);
  return value;
}

const SYNTHETIC = 'synthetic:';

/** `synthetic:NAME` of a published configuration, or a folder with a checkpoint. */
export async function openModel(model: string, device: Device): Promise<RunnableModel> {
  if (model.startsWith(SYNTHETIC)) return syntheticModel(model.slice(SYNTHETIC.length), { device });
  const { architectures } = await readJson(`${model}/config.json`);
  return modelClass(String((architectures as string[] | undefined)?.[0])).fromPretrained(model, { device });
}

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
};
