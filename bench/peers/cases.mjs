// What is timed: three operators at the sizes that DETR-R50 has at 800x1066, and the whole model.

import { detrGraph } from './detr-graph.mjs';
import * as onnx from './onnx.mjs';

/** Deterministic values in -0.5 … 0.5. */
export function noise(length, seed) {
  let state = seed >>> 0;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  });
}

const product = values => values.reduce((total, value) => total * value, 1);

function matmul(name, rows, inner, columns) {
  const x = noise(rows * inner, 1);
  const w = noise(inner * columns, 2);
  return {
    name,
    kind: 'matmul',
    input: { shape: [rows, inner], data: x },
    weight: { shape: [inner, columns], data: w },
    outputShape: [rows, columns],
    flops: 2 * rows * inner * columns,
    onnx: () =>
      onnx.model({
        nodes: [onnx.node('MatMul', ['x', 'w'], ['y'])],
        constants: [onnx.constant('w', [inner, columns], w)],
        inputs: [onnx.valueInfo('x', [rows, inner])],
        outputs: [onnx.valueInfo('y', [rows, columns])],
      }),
    expectedAt(index) {
      const [row, column] = [Math.floor(index / columns), index % columns];
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += x[row * inner + k] * w[k * columns + column];
      return sum;
    },
  };
}

function convolution(name, inChannels, outChannels, height, width, kernel) {
  const x = noise(inChannels * height * width, 1);
  const w = noise(outChannels * inChannels * kernel * kernel, 2);
  const padding = (kernel - 1) / 2;
  const weightShape = [outChannels, inChannels, kernel, kernel];
  return {
    name,
    kind: 'conv2d',
    input: { shape: [1, inChannels, height, width], data: x },
    weight: { shape: weightShape, data: w },
    padding,
    outputShape: [1, outChannels, height, width],
    flops: 2 * product(weightShape) * height * width,
    onnx: () =>
      onnx.model({
        nodes: [
          onnx.node(
            'Conv',
            ['x', 'w'],
            ['y'],
            [
              onnx.integersAttribute('kernel_shape', [kernel, kernel]),
              onnx.integersAttribute('pads', [padding, padding, padding, padding]),
              onnx.integersAttribute('strides', [1, 1]),
            ],
          ),
        ],
        constants: [onnx.constant('w', weightShape, w)],
        inputs: [onnx.valueInfo('x', [1, inChannels, height, width])],
        outputs: [onnx.valueInfo('y', [1, outChannels, height, width])],
      }),
    expectedAt(index) {
      const channel = Math.floor(index / (height * width));
      const [row, column] = [Math.floor((index % (height * width)) / width), index % width];
      let sum = 0;
      for (let from = 0; from < inChannels; from++) {
        for (let i = 0; i < kernel; i++) {
          for (let j = 0; j < kernel; j++) {
            const [y, q] = [row + i - padding, column + j - padding];
            if (y < 0 || y >= height || q < 0 || q >= width) continue;
            sum += x[(from * height + y) * width + q] * w[((channel * inChannels + from) * kernel + i) * kernel + j];
          }
        }
      }
      return sum;
    },
  };
}

function detr(height, width) {
  let graph;
  return {
    name: `DETR-R50 ${height}x${width}`,
    kind: 'detr',
    input: { shape: [1, 3, height, width], data: noise(3 * height * width, 3).map(value => 3 * value) },
    get flops() {
      graph ??= detrGraph(height, width);
      return graph.flops;
    },
    onnx() {
      graph ??= detrGraph(height, width);
      return graph.bytes;
    },
  };
}

const operators = {
  matmul: () => matmul('matmul 850x256 · 256x2048', 850, 256, 2048),
  conv3x3: () => convolution('conv 3x3 64 to 64 at 200x267', 64, 64, 200, 267, 3),
  conv1x1: () => convolution('conv 1x1 256 to 64 at 200x267', 256, 64, 200, 267, 1),
};

export const caseNames = [...Object.keys(operators), 'detr'];

export function makeCase(name, [height, width]) {
  return name === 'detr' ? detr(height, width) : operators[name]();
}
