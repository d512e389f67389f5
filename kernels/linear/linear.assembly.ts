import { activateVector } from '../activation.assembly';
import { addressAt, integerAt, multiplyAdd } from '../simd.assembly';

const ROWS_PER_TASK: i32 = 16;

// args: x, weight, bias or 0, residual or 0, out, rows, inFeatures, outFeatures, activation
export function linear(args: usize, task: i32, _scratch: usize): void {
  const x = addressAt(args, 0);
  const weight = addressAt(args, 1);
  const bias = addressAt(args, 2);
  const residual = addressAt(args, 3);
  const out = addressAt(args, 4);
  const rows = integerAt(args, 5);
  const inFeatures = integerAt(args, 6);
  const outFeatures = integerAt(args, 7);
  const activation = integerAt(args, 8);
  const last = min((task + 1) * ROWS_PER_TASK, rows);
  for (let n = 0; n < outFeatures; n += 8) {
    const panel = weight + ((<usize>(n * inFeatures)) << 2);
    for (let row = task * ROWS_PER_TASK; row < last; row++) {
      const xRow = x + ((<usize>(row * inFeatures)) << 2);
      let low = f32x4.splat(0);
      let high = f32x4.splat(0);
      for (let k = 0; k < inFeatures; k++) {
        const value = v128.load32_splat(xRow + ((<usize>k) << 2));
        const w = panel + ((<usize>k) << 5);
        low = multiplyAdd(value, v128.load(w), low);
        high = multiplyAdd(value, v128.load(w, 16), high);
      }
      for (let lane = 0; lane < min(8, outFeatures - n); lane++) {
        const index = (<usize>(row * outFeatures + n + lane)) << 2;
        let value = f32x4.extract_lane(low, 0);
        if (bias != 0) value += load<f32>(bias + ((<usize>(n + lane)) << 2));
        if (residual != 0) value += load<f32>(residual + index);
        store<f32>(out + index, f32x4.extract_lane(activateVector(activation, f32x4.splat(value)), 0));
        low = i32x4.shuffle(low, high, 1, 2, 3, 4);
        high = i32x4.shuffle(high, high, 1, 2, 3, 3);
      }
    }
  }
}
