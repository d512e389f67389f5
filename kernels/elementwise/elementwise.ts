// Element by element: sums and products with broadcasting, activations, the inverse of the sigmoid.

import { elementCount, type Tensor } from '../../engine/index.ts';
import { type Activation, activationCode, activations, expectActivation } from '../activation.ts';
import { type BroadcastPlan, broadcastShapes, planBroadcast } from '../broadcast.ts';
import { expectType } from '../expect.ts';
import { defineKernel, floats, type Kernel } from '../kernel.ts';
import type { Random } from '../random.ts';
import { planActivate, planBinary, planInverseSigmoid } from './elementwise.wgsl.ts';

/** CHUNK in elementwise.assembly.ts. */
const ELEMENTS_PER_TASK = 16384;

/**
 * a + b with NumPy's broadcasting.
 * @throws ShapeError for shapes that do not broadcast, or that leave more than four axes when even ones are merged
 */
export function add(a: Tensor, b: Tensor): Tensor<'float32'> {
  return combine('add', '+', a, b);
}

/**
 * a · b, element by element, with NumPy's broadcasting.
 * @throws ShapeError for shapes that do not broadcast, or that leave more than four axes when even ones are merged
 */
export function multiply(a: Tensor, b: Tensor): Tensor<'float32'> {
  return combine('multiply', '*', a, b);
}

function combine(kernel: 'add' | 'multiply', operator: '+' | '*', a: Tensor, b: Tensor): Tensor<'float32'> {
  expectType(kernel, 'a', a);
  expectType(kernel, 'b', b);
  const plan = planBroadcast(kernel, broadcastShapes(kernel, a.shape, b.shape), [a.shape, b.shape]);
  const out = a.device.empty(plan.shape);
  a.device.launch({
    kernel,
    inputs: [a, b],
    outputs: [out],
    cost: binaryCost({ a: a.shape, b: b.shape }),
    wgsl: () => planBinary(operator, plan),
    wasm: () => ({ entry: kernel, tasks: Math.ceil(out.size / ELEMENTS_PER_TASK), scalars: walk(out.size, plan) }),
  });
  return out;
}

function walk(count: number, { sizes, strides }: BroadcastPlan): number[] {
  return [count, sizes[1], sizes[2], sizes[3], ...strides.flat()];
}

/** The activation of every element. @throws OptionError for an unknown activation */
export function activate(x: Tensor, activation: Activation): Tensor<'float32'> {
  expectType('activate', 'x', x);
  expectActivation('activate', activation);
  const out = x.device.empty(x.shape);
  x.device.launch({
    kernel: 'activate',
    inputs: [x],
    outputs: [out],
    cost: unaryCost(x.size),
    wgsl: () => planActivate(x.size, activation),
    wasm: () => ({
      entry: 'activate',
      tasks: Math.ceil(x.size / ELEMENTS_PER_TASK),
      scalars: [x.size, activationCode(activation)],
    }),
  });
  return out;
}

/** ln(max(p, 1e-5) / max(1 - p, 1e-5)) with p = x clamped to [0, 1] (HF `inverse_sigmoid`). */
export function inverseSigmoid(x: Tensor): Tensor<'float32'> {
  expectType('inverseSigmoid', 'x', x);
  const out = x.device.empty(x.shape);
  x.device.launch({
    kernel: 'inverseSigmoid',
    inputs: [x],
    outputs: [out],
    cost: unaryCost(x.size),
    wgsl: () => planInverseSigmoid(x.size),
    wasm: () => ({
      entry: 'inverseSigmoid',
      tasks: Math.ceil(x.size / ELEMENTS_PER_TASK),
      scalars: [x.size],
    }),
  });
  return out;
}

export interface BinaryProblem {
  readonly a: readonly number[];
  readonly b: readonly number[];
}

const BINARY_EDGES = {
  'empty batch': { a: [0, 3, 17], b: [3, 17] },
  'empty rows': { a: [2, 5, 0], b: [1, 5, 1] },
  scalars: { a: [], b: [] },
  'scalar and tensor': { a: [], b: [3, 7] },
  'both repeat along the last axis': { a: [3, 1, 1], b: [1, 4, 1] },
  'an outer product': { a: [5, 1], b: [1, 13] },
  'vectors of four in rows': { a: [3, 5, 8], b: [3, 1, 8] },
  'four axes': { a: [2, 1, 3, 1], b: [1, 5, 1, 7] },
} as const;

function binaryKernel(
  name: 'add' | 'multiply',
  launcher: typeof add,
  cases: Readonly<Record<string, BinaryProblem>>,
): Kernel<BinaryProblem> {
  return defineKernel<BinaryProblem>({
    name,
    cases,
    edges: BINARY_EDGES,
    random: randomBinary,
    inputs: ({ a, b }, random) => ({ a: random.tensor(a), b: random.tensor(b) }),
    prepare(device, _, inputs) {
      const a = device.tensor(floats(inputs, 'a'));
      const b = device.tensor(floats(inputs, 'b'));
      return () => [launcher(a, b)];
    },
    cost: binaryCost,
    tolerance: 1,
  });
}

export const addKernel = binaryKernel('add', add, {
  'positions onto encoder tokens, 800x1066': { a: [1, 850, 256], b: [1, 850, 256] },
  'query positions onto a batch of 4': { a: [4, 100, 256], b: [100, 256] },
  'what queries share onto the mask head, 4 queries': { a: [4, 264, 25, 34], b: [1, 264, 25, 34] },
});
export const multiplyKernel = binaryKernel('multiply', multiply, {
  'squeeze-excite scale, stride 16': { a: [1, 192, 50, 67], b: [1, 192, 1, 1] },
  'reference points on 4 levels': { a: [1, 300, 1, 2], b: [1, 1, 4, 2] },
  'query scale': { a: [1, 300, 256], b: [1, 300, 256] },
});

function randomBinary(random: Random): BinaryProblem {
  const shape = Array.from({ length: random.integer(1, 4) }, () => random.pick([1, 2, 3, 8, 17, 33]));
  const operand = () => {
    const repeated = shape.map(size => (random.next() < 0.3 ? 1 : size));
    return random.boolean() ? repeated : repeated.slice(random.integer(0, shape.length));
  };
  return random.boolean() ? { a: shape, b: operand() } : { a: operand(), b: shape };
}

function binaryCost({ a, b }: BinaryProblem) {
  const count = elementCount(broadcastShapes('cost', a, b));
  return { flops: count, bytes: 4 * (elementCount(a) + elementCount(b) + count) };
}

export interface ActivateProblem {
  readonly shape: readonly number[];
  readonly activation: Activation;
}

export const activateKernel = defineKernel<ActivateProblem>({
  name: 'activate',
  cases: {
    'box sigmoid': { shape: [1, 100, 4], activation: 'sigmoid' },
    'sigmoid of reference points': { shape: [300, 2], activation: 'sigmoid' },
  },
  edges: {
    'empty batch': { shape: [0, 4], activation: 'relu' },
    ...Object.fromEntries(activations.map(activation => [activation, { shape: [3, 257], activation }])),
  },
  random: random => ({
    shape: [random.pick([1, 2, 3]), random.pick([1, 3, 4, 17, 850])],
    activation: random.pick(activations),
  }),
  inputs: ({ shape }, random) => ({ x: random.tensor(shape, random.pick([0.1, 3, 30])) }),
  prepare(device, { activation }, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => [activate(x, activation)];
  },
  cost: ({ shape }) => unaryCost(elementCount(shape)),
  tolerance: 4,
});

export interface InverseSigmoidProblem {
  readonly shape: readonly number[];
}

export const inverseSigmoidKernel = defineKernel<InverseSigmoidProblem>({
  name: 'inverseSigmoid',
  cases: { 'reference points': { shape: [1, 300, 2] }, 'reference boxes': { shape: [1, 300, 4] } },
  edges: { 'empty batch': { shape: [0, 4] } },
  random: random => ({ shape: [random.pick([1, 2, 3]), random.pick([1, 4, 17, 301])] }),
  inputs({ shape }, random) {
    const x = random.tensor(shape);
    x.data.forEach((_, index) => {
      x.data[index] = random.pick([
        random.next(),
        random.next() * 1e-4,
        1 - random.next() * 1e-4,
        random.integer(-1, 2),
      ]);
    });
    return { x };
  },
  prepare(device, _, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => [inverseSigmoid(x)];
  },
  cost: ({ shape }) => unaryCost(elementCount(shape)),
  tolerance: 4,
});

/** One operation per element is counted, whatever the function. */
function unaryCost(count: number) {
  return { flops: count, bytes: 8 * count };
}
