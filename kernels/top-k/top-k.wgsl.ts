import type { WgslProgram } from '../../engine/index.ts';
import { flatMain, flatWorkgroups, workgroupGrid } from '../wgsl.ts';

const KEY = /* wgsl */ `
// Unsigned integers that order as the floats of these bits, NaN above all, -0 as 0.
fn keyOf(bits: u32) -> u32 {
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return 0xffffffffu; }
  if (bits == 0x80000000u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}`;

/**
 * A workgroup per row. Four rounds of counting eight bits each find the k-th largest key; then every invocation writes the
 * chosen elements of its part of the row to their places: the larger ones first, then the first ones that equal the k-th.
 */
export function planTopKSelect(batch: number, size: number, k: number): WgslProgram {
  return { code: SELECT, workgroups: workgroupGrid(batch), scalars: [batch, size, k] };
}

const SELECT = /* wgsl */ `${KEY}
struct Sizes { batch: u32, size: u32, k: u32 }
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> candidates: array<u32>;
@group(0) @binding(2) var<uniform> sizes: Sizes;

var<workgroup> counts: array<atomic<u32>, 256>;
var<workgroup> largerCounts: array<u32, 256>;
var<workgroup> equalCounts: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
        @builtin(local_invocation_index) local: u32) {
  let batch = workgroup.y * workgroups.x + workgroup.x;
  if (batch >= sizes.batch) { return; }
  let row = batch * sizes.size;
  // The leading bits of the k-th largest key, and how many of the elements that share them are still to be chosen.
  var threshold = 0u;
  var left = sizes.k;
  for (var round = 0u; round < 4u; round++) {
    let shift = 24u - 8u * round;
    atomicStore(&counts[local], 0u);
    workgroupBarrier();
    for (var i = local; i < sizes.size; i += 256u) {
      let key = keyOf(x[row + i]);
      if (round == 0u || (key >> (shift + 8u)) == threshold) { atomicAdd(&counts[(key >> shift) & 255u], 1u); }
    }
    workgroupBarrier();
    var bin = 255u;
    var count = atomicLoad(&counts[bin]);
    while (count < left && bin > 0u) {
      left -= count;
      bin--;
      count = atomicLoad(&counts[bin]);
    }
    threshold = (threshold << 8u) | bin;
    workgroupBarrier();
  }

  let part = (sizes.size + 255u) / 256u;
  let start = min(local * part, sizes.size);
  let end = min(start + part, sizes.size);
  var larger = 0u;
  var equal = 0u;
  for (var i = start; i < end; i++) {
    let key = keyOf(x[row + i]);
    if (key > threshold) { larger++; }
    if (key == threshold) { equal++; }
  }
  largerCounts[local] = larger;
  equalCounts[local] = equal;
  workgroupBarrier();
  larger = 0u;
  equal = 0u;
  for (var before = 0u; before < local; before++) {
    larger += largerCounts[before];
    equal += equalCounts[before];
  }
  let out = batch * sizes.k;
  for (var i = start; i < end; i++) {
    let key = keyOf(x[row + i]);
    if (key > threshold) {
      candidates[out + larger] = i;
      larger++;
    } else if (key == threshold) {
      if (equal < left) { candidates[out + sizes.k - left + equal] = i; }
      equal++;
    }
  }
}
`;

/** An invocation per candidate counts those that come before it, and writes it to that place. */
export function planTopKOrder(batch: number, size: number, k: number): WgslProgram {
  return { code: ORDER, workgroups: flatWorkgroups(batch * k), scalars: [batch, size, k] };
}

const ORDER = /* wgsl */ `${KEY}
struct Sizes { batch: u32, size: u32, k: u32 }
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> candidates: array<u32>;
@group(0) @binding(2) var<storage, read_write> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> indices: array<u32>;
@group(0) @binding(4) var<uniform> sizes: Sizes;
${flatMain(
  'sizes.batch * sizes.k',
  /* wgsl */ `
  let batch = index / sizes.k;
  let first = batch * sizes.k;
  let row = batch * sizes.size;
  let candidate = candidates[index];
  let bits = x[row + candidate];
  let key = keyOf(bits);
  var place = first;
  for (var i = first; i < first + sizes.k; i++) {
    let other = candidates[i];
    let otherKey = keyOf(x[row + other]);
    if (otherKey > key || (otherKey == key && other < candidate)) { place++; }
  }
  values[place] = bits;
  indices[place] = candidate;`,
)}`;
