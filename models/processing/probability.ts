// A sigmoid for millions of mask logits: a third of the time of Math.exp.

const STEPS = 64;
const fractions = Float64Array.from({ length: STEPS }, (_, index) => 2 ** (index / STEPS));
const LARGEST_EXPONENT = 150;
const powers = Float64Array.from({ length: 2 * LARGEST_EXPONENT + 1 }, (_, index) => 2 ** (index - LARGEST_EXPONENT));
const PER_STEP = Math.LN2 / STEPS;
/** Added to a small number, leaves no bits for a fraction. */
const INTEGRAL = 1.5 * 2 ** 52;

/**
 * 1 / (1 + exp(-logit)) as PyTorch computes it in float32: the exponential, the sum and the quotient are each rounded.
 * exp(x) = 2^(n / 64) · exp(r) with |r| below 0.0055, where four terms of the series suffice for 1e-13.
 */
export function probability(logit: number): number {
  if (!(logit > -88.7 && logit < 103)) return logit >= 103 ? 1 : logit <= -88.7 ? 0 : Number.NaN;
  const rounded = logit * (-1 / PER_STEP) + INTEGRAL - INTEGRAL;
  const index = rounded | 0;
  const rest = -logit - rounded * PER_STEP;
  const series = 1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest * (1 / 24))));
  const exponential = Math.fround(
    series * (fractions[index & (STEPS - 1)]! * powers[(index >> 6) + LARGEST_EXPONENT]!),
  );
  return Math.fround(1 / Math.fround(1 + exponential));
}
