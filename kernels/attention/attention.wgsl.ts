// Per head: queries [Tq, d], keys [Tk, d], values [Tk, dv]. A quad is four neighbouring channels, keys or queries. Every form
// walks the keys once and keeps each query's highest score, sum of exponentials and output so far (online softmax).

import type { AdapterTraits, WgslProgram } from '../../engine/index.ts';
import { mathWgsl } from '../math.wgsl.ts';
import {
  COMPONENTS,
  commaSeparated,
  flatMain,
  flatWorkgroups,
  lines,
  memoized,
  quadsOf,
  slicesThatFit,
  workgroupGrid,
} from '../wgsl.ts';

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
 * `tiled`, for GPUs: a workgroup takes 32 queries and brings the keys and values through workgroup memory; slices of its
 * threads take other keys each (see `attentionSlices`). `broadcast`, for software adapters: each lane of a subgroup loads
 * another key or channel and broadcasts it (see gemm.wgsl.ts). `single`, for adapters without the means: an invocation takes
 * one query.
 */
export type AttentionKind = 'tiled' | 'broadcast' | 'single';

export function attentionKind(form: AttentionForm, traits: AdapterTraits): AttentionKind {
  if (!traits.software) return tiledBytes(form, 1) <= traits.maxWorkgroupStorageBytes ? 'tiled' : 'single';
  const lanesFit = traits.subgroupSize > 0 && KEYS_PER_TILE % traits.subgroupSize === 0;
  return lanesFit && form.valueWidth <= 64 ? 'broadcast' : 'single';
}

/** From about this many workgroups on a GPU is busy with one slice in each. */
const WORKGROUPS_TO_FILL_A_GPU = 1024;
/** As many as make up the 256 invocations that every adapter takes. */
const MOST_SLICES = 4;

/**
 * Into how many slices the tiled form divides the keys, a power of two: with few queries there are few workgroups, and a
 * GPU would wait for each to walk all keys.
 */
export function attentionSlices(form: AttentionForm, sizes: AttentionSizes, traits: AdapterTraits): number {
  if (queryTiles(sizes) >= WORKGROUPS_TO_FILL_A_GPU) return 1;
  const keyTiles = Math.ceil(sizes.keys / KEYS_PER_TILE);
  return slicesThatFit(MOST_SLICES, slices => {
    return slices < 2 * keyTiles && tiledBytes(form, slices) <= traits.maxWorkgroupStorageBytes;
  });
}

/** Workgroups of the tiled form. */
const queryTiles = ({ batch, heads, queries }: AttentionSizes) => batch * heads * Math.ceil(queries / QUERIES_PER_TILE);

/** Bindings: query 0, query position 1, key 2, key position 3, value 4, mask 5, output 6, weights 7, then the sizes. */
export function planAttention(traits: AdapterTraits, form: AttentionForm, sizes: AttentionSizes): WgslProgram {
  const { batch, heads, queries, keys, scale } = sizes;
  const scalars = [batch, heads, queries, keys, { f32: scale }];
  switch (attentionKind(form, traits)) {
    case 'tiled': {
      const slices = attentionSlices(form, sizes, traits);
      return { code: tiledCode(form, slices), workgroups: workgroupGrid(queryTiles(sizes)), scalars };
    }
    case 'broadcast': {
      const lanes = traits.subgroupSize;
      const tiles = batch * heads * Math.ceil(queries / (4 * lanes));
      return { code: broadcastCode(form, lanes), workgroups: workgroupGrid(tiles), scalars };
    }
    case 'single':
      return { code: singleCode(form), workgroups: flatWorkgroups(batch * heads * queries), scalars };
  }
}

const tiledCode = memoized(
  (form: AttentionForm, slices: number) => declarations(form, 'tiled') + tiledMain(form, slices),
);
const broadcastCode = memoized(
  (form: AttentionForm, lanes: number) =>
    `enable subgroups;\n${declarations(form, 'broadcast')}${broadcastMain(form, lanes)}`,
);
const singleCode = memoized((form: AttentionForm) => declarations(form, 'single') + singleMain(form));

/** Bindings, sizes, and functions that read quads of channels: zero beyond the last channel. */
function declarations({ width, valueWidth, positions, mask, weights }: AttentionForm, kind: AttentionKind): string {
  const typeOf = (channels: number) => (channels % 4 === 0 ? 'vec4f' : 'f32');
  const input = (binding: number, name: string, type: string) =>
    `@group(0) @binding(${binding}) var<storage, read> ${name}: array<${type}>;`;
  const output = (binding: number, name: string, type: string) =>
    `@group(0) @binding(${binding}) var<storage, read_write> ${name}: array<${type}>;`;
  const reader = (name: string, channels: number) => {
    const quads = quadsOf(channels);
    if (channels % 4 === 0)
      return `fn ${name}Quad(row: u32, quad: u32) -> vec4f { return ${name}[row * ${quads}u + quad]; }`;
    const element = (i: number) =>
      `select(0.0, ${name}[min(first + ${i}u, row * ${channels}u + ${channels - 1}u)], 4u * quad + ${i}u < ${channels}u)`;
    return /* wgsl */ `fn ${name}Quad(row: u32, quad: u32) -> vec4f {
  let first = row * ${channels}u + 4u * quad;
  return vec4f(${commaSeparated(4, element)});
}`;
  };
  return /* wgsl */ `${mathWgsl('expOf')}
struct Sizes { batch: u32, heads: u32, queries: u32, keys: u32, scale: f32 }
${input(0, 'query', typeOf(width))}
${positions ? input(1, 'queryPosition', typeOf(width)) : ''}
${input(2, 'key', typeOf(width))}
${positions ? input(3, 'keyPosition', typeOf(width)) : ''}
${input(4, 'value', kind === 'broadcast' ? 'f32' : typeOf(valueWidth))}
${mask ? input(5, 'keyMask', 'f32') : ''}
${output(6, 'output', typeOf(valueWidth))}
${weights ? output(7, 'weights', 'f32') : ''}
@group(0) @binding(${weights ? 8 : 7}) var<uniform> sizes: Sizes;

/** What padding gets added: so a query whose keys are all padding weighs them alike. */
const LOWEST = -0x1.fffffep+127f;

${reader('query', width)}
${positions ? reader('queryPosition', width) : ''}
${reader('key', width)}
${positions ? reader('keyPosition', width) : ''}
${kind === 'broadcast' ? '' : reader('value', valueWidth)}
/** What is added to the scores of a key. */
fn biasOf(batch: u32, keyIndex: u32) -> f32 {
  ${mask ? 'return select(0.0, LOWEST, keyMask[batch * sizes.keys + keyIndex] == 0.0);' : 'return 0.0;'}
}
fn exponential(x: vec4f) -> vec4f { return vec4f(expOf(x.x), expOf(x.y), expOf(x.z), expOf(x.w)); }
/** NaN is passed over here; it reaches the result through the exponentials. */
fn higher(a: vec4f, b: vec4f) -> vec4f { return select(a, b, b > a); }
fn storeOutput(row: u32, quad: u32, result: vec4f) {
  ${
    valueWidth % 4 === 0
      ? `output[row * ${valueWidth / 4}u + quad] = result;`
      : `for (var i = 0u; i < min(4u, ${valueWidth}u - 4u * quad); i++) { output[row * ${valueWidth}u + 4u * quad + i] = result[i]; }`
  }
}
struct Tile { batch: u32, head: u32, query: u32 }
/** Neighbouring tiles share a head, and so its keys and values. */
fn tileAt(index: u32, queriesPerTile: u32) -> Tile {
  let tilesPerHead = (sizes.queries + queriesPerTile - 1u) / queriesPerTile;
  let head = index / tilesPerHead;
  return Tile(head / sizes.heads, head % sizes.heads, index % tilesPerHead * queriesPerTile);
}
/** Rows of [.., heads, channels]; beyond the last query or key the last one is read again. */
fn queryRow(tile: Tile, queryIndex: u32) -> u32 {
  return (tile.batch * sizes.queries + min(queryIndex, sizes.queries - 1u)) * sizes.heads + tile.head;
}
fn keyRow(tile: Tile, keyIndex: u32) -> u32 {
  return (tile.batch * sizes.keys + min(keyIndex, sizes.keys - 1u)) * sizes.heads + tile.head;
}
`;
}

/** The terms of a score: content, and positions where there are any. */
const termsOf = ({ positions }: AttentionForm) =>
  positions
    ? ([
        ['query', 'key'],
        ['queryPosition', 'keyPosition'],
      ] as const)
    : ([['query', 'key']] as const);

const KEYS_PER_TILE = 32;

/** A thread takes four queries; its sums are `total0…`, one per channel, with the queries side by side. */
function broadcastMain(form: AttentionForm, lanes: number): string {
  const { width, valueWidth, weights } = form;
  const rows = lanes * Math.ceil(valueWidth / lanes);
  const queriesPerTile = 4 * lanes;
  const multiply = (target: string, count: number) =>
    lines(count, row => {
      const block = `left${Math.floor(row / lanes)}`;
      return COMPONENTS.map(
        (c, k) =>
          `${target}${row} = fma(vec4f(subgroupBroadcast(${block}.${c}, ${row % lanes}u)), right${k}, ${target}${row});`,
      ).join(' ');
    });
  const scores = /* wgsl */ `
    ${lines(KEYS_PER_TILE, r => `var score${r} = vec4f();`)}
    ${termsOf(form)
      .map(
        ([queries, keys]) => /* wgsl */ `for (var quad = 0u; quad < ${quadsOf(width)}u; quad++) {
      ${lines(4, i => `let query${i} = ${queries}Quad(queryRow(tile, firstQuery + ${i}u), quad) * sizes.scale;`)}
      ${lines(4, k => `let right${k} = vec4f(${commaSeparated(4, i => `query${i}.${COMPONENTS[k]}`)});`)}
      ${lines(KEYS_PER_TILE / lanes, b => `let left${b} = ${keys}Quad(keyRow(tile, base + ${b * lanes}u + lane), quad);`)}
      ${multiply('score', KEYS_PER_TILE)}
    }`,
      )
      .join('\n')}
    ${lines(KEYS_PER_TILE / lanes, b => `let bias${b} = biasOf(tile.batch, min(base + ${b * lanes}u + lane, sizes.keys - 1u));`)}
    ${lines(KEYS_PER_TILE, r => `score${r} += subgroupBroadcast(bias${Math.floor(r / lanes)}, ${r % lanes}u);`)}
    // Loops, because compilers take their time; beyond the last key they are its scores again, and are not walked.
    var scores = array<vec4f, ${KEYS_PER_TILE}>(${commaSeparated(KEYS_PER_TILE, r => `score${r}`)});
    let count = min(${KEYS_PER_TILE}u, sizes.keys - base);`;
  return /* wgsl */ `
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) thread: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let index = group.y * groups.x + group.x;
  let tile = tileAt(index, ${queriesPerTile}u);
  if (tile.batch >= sizes.batch) { return; }
  let firstQuery = tile.query + 4u * thread;
  var highest = vec4f(LOWEST);
  var normaliser = vec4f();
  ${lines(rows, c => `var total${c} = vec4f();`)}
  for (var base = 0u; base < sizes.keys; base += ${KEYS_PER_TILE}u) {
    ${scores}
    let before = highest;
    ${lines(KEYS_PER_TILE, r => `highest = higher(highest, score${r});`)}
    let correction = exponential(before - highest);
    normaliser *= correction;
    ${lines(rows, c => `total${c} *= correction;`)}
    for (var r = 0u; r < count; r++) {
      let weight = exponential(scores[r] - highest);
      normaliser += weight;
      ${lines(rows / lanes, b => `let value${b} = valueOf(tile, base + r, ${b * lanes}u + lane);`)}
      ${lines(rows, c => `total${c} = fma(vec4f(subgroupBroadcast(value${Math.floor(c / lanes)}, ${c % lanes}u)), weight, total${c});`)}
    }
  }
  var totals = array<vec4f, ${rows}>(${commaSeparated(rows, c => `total${c}`)});
  for (var quad = 0u; quad < ${quadsOf(valueWidth)}u; quad++) {
    ${lines(4, c => `let total${c} = totals[4u * quad + ${c}u] / normaliser;`)}
    ${lines(
      4,
      i => `if (firstQuery + ${i}u < sizes.queries) {
      storeOutput(queryRow(tile, firstQuery + ${i}u), quad, vec4f(${commaSeparated(4, c => `total${c}.${COMPONENTS[i]}`)}));
    }`,
    )}
  }
  ${
    weights
      ? /* wgsl */ `
  let firstRow = (tile.batch * sizes.heads + tile.head) * sizes.queries + firstQuery;
  for (var base = 0u; base < sizes.keys; base += ${KEYS_PER_TILE}u) {
    ${scores}
    for (var r = 0u; r < count; r++) {
      let weight = exponential(scores[r] - highest) / normaliser;
      for (var i = 0u; i < min(4u, max(sizes.queries, firstQuery) - firstQuery); i++) {
        weights[(firstRow + i) * sizes.keys + base + r] = weight[i];
      }
    }
  }`
      : ''
  }
}

/** A channel of a key's value; beyond the last channel that one is read again. */
fn valueOf(tile: Tile, keyIndex: u32, channel: u32) -> f32 {
  return value[keyRow(tile, keyIndex) * ${valueWidth}u + min(channel, ${valueWidth - 1}u)];
}`;
}

/** As many as keys, so that a tile of values has room for the queries' totals. */
const QUERIES_PER_TILE = KEYS_PER_TILE;
/** Threads of a slice, a square of 8 x 8. */
const SLICE_THREADS = 64;

const scoreQuadsOf = (form: AttentionForm) => termsOf(form).length * quadsOf(form.width);

/**
 * Rows and columns of the tiles in workgroup memory, in quads. Where threads read columns, rows are a quad longer than they
 * need be, so that columns lie in different banks.
 */
function tileShapes(form: AttentionForm) {
  const scoreQuads = scoreQuadsOf(form);
  return {
    query: [scoreQuads, QUERIES_PER_TILE + 1],
    // Later the exponentials, a row for each x.
    key: [Math.max(scoreQuads, 8), KEYS_PER_TILE + 1],
    value: [KEYS_PER_TILE, quadsOf(form.valueWidth)],
    partial: [8, 8 + 1],
  } as const;
}

/** Workgroup memory of the tiled form: slices share the queries. */
function tiledBytes(form: AttentionForm, slices: number): number {
  const { query, key, value, partial } = tileShapes(form);
  const quads = ([rows, columns]: readonly [number, number]) => rows * columns;
  return 16 * (quads(query) + slices * (quads(key) + quads(value) + quads(partial)));
}

/** The `index`-th of the quads x, x + 8, … that a thread has of a row; beyond the last quad that one again. */
const threadQuad = (quads: number, index: number) =>
  8 * (index + 1) <= quads ? `x + ${8 * index}u` : `min(x + ${8 * index}u, ${quads - 1}u)`;

/** A statement for each of a thread's quads that there is. */
const eachQuad = (quads: number, statement: (quad: string, index: number) => string) =>
  lines(Math.ceil(quads / 8), index => {
    const quad = `x + ${8 * index}u`;
    const text = statement(quad, index);
    return 8 * (index + 1) <= quads ? text : `if (${quad} < ${quads}u) { ${text} }`;
  });

/**
 * Slice s takes the tiles of keys s, s + slices, …; in the end what slices found is united the way tiles are. In a slice,
 * thread (x, y) has queries 4 y… and keys x, x + 8, … of the scores, and channel quads x, x + 8, … of the output: so
 * that neighbouring threads read neighbouring quads, which lie in different banks.
 *
 * Compilers clamp each index of an array in workgroup memory that they cannot bound. Tiles are arrays of arrays, so that in
 * inner loops, once these are unrolled, one index is constant and the other stays the same.
 */
function tiledMain(form: AttentionForm, slices: number): string {
  const { width, valueWidth, weights } = form;
  const quads = quadsOf(width);
  const valueQuads = quadsOf(valueWidth);
  const threadQuads = Math.ceil(valueQuads / 8);
  const loadQueries = termsOf(form)
    .map(([queries], term) =>
      eachQuad(
        quads,
        quad => `queryTile[${term * quads}u + ${quad}][row] = ${queries}Quad(source, ${quad}) * sizes.scale;`,
      ),
    )
    .join('\n');
  const keyParts = termsOf(form).map(([, source], term) => ({
    source,
    quads,
    place: (row: string, quad: string) => `keyTile[slice][${term * quads}u + ${quad}][${row}]`,
  }));
  const valuePart = {
    source: 'value',
    quads: valueQuads,
    place: (row: string, quad: string) => `valueTile[slice][${row}][${quad}]`,
  };
  // A thread loads quads x, x + 8, … of rows y, y + 8, …, all of them before the first store, so that it waits but once.
  const load = (parts: readonly (typeof valuePart)[]) => /* wgsl */ `
    ${lines(KEYS_PER_TILE / 8, r => `let row${r} = keyRow(tile, base + y + ${8 * r}u);`)}
    ${parts
      .map(({ source, quads }) =>
        lines(KEYS_PER_TILE / 8, r =>
          lines(Math.ceil(quads / 8), q => `let ${source}${r}_${q} = ${source}Quad(row${r}, ${threadQuad(quads, q)});`),
        ),
      )
      .join('\n')}
    ${lines(KEYS_PER_TILE / 8, r => {
      const row = `y + ${8 * r}u`;
      const stores = parts.map(({ source, quads, place }) =>
        eachQuad(
          quads,
          (quad, q) => `${place(row, quad)} = select(vec4f(), ${source}${r}_${q}, base + ${row} < sizes.keys);`,
        ),
      );
      return stores.join('\n');
    })}`;
  // score{i}: query 4 y + i with four keys.
  const scores = /* wgsl */ `
    ${lines(4, i => `var score${i} = vec4f();`)}
    for (var quad = 0u; quad < ${scoreQuadsOf(form)}u; quad++) {
      ${lines(4, j => `let key${j} = keyTile[slice][quad][x + ${8 * j}u];`)}
      ${lines(4, i => `let query${i} = queryTile[quad][4u * y + ${i}u];`)}
      ${COMPONENTS.map(
        c => /* wgsl */ `{
        let keys = vec4f(${commaSeparated(4, j => `key${j}.${c}`)});
        ${lines(4, i => `score${i} = fma(vec4f(query${i}.${c}), keys, score${i});`)}
      }`,
      ).join('\n')}
    }
    let keyIndices = base + x + vec4u(0, 8, 16, 24);
    let exists = keyIndices < vec4u(sizes.keys);
    let lastKey = sizes.keys - 1u;
    let bias = vec4f(${commaSeparated(4, j => `biasOf(tile.batch, min(keyIndices[${j}], lastKey))`)});
    ${lines(4, i => `score${i} = select(vec4f(LOWEST), score${i} + bias, exists);`)}`;
  // All slices walk as often, because they meet at barriers: the last tile of some may lie beyond the last key.
  const eachTile = (body: string) => /* wgsl */ `
  for (var first = 0u; first < sizes.keys; first += ${slices * KEYS_PER_TILE}u) {
    let base = first + ${KEYS_PER_TILE}u * slice;
    ${body}
  }`;
  const ofSlices = (term: (slice: number) => string) => Array.from({ length: slices }, (_, s) => term(s)).join(' + ');
  const shapes = tileShapes(form);
  const tileType = ([rows, columns]: readonly [number, number]) => `array<array<vec4f, ${columns}>, ${rows}>`;
  return /* wgsl */ `
var<workgroup> queryTile: ${tileType(shapes.query)};
/** Keys; once there are scores, each x's exponentials of each query. Of this and the following, each slice has its own. */
var<workgroup> keyTile: array<${tileType(shapes.key)}, ${slices}>;
/** Values; in the end the slice's share of the output, a row for each query. */
var<workgroup> valueTile: array<${tileType(shapes.value)}, ${slices}>;
/** What each x knows of each y's queries. */
var<workgroup> partial: array<${tileType(shapes.partial)}, ${slices}>;

fn highestOf(v: vec4f) -> f32 {
  let pair = select(v.xy, v.zw, v.zw > v.xy);
  return select(pair.x, pair.y, pair.y > pair.x);
}

@compute @workgroup_size(${slices * SLICE_THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) thread: u32) {
  let tile = tileAt(group.y * groups.x + group.x, ${QUERIES_PER_TILE}u);
  if (tile.batch >= sizes.batch) { return; }
  let x = thread % 8u;
  let y = thread / 8u % 8u;
  let slice = thread / ${SLICE_THREADS}u;
  for (var row = thread / 8u; row < ${QUERIES_PER_TILE}u; row += ${8 * slices}u) {
    let source = queryRow(tile, tile.query + row);
    ${loadQueries}
  }
  var highest = vec4f(LOWEST);
  var normaliser = vec4f();
  ${lines(4, i => lines(threadQuads, q => `var total${i}_${q} = vec4f();`))}
  ${eachTile(/* wgsl */ `
    // Beyond the last key the exponentials are zero, and so must the values be, since zero times infinity is not.
    ${load([...keyParts, valuePart])}
    workgroupBarrier();
    ${scores}
    partial[slice][x][y] = vec4f(${commaSeparated(4, i => `highestOf(score${i})`)});
    workgroupBarrier();
    let before = highest;
    for (var other = 0u; other < 8u; other++) { highest = higher(highest, partial[slice][other][y]); }
    let correction = exponential(before - highest);
    normaliser *= correction;
    ${lines(
      4,
      i => `{
      let e = select(vec4f(), exponential(score${i} - highest[${i}]), exists);
      normaliser[${i}] += e.x + e.y + e.z + e.w;
      keyTile[slice][x][4u * y + ${i}u] = e;
      ${lines(threadQuads, q => `total${i}_${q} *= correction[${i}];`)}
    }`,
    )}
    workgroupBarrier();
    for (var other = 0u; other < 8u; other++) {
      ${lines(4, i => `let e${i} = keyTile[slice][other][4u * y + ${i}u];`)}
      ${lines(threadQuads, q =>
        lines(
          4,
          k => `{
        let v = valueTile[slice][other + ${8 * k}u][${threadQuad(valueQuads, q)}];
        ${lines(4, i => `total${i}_${q} = fma(vec4f(e${i}[${k}]), v, total${i}_${q});`)}
      }`,
        ),
      )}
    }
    workgroupBarrier();`)}
  // The threads of a slice unite what they found, then the slices: a slice that saw no key has a normaliser of zero.
  partial[slice][x][y] = normaliser;
  workgroupBarrier();
  normaliser = vec4f();
  for (var other = 0u; other < 8u; other++) { normaliser += partial[slice][other][y]; }
  workgroupBarrier();
  partial[slice][x][y] = highest;
  workgroupBarrier();
  let before = highest;
  ${lines(slices, s => `highest = higher(highest, partial[${s}][x][y]);`)}
  workgroupBarrier();
  let correction = exponential(before - highest);
  partial[slice][x][y] = normaliser * correction;
  workgroupBarrier();
  normaliser = ${ofSlices(s => `partial[${s}][x][y]`)};
  ${lines(4, i =>
    eachQuad(
      valueQuads,
      (quad, q) => `valueTile[slice][4u * y + ${i}u][${quad}] = total${i}_${q} * correction[${i}] / normaliser[${i}];`,
    ),
  )}
  workgroupBarrier();
  let queriesHere = min(${QUERIES_PER_TILE}u, sizes.queries - tile.query);
  for (var row = thread / 8u; row < queriesHere; row += ${8 * slices}u) {
    let outputRow = queryRow(tile, tile.query + row);
    ${eachQuad(valueQuads, quad => `storeOutput(outputRow, ${quad}, ${ofSlices(s => `valueTile[${s}][row][${quad}]`)});`)}
  }
  ${
    weights
      ? /* wgsl */ `
  let firstRow = (tile.batch * sizes.heads + tile.head) * sizes.queries + tile.query + 4u * y;
  ${eachTile(/* wgsl */ `
    ${load(keyParts)}
    workgroupBarrier();
    ${scores}
    ${lines(
      4,
      i => `if (tile.query + 4u * y + ${i}u < sizes.queries) {
      let weight = exponential(score${i} - highest[${i}]) / normaliser[${i}];
      for (var j = 0u; j < 4u; j++) {
        if (keyIndices[j] < sizes.keys) { weights[(firstRow + ${i}u) * sizes.keys + keyIndices[j]] = weight[j]; }
      }
    }`,
    )}
    workgroupBarrier();`)}`
      : ''
  }
}`;
}

/** An invocation walks all keys for one query. */
function singleMain(form: AttentionForm): string {
  const { width, valueWidth, weights } = form;
  const quads = quadsOf(width);
  const valueQuads = quadsOf(valueWidth);
  const scoreQuads = scoreQuadsOf(form);
  return /* wgsl */ `
var<private> queryQuads: array<vec4f, ${scoreQuads}>;
var<private> totals: array<vec4f, ${valueQuads}>;

fn score(tile: Tile, keyIndex: u32) -> f32 {
  let row = keyRow(tile, keyIndex);
  var sum = 0.0;
  for (var quad = 0u; quad < ${quads}u; quad++) {
    ${termsOf(form)
      .map(([, keys], term) => `sum += dot(queryQuads[${term * quads}u + quad], ${keys}Quad(row, quad));`)
      .join('\n')}
  }
  return sum + biasOf(tile.batch, keyIndex);
}

${flatMain(
  'sizes.batch * sizes.heads * sizes.queries',
  /* wgsl */ `
  let tile = tileAt(index, 1u);
  let row = queryRow(tile, tile.query);
  for (var quad = 0u; quad < ${quads}u; quad++) {
    ${termsOf(form)
      .map(([queries], term) => `queryQuads[${term * quads}u + quad] = ${queries}Quad(row, quad) * sizes.scale;`)
      .join('\n')}
  }
  for (var quad = 0u; quad < ${valueQuads}u; quad++) { totals[quad] = vec4f(); }
  var highest = LOWEST;
  var normaliser = 0.0;
  for (var k = 0u; k < sizes.keys; k++) {
    let s = score(tile, k);
    if (s > highest) {
      let correction = expOf(highest - s);
      highest = s;
      normaliser *= correction;
      for (var quad = 0u; quad < ${valueQuads}u; quad++) { totals[quad] *= correction; }
    }
    let e = expOf(s - highest);
    normaliser += e;
    let valueRow = keyRow(tile, k);
    for (var quad = 0u; quad < ${valueQuads}u; quad++) { totals[quad] += e * valueQuad(valueRow, quad); }
  }
  for (var quad = 0u; quad < ${valueQuads}u; quad++) { storeOutput(row, quad, totals[quad] / normaliser); }
  ${
    weights
      ? `let firstWeight = ((tile.batch * sizes.heads + tile.head) * sizes.queries + tile.query) * sizes.keys;
  for (var k = 0u; k < sizes.keys; k++) { weights[firstWeight + k] = expOf(score(tile, k) - highest) / normaliser; }`
      : ''
  }`,
)}`;
}
