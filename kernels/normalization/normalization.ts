// Layer norm and group norm: (x - mean) / sqrt(variance + epsilon) · weight + bias, with the biased variance. Mean and
// variance stay exact for values far from 0 (a mean of 10,000 with a deviation of 1).
// B batch, C channels, H x W space, D features.

import { elementCount, ShapeError, type Tensor } from '../../engine/index.ts';
import { type Activation, activationCode, expectActivation } from '../activation.ts';
import { expectShape, expectType } from '../expect.ts';
import { defineKernel, floats } from '../kernel.ts';
import { planGroupNorm, planLayerNorm } from './normalization.wgsl.ts';

/** HuggingFace's models all use it. */
const DEFAULT_EPSILON = 1e-5;
const ELEMENTS_PER_TASK = 8192;
/** The pivot, mean and scale that `measure` in normalization.assembly.ts leaves, in a cache line. */
const SCRATCH_BYTES = 64;

export interface LayerNormOptions {
  /** Default 1e-5. */
  readonly epsilon?: number | undefined;
}

/**
 * Normalises the last axis: x [..., D], weight and bias [D].
 * @throws ShapeError
 */
export function layerNorm(
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  { epsilon = DEFAULT_EPSILON }: LayerNormOptions = {},
): Tensor<'float32'> {
  const length = x.shape.at(-1);
  if (length === undefined) throw new ShapeError('layerNorm: expected x [..., D], got []');
  expectType('layerNorm', 'x', x);
  expectShape('layerNorm', 'weight', weight, [length]);
  expectShape('layerNorm', 'bias', bias, [length]);
  const out = x.device.empty(x.shape);
  const rows = x.size === 0 ? 0 : x.size / length;
  const rowsPerTask = Math.ceil(ELEMENTS_PER_TASK / Math.max(length, 1));
  x.device.launch({
    kernel: 'layerNorm',
    inputs: [x, weight, bias],
    outputs: [out],
    cost: layerNormCost(rows, length),
    wgsl: traits => planLayerNorm(traits, rows, length, epsilon),
    wasm: () => ({
      entry: 'layerNorm',
      tasks: Math.ceil(rows / rowsPerTask),
      scalars: [rows, length, rowsPerTask, { f32: epsilon }],
      scratchBytes: SCRATCH_BYTES,
    }),
  });
  return out;
}

export interface GroupNormOptions {
  /** Default 1e-5. */
  readonly epsilon?: number | undefined;
  /** Applied to the result. */
  readonly activation?: Activation | undefined;
}

/**
 * Normalises groups of C / `groups` channels with their whole space, and applies the activation: x [B, C, H, W], weight
 * and bias [C].
 * @throws ShapeError if the groups do not divide the channels; OptionError for an unknown activation
 */
export function groupNorm(
  x: Tensor,
  groups: number,
  weight: Tensor,
  bias: Tensor,
  { epsilon = DEFAULT_EPSILON, activation = 'linear' }: GroupNormOptions = {},
): Tensor<'float32'> {
  expectShape('groupNorm', 'x', x, ['B', 'C', 'H', 'W']);
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
    throw new ShapeError(`groupNorm: expected groups that divide ${channels} channels, got ${groups}`);
  }
  expectShape('groupNorm', 'weight', weight, [channels]);
  expectShape('groupNorm', 'bias', bias, [channels]);
  expectActivation('groupNorm', activation);
  const out = x.device.empty(x.shape);
  const channelsPerGroup = channels / groups;
  const space = height * width;
  x.device.launch({
    kernel: 'groupNorm',
    inputs: [x, weight, bias],
    outputs: [out],
    cost: groupNormCost(x.size, channels),
    wgsl: () =>
      planGroupNorm({ batch: x.size === 0 ? 0 : batch, groups, channelsPerGroup, space, epsilon, activation }),
    wasm: () => ({
      entry: 'groupNorm',
      tasks: x.size === 0 ? 0 : batch * groups,
      scalars: [groups, channelsPerGroup, space, activationCode(activation), { f32: epsilon }],
      scratchBytes: SCRATCH_BYTES,
    }),
  });
  return out;
}

const layerNormCost = (rows: number, length: number) => ({
  flops: 8 * rows * length,
  bytes: 4 * (2 * rows * length + 2 * length),
});

const groupNormCost = (count: number, channels: number) => ({
  flops: 8 * count,
  bytes: 4 * (2 * count + 2 * channels),
});

export interface LayerNormProblem {
  readonly shape: readonly number[];
  readonly epsilon: number;
}

export const layerNormKernel = defineKernel<LayerNormProblem>({
  name: 'layerNorm',
  hasForms: true,
  cases: {
    'encoder, 800x1066': { shape: [1, 850, 256], epsilon: 1e-5 },
    decoder: { shape: [1, 100, 256], epsilon: 1e-5 },
    'deformable encoder, 800x1066': { shape: [1, 17821, 256], epsilon: 1e-5 },
  },
  edges: {
    'empty batch': { shape: [0, 3, 17], epsilon: 1e-5 },
    'no features': { shape: [3, 0], epsilon: 1e-5 },
    'one feature': { shape: [5, 1], epsilon: 1e-5 },
    'one axis': { shape: [33], epsilon: 1e-12 },
    'a long row': { shape: [2, 10_007], epsilon: 1e-5 },
  },
  random: random => ({
    shape: [random.pick([1, 2, 3]), random.pick([1, 7, 85]), random.pick([1, 3, 4, 17, 64, 255, 256])],
    epsilon: random.pick([1e-5, 1e-6, 0.1]),
  }),
  inputs({ shape }, random) {
    const features = [shape.at(-1)!];
    return {
      x: random.tensor(shape, random.pick([0.01, 1, 100])),
      weight: random.tensor(features),
      bias: random.tensor(features),
    };
  },
  prepare(device, { epsilon }, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    const weight = device.tensor(floats(inputs, 'weight'));
    const bias = device.tensor(floats(inputs, 'bias'));
    return () => [layerNorm(x, weight, bias, { epsilon })];
  },
  cost: ({ shape }) => layerNormCost(elementCount(shape.slice(0, -1)), shape.at(-1)!),
});

export interface GroupNormProblem {
  readonly shape: readonly [number, number, number, number];
  readonly groups: number;
  readonly epsilon: number;
  readonly activation: Activation;
}

export const groupNormKernel = defineKernel<GroupNormProblem>({
  name: 'groupNorm',
  cases: {
    'deformable projection, stride 8': {
      shape: [1, 256, 100, 134],
      groups: 32,
      epsilon: 1e-5,
      activation: 'linear',
    },
    'mask head lay1, 4 queries': { shape: [4, 264, 25, 34], groups: 8, epsilon: 1e-5, activation: 'relu' },
    'mask head lay5, 4 queries': { shape: [4, 16, 200, 267], groups: 8, epsilon: 1e-5, activation: 'relu' },
  },
  edges: {
    'empty batch': { shape: [0, 4, 3, 3], groups: 2, epsilon: 1e-5, activation: 'linear' },
    'one element per group': { shape: [2, 3, 1, 1], groups: 3, epsilon: 1e-5, activation: 'linear' },
    'one group': { shape: [2, 3, 5, 7], groups: 1, epsilon: 1e-5, activation: 'gelu' },
    'large groups': { shape: [1, 4, 61, 83], groups: 2, epsilon: 1e-5, activation: 'relu' },
  },
  random(random) {
    const groups = random.pick([1, 2, 8]);
    return {
      shape: [
        random.pick([1, 2, 3]),
        groups * random.pick([1, 2, 3]),
        random.pick([1, 2, 13, 25]),
        random.pick([1, 4, 17, 34]),
      ],
      groups,
      epsilon: random.pick([1e-5, 0.1]),
      activation: random.pick(['linear', 'relu', 'silu', 'gelu']),
    };
  },
  inputs({ shape }, random) {
    const channels = [shape[1]];
    return {
      x: random.tensor(shape, random.pick([0.01, 1, 100])),
      weight: random.tensor(channels),
      bias: random.tensor(channels),
    };
  },
  prepare(device, { groups, epsilon, activation }, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    const weight = device.tensor(floats(inputs, 'weight'));
    const bias = device.tensor(floats(inputs, 'bias'));
    return () => [groupNorm(x, groups, weight, bias, { epsilon, activation })];
  },
  cost: ({ shape }) => groupNormCost(elementCount(shape), shape[1]),
});
