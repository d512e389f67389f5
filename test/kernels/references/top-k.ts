import { floats } from '../../../kernels/kernel.ts';
import type { TopKProblem } from '../../../kernels/top-k/top-k.ts';
import { type Reference, whole } from '../reference.ts';

export const topKReference: Reference<TopKProblem> = {
  outputs({ batch, size, k }, inputs) {
    const x = floats(inputs, 'x').data;
    const indices: number[] = [];
    for (let item = 0; item < batch; item++) {
      const value = (index: number) => x[item * size + index]!;
      const order = (index: number) => (Number.isNaN(value(index)) ? 1 : 0);
      const sorted = Array.from({ length: size }, (_, index) => index).sort(
        (a, b) => order(b) - order(a) || (order(a) === 1 ? 0 : Math.sign(value(b) - value(a)) || 0) || a - b,
      );
      indices.push(...sorted.slice(0, k));
    }
    const values = indices.map((index, place) => x[Math.floor(place / k) * size + index]!);
    return [whole([batch, k], values), whole([batch, k], indices)];
  },
};
