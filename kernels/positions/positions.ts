// B batch, h x w cells of a feature map, T tokens, n features per coordinate

import { type Cost, formatShape, isSize, OptionError, ShapeError, type Tensor } from '../../engine/index.ts';
import { expectPositiveInteger, expectShape } from '../expect.ts';
import { defineKernel, floats, type Kernel } from '../kernel.ts';
import { planGridCoordinates, planLearnedPositions, planSineEmbedding } from './positions.wgsl.ts';

/** TOKENS in positions.assembly.ts. */
const TOKENS_PER_TASK = 64;

/**
 * DETR's and Conditional DETR's sine position embedding of a feature map (HF `DetrSinePositionEmbedding`): every real cell's
 * row and column, counted from 1 and divided by the number of real rows and columns, as sines and cosines; y half first.
 *
 * @param mask [B, h, w] float32, 1 = real, 0 = padding
 * @param options.features n, half the model's width
 * @returns [B, h * w, 2 n]
 * @throws ShapeError, OptionError
 */
export function sinePositions(mask: Tensor, options: { readonly features: number }): Tensor<'float32'> {
  return maskedSinePositions('sinePositions', mask, options.features, 0);
}

/**
 * Deformable DETR's sine position embedding (HF `DeformableDetrSinePositionEmbedding`): as `sinePositions`, at the centres
 * of the cells instead of their far corners.
 */
export function sinePositionsHalfPixel(mask: Tensor, options: { readonly features: number }): Tensor<'float32'> {
  return maskedSinePositions('sinePositionsHalfPixel', mask, options.features, -0.5);
}

function maskedSinePositions(operation: string, mask: Tensor, features: number, offset: number): Tensor<'float32'> {
  expectShape(operation, 'mask', mask, ['B', 'h', 'w']);
  expectPositiveInteger(operation, 'features', features);
  return mask.device.scope(() => embed(operation, gridCoordinates(mask, offset), features, [1, 0]));
}

/** [B, h, w] mask → [B, h * w, 2], the place (x, y) of every cell among the real ones of its row and its column. */
function gridCoordinates(mask: Tensor, offset: number): Tensor<'float32'> {
  const [batch, height, width] = mask.shape as [number, number, number];
  const coordinates = mask.device.empty([batch, height * width, 2]);
  mask.device.launch({
    kernel: 'gridCoordinates',
    inputs: [mask],
    outputs: [coordinates],
    cost: { flops: 4 * mask.size, bytes: 12 * mask.size },
    wgsl: () => planGridCoordinates(batch, height, width, offset),
    wasm: () => ({
      entry: 'gridCoordinates',
      tasks: mask.size === 0 ? 0 : batch,
      scalars: [height, width, { f32: offset }],
    }),
  });
  return coordinates;
}

export interface SineQueriesOptions {
  /** n, sines and cosines per coordinate. */
  readonly features: number;
  /** Which coordinate each part embeds: [1, 0] for y before x. Default all, in order. */
  readonly order?: readonly number[];
}

/**
 * Sine embedding of coordinates: the part of coordinate c holds sin(2 pi c / f_k) for even k and cos(2 pi c / f_k) for odd k,
 * f_k = 10000^(2 floor(k / 2) / n) (HF `gen_sine_position_embeddings`, `get_proposal_pos_embed`).
 *
 * @param coordinates [B, T, C], usually within 0 and 1
 * @returns [B, T, order.length * n]
 * @throws ShapeError, OptionError for coordinates that do not exist
 */
export function sineQueries(coordinates: Tensor, options: SineQueriesOptions): Tensor<'float32'> {
  expectShape('sineQueries', 'coordinates', coordinates, ['B', 'T', 'C']);
  expectPositiveInteger('sineQueries', 'features', options.features);
  const count = coordinates.dim(2);
  const order = options.order ?? Array.from({ length: count }, (_, axis) => axis);
  for (const axis of order) {
    if (!Number.isInteger(axis) || axis < 0 || axis >= count) {
      throw new OptionError(`sineQueries: expected an order of coordinates from 0 to ${count - 1}, got [${order}]`);
    }
  }
  return embed('sineQueries', coordinates, options.features, order);
}

function embed(kernel: string, coordinates: Tensor, features: number, order: readonly number[]): Tensor<'float32'> {
  const { device } = coordinates;
  const [batch, tokens, count] = coordinates.shape as [number, number, number];
  const embedding = device.empty([batch, tokens, order.length * features]);
  const table = device.tensor(wavelengths(features));
  device.launch({
    kernel,
    inputs: [coordinates, table],
    outputs: [embedding],
    cost: embeddingCost(coordinates.size, embedding.size),
    wgsl: () => planSineEmbedding(batch * tokens, count, features, order),
    wasm: () => ({
      entry: 'sineEmbedding',
      tasks: Math.ceil((batch * tokens) / TOKENS_PER_TASK),
      scalars: [batch * tokens, count, features, order.length, ...order],
    }),
  });
  table.dispose();
  return embedding;
}

/** f_k in the reference's float32, padded to a multiple of 4. */
function wavelengths(features: number) {
  const padded = 4 * Math.ceil(features / 4);
  const data = new Float32Array(padded).fill(1);
  for (let k = 0; k < features; k++) data[k] = 10_000 ** Math.fround((2 * Math.floor(k / 2)) / features);
  return { shape: [padded], data };
}

/** Counted as one operation per sine or cosine. */
function embeddingCost(coordinates: number, embedding: number): Cost {
  return { flops: embedding, bytes: 4 * (coordinates + embedding) };
}

/**
 * Learned position embedding (HF `DetrLearnedPositionEmbedding`): the column's row of one table, then the row's of the other.
 *
 * @param rows [R, n]
 * @param columns [R, n]
 * @param shape [B, h, w]
 * @returns [B, h * w, 2 n]
 * @throws ShapeError for feature maps beyond the tables
 */
export function learnedPositions(
  rows: Tensor,
  columns: Tensor,
  shape: readonly [batch: number, height: number, width: number],
): Tensor<'float32'> {
  expectShape('learnedPositions', 'rows', rows, ['R', 'n']);
  const features = rows.dim(1);
  const [batch, height, width] = shape;
  expectShape('learnedPositions', 'columns', columns, ['R', features]);
  if (![batch, height, width].every(isSize) || height > rows.dim(0) || width > columns.dim(0)) {
    throw new ShapeError(
      `learnedPositions: expected [B, H, W] with a feature map of at most [${rows.dim(0)}, ${columns.dim(0)}], got ${formatShape(shape)}`,
    );
  }
  const positions = rows.device.empty([batch, height * width, 2 * features]);
  rows.device.launch({
    kernel: 'learnedPositions',
    inputs: [rows, columns],
    outputs: [positions],
    cost: { flops: 0, bytes: 4 * (rows.size + columns.size + positions.size) },
    wgsl: () => planLearnedPositions(batch, height, width, features),
    wasm: () => ({
      entry: 'learnedPositions',
      tasks: positions.size === 0 ? 0 : batch * height,
      scalars: [height, width, features],
    }),
  });
  return positions;
}

export interface SinePositionsProblem {
  readonly height: number;
  readonly width: number;
  readonly features: number;
  /** Real rows and columns of each item of the batch. */
  readonly real: readonly (readonly [height: number, width: number])[];
}

const unpadded = (height: number, width: number, features: number): SinePositionsProblem => ({
  height,
  width,
  features,
  real: [[height, width]],
});

function defineSinePositions(
  name: string,
  launcher: typeof sinePositions,
  cases: Readonly<Record<string, SinePositionsProblem>>,
): Kernel<SinePositionsProblem> {
  return defineKernel<SinePositionsProblem>({
    name,
    cases,
    edges: {
      'empty batch': { height: 3, width: 5, features: 4, real: [] },
      'one cell': { height: 1, width: 1, features: 1, real: [[1, 1]] },
      'nothing but padding': { height: 3, width: 2, features: 5, real: [[0, 0]] },
    },
    random(random) {
      const height = random.pick([1, 3, 17, 25]);
      const width = random.pick([1, 4, 13, 34]);
      const batch = random.integer(1, 3);
      const real = () => [random.integer(0, height), random.integer(0, width)] as const;
      return { height, width, features: random.pick([1, 2, 6, 17, 128]), real: Array.from({ length: batch }, real) };
    },
    inputs: ({ height, width, real }) => ({ mask: rectangleMasks(height, width, real) }),
    prepare(device, { features }, inputs) {
      const mask = device.tensor(floats(inputs, 'mask'));
      return () => [launcher(mask, { features })];
    },
    cost({ height, width, features, real }) {
      const cells = real.length * height * width;
      return { flops: cells * (4 + 2 * features), bytes: 4 * cells * (1 + 2 * features) };
    },
    nonFinite: [],
    farFromZero: [],
  });
}

/** Masks whose top left rectangles are real. */
function rectangleMasks(height: number, width: number, real: SinePositionsProblem['real']) {
  const isReal = (index: number) => {
    const [realHeight, realWidth] = real[Math.floor(index / (height * width))]!;
    return Math.floor(index / width) % height < realHeight && index % width < realWidth;
  };
  const data = Float32Array.from({ length: real.length * height * width }, (_, index) => (isReal(index) ? 1 : 0));
  return { shape: [real.length, height, width], data };
}

export const sinePositionsKernel = defineSinePositions('sinePositions', sinePositions, {
  'C5, 800x1066': unpadded(25, 34, 128),
  'C5 with dilation, 800x1066': unpadded(50, 67, 128),
  'C5, batch of 2 with padding': {
    ...unpadded(34, 34, 128),
    real: [
      [25, 34],
      [34, 25],
    ],
  },
});

export const sinePositionsHalfPixelKernel = defineSinePositions('sinePositionsHalfPixel', sinePositionsHalfPixel, {
  'C3, 800x1066': unpadded(100, 134, 128),
  'C3, batch of 2 with padding': {
    ...unpadded(134, 134, 128),
    real: [
      [100, 134],
      [134, 100],
    ],
  },
});

export interface SineQueriesProblem {
  /** [B, T, C] */
  readonly shape: readonly [number, number, number];
  readonly features: number;
  readonly order: readonly number[];
}

export const sineQueriesKernel = defineKernel<SineQueriesProblem>({
  name: 'sineQueries',
  cases: {
    'conditional reference points': { shape: [1, 300, 2], features: 128, order: [1, 0] },
    'two-stage proposals': { shape: [1, 300, 4], features: 128, order: [0, 1, 2, 3] },
  },
  edges: {
    'empty batch': { shape: [0, 3, 2], features: 4, order: [1, 0] },
    'one coordinate twice': { shape: [2, 3, 4], features: 5, order: [2, 2] },
  },
  random(random) {
    const count = random.integer(1, 4);
    return {
      shape: [random.integer(1, 3), random.pick([1, 3, 17, 100]), count],
      features: random.pick([1, 2, 6, 17, 128]),
      order: Array.from({ length: random.integer(1, 4) }, () => random.integer(0, count - 1)),
    };
  },
  inputs: ({ shape }, random) => {
    const coordinates = random.tensor(shape);
    // Models have none below 0, the operation takes them all the same.
    for (let index = 0; index < coordinates.data.length; index++) coordinates.data[index] = 1.5 * random.next() - 0.5;
    return { coordinates };
  },
  prepare(device, { features, order }, inputs) {
    const coordinates = device.tensor(floats(inputs, 'coordinates'));
    return () => [sineQueries(coordinates, { features, order })];
  },
  cost: ({ shape: [batch, tokens, count], features, order }) =>
    embeddingCost(batch * tokens * count, batch * tokens * order.length * features),
});

export interface LearnedPositionsProblem {
  readonly shape: readonly [batch: number, height: number, width: number];
  readonly rows: number;
  readonly features: number;
}

export const learnedPositionsKernel = defineKernel<LearnedPositionsProblem>({
  name: 'learnedPositions',
  cases: { 'C5, 800x1066': { shape: [1, 25, 34], rows: 50, features: 128 } },
  edges: {
    'empty batch': { shape: [0, 3, 2], rows: 4, features: 4 },
    'the whole table': { shape: [2, 5, 5], rows: 5, features: 3 },
  },
  random: random => ({
    shape: [random.integer(1, 3), random.integer(1, 9), random.integer(1, 9)],
    rows: random.integer(9, 12),
    features: random.pick([1, 4, 17]),
  }),
  inputs: ({ rows, features }, random) => ({
    rows: random.tensor([rows, features]),
    columns: random.tensor([rows, features]),
  }),
  prepare(device, { shape }, inputs) {
    const rows = device.tensor(floats(inputs, 'rows'));
    const columns = device.tensor(floats(inputs, 'columns'));
    return () => [learnedPositions(rows, columns, shape)];
  },
  cost: ({ shape: [batch, height, width], rows, features }) => ({
    flops: 0,
    bytes: 8 * features * (rows + batch * height * width),
  }),
  tolerance: 0,
});
