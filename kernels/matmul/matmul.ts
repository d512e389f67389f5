// M rows of a, K, N columns of the product; leading axes are batches.
import { elementCount, formatShape, ShapeError, sameShape, type Tensor, type WasmProgram } from '../../engine/index.ts';
import { expectType } from '../expect.ts';
import { defineKernel, floats } from '../kernel.ts';
import { evenParts, PACKING_COST, PANEL_COLUMNS, taskLength } from '../matrix-product.ts';
import { planMatmul } from './matmul.wgsl.ts';

export interface MatmulOptions {
  /** b is [..., N, K] instead of [..., K, N]. */
  readonly transposeB?: boolean;
}

/**
 * The matrix product of the last two axes: a [..., M, K] and b [..., K, N] to [..., M, N]. The leading axes are the same, or
 * one of the two is a single matrix that all batches share.
 * @throws ShapeError
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeB = false } = options;
  const sizes = matmulSizes(a.shape, b.shape, transposeB);
  expectType('matmul', 'a', a);
  expectType('matmul', 'b', b);
  const output = a.device.empty(sizes.shape);
  a.device.launch({
    kernel: 'matmul',
    inputs: [a, b],
    outputs: [output],
    cost: matmulCost(a.shape, b.shape, transposeB),
    wgsl: traits => planMatmul(traits, sizes, transposeB),
    wasm: ({ threads }) => matmulOnCpu(sizes, transposeB, threads),
  });
  return output;
}

/** Rows and columns that a task packs at most. */
const MOST_ROWS = 96;
const MOST_COLUMNS = 128;

function matmulOnCpu(sizes: MatmulSizes, transposeB: boolean, threads: number): WasmProgram {
  const { batches, rows, inner, columns, strides } = sizes;
  const rowsPerTask = evenParts(rows, 6, MOST_ROWS);
  const rowTasks = Math.ceil(rows / rowsPerTask);
  const cost = { fixed: rowsPerTask * inner * PACKING_COST, perStep: inner * (rowsPerTask + PACKING_COST) };
  const most = taskLength(columns, PANEL_COLUMNS, batches * rowTasks, cost, threads);
  const columnsPerTask = evenParts(columns, PANEL_COLUMNS, Math.min(most, MOST_COLUMNS));
  return {
    entry: 'matmul',
    tasks: batches * rowTasks * Math.ceil(columns / columnsPerTask),
    scalars: [rows, inner, columns, transposeB ? 1 : 0, ...strides, rowsPerTask, columnsPerTask],
    // Rows that fill up the last left panel, at most four; column panels; the sums of six rows: matmul.assembly.ts.
    scratchBytes: 4 * ((rowsPerTask + 4) * inner + columnsPerTask * (inner + 6)),
  };
}

export type MatmulSizes = ReturnType<typeof matmulSizes>;

/** Sizes of a product, and how many elements lie between batches of a and of b. @throws ShapeError */
function matmulSizes(a: readonly number[], b: readonly number[], transposeB: boolean) {
  const [rows, inner] = a.slice(-2);
  const [bInner, columns] = transposeB ? b.slice(-2).reverse() : b.slice(-2);
  const aBatch = a.slice(0, -2);
  const bBatch = b.slice(0, -2);
  const fits = sameShape(aBatch, bBatch) || aBatch.length === 0 || bBatch.length === 0;
  if (rows === undefined || inner === undefined || columns === undefined || bInner !== inner || !fits) {
    const wanted = transposeB ? '[..., N, K]' : '[..., K, N]';
    throw new ShapeError(`matmul: expected a [..., M, K] and b ${wanted}, got ${formatShape(a)} and ${formatShape(b)}`);
  }
  const batch = aBatch.length > 0 ? aBatch : bBatch;
  // One matrix for all batches is read again for each.
  const strides = [aBatch.length === 0 ? 0 : rows * inner, bBatch.length === 0 ? 0 : inner * columns];
  return { shape: [...batch, rows, columns], batches: elementCount(batch), rows, inner, columns, strides };
}

function matmulCost(a: readonly number[], b: readonly number[], transposeB: boolean) {
  const { shape, inner } = matmulSizes(a, b, transposeB);
  const bytes = 4 * (elementCount(a) + elementCount(b) + elementCount(shape));
  return { flops: 2 * elementCount(shape) * inner, bytes };
}

export interface MatmulProblem {
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly transposeB?: boolean;
}

export const matmulKernel = defineKernel<MatmulProblem>({
  name: 'matmul',
  hasForms: true,
  cases: {
    'mask attention, 800x1066': { a: [1, 8, 100, 32], b: [1, 8, 850, 32], transposeB: true },
    // No model's, but a yardstick: the sizes of a feed-forward layer without its bias and activation.
    'one matrix, 850 x 256 x 2048': { a: [850, 256], b: [256, 2048] },
  },
  edges: {
    // The grid has two rows, and one workgroup in excess.
    'more workgroups than a dimension holds': { a: [70_001, 2, 3], b: [70_001, 3, 2] },
    'no inner length': { a: [2, 3, 0], b: [2, 0, 33] },
    'no inner length, transposed': { a: [3, 0], b: [33, 0], transposeB: true },
    'slices on a GPU': { a: [3, 70, 37], b: [3, 37, 81] },
  },
  random(random) {
    const batch = random.pick([[], [1], [3], [2, 3], [0]]);
    const size = () => random.pick([1, 2, 3, 7, 8, 17, 32, random.integer(1, 100)]);
    const [rows, inner, columns, transposeB] = [size(), size(), size(), random.boolean()];
    const shared = random.pick(['none', 'a', 'b'] as const);
    return {
      a: [...(shared === 'a' ? [] : batch), rows, inner],
      b: [...(shared === 'b' ? [] : batch), ...(transposeB ? [columns, inner] : [inner, columns])],
      transposeB,
    };
  },
  inputs({ a, b }, random) {
    return { a: random.tensor(a), b: random.tensor(b) };
  },
  prepare(device, { transposeB = false }, inputs) {
    const a = device.tensor(floats(inputs, 'a'));
    const b = device.tensor(floats(inputs, 'b'));
    return () => [matmul(a, b, { transposeB })];
  },
  cost: ({ a, b, transposeB = false }) => matmulCost(a, b, transposeB),
});
