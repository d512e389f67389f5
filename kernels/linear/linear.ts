// M rows of x, K input features, N output features.
import {
  checkHostTensor,
  type Device,
  elementCount,
  formatShape,
  type HostTensor,
  ShapeError,
  sameShape,
  type Tensor,
  type WasmProgram,
} from '../../engine/index.ts';
import { type Activation, activationCode, activations, expectActivation } from '../activation.ts';
import { expectShape, expectType } from '../expect.ts';
import { defineKernel, floats } from '../kernel.ts';
import { evenParts, PACKING_COST, PANEL_COLUMNS, packTransposedPanels, taskLength } from '../matrix-product.ts';
import { packLinearForWebGpu, planLinear } from './linear.wgsl.ts';

/** A dense layer's parameters, packed for one device. Who packs them disposes of their tensors. */
export interface LinearWeights {
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** In the device's own layout. */
  readonly packed: Tensor;
  readonly bias: Tensor | undefined;
}

export interface LinearOptions {
  readonly activation?: Activation | undefined;
  /** [..., N], added before the activation. */
  readonly residual?: Tensor | undefined;
}

/**
 * Packs the weight [N, K] and bias [N] of a dense layer for `device`.
 * @throws ShapeError; OptionError for data that are no Float32Array
 */
export function packLinear(device: Device, weight: HostTensor, bias?: HostTensor): LinearWeights {
  checkHostTensor(weight, 'packLinear: weight', Float32Array);
  if (bias !== undefined) checkHostTensor(bias, 'packLinear: bias', Float32Array);
  const [outFeatures, inFeatures] = weight.shape;
  if (weight.shape.length !== 2 || outFeatures === undefined || inFeatures === undefined) {
    throw new ShapeError(`packLinear: expected a weight [N, K], got ${formatShape(weight.shape)}`);
  }
  if (bias !== undefined && !sameShape(bias.shape, [outFeatures])) {
    throw new ShapeError(`packLinear: expected a bias [${outFeatures}], got ${formatShape(bias.shape)}`);
  }
  // Where the second finds no memory, the first is freed.
  return device.scope(() => ({
    inFeatures,
    outFeatures,
    packed: device.tensor(device.kind === 'cpu' ? packForCpu(weight) : packLinearForWebGpu(weight)),
    bias: bias && device.tensor(bias),
  }));
}

/**
 * activation(x · Wᵀ + b + residual) over the last axis: x [..., K] to [..., N].
 * @throws ShapeError; OptionError for an unknown activation
 */
export function linear(x: Tensor, weights: LinearWeights, options: LinearOptions = {}): Tensor {
  const { inFeatures, outFeatures, packed, bias } = weights;
  const { activation = 'linear', residual } = options;
  if (x.shape.length === 0 || x.dim(-1) !== inFeatures) {
    throw new ShapeError(`linear: expected x [..., ${inFeatures}], got ${formatShape(x.shape)}`);
  }
  const shape = [...x.shape.slice(0, -1), outFeatures];
  expectType('linear', 'x', x);
  if (residual !== undefined) expectShape('linear', 'residual', residual, shape);
  expectActivation('linear', activation);
  const rows = elementCount(x.shape.slice(0, -1));
  const output = x.device.empty(shape);
  x.device.launch({
    kernel: 'linear',
    inputs: [x, packed, bias, residual],
    outputs: [output],
    cost: linearCost(rows, inFeatures, outFeatures, residual !== undefined),
    wgsl: traits => {
      const ending = { bias: bias !== undefined, residual: residual !== undefined, activation };
      return planLinear(traits, { rows, inFeatures, outFeatures }, ending);
    },
    wasm: ({ threads }) => linearOnCpu(rows, inFeatures, outFeatures, activation, threads),
  });
  return output;
}

/** Rows of x that a task packs at most. */
const MOST_ROWS = 48;
/** Columns whose sums a task keeps at a time, as in linear.assembly.ts. */
const CHUNK = 128;

function linearOnCpu(
  rows: number,
  inFeatures: number,
  outFeatures: number,
  activation: Activation,
  threads: number,
): WasmProgram {
  const rowsPerTask = evenParts(rows, 6, MOST_ROWS);
  const rowTasks = Math.ceil(rows / rowsPerTask);
  const packed = rowsPerTask * inFeatures;
  const cost = { fixed: packed * PACKING_COST, perStep: packed };
  const columnsPerTask = taskLength(outFeatures, PANEL_COLUMNS, rowTasks, cost, threads);
  return {
    entry: 'linear',
    tasks: rowTasks * Math.ceil(outFeatures / columnsPerTask),
    scalars: [rows, inFeatures, outFeatures, activationCode(activation), rowsPerTask, columnsPerTask],
    // Rows that fill up the last left panel, at most four, and the sums of six rows: linear.assembly.ts.
    scratchBytes: 4 * ((rowsPerTask + 4) * inFeatures + 6 * CHUNK),
  };
}

/** Column panels of the transposed weight. */
function packForCpu({ shape, data }: HostTensor): HostTensor {
  const [outFeatures, inFeatures] = shape as [number, number];
  const packed = packTransposedPanels(outFeatures, inFeatures, data);
  return { shape: [packed.length], data: packed };
}

function linearCost(rows: number, inFeatures: number, outFeatures: number, residual: boolean) {
  const values = rows * inFeatures + inFeatures * outFeatures + rows * outFeatures * (residual ? 2 : 1);
  return { flops: 2 * rows * inFeatures * outFeatures, bytes: 4 * values };
}

export interface LinearProblem {
  readonly rows: readonly number[];
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias?: boolean;
  readonly residual?: boolean;
  readonly activation?: Activation;
}

export const linearKernel = defineKernel<LinearProblem>({
  name: 'linear',
  hasForms: true,
  cases: {
    'feed-forward in, 800x1066': { rows: [1, 850], inFeatures: 256, outFeatures: 2048, bias: true, activation: 'relu' },
    'feed-forward out, 800x1066': { rows: [1, 850], inFeatures: 2048, outFeatures: 256, bias: true, residual: true },
    'attention projection, 800x1066': { rows: [1, 850], inFeatures: 256, outFeatures: 256, bias: true },
    'decoder projection': { rows: [1, 100], inFeatures: 256, outFeatures: 256, bias: true },
    'class head': { rows: [1, 100], inFeatures: 256, outFeatures: 92, bias: true },
    'box head': { rows: [1, 100], inFeatures: 256, outFeatures: 4, bias: true },
    'deformable projection, 800x1066': { rows: [1, 17821], inFeatures: 256, outFeatures: 256, bias: true },
  },
  edges: { 'slices on a GPU': { rows: [70], inFeatures: 37, outFeatures: 100, bias: true, residual: true } },
  random: random => ({
    rows: random.pick([[], [0], [1], [3], [2, 17], [random.integer(1, 100)], [2, 3, 5]]),
    inFeatures: random.pick([1, 3, 4, 17, 32, 63, 256, random.integer(1, 300)]),
    outFeatures: random.pick([1, 2, 4, 7, 8, 17, 92, 256, random.integer(1, 100)]),
    bias: random.boolean(),
    residual: random.boolean(),
    ...(random.boolean() ? { activation: random.pick(activations) } : {}),
  }),
  inputs: ({ rows, inFeatures, outFeatures, bias, residual }, random) => {
    const x = random.tensor([...rows, inFeatures]);
    return {
      x,
      weight: random.tensor([outFeatures, inFeatures], 1 / Math.sqrt(inFeatures)),
      ...(bias ? { bias: random.tensor([outFeatures]) } : {}),
      ...(residual ? { residual: random.tensor([...rows, outFeatures]) } : {}),
    };
  },
  prepare(device, { bias, residual, activation }, inputs) {
    const weights = packLinear(device, floats(inputs, 'weight'), bias ? floats(inputs, 'bias') : undefined);
    const x = device.tensor(floats(inputs, 'x'));
    const added = residual ? device.tensor(floats(inputs, 'residual')) : undefined;
    return () => [linear(x, weights, { activation, residual: added })];
  },
  cost: ({ rows, inFeatures, outFeatures, residual = false }) =>
    linearCost(elementCount(rows), inFeatures, outFeatures, residual),
});
