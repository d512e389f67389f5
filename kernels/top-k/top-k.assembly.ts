// The k largest of a row: a radix selection finds the k-th largest key, then the chosen ones are sorted.
// A key is a float's bits, mapped so that unsigned integers order as the floats do, with NaN above all.

import { addressAt, bytesOf, integerAt } from '../simd.assembly';

// @ts-ignore: decorator
@inline
function keyOf(bits: u32): u32 {
  if ((bits & 0x7fffffff) > 0x7f800000) return 0xffffffff;
  // -0 equals 0.
  if (bits == 0x80000000) return 0x80000000;
  return bits >> 31 ? ~bits : bits | 0x80000000;
}

// Arguments: x [B, S], candidates [B, k], S, k. Writes the indices of the chosen elements, in rising order.
// Scratch: S keys, 2048 counts. A task is a row.
export function topKSelect(args: usize, task: i32, scratch: usize): void {
  const size = integerAt(args, 2);
  const k = integerAt(args, 3);
  const x = addressAt(args, 0) + bytesOf(task * size);
  let out = addressAt(args, 1) + bytesOf(task * k);
  const keys = scratch;
  const counts = scratch + bytesOf(size);

  memory.fill(counts, 0, bytesOf(2048));
  for (let i = 0; i < size; i++) {
    const key = keyOf(load<u32>(x + bytesOf(i)));
    store<u32>(keys + bytesOf(i), key);
    const count = counts + bytesOf(key >> 21);
    store<u32>(count, load<u32>(count) + 1);
  }
  // `left` of the elements that share the threshold's leading bits are still to be chosen.
  let left = k;
  let bin = binOfRank(counts, 2047, left);
  left -= load<u32>(counts + bytesOf(2048));
  let threshold: u32 = bin;
  for (let shift: u32 = 10, width: u32 = 11; ; shift = 0, width = 10) {
    memory.fill(counts, 0, bytesOf(2048));
    const mask: u32 = (1 << width) - 1;
    for (let i = 0; i < size; i++) {
      const key = load<u32>(keys + bytesOf(i));
      if (key >> (shift + width) == threshold) {
        const count = counts + bytesOf((key >> shift) & mask);
        store<u32>(count, load<u32>(count) + 1);
      }
    }
    bin = binOfRank(counts, mask, left);
    left -= load<u32>(counts + bytesOf(2048));
    threshold = (threshold << width) | bin;
    if (shift == 0) break;
  }

  for (let i = 0; i < size; i++) {
    const key = load<u32>(keys + bytesOf(i));
    if (key < threshold) continue;
    if (key == threshold) {
      if (left == 0) continue;
      left--;
    }
    store<i32>(out, i);
    out += 4;
  }
}

/** The bin of the element of a rank (from 1) counted from the last bin; after the counts, the number in bins beyond it. */
function binOfRank(counts: usize, last: u32, rank: u32): u32 {
  let beyond: u32 = 0;
  let bin = last;
  for (; bin > 0; bin--) {
    const count = load<u32>(counts + bytesOf(bin));
    if (beyond + count >= rank) break;
    beyond += count;
  }
  store<u32>(counts + bytesOf(2048), beyond);
  return bin;
}

// Arguments: x [B, S], candidates [B, k], values [B, k], indices [B, k], S, k. Sorts the candidates by falling value, equal
// ones by rising index. Scratch: k words of 64 bits. A task is a row.
export function topKOrder(args: usize, task: i32, scratch: usize): void {
  const size = integerAt(args, 4);
  const k = integerAt(args, 5);
  const x = addressAt(args, 0) + bytesOf(task * size);
  const candidates = addressAt(args, 1) + bytesOf(task * k);
  const values = addressAt(args, 2) + bytesOf(task * k);
  const indices = addressAt(args, 3) + bytesOf(task * k);
  for (let i = 0; i < k; i++) {
    const index = load<u32>(candidates + bytesOf(i));
    const key = keyOf(load<u32>(x + bytesOf(index)));
    store<u64>(scratch + (<usize>i << 3), (<u64>~key << 32) | <u64>index);
  }
  sortRising(scratch, k);
  for (let i = 0; i < k; i++) {
    const index = <u32>load<u64>(scratch + (<usize>i << 3));
    store<u32>(indices + bytesOf(i), index);
    store<u32>(values + bytesOf(i), load<u32>(x + bytesOf(index)));
  }
}

/** Heapsort. */
function sortRising(items: usize, count: i32): void {
  for (let root = (count >> 1) - 1; root >= 0; root--) sink(items, root, count, load<u64>(items + (<usize>root << 3)));
  for (let end = count - 1; end > 0; end--) {
    const last = load<u64>(items + (<usize>end << 3));
    store<u64>(items + (<usize>end << 3), load<u64>(items));
    sink(items, 0, end, last);
  }
}

function sink(items: usize, root: i32, count: i32, item: u64): void {
  for (;;) {
    let child = 2 * root + 1;
    if (child >= count) break;
    const left = items + (<usize>child << 3);
    let larger = load<u64>(left);
    if (child + 1 < count && load<u64>(left, 8) > larger) {
      larger = load<u64>(left, 8);
      child++;
    }
    if (larger <= item) break;
    store<u64>(items + (<usize>root << 3), larger);
    root = child;
  }
  store<u64>(items + (<usize>root << 3), item);
}
