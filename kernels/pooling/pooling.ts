// Maxima of windows, and means of whole planes. B batch, C channels, H x W space.

import { elementCount, ShapeError, type Tensor } from '../../engine/index.ts';
import { expectPositiveInteger, expectShape } from '../expect.ts';
import { defineKernel, floats } from '../kernel.ts';
import { planMaxPool2d, planMeanOverSpace } from './pooling.wgsl.ts';

const ELEMENTS_PER_TASK = 16384;
/** ROW_EXCESS in pooling.assembly.ts. */
const ROW_EXCESS = 16;

export interface MaxPool2dOptions {
  /** Side of the square window. */
  readonly kernel: number;
  /** Default: the kernel. */
  readonly stride?: number | undefined;
  /** Rows and columns around the image that count as -infinity; at most half the kernel. Default 0. */
  readonly padding?: number | undefined;
}

/**
 * The largest value of each window: [B, C, H, W] to [B, C, H', W'], H' = ⌊(H + 2 padding - kernel) / stride⌋ + 1. A window
 * that holds NaN gives NaN.
 * @throws ShapeError if no window fits, or for impossible options
 */
export function maxPool2d(x: Tensor, { kernel, stride = kernel, padding = 0 }: MaxPool2dOptions): Tensor<'float32'> {
  expectShape('maxPool2d', 'x', x, ['B', 'C', 'H', 'W']);
  expectPositiveInteger('maxPool2d', 'a kernel', kernel);
  expectPositiveInteger('maxPool2d', 'a stride', stride);
  if (!Number.isInteger(padding) || padding < 0 || padding > kernel / 2) {
    throw new ShapeError(`maxPool2d: expected a padding from 0 to ${Math.floor(kernel / 2)}, got ${padding}`);
  }
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  if (Math.min(height, width) + 2 * padding < kernel || height * width === 0) {
    throw new ShapeError(`maxPool2d: expected an image that a window of ${kernel} fits, got ${height} x ${width}`);
  }
  const outHeight = Math.floor((height + 2 * padding - kernel) / stride) + 1;
  const outWidth = Math.floor((width + 2 * padding - kernel) / stride) + 1;
  const planes = batch * channels;
  const out = x.device.empty([batch, channels, outHeight, outWidth]);
  const rowsPerTask = Math.ceil(ELEMENTS_PER_TASK / (width * stride));
  x.device.launch({
    kernel: 'maxPool2d',
    inputs: [x],
    outputs: [out],
    cost: maxPool2dCost(x.size, out.size, kernel),
    wgsl: () => planMaxPool2d({ planes, height, width, outHeight, outWidth, kernel, stride, padding }),
    wasm: () => ({
      entry: 'maxPool2d',
      tasks: planes * Math.ceil(outHeight / rowsPerTask),
      scalars: [height, width, outHeight, outWidth, kernel, stride, padding, rowsPerTask],
      scratchBytes: 4 * (width + 2 * padding + ROW_EXCESS),
    }),
  });
  return out;
}

const maxPool2dCost = (count: number, outCount: number, kernel: number) => ({
  flops: outCount * kernel * kernel,
  bytes: 4 * (count + outCount),
});

/** The mean of each plane: [B, C, H, W] to [B, C, 1, 1]. @throws ShapeError for planes without a pixel */
export function meanOverSpace(x: Tensor): Tensor<'float32'> {
  expectShape('meanOverSpace', 'x', x, ['B', 'C', 'H', 'W']);
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const space = height * width;
  if (space === 0) throw new ShapeError(`meanOverSpace: expected pixels, got ${height} x ${width}`);
  const planes = batch * channels;
  const planesPerTask = Math.ceil(ELEMENTS_PER_TASK / space);
  const out = x.device.empty([batch, channels, 1, 1]);
  x.device.launch({
    kernel: 'meanOverSpace',
    inputs: [x],
    outputs: [out],
    cost: meanOverSpaceCost(planes, space),
    wgsl: traits => planMeanOverSpace(traits, planes, space),
    wasm: () => ({
      entry: 'meanOverSpace',
      tasks: Math.ceil(planes / planesPerTask),
      scalars: [planes, space, planesPerTask],
    }),
  });
  return out;
}

const meanOverSpaceCost = (planes: number, space: number) => ({
  flops: planes * space,
  bytes: 4 * planes * (space + 1),
});

export interface MaxPool2dProblem {
  readonly shape: readonly [number, number, number, number];
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
}

const outSize = ({ kernel, stride, padding }: MaxPool2dProblem, size: number) =>
  Math.floor((size + 2 * padding - kernel) / stride) + 1;

export const maxPool2dKernel = defineKernel<MaxPool2dProblem>({
  name: 'maxPool2d',
  cases: { 'stem, 800x1066': { shape: [1, 64, 400, 533], kernel: 3, stride: 2, padding: 1 } },
  edges: {
    'empty batch': { shape: [0, 3, 5, 5], kernel: 3, stride: 2, padding: 1 },
    'one pixel': { shape: [2, 3, 1, 1], kernel: 3, stride: 2, padding: 1 },
    'a window as large as the image': { shape: [2, 3, 5, 5], kernel: 5, stride: 5, padding: 0 },
    'a stride beyond the window': { shape: [1, 2, 17, 23], kernel: 2, stride: 5, padding: 1 },
  },
  random(random) {
    const kernel = random.pick([1, 2, 3, 4, 5]);
    return {
      shape: [random.pick([1, 2]), random.pick([1, 3, 17]), random.pick([5, 17, 34, 61]), random.pick([5, 8, 33, 67])],
      kernel,
      stride: random.pick([1, 2, 3]),
      padding: random.integer(0, Math.floor(kernel / 2)),
    };
  },
  inputs: ({ shape }, random) => ({ x: random.tensor(shape) }),
  prepare(device, { kernel, stride, padding }, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => [maxPool2d(x, { kernel, stride, padding })];
  },
  cost(problem) {
    const [batch, channels, height, width] = problem.shape;
    const outCount = batch * channels * outSize(problem, height) * outSize(problem, width);
    return maxPool2dCost(elementCount(problem.shape), outCount, problem.kernel);
  },
  tolerance: 0,
});

export interface MeanOverSpaceProblem {
  readonly shape: readonly [number, number, number, number];
}

export const meanOverSpaceKernel = defineKernel<MeanOverSpaceProblem>({
  name: 'meanOverSpace',
  hasForms: true,
  cases: {
    'squeeze-excite, stride 4': { shape: [1, 16, 200, 267] },
    'squeeze-excite, stride 16': { shape: [1, 192, 50, 67] },
  },
  edges: { 'empty batch': { shape: [0, 3, 5, 5] }, 'one pixel': { shape: [2, 3, 1, 1] } },
  random: random => ({
    shape: [random.pick([1, 2]), random.pick([1, 3, 17, 40]), random.pick([1, 4, 13]), random.pick([1, 3, 16, 101])],
  }),
  inputs: ({ shape }, random) => ({ x: random.tensor(shape) }),
  prepare(device, _, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => [meanOverSpace(x)];
  },
  cost: ({ shape: [batch, channels, height, width] }) => meanOverSpaceCost(batch * channels, height * width),
});
