import { floats } from '../../../kernels/kernel.ts';
import type { MaxPool2dProblem, MeanOverSpaceProblem } from '../../../kernels/pooling/pooling.ts';
import { type Reference, unravel } from '../reference.ts';

export const maxPool2dReference: Reference<MaxPool2dProblem> = {
  outputs({ shape: [batch, channels, height, width], kernel, stride, padding }, inputs) {
    const x = floats(inputs, 'x').data;
    const outSize = (size: number) => Math.floor((size + 2 * padding - kernel) / stride) + 1;
    const shape = [batch, channels, outSize(height), outSize(width)];
    return [
      {
        shape,
        at(index) {
          const [b, c, row, column] = unravel(index, shape) as [number, number, number, number];
          let largest = Number.NEGATIVE_INFINITY;
          for (let y = row * stride - padding; y < row * stride - padding + kernel; y++) {
            for (let place = column * stride - padding; place < column * stride - padding + kernel; place++) {
              if (y < 0 || y >= height || place < 0 || place >= width) continue;
              largest = Math.max(largest, x[((b * channels + c) * height + y) * width + place]!);
            }
          }
          return largest;
        },
      },
    ];
  },
};

export const meanOverSpaceReference: Reference<MeanOverSpaceProblem> = {
  outputs({ shape: [batch, channels, height, width] }, inputs) {
    const x = floats(inputs, 'x').data;
    const space = height * width;
    return [
      {
        shape: [batch, channels, 1, 1],
        at(plane) {
          let sum = 0;
          let magnitude = 0;
          for (let index = plane * space; index < (plane + 1) * space; index++) {
            sum += x[index]!;
            magnitude += Math.abs(x[index]!);
          }
          return { value: sum / space, magnitude: magnitude / space };
        },
      },
    ];
  },
};
