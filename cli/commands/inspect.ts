import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { listNames } from '../../engine/describe.ts';
import { FileError } from '../../engine/errors.ts';
import { elementCount, formatShape } from '../../engine/host-tensor.ts';
import { getOrInsert } from '../../engine/maps.ts';
import { readImage } from '../../models/images/files.ts';
import { openCheckpoint } from '../../weights/checkpoint.ts';
import { storedDataType } from '../../weights/data-types.ts';
import { fileSystemError } from '../../weights/files.ts';
import { readJson } from '../../weights/json-file.ts';
import type { Checkpoint } from '../../weights/source.ts';
import { isFaultOfInput } from '../batches.ts';
import { defineCommand, exitCodes } from '../command.ts';
import { pictureEndings, weightEndings, withoutFile } from '../files.ts';
import { locateModel, revisionOption } from '../models.ts';
import { flag } from '../options.ts';
import { formatBytes, formatTable, plural, printable } from '../terminal.ts';

interface TensorReport {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
}

interface WeightsReport {
  readonly file: string;
  /** Of the values as they are stored, in all shards of an index. */
  readonly bytes: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly parameters: number;
  readonly tensors: readonly TensorReport[];
}

interface ModelReport {
  readonly folder: string;
  readonly config: Readonly<Record<string, unknown>> | undefined;
  readonly processor: Readonly<Record<string, unknown>> | undefined;
  readonly weights: readonly WeightsReport[];
  /** Files that are called as weights are but hold none, as trainers leave them: their options, an optimizer's state. */
  readonly others: readonly { readonly file: string; readonly problem: string }[];
}

export const inspect = defineCommand({
  name: 'inspect',
  summary: 'Show what a checkpoint, a model folder or a picture holds',
  operands: 'FILE|DIR|NAME',
  minimumOperands: 1,
  maximumOperands: 1,
  description: [
    'Reads a safetensors or PyTorch file, the index of a sharded one (….index.json), a model folder (config.json, preprocessor_config.json and weights), a model by its name (embedded, or on the hub and downloaded if need be) or a PNG or JPEG picture, and shows what is in it. Weights are summed up by module; --tensors lists every tensor.',
  ],
  options: {
    ...revisionOption,
    tensors: flag('List every tensor with its type and shape'),
    json: flag('Print JSON, with every tensor'),
  },
  examples: [
    ['model.safetensors --tensors', 'Every tensor of a checkpoint'],
    ['./my-model', 'What is in a model folder?'],
    ['scenes-detr', 'An embedded model'],
  ],
  async run({ revision, tensors, json }, [name], { signal }) {
    const report = await inspectPath(await locateModel(name!, revision, signal));
    if (json) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
    else if ('tensors' in report) process.stdout.write(describeWeights(report, tensors));
    else if ('folder' in report) process.stdout.write(describeModel(report, tensors));
    else
      process.stdout.write(
        `${printable(report.file)}: picture, ${report.width} x ${report.height}, ${formatBytes(report.bytes)}\n`,
      );
    return exitCodes.success;
  },
});

async function inspectPath(path: string) {
  let status: Awaited<ReturnType<typeof stat>>;
  try {
    status = await stat(path);
  } catch (error) {
    throw fileSystemError(path, error);
  }
  if (status.isDirectory()) return inspectFolder(path);
  if (pictureEndings.test(path)) {
    const { width, height } = await readImage(path);
    return { file: path, width, height, bytes: status.size };
  }
  if (weightEndings.test(path)) return inspectWeights(path);
  throw new FileError(
    { file: path },
    `expected weights (.safetensors, .bin, .pth or an index), a folder or a picture, got ${extname(path) || 'a file without an ending'}`,
  );
}

async function inspectFolder(folder: string): Promise<ModelReport> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(error => {
    throw fileSystemError(folder, error);
  });
  const files = entries.filter(entry => !entry.isDirectory()).map(({ name }) => name);
  const found = files.sort().filter(file => weightEndings.test(file));
  const indexes = found.filter(file => file.endsWith('.index.json'));
  const weightFiles = indexes.length > 0 ? indexes : found;
  const json = (name: string) => (files.includes(name) ? readJson(join(folder, name)) : undefined);
  const [weights, others] = await inspectAll(weightFiles.map(file => join(folder, file)));
  const report = {
    folder,
    config: await json('config.json'),
    processor: await json('preprocessor_config.json'),
    weights,
    others,
  };
  if (report.config === undefined && report.weights.length === 0) {
    throw new FileError({ file: folder }, 'expected a model folder, got one without config.json and weights');
  }
  return report;
}

/** @throws FileError where no file can be read */
async function inspectAll(paths: readonly string[]): Promise<[ModelReport['weights'], ModelReport['others']]> {
  const results = await Promise.allSettled(paths.map(inspectWeights));
  const failures = results.flatMap((result, index) =>
    result.status === 'rejected' ? [{ file: paths[index]!, reason: result.reason as unknown }] : [],
  );
  const serious = failures.find(({ reason }) => failures.length === paths.length || !isFaultOfInput(reason));
  if (serious !== undefined) throw serious.reason;
  const weights = results.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
  const others = failures.map(({ file, reason }) => ({ file, problem: withoutFile((reason as Error).message, file) }));
  return [weights, others];
}

async function inspectWeights(path: string): Promise<WeightsReport> {
  const checkpoint: Checkpoint = await openCheckpoint(path);
  try {
    const tensors = [...checkpoint.tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
    return {
      file: path,
      bytes: sum(tensors.map(({ dtype, shape }) => elementCount(shape) * storedDataType(dtype)!.bytes)),
      metadata: Object.fromEntries(checkpoint.metadata),
      parameters: sum(tensors.map(({ shape }) => elementCount(shape))),
      tensors,
    };
  } finally {
    await checkpoint.close();
  }
}

function describeModel({ folder, config, processor, weights, others }: ModelReport, allTensors: boolean): string {
  const rows: string[][] = [];
  const add = (name: string, value: unknown) => {
    if (value !== undefined && value !== null) rows.push([name, String(value)]);
  };
  if (config === undefined) add('config.json', 'missing');
  else {
    add('model type', config.model_type);
    if (Array.isArray(config.architectures)) add('architecture', config.architectures.join(', '));
    add('backbone', describeBackbone(config));
    const labels = config.id2label as Record<string, string> | undefined;
    if (labels !== undefined) {
      const names = Object.values(labels);
      add('classes', `${names.length} (${listNames(names, 8)})`);
    }
    add('queries', config.num_queries);
    add('layers', layersOf(config));
    add('width', config.d_model ?? config.hidden_size);
  }
  if (processor === undefined) add('preprocessor_config.json', 'missing');
  else {
    add('processor', processor.image_processor_type ?? processor.feature_extractor_type);
    add('image size', typeof processor.size === 'object' ? JSON.stringify(processor.size) : processor.size);
  }
  if (weights.length === 0) add('weights', 'missing');
  for (const { file, problem } of others) add('no weights', `${basename(file)}: ${problem}`);
  const summary = rows.map(([name, value]) => `  ${name!.padEnd(14)}  ${printable(value!)}\n`).join('');
  return `${printable(folder)}: model folder\n${summary}${weights.map(file => `\n${describeWeights(file, allTensors)}`).join('')}`;
}

function describeBackbone(config: Readonly<Record<string, unknown>>): unknown {
  if (typeof config.backbone === 'string') return config.backbone;
  const backbone = config.backbone_config;
  if (typeof backbone !== 'object' || backbone === null) return undefined;
  const { model_type: type, depths, hidden_sizes: widths, layer_type: layers } = backbone as Record<string, unknown>;
  const list = (value: unknown) => (Array.isArray(value) ? value.join('-') : undefined);
  const details = [layers, list(depths), list(widths)].filter(detail => detail !== undefined);
  return [type, details.length > 0 ? `(${details.join(', ')})` : ''].join(' ').trim();
}

function layersOf({ encoder_layers: encoder, decoder_layers: decoder }: Readonly<Record<string, unknown>>): unknown {
  return encoder === undefined || decoder === undefined ? undefined : `${encoder} encoder, ${decoder} decoder`;
}

function describeWeights({ file, bytes, metadata, parameters, tensors }: WeightsReport, allTensors: boolean): string {
  const types = [...new Set(tensors.map(({ dtype }) => dtype))].sort().join(', ') || 'no data';
  const notes = Object.entries(metadata).map(([key, value]) => `  ${printable(`${key}: ${value}`)}\n`);
  const head = `${printable(basename(file))}: ${plural(tensors.length, 'tensor')}, ${parameters.toLocaleString('en')} values (${types}), ${formatBytes(bytes)}\n`;
  if (allTensors) {
    const rows = tensors.map(({ name, dtype, shape }) => [name, dtype, formatShape(shape)]);
    return head + notes.join('') + formatTable([{ title: 'tensor' }, { title: 'type' }, { title: 'shape' }], rows, 2);
  }
  const modules = new Map<string, { tensors: number; values: number }>();
  for (const { name, shape } of tensors) {
    const entry = getOrInsert(modules, moduleOf(name), () => ({ tensors: 0, values: 0 }));
    entry.tensors += 1;
    entry.values += elementCount(shape);
  }
  const rows = [...modules].map(([name, entry]) => [
    name,
    String(entry.tensors),
    entry.values.toLocaleString('en'),
    `${((100 * entry.values) / Math.max(1, parameters)).toFixed(1)} %`,
  ]);
  const columns = [
    { title: 'module' },
    { title: 'tensors', align: 'right' },
    { title: 'values', align: 'right' },
    { title: 'share', align: 'right' },
  ] as const;
  return head + notes.join('') + formatTable(columns, rows, 2);
}

/** The first names of a tensor's path, without the tensor's own: `model.encoder.layers.0.fc1.weight` → `model.encoder`. */
function moduleOf(name: string): string {
  const path = name.split('.').slice(0, -1);
  const depth = path[0] === 'model' ? 2 : 1;
  return path.slice(0, depth).join('.') || name;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
