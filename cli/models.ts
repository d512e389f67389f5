import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Device, type DeviceChoice, deviceChoices, OptionError } from '../engine/index.ts';
import { AutoImageProcessor } from '../models/auto.ts';
import { embeddedModels, locatePretrained } from '../models/pretrained.ts';
import { isRepositoryId } from '../weights/hub/cache.ts';
import { resolveModel } from '../weights/hub/hub.ts';
import { didYouMean } from '../weights/suggest.ts';
import { pictureEndings, weightEndings } from './files.ts';
import { choice, listOf, number, text } from './options.ts';
import { formatBytes, ProgressBar } from './terminal.ts';

/** What suits a checkpoint that comes with the package. */
interface EmbeddedModel {
  /** Detections with a lower score are not shown. */
  readonly threshold: number;
  /** Labels that are stuff (sky, grass): regions without instances. */
  readonly stuff?: readonly number[];
}

export const embeddedSettings: Readonly<Record<(typeof embeddedModels)[number], EmbeddedModel>> = {
  'scenes-deformable-detr': { threshold: 0.35 },
  'scenes-conditional-detr': { threshold: 0.35 },
  'scenes-detr': { threshold: 0.7 },
  'scenes-detr-panoptic': { threshold: 0.5, stuff: [5, 6] },
};

export const defaultDetector = 'scenes-deformable-detr';
export const defaultSegmenter = 'scenes-detr-panoptic';

/** HuggingFace's default for models that say nothing better. */
const USUAL_THRESHOLD = 0.5;

export interface ChosenModel {
  readonly name: string;
  /** Folder with config.json, preprocessor_config.json and weights. */
  readonly directory: string;
  readonly threshold: number;
  readonly stuff: readonly number[] | undefined;
}

/**
 * Finds a model: an embedded checkpoint by its name, a folder, or a repository on the hub, which is downloaded as far as it
 * is not in the cache yet. @throws OptionError, FileError, DownloadError
 */
export async function chooseModel(
  name: string,
  revision: string | undefined,
  signal: AbortSignal,
): Promise<ChosenModel> {
  const settings: EmbeddedModel | undefined = isEmbedded(name) ? embeddedSettings[name] : undefined;
  const directory = await locateModel(name, revision, signal);
  if (!existsSync(join(directory, 'config.json'))) {
    const siblings = await readdir(dirname(name)).catch(() => []);
    const got = existsSync(directory)
      ? `${name}, which holds no config.json`
      : `${name}, which does not exist${didYouMean(basename(name), [...embeddedModels, ...siblings])}`;
    throw new OptionError(
      `--model: expected a folder with config.json, a model on the hub (owner/name) or one of ${listOf(embeddedModels)}, got ${got}`,
    );
  }
  return { name, directory, threshold: settings?.threshold ?? USUAL_THRESHOLD, stuff: settings?.stuff };
}

/**
 * The folder of a model that is named as in `chooseModel`. What names neither an embedded model nor one on the hub is a path,
 * which comes back as it is. @throws OptionError, DownloadError
 */
export async function locateModel(name: string, revision: string | undefined, signal: AbortSignal): Promise<string> {
  if (!isEmbedded(name) && isOnHub(name)) return download(name, revision, signal);
  if (revision !== undefined) {
    throw new OptionError(`--revision: expected a model on the hub (owner/name), got ${name}`);
  }
  return isEmbedded(name) ? locatePretrained(name) : name;
}

const isEmbedded = (name: string): name is keyof typeof embeddedSettings => Object.hasOwn(embeddedSettings, name);

/** Whether a name stands for a model on the hub, `owner/name`: what is there as a file or folder does not, nor a file's. */
function isOnHub(name: string): boolean {
  const isFile = weightEndings.test(name) || pictureEndings.test(name);
  return name.includes('/') && isRepositoryId(name) && !isFile && !existsSync(name);
}

/** Brings a hub repository into the cache, with a progress bar for every file. */
async function download(id: string, revision: string | undefined, signal: AbortSignal): Promise<string> {
  let bar: ProgressBar | undefined;
  let current = '';
  try {
    return await resolveModel(id, {
      revision,
      signal,
      onProgress: ({ file, loadedBytes, totalBytes }) => {
        if (file !== current) {
          bar?.clear();
          bar = new ProgressBar(totalBytes, { start: loadedBytes, format: formatBytes });
          current = file;
        }
        bar?.reach(loadedBytes, file);
      },
    });
  } finally {
    bar?.clear();
  }
}

/** The processor of a model that segments. @throws OptionError for other models */
export async function openSegmentationProcessor({ name, directory }: ChosenModel) {
  const processor = await AutoImageProcessor.fromPretrained(directory);
  if (processor.segments) return processor;
  throw new OptionError(`--model: expected a model that segments, got ${name}`);
}

/** Which device `--device` and `--threads` ask for. */
export interface DeviceSettings {
  readonly device: DeviceChoice;
  readonly threads: number | undefined;
}

export const deviceOptions = {
  device: choice(deviceChoices, 'Where to compute: auto takes a GPU if there is one, else the cpu', 'auto'),
  threads: number('N', { minimum: 1, maximum: 256, integer: true }, 'Threads of the cpu device (default: all cores)'),
};

const segments = (name: (typeof embeddedModels)[number]) => embeddedSettings[name].stuff !== undefined;
const detectors = embeddedModels.filter(name => !segments(name));
const segmenters = embeddedModels.filter(segments);

const modelHelp = (embedded: readonly string[]) =>
  `A folder with config.json and weights, a model on the hub (facebook/detr-resnet-50), or an embedded one: ${listOf(embedded)}`;

export const revisionOption = { revision: text('REVISION', 'Branch, tag or commit of a model on the hub') };

const commonModelOptions = {
  ...revisionOption,
  ...deviceOptions,
};

export const detectorOptions = {
  model: text('NAME|DIR', modelHelp(detectors), defaultDetector),
  ...commonModelOptions,
};

export const segmenterOptions = {
  model: text('NAME|DIR', modelHelp(segmenters), defaultSegmenter),
  ...commonModelOptions,
};

/** For commands whose default depends on the task. */
export const anyModelOptions = {
  model: text(
    'NAME|DIR',
    `${modelHelp([...detectors, ...segmenters])} (default: ${defaultDetector}, or ${defaultSegmenter} for panoptic)`,
  ),
  ...commonModelOptions,
};

export const batchOption = {
  batch: number(
    'N',
    { minimum: 1, maximum: 256, integer: true },
    'Pictures that are read together; those of one size go through the model together, with the results that they have alone',
    1,
  ),
};

/** How masks become segments. */
export const maskOptions = {
  maskThreshold: number(
    'P',
    { minimum: 0, maximum: 1 },
    'Score times probability from which on a pixel counts in --overlap-threshold',
    0.5,
  ),
  overlapThreshold: number(
    'SHARE',
    { minimum: 0, maximum: 1 },
    'Drop masks of which others cover so much that no larger share is left',
    0.8,
  ),
};

/**
 * Runs `body` with the device that the options ask for, and destroys it afterwards.
 * @throws OptionError for threads that have no effect, DeviceError
 */
export async function withDevice<Result>(
  { device: kind, threads }: DeviceSettings,
  body: (device: Device) => Promise<Result>,
): Promise<Result> {
  if (kind === 'webgpu' && threads !== undefined) {
    throw new OptionError('--threads: expected only with --device cpu or auto, got --device webgpu');
  }
  const device = await Device.create({
    device: kind,
    revectorize: true,
    ...(threads === undefined ? {} : { threads }),
  });
  try {
    return await body(device);
  } finally {
    await device.destroy();
  }
}

/** In the published panoptic checkpoints, COCO's labels up to 90 are things; what lies above is stuff. */
const LAST_THING_OF_COCO_PANOPTIC = 90;

/**
 * Labels that are stuff: those that `wanted` names (class names or ids, separated by commas), else those that are known to
 * be for this model. @throws OptionError for a name that the model does not have
 */
export function stuffLabels(
  wanted: string | undefined,
  names: Readonly<Record<number, string>>,
  { stuff }: ChosenModel,
): Set<number> {
  const labels = Object.keys(names).map(Number);
  if (wanted === undefined) {
    if (stuff !== undefined) return new Set(stuff);
    const isCocoPanoptic = labels.length >= 200;
    return new Set(labels.filter(label => isCocoPanoptic && label > LAST_THING_OF_COCO_PANOPTIC));
  }
  return new Set(
    wanted.split(',').map(entry => {
      const name = entry.trim();
      const label = labels.find(candidate => names[candidate] === name || String(candidate) === name);
      if (label === undefined) {
        throw new OptionError(
          `--stuff: expected class names or ids of the model, got ${JSON.stringify(name)}${didYouMean(name, Object.values(names))}`,
        );
      }
      return label;
    }),
  );
}
