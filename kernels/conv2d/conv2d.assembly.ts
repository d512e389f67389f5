import { activateVector } from '../activation.assembly';
import { addressAt, integerAt } from '../simd.assembly';

// args: x, weight, bias or 0, residual or 0, out, channels, height, width, outChannels, outHeight, outWidth, kernelHeight,
// kernelWidth, stride, dilation, paddingTop, paddingLeft, groups, activation. A task is one output plane.
export function conv2dDirect(args: usize, task: i32, _scratch: usize): void {
  const bias = addressAt(args, 2);
  const residual = addressAt(args, 3);
  const channels = integerAt(args, 5);
  const height = integerAt(args, 6);
  const width = integerAt(args, 7);
  const outChannels = integerAt(args, 8);
  const outHeight = integerAt(args, 9);
  const outWidth = integerAt(args, 10);
  const kernelHeight = integerAt(args, 11);
  const kernelWidth = integerAt(args, 12);
  const stride = integerAt(args, 13);
  const dilation = integerAt(args, 14);
  const paddingTop = integerAt(args, 15);
  const paddingLeft = integerAt(args, 16);
  const groups = integerAt(args, 17);
  const activation = integerAt(args, 18);
  const channel = task % outChannels;
  const groupSize = channels / groups;
  const firstInput = (task / outChannels) * channels + (channel / (outChannels / groups)) * groupSize;
  const x = addressAt(args, 0) + ((<usize>(firstInput * height * width)) << 2);
  const weight = addressAt(args, 1) + ((<usize>(channel * groupSize * kernelHeight * kernelWidth)) << 2);
  const plane = (<usize>(task * outHeight * outWidth)) << 2;
  const out = addressAt(args, 4) + plane;
  const start = bias == 0 ? <f32>0 : load<f32>(bias + ((<usize>channel) << 2));
  for (let p = 0; p < outHeight; p++) {
    for (let q = 0; q < outWidth; q++) {
      let sum = start;
      for (let c = 0; c < groupSize; c++) {
        for (let i = 0; i < kernelHeight; i++) {
          const row = p * stride + i * dilation - paddingTop;
          if (row < 0 || row >= height) continue;
          for (let j = 0; j < kernelWidth; j++) {
            const column = q * stride + j * dilation - paddingLeft;
            if (column < 0 || column >= width) continue;
            const value = load<f32>(x + ((<usize>((c * height + row) * width + column)) << 2));
            sum += value * load<f32>(weight + ((<usize>((c * kernelHeight + i) * kernelWidth + j)) << 2));
          }
        }
      }
      const index = (<usize>(p * outWidth + q)) << 2;
      if (residual != 0) sum += load<f32>(residual + plane + index);
      store<f32>(out + index, f32x4.extract_lane(activateVector(activation, f32x4.splat(sum)), 0));
    }
  }
}
