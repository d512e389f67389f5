import { floats } from '../../../kernels/kernel.ts';
import type { MatmulProblem } from '../../../kernels/matmul/matmul.ts';
import type { Reference } from '../reference.ts';
import { Sum } from './epilogue.ts';

export const matmulReference: Reference<MatmulProblem> = {
  outputs({ a: aShape, b: bShape, transposeB = false }, inputs) {
    const a = floats(inputs, 'a').data;
    const b = floats(inputs, 'b').data;
    const [rows, inner] = aShape.slice(-2) as [number, number];
    const columns = bShape.at(transposeB ? -2 : -1)!;
    const batch = aShape.length > 2 ? aShape.slice(0, -2) : bShape.slice(0, -2);
    return [
      {
        shape: [...batch, rows, columns],
        at(index) {
          const matrix = Math.floor(index / (rows * columns));
          const row = Math.floor(index / columns) % rows;
          const column = index % columns;
          const aStart = (aShape.length > 2 ? matrix * rows * inner : 0) + row * inner;
          const bStart = bShape.length > 2 ? matrix * inner * columns : 0;
          const sum = new Sum();
          for (let k = 0; k < inner; k++) {
            sum.add(a[aStart + k]! * b[bStart + (transposeB ? column * inner + k : k * columns + column)]!);
          }
          return sum.finish({ bias: 0, residual: 0, activation: undefined });
        },
      },
    ];
  },
};
