import { floats } from '../../../kernels/kernel.ts';
import type { GroupNormProblem, LayerNormProblem } from '../../../kernels/normalization/normalization.ts';
import type { Reference } from '../reference.ts';
import { activationReference } from './elementwise.ts';

interface Moments {
  readonly mean: number;
  readonly deviation: number;
}

/** Mean and square root of the variance plus epsilon of consecutive values, computed once per start. */
function momentsOf(x: Float32Array, count: number, epsilon: number): (start: number) => Moments {
  const known = new Map<number, Moments>();
  return start => {
    let moments = known.get(start);
    if (moments === undefined) {
      let sum = 0;
      for (let index = start; index < start + count; index++) sum += x[index]!;
      const mean = sum / count;
      let squares = 0;
      for (let index = start; index < start + count; index++) squares += (x[index]! - mean) ** 2;
      moments = { mean, deviation: Math.sqrt(squares / count + epsilon) };
      known.set(start, moments);
    }
    return moments;
  };
}

function normalised(value: number, { mean, deviation }: Moments, weight: number, bias: number) {
  const normal = (value - mean) / deviation;
  return { value: normal * weight + bias, magnitude: (Math.abs(normal) + 1) * Math.abs(weight) + Math.abs(bias) };
}

export const layerNormReference: Reference<LayerNormProblem> = {
  outputs({ shape, epsilon }, inputs) {
    const x = floats(inputs, 'x').data;
    const weight = floats(inputs, 'weight').data;
    const bias = floats(inputs, 'bias').data;
    const length = shape.at(-1)!;
    const moments = momentsOf(x, length, Math.fround(epsilon));
    return [
      {
        shape,
        at(index) {
          const feature = index % length;
          return normalised(x[index]!, moments(index - feature), weight[feature]!, bias[feature]!);
        },
      },
    ];
  },
};

export const groupNormReference: Reference<GroupNormProblem> = {
  outputs({ shape, groups, epsilon, activation }, inputs) {
    const x = floats(inputs, 'x').data;
    const weight = floats(inputs, 'weight').data;
    const bias = floats(inputs, 'bias').data;
    const [, channels, height, width] = shape;
    const count = (channels / groups) * height * width;
    const moments = momentsOf(x, count, Math.fround(epsilon));
    return [
      {
        shape,
        at(index) {
          const channel = Math.floor(index / (height * width)) % channels;
          const start = Math.floor(index / count) * count;
          const before = normalised(x[index]!, moments(start), weight[channel]!, bias[channel]!);
          const after = activationReference(activation, before.value);
          return { value: after.value, magnitude: after.magnitude + before.magnitude };
        },
      },
    ];
  },
};
