// Elementary functions of four float32 lanes, within about 2 units in the last place. NaN propagates and infinities give
// their limits. Polynomials for exp, log, tanh, sin and cos are those of S. Moshier's Cephes library (single precision);
// erf is N. Juffa's.

import { multiplyAdd } from './simd.assembly';

/** Results below 2^-126 are flushed to 0; overflow starts at 2^127.5 instead of 2^128. */
// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  const inRange = f32x4.pmax(f32x4.pmin(x, f32x4.splat(89)), f32x4.splat(-89));
  const powers = f32x4.pmax(
    f32x4.nearest(f32x4.mul(inRange, f32x4.splat(1.44269504))),
    f32x4.splat(-127),
  );
  let r = multiplyAdd(powers, f32x4.splat(-0.693359375), inRange);
  r = multiplyAdd(powers, f32x4.splat(2.12194440e-4), r);
  let p = f32x4.splat(1.9875691500e-4);
  p = multiplyAdd(p, r, f32x4.splat(1.3981999507e-3));
  p = multiplyAdd(p, r, f32x4.splat(8.3334519073e-3));
  p = multiplyAdd(p, r, f32x4.splat(4.1665795894e-2));
  p = multiplyAdd(p, r, f32x4.splat(1.6666665459e-1));
  p = multiplyAdd(p, r, f32x4.splat(5.0000001201e-1));
  p = f32x4.add(multiplyAdd(p, f32x4.mul(r, r), r), f32x4.splat(1));
  const exponents = i32x4.add(i32x4.trunc_sat_f32x4_s(powers), i32x4.splat(127));
  return f32x4.mul(p, i32x4.shl(exponents, 23));
}

/** Natural logarithm; -infinity at 0, NaN below. */
// @ts-ignore: decorator
@inline
export function log(x: v128): v128 {
  const subnormal = f32x4.lt(x, f32x4.splat(1.17549435e-38));
  const scaled = v128.bitselect(f32x4.mul(x, f32x4.splat(8388608)), x, subnormal);
  const bits = i32x4.sub(scaled, i32x4.splat(0x3f3504f3));
  let e = f32x4.convert_i32x4_s(i32x4.shr_s(bits, 23));
  e = f32x4.sub(e, v128.and(subnormal, f32x4.splat(23)));
  const mantissa = i32x4.add(v128.and(bits, i32x4.splat(0x7fffff)), i32x4.splat(0x3f3504f3));
  const m = f32x4.sub(mantissa, f32x4.splat(1));
  const square = f32x4.mul(m, m);
  let p = f32x4.splat(7.0376836292e-2);
  p = multiplyAdd(p, m, f32x4.splat(-1.1514610310e-1));
  p = multiplyAdd(p, m, f32x4.splat(1.1676998740e-1));
  p = multiplyAdd(p, m, f32x4.splat(-1.2420140846e-1));
  p = multiplyAdd(p, m, f32x4.splat(1.4249322787e-1));
  p = multiplyAdd(p, m, f32x4.splat(-1.6668057665e-1));
  p = multiplyAdd(p, m, f32x4.splat(2.0000714765e-1));
  p = multiplyAdd(p, m, f32x4.splat(-2.4999993993e-1));
  p = multiplyAdd(p, m, f32x4.splat(3.3333331174e-1));
  p = f32x4.mul(p, f32x4.mul(m, square));
  p = multiplyAdd(e, f32x4.splat(-2.12194440e-4), p);
  p = multiplyAdd(square, f32x4.splat(-0.5), p);
  const finite = multiplyAdd(e, f32x4.splat(0.693359375), f32x4.add(m, p));
  const zero = f32x4.splat(0);
  let result = v128.bitselect(f32x4.splat(-Infinity), finite, f32x4.eq(x, zero));
  result = v128.bitselect(f32x4.splat(NaN), result, f32x4.lt(x, zero));
  // Infinity and NaN are their own logarithms.
  return v128.bitselect(result, x, f32x4.lt(x, f32x4.splat(Infinity)));
}

// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, exp(f32x4.neg(x))));
}

// @ts-ignore: decorator
@inline
export function tanh(x: v128): v128 {
  const signs = v128.and(x, i32x4.splat(0x80000000));
  const magnitude = f32x4.abs(x);
  const one = f32x4.splat(1);
  const exponential = exp(f32x4.add(magnitude, magnitude));
  const large = f32x4.sub(one, f32x4.div(f32x4.splat(2), f32x4.add(exponential, one)));
  const square = f32x4.mul(x, x);
  let p = f32x4.splat(-5.70498872745e-3);
  p = multiplyAdd(p, square, f32x4.splat(2.06390887954e-2));
  p = multiplyAdd(p, square, f32x4.splat(-5.37397155531e-2));
  p = multiplyAdd(p, square, f32x4.splat(1.33314422036e-1));
  p = multiplyAdd(p, square, f32x4.splat(-3.33332819422e-1));
  const small = multiplyAdd(f32x4.mul(p, square), x, x);
  return v128.bitselect(small, v128.or(large, signs), f32x4.lt(magnitude, f32x4.splat(0.625)));
}

// @ts-ignore: decorator
@inline
export function erf(x: v128): v128 {
  const signs = v128.and(x, i32x4.splat(0x80000000));
  const t = f32x4.abs(x);
  const s = f32x4.mul(x, x);
  let large = multiplyAdd(f32x4.splat(-1.72853470e-5), t, f32x4.splat(3.83197126e-4));
  const even = multiplyAdd(f32x4.splat(-3.88396438e-3), t, f32x4.splat(2.42546219e-2));
  large = multiplyAdd(large, s, even);
  large = multiplyAdd(large, t, f32x4.splat(-1.06777877e-1));
  large = multiplyAdd(large, t, f32x4.splat(-6.34846687e-1));
  large = multiplyAdd(large, t, f32x4.splat(-1.28717512e-1));
  large = multiplyAdd(large, t, f32x4.neg(t));
  // The polynomial turns around beyond 10, where erf has long been 1.
  large = v128.bitselect(f32x4.splat(-89), large, f32x4.gt(t, f32x4.splat(4)));
  large = v128.or(f32x4.sub(f32x4.splat(1), exp(large)), signs);
  let small = f32x4.splat(-5.96761703e-4);
  small = multiplyAdd(small, s, f32x4.splat(4.99119423e-3));
  small = multiplyAdd(small, s, f32x4.splat(-2.67681349e-2));
  small = multiplyAdd(small, s, f32x4.splat(1.12819925e-1));
  small = multiplyAdd(small, s, f32x4.splat(-3.76125336e-1));
  small = multiplyAdd(small, s, f32x4.splat(1.28379166e-1));
  small = multiplyAdd(small, x, x);
  return v128.bitselect(large, small, f32x4.gt(t, f32x4.splat(0.927734375)));
}

/** ln(1 + exp(x)). */
// @ts-ignore: decorator
@inline
export function softplus(x: v128): v128 {
  const one = f32x4.splat(1);
  const e = exp(x);
  const u = f32x4.add(one, e);
  // log(u) * e / (u - 1) undoes the rounding of 1 + e (W. Kahan).
  const rounded = f32x4.sub(u, one);
  const logarithm = f32x4.mul(log(u), f32x4.div(e, rounded));
  const small = v128.bitselect(e, logarithm, f32x4.eq(rounded, f32x4.splat(0)));
  return v128.bitselect(x, small, f32x4.gt(x, f32x4.splat(20)));
}

// Parts of pi / 2: a product of the first with an integer below 2^24 is exact in float64.
const HALF_PI_HIGH: f64 = 1.5707963258028030;
const HALF_PI_LOW: f64 = 9.920935796805404e-10;

/** x - k * pi / 2 for two lanes. */
// @ts-ignore: decorator
@inline
function reduceHalf(x: v128, k: v128): v128 {
  const high = f64x2.sub(x, f64x2.mul(k, f64x2.splat(HALF_PI_HIGH)));
  return f32x4.demote_f64x2_zero(f64x2.sub(high, f64x2.mul(k, f64x2.splat(HALF_PI_LOW))));
}

/** sin(x + quarterTurns * pi / 2), integers in `quarterTurns`; beyond |x| = 2.6e7 some number from -1 to 1. */
// @ts-ignore: decorator
@inline
export function sineOfQuadrant(x: v128, quarterTurns: v128): v128 {
  const low = f64x2.promote_low_f32x4(x);
  const high = f64x2.promote_low_f32x4(i32x4.shuffle(x, x, 2, 3, 2, 3));
  const kLow = f64x2.nearest(f64x2.mul(low, f64x2.splat(0.63661977236758138)));
  const kHigh = f64x2.nearest(f64x2.mul(high, f64x2.splat(0.63661977236758138)));
  let r = i32x4.shuffle(reduceHalf(low, kLow), reduceHalf(high, kHigh), 0, 1, 4, 5);
  r = f32x4.pmax(f32x4.pmin(r, f32x4.splat(0.7854)), f32x4.splat(-0.7854));
  const k = i32x4.shuffle(
    i32x4.trunc_sat_f64x2_s_zero(kLow),
    i32x4.trunc_sat_f64x2_s_zero(kHigh),
    0,
    1,
    4,
    5,
  );
  const quadrant = i32x4.add(k, quarterTurns);
  const square = f32x4.mul(r, r);
  let sine = f32x4.splat(-1.9515295891e-4);
  sine = multiplyAdd(sine, square, f32x4.splat(8.3321608736e-3));
  sine = multiplyAdd(sine, square, f32x4.splat(-1.6666654611e-1));
  sine = multiplyAdd(f32x4.mul(sine, square), r, r);
  let cosine = f32x4.splat(2.443315711809948e-5);
  cosine = multiplyAdd(cosine, square, f32x4.splat(-1.388731625493765e-3));
  cosine = multiplyAdd(cosine, square, f32x4.splat(4.166664568298827e-2));
  cosine = multiplyAdd(f32x4.mul(cosine, square), square, multiplyAdd(square, f32x4.splat(-0.5), f32x4.splat(1)));
  const odd = i32x4.ne(v128.and(quadrant, i32x4.splat(1)), i32x4.splat(0));
  const signs = i32x4.shl(v128.and(quadrant, i32x4.splat(2)), 30);
  return v128.xor(v128.bitselect(cosine, sine, odd), signs);
}

/** Sine of an angle in radians; NaN for infinities. */
// @ts-ignore: decorator
@inline
export function sin(x: v128): v128 {
  return sineOfQuadrant(x, i32x4.splat(0));
}

// @ts-ignore: decorator
@inline
export function cos(x: v128): v128 {
  return sineOfQuadrant(x, i32x4.splat(1));
}
