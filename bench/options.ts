import { deviceOptions } from '../cli/models.ts';
import { flag, number, type Option, parseCommandLine, text, type Values } from '../cli/options.ts';
import { type Device, OptionError } from '../engine/index.ts';
import { modelClass, type RunnableModel } from '../models/auto.ts';
import { syntheticModel } from '../models/published.ts';
import { readJson } from '../weights/json-file.ts';

const size: Option<readonly [height: number, width: number]> = {
  help: 'Size of the pictures in pixels',
  placeholder: 'HxW',
  fallback: [800, 1066],
  shownDefault: '800x1066',
  parse: value => {
    const [, height, width] = /^([1-9]\d*)x([1-9]\d*)$/.exec(value) ?? [];
    if (height === undefined) throw new OptionError(`expected HEIGHTxWIDTH, got ${JSON.stringify(value)}`);
    return [Number(height), Number(width)];
  },
};

/** What the benches share. */
export const options = {
  ...deviceOptions,
  model: text(
    'NAME',
    'A folder with a checkpoint, or synthetic:NAME, a published configuration with synthetic weights',
    'synthetic:facebook/detr-resnet-50',
  ),
  size,
  batch: number('N', { minimum: 1, integer: true }, 'Pictures that go through the model together', 1),
  runs: number('N', { minimum: 1, integer: true }, 'Forward passes to time', 5),
  json: flag('Print JSON'),
};

export interface BenchOptions extends Values<typeof options> {
  /** What is not an option: kernels. */
  readonly names: readonly string[];
  /** The keys of the options that were given. */
  readonly given: ReadonlySet<string>;
  readonly help: boolean;
}

/** @throws OptionError */
export function benchOptions(args: readonly string[]): BenchOptions {
  const { values, given, positionals, help } = parseCommandLine(args, options);
  return { ...values, given, names: positionals, help };
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
