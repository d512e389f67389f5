/** `backbone_config` of a ResNet that is quick to run. */
export const smallBackbone = {
  model_type: 'resnet',
  embedding_size: 8,
  hidden_sizes: [16, 32, 48, 64],
  depths: [1, 1, 1, 1],
  layer_type: 'basic',
  out_features: ['stage1', 'stage2', 'stage3', 'stage4'],
};
