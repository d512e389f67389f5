// A sigmoid for millions of mask logits: a third of the time of Math.exp.

const steps = 64;
const fractions = Float64Array.from({ length: steps }, (_, index) => 2 ** (index / steps));
const largestExponent = 150;
const powers = Float64Array.from({ length: 2 * largestExponent + 1 }, (_, index) => 2 ** (index - largestExponent));
const perStep = Math.LN2 / steps;
/** Added to a small number, leaves no bits for a fraction. */
const integral = 1.5 * 2 ** 52;

/**
 * 1 / (1 + exp(-logit)) as PyTorch computes it in float32: the exponential, the sum and the quotient are each rounded.
 * exp(x) = 2^(n / 64) · exp(r) with |r| below 0.0055, where four terms of the series suffice for 1e-13.
 */
export function probability(logit: number): number {
  if (!(logit > -88.7 && logit < 103)) return logit >= 103 ? 1 : logit <= -88.7 ? 0 : Number.NaN;
  const rounded = logit * (-1 / perStep) + integral - integral;
  const index = rounded | 0;
  const rest = -logit - rounded * perStep;
  const series = 1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest * (1 / 24))));
  const exponential = Math.fround(series * (fractions[index & (steps - 1)]! * powers[(index >> 6) + largestExponent]!));
  return Math.fround(1 / Math.fround(1 + exponential));
}
