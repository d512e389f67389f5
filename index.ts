// The package's public names.
/// <reference lib="esnext.disposable" preserve="true" />

export * from './engine/errors.ts';
export type { DataType, HostTensor, NumericArray, OwnBytes } from './engine/host-tensor.ts';
export {
  Device,
  type DeviceChoice,
  type DeviceOptions,
  type HostArray,
  type KernelTiming,
  type Launch,
  type MemoryUse,
  type Storage,
  Tensor,
} from './engine/index.ts';
export {
  type AnyImageProcessor,
  type AnyModel,
  type AnyObjectDetector,
  type AnySegmenter,
  AutoImageProcessor,
  AutoModel,
  AutoModelForImageSegmentation,
  AutoModelForObjectDetection,
  type RunnableModel,
} from './models/auto.ts';
export type { MobileNetV3Config } from './models/backbones/mobilenetv3.ts';
export type { ResNetConfig } from './models/backbones/resnet.ts';
export {
  ConditionalDetrForObjectDetection,
  ConditionalDetrForSegmentation,
  ConditionalDetrModel,
  type ConditionalDetrModelOutputs,
} from './models/conditional-detr.ts';
export {
  type BackboneConfig,
  type BaseConfig,
  ConditionalDetrConfig,
  type ConditionalDetrConfigFields,
  type ConfigInput,
  DeformableDetrConfig,
  type DeformableDetrConfigFields,
  DetrConfig,
  type DetrConfigFields,
  type ModelType,
  type RawConfig,
} from './models/configuration.ts';
export {
  DeformableDetrForObjectDetection,
  DeformableDetrModel,
  type DeformableDetrModelOutputs,
  type DeformableDetrObjectDetectionOutputs,
} from './models/deformable-detr.ts';
export type {
  EncoderDecoderOutputs,
  LabelledInputs,
  LossOutputs,
  ObjectDetectionOutputs,
  PredictInputs,
  Predictions,
  PredictionsOf,
} from './models/detection.ts';
export { DetrForObjectDetection, DetrForSegmentation, DetrModel, type DetrModelOutputs } from './models/detr.ts';
export {
  type CocoAccumulation,
  CocoEvaluator,
  type CocoEvaluatorOptions,
  type CocoSummary,
  evaluateCoco,
} from './models/evaluation/coco-evaluator.ts';
export {
  type CocoAnnotation,
  type CocoCategory,
  type CocoDataset,
  type CocoImage,
  type CocoResult,
  checkCocoDataset,
  checkCocoResults,
  type ImageDetections,
  toCocoResults,
} from './models/evaluation/coco-format.ts';
export type { AreaRange, CocoParameters, IouType } from './models/evaluation/coco-matching.ts';
export {
  type CategoryQuality,
  checkPanopticDataset,
  type PanopticAnnotation,
  type PanopticCategory,
  type PanopticDataset,
  PanopticEvaluator,
  type PanopticPrediction,
  type PanopticQuality,
  type PanopticSegment,
  type PanopticSummary,
  panopticIds,
  panopticImage,
  toPanopticPrediction,
} from './models/evaluation/panoptic-evaluator.ts';
export {
  type CocoRle,
  type CocoSegmentation,
  type Rle,
  rleArea,
  rleFromBox,
  rleFromCoco,
  rleFromMask,
  rleFromPolygon,
  rleFromSegmentation,
  rleFromString,
  rleIntersection,
  rleIou,
  rleToBox,
  rleToCoco,
  rleToMask,
  rleToString,
  rleUnion,
} from './models/evaluation/rle.ts';
export {
  type DetectionToDraw,
  drawDetections,
  drawSegmentation,
  type SegmentToDraw,
} from './models/images/draw.ts';
export { type ReadImageOptions, readImage, readImageSync, writePng } from './models/images/files.ts';
export { type Image, type ImageDataLike, toRgb } from './models/images/image.ts';
export { encodePng } from './models/images/png.ts';
export type { SegmentationMap } from './models/images/regions.ts';
export { type ResampleFilter, resize, resizeTorchvision, type TorchvisionFilter } from './models/images/resize.ts';
export type { ForwardInputs, MaskData } from './models/inputs.ts';
export {
  computeLoss,
  type LossConfig,
  type LossInputs,
  type LossKind,
  type LossResult,
} from './models/losses/compute-loss.ts';
export { type Assignment, linearSumAssignment } from './models/losses/linear-sum-assignment.ts';
export {
  hungarianMatcher,
  type ImageTargets,
  type LayerPredictions,
  type Matching,
  type MatchingCosts,
} from './models/losses/matcher.ts';
export {
  type DetectedObject,
  type DetectedSegment,
  type DetectOptions,
  type Pipeline,
  pipeline,
  type SegmentOptions,
} from './models/pipeline.ts';
export type { PipelineInput } from './models/pipeline-input.ts';
export {
  embeddedModels,
  type LoadOptions,
  type ModelClass,
  type OnHost,
  type PreTrainedModel,
  type PretrainedOptions,
  type RandomOptions,
} from './models/pretrained.ts';
export type {
  CocoDetectionAnnotation,
  CocoObject,
  CocoPanopticAnnotation,
  ImageAnnotation,
  ImageLabels,
} from './models/processing/annotations.ts';
export type {
  DetectionOutputs,
  Detections,
  ObjectDetectionOptions,
  TopKDetectionOptions,
} from './models/processing/detection.ts';
export {
  ImageProcessor,
  type PreprocessedImages,
  type PreprocessOptions,
  type ProcessorOptions,
} from './models/processing/image-processor.ts';
export type { ImageSize } from './models/processing/image-size.ts';
export type {
  DetectionsWithMasks,
  LegacyPanoptic,
  LegacyPanopticOptions,
  LegacyPanopticSegment,
  LegacySegmentation,
  LegacySegmentationOptions,
} from './models/processing/legacy.ts';
export {
  ConditionalDetrFeatureExtractor,
  ConditionalDetrImageProcessor,
  DeformableDetrFeatureExtractor,
  DeformableDetrImageProcessor,
  DetrFeatureExtractor,
  DetrImageProcessor,
} from './models/processing/processors.ts';
export type {
  EncodedSegmentation,
  InstanceSegmentationOptions,
  PanopticSegmentationOptions,
  Segment,
  Segmentation,
  SegmentationOutputs,
} from './models/processing/segmentation.ts';
export type { ScoredSemanticSegmentation, SemanticSegmentationOptions } from './models/processing/semantic.ts';
export type {
  AnnotationFormat,
  ProcessorConfig,
  ProcessorSettings,
  SettingsInput,
  Size,
} from './models/processing/settings.ts';
export type { Behaviour } from './models/processing/target-size.ts';
export { publishedConfigs, syntheticModel } from './models/published.ts';
export type { ImageSegmentationOutputs } from './models/segmentation.ts';
export { openCheckpoint } from './weights/checkpoint.ts';
export { type ConvertOptions, type ConvertResult, convertCheckpoint } from './weights/convert.ts';
export { downloadSnapshot, type ModelParts, resolveModel } from './weights/hub/hub.ts';
export type { DownloadProgress, HubOptions } from './weights/hub/settings.ts';
export { type MatchOptions, matchCheckpoint, renamedSource } from './weights/match.ts';
export { type HeadTying, type ResolvedNames, resolveNames, type StoredName } from './weights/names.ts';
export { encodeSafetensors, parseSafetensors, type TensorToWrite } from './weights/safetensors.ts';
export { openSafetensors, writeSafetensors } from './weights/safetensors-file.ts';
export type { Checkpoint, TensorEntry, WeightSource } from './weights/source.ts';
export { type SyntheticOptions, syntheticSource, syntheticTensor } from './weights/synthetic.ts';
