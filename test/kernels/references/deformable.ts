import type { MasksProblem, ProposalsProblem } from '../../../kernels/deformable/deformable.ts';
import { floats, type KernelInputs } from '../../../kernels/kernel.ts';
import { type FeatureLevels, tokensOf } from '../../../kernels/levels.ts';
import { type Reference, whole } from '../reference.ts';

/** Real columns and rows of a map of an item: those of its first row and its first column. */
function realSize(inputs: KernelInputs, levels: FeatureLevels, level: number, item: number): [number, number] {
  const [height, width] = levels[level]!;
  const mask = floats(inputs, `mask${level}`).data.subarray(item * height * width, (item + 1) * height * width);
  let columns = 0;
  let rows = 0;
  for (let column = 0; column < width; column++) columns += mask[column]!;
  for (let row = 0; row < height; row++) rows += mask[row * width]!;
  return [columns, rows];
}

export const validRatiosReference: Reference<MasksProblem> = {
  outputs({ levels, real }, inputs) {
    const ratios = real.flatMap((_, item) =>
      levels.flatMap(([height, width], level) => {
        const [columns, rows] = realSize(inputs, levels, level, item);
        return [columns / width, rows / height];
      }),
    );
    return [whole([real.length, levels.length, 2], ratios)];
  },
};

export const encoderReferencePointsReference: Reference<MasksProblem> = {
  outputs({ levels, real }, inputs) {
    const ratios = floats(inputs, 'ratios').data;
    const points: number[] = [];
    for (let item = 0; item < real.length; item++) {
      const ratio = (level: number, axis: 0 | 1) => ratios[(item * levels.length + level) * 2 + axis]!;
      levels.forEach(([height, width], own) => {
        for (let row = 0; row < height; row++) {
          for (let column = 0; column < width; column++) {
            for (let level = 0; level < levels.length; level++) {
              points.push(((column + 0.5) / (ratio(own, 0) * width)) * ratio(level, 0));
              points.push(((row + 0.5) / (ratio(own, 1) * height)) * ratio(level, 1));
            }
          }
        }
      });
    }
    return [whole([real.length, tokensOf(levels), levels.length, 2], points)];
  },
};

export const twoStageProposalsReference: Reference<ProposalsProblem> = {
  outputs({ levels, real, width }, inputs) {
    const memory = floats(inputs, 'memory').data;
    const logits: number[] = [];
    const magnitudes: number[] = [];
    const kept: number[] = [];
    for (let item = 0; item < real.length; item++) {
      levels.forEach(([height, columns], level) => {
        const mask = floats(inputs, `mask${level}`).data;
        const [realColumns, realRows] = realSize(inputs, levels, level, item);
        for (let cell = 0; cell < height * columns; cell++) {
          const side = 0.05 * 2 ** level;
          const box = [
            ((cell % columns) + 0.5) / realColumns,
            (Math.floor(cell / columns) + 0.5) / realRows,
            side,
            side,
          ];
          // In float32, as PyTorch compares.
          const inside = box.every(p => Math.fround(p) > Math.fround(0.01) && Math.fround(p) < Math.fround(0.99));
          const valid = inside && mask[item * height * columns + cell] !== 0;
          for (const p of box) {
            const logit = valid ? Math.log(p / (1 - p)) : Number.POSITIVE_INFINITY;
            logits.push(logit);
            // The quotient's rounding is an absolute error of its logarithm.
            magnitudes.push(1 + Math.abs(logit));
          }
          const token = kept.length / width;
          for (let channel = 0; channel < width; channel++) kept.push(valid ? memory[token * width + channel]! : 0);
        }
      });
    }
    const tokens = tokensOf(levels);
    return [whole([real.length, tokens, 4], logits, magnitudes), whole([real.length, tokens, width], kept)];
  },
};
