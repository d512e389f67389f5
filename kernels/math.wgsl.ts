/**
 * Elementary functions for shaders, within a few units in the last place on every adapter: WGSL's own are allowed to be
 * far off (exp by 3 + 2 |x| units, sin and cos by 2^-11 and only near 0) and to lose NaN. Each entry is the text of one
 * function; `after` names those that it calls. Polynomials are those of math.assembly.ts. Compilers may reorder sums, so
 * that nothing here relies on what rounding leaves over.
 */
const functions = {
  isNaNOf: {
    after: [],
    // Compilers may assume that x == x; they cannot assume it of bits.
    code: /* wgsl */ `
fn isNaNOf(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}`,
  },
  // Comparisons are no safer: GPUs make a minimum or maximum of one with a selection, and those pass over NaN.
  clampOf: {
    after: ['isNaNOf'],
    code: /* wgsl */ `
fn clampOf(x: f32, low: f32, high: f32) -> f32 {
  return select(clamp(x, low, high), x, isNaNOf(x));
}`,
  },
  reluOf: {
    after: ['isNaNOf'],
    code: /* wgsl */ `
fn reluOf(x: f32) -> f32 {
  return select(max(x, 0.0), x, isNaNOf(x));
}`,
  },
  expOf: {
    after: ['isNaNOf'],
    code: /* wgsl */ `
fn expOf(x: f32) -> f32 {
  let inRange = clamp(x, -89.0, 89.0);
  let power = max(round(inRange * 1.44269504), -127.0);
  // ln 2 in two parts, the second in integers: compilers add up what they see multiplied by the same float.
  let r = (inRange - power * 0.693359375) + f32(i32(power) * 1822736) * 0x1p-33f;
  var p = 1.9875691500e-4;
  p = fma(p, r, 1.3981999507e-3);
  p = fma(p, r, 8.3334519073e-3);
  p = fma(p, r, 4.1665795894e-2);
  p = fma(p, r, 1.6666665459e-1);
  p = fma(p, r, 5.0000001201e-1);
  p = fma(p, r * r, r) + 1.0;
  // -127 and 128 make the factor 0 and infinity.
  return select(p * bitcast<f32>(u32(i32(power) + 127) << 23u), x, isNaNOf(x));
}`,
  },
  logNear1Of: {
    after: [],
    // ln(1 + m) for m in [sqrt(1/2) - 1, sqrt(2) - 1], less m
    code: /* wgsl */ `
fn logNear1Of(m: f32) -> f32 {
  var p = 7.0376836292e-2;
  p = fma(p, m, -1.1514610310e-1);
  p = fma(p, m, 1.1676998740e-1);
  p = fma(p, m, -1.2420140846e-1);
  p = fma(p, m, 1.4249322787e-1);
  p = fma(p, m, -1.6668057665e-1);
  p = fma(p, m, 2.0000714765e-1);
  p = fma(p, m, -2.4999993993e-1);
  p = fma(p, m, 3.3333331174e-1);
  return fma(p, m, -0.5) * (m * m);
}`,
  },
  logOf: {
    after: ['logNear1Of'],
    // Subnormal numbers, which shaders may take for 0, are taken for 0.
    code: /* wgsl */ `
fn logOf(x: f32) -> f32 {
  let bits = bitcast<i32>(x) - 0x3f3504f3;
  let e = f32(bits >> 23u);
  let m = bitcast<f32>((bits & 0x7fffff) + 0x3f3504f3) - 1.0;
  let p = fma(e, -2.12194440e-4, logNear1Of(m));
  var result = fma(e, 0.693359375, m + p);
  // Variables, since constant expressions may not hold NaN and infinities.
  var minusInfinity = 0xff800000u;
  var notANumber = 0x7fc00000u;
  let magnitude = bitcast<u32>(x) & 0x7fffffffu;
  if (magnitude < 0x00800000u) { result = bitcast<f32>(minusInfinity); }
  else if (magnitude >= 0x7f800000u) { result = x; }
  if (bitcast<i32>(x) < 0 && magnitude >= 0x00800000u) { result = bitcast<f32>(notANumber); }
  return result;
}`,
  },
  sigmoidOf: {
    after: ['expOf', 'isNaNOf'],
    // Shaders divide reliably only by numbers up to 2^126.
    code: /* wgsl */ `
fn sigmoidOf(x: f32) -> f32 {
  let result = select(1.0 / (1.0 + expOf(min(-x, 87.3))), 0.0, x < -87.3);
  return select(result, x, isNaNOf(x));
}`,
  },
  tanhOf: {
    after: ['expOf', 'isNaNOf'],
    code: /* wgsl */ `
fn tanhOf(x: f32) -> f32 {
  let magnitude = abs(x);
  let large = 1.0 - 2.0 / (expOf(min(2.0 * magnitude, 40.0)) + 1.0);
  let square = x * x;
  var p = -5.70498872745e-3;
  p = fma(p, square, 2.06390887954e-2);
  p = fma(p, square, -5.37397155531e-2);
  p = fma(p, square, 1.33314422036e-1);
  p = fma(p, square, -3.33332819422e-1);
  let small = fma(p * square, x, x);
  return select(select(select(large, -large, x < 0.0), small, magnitude < 0.625), x, isNaNOf(x));
}`,
  },
  erfOf: {
    after: ['expOf', 'isNaNOf'],
    code: /* wgsl */ `
fn erfOf(x: f32) -> f32 {
  let t = min(abs(x), 4.0);
  let s = t * t;
  var large = fma(-1.72853470e-5, t, 3.83197126e-4);
  large = fma(large, s, fma(-3.88396438e-3, t, 2.42546219e-2));
  large = fma(large, t, -1.06777877e-1);
  large = fma(large, t, -6.34846687e-1);
  large = fma(large, t, -1.28717512e-1);
  large = fma(large, t, -t);
  large = 1.0 - expOf(large);
  var small = -5.96761703e-4;
  small = fma(small, s, 4.99119423e-3);
  small = fma(small, s, -2.67681349e-2);
  small = fma(small, s, 1.12819925e-1);
  small = fma(small, s, -3.76125336e-1);
  small = fma(small, s, 1.28379166e-1);
  small = fma(small, x, x);
  return select(select(small, select(large, -large, x < 0.0), t > 0.927734375), x, isNaNOf(x));
}`,
  },
  softplusOf: {
    after: ['expOf', 'isNaNOf', 'logOf'],
    code: /* wgsl */ `
fn softplusOf(x: f32) -> f32 {
  let e = expOf(min(x, 20.0));
  return select(select(logOf(1.0 + e), e + logNear1Of(e), e < 0.414), x, x > 20.0 || isNaNOf(x));
}`,
  },
  mishRatio: {
    after: ['expOf'],
    // tanh(ln(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2)
    code: /* wgsl */ `
fn mishRatio(x: f32) -> f32 {
  let e = expOf(min(x, 20.0)); // of NaN any number: mish multiplies by x
  let n = e * (e + 2.0);
  return n / (n + 2.0);
}`,
  },
  sineOfQuadrant: {
    after: [],
    // sin(x + turns * pi / 2) for x >= 0. The argument is reduced in integers (M. Payne and R. Hanek), which is exact for
    // all floats, and which no reordering of float operations can spoil: x * 2 / pi is the product of x's 24 bits
    // with those bits of 2 / pi that decide the quadrant and the place within it.
    code: /* wgsl */ `
const TWO_OVER_PI = array<u32, 8>(
  0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu,
);
fn highProduct(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u);
}
fn bitsFrom(words: ptr<function, array<u32, 8>>, first: u32) -> u32 {
  let word = first >> 5u;
  let shift = first & 31u;
  // A shift by 32 is not a shift to 0.
  return ((*words)[word] << shift) | (((*words)[word + 1u] >> 1u) >> (31u - shift));
}
fn sineOfQuadrant(x: f32, turns: u32) -> f32 {
  let bits = bitcast<u32>(x);
  var quadrant = turns;
  var r = x;
  if (x > 0.785398) {
    var words = TWO_OVER_PI;
    let mantissa = (bits & 0x7fffffu) | 0x800000u;
    let first = min(bits >> 23u, 254u) - 120u;
    let w1 = bitsFrom(&words, first + 32u);
    let carried = highProduct(mantissa, bitsFrom(&words, first + 64u));
    let low = mantissa * w1 + carried;
    let carry = select(0u, 1u, low < carried);
    let high = mantissa * bitsFrom(&words, first) + highProduct(mantissa, w1) + carry;
    let fraction = bitcast<i32>((high << 2u) | (low >> 30u));
    quadrant += (high >> 30u) + select(0u, 1u, fraction < 0);
    r = (f32(fraction) * 2.3283064e-10 + f32(low << 2u) * 5.4210109e-20) * 1.57079633;
  }
  let square = r * r;
  var sine = -1.9515295891e-4;
  sine = fma(sine, square, 8.3321608736e-3);
  sine = fma(sine, square, -1.6666654611e-1);
  sine = fma(sine * square, r, r);
  var cosine = 2.443315711809948e-5;
  cosine = fma(cosine, square, -1.388731625493765e-3);
  cosine = fma(cosine, square, 4.166664568298827e-2);
  cosine = fma(cosine * square, square, fma(square, -0.5, 1.0));
  let result = select(sine, cosine, (quadrant & 1u) == 1u);
  var notANumber = 0x7fc00000u;
  if ((bits & 0x7fffffffu) >= 0x7f800000u) { return bitcast<f32>(notANumber); }
  return select(result, -result, (quadrant & 2u) == 2u);
}`,
  },
  sinOf: {
    after: ['sineOfQuadrant'],
    code: /* wgsl */ `
fn sinOf(x: f32) -> f32 {
  let result = sineOfQuadrant(abs(x), 0u);
  return select(result, -result, x < 0.0);
}`,
  },
  cosOf: {
    after: ['sineOfQuadrant'],
    code: /* wgsl */ `
fn cosOf(x: f32) -> f32 {
  return sineOfQuadrant(abs(x), 1u);
}`,
  },
} as const satisfies Record<string, { after: readonly string[]; code: string }>;

export type MathFunction = keyof typeof functions;

/** The text of the named functions and of all that they call, each once. */
export function mathWgsl(...names: readonly MathFunction[]): string {
  const included = new Set<MathFunction>();
  const include = (name: MathFunction) => {
    for (const needed of functions[name].after) include(needed);
    included.add(name);
  };
  for (const name of names) include(name);
  return [...included].map(name => functions[name].code).join('');
}
