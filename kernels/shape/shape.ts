// Moving elements without changing them: permutation, slices, concatenation, repetition, rows picked by index.
//
// All but the last are one strided copy: of up to four axes, each walked with its own step in the source and in the target.

import { type DataType, elementCount, formatShape, ShapeError, type Tensor } from '../../engine/index.ts';
import { broadcastShapes } from '../broadcast.ts';
import { expectAxis, expectShape } from '../expect.ts';
import { defineKernel, floats, integers, type Kernel } from '../kernel.ts';
import type { Random } from '../random.ts';
import { planCopy, planGatherRows } from './shape.wgsl.ts';

/** One axis of a copy; steps are in elements. */
export interface CopyAxis {
  readonly size: number;
  readonly from: number;
  readonly to: number;
}

/** A strided copy of four axes, outermost first, from one offset to another. */
export interface CopyPlan {
  readonly axes: readonly [CopyAxis, CopyAxis, CopyAxis, CopyAxis];
  readonly fromOffset: number;
  readonly toOffset: number;
}

const strides = (shape: readonly number[]): number[] => shape.map((_, axis) => elementCount(shape.slice(axis + 1)));

/** Merges axes that both sides walk evenly. @throws ShapeError when more than four remain */
function planAxes(operation: string, axes: readonly CopyAxis[], fromOffset = 0, toOffset = 0): CopyPlan {
  const merged: CopyAxis[] = [];
  for (const axis of axes) {
    if (axis.size === 1) continue;
    const outer = merged.at(-1);
    if (outer !== undefined && outer.from === axis.from * axis.size && outer.to === axis.to * axis.size) {
      merged[merged.length - 1] = { ...axis, size: outer.size * axis.size };
    } else {
      merged.push(axis);
    }
  }
  if (merged.length > 4) {
    const sizes = formatShape(axes.map(({ size }) => size));
    throw new ShapeError(`${operation}: expected at most 4 axes after merging even ones, got ${sizes}`);
  }
  while (merged.length < 4) merged.unshift({ size: 1, from: 0, to: 0 });
  return { axes: merged as unknown as CopyPlan['axes'], fromOffset, toOffset };
}

/** ROWS_PER_TASK's elements and TILE in shape.assembly.ts. */
const ELEMENTS_PER_TASK = 16384;
const TILE = 32;

function copy(kernel: string, from: Tensor, to: Tensor, plan: CopyPlan): void {
  const [outer, second, third, inner] = plan.axes;
  const count = outer.size * second.size * third.size * inner.size;
  from.device.launch({
    kernel,
    inputs: [from],
    outputs: [to],
    cost: { flops: 0, bytes: 8 * count },
    wgsl: () => planCopy(plan),
    wasm: () => {
      const scalars = [...plan.axes.flatMap(axis => [axis.size, axis.from, axis.to]), plan.fromOffset, plan.toOffset];
      // Both sides walk another axis contiguously: blocks of both axes are turned in registers.
      if (third.from === 1 && inner.from !== 1 && inner.to === 1) {
        const tasks = count === 0 ? 0 : outer.size * second.size * Math.ceil(third.size / TILE);
        return { entry: 'transposeCopy', tasks, scalars };
      }
      const rowsPerTask = Math.max(1, Math.floor(ELEMENTS_PER_TASK / Math.max(1, inner.size)));
      const rows = outer.size * second.size * third.size;
      return {
        entry: 'stridedCopy',
        tasks: count === 0 ? 0 : Math.ceil(rows / rowsPerTask),
        scalars: [...scalars, rowsPerTask],
      };
    },
  });
}

/** The axes in another order: `out.shape[i] = x.shape[order[i]]`. @throws ShapeError unless `order` names each axis once */
export function permute<Type extends DataType>(x: Tensor<Type>, order: readonly number[]): Tensor<Type> {
  const rank = x.shape.length;
  if (order.length !== rank || new Set(order).size !== rank || !order.every(axis => axis >= 0 && axis < rank)) {
    throw new ShapeError(`permute: expected an order of ${rank} axes, got ${formatShape(order)}`);
  }
  const shape = order.map(axis => x.shape[axis]!);
  const out = x.device.empty(shape, x.dtype);
  const [fromSteps, toSteps] = [strides(x.shape), strides(shape)];
  const axes = order.map((axis, place) => ({ size: shape[place]!, from: fromSteps[axis]!, to: toSteps[place]! }));
  copy('permute', x, out, planAxes('permute', axes));
  return out;
}

/** [B, C, H, W] → [B, H·W, C]: a map as a sequence. */
export function flattenSpace(x: Tensor): Tensor {
  expectShape('flattenSpace', 'x', x, ['B', 'C', 'H', 'W']);
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const out = x.device.empty([batch, height * width, channels]);
  const cells = height * width;
  const axes = [
    { size: batch, from: channels * cells, to: channels * cells },
    { size: cells, from: 1, to: channels },
    { size: channels, from: cells, to: 1 },
  ];
  copy('flattenSpace', x, out, planAxes('flattenSpace', axes));
  return out;
}

/** [B, H·W, C] → [B, C, H, W]: a sequence as a map. @throws ShapeError if the sizes do not fit */
export function unflattenSpace(x: Tensor, [height, width]: readonly [number, number]): Tensor {
  expectShape('unflattenSpace', 'x', x, ['B', height * width, 'C']);
  const [batch, cells, channels] = x.shape as [number, number, number];
  const out = x.device.empty([batch, channels, height, width]);
  const axes = [
    { size: batch, from: channels * cells, to: channels * cells },
    { size: channels, from: 1, to: cells },
    { size: cells, from: channels, to: 1 },
  ];
  copy('unflattenSpace', x, out, planAxes('unflattenSpace', axes));
  return out;
}

/** The part [start, end) of an axis. @throws ShapeError for a range outside the axis */
export function slice<Type extends DataType>(x: Tensor<Type>, axis: number, start: number, end: number): Tensor<Type> {
  const place = expectAxis('slice', x.shape.length, axis);
  const size = x.shape[place]!;
  if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || end < start || end > size) {
    throw new ShapeError(`slice: expected a range within 0 to ${size}, got ${start} to ${end}`);
  }
  const out = x.device.empty(x.shape.toSpliced(place, 1, end - start), x.dtype);
  const inner = elementCount(x.shape.slice(place + 1));
  const axes = [
    { size: elementCount(x.shape.slice(0, place)), from: size * inner, to: (end - start) * inner },
    { size: (end - start) * inner, from: 1, to: 1 },
  ];
  copy('slice', x, out, planAxes('slice', axes, start * inner));
  return out;
}

/** Tensors one after the other along an axis; all other sizes are equal. @throws ShapeError if they are not */
export function concatenate<Type extends DataType>(tensors: readonly Tensor<Type>[], axis: number): Tensor<Type> {
  const [first] = tensors;
  if (first === undefined) throw new ShapeError('concatenate: expected at least one tensor, got none');
  const place = expectAxis('concatenate', first.shape.length, axis);
  for (const tensor of tensors) {
    const fits = tensor.shape.length === first.shape.length && tensor.dtype === first.dtype;
    if (!fits || !tensor.shape.every((size, index) => index === place || size === first.shape[index])) {
      throw new ShapeError(
        `concatenate: expected ${first.dtype} ${formatShape(first.shape)} but for axis ${place}, got ${tensor.dtype} ${formatShape(tensor.shape)}`,
      );
    }
  }
  const total = tensors.reduce((sum, tensor) => sum + tensor.shape[place]!, 0);
  const out = first.device.empty(first.shape.toSpliced(place, 1, total), first.dtype);
  const outer = elementCount(first.shape.slice(0, place));
  const inner = elementCount(first.shape.slice(place + 1));
  let position = 0;
  for (const tensor of tensors) {
    const row = tensor.shape[place]! * inner;
    const axes = [
      { size: outer, from: row, to: total * inner },
      { size: row, from: 1, to: 1 },
    ];
    copy('concatenate', tensor, out, planAxes('concatenate', axes, 0, position * inner));
    position += tensor.shape[place]!;
  }
  return out;
}

/** NumPy's broadcast to a shape, as a copy. @throws ShapeError if `x` does not broadcast to it */
export function broadcastTo<Type extends DataType>(x: Tensor<Type>, shape: readonly number[]): Tensor<Type> {
  const common = broadcastShapes('broadcastTo', x.shape, shape);
  if (common.length !== shape.length || common.some((size, axis) => size !== shape[axis])) {
    throw new ShapeError(`broadcastTo: expected a shape that ${formatShape(x.shape)} fits, got ${formatShape(shape)}`);
  }
  const out = x.device.empty(shape, x.dtype);
  const padded = [...new Array<number>(shape.length - x.shape.length).fill(1), ...x.shape];
  const [fromSteps, toSteps] = [strides(padded), strides(shape)];
  const axes = shape.map((size, axis) => ({
    size,
    from: padded[axis] === 1 ? 0 : fromSteps[axis]!,
    to: toSteps[axis]!,
  }));
  copy('broadcastTo', x, out, planAxes('broadcastTo', axes));
  return out;
}

/** GATHER_ROWS in shape.assembly.ts. */
const GATHERED_ROWS_PER_TASK = 64;

/**
 * x [B, S, D], index int32 [B, K] → [B, K, D]: `out[b, k] = x[b, index[b, k]]`. An index outside [0, S) is clamped.
 * @throws ShapeError
 */
export function gatherRows(x: Tensor, index: Tensor<'int32'>): Tensor {
  expectShape('gatherRows', 'x', x, ['B', 'S', 'D']);
  const [batch, rows, width] = x.shape as [number, number, number];
  expectShape('gatherRows', 'index', index, [batch, 'K'], 'int32');
  const picked = index.dim(1);
  if (rows === 0 && picked > 0)
    throw new ShapeError(`gatherRows: expected rows to pick from, got ${formatShape(x.shape)}`);
  const out = x.device.empty([batch, picked, width]);
  x.device.launch({
    kernel: 'gatherRows',
    inputs: [x, index],
    outputs: [out],
    cost: { flops: 0, bytes: 8 * out.size + 4 * index.size },
    wgsl: () => planGatherRows(batch * picked * width, { rows, picked, width }),
    wasm: () => ({
      entry: 'gatherRows',
      tasks: out.size === 0 ? 0 : Math.ceil((batch * picked) / GATHERED_ROWS_PER_TASK),
      scalars: [batch * picked, rows, picked, width],
    }),
  });
  return out;
}

// For tests and the bench.

const copyCost = (count: number) => ({ flops: 0, bytes: 8 * count });
const odd = [1, 2, 3, 4, 5, 17, 33] as const;
const randomShape = (random: Random, rank: number) => Array.from({ length: rank }, () => random.pick(odd));

export interface PermuteProblem {
  readonly shape: readonly number[];
  readonly order: readonly number[];
}

export const permuteKernel = defineKernel<PermuteProblem>({
  name: 'permute',
  cases: { 'heads of the attention map, 800x1066': { shape: [1, 850, 8, 32], order: [0, 2, 1, 3] } },
  edges: {
    empty: { shape: [2, 0, 3], order: [2, 1, 0] },
    scalar: { shape: [], order: [] },
    transpose: { shape: [67, 131], order: [1, 0] },
  },
  random(random) {
    const rank = random.integer(1, 4);
    const order = Array.from({ length: rank }, (_, axis) => axis);
    for (let axis = rank - 1; axis > 0; axis--) {
      const other = random.integer(0, axis);
      [order[axis], order[other]] = [order[other]!, order[axis]!];
    }
    return { shape: randomShape(random, rank), order };
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
  /** [B, C, H, W] of the map. */
  readonly shape: readonly [number, number, number, number];
}

function spaceKernel(
  name: 'flattenSpace' | 'unflattenSpace',
  hostShape: (shape: SpaceProblem['shape']) => readonly number[],
  launcher: (x: Tensor, shape: SpaceProblem['shape']) => Tensor,
): Kernel<SpaceProblem> {
  return defineKernel<SpaceProblem>({
    name,
    cases: {
      'projected map, 800x1066': { shape: [1, 256, 25, 34] },
      'finest level of Deformable DETR, 800x1066': { shape: [1, 256, 100, 134] },
    },
    edges: { 'empty batch': { shape: [0, 3, 5, 7] }, 'one cell': { shape: [2, 5, 1, 1] } },
    random: random => ({ shape: randomShape(random, 4) as unknown as SpaceProblem['shape'] }),
    inputs: ({ shape }, random) => ({ x: random.tensor(hostShape(shape)) }),
    prepare(device, { shape }, inputs) {
      const x = device.tensor(floats(inputs, 'x'));
      return () => [launcher(x, shape)];
    },
    cost: ({ shape }) => copyCost(elementCount(shape)),
    tolerance: 0,
  });
}

export const flattenSpaceKernel = spaceKernel('flattenSpace', shape => shape, flattenSpace);
export const unflattenSpaceKernel = spaceKernel(
  'unflattenSpace',
  ([batch, channels, height, width]) => [batch, height * width, channels],
  (x, [, , height, width]) => unflattenSpace(x, [height, width]),
);

export interface SliceProblem {
  readonly shape: readonly number[];
  readonly axis: number;
  readonly start: number;
  readonly end: number;
}

export const sliceKernel = defineKernel<SliceProblem>({
  name: 'slice',
  cases: { 'query positions of Deformable DETR': { shape: [300, 512], axis: 1, start: 0, end: 256 } },
  edges: {
    nothing: { shape: [3, 5], axis: 0, start: 2, end: 2 },
    everything: { shape: [3, 5], axis: -1, start: 0, end: 5 },
  },
  random(random) {
    const shape = randomShape(random, random.integer(1, 4));
    const axis = random.integer(0, shape.length - 1);
    const start = random.integer(0, shape[axis]!);
    return { shape, axis, start, end: random.integer(start, shape[axis]!) };
  },
  inputs: ({ shape }, random) => ({ x: random.tensor(shape) }),
  prepare(device, { axis, start, end }, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => [slice(x, axis, start, end)];
  },
  cost: ({ shape, axis, start, end }) => copyCost((elementCount(shape) / Math.max(1, shape.at(axis)!)) * (end - start)),
  tolerance: 0,
});

export interface ConcatenateProblem {
  readonly shapes: readonly (readonly number[])[];
  readonly axis: number;
}

export const concatenateKernel = defineKernel<ConcatenateProblem>({
  name: 'concatenate',
  cases: {
    'levels of Deformable DETR, 800x1066': {
      shapes: [
        [1, 13400, 256],
        [1, 3350, 256],
        [1, 850, 256],
        [1, 221, 256],
      ],
      axis: 1,
    },
  },
  edges: {
    'with an empty one': { shapes: [[2, 0], [2, 3]], axis: 1 }, // biome-ignore format: short
    'only one': { shapes: [[2, 3]], axis: -2 }, // biome-ignore format: short
  },
  random(random) {
    const shape = randomShape(random, random.integer(1, 4));
    const axis = random.integer(0, shape.length - 1);
    const shapes = Array.from({ length: random.integer(1, 4) }, () => shape.toSpliced(axis, 1, random.pick(odd)));
    return { shapes, axis };
  },
  inputs: ({ shapes }, random) =>
    Object.fromEntries(shapes.map((shape, index) => [`part${index}`, random.tensor(shape)])),
  prepare(device, { shapes, axis }, inputs) {
    const parts = shapes.map((_, index) => device.tensor(floats(inputs, `part${index}`)));
    return () => [concatenate(parts, axis)];
  },
  cost: ({ shapes }) => copyCost(shapes.reduce((sum, shape) => sum + elementCount(shape), 0)),
  tolerance: 0,
});

export interface BroadcastToProblem {
  readonly from: readonly number[];
  readonly shape: readonly number[];
}

export const broadcastToKernel = defineKernel<BroadcastToProblem>({
  name: 'broadcastTo',
  cases: { 'query targets onto a batch of 4': { from: [300, 256], shape: [4, 300, 256] } },
  edges: { 'empty batch': { from: [3, 1], shape: [0, 3, 5] }, scalar: { from: [], shape: [3, 4] } },
  random(random) {
    const shape = randomShape(random, random.integer(1, 4));
    const from = shape.map(size => (random.boolean() ? 1 : size)).slice(random.integer(0, shape.length));
    return { from, shape };
  },
  inputs: ({ from }, random) => ({ x: random.tensor(from) }),
  prepare(device, { shape }, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    return () => [broadcastTo(x, shape)];
  },
  cost: ({ shape }) => copyCost(elementCount(shape)),
  tolerance: 0,
});

export interface GatherRowsProblem {
  readonly shape: readonly [batch: number, rows: number, width: number];
  readonly picked: number;
}

export const gatherRowsKernel = defineKernel<GatherRowsProblem>({
  name: 'gatherRows',
  cases: { 'proposals of Deformable DETR, 800x1066': { shape: [1, 17821, 256], picked: 300 } },
  edges: { 'empty batch': { shape: [0, 3, 5], picked: 2 }, nothing: { shape: [2, 3, 5], picked: 0 } },
  random: random => ({
    shape: randomShape(random, 3) as unknown as GatherRowsProblem['shape'],
    picked: random.pick(odd),
  }),
  inputs({ shape, picked }, random) {
    const data = Int32Array.from({ length: shape[0] * picked }, () => random.integer(0, shape[1] - 1));
    return { x: random.tensor(shape), index: { shape: [shape[0], picked], data } };
  },
  prepare(device, _, inputs) {
    const x = device.tensor(floats(inputs, 'x'));
    const index = device.tensor(integers(inputs, 'index'));
    return () => [gatherRows(x, index)];
  },
  cost: ({ shape, picked }) => copyCost(shape[0] * picked * shape[2]),
  tolerance: 0,
});
