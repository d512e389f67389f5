import type { WgslProgram } from '../../engine/index.ts';
import { mathWgsl } from '../math.wgsl.ts';
import { flatMain, flatWorkgroups, memoized } from '../wgsl.ts';

/** An invocation sums up one row or one column of one item of the batch. */
export function planGridCoordinates(batch: number, height: number, width: number, offset: number): WgslProgram {
  return {
    code: GRID_COORDINATES,
    workgroups: flatWorkgroups(batch * (height + width)),
    scalars: [batch, height, width, { f32: offset }],
  };
}

const GRID_COORDINATES = /* wgsl */ `
struct Sizes { batch: u32, height: u32, width: u32, offset: f32 }
@group(0) @binding(0) var<storage, read> mask: array<f32>;
@group(0) @binding(1) var<storage, read_write> coordinates: array<f32>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
${flatMain(
  'sizes.batch * (sizes.height + sizes.width)',
  /* wgsl */ `
  let lines = sizes.height + sizes.width;
  let line = index % lines;
  let isRow = line < sizes.height;
  let first = (index / lines) * sizes.height * sizes.width + select(line - sizes.height, line * sizes.width, isRow);
  let step = select(sizes.width, 1u, isRow);
  let length = select(sizes.height, sizes.width, isRow);
  let axis = select(1u, 0u, isRow);
  var total = 0.0;
  for (var i = 0u; i < length; i++) { total += mask[first + i * step]; }
  // Rows and columns without a real pixel stay finite.
  let divisor = total + 1e-6;
  var sum = 0.0;
  for (var i = 0u; i < length; i++) {
    sum += mask[first + i * step];
    coordinates[(first + i * step) * 2u + axis] = (sum + sizes.offset) / divisor;
  }`,
)}`;

/** An invocation writes one feature of one part of one token. */
export function planSineEmbedding(
  tokens: number,
  coordinates: number,
  features: number,
  order: readonly number[],
): WgslProgram {
  return {
    code: sineEmbeddingCode(order),
    workgroups: flatWorkgroups(tokens * order.length * features),
    scalars: [tokens, coordinates, features],
  };
}

const sineEmbeddingCode = memoized(
  (order: readonly number[]) => /* wgsl */ `
struct Sizes { tokens: u32, coordinates: u32, features: u32 }
@group(0) @binding(0) var<storage, read> coordinates: array<f32>;
@group(0) @binding(1) var<storage, read> wavelengths: array<f32>;
@group(0) @binding(2) var<storage, read_write> embedding: array<f32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;

const PARTS = ${order.length}u;
const ORDER = array<u32, PARTS>(${order.map(axis => `${axis}u`).join(', ')});

${mathWgsl('sineOfQuadrant')}
${flatMain(
  'sizes.tokens * PARTS * sizes.features',
  /* wgsl */ `
  let k = index % sizes.features;
  let part = (index / sizes.features) % PARTS;
  let token = index / (sizes.features * PARTS);
  let axis = ORDER[part];
  let angle = coordinates[token * sizes.coordinates + axis] * 6.283185307179586 / wavelengths[k];
  let isCosine = (k & 1u) == 1u;
  let value = sineOfQuadrant(abs(angle), select(0u, 1u, isCosine));
  embedding[index] = select(value, -value, angle < 0.0 && !isCosine);`,
)}`,
);

/** An invocation writes one feature of one token. */
export function planLearnedPositions(batch: number, height: number, width: number, features: number): WgslProgram {
  const count = batch * height * width * 2 * features;
  return {
    code: LEARNED_POSITIONS,
    workgroups: flatWorkgroups(count),
    scalars: [count, height, width, features],
  };
}

const LEARNED_POSITIONS = /* wgsl */ `
struct Sizes { count: u32, height: u32, width: u32, features: u32 }
@group(0) @binding(0) var<storage, read> rows: array<f32>;
@group(0) @binding(1) var<storage, read> columns: array<f32>;
@group(0) @binding(2) var<storage, read_write> positions: array<f32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;
${flatMain(
  'sizes.count',
  /* wgsl */ `
  let k = index % (2u * sizes.features);
  let cell = index / (2u * sizes.features);
  let column = cell % sizes.width;
  let row = (cell / sizes.width) % sizes.height;
  if (k < sizes.features) { positions[index] = columns[column * sizes.features + k]; }
  else { positions[index] = rows[row * sizes.features + k - sizes.features]; }`,
)}`;
