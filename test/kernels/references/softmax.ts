import { floats } from '../../../kernels/kernel.ts';
import type { SoftmaxProblem } from '../../../kernels/softmax/softmax.ts';
import type { Reference } from '../reference.ts';

export const softmaxReference: Reference<SoftmaxProblem> = {
  outputs({ shape }, inputs) {
    const x = floats(inputs, 'x').data;
    const length = shape.at(-1)!;
    const rows = new Map<number, { maximum: number; sum: number }>();
    const measure = (start: number) => {
      let maximum = Number.NEGATIVE_INFINITY;
      for (let index = start; index < start + length; index++) maximum = Math.max(maximum, x[index]!);
      let sum = 0;
      for (let index = start; index < start + length; index++) sum += Math.exp(x[index]! - maximum);
      return { maximum, sum };
    };
    return [
      {
        shape,
        at(index) {
          const start = index - (index % length);
          const row = rows.get(start) ?? measure(start);
          rows.set(start, row);
          const exponent = x[index]! - row.maximum;
          const value = Math.exp(exponent) / row.sum;
          // The rounding of the exponent is a relative error of its exponential.
          return { value, magnitude: value * (1 + Math.abs(exponent)) };
        },
      },
    ];
  },
};
