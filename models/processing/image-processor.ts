// Pictures in, tensors out: what the processors of the three models share (HF `DetrImageProcessor.preprocess`).
//
// B batch, C channels, H x W the size that the batch is padded to
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, FileError, OptionError, ShapeError } from '../../engine/errors.ts';
import type { HostTensor } from '../../engine/host-tensor.ts';
import { checkFlag, checkOptionNames } from '../../engine/options.ts';
import { type HubOptions, hubOptionNames, readJson } from '../../weights/index.ts';
import { asImage, type Image, type ImageDataLike, toRgb } from '../images/image.ts';
import { type ResampleFilter, resize, resizeTorchvision, type TorchvisionFilter } from '../images/resize.ts';
import { locatePretrained } from '../pretrained.ts';
import {
  type CocoDetectionAnnotation,
  type CocoPanopticAnnotation,
  checkAnnotation,
  type ImageAnnotation,
  type ImageLabels,
  padLabels,
  prepareDetection,
  preparePanoptic,
  relativeBoxes,
  resizeLabels,
} from './annotations.ts';
import {
  defaultSettings,
  overrideSettings,
  type ProcessorConfig,
  type ProcessorSettings,
  parseConfig,
  type SettingsInput,
} from './settings.ts';
import { type Behaviour, checkExtent, targetSize } from './target-size.ts';

/** Which of HuggingFace's implementations a processor equals, and settings that differ from its configuration's. */
export interface ProcessorOptions extends SettingsInput {
  /**
   * `pil` (default): Pillow's resize, rescale then normalise; what the published numbers were made with. `torchvision`:
   * antialiased uint8 resize (without box and hamming) and one fused step, HuggingFace 5's default; bilinear pixel values
   * differ by up to 0.0175, a grey level.
   */
  readonly backend?: 'pil' | 'torchvision' | undefined;
  /**
   * `v5` (default): transformers 5. `v4`: transformers 4.34, which leaves labels alone when it pads, converts boxes
   * whenever it normalises, rounds the short edge before it computes the capped long edge, and drops Conditional
   * DETR's last class in semantic segmentation.
   */
  readonly behaviour?: Behaviour | undefined;
}

export interface PreprocessOptions extends SettingsInput {
  /** COCO annotations, one for each picture, in the format that the setting `format` says. */
  readonly annotations?: ImageAnnotation | readonly ImageAnnotation[] | undefined;
  /** Whether labels get masks. Default: false for detection, true for panoptic annotations. */
  readonly returnSegmentationMasks?: boolean | undefined;
  /** Folder of the PNG files that panoptic annotations name. */
  readonly masksPath?: string | undefined;
  /** Those pictures themselves, one for each annotation, instead of `masksPath`. */
  readonly masks?: readonly Image[] | undefined;
}

/** The inputs of a model's `forward`. */
export interface PreprocessedImages {
  /** [B, C, H, W]; padding at the bottom and right is 0, the mean colour. */
  readonly pixelValues: HostTensor;
  /** [B, H, W]: 1 on the picture, 0 on padding. Absent with `doPad: false`. */
  readonly pixelMask?: HostTensor<Int32Array>;
  /** One for each picture, if annotations were given. */
  readonly labels?: ImageLabels[];
}

const settingNames = ['maxSize', ...Object.keys(defaultSettings)];
const optionNames = ['annotations', 'returnSegmentationMasks', 'masksPath', 'masks', ...settingNames];
const processorOptionNames = ['backend', 'behaviour', ...settingNames];

/** A picture on its way: resized bytes and labels at their size. */
interface PreparedImage {
  readonly image: Image;
  readonly labels: ImageLabels | undefined;
}

/**
 * Turns pictures into the tensors that the models of the DETR family take. Made from the object that a
 * preprocessor_config.json holds (all of whose keys are optional), or with `fromPretrained`.
 */
export abstract class ImageProcessor {
  /** What `preprocess` does unless a call says otherwise. */
  readonly settings: ProcessorSettings;
  readonly backend: 'pil' | 'torchvision';
  readonly behaviour: Behaviour;

  /** @throws ConfigError naming the key and what it may be; OptionError for unknown options */
  constructor(config: ProcessorConfig = {}, options: ProcessorOptions = {}) {
    const where = new.target.name;
    checkOptionNames(options, processorOptionNames, where);
    const { backend = 'pil', behaviour = 'v5', ...settings } = options;
    if (backend !== 'pil' && backend !== 'torchvision')
      throw new OptionError(`${where}: expected backend pil or torchvision, got ${backend}`);
    if (behaviour !== 'v5' && behaviour !== 'v4')
      throw new OptionError(`${where}: expected behaviour v5 or v4, got ${behaviour}`);
    this.settings = structuredClone(parseConfig(config, where, settings));
    this.backend = backend;
    this.behaviour = behaviour;
  }

  /**
   * Reads the `preprocessor_config.json` of a model: a folder, an embedded model's name, or a repository on the hub.
   *
   * @param options how it is fetched, and settings that take the place of the file's: `{ size: { height: 480, width: 640 } }`
   * @throws FileError, DownloadError if it cannot be had; ConfigError naming the key that does not fit; OptionError for
   *   options that are unknown or impossible
   */
  static async fromPretrained<Processor extends ImageProcessor>(
    this: new (
      config: ProcessorConfig,
      options?: ProcessorOptions,
    ) => Processor,
    pretrained: string,
    options: ProcessorOptions & HubOptions = {},
  ): Promise<Processor> {
    const { hubOptions, processorOptions } = splitOptions(options);
    const [config, file] = await readProcessorConfig(
      await locatePretrained(pretrained, hubOptions, { processor: true }),
    );
    try {
      return new this(config, processorOptions);
    } catch (error) {
      throw error instanceof ConfigError ? new ConfigError(`${file}: ${error.message}`, { cause: error }) : error;
    }
  }

  /**
   * Resizes, rescales, normalises and pads pictures into one batch, and brings their annotations along.
   *
   * Pictures become RGB first, unless `imageMean` has just as many numbers as the picture has channels.
   *
   * @returns float32 `pixelValues`, `pixelMask`, and `labels` if there are annotations; `model.forward` takes it as it is
   * @throws ShapeError for pictures that are none, become empty, or (with `doPad: false`) end up with different sizes;
   *   OptionError for options and annotations that do not fit, naming the field; FileError for mask pictures
   */
  preprocess(
    images: Image | ImageDataLike | readonly (Image | ImageDataLike)[],
    options: PreprocessOptions = {},
  ): PreprocessedImages {
    checkOptionNames(options, optionNames, 'preprocess');
    const settings = overrideSettings(options, this.settings, 'preprocess');
    const given = (Array.isArray(images) ? Array.from(images) : [images]) as readonly (Image | ImageDataLike)[];
    if (given.length === 0) throw new ShapeError('preprocess: expected at least one picture, got none');
    const pictures = given.map((picture, index) => asImage(picture, `preprocess: images[${index}]`));
    const annotations = annotationsFor(pictures, options, settings);
    const prepared = pictures.map((picture, index) =>
      this.#prepare(picture, index, settings, annotations?.[index], options),
    );
    return this.#assemble(prepared, settings);
  }

  /**
   * The size to which `preprocess` resizes a picture before it pads the batch: pictures of one size need no padding.
   *
   * @returns pixels
   * @throws ShapeError for a picture that becomes empty or too large
   */
  resizedSize({ height, width }: Pick<Image, 'height' | 'width'>): [height: number, width: number] {
    const { doResize, size } = this.settings;
    return doResize ? targetSize(height, width, size, this.behaviour) : [height, width];
  }

  #prepare(
    picture: Image,
    index: number,
    settings: ProcessorSettings,
    annotation: ImageAnnotation | undefined,
    options: PreprocessOptions,
  ): PreparedImage {
    let image = picture.channels === settings.imageMean.length ? picture : toRgb(picture);
    let labels = annotation && prepareLabels(annotation, index, [image.height, image.width], settings, options);
    if (settings.doResize) {
      const { height, width } = image;
      const size = targetSize(height, width, settings.size, this.behaviour, `preprocess: images[${index}]`);
      image = this.#resize(image, ...size, settings.resample);
      labels &&= resizeLabels(labels, size, (mask, height, width) => this.#resize(mask, height, width, 'nearest'));
    }
    if (this.#convertsBoxes(settings)) labels &&= relativeBoxes(labels);
    return { image, labels };
  }

  #resize(image: Image, height: number, width: number, filter: ResampleFilter): Image {
    if (image.height === height && image.width === width) return image;
    if (this.backend === 'pil') return resize(image, height, width, filter);
    return resizeTorchvision(image, height, width, filter as TorchvisionFilter);
  }

  #convertsBoxes(settings: ProcessorSettings): boolean {
    return this.behaviour === 'v4' ? settings.doNormalize : settings.doConvertAnnotations;
  }

  #assemble(prepared: readonly PreparedImage[], settings: ProcessorSettings): PreprocessedImages {
    const { height, width } = batchSize(prepared, settings);
    const channels = prepared[0]!.image.channels;
    const pixelValues = new Float32Array(prepared.length * channels * height * width);
    const pixelMask = settings.doPad ? new Int32Array(prepared.length * height * width) : undefined;
    const values = this.#valueTables(channels, settings);
    for (const [index, { image }] of prepared.entries()) {
      writePlanes(image, values, pixelValues.subarray(index * channels * height * width), height, width);
      for (let y = 0; pixelMask !== undefined && y < image.height; y++) {
        const row = (index * height + y) * width;
        pixelMask.fill(1, row, row + image.width);
      }
    }
    const labels = prepared.flatMap(({ image, labels }) => {
      if (labels === undefined) return [];
      const padded = settings.doPad && (image.height !== height || image.width !== width);
      if (!padded || this.behaviour === 'v4') return [labels];
      return [padLabels(labels, [height, width], this.#convertsBoxes(settings))];
    });
    return {
      pixelValues: { shape: [prepared.length, channels, height, width], data: pixelValues },
      ...(pixelMask === undefined ? {} : { pixelMask: { shape: [prepared.length, height, width], data: pixelMask } }),
      ...(labels.length === 0 ? {} : { labels }),
    };
  }

  /** For every channel, what each of the 256 bytes becomes, with the reference's roundings to float32. */
  #valueTables(channels: number, settings: ProcessorSettings): Float32Array[] {
    const { doRescale, rescaleFactor, doNormalize, imageMean, imageStd } = settings;
    const round = Math.fround;
    if (doNormalize && (imageMean.length !== channels || imageStd.length !== channels)) {
      throw new OptionError(
        `preprocess: expected imageMean and imageStd of ${channels} numbers for pictures of ${channels} channels, got ${imageMean.length} and ${imageStd.length}`,
      );
    }
    const fused = this.backend === 'torchvision';
    return Array.from({ length: channels }, (_, channel) => {
      const mean = round(imageMean[channel] ?? 0);
      const deviation = round(imageStd[channel] ?? 1);
      const inverse = round(1 / rescaleFactor);
      return Float32Array.from({ length: 256 }, (_, byte) => {
        if (fused && doRescale && doNormalize) return round(byte - round(mean * inverse)) / round(deviation * inverse);
        const value = doRescale ? round(byte * (fused ? round(rescaleFactor) : rescaleFactor)) : byte;
        return doNormalize ? round(value - mean) / deviation : value;
      });
    });
  }
}

/** The options of `fromPretrained`, by who takes them. @throws OptionError for unknown ones */
export function splitOptions(options: ProcessorOptions & HubOptions): {
  hubOptions: HubOptions;
  processorOptions: ProcessorOptions;
} {
  checkOptionNames(options, [...processorOptionNames, ...hubOptionNames], 'fromPretrained');
  const isHubOption = ([name]: [string, unknown]) => hubOptionNames.includes(name);
  const entries = Object.entries(options);
  return {
    hubOptions: Object.fromEntries(entries.filter(isHubOption)),
    processorOptions: Object.fromEntries(entries.filter(entry => !isHubOption(entry))),
  };
}

/** The annotations, checked; undefined if there are none. */
function annotationsFor(
  pictures: readonly Image[],
  options: PreprocessOptions,
  { format }: ProcessorSettings,
): readonly ImageAnnotation[] | undefined {
  const given = options.annotations;
  checkFlag(options.returnSegmentationMasks ?? undefined, 'returnSegmentationMasks', 'preprocess');
  if (given === undefined || given === null) {
    const alone = (['masks', 'masksPath'] as const).find(name => (options[name] ?? null) !== null);
    if (alone === undefined) return undefined;
    throw new OptionError(`preprocess: expected annotations beside ${alone}, got none`);
  }
  const annotations = Array.isArray(given) ? (given as readonly ImageAnnotation[]) : [given as ImageAnnotation];
  if (annotations.length !== pictures.length) {
    throw new OptionError(
      `preprocess: expected one annotation for each of ${pictures.length} pictures, got ${annotations.length}`,
    );
  }
  if (options.masks !== undefined && options.masks.length !== pictures.length) {
    throw new OptionError(
      `preprocess: expected one mask picture for each of ${pictures.length} pictures, got ${options.masks.length}`,
    );
  }
  for (const [index, annotation] of annotations.entries())
    checkAnnotation(annotation, format, `preprocess: annotations[${index}]`);
  return annotations;
}

function prepareLabels(
  annotation: ImageAnnotation,
  index: number,
  size: readonly [number, number],
  { format }: ProcessorSettings,
  options: PreprocessOptions,
): ImageLabels {
  const where = `preprocess: annotations[${index}]`;
  if (format === 'coco_detection') {
    return prepareDetection(
      annotation as CocoDetectionAnnotation,
      size,
      options.returnSegmentationMasks ?? false,
      where,
    );
  }
  const source = { path: options.masksPath, image: options.masks?.[index] };
  return preparePanoptic(
    annotation as CocoPanopticAnnotation,
    size,
    options.returnSegmentationMasks ?? true,
    source,
    where,
  );
}

function batchSize(
  prepared: readonly PreparedImage[],
  { doPad, padSize }: ProcessorSettings,
): { height: number; width: number } {
  const heights = prepared.map(({ image }) => image.height);
  const widths = prepared.map(({ image }) => image.width);
  const height = Math.max(...heights);
  const width = Math.max(...widths);
  const { channels } = prepared[0]!.image;
  const other = prepared.find(({ image }) => image.channels !== channels);
  if (other !== undefined)
    throw new ShapeError(
      `preprocess: expected pictures of one kind, got ${channels} and ${other.image.channels} channels`,
    );
  if (!doPad) {
    if (heights.every(value => value === height) && widths.every(value => value === width)) return { height, width };
    const sizes = prepared.map(({ image }) => `${image.height} x ${image.width}`).join(', ');
    throw new ShapeError(`preprocess: expected pictures of one size with doPad: false, got ${sizes}`);
  }
  if (padSize !== undefined && (padSize.height < height || padSize.width < width)) {
    throw new ShapeError(
      `preprocess: expected padSize to be at least ${height} x ${width}, got ${padSize.height} x ${padSize.width}`,
    );
  }
  if (padSize !== undefined) checkExtent([padSize.height, padSize.width], 'pictures are padded to');
  return padSize ?? { height, width };
}

/** [image H, image W, C] bytes → [C, H, W] values at the top left. */
function writePlanes(
  image: Image,
  values: readonly Float32Array[],
  planes: Float32Array,
  height: number,
  width: number,
): void {
  const { channels, data } = image;
  for (const [channel, table] of values.entries()) {
    for (let y = 0; y < image.height; y++) {
      let from = y * image.width * channels + channel;
      const row = (channel * height + y) * width;
      for (let to = row; to < row + image.width; to++, from += channels) planes[to] = table[data[from]!]!;
    }
  }
}

/** Reads a model folder's preprocessor_config.json; returns its path, too. @throws FileError */
export async function readProcessorConfig(folder: string): Promise<[config: ProcessorConfig, file: string]> {
  const file = join(folder, 'preprocessor_config.json');
  if (existsSync(file) || !existsSync(folder)) return [await readJson(file), file];
  const advice = 'copy that of the model which was fine-tuned here (any published DETR has one)';
  throw new FileError(
    { file: folder },
    `expected preprocessor_config.json, which says how pictures are prepared; ${advice}`,
  );
}
