import { floats } from '../../../kernels/kernel.ts';
import { tokensOf } from '../../../kernels/levels.ts';
import type { DeformableAttentionProblem } from '../../../kernels/multi-scale-deformable-attention/multi-scale-deformable-attention.ts';
import { type Reference, type ReferenceOutput, ravel, unravel } from '../reference.ts';

function deformableAttention(withWeights: boolean): Reference<DeformableAttentionProblem> {
  return {
    outputs(problem, inputs) {
      const { batch, queries, heads, width, points, referenceSize, levels, padding } = problem;
      const tokens = tokensOf(levels);
      const value = floats(inputs, 'value').data;
      const offsets = floats(inputs, 'offsets').data;
      const logits = floats(inputs, 'weightLogits').data;
      const references = floats(inputs, 'references').data;
      const mask = padding === undefined ? undefined : floats(inputs, 'keyMask').data;
      const largest = value.reduce(
        (most, element) => (Number.isFinite(element) ? Math.max(most, Math.abs(element)) : most),
        0,
      );

      /** Softmax over the logits of a row of [B, T, N]. */
      const attentionOf = (row: number): number[] => {
        const count = levels.length * points;
        const own = Array.from(logits.subarray(row * count, (row + 1) * count));
        const highest = Math.max(...own);
        const exponentials = own.map(logit => Math.exp(logit - highest));
        const sum = exponentials.reduce((a, b) => a + b, 0);
        return exponentials.map(exponential => exponential / sum);
      };
      /** The relative rounding error of exp(x - highest), in epsilons: that of the difference's size. */
      const uncertainty = (row: number): number => {
        const count = levels.length * points;
        const own = logits.subarray(row * count, (row + 1) * count);
        return 1 + Math.min(Math.max(...own) - Math.min(...own), 100);
      };

      const outputShape = [batch, queries, heads, width];
      const output: ReferenceOutput = {
        shape: [batch, queries, heads * width],
        at(index) {
          const [item, query, head, channel] = unravel(index, outputShape) as [number, number, number, number];
          const row = Math.floor(index / width);
          const attention = attentionOf(row);
          const cell = (start: number, y: number, x: number, height: number, columns: number): number => {
            if (!(y >= 0 && y < height && x >= 0 && x < columns)) return 0;
            const token = start + y * columns + x;
            if (mask !== undefined && mask[item * tokens + token] === 0) return 0;
            return value[ravel([item, token, head, channel], [batch, tokens, heads, width])]!;
          };
          let sum = 0;
          let magnitude = 0;
          let start = 0;
          levels.forEach(([height, columns], level) => {
            const reference = ((item * queries + query) * levels.length + level) * referenceSize;
            for (let point = 0; point < points; point++) {
              const weight = attention[level * points + point]!;
              const offset = (row * levels.length * points + level * points + point) * 2;
              /** Along an axis: the place in cells, and the size of the terms that it is rounded with. */
              const place = (axis: 0 | 1, size: number): [place: number, terms: number] => {
                const base = references[reference + axis]!;
                const moved =
                  referenceSize === 2
                    ? offsets[offset + axis]! / size
                    : (offsets[offset + axis]! / points) * references[reference + 2 + axis]! * 0.5;
                return [(base + moved) * size - 0.5, (Math.abs(base) + Math.abs(moved)) * size + 0.5];
              };
              const [x, termsX] = place(0, columns);
              const [y, termsY] = place(1, height);
              const [left, top] = [Math.floor(x), Math.floor(y)];
              for (const [cellRow, column, share] of [
                [top, left, (1 - (y - top)) * (1 - (x - left))],
                [top, left + 1, (1 - (y - top)) * (x - left)],
                [top + 1, left, (y - top) * (1 - (x - left))],
                [top + 1, left + 1, (y - top) * (x - left)],
              ] as const) {
                const term = weight * share * cell(start, cellRow, column, height, columns);
                sum += term;
                magnitude += Math.abs(term) * uncertainty(row);
              }
              // A shifted place changes what is found there by up to the difference between cells.
              magnitude += weight * largest * (termsX + termsY);
            }
            start += height * columns;
          });
          return { value: sum, magnitude };
        },
      };
      const weights: ReferenceOutput = {
        shape: [batch, queries, heads, levels.length, points],
        at(index) {
          const count = levels.length * points;
          const row = Math.floor(index / count);
          const weight = attentionOf(row)[index % count]!;
          return { value: weight, magnitude: weight * uncertainty(row) };
        },
      };
      return withWeights ? [output, weights] : [output];
    },
  };
}

export const multiScaleDeformableAttentionReference = deformableAttention(false);
export const multiScaleDeformableAttentionWithWeightsReference = deformableAttention(true);
