import { floats } from '../../../kernels/kernel.ts';
import type {
  LearnedPositionsProblem,
  SinePositionsProblem,
  SineQueriesProblem,
} from '../../../kernels/positions/positions.ts';
import { type Reference, type ReferenceValue, ravel, unravel } from '../reference.ts';

/** Feature k of the embedding of a coordinate. The angle's rounding errors are those of the value. */
function sineFeature(coordinate: number, k: number, features: number): ReferenceValue {
  const angle = (coordinate * 2 * Math.PI) / 10_000 ** ((2 * Math.floor(k / 2)) / features);
  return { value: k % 2 === 0 ? Math.sin(angle) : Math.cos(angle), magnitude: 1 + Math.abs(angle) };
}

function sinePositions(offset: number): Reference<SinePositionsProblem> {
  return {
    outputs({ height, width, features, real }, inputs) {
      const mask = floats(inputs, 'mask').data;
      const shape = [real.length, height * width, 2 * features];
      const countInColumn = (batch: number, rows: number, column: number) => {
        let sum = 0;
        for (let row = 0; row < rows; row++) sum += mask[ravel([batch, row, column], [real.length, height, width])]!;
        return sum;
      };
      const countInRow = (batch: number, row: number, columns: number) => {
        let sum = 0;
        for (let column = 0; column < columns; column++)
          sum += mask[ravel([batch, row, column], [real.length, height, width])]!;
        return sum;
      };
      return [
        {
          shape,
          at(index) {
            const [batch, cell, feature] = unravel(index, shape) as [number, number, number];
            const [row, column] = unravel(cell, [height, width]) as [number, number];
            const y = (countInColumn(batch, row + 1, column) + offset) / (countInColumn(batch, height, column) + 1e-6);
            const x = (countInRow(batch, row, column + 1) + offset) / (countInRow(batch, row, width) + 1e-6);
            return feature < features
              ? sineFeature(y, feature, features)
              : sineFeature(x, feature - features, features);
          },
        },
      ];
    },
  };
}

export const sinePositionsReference = sinePositions(0);
export const sinePositionsHalfPixelReference = sinePositions(-0.5);

export const sineQueriesReference: Reference<SineQueriesProblem> = {
  outputs({ shape: [batch, tokens, count], features, order }, inputs) {
    const coordinates = floats(inputs, 'coordinates').data;
    const shape = [batch, tokens, order.length * features];
    return [
      {
        shape,
        at(index) {
          const [item, token, feature] = unravel(index, shape) as [number, number, number];
          const axis = order[Math.floor(feature / features)]!;
          return sineFeature(
            coordinates[ravel([item, token, axis], [batch, tokens, count])]!,
            feature % features,
            features,
          );
        },
      },
    ];
  },
};

export const learnedPositionsReference: Reference<LearnedPositionsProblem> = {
  outputs({ shape: [batch, height, width], features }, inputs) {
    const rows = floats(inputs, 'rows').data;
    const columns = floats(inputs, 'columns').data;
    return [
      {
        shape: [batch, height * width, 2 * features],
        at(index) {
          const [, row, column, k] = unravel(index, [batch, height, width, 2 * features]) as [
            number,
            number,
            number,
            number,
          ];
          return k < features ? columns[column * features + k]! : rows[row * features + k - features]!;
        },
      },
    ];
  },
};
