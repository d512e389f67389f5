// B batch, C channels in, O channels out, H and W rows and columns of the input, P and Q of the output, G groups.
import {
  checkHostTensor,
  type Device,
  elementCount,
  formatShape,
  type HostTensor,
  OptionError,
  ShapeError,
  sameShape,
  type Tensor,
} from '../../engine/index.ts';
import { type Activation, activations, expectActivation } from '../activation.ts';
import { expectShape, expectType } from '../expect.ts';
import { defineKernel, floats } from '../kernel.ts';
import { conv2dOnCpu, packConv2dForCpu } from './conv2d.cpu.ts';
import { packConv2dForWebGpu, planConv2d } from './conv2d.wgsl.ts';

export interface Conv2dGeometryOptions {
  /** Default 1. */
  readonly stride?: number;
  /** Zeros on every side (default 0), or `same`: TensorFlow's rule, output ⌈H / stride⌉, the odd zero right and below. */
  readonly padding?: number | 'same';
  /** Default 1. */
  readonly dilation?: number;
  /** Default 1; as many as channels is a depthwise convolution. */
  readonly groups?: number;
}

/** A convolution's parameters, packed for one device. Who packs them disposes of their tensors. */
export interface Conv2dWeights {
  readonly inChannels: number;
  readonly outChannels: number;
  /** Rows and columns of the kernel. */
  readonly kernel: readonly [number, number];
  readonly stride: number;
  readonly padding: number | 'same';
  readonly dilation: number;
  readonly groups: number;
  /** In the device's own layout. */
  readonly packed: Tensor;
  readonly bias: Tensor | undefined;
}

export interface Conv2dOptions {
  readonly activation?: Activation | undefined;
  /** [B, O, P, Q], added before the activation. */
  readonly residual?: Tensor | undefined;
}

/** Everything that a convolution kernel needs to know of one launch. */
export interface Conv2dGeometry {
  readonly batch: number;
  readonly inChannels: number;
  readonly height: number;
  readonly width: number;
  readonly outChannels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly stride: number;
  readonly dilation: number;
  /** Rows of zeros above and columns of zeros left of the input; what lies right and below follows from the sizes. */
  readonly paddingTop: number;
  readonly paddingLeft: number;
  readonly groups: number;
}

/**
 * Packs the weight [O, C / G, kernel rows, kernel columns] and bias [O] of a convolution for `device`.
 * @throws ShapeError, OptionError
 */
export function packConv2d(
  device: Device,
  weight: HostTensor,
  bias?: HostTensor,
  options: Conv2dGeometryOptions = {},
): Conv2dWeights {
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options;
  checkHostTensor(weight, 'packConv2d: weight', Float32Array);
  if (bias !== undefined) checkHostTensor(bias, 'packConv2d: bias', Float32Array);
  const [outChannels, channelsPerGroup, kernelHeight, kernelWidth] = weight.shape as [number, number, number, number];
  if (weight.shape.length !== 4 || elementCount(weight.shape) === 0) {
    throw new ShapeError(`packConv2d: expected a weight [O, C / groups, h, w], got ${formatShape(weight.shape)}`);
  }
  if (bias !== undefined && !sameShape(bias.shape, [outChannels])) {
    throw new ShapeError(`packConv2d: expected a bias [${outChannels}], got ${formatShape(bias.shape)}`);
  }
  for (const [name, value] of Object.entries({ stride, dilation, groups })) {
    if (!Number.isInteger(value) || value < 1)
      throw new OptionError(`packConv2d: expected ${name} to be a positive integer, got ${value}`);
  }
  if (padding !== 'same' && !(Number.isInteger(padding) && padding >= 0)) {
    throw new OptionError(`packConv2d: expected padding to be same or an integer from 0, got ${padding}`);
  }
  if (outChannels % groups !== 0) {
    throw new ShapeError(`packConv2d: expected output channels in ${groups} equal groups, got ${outChannels}`);
  }
  const packed =
    device.kind === 'cpu' ? packConv2dForCpu(weight, stride, groups) : packConv2dForWebGpu(weight, { groups });
  // Where the second finds no memory, the first is freed.
  return device.scope(() => ({
    inChannels: channelsPerGroup * groups,
    outChannels,
    kernel: [kernelHeight, kernelWidth],
    stride,
    padding,
    dilation,
    groups,
    packed: device.tensor(packed),
    bias: bias && device.tensor(bias),
  }));
}

/**
 * activation(conv(x, W) + b + residual): x [B, C, H, W] to [B, O, P, Q].
 * @throws ShapeError; OptionError for an unknown activation
 */
export function conv2d(x: Tensor, weights: Conv2dWeights, options: Conv2dOptions = {}): Tensor {
  const { packed, bias } = weights;
  const { activation = 'linear', residual } = options;
  const geometry = conv2dGeometry(x.shape, weights);
  const { batch, outChannels, outHeight, outWidth } = geometry;
  const shape = [batch, outChannels, outHeight, outWidth];
  expectType('conv2d', 'x', x);
  if (residual !== undefined) expectShape('conv2d', 'residual', residual, shape);
  expectActivation('conv2d', activation);
  const output = x.device.empty(shape);
  x.device.launch({
    kernel: 'conv2d',
    inputs: [x, packed, bias, residual],
    outputs: [output],
    cost: conv2dCost(geometry, residual !== undefined),
    wgsl: traits => {
      const ending = { bias: bias !== undefined, residual: residual !== undefined, activation };
      return planConv2d(traits, geometry, ending);
    },
    wasm: ({ threads }) => conv2dOnCpu(geometry, activation, threads),
  });
  return output;
}

/** Sizes of a convolution of x [B, C, H, W]. @throws ShapeError */
function conv2dGeometry(
  shape: readonly number[],
  weights: Pick<Conv2dWeights, 'inChannels' | 'outChannels' | 'kernel' | 'stride' | 'padding' | 'dilation' | 'groups'>,
): Conv2dGeometry {
  const { inChannels, outChannels, kernel, stride, padding, dilation, groups } = weights;
  const [batch, channels, height, width] = shape as [number, number, number, number];
  if (shape.length !== 4 || channels !== inChannels) {
    throw new ShapeError(`conv2d: expected x [B, ${inChannels}, H, W], got ${formatShape(shape)}`);
  }
  const [kernelHeight, kernelWidth] = kernel;
  const rows = alongAxis(height, kernelHeight, stride, padding, dilation);
  const columns = alongAxis(width, kernelWidth, stride, padding, dilation);
  if (rows.size < 1 || columns.size < 1) {
    throw new ShapeError(
      `conv2d: expected an input that the ${kernelHeight}x${kernelWidth} kernel fits into, got ${formatShape(shape)}`,
    );
  }
  return {
    batch,
    inChannels,
    height,
    width,
    outChannels,
    outHeight: rows.size,
    outWidth: columns.size,
    kernelHeight,
    kernelWidth,
    stride,
    dilation,
    paddingTop: rows.before,
    paddingLeft: columns.before,
    groups,
  };
}

/** Output size along one axis, and the zeros before the input. */
function alongAxis(size: number, kernel: number, stride: number, padding: number | 'same', dilation: number) {
  const extent = dilation * (kernel - 1) + 1;
  if (padding === 'same') {
    const output = Math.ceil(size / stride);
    return { size: output, before: Math.floor(Math.max((output - 1) * stride + extent - size, 0) / 2) };
  }
  return { size: Math.floor((size + 2 * padding - extent) / stride) + 1, before: padding };
}

function conv2dCost(geometry: Conv2dGeometry, residual: boolean) {
  const { batch, inChannels, height, width, outChannels, outHeight, outWidth, kernelHeight, kernelWidth } = geometry;
  const outputs = batch * outChannels * outHeight * outWidth;
  const weightsPerOutput = (inChannels / geometry.groups) * kernelHeight * kernelWidth;
  const values = batch * inChannels * height * width + outChannels * weightsPerOutput + outputs * (residual ? 2 : 1);
  return { flops: 2 * outputs * weightsPerOutput, bytes: 4 * values };
}

export interface Conv2dProblem extends Conv2dGeometryOptions {
  /** [B, C, H, W] */
  readonly x: readonly [number, number, number, number];
  readonly outChannels: number;
  readonly kernel: number;
  readonly bias?: boolean;
  readonly residual?: boolean;
  readonly activation?: Activation;
}

const weightShape = ({ x, outChannels, kernel, groups = 1 }: Conv2dProblem) => [
  outChannels,
  x[1] / groups,
  kernel,
  kernel,
];

/** Sizes of a problem's convolution. */
export const conv2dProblemGeometry = (problem: Conv2dProblem) =>
  conv2dGeometry(problem.x, {
    inChannels: problem.x[1],
    outChannels: problem.outChannels,
    kernel: [problem.kernel, problem.kernel],
    stride: problem.stride ?? 1,
    padding: problem.padding ?? 0,
    dilation: problem.dilation ?? 1,
    groups: problem.groups ?? 1,
  });

/** A convolution of ResNet with its folded batch norm. */
const resnet = (
  [channels, height, width]: readonly [number, number, number],
  outChannels: number,
  kernel: number,
  stride = 1,
  residual = false,
): Conv2dProblem => ({
  x: [1, channels, height, width],
  outChannels,
  kernel,
  stride,
  padding: (kernel - 1) / 2,
  bias: true,
  residual,
  activation: 'relu',
});

/** Two rows of zeros above an image of 9 x 10, one column left of it. */
const UNEQUAL = {
  outChannels: 6,
  kernel: 3,
  stride: 2,
  padding: 'same',
  dilation: 2,
  bias: true,
  residual: true,
  activation: 'relu',
} as const;

export const conv2dKernel = defineKernel<Conv2dProblem>({
  name: 'conv2d',
  hasForms: true,
  cases: {
    'ResNet-50 stem 7x7/2, 800x1066': resnet([3, 800, 1066], 64, 7, 2),
    'ResNet-50 layer1 1x1 64-64': resnet([64, 200, 267], 64, 1),
    'ResNet-50 layer1 3x3 64-64': resnet([64, 200, 267], 64, 3),
    'ResNet-50 layer1 1x1 64-256': resnet([64, 200, 267], 256, 1, 1, true),
    'ResNet-50 layer1 1x1 256-64': resnet([256, 200, 267], 64, 1),
    'ResNet-50 layer2 1x1 256-128': resnet([256, 200, 267], 128, 1),
    'ResNet-50 layer2 3x3/2 128-128': resnet([128, 200, 267], 128, 3, 2),
    'ResNet-50 layer2 1x1/2 256-512': resnet([256, 200, 267], 512, 1, 2),
    'ResNet-50 layer2 1x1 128-512': resnet([128, 100, 134], 512, 1, 1, true),
    'ResNet-50 layer2 1x1 512-128': resnet([512, 100, 134], 128, 1),
    'ResNet-50 layer2 3x3 128-128': resnet([128, 100, 134], 128, 3),
    'ResNet-50 layer3 1x1 512-256': resnet([512, 100, 134], 256, 1),
    'ResNet-50 layer3 3x3/2 256-256': resnet([256, 100, 134], 256, 3, 2),
    'ResNet-50 layer3 1x1/2 512-1024': resnet([512, 100, 134], 1024, 1, 2),
    'ResNet-50 layer3 1x1 256-1024': resnet([256, 50, 67], 1024, 1, 1, true),
    'ResNet-50 layer3 1x1 1024-256': resnet([1024, 50, 67], 256, 1),
    'ResNet-50 layer3 3x3 256-256': resnet([256, 50, 67], 256, 3),
    'ResNet-50 layer4 1x1 1024-512': resnet([1024, 50, 67], 512, 1),
    'ResNet-50 layer4 3x3/2 512-512': resnet([512, 50, 67], 512, 3, 2),
    'ResNet-50 layer4 1x1/2 1024-2048': resnet([1024, 50, 67], 2048, 1, 2),
    'ResNet-50 layer4 1x1 512-2048': resnet([512, 25, 34], 2048, 1, 1, true),
    'ResNet-50 layer4 1x1 2048-512': resnet([2048, 25, 34], 512, 1),
    'ResNet-50 layer4 3x3 512-512': resnet([512, 25, 34], 512, 3),
    'ResNet-50-DC5 layer4 3x3 512-512': { ...resnet([512, 50, 67], 512, 3), padding: 2, dilation: 2 },
    'MobileNetV3 depthwise 5x5': {
      x: [1, 192, 50, 67],
      outChannels: 192,
      kernel: 5,
      padding: 2,
      groups: 192,
      bias: true,
    },
    'MobileNetV3 depthwise 5x5/2': {
      x: [1, 240, 50, 67],
      outChannels: 240,
      kernel: 5,
      stride: 2,
      padding: 'same',
      groups: 240,
      bias: true,
    },
  },
  edges: {
    'slices on a GPU, 3x3': { ...resnet([52, 5, 7], 33, 3, 1, true), x: [2, 52, 5, 7] },
    'slices on a GPU, 1x1': { ...resnet([52, 8, 10], 70, 1, 1, true), x: [2, 52, 8, 10] },
    'unequal padding, channels in fours': { ...UNEQUAL, x: [2, 8, 9, 10] },
    'unequal padding, a few channels': { ...UNEQUAL, x: [2, 3, 9, 10] },
    'unequal padding, groups': { ...UNEQUAL, x: [2, 4, 9, 10], groups: 2 },
  },
  random(random) {
    const kernel = random.pick([1, 1, 2, 3, 3, 3, 5, 7]);
    const groups = random.pick([1, 1, 1, 2, 3, 17]);
    const dilation = random.pick([1, 1, 2]);
    const stride = random.pick([1, 1, 2, 3]);
    const depthwise = groups === 17;
    const channels = groups * (depthwise ? 1 : random.pick([1, 3, 4, 17, 40]));
    const outChannels = groups * random.pick(depthwise ? [1, 2] : [1, 3, 8, 17, 70]);
    const extent = dilation * (kernel - 1) + 1;
    const padding = random.pick([0, Math.floor(extent / 2), 'same'] as const);
    const smallest = padding === 'same' ? 1 : Math.max(1, extent - 2 * padding);
    const size = () => random.integer(smallest, smallest + random.pick([3, 8, 24]));
    return {
      x: [random.pick([0, 1, 1, 2, 3]), channels, size(), size()],
      outChannels,
      kernel,
      stride,
      padding,
      dilation,
      groups,
      bias: random.boolean(),
      residual: random.boolean(),
      ...(random.boolean() ? { activation: random.pick(activations) } : {}),
    };
  },
  inputs(problem, random) {
    const { batch, outChannels, outHeight, outWidth } = conv2dProblemGeometry(problem);
    const shape = weightShape(problem);
    const { bias, residual } = problem;
    const x = random.tensor(problem.x);
    return {
      x,
      weight: random.tensor(shape, 1 / Math.sqrt(elementCount(shape.slice(1)))),
      ...(bias ? { bias: random.tensor([outChannels]) } : {}),
      ...(residual ? { residual: random.tensor([batch, outChannels, outHeight, outWidth]) } : {}),
    };
  },
  prepare(device, problem, inputs) {
    const { bias, residual, activation } = problem;
    const weights = packConv2d(device, floats(inputs, 'weight'), bias ? floats(inputs, 'bias') : undefined, problem);
    const x = device.tensor(floats(inputs, 'x'));
    const added = residual ? device.tensor(floats(inputs, 'residual')) : undefined;
    return () => [conv2d(x, weights, { activation, residual: added })];
  },
  // Winograd's method spreads a NaN over its tile, and zeros of the padding times an infinite weight are NaN wherever the
  // padding is written out; conv2d.test.ts says what holds for x.
  nonFinite: ['bias', 'residual'],
  cost: problem => conv2dCost(conv2dProblemGeometry(problem), problem.residual ?? false),
});
