// PyTorch's `interpolate(…, mode='bilinear', align_corners=False)` and `mode='nearest'`, in float32.
//
// N maps, H x W input, H' x W' output
import type { HostTensor } from '../../engine/host-tensor.ts';
import { checkMapCount } from './image-size.ts';

/** For every output position along one axis: the two inputs that it mixes and their weights. */
export interface LinearTaps {
  readonly low: Int32Array;
  readonly high: Int32Array;
  readonly lowWeight: Float32Array;
  readonly highWeight: Float32Array;
}

export function linearTaps(inputs: number, outputs: number): LinearTaps {
  const low = new Int32Array(outputs);
  const high = new Int32Array(outputs);
  const lowWeight = new Float32Array(outputs);
  const highWeight = new Float32Array(outputs);
  const round = Math.fround;
  const scale = round(inputs / outputs);
  for (let output = 0; output < outputs; output++) {
    // One rounding: PyTorch's binaries multiply and subtract in a fused operation.
    const source = inputs === outputs ? output : Math.max(0, round(scale * (output + 0.5) - 0.5));
    const index = Math.min(Math.trunc(source), inputs - 1);
    const weight = Math.min(Math.max(round(source - index), 0), 1);
    low[output] = index;
    high[output] = Math.min(index + 1, inputs - 1);
    lowWeight[output] = 1 - weight;
    highWeight[output] = weight;
  }
  return { low, high, lowWeight, highWeight };
}

/** [N, H, W] → [N, H', W'] */
export function interpolateBilinear(maps: HostTensor, height: number, width: number, where: string): HostTensor {
  const [count, inputHeight, inputWidth] = maps.shape as [number, number, number];
  checkMapCount(count, [height, width], where);
  if (inputHeight === height && inputWidth === width) return maps;
  const rows = linearTaps(inputHeight, height);
  const columns = linearTaps(inputWidth, width);
  const wide = new Float32Array(inputHeight * width);
  const data = new Float32Array(count * height * width);
  for (let map = 0; map < count; map++) {
    const source = maps.data.subarray(map * inputHeight * inputWidth, (map + 1) * inputHeight * inputWidth);
    for (let y = 0; y < inputHeight; y++) {
      mixColumns(source, y * inputWidth, columns, wide, y * width);
    }
    for (let y = 0; y < height; y++) {
      const top = rows.low[y]! * width;
      const bottom = rows.high[y]! * width;
      const topWeight = rows.lowWeight[y]!;
      const bottomWeight = rows.highWeight[y]!;
      const to = (map * height + y) * width;
      for (let x = 0; x < width; x++) data[to + x] = topWeight * wide[top + x]! + bottomWeight * wide[bottom + x]!;
    }
  }
  return { shape: [count, height, width], data };
}

/** Interpolates the row that begins at `row` of `source`. */
function mixColumns(
  source: Float32Array,
  row: number,
  { low, high, lowWeight, highWeight }: LinearTaps,
  out: Float32Array,
  at: number,
): void {
  for (let x = 0; x < low.length; x++) {
    out[at + x] = lowWeight[x]! * source[row + low[x]!]! + highWeight[x]! * source[row + high[x]!]!;
  }
}

/** The input position of every output position of PyTorch's `nearest`, whose scale is float32. */
export function nearestSources(inputs: number, outputs: number): Int32Array {
  const scale = Math.fround(inputs / outputs);
  return Int32Array.from({ length: outputs }, (_, output) =>
    Math.min(Math.floor(Math.fround(output * scale)), inputs - 1),
  );
}
