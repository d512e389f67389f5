// What an image processor does, from preprocessor_config.json (HuggingFace's old and new forms) or from options.

import { describe } from '../../engine/describe.ts';
import { ConfigError, OptionError } from '../../engine/errors.ts';
import { type ResampleFilter, resampleFilters } from '../images/resize.ts';

/** The size that pictures are resized to, in pixels. */
export type Size =
  /** Keeps the proportions: the short side becomes `shortestEdge` unless the long one would exceed `longestEdge`. */
  | { readonly shortestEdge: number; readonly longestEdge: number }
  /** Exactly this, whatever the proportions. */
  | { readonly height: number; readonly width: number }
  /** Keeps the proportions: as large as fits, even if that enlarges. */
  | { readonly maxHeight: number; readonly maxWidth: number };

export type AnnotationFormat = 'coco_detection' | 'coco_panoptic';
const annotationFormats: readonly AnnotationFormat[] = ['coco_detection', 'coco_panoptic'];

/**
 * What `preprocess` does; the names are HuggingFace's in camelCase. A processor has one set of them, and each call may
 * override any.
 */
export interface ProcessorSettings {
  /** Format of the annotations. */
  readonly format: AnnotationFormat;
  readonly doResize: boolean;
  readonly size: Size;
  readonly resample: ResampleFilter;
  /** Multiplies the bytes by `rescaleFactor`. */
  readonly doRescale: boolean;
  readonly rescaleFactor: number;
  /** Subtracts `imageMean` and divides by `imageStd`. */
  readonly doNormalize: boolean;
  /** One number for each channel. */
  readonly imageMean: readonly number[];
  readonly imageStd: readonly number[];
  /** Turns boxes of labels into centre x, centre y, width, height relative to the picture. */
  readonly doConvertAnnotations: boolean;
  /** Pads the pictures of a batch to one size and returns `pixelMask`. */
  readonly doPad: boolean;
  /** The size to pad to; by default the largest height and the largest width of the batch. */
  readonly padSize: { readonly height: number; readonly width: number } | undefined;
}

/** The settings in all the forms in which they may be written; null stands for the default. */
export type SettingsInput = {
  readonly [Name in keyof Omit<ProcessorSettings, FlexibleSetting>]?: ProcessorSettings[Name] | null | undefined;
} & {
  /** Also an edge length (the longest edge is then `maxSize`, else 1333), or [height, width]. */
  readonly size?: Size | number | readonly [height: number, width: number] | null | undefined;
  /** The longest edge, beside a `size` of one number, or of the configured size with a shortest edge. */
  readonly maxSize?: number | null | undefined;
  /** Also Pillow's number of the filter. */
  readonly resample?: ResampleFilter | number | null | undefined;
  /** Also one number for all channels. */
  readonly imageMean?: readonly number[] | number | null | undefined;
  readonly imageStd?: readonly number[] | number | null | undefined;
  /** Also an edge length of a square, or [height, width]. */
  readonly padSize?:
    | ProcessorSettings['padSize']
    | number
    | readonly [height: number, width: number]
    | null
    | undefined;
};

type FlexibleSetting = 'size' | 'resample' | 'imageMean' | 'imageStd' | 'padSize';

/** The settings of every checkpoint of the DETR family, unless its configuration says otherwise. */
export const defaultSettings: ProcessorSettings = {
  format: 'coco_detection',
  doResize: true,
  size: { shortestEdge: 800, longestEdge: 1333 },
  resample: 'bilinear',
  doRescale: true,
  rescaleFactor: 1 / 255,
  doNormalize: true,
  imageMean: [0.485, 0.456, 0.406],
  imageStd: [0.229, 0.224, 0.225],
  doConvertAnnotations: true,
  doPad: true,
  padSize: undefined,
};

/** preprocessor_config.json as it is: snake_case keys, old forms, keys that do not concern us. */
export type ProcessorConfig = { readonly [key: string]: unknown };

/**
 * Reads preprocessor_config.json. `where` starts the messages of errors.
 *
 * Old forms: `size` as a number with `max_size`, or as [height, width]; `pad_and_return_pixel_mask` for `do_pad`;
 * `do_convert_annotations` absent (then as `do_normalize`). Keys that processors of this family do not know are ignored,
 * as HuggingFace does: configurations carry names of classes and leftovers of other processors.
 *
 * @param overrides take the place of the configuration's, as if it held them; null stands for the configuration's
 * @throws ConfigError naming the key, what it may be, and what it is; OptionError for overrides
 */
export function parseConfig(config: ProcessorConfig, where: string, overrides: SettingsInput = {}): ProcessorSettings {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    throw new ConfigError(`${where}: expected a JSON object, got ${describe(config)}`);
  }
  const input: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(config)) input[camelCase(key)] = value;
  // As in transformers 5, null is no yes; of all else it leaves the default.
  for (const name of flagNames) if (input[name] === null) input[name] = false;
  overrideSettings(overrides, defaultSettings, where); // Throws for those that do not fit.
  for (const [name, value] of Object.entries(overrides)) if ((value ?? null) !== null) input[name] = value;
  input.doPad ??= input.padAndReturnPixelMask;
  input.doConvertAnnotations ??= input.doNormalize;
  const settings = parseSettings(
    input,
    defaultSettings,
    (name, problem) => new ConfigError(`${where}: ${snakeCase(name)}: ${problem}`),
  );
  return withMaxSize(settings, overrides, where);
}

/** What can be left out. */
const flagNames = [
  'doResize',
  'doRescale',
  'doNormalize',
  'doPad',
  'padAndReturnPixelMask',
  'doConvertAnnotations',
] as const;

/**
 * `base` with the overrides that are given. Null stands for the base's value.
 *
 * @throws OptionError naming the option, what it may be, and what it is
 */
export function overrideSettings(input: SettingsInput, base: ProcessorSettings, where: string): ProcessorSettings {
  const settings = parseSettings(input, base, (name, problem) => new OptionError(`${where}: ${name}: ${problem}`));
  return withMaxSize(settings, input, where);
}

/** An option without effect would silently give other sizes. (In a file, max_size beside a size of both edges has none.) */
function withMaxSize(settings: ProcessorSettings, { maxSize, size }: SettingsInput, where: string): ProcessorSettings {
  if (maxSize === undefined || maxSize === null || typeof size === 'number') return settings;
  if ((size ?? null) === null && 'longestEdge' in settings.size)
    return { ...settings, size: { ...settings.size, longestEdge: maxSize } };
  throw new OptionError(
    `${where}: maxSize: expected beside a size of one number, got size ${describe(size ?? settings.size)}`,
  );
}

type ErrorFor = (name: string, problem: string) => Error;

function parseSettings(input: Record<string, unknown>, base: ProcessorSettings, errorFor: ErrorFor): ProcessorSettings {
  const refuse = (name: string, expected: string): never => {
    throw errorFor(name, `expected ${expected}, got ${describe(input[name])}`);
  };
  const given = <Name extends keyof ProcessorSettings>(
    name: Name,
    parse: (value: unknown) => ProcessorSettings[Name] | undefined,
    expected: string,
  ): ProcessorSettings[Name] => {
    const value = input[name];
    if (value === undefined || value === null) return base[name];
    const parsed = parse(value);
    return parsed === undefined ? refuse(name, expected) : parsed;
  };
  const flag = (value: unknown) => (typeof value === 'boolean' ? value : undefined);
  const perChannel = 'a number or a list of numbers';

  const maxSize = input.maxSize ?? 1333;
  if (!isLength(maxSize)) refuse('maxSize', 'a positive whole number of pixels');
  return {
    format: given(
      'format',
      value => annotationFormats.find(format => format === value),
      annotationFormats.join(' or '),
    ),
    doResize: given('doResize', flag, 'true or false'),
    size: given('size', value => parseSize(value, maxSize as number), sizeForms),
    resample: given('resample', parseFilter, `a number from 0 to 5 or one of ${resampleFilters.join(', ')}`),
    doRescale: given('doRescale', flag, 'true or false'),
    rescaleFactor: given(
      'rescaleFactor',
      value => (Number.isFinite(value) ? (value as number) : undefined),
      'a number',
    ),
    doNormalize: given('doNormalize', flag, 'true or false'),
    imageMean: given('imageMean', numbers, perChannel),
    imageStd: given('imageStd', value => nonZero(numbers(value)), `${perChannel}, none of them 0`),
    doConvertAnnotations: given('doConvertAnnotations', flag, 'true or false'),
    doPad: given('doPad', flag, 'true or false'),
    padSize: given('padSize', parsePadSize, '{ height, width }, [height, width] or one number, in pixels'),
  };
}

const sizeForms =
  '{ shortest_edge, longest_edge }, { height, width }, { max_height, max_width }, [height, width] or a number, in positive whole pixels';

function parseSize(value: unknown, maxSize: number): Size | undefined {
  if (isLength(value)) return { shortestEdge: value, longestEdge: maxSize };
  if (Array.isArray(value)) return lengths(['height', 'width'], value);
  const edges = entriesOf(value);
  for (const names of [
    ['shortestEdge', 'longestEdge'],
    ['height', 'width'],
    ['maxHeight', 'maxWidth'],
  ] as const) {
    if (edges.size === 2 && names.every(name => edges.has(name))) {
      return lengths(
        names,
        names.map(name => edges.get(name)),
      );
    }
  }
  return undefined;
}

function parsePadSize(value: unknown): ProcessorSettings['padSize'] {
  if (isLength(value)) return { height: value, width: value };
  if (Array.isArray(value)) return lengths(['height', 'width'], value);
  const edges = entriesOf(value);
  return edges.size === 2 ? lengths(['height', 'width'], [edges.get('height'), edges.get('width')]) : undefined;
}

/** The entries of an object that are not null, under camelCase names. */
function entriesOf(value: unknown): Map<string, unknown> {
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  return new Map(entries.filter(([, entry]) => entry !== null).map(([key, entry]) => [camelCase(key), entry]));
}

function lengths<Name extends string>(
  names: readonly Name[],
  values: readonly unknown[],
): Record<Name, number> | undefined {
  if (values.length !== names.length || !values.every(isLength)) return undefined;
  return Object.fromEntries(names.map((name, index) => [name, values[index]])) as Record<Name, number>;
}

const isLength = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 1;

function parseFilter(value: unknown): ResampleFilter | undefined {
  return typeof value === 'number' ? resampleFilters[value] : resampleFilters.find(filter => filter === value);
}

/** One number stands for each channel alike. */
function numbers(value: unknown): readonly number[] | undefined {
  if (Number.isFinite(value)) return [value as number, value as number, value as number];
  return Array.isArray(value) && value.length > 0 && value.every(Number.isFinite) ? value : undefined;
}

const nonZero = (values: readonly number[] | undefined) => (values?.includes(0) ? undefined : values);

const camelCase = (key: string): string => key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
const snakeCase = (name: string): string => name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`);
