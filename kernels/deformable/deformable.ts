// What Deformable DETR computes from the masks of its feature maps: how much of them is real, where the encoder's queries
// look, and the proposals of two-stage models.
//
// B batch, L feature maps of h x w cells, S cells of all maps, D channels

import { ShapeError, type Tensor } from '../../engine/index.ts';
import { expectShape } from '../expect.ts';
import { defineKernel, floats, type KernelInputs } from '../kernel.ts';
import { expectLevels, type FeatureLevels, LEVELS_800x1066, levelScalars, tokensOf } from '../levels.ts';
import type { Random } from '../random.ts';
import { planEncoderReferencePoints, planTwoStageProposals, planValidRatios } from './deformable.wgsl.ts';

/** TOKENS in deformable.assembly.ts. */
const TOKENS_PER_TASK = 256;

/**
 * The real part of every feature map's width and height, from the first row and the first column of its mask (HF
 * `get_valid_ratio`).
 *
 * @param masks per map [B, h, w] float32, 1 = real, 0 = padding
 * @returns [B, L, 2], (width, height)
 * @throws ShapeError
 */
export function validRatios(masks: readonly Tensor[]): Tensor<'float32'> {
  const levels = expectMasks('validRatios', masks);
  const { device } = masks[0]!;
  const batch = masks[0]!.dim(0);
  const ratios = device.empty([batch, levels.length, 2]);
  masks.forEach((mask, level) => {
    const [height, width] = levels[level]!;
    device.launch({
      kernel: 'validRatios',
      inputs: [mask],
      outputs: [ratios],
      cost: { flops: batch * (height + width), bytes: 4 * batch * (height + width + 2) },
      wgsl: () => planValidRatios(batch, [height, width], levels.length, level),
      wasm: () => ({ entry: 'validRatios', tasks: batch, scalars: [height, width, levels.length, level] }),
    });
  });
  return ratios;
}

/** Sizes of the maps. */
function expectMasks(operation: string, masks: readonly Tensor[]): FeatureLevels {
  const first = masks[0];
  if (first === undefined) throw new ShapeError(`${operation}: expected at least one mask, got none`);
  for (const mask of masks) {
    expectShape(operation, 'mask', mask, ['B', 'h', 'w']);
    expectShape(operation, 'mask', mask, [first.dim(0), 'h', 'w']);
  }
  const levels = masks.map(mask => [mask.dim(1), mask.dim(2)] as const);
  expectLevels(operation, levels, tokensOf(levels));
  return levels;
}

/**
 * Where the encoder's queries look in every map: the centres of their own cells, relative to the real part of their own
 * map, as places in the whole of each map (HF `DeformableDetrEncoder.get_reference_points`).
 *
 * @param ratios [B, L, 2] from `validRatios`
 * @param levels sizes of the maps
 * @returns [B, S, L, 2], (x, y)
 * @throws ShapeError
 */
export function encoderReferencePoints(ratios: Tensor, levels: FeatureLevels): Tensor<'float32'> {
  const tokens = tokensOf(levels);
  expectLevels('encoderReferencePoints', levels, tokens);
  expectShape('encoderReferencePoints', 'ratios', ratios, ['B', levels.length, 2]);
  const batch = ratios.dim(0);
  const references = ratios.device.empty([batch, tokens, levels.length, 2]);
  ratios.device.launch({
    kernel: 'encoderReferencePoints',
    inputs: [ratios],
    outputs: [references],
    cost: { flops: references.size, bytes: 4 * (ratios.size + references.size) },
    wgsl: () => planEncoderReferencePoints(batch, levels),
    wasm: () => ({
      entry: 'encoderReferencePoints',
      tasks: batch,
      scalars: [levels.length, tokens, ...levelScalars(levels)],
    }),
  });
  return references;
}

export interface TwoStageProposals {
  /** [B, S, 4]: inverse sigmoid of (cx, cy, w, h), infinite where there is no proposal. */
  readonly logits: Tensor<'float32'>;
  /** [B, S, D]: the memory, zeros where there is no proposal. */
  readonly memory: Tensor<'float32'>;
}

/** A proposal's width and height in the finest map; each further one's are twice as large. */
const PROPOSAL_SIZE = 0.05;
/** Nearer to the edges, or outside of this range of sizes, there are no proposals. */
const SMALLEST = 0.01;
const LARGEST = 0.99;

/**
 * A box around every cell of the encoder's output, for two-stage models to choose from (HF
 * `gen_encoder_output_proposals`, up to its projection). Padding and the outermost hundredth have none.
 *
 * @param memory [B, S, D]
 * @param masks per map [B, h, w] float32, 1 = real, 0 = padding
 * @throws ShapeError
 */
export function twoStageProposals(memory: Tensor, masks: readonly Tensor[]): TwoStageProposals {
  const operation = 'twoStageProposals';
  const levels = expectMasks(operation, masks);
  const tokens = tokensOf(levels);
  const batch = masks[0]!.dim(0);
  expectShape(operation, 'memory', memory, [batch, tokens, 'D']);
  const { device } = memory;
  const width = memory.dim(2);
  return device.scope(() => {
    const ratios = validRatios(masks);
    const logits = device.empty([batch, tokens, 4]);
    const candidates = device.empty(memory.shape);
    let start = 0;
    masks.forEach((mask, level) => {
      const [rows, columns] = levels[level]!;
      const first = start;
      const side = PROPOSAL_SIZE * 2 ** level;
      const sizeLogit = side > SMALLEST && side < LARGEST ? Math.log(side / (1 - side)) : Number.POSITIVE_INFINITY;
      const sizes = { batch, tokens, width, levels: levels.length, level, start, sizeLogit };
      device.launch({
        kernel: operation,
        inputs: [memory, mask, ratios],
        outputs: [logits, candidates],
        cost: proposalsCost(batch * rows * columns, width),
        wgsl: () => planTwoStageProposals({ ...sizes, size: [rows, columns] }),
        wasm: () => ({
          entry: operation,
          tasks: batch * Math.ceil((rows * columns) / TOKENS_PER_TASK),
          scalars: [tokens, width, rows, columns, levels.length, level, first, { f32: sizeLogit }],
        }),
      });
      start += rows * columns;
    });
    return { logits, memory: candidates };
  });
}

function proposalsCost(cells: number, width: number) {
  return { flops: 6 * cells, bytes: 4 * cells * (2 * width + 5) };
}

export interface MasksProblem {
  readonly levels: FeatureLevels;
  /** The real parts of the height and the width of each item of the batch. */
  readonly real: readonly (readonly [height: number, width: number])[];
}

const FIVE_LEVELS: FeatureLevels = [
  [9, 7],
  [5, 4],
  [3, 2],
  [2, 1],
  [1, 1],
];
const TWO_PADDED: MasksProblem['real'] = [
  [1, 0.8],
  [0.7, 1],
];

function randomMasks(random: Random): MasksProblem {
  return {
    levels: Array.from(
      { length: random.integer(1, 5) },
      () => [random.pick([1, 3, 17, 50]), random.pick([1, 2, 13, 100])] as const,
    ),
    real: Array.from({ length: random.integer(1, 3) }, () => [0.2 + 0.8 * random.next(), 0.2 + 0.8 * random.next()]),
  };
}

/** The masks of the maps, `mask0`, `mask1`, …; the top left rectangles are real. */
function maskInputs({ levels, real }: MasksProblem): KernelInputs {
  const masks = levels.map(([height, width]) => {
    const data = Float32Array.from({ length: real.length * height * width }, (_, index) => {
      const [realHeight, realWidth] = real[Math.floor(index / (height * width))]!;
      const row = Math.floor(index / width) % height;
      return row < Math.ceil(realHeight * height) && index % width < Math.ceil(realWidth * width) ? 1 : 0;
    });
    return { shape: [real.length, height, width], data };
  });
  return Object.fromEntries(masks.map((mask, level) => [`mask${level}`, mask]));
}

export const validRatiosKernel = defineKernel<MasksProblem>({
  name: 'validRatios',
  cases: { '800x1066, batch of 2 with padding': { levels: LEVELS_800x1066, real: TWO_PADDED } },
  edges: {
    'empty batch': { levels: [[3, 4]], real: [] },
    'nothing real': { levels: [[3, 4]], real: [[0, 0]] },
    'five levels': { levels: FIVE_LEVELS, real: TWO_PADDED },
  },
  random: randomMasks,
  inputs: maskInputs,
  prepare(device, { levels }, inputs) {
    const masks = levels.map((_, level) => device.tensor(floats(inputs, `mask${level}`)));
    return () => [validRatios(masks)];
  },
  cost({ levels, real }) {
    const read = levels.reduce((sum, [height, width]) => sum + height + width, 0);
    return { flops: real.length * read, bytes: 4 * real.length * (read + 2 * levels.length) };
  },
  nonFinite: [],
  farFromZero: [],
});

export const encoderReferencePointsKernel = defineKernel<MasksProblem>({
  name: 'encoderReferencePoints',
  cases: { '800x1066': { levels: LEVELS_800x1066, real: [[1, 1]] } },
  edges: {
    'empty batch': { levels: [[3, 4]], real: [] },
    'five levels': { levels: FIVE_LEVELS, real: TWO_PADDED },
  },
  random: randomMasks,
  inputs: ({ levels, real }) => ({
    ratios: {
      shape: [real.length, levels.length, 2],
      // Others in each map, lest they cancel out.
      data: Float32Array.from(
        real.flatMap(([height, width]) => levels.flatMap((_, level) => [width ** (level + 1), height ** (level + 1)])),
      ),
    },
  }),
  prepare(device, { levels }, inputs) {
    const ratios = device.tensor(floats(inputs, 'ratios'));
    return () => [encoderReferencePoints(ratios, levels)];
  },
  cost({ levels, real }) {
    const points = real.length * tokensOf(levels) * levels.length;
    return { flops: 2 * points, bytes: 4 * (2 * points + 2 * real.length * levels.length) };
  },
  nonFinite: [],
  farFromZero: [],
});

export interface ProposalsProblem extends MasksProblem {
  /** Channels. */
  readonly width: number;
}

export const twoStageProposalsKernel = defineKernel<ProposalsProblem>({
  name: 'twoStageProposals',
  cases: { '800x1066': { levels: LEVELS_800x1066, real: [[1, 1]], width: 256 } },
  edges: {
    'empty batch': { levels: [[3, 4]], real: [], width: 4 },
    'levels whose proposals are too big': { levels: [...FIVE_LEVELS, [4, 5]], real: TWO_PADDED, width: 5 },
    // (0 + 0.5) / 50 is on the edge of 0.01.
    'on the edge': { levels: [[50, 50]], real: [[1, 1]], width: 1 },
    // In float32 13 / 22 times 22 and 7 / 23 times 23 are less than 13 and 7.
    'ratios that round down': { levels: [[22, 23]], real: [[13 / 22, 7 / 23]], width: 1 },
    'nothing real': { levels: [[3, 4]], real: [[0, 0]], width: 3 },
  },
  random: random => ({ ...randomMasks(random), width: random.pick([1, 5, 64]) }),
  inputs: (problem, random) => ({
    ...maskInputs(problem),
    memory: random.tensor([problem.real.length, tokensOf(problem.levels), problem.width]),
  }),
  prepare(device, { levels }, inputs) {
    const memory = device.tensor(floats(inputs, 'memory'));
    const masks = levels.map((_, level) => device.tensor(floats(inputs, `mask${level}`)));
    return () => {
      const proposals = twoStageProposals(memory, masks);
      return [proposals.logits, proposals.memory];
    };
  },
  cost: ({ levels, real, width }) => proposalsCost(real.length * tokensOf(levels), width),
  nonFinite: ['memory'],
  farFromZero: ['memory'],
});
