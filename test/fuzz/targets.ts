import type { FuzzTarget } from './target.ts';

/** Every target by name. They are imported when they are run, each in its own process. */
export const fuzzTargets: Readonly<Record<string, () => Promise<{ readonly target: FuzzTarget }>>> = {
  safetensors: () => import('./targets/safetensors.ts'),
  'safetensors-header': () => import('./targets/safetensors-header.ts'),
  'safetensors-index': () => import('./targets/safetensors-index.ts'),
  'torch-zip': () => import('./targets/torch-zip.ts'),
  'torch-pickle': () => import('./targets/torch-pickle.ts'),
  'torch-plain': () => import('./targets/torch-plain.ts'),
  'hub-names': () => import('./targets/hub-names.ts'),
  png: () => import('./targets/png.ts'),
  jpeg: () => import('./targets/jpeg.ts'),
  exif: () => import('./targets/exif.ts'),
  'processor-config': () => import('./targets/processor-config.ts'),
  'coco-annotations': () => import('./targets/coco-annotations.ts'),
  'coco-files': () => import('./targets/coco-files.ts'),
  'model-config': () => import('./targets/model-config.ts'),
  'command-line': () => import('./targets/command-line.ts'),
};
