import { ConfigError, describe } from '../engine/index.ts';
import { type Activation, activationByName } from '../kernels/activation.ts';
import type { MobileNetV3Config } from './backbones/mobilenetv3.ts';
import type { ResNetConfig } from './backbones/resnet.ts';

/*
 * config.json, read the way transformers does: unknown keys are ignored, missing ones have the class' defaults, and old
 * spellings are accepted. Keys stay in config.json's own snake_case.
 */

/** A config.json as parsed, or the part of it that a caller wants to set. */
export type RawConfig = Readonly<Record<string, unknown>>;

/** What models are made from: a config, or a config.json. */
export type ConfigInput<Config> = RawConfig | Config;

type Field<Value> = (raw: unknown, key: string) => Value;

/** null counts as absent: transformers v4 writes nulls for what does not apply. */
const withDefault =
  <Value>(fallback: Value, expected: string, accepts: (raw: unknown) => boolean): Field<Value> =>
  (raw, key) => {
    if (raw === undefined || raw === null) return fallback;
    if (!accepts(raw)) throw new ConfigError(`config: ${key}: expected ${expected}, got ${describe(raw)}`);
    return raw as Value;
  };

/**
 * Beyond these a file is damaged or hostile: the largest models have a twentieth. They are refused before anything of that
 * size is made.
 */
const MAXIMUM_WIDTH = 65_536;
const MAXIMUM_LAYERS = 512;

const integer = (fallback: number, minimum: number, maximum: number, expected: string) =>
  withDefault(
    fallback,
    expected,
    raw => Number.isInteger(raw) && (raw as number) >= minimum && (raw as number) <= maximum,
  );
const count = (fallback: number, maximum = MAXIMUM_WIDTH) =>
  integer(fallback, 1, maximum, `a positive integer up to ${maximum}`);
const layers = (fallback: number) => count(fallback, MAXIMUM_LAYERS);
const number = (fallback: number) =>
  withDefault(fallback, 'a finite number', raw => typeof raw === 'number' && Number.isFinite(raw));
const flag = (fallback: boolean) => withDefault(fallback, 'true or false', raw => typeof raw === 'boolean');
const choice = <Value extends string>(fallback: Value, values: readonly Value[]) =>
  withDefault<Value>(fallback, `one of ${values.join(', ')}`, raw => values.includes(raw as Value));

const activation: Field<Activation> = (raw, key) => {
  try {
    return activationByName(String(raw ?? 'relu'));
  } catch (cause) {
    throw new ConfigError(`config: ${key}: ${(cause as Error).message}`, { cause });
  }
};

type Schema = Readonly<Record<string, Field<unknown>>>;
type Fields<S extends Schema> = { readonly [Key in keyof S]: ReturnType<S[Key]> };

const commonFields = {
  num_channels: count(3),
  d_model: count(256),
  encoder_layers: integer(6, 0, MAXIMUM_LAYERS, `an integer from 0 to ${MAXIMUM_LAYERS}`),
  decoder_layers: layers(6),
  encoder_attention_heads: count(8),
  decoder_attention_heads: count(8),
  activation_function: activation,
  position_embedding_type: choice('sine', ['sine', 'learned']),
  auxiliary_loss: flag(false),
  init_std: number(0.02),
  init_xavier_std: number(1),
  bbox_cost: number(5),
  giou_cost: number(2),
  mask_loss_coefficient: number(1),
  dice_loss_coefficient: number(1),
  bbox_loss_coefficient: number(5),
  giou_loss_coefficient: number(2),
  output_hidden_states: flag(false),
  output_attentions: flag(false),
} satisfies Schema;

const detrFields = {
  ...commonFields,
  num_queries: count(100),
  encoder_ffn_dim: count(2048),
  decoder_ffn_dim: count(2048),
  class_cost: number(1),
  eos_coefficient: number(0.1),
} satisfies Schema;

const conditionalDetrFields = {
  ...commonFields,
  num_queries: count(300),
  encoder_ffn_dim: count(2048),
  decoder_ffn_dim: count(2048),
  class_cost: number(2),
  cls_loss_coefficient: number(2),
  focal_alpha: number(0.25),
} satisfies Schema;

const deformableDetrFields = {
  ...commonFields,
  num_queries: count(300),
  encoder_ffn_dim: count(1024),
  decoder_ffn_dim: count(1024),
  num_feature_levels: count(4, 16),
  encoder_n_points: count(4, 64),
  decoder_n_points: count(4, 64),
  two_stage: flag(false),
  two_stage_num_proposals: count(300),
  with_box_refine: flag(false),
  class_cost: number(1),
  focal_alpha: number(0.25),
  tie_word_embeddings: flag(true),
} satisfies Schema;

/** Other names that config.json may have for a key. */
const deformableDetrAliases = { hidden_size: 'd_model', num_attention_heads: 'encoder_attention_heads' };
const aliases = { ...deformableDetrAliases, num_hidden_layers: 'encoder_layers' };

export type BackboneConfig = ResNetConfig | MobileNetV3Config;

/** What all three families share beyond their own fields. */
export interface BaseConfig extends Fields<typeof commonFields> {
  readonly model_type: ModelType;
  readonly num_queries: number;
  readonly encoder_ffn_dim: number;
  readonly decoder_ffn_dim: number;
  /** Class names by label; those below `num_labels` that the file does not name are `LABEL_i`. */
  readonly id2label: Readonly<Record<number, string>>;
  readonly num_labels: number;
  /** The backbone, from whichever of the config's spellings is there. Its input channels are `num_channels`. */
  readonly backbone: BackboneConfig;
  /** `architectures` of the file: the class that wrote it. */
  readonly architectures: readonly string[];
}

export type ModelType = 'detr' | 'conditional_detr' | 'deformable_detr';
export type DetrConfigFields = BaseConfig & Fields<typeof detrFields>;
export type ConditionalDetrConfigFields = BaseConfig & Fields<typeof conditionalDetrFields>;
export type DeformableDetrConfigFields = BaseConfig & Fields<typeof deformableDetrFields>;

function readFields<S extends Schema>(schema: S, raw: RawConfig, otherNames: Readonly<Record<string, string>>) {
  const named = { ...raw };
  for (const [alias, key] of Object.entries(otherNames)) {
    // The other name wins, as in transformers; but not `num_hidden_layers`, which files of transformers 4 hold outdated.
    named[key] = key === 'encoder_layers' ? (raw[key] ?? raw[alias]) : (raw[alias] ?? raw[key]);
  }
  return Object.fromEntries(Object.entries(schema).map(([key, field]) => [key, field(named[key], key)])) as Fields<S>;
}

/** What takes more than one key to know. `timmStages` are the maps that the family takes of a timm backbone. */
function readShared(raw: RawConfig, modelType: ModelType, timmStages: readonly number[]) {
  if ((raw.model_type ?? modelType) !== modelType) {
    throw new ConfigError(`config: model_type: expected ${modelType}, got ${describe(raw.model_type)}`);
  }
  const backbone = readBackbone(raw, timmStages);
  const architectures = Array.isArray(raw.architectures) ? raw.architectures.map(String) : [];
  return { ...readLabels(raw), model_type: modelType, architectures, backbone, num_channels: backbone.inChannels };
}

function readLabels(raw: RawConfig): Pick<BaseConfig, 'id2label' | 'num_labels'> {
  const entries = Object.entries(readObject(raw.id2label, 'id2label') ?? {});
  // transformers: num_labels is the number of names when there are names, else the key, else 2.
  const isCounted = entries.length > 0 && !(ownBackbone(raw) && haveFilledGaps(entries, raw.num_labels));
  const labels = isCounted ? entries.length : count(2)(raw.num_labels, 'num_labels');
  const id2label: Record<number, string> = {};
  for (let label = 0; label < labels; label++) id2label[label] = `LABEL_${label}`;
  for (const [label, name] of entries) {
    if (!/^\d+$/.test(label)) {
      throw new ConfigError(`config: id2label: expected whole numbers as keys, got ${describe(label)}`);
    }
    id2label[Number(label)] = String(name);
  }
  return { id2label, num_labels: labels };
}

/** Whether they are the names of a config with so many labels, in which all of these have one, and some beyond may. */
function haveFilledGaps(entries: readonly (readonly [string, unknown])[], labels: unknown): boolean {
  const names = new Map(entries.map(([label, name]) => [Number(label), name]));
  let given = entries.length;
  for (let label = 0; label < Number(labels); label++) {
    if (!names.has(label)) return false;
    if (names.get(label) === `LABEL_${label}`) given--;
  }
  return given <= Number(labels);
}

function readObject(raw: unknown, key: string): RawConfig | undefined {
  if (raw === undefined || raw === null) return undefined;
  if (typeof raw === 'object' && !Array.isArray(raw)) return raw as RawConfig;
  throw new ConfigError(`config: ${key}: expected an object, got ${describe(raw)}`);
}

function checkHeads(config: Fields<typeof commonFields>): void {
  for (const key of ['encoder_attention_heads', 'decoder_attention_heads'] as const) {
    if (config.d_model % config[key] !== 0) {
      throw new ConfigError(`config: d_model: expected a multiple of ${key} (${config[key]}), got ${config.d_model}`);
    }
  }
  if (config.d_model % 2 !== 0)
    throw new ConfigError(`config: d_model: expected an even number, got ${config.d_model}`);
}

/** A family's configuration class: `read` turns config.json's keys into the config that the models take. */
function configClass<Config extends BaseConfig>(read: (raw: RawConfig) => Config) {
  return {
    /**
     * A config out of any of config.json's keys, or out of a config; the others have the class's defaults.
     * @throws ConfigError naming the key
     */
    from(raw: ConfigInput<Config> = {}): Config {
      if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
        throw new ConfigError(`config: expected an object, got ${describe(raw)}`);
      }
      return read(raw as RawConfig);
    },

    /** A config around a backbone's config (`{ model_type: 'resnet', … }`). @throws ConfigError naming the key. */
    fromBackboneConfig(backboneConfig: RawConfig, raw: ConfigInput<Config> = {}): Config {
      const { backbone: _, ...others } = raw as RawConfig;
      const config = read({ ...others, use_timm_backbone: false, backbone_config: backboneConfig });
      return ownBackbone(raw as RawConfig) === undefined ? config : { ...config, ...readLabels(raw as RawConfig) };
    },
  };
}

const ALL_STAGES = [1, 2, 3, 4];

export const DetrConfig = configClass((raw): DetrConfigFields => {
  const fields = readFields(detrFields, raw, aliases);
  checkHeads(fields);
  return { ...fields, ...readShared(raw, 'detr', ALL_STAGES) };
});

export const ConditionalDetrConfig = configClass((raw): ConditionalDetrConfigFields => {
  const fields = readFields(conditionalDetrFields, raw, aliases);
  checkHeads(fields);
  return { ...fields, ...readShared(raw, 'conditional_detr', ALL_STAGES) };
});

export const DeformableDetrConfig = configClass((raw): DeformableDetrConfigFields => {
  const fields = readFields(deformableDetrFields, raw, deformableDetrAliases);
  checkHeads(fields);
  if (fields.two_stage && !fields.with_box_refine) {
    throw new ConfigError('config: two_stage: expected with_box_refine to be true as well, got false');
  }
  return { ...fields, ...readShared(raw, 'deformable_detr', fields.num_feature_levels > 1 ? [2, 3, 4] : [4]) };
});

const TIMM_RESNETS: Readonly<Record<string, Pick<ResNetConfig, 'layerType' | 'depths' | 'hiddenSizes'>>> = {
  resnet18: { layerType: 'basic', depths: [2, 2, 2, 2], hiddenSizes: [64, 128, 256, 512] },
  resnet34: { layerType: 'basic', depths: [3, 4, 6, 3], hiddenSizes: [64, 128, 256, 512] },
  resnet50: { layerType: 'bottleneck', depths: [3, 4, 6, 3], hiddenSizes: [256, 512, 1024, 2048] },
  resnet101: { layerType: 'bottleneck', depths: [3, 4, 23, 3], hiddenSizes: [256, 512, 1024, 2048] },
};

/** The configs of transformers' ResNets that a config may name instead of holding one. */
const HUB_RESNETS: Readonly<Record<string, RawConfig>> = {
  'microsoft/resnet-18': { layer_type: 'basic', depths: [2, 2, 2, 2], hidden_sizes: [64, 128, 256, 512] },
  'microsoft/resnet-26': { depths: [2, 2, 2, 2] },
  'microsoft/resnet-34': { layer_type: 'basic', depths: [3, 4, 6, 3], hidden_sizes: [64, 128, 256, 512] },
  'microsoft/resnet-50': {},
  'microsoft/resnet-101': { depths: [3, 4, 23, 3] },
  'microsoft/resnet-152': { depths: [3, 8, 36, 3] },
};

/** The backbone of a config that was read before; undefined for a config.json, which has a name there. */
function ownBackbone({ backbone }: RawConfig): RawConfig | undefined {
  if (typeof backbone !== 'object' || backbone === null) return undefined;
  const { kind } = backbone as RawConfig;
  if (kind === 'resnet' || kind === 'mobilenetv3') return backbone as RawConfig;
  throw new ConfigError(`config: backbone: expected a name, or that of a config, got ${describe(backbone)}`);
}

/** Keys of config.json that say something of the backbone. */
const backboneKeys = [
  'backbone_config',
  'backbone_kwargs',
  'backbone_block_activations',
  'dilation',
  'use_timm_backbone',
  'num_channels',
];

function readOwnBackbone(own: RawConfig, raw: RawConfig): BackboneConfig {
  for (const key of backboneKeys) {
    const value = raw[key] ?? undefined;
    if (value === undefined || (key === 'num_channels' && value === own.inChannels)) continue;
    const advice = 'fromBackboneConfig gives a config another one';
    throw new ConfigError(
      `config: ${key}: expected none beside the backbone of a config (${advice}), got ${describe(value)}`,
    );
  }
  try {
    return checkOwnBackbone(own);
  } catch (cause) {
    const problem = (cause as Error).message.replace(/^config: /, '');
    throw new ConfigError(`config: backbone: ${problem}`, { cause });
  }
}

function checkOwnBackbone(own: RawConfig): BackboneConfig {
  const inChannels = count(3)(own.inChannels, 'inChannels');
  const dilation = flag(false)(own.dilation, 'dilation');
  if (own.kind === 'mobilenetv3') {
    const blockActivations = flag(false)(own.blockActivations, 'blockActivations');
    const outStages = readTimmStages(own.outStages, ALL_STAGES);
    return { kind: 'mobilenetv3', inChannels, blockActivations, dilation, outStages };
  }
  const raw = {
    embedding_size: own.embeddingSize,
    hidden_sizes: own.hiddenSizes,
    depths: own.depths,
    layer_type: own.layerType,
    hidden_act: own.activation,
    downsample_in_first_stage: own.downsampleInFirstStage,
    downsample_in_bottleneck: own.downsampleInBottleneck,
    out_indices: own.outStages,
  };
  return { ...readTransformersResNet(raw, inChannels), dilation };
}

/**
 * The backbone of a config in any of its spellings: timm by name (v4: `backbone`, `dilation`, `backbone_kwargs`; v5:
 * `backbone_config` of type `timm_backbone`) or a transformers ResNet (`backbone_config` of type `resnet`, or by name).
 */
function readBackbone(raw: RawConfig, timmStages: readonly number[]): BackboneConfig {
  const own = ownBackbone(raw);
  if (own !== undefined) return readOwnBackbone(own, raw);
  const nested = readObject(raw.backbone_config, 'backbone_config');
  const inChannels = count(3)(nested?.num_channels ?? raw.num_channels, 'num_channels');
  const nestedType = nested?.model_type;
  const kwargs = readObject(raw.backbone_kwargs, 'backbone_kwargs') ?? {};
  const given = nested?.backbone ?? raw.backbone ?? 'resnet50';
  if (nested !== undefined && nestedType !== 'timm_backbone') return readTransformersResNet(nested, inChannels);
  if (nested === undefined && raw.use_timm_backbone === false) {
    const hub = typeof given === 'string' && Object.hasOwn(HUB_RESNETS, given) ? HUB_RESNETS[given] : undefined;
    if (hub !== undefined) return readTransformersResNet({ ...hub, ...kwargs }, inChannels);
    // As in v4, without a name it is transformers' default ResNet; as in v5, other names are timm's.
    if (given === 'resnet50') return readTransformersResNet({}, inChannels);
  }

  // After a dot timm names weights (`resnet50.a1_in1k`), not another network.
  const name = String(given).replace(/\..*/, '');
  const outStages = readTimmStages(nested?.out_indices ?? kwargs.out_indices, timmStages);
  const strides = [kwargs.output_stride, nested?.output_stride].map(readOutputStride);
  const dilation = flag(false)(raw.dilation, 'dilation') || strides.includes(16);
  if (name === 'tf_mobilenetv3_small_075') {
    const blockActivations = flag(false)(raw.backbone_block_activations, 'backbone_block_activations');
    return { kind: 'mobilenetv3', inChannels, blockActivations, dilation, outStages };
  }
  const resnet = Object.hasOwn(TIMM_RESNETS, name) ? TIMM_RESNETS[name] : undefined;
  if (resnet === undefined) {
    const ofHub = raw.use_timm_backbone === false ? Object.keys(HUB_RESNETS) : [];
    const known = [...Object.keys(TIMM_RESNETS), 'tf_mobilenetv3_small_075', ...ofHub].join(', ');
    throw new ConfigError(`config: backbone: expected one of ${known}, got ${describe(name)}`);
  }
  return {
    kind: 'resnet',
    inChannels,
    embeddingSize: 64,
    layerType: resnet.layerType,
    // timm leaves out the stages behind the last map that is wanted, and so do its checkpoints.
    depths: resnet.depths.slice(0, outStages.at(-1)),
    hiddenSizes: resnet.hiddenSizes.slice(0, outStages.at(-1)),
    activation: 'relu',
    downsampleInFirstStage: false,
    downsampleInBottleneck: false,
    dilation,
    outStages,
  };
}

/** timm's networks know more; DETR's are used with these. */
function readOutputStride(raw: unknown): number {
  if (raw === undefined || raw === null) return 32;
  if (raw === 16 || raw === 32) return raw;
  throw new ConfigError(`config: output_stride: expected 16 or 32, got ${describe(raw)}`);
}

function readTimmStages(raw: unknown, fallback: readonly number[]): readonly number[] {
  if (raw === undefined || raw === null) return fallback;
  const stages = Array.isArray(raw) ? raw.map(indexFromStart(5)) : [];
  if (!areStages(stages, 1, 4)) {
    throw new ConfigError(`config: out_indices: expected different feature indices from 1 to 4, got ${describe(raw)}`);
  }
  return stages.toSorted((a, b) => a - b);
}

/** Whether they are stages of a backbone, each once: it gives its maps in order, whatever the order that they are named in. */
const areStages = (stages: readonly unknown[], first: number, last: number): stages is readonly number[] =>
  stages.length > 0 &&
  new Set(stages).size === stages.length &&
  stages.every(stage => Number.isInteger(stage) && (stage as number) >= first && (stage as number) <= last);

function readTransformersResNet(raw: RawConfig, inChannels: number): ResNetConfig {
  if (raw.model_type !== undefined && raw.model_type !== 'resnet') {
    throw new ConfigError(
      `config: backbone_config.model_type: expected resnet or timm_backbone, got ${describe(raw.model_type)}`,
    );
  }
  const hiddenSizes = readCounts(raw.hidden_sizes, 'hidden_sizes', [256, 512, 1024, 2048]);
  const depths = readCounts(raw.depths, 'depths', [3, 4, 6, 3], layers(1));
  if (hiddenSizes.length !== depths.length || depths.length > 4) {
    throw new ConfigError(
      `config: backbone_config: expected hidden_sizes and depths of the same length, at most 4, got ${hiddenSizes.length} and ${depths.length}`,
    );
  }
  const layerType = choice('bottleneck', ['basic', 'bottleneck'])(raw.layer_type, 'layer_type');
  if (layerType === 'bottleneck' && hiddenSizes.some(size => size % 4 !== 0)) {
    throw new ConfigError(
      `config: backbone_config.hidden_sizes: expected multiples of 4 for bottleneck layers, got [${hiddenSizes.join(', ')}]`,
    );
  }
  return {
    kind: 'resnet',
    inChannels,
    embeddingSize: count(64)(raw.embedding_size, 'embedding_size'),
    hiddenSizes,
    depths,
    layerType,
    activation: activation(raw.hidden_act, 'hidden_act'),
    downsampleInFirstStage: flag(false)(raw.downsample_in_first_stage, 'downsample_in_first_stage'),
    downsampleInBottleneck: flag(false)(raw.downsample_in_bottleneck, 'downsample_in_bottleneck'),
    dilation: false,
    outStages: readStageNames(raw, depths.length),
  };
}

function readCounts(
  raw: unknown,
  key: string,
  fallback: readonly number[],
  field: Field<number> = count(1),
): readonly number[] {
  if (raw === undefined || raw === null) return fallback;
  if (!Array.isArray(raw) || raw.length === 0) {
    throw new ConfigError(`config: backbone_config.${key}: expected a list of positive integers, got ${describe(raw)}`);
  }
  return raw.map(value => field(value ?? Number.NaN, `backbone_config.${key}`));
}

/** `out_features: ["stage2", …]`, or `out_indices`; the last stage by default. */
function readStageNames(raw: RawConfig, last: number): readonly number[] {
  const names = ['stem', ...Array.from({ length: last }, (_, index) => `stage${index + 1}`)];
  const key = raw.out_features === undefined || raw.out_features === null ? 'out_indices' : 'out_features';
  const given = raw[key];
  if (given === undefined || given === null) return [last];
  const stageOf =
    key === 'out_features' ? (name: unknown) => names.indexOf(String(name)) : indexFromStart(names.length);
  const stages = Array.isArray(given) ? given.map(stageOf) : [];
  if (!areStages(stages, 0, last)) {
    const known = key === 'out_features' ? `names out of ${names.join(', ')}` : `indices from 0 to ${last}`;
    throw new ConfigError(`config: backbone_config.${key}: expected different ${known}, got ${describe(given)}`);
  }
  return stages.toSorted((a, b) => a - b);
}

/** Python's indices: negative ones count from the end. */
const indexFromStart = (length: number) => (index: number) => (index < 0 ? index + length : index);
