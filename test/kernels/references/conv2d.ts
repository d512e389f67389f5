import type { Conv2dProblem } from '../../../kernels/conv2d/conv2d.ts';
import { floats } from '../../../kernels/kernel.ts';
import { type Reference, unravel } from '../reference.ts';
import { Sum } from './epilogue.ts';

/** Places of the output along an axis, and the zeros before it: PyTorch's rule, or TensorFlow's for `same`. */
function alongAxis(size: number, { kernel, stride = 1, padding = 0, dilation = 1 }: Conv2dProblem) {
  const extent = dilation * (kernel - 1) + 1;
  let zeros = 2 * (padding === 'same' ? 0 : padding);
  if (padding === 'same') zeros = Math.max(extent - (size % stride === 0 ? stride : size % stride), 0);
  let places = 0;
  while (places * stride + extent <= size + zeros) places++;
  return { places, before: Math.floor(zeros / 2) };
}

export const conv2dReference: Reference<Conv2dProblem> = {
  outputs(problem, inputs) {
    const x = floats(inputs, 'x').data;
    const weight = floats(inputs, 'weight').data;
    const bias = inputs.bias?.data;
    const residual = inputs.residual?.data;
    const { activation, outChannels, kernel, stride = 1, dilation = 1, groups = 1 } = problem;
    const [batch, inChannels, height, width] = problem.x;
    const rows = alongAxis(height, problem);
    const columns = alongAxis(width, problem);
    const channelsPerGroup = inChannels / groups;
    const shape = [batch, outChannels, rows.places, columns.places];
    return [
      {
        shape,
        at(index) {
          const [image, out, p, q] = unravel(index, shape) as [number, number, number, number];
          const group = Math.floor(out / (outChannels / groups));
          const sum = new Sum();
          for (let c = 0; c < channelsPerGroup; c++) {
            for (let i = 0; i < kernel; i++) {
              for (let j = 0; j < kernel; j++) {
                const row = p * stride + i * dilation - rows.before;
                const column = q * stride + j * dilation - columns.before;
                if (row < 0 || row >= height || column < 0 || column >= width) continue;
                const channel = image * inChannels + group * channelsPerGroup + c;
                sum.add(
                  x[(channel * height + row) * width + column]! *
                    weight[((out * channelsPerGroup + c) * kernel + i) * kernel + j]!,
                );
              }
            }
          }
          return sum.finish({ bias: bias?.[out] ?? 0, residual: residual?.[index] ?? 0, activation });
        },
      },
    ];
  },
};
