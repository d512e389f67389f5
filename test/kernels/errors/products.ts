import { elementCount, type HostTensor } from '../../../engine/index.ts';
import { type Activation, conv2d, linear, matmul, packConv2d, packLinear } from '../../../kernels/index.ts';
import type { ErrorCases } from './error-case.ts';

const zeros = (shape: readonly number[]): HostTensor => ({ shape, data: new Float32Array(elementCount(shape)) });

export const productErrors: ErrorCases = {
  packLinear: [
    {
      message: /^packLinear: expected a weight \[N, K\], got \[2, 3, 4\]$/,
      call: device => packLinear(device, zeros([2, 3, 4])),
    },
    {
      message: /^packLinear: expected a bias \[2\], got \[3\]$/,
      call: device => packLinear(device, zeros([2, 3]), zeros([3])),
    },
    {
      message: /^packLinear: weight: expected as many values as \[2, 3\] has, got 5$/,
      call: device => packLinear(device, { shape: [2, 3], data: new Float32Array(5) }),
    },
    {
      message: /^packLinear: weight: expected as many values as \[-2, -3\] has, got 6$/,
      call: device => packLinear(device, { shape: [-2, -3], data: new Float32Array(6) }),
    },
  ],
  linear: [
    {
      message: /^linear: expected x \[\.\.\., 3\], got \[5, 2\]$/,
      call: (device, tensor) => linear(tensor([5, 2]), packLinear(device, zeros([2, 3]))),
    },
    {
      message: /^linear: expected x \[\.\.\., 3\], got \[\]$/,
      call: (device, tensor) => linear(tensor([]), packLinear(device, zeros([2, 3]))),
    },
    {
      message: /^linear: expected residual \[5, 2\], got \[5, 3\]$/,
      call: (device, tensor) => linear(tensor([5, 3]), packLinear(device, zeros([2, 3])), { residual: tensor([5, 3]) }),
    },
    {
      message: /^linear: expected x in float32, got int32$/,
      call: (device, tensor) => linear(tensor([5, 3], 'int32'), packLinear(device, zeros([2, 3]))),
    },
    {
      message: /^linear: expected residual in float32, got int32$/,
      call: (device, tensor) =>
        linear(tensor([5, 3]), packLinear(device, zeros([2, 3])), { residual: tensor([5, 2], 'int32') }),
    },
    {
      message: /^linear: expected one of linear, relu, .*, got "rectify"$/,
      call: (device, tensor) =>
        linear(tensor([5, 3]), packLinear(device, zeros([2, 3])), { activation: 'rectify' as Activation }),
    },
  ],
  matmul: [
    {
      message: /^matmul: expected a \[\.\.\., M, K\] and b \[\.\.\., K, N\], got \[2, 3\] and \[2, 3\]$/,
      call: (_, tensor) => matmul(tensor([2, 3]), tensor([2, 3])),
    },
    {
      message: /^matmul: expected a \[\.\.\., M, K\] and b \[\.\.\., N, K\], got \[2, 3\] and \[3, 2\]$/,
      call: (_, tensor) => matmul(tensor([2, 3]), tensor([3, 2]), { transposeB: true }),
    },
    {
      message: /^matmul: expected a .* got \[4, 2, 3\] and \[5, 3, 2\]$/,
      call: (_, tensor) => matmul(tensor([4, 2, 3]), tensor([5, 3, 2])),
    },
    {
      message: /^matmul: expected a .* got \[3\] and \[3, 2\]$/,
      call: (_, tensor) => matmul(tensor([3]), tensor([3, 2])),
    },
    {
      message: /^matmul: expected a in float32, got int32$/,
      call: (_, tensor) => matmul(tensor([2, 3], 'int32'), tensor([3, 2])),
    },
    {
      message: /^matmul: expected b in float32, got int32$/,
      call: (_, tensor) => matmul(tensor([2, 3]), tensor([3, 2], 'int32')),
    },
  ],
  packConv2d: [
    {
      message: /^packConv2d: expected a weight \[O, C \/ groups, h, w\], got \[4, 3, 3\]$/,
      call: device => packConv2d(device, zeros([4, 3, 3])),
    },
    {
      message: /^packConv2d: expected a bias \[4\], got \[3\]$/,
      call: device => packConv2d(device, zeros([4, 3, 3, 3]), zeros([3])),
    },
    {
      message: /^packConv2d: expected stride to be a positive integer, got 0$/,
      call: device => packConv2d(device, zeros([4, 3, 3, 3]), undefined, { stride: 0 }),
    },
    {
      message: /^packConv2d: expected dilation to be a positive integer, got 1\.5$/,
      call: device => packConv2d(device, zeros([4, 3, 3, 3]), undefined, { dilation: 1.5 }),
    },
    {
      message: /^packConv2d: expected padding to be same or an integer from 0, got -1$/,
      call: device => packConv2d(device, zeros([4, 3, 3, 3]), undefined, { padding: -1 }),
    },
    {
      message: /^packConv2d: expected output channels in 3 equal groups, got 4$/,
      call: device => packConv2d(device, zeros([4, 3, 3, 3]), undefined, { groups: 3 }),
    },
  ],
  conv2d: [
    {
      message: /^conv2d: expected x \[B, 3, H, W\], got \[1, 4, 8, 8\]$/,
      call: (device, tensor) => conv2d(tensor([1, 4, 8, 8]), packConv2d(device, zeros([4, 3, 3, 3]))),
    },
    {
      message: /^conv2d: expected x \[B, 3, H, W\], got \[3, 8, 8\]$/,
      call: (device, tensor) => conv2d(tensor([3, 8, 8]), packConv2d(device, zeros([4, 3, 3, 3]))),
    },
    {
      message: /^conv2d: expected an input that the 3x3 kernel fits into, got \[1, 3, 2, 8\]$/,
      call: (device, tensor) => conv2d(tensor([1, 3, 2, 8]), packConv2d(device, zeros([4, 3, 3, 3]))),
    },
    {
      message: /^conv2d: expected residual \[1, 4, 6, 6\], got \[1, 4, 8, 8\]$/,
      call: (device, tensor) =>
        conv2d(tensor([1, 3, 8, 8]), packConv2d(device, zeros([4, 3, 3, 3])), { residual: tensor([1, 4, 8, 8]) }),
    },
    {
      message: /^conv2d: expected x in float32, got int32$/,
      call: (device, tensor) => conv2d(tensor([1, 3, 8, 8], 'int32'), packConv2d(device, zeros([4, 3, 3, 3]))),
    },
    {
      message: /^conv2d: expected residual in float32, got int32$/,
      call: (device, tensor) =>
        conv2d(tensor([1, 3, 8, 8]), packConv2d(device, zeros([4, 3, 3, 3])), {
          residual: tensor([1, 4, 6, 6], 'int32'),
        }),
    },
    {
      message: /^conv2d: expected one of linear, relu, .*, got "rectify"$/,
      call: (device, tensor) =>
        conv2d(tensor([1, 3, 8, 8]), packConv2d(device, zeros([4, 3, 3, 3])), { activation: 'rectify' as Activation }),
    },
  ],
};
