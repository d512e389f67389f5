import { elementCount } from '../../../engine/index.ts';
import { floats, integers } from '../../../kernels/kernel.ts';
import type {
  BroadcastToProblem,
  ConcatenateProblem,
  GatherRowsProblem,
  PermuteProblem,
  SliceProblem,
  SpaceProblem,
} from '../../../kernels/shape/shape.ts';
import { type Reference, ravel, unravel } from '../reference.ts';

export const permuteReference: Reference<PermuteProblem> = {
  outputs({ shape, order }, inputs) {
    const { data } = floats(inputs, 'x');
    const permuted = order.map(axis => shape[axis]!);
    return [
      {
        shape: permuted,
        at(index) {
          const position = unravel(index, permuted);
          const source = new Array<number>(shape.length);
          order.forEach((axis, place) => {
            source[axis] = position[place]!;
          });
          return data[ravel(source, shape)]!;
        },
      },
    ];
  },
};

export const flattenSpaceReference: Reference<SpaceProblem> = {
  outputs({ shape }, inputs) {
    const { data } = floats(inputs, 'x');
    const [batch, channels, height, width] = shape;
    const flat = [batch, height * width, channels];
    return [
      {
        shape: flat,
        at(index) {
          const [image, cell, channel] = unravel(index, flat) as [number, number, number];
          return data[(image * channels + channel) * height * width + cell]!;
        },
      },
    ];
  },
};

export const unflattenSpaceReference: Reference<SpaceProblem> = {
  outputs({ shape }, inputs) {
    const { data } = floats(inputs, 'x');
    const [, channels, height, width] = shape;
    return [
      {
        shape,
        at(index) {
          const [image, channel, row, column] = unravel(index, shape) as [number, number, number, number];
          return data[(image * height * width + row * width + column) * channels + channel]!;
        },
      },
    ];
  },
};

export const sliceReference: Reference<SliceProblem> = {
  outputs({ shape, axis, start, end }, inputs) {
    const { data } = floats(inputs, 'x');
    const place = axis < 0 ? axis + shape.length : axis;
    const part = shape.map((size, index) => (index === place ? end - start : size));
    return [
      {
        shape: part,
        at(index) {
          const position = unravel(index, part);
          position[place]! += start;
          return data[ravel(position, shape)]!;
        },
      },
    ];
  },
};

export const concatenateReference: Reference<ConcatenateProblem> = {
  outputs({ shapes, axis }, inputs) {
    const place = axis < 0 ? axis + shapes[0]!.length : axis;
    const total = shapes.reduce((sum, shape) => sum + shape[place]!, 0);
    const joined = shapes[0]!.map((size, index) => (index === place ? total : size));
    return [
      {
        shape: joined,
        at(index) {
          const position = unravel(index, joined);
          for (const [part, shape] of shapes.entries()) {
            if (position[place]! < shape[place]!) return floats(inputs, `part${part}`).data[ravel(position, shape)]!;
            position[place]! -= shape[place]!;
          }
          throw new Error('beyond the last part');
        },
      },
    ];
  },
};

export const broadcastToReference: Reference<BroadcastToProblem> = {
  outputs({ from, shape }, inputs) {
    const { data } = floats(inputs, 'x');
    return [
      {
        shape,
        at(index) {
          const position = unravel(index, shape).slice(shape.length - from.length);
          return data[
            ravel(
              position.map((at, axis) => (from[axis] === 1 ? 0 : at)),
              from,
            )
          ]!;
        },
      },
    ];
  },
};

export const gatherRowsReference: Reference<GatherRowsProblem> = {
  outputs({ shape, picked }, inputs) {
    const { data } = floats(inputs, 'x');
    const index = integers(inputs, 'index').data;
    const [batch, rows, width] = shape;
    const gathered = [batch, picked, width];
    return [
      {
        shape: gathered,
        at(at) {
          if (elementCount(gathered) === 0) return 0;
          const [image, row, column] = unravel(at, gathered) as [number, number, number];
          return data[(image * rows + index[image * picked + row]!) * width + column]!;
        },
      },
    ];
  },
};
