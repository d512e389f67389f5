// Values moved and repeated, never changed. B batch, C channels, H x W space, S = H · W tokens, D features.

import {
  type DataType,
  elementCount,
  formatShape,
  type HostTensor,
  ShapeError,
  sameShape,
  type Tensor,
} from '../../engine/index.ts';
import { broadcastShapes, planBroadcast } from '../broadcast.ts';
import { expectAxis, expectShape } from '../expect.ts';
import { defineKernel, floats, integers } from '../kernel.ts';
import { planCopy, planGatherRows } from './shape.wgsl.ts';
import { planStridedCopy, type StridedCopy, stridesOf } from './strided.ts';

/** CHUNK and ROWS in shape.assembly.ts. */
const ELEMENTS_PER_TASK = 16384;
const ROWS_PER_TASK = 32;

function launchCopy(kernel: string, x: Tensor, out: Tensor, copy: StridedCopy, cost = copyCost(copy.count)): void {
  x.device.launch({
    kernel,
    inputs: [x],
    outputs: [out],
    cost,
    wgsl: () => planCopy(copy),
    wasm() {
      const { axes, count, transposes } = copy;
      return {
        entry: transposes ? 'copyTransposed' : 'copyRows',
        tasks: transposes
          ? axes[0].size * axes[1].size * Math.ceil(axes[2].size / ROWS_PER_TASK)
          : Math.ceil(count / ELEMENTS_PER_TASK),
        scalars: [
          count,
          copy.fromOffset,
          copy.toOffset,
          ...axes.map(axis => axis.size),
          ...axes.map(axis => axis.from),
          ...axes.map(axis => axis.to),
        ],
      };
    },
  });
}

const copyCost = (count: number) => ({ flops: 0, bytes: 8 * count });
const broadcastCost = (from: number, to: number) => ({ flops: 0, bytes: 4 * (from + to) });

/**
 * The axes in another order: axis k of the result is axis `order[k]` of x (torch.permute).
 * @throws ShapeError if `order` does not name every axis once, or scatters more than four groups of axes
 */
export function permute<Type extends DataType>(x: Tensor<Type>, order: readonly number[]): Tensor<Type> {
  return reorder(
    'permute',
    x,
    order,
    order.map(axis => x.shape[axis]!),
  );
}

/** [B, C, H, W] to [B, H · W, C]. @throws ShapeError */
export function flattenSpace<Type extends DataType>(x: Tensor<Type>): Tensor<Type> {
  expectShape('flattenSpace', 'x', x, ['B', 'C', 'H', 'W'], x.dtype);
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  return reorder('flattenSpace', x, [0, 2, 3, 1], [batch, height * width, channels]);
}

function reorder<Type extends DataType>(
  kernel: string,
  x: Tensor<Type>,
  order: readonly number[],
  shape: readonly number[],
): Tensor<Type> {
  const rank = x.shape.length;
  if (order.length !== rank || [...order].sort((a, b) => a - b).some((axis, place) => axis !== place)) {
    throw new ShapeError(`${kernel}: expected each axis of ${formatShape(x.shape)} once, got [${order.join(', ')}]`);
  }
  const from = stridesOf(x.shape);
  const to = stridesOf(order.map(axis => x.shape[axis]!));
  const copy = planStridedCopy(
    order.map((axis, place) => ({ size: x.shape[axis]!, from: from[axis]!, to: to[place]! })),
  );
  if (copy === undefined) {
    throw new ShapeError(
      `${kernel}: expected at most 4 groups of axes, got [${order.join(', ')}] of ${formatShape(x.shape)}`,
    );
  }
  const out = x.device.empty(shape, x.dtype);
  launchCopy(kernel, x, out, copy);
  return out;
}

/**
 * The tensors one after the other along an axis; negative axes count from the end.
 * @throws ShapeError without tensors, or if they differ elsewhere
 */
export function concatenate<Type extends DataType>(tensors: readonly Tensor<Type>[], axis: number): Tensor<Type> {
  const first = tensors[0];
  if (first === undefined) throw new ShapeError('concatenate: expected at least one tensor, got none');
  const along = expectAxis('concatenate', first.shape.length, axis);
  const rest = (shape: readonly number[]) => shape.map((size, place) => (place === along ? -1 : size));
  for (const { shape, dtype } of tensors) {
    if (!sameShape(rest(shape), rest(first.shape)) || dtype !== first.dtype) {
      throw new ShapeError(
        `concatenate: expected shapes that differ only in axis ${along}, got ` +
          tensors.map(tensor => `${formatShape(tensor.shape)} ${tensor.dtype}`).join(', '),
      );
    }
  }
  const shape = [...first.shape];
  shape[along] = tensors.reduce((sum, tensor) => sum + tensor.shape[along]!, 0);
  const out = first.device.empty(shape, first.dtype);
  const outer = elementCount(shape.slice(0, along));
  const inner = elementCount(shape.slice(along + 1));
  const pitch = shape[along]! * inner;
  let toOffset = 0;
  for (const tensor of tensors) {
    const length = tensor.shape[along]! * inner;
    const axes = [
      { size: outer, from: length, to: pitch },
      { size: length, from: 1, to: 1 },
    ];
    launchCopy('concatenate', tensor, out, planStridedCopy(axes, { toOffset })!);
    toOffset += length;
  }
  return out;
}

/**
 * Places `start` to `end` (exclusive) of an axis; negative axes count from the end.
 * @throws ShapeError if the places do not exist
 */
export function slice<Type extends DataType>(x: Tensor<Type>, axis: number, start: number, end: number): Tensor<Type> {
  const along = expectAxis('slice', x.shape.length, axis);
  const size = x.shape[along]!;
  if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || end < start || end > size) {
    throw new ShapeError(`slice: expected 0 <= start <= end <= ${size}, got ${start} and ${end}`);
  }
  const shape = [...x.shape];
  shape[along] = end - start;
  const out = x.device.empty(shape, x.dtype);
  const inner = elementCount(shape.slice(along + 1));
  const axes = [
    { size: elementCount(shape.slice(0, along)), from: size * inner, to: (end - start) * inner },
    { size: (end - start) * inner, from: 1, to: 1 },
  ];
  launchCopy('slice', x, out, planStridedCopy(axes, { fromOffset: start * inner })!);
  return out;
}

/**
 * x repeated along its axes of size 1 and along new leading ones.
 * @throws ShapeError if x does not broadcast to `shape`
 */
export function broadcastTo<Type extends DataType>(x: Tensor<Type>, shape: readonly number[]): Tensor<Type> {
  if (!sameShape(broadcastShapes('broadcastTo', x.shape, shape), shape)) {
    throw new ShapeError(
      `broadcastTo: expected a shape that ${formatShape(x.shape)} repeats to, got ${formatShape(shape)}`,
    );
  }
  const { sizes, strides } = planBroadcast('broadcastTo', shape, [x.shape]);
  const to = stridesOf(sizes);
  const axes = sizes.map((size, axis) => ({ size, from: strides[0]![axis]!, to: to[axis]! }));
  const out = x.device.empty(shape, x.dtype);
  launchCopy('broadcastTo', x, out, planStridedCopy(axes)!, broadcastCost(x.size, out.size));
  return out;
}

/**
 * Rows of x [B, S, D] chosen per batch item by `index` [B, k] (int32): [B, k, D]. Indices outside 0 … S - 1 take the
 * nearest row.
 * @throws ShapeError
 */
export function gatherRows<Type extends DataType>(x: Tensor<Type>, index: Tensor): Tensor<Type> {
  expectShape('gatherRows', 'x', x, ['B', 'S', 'D'], x.dtype);
  const [batch, available, width] = x.shape as [number, number, number];
  expectShape('gatherRows', 'index', index, [batch, 'k'], 'int32');
  const chosen = index.shape[1]!;
  if (available === 0 && batch * chosen > 0) throw new ShapeError('gatherRows: expected rows to choose from, got none');
  const out = x.device.empty([batch, chosen, width], x.dtype);
  const rows = batch * chosen;
  x.device.launch({
    kernel: 'gatherRows',
    inputs: [x, index],
    outputs: [out],
    cost: gatherCost(rows, width),
    wgsl: () => planGatherRows({ rows, rowsPerBatch: chosen, available, width }),
    wasm: () => ({
      entry: 'gatherRows',
      tasks: Math.ceil(rows / ROWS_PER_TASK),
      scalars: [rows, chosen, available, width],
    }),
  });
  return out;
}

const gatherCost = (rows: number, width: number) => ({ flops: 0, bytes: rows * (8 * width + 4) });

export interface PermuteProblem {
  readonly shape: readonly number[];
  readonly order: readonly number[];
}

export const permuteKernel = defineKernel<PermuteProblem>({
  name: 'permute',
  cases: {
    'keys of the mask attention per head, 800x1066': { shape: [1, 850, 8, 32], order: [0, 2, 1, 3] },
    'mask attention per query, 800x1066': { shape: [1, 8, 100, 850], order: [0, 2, 1, 3] },
  },
  edges: {
    'empty batch': { shape: [0, 3, 17], order: [0, 2, 1] },
    'one element': { shape: [1, 1, 1], order: [2, 0, 1] },
    'nothing moves': { shape: [2, 3, 5], order: [0, 1, 2] },
    reversed: { shape: [3, 5, 2, 9], order: [3, 2, 1, 0] },
    'squares of four': { shape: [2, 3, 8, 12], order: [0, 1, 3, 2] },
    'squares of four between other axes': { shape: [8, 2, 12, 3], order: [2, 1, 3, 0] },
    'squares of four behind two axes that change places': { shape: [2, 3, 8, 12], order: [1, 0, 3, 2] },
    'whole tasks of rows, several times': { shape: [3, 64, 32], order: [0, 2, 1] },
    'many ones': { shape: [1, 7, 1, 33, 1, 6], order: [4, 3, 0, 1, 5, 2] },
  },
  random(random) {
    const shape = Array.from({ length: random.integer(1, 4) }, () => random.pick([1, 2, 3, 8, 17, 41]));
    const order = shape.map((_, axis) => axis);
    for (let place = order.length - 1; place > 0; place--) {
      const other = random.integer(0, place);
      [order[place], order[other]] = [order[other]!, order[place]!];
    }
    return { shape, order };
  },
  inputs: ({ shape }, random) => ({ x: random.tensor(shape) }),
  prepare(device, { order }, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => [permute(x, order)];
  },
  cost: ({ shape }) => copyCost(elementCount(shape)),
  tolerance: 0,
});

export interface SpaceProblem {
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

export const flattenSpaceKernel = defineKernel<SpaceProblem>({
  name: 'flattenSpace',
  cases: {
    'projected features, 800x1066': { batch: 1, channels: 256, height: 25, width: 34 },
    'stride 8, 800x1066': { batch: 1, channels: 256, height: 100, width: 134 },
  },
  edges: {
    'empty batch': { batch: 0, channels: 3, height: 2, width: 5 },
    'one channel': { batch: 2, channels: 1, height: 3, width: 7 },
    'one pixel': { batch: 2, channels: 7, height: 1, width: 1 },
  },
  random: random => ({
    batch: random.pick([1, 2, 3]),
    channels: random.pick([1, 3, 4, 17, 32]),
    height: random.pick([1, 2, 5, 13]),
    width: random.pick([1, 3, 4, 17]),
  }),
  inputs: ({ batch, channels, height, width }, random) => ({ x: random.tensor([batch, channels, height, width]) }),
  prepare(device, _, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => [flattenSpace(x)];
  },
  cost: ({ batch, channels, height, width }) => copyCost(batch * channels * height * width),
  tolerance: 0,
});

export interface ConcatenateProblem {
  readonly shapes: readonly (readonly number[])[];
  readonly axis: number;
}

export const concatenateKernel = defineKernel<ConcatenateProblem>({
  name: 'concatenate',
  cases: {
    'deformable levels, 800x1066': {
      shapes: [
        [1, 13400, 256],
        [1, 3350, 256],
        [1, 850, 256],
        [1, 221, 256],
      ],
      axis: 1,
    },
    'masks of 4 queries each, 800x1066': { shapes: Array.from({ length: 25 }, () => [4, 1, 200, 267]), axis: 0 },
  },
  edges: {
    'empty batch': {
      shapes: [
        [0, 3, 2],
        [0, 4, 2],
      ],
      axis: 1,
    },
    'an empty part': {
      shapes: [
        [2, 0, 3],
        [2, 5, 3],
        [2, 1, 3],
      ],
      axis: -2,
    },
    'columns of one': {
      shapes: [
        [7, 1],
        [7, 2],
        [7, 1],
      ],
      axis: 1,
    },
    'one tensor': { shapes: [[2, 3]], axis: 0 },
  },
  random(random) {
    const shape = Array.from({ length: random.integer(1, 4) }, () => random.pick([1, 2, 3, 8, 17]));
    const axis = random.integer(-shape.length, shape.length - 1);
    const along = (axis + shape.length) % shape.length;
    const shapes = Array.from({ length: random.integer(1, 4) }, () =>
      shape.map((size, place) => (place === along ? random.pick([1, 4, 5, 12]) : size)),
    );
    return { shapes, axis };
  },
  inputs: ({ shapes }, random) =>
    Object.fromEntries(shapes.map((shape, part): [string, HostTensor] => [`part${part}`, random.tensor(shape)])),
  prepare(device, { shapes, axis }, inputs) {
    const parts = shapes.map((_, part) => device.tensor(floats(inputs, `part${part}`)));
    return () => [concatenate(parts, axis)];
  },
  cost: ({ shapes }) => copyCost(shapes.reduce((sum, shape) => sum + elementCount(shape), 0)),
  tolerance: 0,
});

export interface SliceProblem {
  readonly shape: readonly number[];
  readonly axis: number;
  readonly start: number;
  readonly end: number;
}

export const sliceKernel = defineKernel<SliceProblem>({
  name: 'slice',
  cases: {
    'query positions of two-stage embeddings': { shape: [1, 300, 512], axis: 2, start: 0, end: 256 },
    'objectness of two-stage proposals, 800x1066': { shape: [1, 17821, 91], axis: 2, start: 0, end: 1 },
  },
  edges: {
    nothing: { shape: [2, 3, 5], axis: 1, start: 2, end: 2 },
    'empty batch': { shape: [0, 3], axis: 1, start: 1, end: 2 },
    'one column': { shape: [3, 7, 5], axis: -1, start: 4, end: 5 },
  },
  random(random) {
    const shape = Array.from({ length: random.integer(1, 4) }, () => random.pick([1, 2, 3, 8, 17]));
    const axis = random.integer(0, shape.length - 1);
    const start = random.integer(0, shape[axis]! - 1);
    return { shape, axis, start, end: random.integer(start, shape[axis]!) };
  },
  inputs: ({ shape }, random) => ({ x: random.tensor(shape) }),
  prepare(device, { axis, start, end }, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => [slice(x, axis, start, end)];
  },
  cost: ({ shape, axis, start, end }) => copyCost((elementCount(shape) / shape.at(axis)!) * (end - start)),
  tolerance: 0,
});

export interface BroadcastToProblem {
  readonly from: readonly number[];
  readonly to: readonly number[];
}

export const broadcastToKernel = defineKernel<BroadcastToProblem>({
  name: 'broadcastTo',
  cases: {
    'query embeddings for a batch of 4': { from: [300, 256], to: [4, 300, 256] },
    'reference points for a batch of 4': { from: [300, 2], to: [4, 300, 2] },
  },
  edges: {
    'empty batch': { from: [1, 3], to: [0, 3] },
    'a scalar': { from: [], to: [3, 7] },
    'along the last axis': { from: [3, 1], to: [3, 19] },
    'nothing repeats': { from: [2, 3], to: [2, 3] },
  },
  random(random) {
    const to = Array.from({ length: random.integer(1, 4) }, () => random.pick([1, 2, 3, 8, 17]));
    const repeated = to.map(size => (random.boolean() ? 1 : size));
    return { from: repeated.slice(random.integer(0, to.length)), to };
  },
  inputs: ({ from }, random) => ({ x: random.tensor(from) }),
  prepare(device, { to }, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => [broadcastTo(x, to)];
  },
  cost: ({ from, to }) => broadcastCost(elementCount(from), elementCount(to)),
  tolerance: 0,
});

export interface GatherRowsProblem {
  readonly batch: number;
  readonly available: number;
  readonly chosen: number;
  readonly width: number;
}

export const gatherRowsKernel = defineKernel<GatherRowsProblem>({
  name: 'gatherRows',
  cases: {
    'two-stage proposals, 800x1066': { batch: 1, available: 17821, chosen: 300, width: 4 },
  },
  edges: {
    'empty batch': { batch: 0, available: 3, chosen: 2, width: 4 },
    'nothing chosen': { batch: 2, available: 3, chosen: 0, width: 4 },
    'one of one': { batch: 1, available: 1, chosen: 1, width: 1 },
  },
  random: random => ({
    batch: random.pick([1, 2, 3]),
    available: random.pick([1, 3, 17, 85]),
    chosen: random.pick([1, 3, 33]),
    width: random.pick([1, 4, 17, 64]),
  }),
  inputs: ({ batch, available, chosen, width }, random) => ({
    x: random.tensor([batch, available, width]),
    index: {
      shape: [batch, chosen],
      // One in ten lies outside.
      data: Int32Array.from({ length: batch * chosen }, () =>
        random.next() < 0.1 ? random.pick([-1, -(2 ** 31), available, 2 ** 31 - 1]) : random.integer(0, available - 1),
      ),
    },
  }),
  prepare(device, _, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    const index = device.tensor(integers(inputs, 'index'));
    return () => [gatherRows(x, index)];
  },
  cost: ({ batch, chosen, width }) => gatherCost(batch * chosen, width),
  tolerance: 0,
});
