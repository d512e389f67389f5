import type { WgslProgram } from '../../engine/index.ts';
import { mathWgsl } from '../math.wgsl.ts';
import { flatMain, flatWorkgroups } from '../wgsl.ts';

/** What the shader text depends on. */
export interface AttentionForm {
  /** Channels of a query and a key per head, and of a value. */
  readonly width: number;
  readonly valueWidth: number;
  /** Scores have a second term from positions. */
  readonly positions: boolean;
  readonly mask: boolean;
  readonly weights: boolean;
}

export interface AttentionSizes {
  readonly batch: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly scale: number;
}

/**
 * Barrier-free: an invocation walks all keys for one query of one head and keeps the running maximum, sum and output.
 * Bindings: query 0, query position 1, key 2, key position 3, value 4, mask 5, output 6, weights 7, then the sizes.
 */
export function planAttention(form: AttentionForm, sizes: AttentionSizes): WgslProgram {
  const { batch, heads, queries, keys, scale } = sizes;
  return {
    code: attentionCode(form),
    workgroups: flatWorkgroups(batch * heads * queries),
    scalars: [batch, heads, queries, keys, { f32: scale }],
  };
}

function attentionCode({ width, valueWidth, positions, mask, weights }: AttentionForm): string {
  const lanes = width % 4 === 0 && valueWidth % 4 === 0 ? 4 : 1;
  const vector = lanes === 4 ? 'vec4f' : 'f32';
  const product = (a: string, b: string) => (lanes === 4 ? `dot(${a}, ${b})` : `${a} * ${b}`);
  const read = (binding: number, name: string, element = vector) =>
    `@group(0) @binding(${binding}) var<storage, read> ${name}: array<${element}>;`;
  const write = (binding: number, name: string, element = vector) =>
    `@group(0) @binding(${binding}) var<storage, read_write> ${name}: array<${element}>;`;
  return /* wgsl */ `${mathWgsl('expOf')}
struct Sizes { batch: u32, heads: u32, queries: u32, keys: u32, scale: f32 }
${read(0, 'query')}
${positions ? read(1, 'queryPosition') : ''}
${read(2, 'key')}
${positions ? read(3, 'keyPosition') : ''}
${read(4, 'value')}
${mask ? read(5, 'keyMask', 'f32') : ''}
${write(6, 'output')}
${weights ? write(7, 'weights', 'f32') : ''}
@group(0) @binding(${weights ? 8 : 7}) var<uniform> sizes: Sizes;

const WIDTH = ${width / lanes}u;
const VALUE_WIDTH = ${valueWidth / lanes}u;
const LOWEST = -0x1.fffffep+127f;

var<private> q: array<${vector}, WIDTH>;
${positions ? `var<private> qp: array<${vector}, WIDTH>;` : ''}
var<private> sum: array<${vector}, VALUE_WIDTH>;

fn score(batch: u32, head: u32, keyIndex: u32) -> f32 {
  let row = ((batch * sizes.keys + keyIndex) * sizes.heads + head) * WIDTH;
  var total = 0.0;
  for (var c = 0u; c < WIDTH; c++) {
    total += ${product('q[c]', 'key[row + c]')};
    ${positions ? `total += ${product('qp[c]', 'keyPosition[row + c]')};` : ''}
  }
  ${mask ? 'if (keyMask[batch * sizes.keys + keyIndex] == 0.0) { total += LOWEST; }' : ''}
  return total;
}

${flatMain(
  'sizes.batch * sizes.heads * sizes.queries',
  /* wgsl */ `
  // Neighbouring invocations share a head, and so its keys and values.
  let queryIndex = index % sizes.queries;
  let head = (index / sizes.queries) % sizes.heads;
  let batch = index / (sizes.queries * sizes.heads);
  let queryRow = (batch * sizes.queries + queryIndex) * sizes.heads + head;
  for (var c = 0u; c < WIDTH; c++) {
    q[c] = query[queryRow * WIDTH + c] * sizes.scale;
    ${positions ? 'qp[c] = queryPosition[queryRow * WIDTH + c] * sizes.scale;' : ''}
  }
  for (var c = 0u; c < VALUE_WIDTH; c++) { sum[c] = ${vector}(0.0); }
  var highest = LOWEST;
  var normaliser = 0.0;
  for (var k = 0u; k < sizes.keys; k++) {
    let s = score(batch, head, k);
    if (s > highest) {
      let correction = expOf(highest - s);
      highest = s;
      normaliser *= correction;
      for (var c = 0u; c < VALUE_WIDTH; c++) { sum[c] *= correction; }
    }
    let p = expOf(s - highest);
    normaliser += p;
    let row = ((batch * sizes.keys + k) * sizes.heads + head) * VALUE_WIDTH;
    for (var c = 0u; c < VALUE_WIDTH; c++) { sum[c] += p * value[row + c]; }
  }
  for (var c = 0u; c < VALUE_WIDTH; c++) { output[queryRow * VALUE_WIDTH + c] = sum[c] / normaliser; }
  ${
    weights
      ? `let weightsRow = ((batch * sizes.heads + head) * sizes.queries + queryIndex) * sizes.keys;
  for (var k = 0u; k < sizes.keys; k++) {
    weights[weightsRow + k] = expOf(score(batch, head, k) - highest) / normaliser;
  }`
      : ''
  }`,
)}`;
}
