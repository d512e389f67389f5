import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { elementCount } from '../../../engine/host-tensor.ts';
import { ConditionalDetrForObjectDetection, ConditionalDetrForSegmentation } from '../../../models/conditional-detr.ts';
import {
  ConditionalDetrConfig,
  DeformableDetrConfig,
  DetrConfig,
  type RawConfig,
} from '../../../models/configuration.ts';
import { DeformableDetrForObjectDetection } from '../../../models/deformable-detr.ts';
import { DetrForObjectDetection, DetrForSegmentation } from '../../../models/detr.ts';
import { publishedConfigs } from '../../../models/published.ts';
import { testData } from '../../support/data.ts';
import { jsonTarget } from '../json.ts';

/** More tensors than any model that this package could run; a config alone must not cost more. */
const MAXIMUM_PARAMETERS = 200_000;

export const target = jsonTarget({
  seeds: () => [
    ...Object.values(publishedConfigs),
    ...readdirSync(testData('dumps'))
      .filter(folder => /small|mobilenet/.test(folder))
      .map(folder => JSON.parse(readFileSync(join(testData('dumps'), folder, 'config.json'), 'utf8'))),
  ],
  words: [
    ...['d_model', 'encoder_layers', 'decoder_layers', 'num_queries', 'id2label', 'num_labels', 'backbone_config'],
    ...['backbone', 'use_timm_backbone', 'backbone_kwargs', 'out_features', 'out_indices', 'hidden_sizes', 'depths'],
    ...['layer_type', 'embedding_size', 'model_type', 'resnet', 'timm_backbone', 'resnet18', 'stage1', 'stem'],
    ...['num_channels', 'architectures', 'two_stage', 'with_box_refine', 'num_feature_levels', 'dilation'],
    ...['tf_mobilenetv3_small_075', 'hidden_size', 'num_attention_heads', 'learned', 'constructor', 'toString'],
  ],
  run: checkConfig,
});

/** What a config makes: models whose every parameter has a shape, before there are any weights. */
function checkConfig(value: unknown): void {
  const raw = value as RawConfig;
  const models = [
    () => new DetrForObjectDetection(DetrConfig.from(raw)),
    () => new DetrForSegmentation(DetrConfig.from(raw)),
    () => new ConditionalDetrForObjectDetection(ConditionalDetrConfig.from(raw)),
    () => new ConditionalDetrForSegmentation(ConditionalDetrConfig.from(raw)),
    () => new DeformableDetrForObjectDetection(DeformableDetrConfig.from(raw)),
  ];
  const errors: unknown[] = [];
  for (const make of models) {
    try {
      const model = make();
      let parameters = 0;
      for (const [name, shape] of model.parameters()) {
        parameters += 1;
        if (parameters > MAXIMUM_PARAMETERS) throw new Error(`more than ${MAXIMUM_PARAMETERS} parameters`);
        const isPossible = shape.every(size => Number.isInteger(size) && size > 0);
        if (!isPossible || !Number.isSafeInteger(elementCount(shape)))
          throw new Error(`${name}: shape [${shape.join(', ')}]`);
      }
    } catch (error) {
      errors.push(error);
    }
  }
  // One family may take what another refuses; a crash of any is a finding.
  const worst = errors.find(error => (error as Error).constructor.name.match(/^(Error|TypeError|RangeError)$/));
  if (worst !== undefined) throw worst;
  if (errors.length === models.length) throw errors[0];
}
