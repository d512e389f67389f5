import { OptionError } from '../engine/index.ts';
import { mathWgsl } from './math.wgsl.ts';

/**
 * Every activation that kernels apply, as an operation of its own (`activate`) or fused into the end of another.
 * The position in the list is the code that the WebAssembly kernels know it by (activation.assembly.ts).
 */
export const activations = [
  'linear',
  'relu',
  'gelu',
  'gelu_tanh',
  'silu',
  'sigmoid',
  'tanh',
  'hardswish',
  'hardsigmoid',
  'quick_gelu',
  'relu6',
  'relu2',
  'leaky_relu',
  'gelu_10',
  'mish',
  'laplace',
  'sqrtsoftplus',
] as const;

/**
 * `linear` is the identity, `gelu` the exact one (erf), `gelu_tanh` its tanh approximation, `quick_gelu` x · σ(1.702 x),
 * `relu2` the square of relu, `gelu_10` gelu clipped to [-10, 10]; `leaky_relu` has the slope 0.01.
 */
export type Activation = (typeof activations)[number];

/** HuggingFace's other names (transformers' ACT2FN) for the same functions. */
const ALIASES: Readonly<Record<string, Activation>> = {
  gelu_python: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_fast: 'gelu_tanh',
  gelu_accurate: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  gelu_python_tanh: 'gelu_tanh',
  swish: 'silu',
};

/** The activation that a configuration names. @throws OptionError for one that is unknown. */
export function activationByName(name: string): Activation {
  const activation =
    activations.find(known => known === name) ?? (Object.hasOwn(ALIASES, name) ? ALIASES[name] : undefined);
  if (activation === undefined) {
    const known = [...activations, ...Object.keys(ALIASES)].join(', ');
    throw new OptionError(`activation: expected one of ${known}, got ${JSON.stringify(name)}`);
  }
  return activation;
}

/** @throws OptionError `linear: expected one of linear, relu, …, got "rectify"` */
export function expectActivation(operation: string, activation: Activation): void {
  if (!activations.includes(activation)) {
    throw new OptionError(`${operation}: expected one of ${activations.join(', ')}, got ${JSON.stringify(activation)}`);
  }
}

/** What `activateVector` in activation.assembly.ts calls the activation; 0 for none. */
export function activationCode(activation: Activation = 'linear'): number {
  return activations.indexOf(activation);
}

const EXPRESSIONS: Readonly<Record<Activation, string>> = {
  linear: 'x',
  relu: 'reluOf(x)',
  gelu: '0.5 * x * (1.0 + erfOf(x * 0.70710678))',
  gelu_tanh: '0.5 * x * (1.0 + tanhOf(0.79788456 * (x + 0.044715 * x * x * x)))',
  silu: 'x * sigmoidOf(x)',
  sigmoid: 'sigmoidOf(x)',
  tanh: 'tanhOf(x)',
  hardswish: 'x * clampOf(x + 3.0, 0.0, 6.0) / 6.0',
  hardsigmoid: 'clampOf(x + 3.0, 0.0, 6.0) / 6.0',
  quick_gelu: 'x * sigmoidOf(1.702 * x)',
  relu6: 'clampOf(x, 0.0, 6.0)',
  relu2: 'reluOf(x) * reluOf(x)',
  leaky_relu: 'select(x, 0.01 * x, x < 0.0)',
  gelu_10: 'clampOf(0.5 * x * (1.0 + erfOf(x * 0.70710678)), -10.0, 10.0)',
  mish: 'select(x * mishRatio(x), x, x > 20.0)',
  laplace: '0.5 * (1.0 + erfOf((x - 0.707107) * 2.5066264))',
  sqrtsoftplus: 'sqrt(softplusOf(x))',
};

const FUNCTIONS = [
  'expOf',
  'logOf',
  'erfOf',
  'tanhOf',
  'sigmoidOf',
  'clampOf',
  'reluOf',
  'softplusOf',
  'mishRatio',
] as const;

/** WGSL of `fn activate(x: f32) -> f32` and `fn activate4(x: vec4f) -> vec4f`, with the functions that they call. */
export function activationWgsl(activation: Activation = 'linear'): string {
  const expression = EXPRESSIONS[activation];
  const needed = FUNCTIONS.filter(name => expression.includes(name));
  return /* wgsl */ `${mathWgsl(...needed)}
fn activate(x: f32) -> f32 {
  return ${expression};
}
fn activate4(x: vec4f) -> vec4f {
  return vec4f(activate(x.x), activate(x.y), activate(x.z), activate(x.w));
}`;
}
