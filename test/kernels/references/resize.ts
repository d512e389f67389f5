import { floats } from '../../../kernels/kernel.ts';
import type {
  DownsampleMaskProblem,
  ResizeBilinearProblem,
  ResizeNearestProblem,
} from '../../../kernels/resize/resize.ts';
import { type Reference, unravel } from '../reference.ts';

/** PyTorch's "nearest": the ratio and the product are float32. */
function nearest(place: number, size: number, outSize: number): number {
  return Math.min(Math.floor(Math.fround(place * Math.fround(size / outSize))), size - 1);
}

export const resizeNearestReference: Reference<ResizeNearestProblem> = {
  outputs({ shape: [batch, channels, height, width], size, repeats }, inputs) {
    const x = floats(inputs, 'x').data;
    const residual = repeats === undefined ? undefined : floats(inputs, 'residual').data;
    const shape = [batch, channels, ...size];
    return [
      {
        shape,
        at(index) {
          const [b, c, row, column] = unravel(index, shape) as [number, number, number, number];
          const sourceRow = (b * channels + c) * height + nearest(row, height, size[0]);
          const value = x[sourceRow * width + nearest(column, width, size[1])]!;
          if (residual === undefined) return value;
          const image = Math.floor(b / repeats!);
          return value + residual[((image * channels + c) * size[0] + row) * size[1] + column]!;
        },
      },
    ];
  },
};

export const downsampleMaskReference: Reference<DownsampleMaskProblem> = {
  outputs({ shape: [batch, height, width], size }, inputs) {
    const mask = floats(inputs, 'mask').data;
    const shape = [batch, ...size];
    return [
      {
        shape,
        at(index) {
          const [b, row, column] = unravel(index, shape) as [number, number, number];
          const sourceRow = b * height + nearest(row, height, size[0]);
          return mask[sourceRow * width + nearest(column, width, size[1])] !== 0 ? 1 : 0;
        },
      },
    ];
  },
};

/** The two source places around an output place's centre, and the share of the second. */
function around(place: number, size: number, outSize: number) {
  const position = Math.max(((place + 0.5) * size) / outSize - 0.5, 0);
  const lower = Math.floor(position);
  return { lower, upper: Math.min(lower + 1, size - 1), share: position - lower };
}

export const resizeBilinearReference: Reference<ResizeBilinearProblem> = {
  outputs({ shape: [batch, channels, height, width], size }, inputs) {
    const x = floats(inputs, 'x').data;
    const shape = [batch, channels, ...size];
    return [
      {
        shape,
        at(index) {
          const [b, c, row, column] = unravel(index, shape) as [number, number, number, number];
          const vertical = around(row, height, size[0]);
          const horizontal = around(column, width, size[1]);
          let value = 0;
          let magnitude = 0;
          for (const [y, rowShare] of [
            [vertical.lower, 1 - vertical.share],
            [vertical.upper, vertical.share],
          ] as const) {
            for (const [place, columnShare] of [
              [horizontal.lower, 1 - horizontal.share],
              [horizontal.upper, horizontal.share],
            ] as const) {
              const source = x[((b * channels + c) * height + y) * width + place]!;
              value += source * rowShare * columnShare;
              // A share's own rounding counts with the whole value.
              magnitude += Math.abs(source);
            }
          }
          return { value, magnitude };
        },
      },
    ];
  },
};
