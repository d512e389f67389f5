// Softmax of rows of K values.

import { elementCount, ShapeError, type Tensor } from '../../engine/index.ts';
import { expectType } from '../expect.ts';
import { defineKernel, floats } from '../kernel.ts';
import { planSoftmax } from './softmax.wgsl.ts';

const ELEMENTS_PER_TASK = 8192;

/**
 * exp(x - max) / Σ exp(x - max) over the last axis: x [..., K]. A row that holds NaN or infinity, or only -infinity, becomes
 * NaN.
 * @throws ShapeError for a scalar
 */
export function softmax(x: Tensor): Tensor<'float32'> {
  const length = x.shape.at(-1);
  if (length === undefined) throw new ShapeError('softmax: expected x [..., K], got []');
  expectType('softmax', 'x', x);
  const out = x.device.empty(x.shape);
  const rows = x.size === 0 ? 0 : x.size / length;
  const rowsPerTask = Math.ceil(ELEMENTS_PER_TASK / Math.max(length, 1));
  x.device.launch({
    kernel: 'softmax',
    inputs: [x],
    outputs: [out],
    cost: softmaxCost(x.size),
    wgsl: traits => planSoftmax(traits, rows, length),
    wasm: () => ({
      entry: 'softmax',
      tasks: Math.ceil(rows / rowsPerTask),
      scalars: [rows, length, rowsPerTask],
    }),
  });
  return out;
}

/** Maximum, difference, exponential, sum and quotient count one each. */
const softmaxCost = (count: number) => ({ flops: 5 * count, bytes: 8 * count });

export interface SoftmaxProblem {
  readonly shape: readonly number[];
  /** Default: random. */
  readonly allEqual?: boolean;
  /** Elements rise by 200 and rows fall by 20,000: of no two of them the exponentials can be compared in float32. */
  readonly farApart?: boolean;
}

export const softmaxKernel = defineKernel<SoftmaxProblem>({
  name: 'softmax',
  hasForms: true,
  cases: {
    'mask attention over heads and space, 800x1066': { shape: [1, 100, 6800] },
  },
  edges: {
    'empty batch': { shape: [0, 5] },
    'empty rows': { shape: [5, 0] },
    'one class': { shape: [7, 1] },
    'one axis': { shape: [10_007] },
    'a long sum of one sign': { shape: [33_603], allEqual: true },
    'elements far apart': { shape: [3, 7], farApart: true },
    'elements far apart, in fours': { shape: [3, 8], farApart: true },
  },
  random: random => ({
    shape: [random.pick([1, 2, 3]), random.pick([1, 7, 85]), random.pick([1, 2, 3, 4, 17, 92, 251, 850])],
  }),
  inputs({ shape, allEqual, farApart }, random) {
    const x = random.tensor(shape, allEqual ? 0 : random.pick([0.1, 1, 30]), allEqual ? -2.3 : 0);
    const length = shape.at(-1)!;
    if (farApart) {
      for (let i = 0; i < x.data.length; i++) x.data[i] = 200 * (i % length) - 20_000 * Math.floor(i / length);
    }
    return { x };
  },
  prepare(device, _, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => [softmax(x)];
  },
  cost: ({ shape }) => softmaxCost(elementCount(shape)),
});
