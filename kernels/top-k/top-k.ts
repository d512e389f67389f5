// B batch, S elements of a row

import { ShapeError, type Tensor } from '../../engine/index.ts';
import { expectShape } from '../expect.ts';
import { defineKernel, floats } from '../kernel.ts';
import { planTopKOrder, planTopKSelect } from './top-k.wgsl.ts';

export interface TopK {
  /** [B, k], falling. */
  readonly values: Tensor<'float32'>;
  /** [B, k], places in the row. */
  readonly indices: Tensor<'int32'>;
}

/**
 * The k largest elements of every row, largest first, equal ones in the order of their places. NaN counts as larger than
 * everything, as in PyTorch.
 *
 * @param x [B, S]
 * @throws ShapeError unless 1 <= k <= S
 */
export function topK(x: Tensor, k: number): TopK {
  expectShape('topK', 'x', x, ['B', 'S']);
  const { device } = x;
  const [batch, size] = x.shape as [number, number];
  if (!Number.isInteger(k) || k < 1 || k > size) {
    throw new ShapeError(`topK: expected k from 1 to ${size}, got ${k}`);
  }
  const candidates = device.empty([batch, k], 'int32');
  const values = device.empty([batch, k]);
  const indices = device.empty([batch, k], 'int32');
  device.launch({
    kernel: 'topKSelect',
    inputs: [x],
    outputs: [candidates],
    cost: { flops: 0, bytes: 4 * (x.size + candidates.size) },
    wgsl: () => planTopKSelect(batch, size, k),
    wasm: () => ({ entry: 'topKSelect', tasks: batch, scalars: [size, k], scratchBytes: 4 * (size + 2048 + 1) }),
  });
  device.launch({
    kernel: 'topKOrder',
    inputs: [x, candidates],
    outputs: [values, indices],
    cost: { flops: 0, bytes: 16 * candidates.size },
    wgsl: () => planTopKOrder(batch, size, k),
    wasm: () => ({ entry: 'topKOrder', tasks: batch, scalars: [size, k], scratchBytes: 8 * k }),
  });
  candidates.dispose();
  return { values, indices };
}

export interface TopKProblem {
  readonly batch: number;
  readonly size: number;
  readonly k: number;
  /** Different values in a row; fewer make ties. */
  readonly distinct: number;
  /** The first elements of every row are NaN of both signs and infinities. */
  readonly nonFinite?: boolean;
}

/** Infinity, NaN as processors make it of 0 / 0 (a negative one), negative infinity, and NaN as JavaScript writes it. */
const NON_FINITE_BITS = [0x7f800000, 0xffc00000, 0xff800000, 0x7fc00000, 0xffc00001];

export const topKKernel = defineKernel<TopKProblem>({
  name: 'topK',
  cases: {
    'two-stage proposals, 800x1066': { batch: 1, size: 17821, k: 300, distinct: Number.POSITIVE_INFINITY },
    'two-stage proposals, 800x1333, batch of 2': { batch: 2, size: 22223, k: 300, distinct: Number.POSITIVE_INFINITY },
  },
  edges: {
    'empty batch': { batch: 0, size: 5, k: 2, distinct: 3 },
    'one of one': { batch: 2, size: 1, k: 1, distinct: 1 },
    'all equal': { batch: 2, size: 1000, k: 700, distinct: 1 },
    'a whole row': { batch: 2, size: 3000, k: 3000, distinct: 5000 },
    'NaN of both signs and infinities': { batch: 2, size: 20, k: 5, distinct: 100, nonFinite: true },
  },
  random(random) {
    const size = random.pick([1, 3, 17, 255, 850, 3000]);
    return {
      batch: random.integer(1, 3),
      size,
      k: random.integer(1, size),
      distinct: random.pick([1, 2, 30, 10_000]),
    };
  },
  inputs({ batch, size, distinct, nonFinite = false }, random) {
    if (distinct === Number.POSITIVE_INFINITY) return { x: random.tensor([batch, size]) };
    const data = Float32Array.from({ length: batch * size }, () => {
      const value = random.integer(0, distinct - 1) - distinct / 2;
      return value === 0 && random.boolean() ? -0 : value / 8;
    });
    if (nonFinite) {
      const bits = new Uint32Array(data.buffer);
      for (let row = 0; row < batch; row++) bits.set(NON_FINITE_BITS, row * size);
    }
    return { x: { shape: [batch, size], data } };
  },
  prepare(device, { k }, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => {
      const { values, indices } = topK(x, k);
      return [values, indices];
    };
  },
  cost: ({ batch, size, k }) => ({ flops: 0, bytes: 4 * batch * (size + 2 * k) }),
  tolerance: 0,
});
