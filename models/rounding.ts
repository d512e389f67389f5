// Python's rounding: ties go to the even neighbour, where JavaScript goes up.

/** Python's `round(value)`. */
export function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/** Python's `f'{value:.{digits}f}'`. */
export function formatFixed(value: number, digits: number): string {
  // A binary fraction that lies halfway between two decimals is an odd multiple of 2^-(digits + 1).
  const isTie = Math.abs(value * 2 ** (digits + 1)) % 2 === 1;
  return (isTie ? roundHalfEven(value * 10 ** digits) / 10 ** digits : value).toFixed(digits);
}
