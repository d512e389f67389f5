import { join } from 'node:path';
import { type Device, describe, FileError, type HostTensor } from '../../engine/index.ts';
import { modelClass, type RunnableModel } from '../../models/auto.ts';
import type { RawConfig } from '../../models/configuration.ts';
import type { LabelledInputs } from '../../models/detection.ts';
import type { ImageTargets } from '../../models/losses/matcher.ts';
import { withSyntheticWeights } from '../../models/published.ts';
import { openCheckpoint, openSafetensors, type WeightSource } from '../../weights/index.ts';
import { readJson } from '../../weights/json-file.ts';
import { compareTensor, inForwardOrder, matchQueries, type TensorComparison, type Tolerance } from './compare.ts';

/*
 * Comparison with a dump: a folder with a model's configuration, its weights (or the word that they are synthetic), the
 * inputs of one forward pass and the outputs that PyTorch gave for them.
 */

/** A forward pass to repeat. */
export interface Dump {
  readonly directory: string;
  /** HuggingFace's class name. */
  readonly className: string;
  readonly config: RawConfig;
  readonly syntheticWeights: boolean;
  readonly inputs: LabelledInputs;
  /** Every output by its dotted name, `encoder_hidden_states.0`. */
  readonly expected: ReadonlyMap<string, HostTensor>;
  readonly tolerance: Tolerance;
}

/** @throws FileError, ConfigError */
export async function readDump(directory: string): Promise<Dump> {
  const file = join(directory, 'dump.json');
  const description = await readJson(file);
  if (description.format !== 1) {
    throw new FileError({ file }, `expected a dump of format 1, got ${JSON.stringify(description.format)}`);
  }
  for (const name of ['atol', 'rtol'] as const) {
    const value = description[name];
    if (typeof value === 'number' && value >= 0) continue;
    throw new FileError({ file }, `${name}: expected a number from 0, got ${describe(value)}`);
  }
  const forward = (description.forward ?? {}) as RawConfig;
  const inputs = await readAll(join(directory, 'inputs.safetensors'));
  return {
    directory,
    className: String(description.class),
    config: await readJson(join(directory, 'config.json')),
    syntheticWeights: description.weights === 'synthetic',
    inputs: {
      ...dumpInputs(inputs),
      outputHiddenStates: forward.output_hidden_states === true,
      outputAttentions: forward.output_attentions === true,
    },
    expected: await readAll(join(directory, 'outputs.safetensors')),
    tolerance: {
      atol: Number(description.atol),
      rtol: Number(description.rtol),
      float32Noise: new Map(Object.entries((description.float32_noise ?? {}) as Record<string, number>)),
    },
  };
}

async function readAll(file: string): Promise<Map<string, HostTensor>> {
  const source = await openSafetensors(file);
  try {
    const tensors = new Map<string, HostTensor>();
    for (const name of source.tensors.keys()) tensors.set(name, await source.read(name));
    return tensors;
  } finally {
    await source.close();
  }
}

function dumpInputs(tensors: ReadonlyMap<string, HostTensor>): LabelledInputs {
  const labels: ImageTargets[] = [];
  for (let image = 0; tensors.has(`labels.${image}.class_labels`); image++) {
    const classLabels = tensors.get(`labels.${image}.class_labels`)!;
    const masks = tensors.get(`labels.${image}.masks`);
    labels.push({
      classLabels: { shape: classLabels.shape, data: Int32Array.from(classLabels.data) },
      boxes: tensors.get(`labels.${image}.boxes`)!,
      ...(masks && { masks: { shape: masks.shape, data: Uint8Array.from(masks.data) } }),
    });
  }
  const memory = tensors.get('encoder_outputs');
  return {
    pixelValues: tensors.get('pixel_values'),
    pixelMask: tensors.get('pixel_mask'),
    inputsEmbeds: tensors.get('inputs_embeds'),
    decoderInputsEmbeds: tensors.get('decoder_inputs_embeds'),
    decoderAttentionMask: tensors.get('decoder_attention_mask'),
    encoderOutputs: memory && { last_hidden_state: memory },
    ...(labels.length > 0 && { labels }),
  };
}

/** The dump's model on a device. */
async function loadDumpModel(dump: Dump, device: Device): Promise<RunnableModel> {
  const Model = modelClass(dump.className);
  if (dump.syntheticWeights) return withSyntheticWeights(Model, dump.config, { device, name: dump.directory });
  const source: WeightSource = await openCheckpoint(dump.directory);
  try {
    return await Model.fromSource(dump.config, source, { device });
  } finally {
    await source.close();
  }
}

/** Repeats the dump's forward pass and returns every output by its dotted name. */
export async function runDump(dump: Dump, device: Device): Promise<Map<string, HostTensor>> {
  const model = await loadDumpModel(dump, device);
  try {
    return new Map(flatten(await model.forward(dump.inputs)));
  } finally {
    await model.dispose();
  }
}

function* flatten(value: unknown, name = ''): Generator<[string, HostTensor]> {
  if (isHostTensor(value)) yield [name, value];
  else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) yield* flatten(item, name === '' ? key : `${name}.${key}`);
  }
}

const isHostTensor = (value: unknown): value is HostTensor =>
  typeof value === 'object' && value !== null && 'shape' in value && 'data' in value;

/** One row per expected output, in the order of the forward pass. */
export function compareOutputs(dump: Dump, outputs: ReadonlyMap<string, HostTensor>): TensorComparison[] {
  const actual = dump.config.two_stage === true ? matchQueries(outputs, dump.expected) : outputs;
  return inForwardOrder(dump.expected.keys()).map(name =>
    compareTensor(name, actual.get(name), dump.expected.get(name)!, dump.tolerance),
  );
}
