import type { AttentionProblem } from '../../../kernels/attention/attention.ts';
import { floats, type KernelInputs } from '../../../kernels/kernel.ts';
import { type Reference, type ReferenceOutput, ravel, unravel } from '../reference.ts';

const MASKED = -3.4028234663852886e38;

/** One query's row of attention weights, and by how many roundings each may be off. */
interface Row {
  readonly weights: Float64Array;
  readonly uncertainties: Float64Array;
}

function attention(positions: boolean, withWeights: boolean): Reference<AttentionProblem> {
  return {
    outputs(problem, inputs) {
      const { batch, heads, queries, keys, valueWidth } = problem;
      const rowOf = remembering((row: number) => attentionRow(problem, inputs, positions, row));
      const value = floats(inputs, 'value').data;
      const outputShape = [batch, queries, heads, valueWidth];
      const weightsShape = [batch, heads, queries, keys];
      const output: ReferenceOutput = {
        shape: [batch, queries, heads * valueWidth],
        at(index) {
          const [item, query, head, channel] = unravel(index, outputShape) as [number, number, number, number];
          const { weights, uncertainties } = rowOf(ravel([item, head, query], [batch, heads, queries]));
          let sum = 0;
          let magnitude = 0;
          for (let key = 0; key < keys; key++) {
            const v = value[((item * keys + key) * heads + head) * valueWidth + channel]!;
            sum += weights[key]! * v;
            magnitude += weights[key]! * uncertainties[key]! * Math.abs(v);
          }
          return { value: sum, magnitude };
        },
      };
      const weights: ReferenceOutput = {
        shape: weightsShape,
        at(index) {
          const { weights, uncertainties } = rowOf(Math.floor(index / keys));
          const weight = weights[index % keys]!;
          return { value: weight, magnitude: weight * uncertainties[index % keys]! };
        },
      };
      return withWeights ? [output, weights] : [output];
    },
  };
}

/** @param row index into [B, N, Tq] */
function attentionRow(problem: AttentionProblem, inputs: KernelInputs, positions: boolean, row: number): Row {
  const { batch, heads, queries, keys, width, realKeys } = problem;
  const [item, head, query] = unravel(row, [batch, heads, queries]) as [number, number, number];
  const parts = positions
    ? [['query', 'key'] as const, ['queryPosition', 'keyPosition'] as const]
    : [['query', 'key'] as const];
  const operands = parts.map(([q, k]) => [floats(inputs, q).data, floats(inputs, k).data] as const);
  const mask = realKeys === undefined ? undefined : floats(inputs, 'keyMask').data;
  const scale = (parts.length * width) ** -0.5;
  const scores = new Float64Array(keys);
  const roundings = new Float64Array(keys);
  const queryStart = ravel([item, query, head], [batch, queries, heads]) * width;
  for (let key = 0; key < keys; key++) {
    const keyStart = ravel([item, key, head], [batch, keys, heads]) * width;
    for (const [q, k] of operands) {
      for (let channel = 0; channel < width; channel++) {
        const term = q[queryStart + channel]! * k[keyStart + channel]! * scale;
        scores[key]! += term;
        roundings[key]! += Math.abs(term);
      }
    }
    // In float32 the score vanishes in the sum.
    if (mask !== undefined && mask[item * keys + key] === 0) scores[key] = Math.fround(scores[key]! + MASKED);
  }
  const highest = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const weights = scores.map(score => Math.exp(score - highest));
  const sum = weights.reduce((a, b) => a + b, 0);
  let common = 0;
  for (let key = 0; key < keys; key++) {
    weights[key]! /= sum;
    // A weight of 0 is exact, also that of an infinite score.
    if (weights[key] === 0) roundings[key] = 0;
    common += weights[key]! * roundings[key]!;
  }
  return { weights, uncertainties: roundings.map(rounding => 1 + rounding + common) };
}

function remembering<Result>(compute: (key: number) => Result): (key: number) => Result {
  const results = new Map<number, Result>();
  return key => {
    const result = results.get(key) ?? compute(key);
    results.set(key, result);
    return result;
  };
}

export const attentionReference = attention(false, false);
export const attentionWithWeightsReference = attention(false, true);
export const attentionWithPositionsReference = attention(true, false);
export const attentionWithPositionsAndWeightsReference = attention(true, true);
