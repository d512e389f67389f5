// B batch, S tokens of L feature maps, T queries, N heads, dh channels per head, P points

import { type Cost, DeviceError, formatShape, ShapeError, type Tensor } from '../../engine/index.ts';
import { expectPositiveInteger, expectShape } from '../expect.ts';
import { defineKernel, floats, type Kernel, type KernelInputs } from '../kernel.ts';
import { expectLevels, type FeatureLevels, LEVELS_800x1066, levelScalars, tokensOf } from '../levels.ts';
import type { Random } from '../random.ts';
import { planDeformableAttention } from './multi-scale-deformable-attention.wgsl.ts';

export interface DeformableAttentionOptions {
  readonly heads: number;
  /** P, points per head and feature map. */
  readonly points: number;
  /** Sizes of the feature maps whose cells, one map after the other, are the tokens. */
  readonly levels: FeatureLevels;
  /** [B, S] float32: values of tokens that are 0 here count as zeros. */
  readonly keyMask?: Tensor | undefined;
}

export interface DeformableAttentionWithWeights {
  /** [B, T, N * dh] */
  readonly output: Tensor<'float32'>;
  /** [B, T, N, L, P]; those of a query's head sum to 1. */
  readonly weights: Tensor<'float32'>;
}

/**
 * Multi-scale deformable attention between its projections (HF `multi_scale_deformable_attention`): per query and head, the
 * softmax over all L * P logits weighs values taken, bilinearly, at places in the feature maps; outside of a map there are zeros.
 * A place is `reference + offset / (width, height)` with references (x, y), and
 * `reference + offset / P * (w, h) / 2` with references (x, y, w, h), where 0 and 1 are the map's edges.
 *
 * @param value [B, S, N * dh]
 * @param offsets [B, T, N * L * P * 2], (x, y)
 * @param weightLogits [B, T, N * L * P]
 * @param references [B, T, L, 2] or [B, T, L, 4]
 * @returns [B, T, N * dh]
 * @throws ShapeError
 */
export function multiScaleDeformableAttention(
  value: Tensor,
  offsets: Tensor,
  weightLogits: Tensor,
  references: Tensor,
  options: DeformableAttentionOptions,
): Tensor<'float32'> {
  return launchWithout(NAME, { value, offsets, weightLogits, references }, options);
}

/** `multiScaleDeformableAttention` that also returns the weights after the softmax. */
export function multiScaleDeformableAttentionWithWeights(
  value: Tensor,
  offsets: Tensor,
  weightLogits: Tensor,
  references: Tensor,
  options: DeformableAttentionOptions,
): DeformableAttentionWithWeights {
  return launchWith(NAME_WITH_WEIGHTS, { value, offsets, weightLogits, references }, options);
}

const NAME = 'multiScaleDeformableAttention';
const NAME_WITH_WEIGHTS = 'multiScaleDeformableAttentionWithWeights';

/** TOKENS in multi-scale-deformable-attention.assembly.ts. */
const TOKENS_PER_TASK = 64;

interface Operands {
  readonly value: Tensor;
  readonly offsets: Tensor;
  readonly weightLogits: Tensor;
  readonly references: Tensor;
}

interface Sizes {
  readonly batch: number;
  readonly queries: number;
  readonly heads: number;
  /** Channels per head. */
  readonly width: number;
  readonly points: number;
  readonly referenceSize: 2 | 4;
  readonly levels: FeatureLevels;
}

function launchWithout(kernel: string, operands: Operands, options: DeformableAttentionOptions): Tensor<'float32'> {
  const sizes = checkShapes(kernel, operands, options);
  const output = operands.value.device.empty([sizes.batch, sizes.queries, sizes.heads * sizes.width]);
  launch(kernel, operands, options, sizes, [output]);
  return output;
}

function launchWith(
  kernel: string,
  operands: Operands,
  options: DeformableAttentionOptions,
): DeformableAttentionWithWeights {
  const sizes = checkShapes(kernel, operands, options);
  const { batch, queries, heads, width, levels, points } = sizes;
  const { device } = operands.value;
  const output = device.empty([batch, queries, heads * width]);
  const weights = device.empty([batch, queries, heads, levels.length, points]);
  launch(kernel, operands, options, sizes, [output, weights]);
  return { output, weights };
}

function launch(
  kernel: string,
  { value, offsets, weightLogits, references }: Operands,
  { keyMask }: DeformableAttentionOptions,
  sizes: Sizes,
  outputs: readonly Tensor[],
): void {
  const { batch, queries, heads, width, points, referenceSize, levels } = sizes;
  const { device } = value;
  const tokens = value.dim(1);
  const weights = outputs.length === 2;
  // Reading a cell of a head where its neighbours are other heads' is slow for processors' caches.
  const cellsRead = queries * levels.length * points * 4;
  const separate = device.kind === 'cpu' && cellsRead > 8 * tokens;
  const values = separate ? separateHeads(value, keyMask, heads) : value;
  device.launch({
    kernel,
    inputs: [values, offsets, weightLogits, references, separate ? undefined : keyMask],
    outputs,
    cost: attentionCost(sizes, weights),
    wgsl: traits =>
      planDeformableAttention(
        { width, referenceSize, mask: keyMask !== undefined, weights },
        { batch, tokens, queries, heads, points, levels },
        traits,
      ),
    wasm: () => {
      const queriesPerTask = separate ? 128 : 16;
      const headsPerTask = separate ? 1 : heads;
      const [tokenStride, headStride] = separate ? [width, tokens * width] : [heads * width, width];
      return {
        entry: weights ? NAME_WITH_WEIGHTS : NAME,
        tasks: batch * (heads / headsPerTask) * Math.ceil(queries / queriesPerTask),
        scalars: [
          ...[tokens, queries, heads, width, levels.length, points, referenceSize],
          ...[queriesPerTask, headsPerTask, tokenStride, headStride],
          ...levelScalars(levels),
        ],
        // 18 floats a point, and a head's width of zeros: `attendToPoints` in multi-scale-deformable-attention.assembly.ts.
        scratchBytes: 4 * (18 * 4 * Math.ceil((levels.length * points) / 4) + 4 * Math.ceil(width / 4)),
      };
    },
  });
  if (separate) values.dispose();
}

/** [B, S, N * dh] → [B, N, S, dh], zeros where `keyMask` is 0. On the cpu device. */
function separateHeads(value: Tensor, keyMask: Tensor | undefined, heads: number): Tensor<'float32'> {
  const [batch, tokens, channels] = value.shape as [number, number, number];
  const separated = value.device.empty([batch, heads, tokens, channels / heads]);
  value.device.launch({
    kernel: 'separateHeads',
    inputs: [value, keyMask],
    outputs: [separated],
    cost: { flops: 0, bytes: 4 * (2 * value.size + (keyMask?.size ?? 0)) },
    wgsl() {
      throw new DeviceError('separateHeads: expected the cpu device, got webgpu');
    },
    wasm: () => ({
      entry: 'separateHeads',
      tasks: batch * Math.ceil(tokens / TOKENS_PER_TASK),
      scalars: [tokens, heads, channels / heads],
    }),
  });
  return separated;
}

function checkShapes(kernel: string, operands: Operands, options: DeformableAttentionOptions): Sizes {
  const { value, offsets, weightLogits, references } = operands;
  const { heads, points, levels, keyMask } = options;
  expectShape(kernel, 'value', value, ['B', 'S', 'N * dh']);
  const [batch, tokens, channels] = value.shape as [number, number, number];
  expectLevels(kernel, levels, tokens);
  expectPositiveInteger(kernel, 'points', points);
  if (!Number.isInteger(heads) || heads < 1 || channels % heads !== 0 || channels === 0) {
    throw new ShapeError(`${kernel}: expected heads that divide ${channels} channels, got ${heads}`);
  }
  const count = heads * levels.length * points;
  expectShape(kernel, 'offsets', offsets, [batch, 'T', 2 * count]);
  const queries = offsets.dim(1);
  expectShape(kernel, 'weight logits', weightLogits, [batch, queries, count]);
  const referenceSize = references.shape.at(-1);
  if (referenceSize !== 2 && referenceSize !== 4) {
    throw new ShapeError(`${kernel}: expected references [B, T, L, 2 or 4], got ${formatShape(references.shape)}`);
  }
  expectShape(kernel, 'references', references, [batch, queries, levels.length, referenceSize]);
  if (keyMask !== undefined) expectShape(kernel, 'key mask', keyMask, [batch, tokens]);
  return { batch, queries, heads, width: channels / heads, points, referenceSize, levels };
}

/** Counts the four cells of every point; bytes are those of the tensors, each once, though cells are read many times. */
function attentionCost({ batch, queries, heads, width, points, referenceSize, levels }: Sizes, weights: boolean): Cost {
  const places = batch * queries * heads * levels.length * points;
  const elements =
    batch * heads * width * (tokensOf(levels) + queries) +
    places * (weights ? 4 : 3) +
    batch * queries * levels.length * referenceSize;
  return { flops: places * 4 * 2 * width, bytes: 4 * elements };
}

export interface DeformableAttentionProblem extends Sizes {
  /** Share of the tokens that are padding. Absent: no key mask. */
  readonly padding?: number;
}

/** The encoder's queries are the cells themselves. */
function encoder(levels: FeatureLevels, batch = 1): DeformableAttentionProblem {
  return { ...decoder(levels, 2), batch, queries: tokensOf(levels) };
}

function decoder(levels: FeatureLevels, referenceSize: 2 | 4): DeformableAttentionProblem {
  return { batch: 1, queries: 300, heads: 8, width: 32, points: 4, referenceSize, levels };
}

const cases = {
  'encoder, 800x1066': encoder(LEVELS_800x1066),
  'encoder, 800x1066 with padding': { ...encoder(LEVELS_800x1066), padding: 0.2 },
  'encoder, 800x1066 single scale DC5': encoder([[50, 67]]),
  'decoder, 800x1066': decoder(LEVELS_800x1066, 2),
  'decoder with boxes, 800x1066': decoder(LEVELS_800x1066, 4),
};

const edges: Readonly<Record<string, DeformableAttentionProblem>> = {
  'empty batch': { ...decoder([[3, 4]], 2), batch: 0 },
  'no queries': { ...decoder([[3, 4]], 2), queries: 0 },
  'one cell, one point': { batch: 1, queries: 3, heads: 1, width: 1, points: 1, referenceSize: 2, levels: [[1, 1]] },
  'five levels of boxes': {
    ...decoder(
      [
        [9, 7],
        [5, 4],
        [3, 2],
        [2, 1],
        [1, 1],
      ],
      4,
    ),
    batch: 2,
    queries: 5,
    padding: 0.3,
  },
  'nothing but padding': { ...decoder([[3, 4]], 2), queries: 5, padding: 1 },
};

function randomProblem(random: Random): DeformableAttentionProblem {
  const levels = Array.from(
    { length: random.integer(1, 4) },
    () => [random.pick([1, 3, 17, 25]), random.pick([1, 2, 13, 34])] as const,
  );
  return {
    batch: random.integer(1, 2),
    queries: random.pick([1, 3, 17, 131]),
    heads: random.integer(1, 3),
    width: random.pick([1, 4, 6, 16, 32, 52, 80]),
    points: random.integer(1, 5),
    referenceSize: random.pick([2, 4] as const),
    levels,
    ...(random.boolean() ? { padding: random.next() } : {}),
  };
}

function makeInputs(problem: DeformableAttentionProblem, random: Random): KernelInputs {
  const { batch, queries, heads, width, points, levels, padding } = problem;
  const tokens = tokensOf(levels);
  const count = heads * levels.length * points;
  const mask = () => Float32Array.from({ length: batch * tokens }, () => (random.next() < padding! ? 0 : 1));
  return {
    value: random.tensor([batch, tokens, heads * width]),
    offsets: random.tensor([batch, queries, count * 2], 3),
    weightLogits: random.tensor([batch, queries, count], 2),
    references: makeReferences(problem, random),
    ...(padding === undefined ? {} : { keyMask: { shape: [batch, tokens], data: mask() } }),
  };
}

/** Queries that are the cells themselves look around their own places; others look anywhere, a few outside of the maps. */
function makeReferences({ batch, queries, referenceSize, levels }: DeformableAttentionProblem, random: Random) {
  const centres = levels.flatMap(([height, width]) =>
    Array.from({ length: height * width }, (_, cell) => [
      ((cell % width) + 0.5) / width,
      (Math.floor(cell / width) + 0.5) / height,
    ]),
  );
  const anywhere = () => random.next() * 1.1 - 0.05;
  const references = random.tensor([batch, queries, levels.length, referenceSize], 0.3);
  references.data.forEach((value, index) => {
    const axis = index % referenceSize;
    const query = Math.floor(index / (referenceSize * levels.length)) % queries;
    const place = centres.length === queries ? centres[query]![axis]! : anywhere();
    references.data[index] = axis < 2 ? place : Math.abs(value);
  });
  return references;
}

function defineDeformableAttention(
  name: string,
  namedCases: Readonly<Record<string, DeformableAttentionProblem>>,
  run: (operands: Operands, options: DeformableAttentionOptions) => Tensor[],
  weights: boolean,
): Kernel<DeformableAttentionProblem> {
  return defineKernel<DeformableAttentionProblem>({
    name,
    cases: namedCases,
    edges,
    random: randomProblem,
    inputs: makeInputs,
    prepare(device, { heads, points, levels, padding }, inputs) {
      const upload = (role: string) => device.tensor(floats(inputs, role));
      const operands = {
        value: upload('value'),
        offsets: upload('offsets'),
        weightLogits: upload('weightLogits'),
        references: upload('references'),
      };
      const keyMask = padding === undefined ? undefined : upload('keyMask');
      return () => run(operands, { heads, points, levels, keyMask });
    },
    cost: problem => attentionCost(problem, weights),
    tolerance: 3,
    nonFinite: ['value', 'offsets', 'weightLogits', 'references'],
    farFromZero: ['value', 'offsets', 'weightLogits', 'references'],
  });
}

export const multiScaleDeformableAttentionKernel = defineDeformableAttention(
  NAME,
  cases,
  (operands, options) => [launchWithout(NAME, operands, options)],
  false,
);

export const multiScaleDeformableAttentionWithWeightsKernel = defineDeformableAttention(
  NAME_WITH_WEIGHTS,
  { 'decoder, 800x1066': cases['decoder, 800x1066'] },
  (operands, options) => {
    const { output, weights } = launchWith(NAME_WITH_WEIGHTS, operands, options);
    return [output, weights];
  },
  true,
);
