import { bytesOf, loadPartial, sumLanes } from './simd.assembly';

/** Terms that are summed in float32 before they go into a float64 sum. */
export const BLOCK: i32 = 4096;

/** Sum of `count` floats. */
export function sumOf(x: usize, count: i32): f64 {
  let total: f64 = 0;
  for (let start = 0; start < count; start += BLOCK) {
    const length = min(BLOCK, count - start);
    let address = x + bytesOf(start);
    const vectors = address + bytesOf(length & ~15);
    let a = f32x4.splat(0);
    let b = f32x4.splat(0);
    let c = f32x4.splat(0);
    let d = f32x4.splat(0);
    for (; address < vectors; address += 64) {
      a = f32x4.add(a, v128.load(address));
      b = f32x4.add(b, v128.load(address, 16));
      c = f32x4.add(c, v128.load(address, 32));
      d = f32x4.add(d, v128.load(address, 48));
    }
    let rest = length & 15;
    for (; rest >= 4; rest -= 4, address += 16) a = f32x4.add(a, v128.load(address));
    if (rest > 0) b = f32x4.add(b, loadPartial(address, rest));
    total += sumLanes(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  }
  return total;
}
