import type {
  ActivateProblem,
  BinaryProblem,
  InverseSigmoidProblem,
} from '../../../kernels/elementwise/elementwise.ts';
import type { Activation } from '../../../kernels/index.ts';
import { floats } from '../../../kernels/kernel.ts';
import { type Reference, type ReferenceValue, ravel, unravel } from '../reference.ts';

const EPSILON = 2 ** -23;

function binary(operation: (a: number, b: number) => number): Reference<BinaryProblem> {
  return {
    outputs({ a: aShape, b: bShape }, inputs) {
      const a = floats(inputs, 'a').data;
      const b = floats(inputs, 'b').data;
      const rank = Math.max(aShape.length, bShape.length);
      const padded = (shape: readonly number[]) => [...new Array<number>(rank - shape.length).fill(1), ...shape];
      const [aPadded, bPadded] = [padded(aShape), padded(bShape)];
      const shape = aPadded.map((size, axis) => (size === 1 ? bPadded[axis]! : size));
      const read = (data: Float32Array, operand: number[], position: number[]) =>
        data[
          ravel(
            position.map((place, axis) => (operand[axis] === 1 ? 0 : place)),
            operand,
          )
        ]!;
      return [
        {
          shape,
          at(index) {
            const position = unravel(index, shape);
            return operation(read(a, aPadded, position), read(b, bPadded, position));
          },
        },
      ];
    },
  };
}

export const addReference = binary((a, b) => a + b);
export const multiplyReference = binary((a, b) => a * b);

/** The error function by its Taylor series, and beyond 3 by the continued fraction of its complement. */
export function erf(x: number): number {
  const t = Math.abs(x);
  if (Number.isNaN(x)) return Number.NaN;
  if (t > 6) return Math.sign(x);
  if (t < 3) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 100; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (t + fraction);
  return Math.sign(x) * (1 - Math.exp(-t * t) / (Math.sqrt(Math.PI) * (t + fraction)));
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const softplus = (x: number) => Math.log1p(Math.exp(-Math.abs(x))) + Math.max(x, 0);
const clamp = (x: number, low: number, high: number) => Math.min(Math.max(x, low), high);
const gelu = (x: number) => 0.5 * x * (1 + erf(x * Math.SQRT1_2));
/** Of the size of x, since 1 + erf and 1 + tanh cancel for negative x. */
const likeInput = (value: number, x: number): ReferenceValue => ({ value, magnitude: Math.abs(x) });

const ACTIVATIONS: Readonly<Record<Activation, (x: number) => number | ReferenceValue>> = {
  linear: x => x,
  relu: x => Math.max(x, 0),
  gelu: x => likeInput(gelu(x), x),
  gelu_tanh: x => likeInput(0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))), x),
  silu: x => likeInput(x * sigmoid(x), x),
  // Relative errors grow with |x| where e^-|x| is small; absolute ones do not.
  sigmoid: x => ({ value: sigmoid(x), magnitude: sigmoid(x) * (1 + Math.min(Math.abs(x), 100)) }),
  tanh: x => Math.tanh(x),
  hardswish: x => likeInput((x * clamp(x + 3, 0, 6)) / 6, x),
  hardsigmoid: x => ({ value: clamp(x + 3, 0, 6) / 6, magnitude: 1 }),
  quick_gelu: x => likeInput(x * sigmoid(1.702 * x), x),
  relu6: x => clamp(x, 0, 6),
  relu2: x => Math.max(x, 0) ** 2,
  leaky_relu: x => (x < 0 ? 0.01 * x : x),
  gelu_10: x => likeInput(clamp(gelu(x), -10, 10), x),
  mish: x => likeInput(x * Math.tanh(softplus(x)), x),
  // biome-ignore lint/suspicious/noApproximativeNumericConstant: HuggingFace's constant has six digits
  laplace: x => ({ value: 0.5 * (1 + erf((x - 0.707107) / (0.282095 * Math.SQRT2))), magnitude: 1 }),
  sqrtsoftplus: x => ({
    value: Math.sqrt(softplus(x)),
    // A softplus below 2^-126 may be 0, which its root makes more of.
    magnitude: Math.max(Math.sqrt(softplus(x)) * (1 + Math.min(Math.abs(x), 100)), 2 ** -63 / EPSILON),
  }),
};

/** The activation in float64, with the magnitude that its rounding errors are relative to. */
export function activationReference(activation: Activation, x: number): ReferenceValue {
  const result = ACTIVATIONS[activation](x);
  return typeof result === 'number' ? { value: result, magnitude: Math.abs(result) } : result;
}

export const activateReference: Reference<ActivateProblem> = {
  outputs({ shape, activation }, inputs) {
    const x = floats(inputs, 'x').data;
    return [{ shape, at: index => activationReference(activation, x[index]!) }];
  },
};

export const inverseSigmoidReference: Reference<InverseSigmoidProblem> = {
  outputs({ shape }, inputs) {
    const x = floats(inputs, 'x').data;
    return [
      {
        shape,
        at(index) {
          const p = clamp(x[index]!, 0, 1);
          // The quotient's rounding is an absolute error of its logarithm.
          const value = Math.log(Math.max(p, 1e-5) / Math.max(1 - p, 1e-5));
          return { value, magnitude: Math.max(Math.abs(value), 1) };
        },
      },
    ];
  },
};
