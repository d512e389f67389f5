import type { AdapterTraits, WgslProgram } from '../../engine/index.ts';
import { type FeatureLevels, levelsField, levelsFieldScalars } from '../levels.ts';
import { mathWgsl } from '../math.wgsl.ts';
import { flatMain, flatWorkgroups, memoized } from '../wgsl.ts';

/** What the shader text depends on. */
export interface DeformableForm {
  /** Channels per head. */
  readonly width: number;
  readonly referenceSize: 2 | 4;
  readonly mask: boolean;
  readonly weights: boolean;
}

export interface DeformableSizes {
  readonly points: number;
  readonly batch: number;
  readonly tokens: number;
  readonly queries: number;
  readonly heads: number;
  readonly levels: FeatureLevels;
}

/**
 * An invocation sums up some channels of one head for one query. On a GPU four channels, so that neighbouring
 * invocations read neighbouring channels; on a software adapter up to 16, which share the places of the points. More
 * would be faster there, too, but compile for seconds.
 */
export function planDeformableAttention(
  form: DeformableForm,
  { batch, tokens, queries, heads, points, levels }: DeformableSizes,
  { software }: AdapterTraits,
): WgslProgram {
  const lanes = form.width % 4 === 0 ? 4 : 1;
  const vectors = form.width / lanes;
  const share = software ? [4, 2, 1].find(share => vectors % share === 0)! : 1;
  return {
    code: deformableAttentionCode(form, levels.length, lanes, share),
    workgroups: flatWorkgroups(batch * queries * heads * (vectors / share)),
    scalars: [...levelsFieldScalars(levels), batch, tokens, queries, heads, points, levels.length],
  };
}

/**
 * @param lanes channels per vector
 * @param share vectors per invocation
 */
const deformableAttentionCode = memoized(
  ({ width, referenceSize, mask, weights }: DeformableForm, levels: number, lanes: 1 | 4, share: number) => {
    const vector = lanes === 4 ? 'vec4f' : 'f32';
    const parts = width / lanes / share;
    return /* wgsl */ `${mathWgsl('expOf')}
struct Sizes {
  ${levelsField(levels)}
  batch: u32, tokens: u32, queries: u32, heads: u32, points: u32, levelCount: u32,
}
@group(0) @binding(0) var<storage, read> value: array<${vector}>;
@group(0) @binding(1) var<storage, read> offsets: array<vec2f>;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read> references: array<${referenceSize === 4 ? 'vec4f' : 'vec2f'}>;
${mask ? '@group(0) @binding(4) var<storage, read> keyMask: array<f32>;' : ''}
@group(0) @binding(5) var<storage, read_write> output: array<${vector}>;
${weights ? '@group(0) @binding(6) var<storage, read_write> weights: array<f32>;' : ''}
@group(0) @binding(${weights ? 7 : 6}) var<uniform> sizes: Sizes;

// Vectors of a head, of an invocation, and invocations of a head.
const VECTORS = ${width / lanes}u;
const SHARE = ${share}u;
const PARTS = ${parts}u;

var<private> sum: array<${vector}, SHARE>;

// Adds a cell of a feature map; one that does not exist counts as zeros.
fn addCell(exists: bool, token: u32, batch: u32, head: u32, part: u32, weight: f32) {
  ${
    mask
      ? `let row = batch * sizes.tokens + select(0u, token, exists);
  let visible = exists && keyMask[row] != 0.0;`
      : `let row = batch * sizes.tokens + select(0u, token, exists);
  let visible = exists;`
  }
  let first = (row * sizes.heads + head) * VECTORS + part * SHARE;
  for (var c = 0u; c < SHARE; c++) {
    sum[c] += weight * select(${vector}(0.0), value[first + c], visible);
  }
}

${flatMain(
  'sizes.batch * sizes.queries * sizes.heads * PARTS',
  /* wgsl */ `
  let part = index % PARTS;
  let row = index / PARTS;
  let head = row % sizes.heads;
  let query = row / sizes.heads;
  let batch = query / sizes.queries;
  let count = sizes.levelCount * sizes.points;
  let first = row * count;
  var highest = logits[first];
  for (var i = 1u; i < count; i++) { highest = select(highest, logits[first + i], logits[first + i] > highest); }
  var normaliser = 0.0;
  for (var i = 0u; i < count; i++) { normaliser += expOf(logits[first + i] - highest); }
  for (var c = 0u; c < SHARE; c++) { sum[c] = ${vector}(0.0); }
  for (var level = 0u; level < sizes.levelCount; level++) {
    let map = sizes.levels[level];
    let size = vec2f(map.yx);
    let reference = references[query * sizes.levelCount + level];
    let base = reference.xy * size - 0.5;
    let step = ${referenceSize === 4 ? 'reference.zw * size * (0.5 / f32(sizes.points))' : 'vec2f(1.0)'};
    for (var point = 0u; point < sizes.points; point++) {
      let i = first + level * sizes.points + point;
      let attention = expOf(logits[i] - highest) / normaliser;
      ${weights ? 'if (part == 0u) { weights[i] = attention; }' : ''}
      let place = base + step * offsets[i];
      let corner = floor(place);
      let far = place - corner;
      let near = 1.0 - far;
      let left = corner.x >= 0.0 && corner.x < size.x;
      let right = corner.x >= -1.0 && corner.x < size.x - 1.0;
      let top = corner.y >= 0.0 && corner.y < size.y;
      let bottom = corner.y >= -1.0 && corner.y < size.y - 1.0;
      let token = u32(i32(map.z) + i32(corner.y) * i32(map.y) + i32(corner.x));
      let below = token + map.y;
      addCell(top && left, token, batch, head, part, attention * near.y * near.x);
      addCell(top && right, token + 1u, batch, head, part, attention * near.y * far.x);
      addCell(bottom && left, below, batch, head, part, attention * far.y * near.x);
      addCell(bottom && right, below + 1u, batch, head, part, attention * far.y * far.x);
    }
  }
  for (var c = 0u; c < SHARE; c++) { output[row * VECTORS + part * SHARE + c] = sum[c]; }`,
)}`;
  },
);
