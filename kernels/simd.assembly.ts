// Small pieces that every WebAssembly kernel uses.

/** a * b + c, rounded once where the build has relaxed SIMD; the constant RELAXED is given to the compiler. */
// @ts-ignore: decorator
@inline
export function multiplyAdd(a: v128, b: v128, c: v128): v128 {
  if (RELAXED) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** Bytes of so many floats. */
// @ts-ignore: decorator
@inline
export function bytesOf(floats: i32): usize {
  return <usize>floats << 2;
}

/** The address in the four-byte word `index` of a kernel's arguments. */
// @ts-ignore: decorator
@inline
export function addressAt(args: usize, index: i32): usize {
  return <usize>load<u32>(args + bytesOf(index));
}

// @ts-ignore: decorator
@inline
export function integerAt(args: usize, index: i32): i32 {
  return load<i32>(args + bytesOf(index));
}

// @ts-ignore: decorator
@inline
export function floatAt(args: usize, index: i32): f32 {
  return load<f32>(args + bytesOf(index));
}

/** Loads `count` (1 to 3) floats; the other lanes are 0. */
// @ts-ignore: decorator
@inline
export function loadPartial(address: usize, count: i32): v128 {
  let values = v128.load32_zero(address);
  if (count > 1) values = f32x4.replace_lane(values, 1, load<f32>(address, 4));
  if (count > 2) values = f32x4.replace_lane(values, 2, load<f32>(address, 8));
  return values;
}

/** Stores the first `count` (1 to 3) lanes. */
// @ts-ignore: decorator
@inline
export function storePartial(address: usize, values: v128, count: i32): void {
  store<f32>(address, f32x4.extract_lane(values, 0));
  if (count > 1) store<f32>(address, f32x4.extract_lane(values, 1), 4);
  if (count > 2) store<f32>(address, f32x4.extract_lane(values, 2), 8);
}

/** The larger of each pair, NaN if one is NaN; fewer instructions than `f32x4.max`, which also tells the zeros apart. */
// @ts-ignore: decorator
@inline
export function maximum(a: v128, b: v128): v128 {
  return v128.or(f32x4.pmax(a, b), f32x4.ne(b, b));
}

/** Sum of the four lanes. */
// @ts-ignore: decorator
@inline
export function sumLanes(values: v128): f32 {
  const pairs = f32x4.add(values, i32x4.shuffle(values, values, 2, 3, 0, 1));
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1);
}

/** Largest of the four lanes; NaN if one is NaN. */
// @ts-ignore: decorator
@inline
export function maximumLane(values: v128): f32 {
  const pairs = f32x4.max(values, i32x4.shuffle(values, values, 2, 3, 0, 1));
  return max<f32>(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1));
}
