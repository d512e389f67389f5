// The activations of activation.ts, by their position in its list.

import { erf, exp, sigmoid, softplus, tanh } from './math.assembly';

// @ts-ignore: decorator
@inline
function clamp(x: v128, low: f32, high: f32): v128 {
  return f32x4.pmax(f32x4.pmin(x, f32x4.splat(high)), f32x4.splat(low));
}

// @ts-ignore: decorator
@inline
export function relu(x: v128): v128 {
  return f32x4.pmax(x, f32x4.splat(0));
}

function gelu(x: v128): v128 {
  const half = f32x4.mul(x, f32x4.splat(0.5));
  return f32x4.mul(half, f32x4.add(f32x4.splat(1), erf(f32x4.mul(x, f32x4.splat(0.70710678)))));
}

function geluTanh(x: v128): v128 {
  const cube = f32x4.mul(f32x4.mul(x, x), x);
  const inner = f32x4.add(x, f32x4.mul(cube, f32x4.splat(0.044715)));
  const half = f32x4.mul(x, f32x4.splat(0.5));
  return f32x4.mul(half, f32x4.add(f32x4.splat(1), tanh(f32x4.mul(inner, f32x4.splat(0.79788456)))));
}

function hardSigmoid(x: v128): v128 {
  return f32x4.div(clamp(f32x4.add(x, f32x4.splat(3)), 0, 6), f32x4.splat(6));
}

/** x · tanh(ln(1 + e^x)), with tanh(ln(1 + e^x)) = n / (n + 2) for n = e^x (e^x + 2). */
function mish(x: v128): v128 {
  const two = f32x4.splat(2);
  const e = exp(x);
  const n = f32x4.mul(e, f32x4.add(e, two));
  const product = f32x4.mul(x, f32x4.div(n, f32x4.add(n, two)));
  return v128.bitselect(x, product, f32x4.gt(x, f32x4.splat(20)));
}

/** The activation with the given code of four values; code 0 changes nothing. */
export function activateVector(code: i32, x: v128): v128 {
  switch (code) {
    case 1:
      return relu(x);
    case 2:
      return gelu(x);
    case 3:
      return geluTanh(x);
    case 4:
      return f32x4.mul(x, sigmoid(x));
    case 5:
      return sigmoid(x);
    case 6:
      return tanh(x);
    case 7:
      return f32x4.div(f32x4.mul(x, clamp(f32x4.add(x, f32x4.splat(3)), 0, 6)), f32x4.splat(6));
    case 8:
      return hardSigmoid(x);
    case 9:
      return f32x4.mul(x, sigmoid(f32x4.mul(x, f32x4.splat(1.702))));
    case 10:
      return clamp(x, 0, 6);
    case 11: {
      const positive = relu(x);
      return f32x4.mul(positive, positive);
    }
    case 12:
      return v128.bitselect(f32x4.mul(x, f32x4.splat(0.01)), x, f32x4.lt(x, f32x4.splat(0)));
    case 13:
      return clamp(gelu(x), -10, 10);
    case 14:
      return mish(x);
    case 15: {
      const scaled = f32x4.mul(f32x4.sub(x, f32x4.splat(0.707107)), f32x4.splat(2.5066264));
      return f32x4.mul(f32x4.splat(0.5), f32x4.add(f32x4.splat(1), erf(scaled)));
    }
    case 16:
      return f32x4.sqrt(softplus(x));
    default:
      return x;
  }
}
