import { OptionError } from '../engine/index.ts';
import { type knownRepositories, syntheticSource } from '../weights/index.ts';
import {
  type AnyModelClass,
  type AnyObjectDetector,
  type AnySegmenter,
  modelClass,
  type RunnableModel,
} from './auto.ts';
import type { RawConfig } from './configuration.ts';
import type { LoadOptions } from './pretrained.ts';

/*
 * The configurations of the published checkpoints, so that full-size models can be built, tested and timed without a
 * download: `synthetic:facebook/detr-resnet-50` is that model with synthetic weights.
 */

const labels = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, id) => [id, `LABEL_${id}`]));
const coco = labels(91);

const detr = (overrides: RawConfig): RawConfig => ({
  model_type: 'detr',
  architectures: ['DetrForObjectDetection'],
  id2label: coco,
  ...overrides,
});
const panoptic = (overrides: RawConfig): RawConfig =>
  detr({ architectures: ['DetrForSegmentation'], id2label: labels(250), ...overrides });
const conditional = (overrides: RawConfig): RawConfig => ({
  model_type: 'conditional_detr',
  architectures: ['ConditionalDetrForObjectDetection'],
  id2label: coco,
  ...overrides,
});
const deformable = (overrides: RawConfig): RawConfig => ({
  model_type: 'deformable_detr',
  architectures: ['DeformableDetrForObjectDetection'],
  id2label: coco,
  ...overrides,
});

/** config.json of every published checkpoint, by its repository on the hub. */
export const publishedConfigs: Readonly<Record<(typeof knownRepositories)[number], RawConfig>> = {
  'facebook/detr-resnet-50': detr({}),
  'facebook/detr-resnet-50-dc5': detr({ dilation: true }),
  'facebook/detr-resnet-101': detr({ backbone: 'resnet101' }),
  'facebook/detr-resnet-101-dc5': detr({ backbone: 'resnet101', dilation: true }),
  'facebook/detr-resnet-50-panoptic': panoptic({}),
  'facebook/detr-resnet-50-dc5-panoptic': panoptic({ dilation: true }),
  'facebook/detr-resnet-101-panoptic': panoptic({ backbone: 'resnet101' }),
  'microsoft/conditional-detr-resnet-50': conditional({}),
  'SenseTime/deformable-detr': deformable({}),
  'SenseTime/deformable-detr-with-box-refine': deformable({ with_box_refine: true }),
  'SenseTime/deformable-detr-with-box-refine-two-stage': deformable({ with_box_refine: true, two_stage: true }),
  'SenseTime/deformable-detr-single-scale': deformable({ num_feature_levels: 1 }),
  'SenseTime/deformable-detr-single-scale-dc5': deformable({ num_feature_levels: 1, dilation: true }),
};

/** A model of a published configuration with synthetic weights. @throws OptionError listing the known names. */
export async function syntheticModel(
  name: string,
  options: LoadOptions = {},
): Promise<AnyObjectDetector | AnySegmenter> {
  const raw = new Map<string, RawConfig>(Object.entries(publishedConfigs)).get(name);
  if (raw === undefined) {
    throw new OptionError(`synthetic: expected one of ${Object.keys(publishedConfigs).join(', ')}, got ${name}`);
  }
  const Model = modelClass((raw.architectures as string[])[0]!);
  const model = await withSyntheticWeights(Model, raw, { ...options, name: `synthetic:${name}` });
  return model as RunnableModel as AnyObjectDetector | AnySegmenter;
}

/** A model of any configuration, each weight a function of its name. @param options.name for messages */
export async function withSyntheticWeights(
  Model: AnyModelClass,
  raw: RawConfig,
  { name = 'synthetic', ...options }: LoadOptions & { name?: string } = {},
): Promise<RunnableModel> {
  const model = new Model(Model.readConfig(raw) as never);
  const source = syntheticSource(model.parameters(), { name, with_box_refine: raw.with_box_refine === true });
  return Model.fromSource(raw, source, options);
}
