import { type Conv2dProblem, conv2dProblemGeometry } from '../../../kernels/conv2d/conv2d.ts';
import { floats } from '../../../kernels/kernel.ts';
import { type Reference, unravel } from '../reference.ts';
import { Sum } from './epilogue.ts';

export const conv2dReference: Reference<Conv2dProblem> = {
  outputs(problem, inputs) {
    const x = floats(inputs, 'x').data;
    const weight = floats(inputs, 'weight').data;
    const bias = inputs.bias?.data;
    const residual = inputs.residual?.data;
    const { activation } = problem;
    const geometry = conv2dProblemGeometry(problem);
    const { batch, inChannels, height, width, outChannels, outHeight, outWidth, groups } = geometry;
    const { kernelHeight, kernelWidth, stride, dilation, paddingTop, paddingLeft } = geometry;
    const channelsPerGroup = inChannels / groups;
    const shape = [batch, outChannels, outHeight, outWidth];
    return [
      {
        shape,
        at(index) {
          const [image, out, p, q] = unravel(index, shape) as [number, number, number, number];
          const group = Math.floor(out / (outChannels / groups));
          const sum = new Sum();
          for (let c = 0; c < channelsPerGroup; c++) {
            for (let i = 0; i < kernelHeight; i++) {
              for (let j = 0; j < kernelWidth; j++) {
                const row = p * stride + i * dilation - paddingTop;
                const column = q * stride + j * dilation - paddingLeft;
                if (row < 0 || row >= height || column < 0 || column >= width) continue;
                const channel = image * inChannels + group * channelsPerGroup + c;
                sum.add(
                  x[(channel * height + row) * width + column]! *
                    weight[((out * channelsPerGroup + c) * kernelHeight + i) * kernelWidth + j]!,
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
