export { openCheckpoint } from './checkpoint.ts';
export { downloadSnapshot, type ModelParts, resolveModel } from './hub/hub.ts';
export type { DownloadProgress, HubOptions } from './hub/settings.ts';
export { type MatchOptions, matchCheckpoint, renamedSource } from './match.ts';
export { type HeadTying, type ResolvedNames, resolveNames, type StoredName, sharedHead } from './names.ts';
export { parseSafetensors } from './safetensors.ts';
export { openSafetensors, writeSafetensors } from './safetensors-file.ts';
export type { TensorEntry, WeightSource } from './source.ts';
export { type SyntheticOptions, syntheticSource, syntheticTensor } from './synthetic.ts';
