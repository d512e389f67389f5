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
    const x = floats(inputs, 'x').data;
    const permuted = order.map(axis => shape[axis]!);
    return [
      {
        shape: permuted,
        at(index) {
          const source = new Array<number>(shape.length);
          unravel(index, permuted).forEach((place, axis) => {
            source[order[axis]!] = place;
          });
          return x[ravel(source, shape)]!;
        },
      },
    ];
  },
};

export const flattenSpaceReference: Reference<SpaceProblem> = {
  outputs({ batch, channels, height, width }, inputs) {
    const x = floats(inputs, 'x').data;
    const shape = [batch, height * width, channels];
    return [
      {
        shape,
        at(index) {
          const [b, pixel, channel] = unravel(index, shape) as [number, number, number];
          return x[ravel([b, channel, pixel], [batch, channels, height * width])]!;
        },
      },
    ];
  },
};

export const concatenateReference: Reference<ConcatenateProblem> = {
  outputs({ shapes, axis }, inputs) {
    const along = axis < 0 ? axis + shapes[0]!.length : axis;
    const shape = [...shapes[0]!];
    shape[along] = shapes.reduce((sum, part) => sum + part[along]!, 0);
    return [
      {
        shape,
        at(index) {
          const position = unravel(index, shape);
          let part = 0;
          while (position[along]! >= shapes[part]![along]!) {
            position[along]! -= shapes[part]![along]!;
            part += 1;
          }
          return floats(inputs, `part${part}`).data[ravel(position, shapes[part]!)]!;
        },
      },
    ];
  },
};

export const sliceReference: Reference<SliceProblem> = {
  outputs({ shape, axis, start, end }, inputs) {
    const x = floats(inputs, 'x').data;
    const along = axis < 0 ? axis + shape.length : axis;
    const sliced = shape.map((size, place) => (place === along ? end - start : size));
    return [
      {
        shape: sliced,
        at(index) {
          const position = unravel(index, sliced);
          position[along]! += start;
          return x[ravel(position, shape)]!;
        },
      },
    ];
  },
};

export const broadcastToReference: Reference<BroadcastToProblem> = {
  outputs({ from, to }, inputs) {
    const x = floats(inputs, 'x').data;
    return [
      {
        shape: to,
        at(index) {
          const position = unravel(index, to).slice(to.length - from.length);
          return x[
            ravel(
              position.map((place, axis) => (from[axis] === 1 ? 0 : place)),
              from,
            )
          ]!;
        },
      },
    ];
  },
};

export const gatherRowsReference: Reference<GatherRowsProblem> = {
  outputs({ batch, available, chosen, width }, inputs) {
    const x = floats(inputs, 'x').data;
    const indices = integers(inputs, 'index').data;
    const shape = [batch, chosen, width];
    return [
      {
        shape,
        at(index) {
          const [b, row, column] = unravel(index, shape) as [number, number, number];
          const source = Math.min(Math.max(indices[b * chosen + row]!, 0), available - 1);
          return x[ravel([b, source, column], [batch, available, width])]!;
        },
      },
    ];
  },
};
