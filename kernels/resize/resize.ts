// Planes at another size, by PyTorch's rules. B batch, C channels, H x W space, h x w new space.

import { elementCount, formatShape, ShapeError, type Tensor } from '../../engine/index.ts';
import { expectPositiveInteger, expectShape } from '../expect.ts';
import { defineKernel, floats } from '../kernel.ts';
import type { Random } from '../random.ts';
import {
  nearestRatio,
  type PlaneSizes,
  planDownsampleMask,
  planResizeBilinear,
  planResizeNearest,
} from './resize.wgsl.ts';

const ELEMENTS_PER_TASK = 16384;

/** Height and width. */
export type Size = readonly [number, number];

function planeSizes(operation: string, planes: number, [height, width]: Size, [outHeight, outWidth]: Size): PlaneSizes {
  expectPositiveInteger(operation, 'a height', outHeight);
  expectPositiveInteger(operation, 'a width', outWidth);
  if (height === 0 || width === 0) throw new ShapeError(`${operation}: expected pixels, got ${height} x ${width}`);
  return { planes, height, width, outHeight, outWidth };
}

/** Output rows of a task, and the tasks of all planes. */
function shareRows({ planes, outHeight, outWidth }: PlaneSizes): { rowsPerTask: number; tasks: number } {
  const rowsPerTask = Math.ceil(ELEMENTS_PER_TASK / outWidth);
  return { rowsPerTask, tasks: planes * Math.ceil(outHeight / rowsPerTask) };
}

export interface ResizeNearestOptions {
  /** [B / n, C, h, w], added to the result; each item of it to n consecutive items of the batch. */
  readonly residual?: Tensor | undefined;
}

/**
 * [B, C, H, W] to [B, C, h, w], each place taking the value at ⌊place · in / out⌋ with the ratio in float32 (torch
 * "nearest"), plus the residual.
 * @throws ShapeError
 */
export function resizeNearest(x: Tensor, size: Size, { residual }: ResizeNearestOptions = {}): Tensor<'float32'> {
  expectShape('resizeNearest', 'x', x, ['B', 'C', 'H', 'W']);
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const sizes = planeSizes('resizeNearest', batch * channels, [height, width], size);
  let repeats = 1;
  if (residual !== undefined) {
    expectShape('resizeNearest', 'residual', residual, ['B', channels, ...size]);
    if (batch > 0 && batch % residual.shape[0]! !== 0) {
      throw new ShapeError(
        `resizeNearest: expected a residual whose batch divides ${batch}, got ${formatShape(residual.shape)}`,
      );
    }
    repeats = batch / residual.shape[0]!;
  }
  const out = x.device.empty([batch, channels, ...size]);
  x.device.launch({
    kernel: 'resizeNearest',
    inputs: [x, residual],
    outputs: [out],
    cost: nearestCost(sizes, residual?.size ?? 0),
    wgsl: () => planResizeNearest(sizes, residual === undefined ? undefined : { channels, repeats }),
    wasm() {
      const { rowsPerTask, tasks } = shareRows(sizes);
      return {
        entry: 'resizeNearest',
        tasks,
        scalars: [
          height,
          width,
          ...size,
          { f32: nearestRatio(height, size[0]) },
          { f32: nearestRatio(width, size[1]) },
          rowsPerTask,
          channels,
          repeats,
        ],
        scratchBytes: 4 * size[1],
      };
    },
  });
  return out;
}

/**
 * [B, C, H, W] to [B, C, h, w] by linear interpolation between pixel centres in both directions, without antialiasing
 * (torch "bilinear", align_corners=False).
 * @throws ShapeError, on WebGPU also where a side times the new one is 2^31 or more
 */
export function resizeBilinear(x: Tensor, size: Size): Tensor<'float32'> {
  expectShape('resizeBilinear', 'x', x, ['B', 'C', 'H', 'W']);
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const sizes = planeSizes('resizeBilinear', batch * channels, [height, width], size);
  const out = x.device.empty([batch, channels, ...size]);
  x.device.launch({
    kernel: 'resizeBilinear',
    inputs: [x],
    outputs: [out],
    cost: bilinearCost(sizes),
    wgsl: () => planResizeBilinear(sizes),
    wasm() {
      const { rowsPerTask, tasks } = shareRows(sizes);
      return {
        entry: 'resizeBilinear',
        tasks,
        scalars: [height, width, ...size, rowsPerTask],
        scratchBytes: 4 * (3 * size[1] + 1 + width),
      };
    },
  });
  return out;
}

/**
 * A pixel mask [B, H, W] at the size of a feature map: [B, h, w], 1 where the nearest pixel (as in `resizeNearest`) is not
 * 0, else 0.
 * @throws ShapeError
 */
export function downsampleMask(mask: Tensor, size: Size): Tensor<'float32'> {
  expectShape('downsampleMask', 'mask', mask, ['B', 'H', 'W']);
  const [batch, height, width] = mask.shape as [number, number, number];
  const sizes = planeSizes('downsampleMask', batch, [height, width], size);
  const out = mask.device.empty([batch, ...size]);
  mask.device.launch({
    kernel: 'downsampleMask',
    inputs: [mask],
    outputs: [out],
    cost: nearestCost(sizes, 0),
    wgsl: () => planDownsampleMask(sizes),
    wasm() {
      const { rowsPerTask, tasks } = shareRows(sizes);
      const ratios = [{ f32: nearestRatio(height, size[0]) }, { f32: nearestRatio(width, size[1]) }];
      return { entry: 'downsampleMask', tasks, scalars: [height, width, ...size, ...ratios, rowsPerTask] };
    },
  });
  return out;
}

/** A source value is read once, however often it is used. */
function nearestCost({ planes, height, width, outHeight, outWidth }: PlaneSizes, residual: number) {
  const out = planes * outHeight * outWidth;
  const read = Math.min(planes * height * width, out) + residual;
  return { flops: residual === 0 ? 0 : out, bytes: 4 * (read + out) };
}

function bilinearCost({ planes, height, width, outHeight, outWidth }: PlaneSizes) {
  const out = planes * outHeight * outWidth;
  return { flops: 9 * out, bytes: 4 * (Math.min(planes * height * width, 4 * out) + out) };
}

type Shape4 = readonly [number, number, number, number];

const sizesOf = ([batch, channels, height, width]: Shape4, [outHeight, outWidth]: Size): PlaneSizes => ({
  planes: batch * channels,
  height,
  width,
  outHeight,
  outWidth,
});

function randomSize(random: Random): Size {
  return [random.pick([1, 7, 26, 50]), random.pick([1, 9, 33, 67])];
}

export interface ResizeNearestProblem {
  readonly shape: Shape4;
  readonly size: Size;
  /** Batch items that share an item of the residual; undefined for no residual. */
  readonly repeats: number | undefined;
}

const residualShape = ({ shape, size, repeats = 1 }: ResizeNearestProblem): Shape4 => [
  shape[0] / repeats,
  shape[1],
  ...size,
];

export const resizeNearestKernel = defineKernel<ResizeNearestProblem>({
  name: 'resizeNearest',
  cases: {
    'mask head to stride 16, 4 queries': { shape: [4, 128, 25, 34], size: [50, 67], repeats: 4 },
    'mask head to stride 4, 4 queries': { shape: [4, 32, 100, 134], size: [200, 267], repeats: 4 },
  },
  edges: {
    'empty batch': { shape: [0, 3, 2, 2], size: [3, 3], repeats: undefined },
    'the same size': { shape: [2, 3, 5, 7], size: [5, 7], repeats: undefined },
    'one pixel': { shape: [2, 3, 1, 1], size: [5, 7], repeats: 1 },
    'twice the size': { shape: [1, 2, 9, 10], size: [18, 20], repeats: undefined },
    'to one pixel': { shape: [1, 2, 9, 10], size: [1, 1], repeats: undefined },
    // In float32 11 times 26 / 22 is less than 13, and 23 times 14 / 46 less than 7.
    'ratios that round down': { shape: [1, 2, 26, 14], size: [22, 46], repeats: undefined },
  },
  random(random) {
    const repeats = random.pick([undefined, 1, 3]);
    return {
      shape: [
        random.pick([1, 2]) * (repeats ?? 1),
        random.pick([1, 3, 17]),
        random.pick([1, 4, 13, 25]),
        random.pick([1, 5, 17, 34]),
      ],
      size: randomSize(random),
      repeats,
    };
  },
  inputs(problem, random) {
    const x = random.tensor(problem.shape);
    return problem.repeats === undefined ? { x } : { x, residual: random.tensor(residualShape(problem)) };
  },
  prepare(device, { size, repeats }, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    const residual = repeats === undefined ? undefined : device.tensor(floats(inputs, 'residual'));
    return () => [resizeNearest(x, size, { residual })];
  },
  cost(problem) {
    const residual = problem.repeats === undefined ? 0 : elementCount(residualShape(problem));
    return nearestCost(sizesOf(problem.shape, problem.size), residual);
  },
  tolerance: 1,
});

export interface ResizeBilinearProblem {
  readonly shape: Shape4;
  readonly size: Size;
}

export const resizeBilinearKernel = defineKernel<ResizeBilinearProblem>({
  name: 'resizeBilinear',
  cases: { 'masks to the image, 10 queries': { shape: [1, 10, 200, 267], size: [480, 640] } },
  edges: {
    'empty batch': { shape: [0, 3, 2, 2], size: [3, 3] },
    'the same size': { shape: [2, 3, 5, 7], size: [5, 7] },
    'one pixel': { shape: [2, 3, 1, 1], size: [5, 7] },
    'to one pixel': { shape: [1, 2, 9, 10], size: [1, 1] },
    'products beyond 2^31': { shape: [1, 1, 1, 33_000], size: [1, 33_100] },
  },
  random: random => ({
    shape: [random.pick([1, 2]), random.pick([1, 3]), random.pick([1, 4, 13, 61]), random.pick([1, 5, 17, 134])],
    size: randomSize(random),
  }),
  inputs: ({ shape }, random) => ({ x: random.tensor(shape) }),
  prepare(device, { size }, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => [resizeBilinear(x, size)];
  },
  cost: ({ shape, size }) => bilinearCost(sizesOf(shape, size)),
  tolerance: 4,
});

export interface DownsampleMaskProblem {
  readonly shape: readonly [number, number, number];
  readonly size: Size;
}

export const downsampleMaskKernel = defineKernel<DownsampleMaskProblem>({
  name: 'downsampleMask',
  cases: {
    'stride 32, 800x1066': { shape: [1, 800, 1066], size: [25, 34] },
    'stride 8, batch of 4': { shape: [4, 800, 1066], size: [100, 134] },
  },
  edges: {
    'empty batch': { shape: [0, 8, 8], size: [2, 2] },
    'one pixel': { shape: [2, 1, 1], size: [3, 5] },
  },
  random: random => ({
    shape: [random.pick([1, 2, 3]), random.pick([1, 17, 97, 130]), random.pick([1, 33, 130, 201])],
    size: randomSize(random),
  }),
  inputs({ shape }, random) {
    const mask = random.tensor(shape);
    mask.data.forEach((_, index) => {
      mask.data[index] = random.pick([0, -0, 1, 1, 0.25]);
    });
    return { mask };
  },
  prepare(device, { size }, inputs) {
    const mask = device.tensor(floats(inputs, 'mask'));
    return () => [downsampleMask(mask, size)];
  },
  cost: ({ shape: [batch, height, width], size }) => nearestCost(sizesOf([batch, 1, height, width], size), 0),
  tolerance: 0,
});
