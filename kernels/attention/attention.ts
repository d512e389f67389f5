// B batch, N heads, Tq queries, Tk keys, d channels of a query and a key per head, dv channels of a value per head

import { type Cost, formatShape, ShapeError, type Tensor } from '../../engine/index.ts';
import { expectShape } from '../expect.ts';
import { defineKernel, floats, type Kernel, type KernelInputs } from '../kernel.ts';
import { evenParts } from '../matrix-product.ts';
import type { Random } from '../random.ts';
import { planAttention } from './attention.wgsl.ts';

export interface AttentionOptions {
  readonly heads: number;
  /** [B, Tk] float32: 0 for padding, anything else for a real key. Padding gets the lowest finite float32 added to its scores. */
  readonly keyMask?: Tensor | undefined;
  /** Factor of the scores; default d^-½, with positions (2 d)^-½. */
  readonly scale?: number | undefined;
}

export interface AttentionWithWeights {
  /** [B, Tq, N * dv] */
  readonly output: Tensor<'float32'>;
  /** [B, N, Tq, Tk], each row sums to 1. */
  readonly weights: Tensor<'float32'>;
}

/**
 * Multi-head attention, softmax(q kᵀ scale + mask) v per head, without holding the scores. Heads lie side by side in the
 * channels: channel = head * d + i.
 *
 * @param query [B, Tq, N * d]
 * @param key [B, Tk, N * d]
 * @param value [B, Tk, N * dv]
 * @returns [B, Tq, N * dv]
 * @throws ShapeError
 */
export function attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor<'float32'> {
  return launchAttention('attention', { query, key, value }, options);
}

/** `attention` that also returns the weights after the softmax. */
export function attentionWithWeights(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  options: AttentionOptions,
): AttentionWithWeights {
  return launchAttentionWithWeights('attentionWithWeights', { query, key, value }, options);
}

/**
 * Conditional DETR's cross attention: per head, content and position are concatenated, which makes the scores
 * (qc kcᵀ + qp kpᵀ) (2 d)^-½. Positions have the shapes of their contents.
 */
export function attentionWithPositions(
  query: Tensor,
  queryPosition: Tensor,
  key: Tensor,
  keyPosition: Tensor,
  value: Tensor,
  options: AttentionOptions,
): Tensor<'float32'> {
  const operands = { query, queryPosition, key, keyPosition, value };
  return launchAttention('attentionWithPositions', operands, options);
}

/** `attentionWithPositions` that also returns the weights after the softmax. */
export function attentionWithPositionsAndWeights(
  query: Tensor,
  queryPosition: Tensor,
  key: Tensor,
  keyPosition: Tensor,
  value: Tensor,
  options: AttentionOptions,
): AttentionWithWeights {
  const operands = { query, queryPosition, key, keyPosition, value };
  return launchAttentionWithWeights('attentionWithPositionsAndWeights', operands, options);
}

interface Operands {
  readonly query: Tensor;
  readonly queryPosition?: Tensor;
  readonly key: Tensor;
  readonly keyPosition?: Tensor;
  readonly value: Tensor;
}

interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly width: number;
  readonly valueWidth: number;
}

function launchAttention(kernel: string, operands: Operands, options: AttentionOptions): Tensor<'float32'> {
  const sizes = checkShapes(kernel, operands, options);
  const output = operands.query.device.empty([sizes.batch, sizes.queries, sizes.heads * sizes.valueWidth]);
  launch(kernel, operands, options, sizes, [output]);
  return output;
}

function launchAttentionWithWeights(
  kernel: string,
  operands: Operands,
  options: AttentionOptions,
): AttentionWithWeights {
  const sizes = checkShapes(kernel, operands, options);
  const { device } = operands.query;
  const output = device.empty([sizes.batch, sizes.queries, sizes.heads * sizes.valueWidth]);
  const weights = device.empty([sizes.batch, sizes.heads, sizes.queries, sizes.keys]);
  launch(kernel, operands, options, sizes, [output, weights]);
  return { output, weights };
}

function launch(
  kernel: string,
  operands: Operands,
  { keyMask, scale }: AttentionOptions,
  sizes: Sizes,
  outputs: readonly Tensor[],
): void {
  const { query, queryPosition, key, keyPosition, value } = operands;
  const { batch, heads, queries, keys, width, valueWidth } = sizes;
  const positions = queryPosition !== undefined;
  const factor = scale ?? ((positions ? 2 : 1) * width) ** -0.5;
  const weights = outputs.length === 2;
  query.device.launch({
    kernel,
    inputs: [query, queryPosition, key, keyPosition, value, keyMask],
    outputs,
    cost: attentionCost({ ...sizes, positions, weights }),
    wgsl: traits =>
      planAttention(
        traits,
        { width, valueWidth, positions, mask: keyMask !== undefined, weights },
        { batch, heads, queries, keys, scale: factor },
      ),
    wasm: () => {
      const queryBlock = evenParts(queries, 6, QUERIES_PER_BLOCK);
      return {
        entry: weights ? 'attentionWithWeights' : 'attention',
        tasks: batch * heads * Math.ceil(queries / queryBlock),
        scalars: [heads, queries, keys, width, valueWidth, queryBlock, { f32: factor }],
        scratchBytes: scratchBytes(queryBlock, positions ? 2 * width : width, valueWidth),
      };
    },
  });
}

/** Enough queries that packing the keys and values for them hardly counts, and no more, so that all threads have work. */
const QUERIES_PER_BLOCK = 128;
const KEYS_PER_BLOCK = 128;

/** What attention.assembly.ts lays out in scratch memory for `queryBlock` queries, a multiple of six. */
function scratchBytes(queryBlock: number, depth: number, valueWidth: number): number {
  const paddedValueWidth = 8 * Math.ceil(valueWidth / 8);
  const queries = queryBlock * (depth + paddedValueWidth + 2);
  const keys = KEYS_PER_BLOCK * (depth + paddedValueWidth + 1 + 6 + 6);
  return 4 * (queries + keys);
}

function checkShapes(kernel: string, operands: Operands, { heads, keyMask }: AttentionOptions): Sizes {
  const { query, queryPosition, key, keyPosition, value } = operands;
  expectShape(kernel, 'query', query, ['B', 'Tq', 'N * d']);
  const [batch, queries, channels] = query.shape as [number, number, number];
  expectShape(kernel, 'key', key, [batch, 'Tk', channels]);
  const keys = key.dim(1);
  expectShape(kernel, 'value', value, [batch, keys, 'N * dv']);
  const valueChannels = value.dim(2);
  if (queryPosition !== undefined) expectShape(kernel, 'query position', queryPosition, query.shape);
  if (keyPosition !== undefined) expectShape(kernel, 'key position', keyPosition, key.shape);
  if (keyMask !== undefined) expectShape(kernel, 'key mask', keyMask, [batch, keys]);
  if (!Number.isInteger(heads) || heads < 1 || channels % heads !== 0 || valueChannels % heads !== 0) {
    throw new ShapeError(
      `${kernel}: expected heads that divide ${channels} and ${valueChannels} channels, got ${heads}`,
    );
  }
  if (channels === 0 || valueChannels === 0 || keys === 0) {
    throw new ShapeError(`${kernel}: expected at least one key and channel, got value ${formatShape(value.shape)}`);
  }
  return { batch, heads, queries, keys, width: channels / heads, valueWidth: valueChannels / heads };
}

export interface AttentionProblem extends Sizes {
  /** Real keys per batch item; the rest is padding. Absent: no key mask. */
  readonly realKeys?: readonly number[];
  /** The keys of the last batch item are all the same, and a thousand times as large as others. */
  readonly largeKeys?: boolean;
}

function attentionCost(problem: Sizes & { positions: boolean; weights: boolean }): Cost {
  const { batch, heads, queries, keys, width, valueWidth, positions, weights } = problem;
  const depth = positions ? 2 * width : width;
  const pairs = batch * heads * queries * keys;
  const elements = batch * heads * (queries + keys) * (depth + valueWidth) + (weights ? pairs : 0);
  return { flops: 2 * pairs * (depth + valueWidth), bytes: 4 * elements };
}

const sizes = (queries: number, keys: number, heads = 8, width = 32): AttentionProblem => ({
  batch: 1,
  heads,
  queries,
  keys,
  width,
  valueWidth: width,
});

// C5 of an 800x1066 image is 25x34, with dilation 50x67.
const selfAttentionCases = {
  'encoder self-attention, 800x1066': sizes(850, 850),
  'encoder self-attention, 800x1066 DC5': sizes(3350, 3350),
  'encoder self-attention, batch of 2 with padding': { ...sizes(850, 850), batch: 2, realKeys: [850, 610] },
  'decoder self-attention, 100 queries': sizes(100, 100),
  'decoder self-attention, 300 queries': sizes(300, 300),
  'decoder cross-attention, 800x1066': sizes(100, 850),
};
const crossAttentionCases = {
  'conditional cross-attention, 800x1066': sizes(300, 850),
  'conditional cross-attention, batch of 2 with padding': { ...sizes(300, 850), batch: 2, realKeys: [850, 610] },
};

/** Widths of random problems and of their values: a few pairs, for a software adapter takes long to compile each. */
const WIDTHS = [
  [1, 7],
  [4, 16],
  [5, 1],
  [16, 4],
  [32, 32],
] as const;

function randomAttention(random: Random): AttentionProblem {
  const keys = random.pick([1, 3, 17, 128, 131, 300]);
  const batch = random.integer(0, 3);
  const [width, valueWidth] = random.pick(WIDTHS);
  const masked = { realKeys: Array.from({ length: batch }, () => random.integer(0, keys)) };
  return {
    batch,
    heads: random.integer(1, 3),
    queries: random.pick([1, 3, 17, 66, 150]),
    keys,
    width,
    valueWidth,
    ...(random.boolean() ? masked : {}),
  };
}

function attentionInputs(problem: AttentionProblem, positions: boolean, random: Random): KernelInputs {
  const { batch, heads, queries, keys, width, valueWidth, realKeys, largeKeys = false } = problem;
  const query = () => random.tensor([batch, queries, heads * width], 1.5);
  const key = () => {
    const tensor = random.tensor([batch, keys, heads * width], 1.5);
    if (largeKeys) tensor.data.fill(1500, (batch - 1) * keys * heads * width);
    return tensor;
  };
  return {
    query: query(),
    key: key(),
    value: random.tensor([batch, keys, heads * valueWidth], 1, 0.5),
    ...(positions ? { queryPosition: query(), keyPosition: key() } : {}),
    ...(realKeys === undefined
      ? {}
      : {
          keyMask: {
            shape: [batch, keys],
            data: Float32Array.from({ length: batch * keys }, (_, index) =>
              index % keys < realKeys[Math.floor(index / keys)]! ? 1 : 0,
            ),
          },
        }),
  };
}

const EDGES: Readonly<Record<string, AttentionProblem>> = {
  'empty batch': { ...sizes(3, 5), batch: 0 },
  'no queries': sizes(0, 5),
  'one of everything': sizes(1, 1, 1, 1),
  'nothing but padding': { ...sizes(3, 200, 2, 4), batch: 2, realKeys: [0, 200] },
  // Of three tiles of keys, which GPUs divide into up to four slices.
  'no key for a slice': { ...sizes(3, 70, 2, 4), batch: 2, realKeys: [0, 70] },
  // What follows the keys of the first item would make all their exponentials zero.
  'large keys in the next item': { ...sizes(9, 5, 2, 4), batch: 2, largeKeys: true },
  'one real key': { ...sizes(5, 300, 1, 4), realKeys: [1] },
  // Where blocks of queries, rounded to sixes on the cpu device, become fewer.
  'queries of DC5 at 800x1333': { ...sizes(4200, 3, 2, 4), batch: 2 },
};

const NON_FINITE = ['query', 'key', 'value'];

function defineAttention(
  name: string,
  cases: Readonly<Record<string, AttentionProblem>>,
  { positions, weights }: { positions: boolean; weights: boolean },
): Kernel<AttentionProblem> {
  const launchKernel = weights
    ? (operands: Operands, options: AttentionOptions) => {
        const result = launchAttentionWithWeights(name, operands, options);
        return [result.output, result.weights];
      }
    : (operands: Operands, options: AttentionOptions) => [launchAttention(name, operands, options)];
  return defineKernel<AttentionProblem>({
    name,
    hasForms: true,
    cases,
    edges: EDGES,
    random: randomAttention,
    inputs: (problem, random) => attentionInputs(problem, positions, random),
    prepare(device, { heads, realKeys }, inputs) {
      const upload = (role: string) => device.tensor(floats(inputs, role));
      const keyMask = realKeys === undefined ? undefined : upload('keyMask');
      const content = { query: upload('query'), key: upload('key'), value: upload('value') };
      const operands = positions
        ? { ...content, queryPosition: upload('queryPosition'), keyPosition: upload('keyPosition') }
        : content;
      return () => launchKernel(operands, { heads, keyMask });
    },
    cost: problem => attentionCost({ ...problem, positions, weights }),
    // 10,000 in queries and keys would make every softmax a choice between roundings.
    farFromZero: ['value'],
    nonFinite: positions ? [...NON_FINITE, 'queryPosition', 'keyPosition'] : NON_FINITE,
  });
}

export const attentionKernel = defineAttention('attention', selfAttentionCases, { positions: false, weights: false });

export const attentionWithWeightsKernel = defineAttention(
  'attentionWithWeights',
  { 'encoder self-attention, 800x1066': sizes(850, 850), 'decoder cross-attention, 800x1066': sizes(100, 850) },
  { positions: false, weights: true },
);

export const attentionWithPositionsKernel = defineAttention('attentionWithPositions', crossAttentionCases, {
  positions: true,
  weights: false,
});

export const attentionWithPositionsAndWeightsKernel = defineAttention(
  'attentionWithPositionsAndWeights',
  { 'conditional cross-attention, 800x1066': sizes(300, 850) },
  { positions: true, weights: true },
);
