// Resampling of 8-bit pictures, bit for bit as Pillow (libImaging/Resample.c and Geometry.c) and as PyTorch's
// antialiased uint8 interpolation do it. Both are separable: first every row to the new width, rounded to bytes, then
// every column to the new height; an axis that keeps its size is left alone. They share the geometry and differ in
// the precision of their integer weights.
//
// H height, W width, C channels
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { copyOf } from '../../engine/host-tensor.ts';
import { checkImage, checkSides, type Image } from './image.ts';

/** Filters under Pillow's names (`PIL.Image.Resampling`). */
export type ResampleFilter = 'nearest' | 'lanczos' | 'bilinear' | 'bicubic' | 'box' | 'hamming';

/** Filters by Pillow's numbers, which configuration files hold. */
export const resampleFilters: readonly ResampleFilter[] = [
  'nearest',
  'lanczos',
  'bilinear',
  'bicubic',
  'box',
  'hamming',
];

interface Kernel {
  /** Half the width of the window, in source pixels when not shrinking. */
  readonly support: number;
  weight(distance: number): number;
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

const kernels: Record<Exclude<ResampleFilter, 'nearest'>, Kernel> = {
  box: { support: 0.5, weight: x => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: x => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    weight(x) {
      const distance = Math.abs(x);
      if (distance === 0) return 1;
      if (distance >= 1) return 0;
      // Pillow writes the two constants as float32.
      return sinc(distance) * (Math.fround(0.54) + Math.fround(0.46) * Math.cos(distance * Math.PI));
    },
  },
  bicubic: {
    support: 2,
    weight(x) {
      const a = -0.5;
      const distance = Math.abs(x);
      if (distance < 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
      if (distance < 2) return (((distance - 5) * distance + 8) * distance - 4) * a;
      return 0;
    },
  },
  lanczos: { support: 3, weight: x => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** For every output position, the input positions it mixes and their integer weights. */
interface Taps {
  readonly first: Int32Array;
  readonly count: Int32Array;
  /** [outputs, stride] */
  readonly weights: Int32Array;
  readonly stride: number;
  /** Fractional bits of the weights. */
  readonly precision: number;
}

type Precision = (weights: Float64Array) => number;

/** Pillow: 32 bits minus 8 of the pixel and 2 of headroom. */
const pillowPrecision: Precision = () => 22;

/** PyTorch: as many bits as keep the largest weight of the axis in 16 bits. */
const torchPrecision: Precision = weights => {
  const largest = weights.reduce((most, weight) => Math.max(most, weight), 0);
  let precision = 0;
  while (precision < 22 && Math.trunc(0.5 + largest * 2 ** (precision + 1)) < 2 ** 15) precision++;
  return precision;
};

function tapsFor(kernel: Kernel, inputs: number, outputs: number, precisionFor: Precision): Taps {
  const scale = inputs / outputs;
  const filterScale = Math.max(scale, 1);
  const support = kernel.support * filterScale;
  const stride = Math.ceil(support) * 2 + 1;
  const inverseScale = 1 / filterScale;
  const first = new Int32Array(outputs);
  const count = new Int32Array(outputs);
  const exact = new Float64Array(outputs * stride);
  for (let output = 0; output < outputs; output++) {
    const centre = (output + 0.5) * scale;
    const from = Math.max(Math.trunc(centre - support + 0.5), 0);
    const to = Math.min(Math.trunc(centre + support + 0.5), inputs);
    const weights = exact.subarray(output * stride, (output + 1) * stride);
    let total = 0;
    for (let k = 0; k < to - from; k++) {
      weights[k] = kernel.weight((k + from - centre + 0.5) * inverseScale);
      total += weights[k]!;
    }
    if (total !== 0) for (let k = 0; k < to - from; k++) weights[k] = weights[k]! / total;
    first[output] = from;
    count[output] = to - from;
  }
  const precision = precisionFor(exact);
  const one = 2 ** precision;
  const weights = Int32Array.from(exact, weight => Math.trunc(weight * one + (weight < 0 ? -0.5 : 0.5)));
  return { first, count, weights, stride, precision };
}

/** [H, W, C] → [H, outputs, C] */
function resizeRows(data: Uint8Array, height: number, width: number, channels: number, taps: Taps): Uint8Array {
  const { first, count, weights, stride, precision } = taps;
  const outputs = first.length;
  const resized = new Uint8ClampedArray(height * outputs * channels);
  const half = 1 << (precision - 1);
  let to = 0;
  for (let row = 0; row < height; row++) {
    const rowStart = row * width * channels;
    for (let output = 0; output < outputs; output++) {
      let from = rowStart + first[output]! * channels;
      const weightStart = output * stride;
      const weightEnd = weightStart + count[output]!;
      if (channels === 3) {
        let red = half;
        let green = half;
        let blue = half;
        for (let k = weightStart; k < weightEnd; k++, from += 3) {
          const weight = weights[k]!;
          red += Math.imul(data[from]!, weight);
          green += Math.imul(data[from + 1]!, weight);
          blue += Math.imul(data[from + 2]!, weight);
        }
        resized[to] = red >> precision;
        resized[to + 1] = green >> precision;
        resized[to + 2] = blue >> precision;
      } else {
        for (let channel = 0; channel < channels; channel++) {
          let sum = half;
          for (let k = weightStart, at = from + channel; k < weightEnd; k++, at += channels) {
            sum += Math.imul(data[at]!, weights[k]!);
          }
          resized[to + channel] = sum >> precision;
        }
      }
      to += channels;
    }
  }
  return new Uint8Array(resized.buffer);
}

/** [H, rowBytes] → [outputs, rowBytes] */
function resizeColumns(data: Uint8Array, rowBytes: number, taps: Taps): Uint8Array {
  const { first, count, weights, stride, precision } = taps;
  const outputs = first.length;
  const resized = new Uint8ClampedArray(outputs * rowBytes);
  const half = 1 << (precision - 1);
  const sums = new Int32Array(rowBytes);
  for (let output = 0; output < outputs; output++) {
    sums.fill(half);
    for (let k = 0; k < count[output]!; k++) {
      const weight = weights[output * stride + k]!;
      const from = (first[output]! + k) * rowBytes;
      for (let i = 0; i < rowBytes; i++) sums[i] = sums[i]! + Math.imul(data[from + i]!, weight);
    }
    const to = output * rowBytes;
    for (let i = 0; i < rowBytes; i++) resized[to + i] = sums[i]! >> precision;
  }
  return new Uint8Array(resized.buffer);
}

function resample(image: Image, height: number, width: number, kernel: Kernel, precisionFor: Precision): Image {
  const { channels } = image;
  let { data } = image;
  if (width !== image.width) {
    data = resizeRows(data, image.height, image.width, channels, tapsFor(kernel, image.width, width, precisionFor));
  }
  if (height !== image.height) {
    data = resizeColumns(data, width * channels, tapsFor(kernel, image.height, height, precisionFor));
  }
  return { width, height, channels, data };
}

/** Where Pillow's nearest filter takes each output sample from: its coordinate is a running sum, not a product. */
function pillowNearest(inputs: number, outputs: number): Int32Array {
  const scale = inputs / outputs;
  const sources = new Int32Array(outputs);
  for (let output = 0, coordinate = scale * 0.5; output < outputs; output++, coordinate += scale) {
    sources[output] = Math.min(Math.trunc(coordinate), inputs - 1);
  }
  return sources;
}

/** The same for PyTorch's `nearest-exact`: a product in float32. */
function torchNearest(inputs: number, outputs: number): Int32Array {
  const scale = Math.fround(inputs / outputs);
  return Int32Array.from({ length: outputs }, (_, output) =>
    Math.min(Math.floor(Math.fround(Math.fround(output + 0.5) * scale)), inputs - 1),
  );
}

function pick(image: Image, height: number, width: number, sources: typeof pillowNearest): Image {
  const { channels, data } = image;
  const columns = sources(image.width, width);
  const rows = sources(image.height, height);
  const picked = new Uint8Array(height * width * channels);
  let to = 0;
  for (let y = 0; y < height; y++) {
    const rowStart = rows[y]! * image.width * channels;
    for (let x = 0; x < width; x++) {
      const from = rowStart + columns[x]! * channels;
      for (let channel = 0; channel < channels; channel++) picked[to++] = data[from + channel]!;
    }
  }
  return { width, height, channels, data: picked };
}

/** Of a picture; arrays hold no more everywhere. */
const MAXIMUM_BYTES = 2 ** 31 - 1;

function checkResize(
  image: Image,
  height: number,
  width: number,
  filter: string,
  known: readonly string[],
  where: string,
): void {
  checkImage(image, where);
  checkSides({ height, width }, where);
  if (height * width * image.channels > MAXIMUM_BYTES)
    throw new ShapeError(`${where}: expected at most ${MAXIMUM_BYTES} bytes, got ${height} x ${width} pixels`);
  if (!known.includes(filter))
    throw new OptionError(`${where}: expected a filter out of ${known.join(', ')}, got ${filter}`);
}

/**
 * `image` resized to `height` x `width`, equal to Pillow's `Image.resize((width, height), filter)` bit for bit.
 *
 * Like Pillow's RGB and grey pictures; the alpha of RGBA is resampled as a fourth colour (Pillow premultiplies it).
 *
 * @throws ShapeError for an impossible size, OptionError for an unknown filter
 */
export function resize(image: Image, height: number, width: number, filter: ResampleFilter = 'bilinear'): Image {
  checkResize(image, height, width, filter, resampleFilters, 'resize');
  if (height === image.height && width === image.width) return { ...image, data: copyOf(image.data) };
  if (filter === 'nearest') return pick(image, height, width, pillowNearest);
  const kernel = kernels[filter];
  if (image.height > 100 * image.width && height < image.height) {
    // Pillow makes such columns shorter before it makes them wider, and rounds in between.
    image = resample(image, height, image.width, kernel, pillowPrecision);
  }
  return resample(image, height, width, kernel, pillowPrecision);
}

/** What `resizeTorchvision` knows. */
export type TorchvisionFilter = Exclude<ResampleFilter, 'box' | 'hamming'>;
const torchvisionFilters: readonly TorchvisionFilter[] = ['nearest', 'lanczos', 'bilinear', 'bicubic'];

/**
 * `image` resized to `height` x `width`, equal to `torchvision.transforms.v2.functional.resize(…, antialias=True)` of a
 * uint8 tensor on a CPU with AVX2 bit for bit (`nearest` is its `NEAREST_EXACT`). Differs from `resize` by at most
 * one level in a few per cent of the pixels (bilinear), by two (bicubic, lanczos); `nearest` takes other pixels.
 *
 * @throws ShapeError for an impossible size, OptionError for an unknown filter
 */
export function resizeTorchvision(
  image: Image,
  height: number,
  width: number,
  filter: TorchvisionFilter = 'bilinear',
): Image {
  checkResize(image, height, width, filter, torchvisionFilters, 'resizeTorchvision');
  if (height === image.height && width === image.width) return { ...image, data: copyOf(image.data) };
  if (filter === 'nearest') return pick(image, height, width, torchNearest);
  return resample(image, height, width, kernels[filter], torchPrecision);
}
