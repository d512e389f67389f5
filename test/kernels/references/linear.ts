import { floats } from '../../../kernels/kernel.ts';
import type { LinearProblem } from '../../../kernels/linear/linear.ts';
import type { Reference } from '../reference.ts';
import { Sum } from './epilogue.ts';

export const linearReference: Reference<LinearProblem> = {
  outputs({ rows, inFeatures, outFeatures, activation }, inputs) {
    const x = floats(inputs, 'x').data;
    const weight = floats(inputs, 'weight').data;
    const bias = inputs.bias?.data;
    const residual = inputs.residual?.data;
    return [
      {
        shape: [...rows, outFeatures],
        at(index) {
          const row = Math.floor(index / outFeatures);
          const feature = index % outFeatures;
          const sum = new Sum();
          for (let k = 0; k < inFeatures; k++) {
            sum.add(x[row * inFeatures + k]! * weight[feature * inFeatures + k]!);
          }
          return sum.finish({ bias: bias?.[feature] ?? 0, residual: residual?.[index] ?? 0, activation });
        },
      },
    ];
  },
};
