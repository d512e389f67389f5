// M rows and N columns of the product, K the inner length. A quad is four neighbours: of a left row along K, or of a right
// row, or of the product's row, along N.

import type { AdapterTraits, WgslProgram } from '../engine/index.ts';
import type { Activation } from './activation.ts';
import { COMPONENTS, commaSeparated, lines, slicesThatFit, workgroupGrid } from './wgsl.ts';

/** How the product is cut into tiles, each the work of one workgroup. */
export type GemmForm =
  | {
      /**
       * For GPUs: a tile of each operand goes through workgroup memory, and a thread holds `threadRows` x 4
       * `threadQuads` of the product in registers. Each of `slices` groups of threads, a power of two, takes another part
       * of K; their sums are added in the end.
       */
      readonly kind: 'tiled';
      readonly tileRows: number;
      readonly tileColumns: number;
      readonly threadRows: number;
      readonly threadQuads: number;
      readonly slices: number;
    }
  | {
      /**
       * For software adapters: no barrier. Each lane of a subgroup loads another row of the left operand, which is then
       * broadcast, since there a register's lane costs a tenth of a load; a thread holds `threadRows` x 4.
       */
      readonly kind: 'broadcast';
      readonly threadRows: number;
      readonly lanes: number;
    }
  | {
      /** For software adapters without subgroups of one size: as `broadcast`, but every thread loads every row. */
      readonly kind: 'plain';
      readonly threadRows: number;
    };

type TiledForm = Extract<GemmForm, { kind: 'tiled' }>;

export interface GemmSize {
  readonly batches: number;
  readonly rows: number;
  readonly columns: number;
  /** Quads along K, of one tap. */
  readonly quads: number;
  /** Stretches of K; default 1. */
  readonly taps?: number;
}

/** Threads per workgroup of the forms without barriers; few, so that small products still use every core. */
const UNTILED_THREADS = 16;

/** Quads along K of a tile in workgroup memory. */
const TILE_QUADS = 4;

/** Chooses by shape and adapter. */
export function gemmForm(size: GemmSize, traits: AdapterTraits): GemmForm {
  if (!traits.software) return tiledForm(size, traits);
  const lanes = traits.subgroupSize;
  if (lanes === 0 || lanes > 16) return { kind: 'plain', threadRows: 8 };
  // More rows share a load, but the last tile may be mostly empty: 32 rows are a fifth faster than 16, those half than 8.
  const cost = (threadRows: number) => Math.ceil(size.rows / threadRows) * (threadRows + 12);
  const candidates = [8, 16, 24, 32].filter(threadRows => threadRows % lanes === 0);
  const threadRows = candidates.reduce((best, candidate) => (cost(candidate) <= cost(best) ? candidate : best));
  return { kind: 'broadcast', threadRows, lanes };
}

/**
 * The more tiles there are, the more work a thread gets, since it reads less for each operation then; where tiles are too few
 * to keep a GPU busy, K is sliced. The limits are those of an H200, which has 132 multiprocessors: there a form that suits
 * another size takes up to twice as long.
 */
function tiledForm(size: GemmSize, traits: AdapterTraits): TiledForm {
  const { batches, rows, columns, quads, taps = 1 } = size;
  const tiles = (side: number) => batches * Math.ceil(rows / side) * Math.ceil(columns / side);
  const large = rows > 32 && columns > 32 ? tiles(64) : 0;
  if (large >= 300) {
    // A short K leaves little time to wait for loads in; more threads wait better.
    const threadRows = taps === 1 && quads <= 128 ? 4 : 8;
    return { kind: 'tiled', tileRows: 64, tileColumns: 64, threadRows, threadQuads: 1, slices: 1 };
  }
  const sliced = (form: TiledForm): TiledForm => {
    const slices = slicesThatFit(form.slices, slices => {
      const bytes = 16 * memoryOf({ ...form, slices }, form.tileRows + 1).quads;
      return slices <= Math.ceil(quads / TILE_QUADS) && bytes <= traits.maxWorkgroupStorageBytes;
    });
    return { ...form, slices };
  };
  if (large >= 150 && taps > 1) {
    return sliced({ kind: 'tiled', tileRows: 64, tileColumns: 64, threadRows: 8, threadQuads: 2, slices: 2 });
  }
  if (large >= 80) {
    const slices = large >= 150 ? 2 : 4;
    return sliced({ kind: 'tiled', tileRows: 64, tileColumns: 32, threadRows: 8, threadQuads: 1, slices });
  }
  if (tiles(32) < 100) {
    return sliced({ kind: 'tiled', tileRows: 16, tileColumns: 32, threadRows: 4, threadQuads: 1, slices: 8 });
  }
  const slices = tiles(32) < 300 ? 4 : tiles(32) < 900 ? 2 : 1;
  return sliced({ kind: 'tiled', tileRows: 32, tileColumns: 32, threadRows: 4, threadQuads: 1, slices });
}

/**
 * Operands and result of a matrix product, as WGSL functions. K is walked in `taps` stretches of `sizes.quads` quads:
 *
 *     struct Columns { … }                                                  what is known of four neighbouring columns
 *     fn columnsAt(batch: u32, column: u32) -> Columns                      the column may lie beyond the last
 *     fn atTap(columns: Columns, tap: u32) -> Columns                       moves on; only with several taps
 *     fn left(batch: u32, row: u32, quad: u32) -> vec4f                     a quad of a row, the quad counted over all taps
 *     fn right(columns: Columns, k: u32) -> vec4f                           row k of the stretch; zero where left is padding
 *     fn finish(batch: u32, row: u32, column: u32, sum: vec4f)              stores the columns that exist
 */
export interface GemmOperation {
  /** Default 1. */
  readonly taps?: number;
  /** Storage bindings. */
  readonly bindings: string;
  /** Binding number of the uniforms. */
  readonly uniformBinding: number;
  /** Further members of the uniforms `sizes`, all u32. */
  readonly uniforms: readonly string[];
  readonly functions: string;
  /** Which of neighbouring threads' loads of the left operand lie side by side in memory. */
  readonly leftNeighbours: 'rows' | 'quads';
}

/** The shader that computes a matrix product. */
export function gemmCode(operation: GemmOperation, form: GemmForm): string {
  const { taps = 1, bindings, uniformBinding, uniforms, functions } = operation;
  const { tileRows, tileColumns } = tileOf(form);
  return /* wgsl */ `${form.kind === 'broadcast' ? 'enable subgroups;\n' : ''}
struct Sizes { ${[...SIZES, ...uniforms].map(name => `${name}: u32`).join(', ')} }
${bindings}
@group(0) @binding(${uniformBinding}) var<uniform> sizes: Sizes;
${functions}
struct Tile { batch: u32, row: u32, column: u32 }
/** Tiles of the same columns follow each other, since they read the same part of the larger operand. */
fn tileAt(index: u32) -> Tile {
  let inBatch = index % sizes.tilesPerBatch;
  let row = inBatch % sizes.rowTiles * ${tileRows}u;
  return Tile(index / sizes.tilesPerBatch, row, inBatch / sizes.rowTiles * ${tileColumns}u);
}
${form.kind === 'tiled' ? tiledMain(form, operation) : untiledMain(form, taps)}`;
}

const SIZES = ['rows', 'columns', 'quads', 'rowTiles', 'tiles', 'tilesPerBatch'] as const;

/**
 * The dispatch of that shader.
 * @param uniforms values of the operation's `uniforms`
 */
export function gemmDispatch(
  { batches, rows, columns, quads }: GemmSize,
  form: GemmForm,
  uniforms: readonly number[],
): Pick<WgslProgram, 'workgroups' | 'scalars'> {
  const { tileRows, tileColumns } = tileOf(form);
  const rowTiles = Math.ceil(rows / tileRows);
  const tilesPerBatch = rowTiles * Math.ceil(columns / tileColumns);
  const tiles = batches * tilesPerBatch;
  const sizes: Record<(typeof SIZES)[number], number> = { rows, columns, quads, rowTiles, tiles, tilesPerBatch };
  return { workgroups: workgroupGrid(tiles), scalars: [...SIZES.map(name => sizes[name]), ...uniforms] };
}

function tileOf(form: GemmForm): { tileRows: number; tileColumns: number } {
  return form.kind === 'tiled' ? form : { tileRows: form.threadRows, tileColumns: UNTILED_THREADS * 4 };
}

// The end is a loop over an array of the sums: compilers take their time over an epilogue that is repeated for every row.

/** Quads of K that the untiled forms sum apart where there is one tap: fewer would cost time, more would round worse. */
const QUADS_PER_SUM = 128;

/**
 * The loop over the taps, with `body` seeing the `columns` and `firstQuad` of its tap. Each tap is summed apart and then
 * added to the `sums`: sums of sums round less than one long sum.
 */
function overTaps(taps: number, sums: readonly string[], body: string): string {
  if (taps === 1)
    return /* wgsl */ `{
    let columns = start;
    let firstQuad = 0u;
    ${body}
  }`;
  const loop = `for (var tap = 0u; tap < ${taps}u; tap++)`;
  const columns = 'let columns = atTap(start, tap); let firstQuad = tap * sizes.quads;';
  return summedApart(sums, loop, `${columns} ${body}`);
}

/** A loop of which every run has sums of its own. */
function summedApart(sums: readonly string[], loop: string, body: string): string {
  return /* wgsl */ `
  ${sums.map(sum => `var total_${sum} = vec4f();`).join(' ')}
  ${loop} {
    ${sums.map(sum => `${sum} = vec4f();`).join(' ')}
    ${body}
    ${sums.map(sum => `total_${sum} += ${sum};`).join(' ')}
  }
  ${sums.map(sum => `${sum} = total_${sum};`).join(' ')}`;
}

function untiledMain(form: Exclude<GemmForm, { kind: 'tiled' }>, taps: number): string {
  const { threadRows } = form;
  const lanes = form.kind === 'broadcast' ? form.lanes : 1;
  // Rows beyond the last repeat it, and are not stored.
  const loads = lines(threadRows / lanes, block => {
    const lane = form.kind === 'broadcast' ? ' + lane' : '';
    return `let left${block} = left(tile.batch, min(tile.row + ${block * lanes}u${lane}, lastRow), firstQuad + quad);`;
  });
  const multiply = lines(threadRows, row => {
    const block = `left${Math.floor(row / lanes)}`;
    const value = (component: string) =>
      form.kind === 'broadcast' ? `subgroupBroadcast(${block}.${component}, ${row % lanes}u)` : `${block}.${component}`;
    return COMPONENTS.map((c, k) => `sum${row} = fma(vec4f(${value(c)}), right${k}, sum${row});`).join(' ');
  });
  const sums = Array.from({ length: threadRows }, (_, row) => `sum${row}`);
  const steps = (from: string, to: string) => /* wgsl */ `
    for (var quad = ${from}; quad < ${to}; quad++) {
      ${loads}
      ${lines(4, k => `let right${k} = right(columns, 4u * quad + ${k}u);`)}
      ${multiply}
    }`;
  const stretches = `for (var first = 0u; first < sizes.quads; first += ${QUADS_PER_SUM}u)`;
  const stretch = steps('first', `min(first + ${QUADS_PER_SUM}u, sizes.quads)`);
  const walk = taps === 1 ? summedApart(sums, stretches, stretch) : steps('0u', 'sizes.quads');
  const laneArgument = form.kind === 'broadcast' ? ', @builtin(subgroup_invocation_id) lane: u32' : '';
  return /* wgsl */ `
@compute @workgroup_size(${UNTILED_THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) thread: u32${laneArgument}) {
  let index = group.y * groups.x + group.x;
  if (index >= sizes.tiles) { return; }
  let tile = tileAt(index);
  let lastRow = sizes.rows - 1u;
  let column = tile.column + 4u * thread;
  let start = columnsAt(tile.batch, column);
  ${lines(threadRows, row => `var sum${row} = vec4f();`)}
  ${overTaps(taps, sums, walk)}
  if (column >= sizes.columns) { return; }
  var sums = array<vec4f, ${threadRows}>(${commaSeparated(threadRows, row => `sum${row}`)});
  for (var row = 0u; row < min(${threadRows}u, sizes.rows - tile.row); row++) {
    finish(tile.batch, tile.row + row, column, sums[row]);
  }
}`;
}

/** Quads of workgroup memory: of a slice, its left tile and then its right one; of all slices. */
function memoryOf({ tileRows, tileColumns, slices }: TiledForm, leftStride: number) {
  const left = TILE_QUADS * leftStride;
  const slice = left + TILE_QUADS * tileColumns;
  // In the end the sums of half of the slices.
  return { left, slice, quads: Math.max(slices * slice, ((slices >> 1) * tileRows * tileColumns) / 4) };
}

function tiledMain(form: TiledForm, { taps = 1, leftNeighbours }: GemmOperation): string {
  const { tileRows, tileColumns, threadRows, threadQuads, slices } = form;
  const columnQuads = tileColumns / 4;
  const threadColumns = columnQuads / threadQuads;
  // Rows of neighbouring threads lie side by side in workgroup memory, in different banks.
  const rowStep = tileRows / threadRows;
  const threads = rowStep * threadColumns;
  // The odd stride spreads neighbouring quads of a row over the banks.
  const leftStride = leftNeighbours === 'quads' ? tileRows + 1 : tileRows;
  const memory = memoryOf(form, leftStride);
  const leftLoads = (tileRows * TILE_QUADS) / threads;
  const rightLoads = (columnQuads * TILE_QUADS * 4) / threads;
  const places = [
    lines(leftLoads, load => {
      const slot = `(thread + ${load * threads}u)`;
      return leftNeighbours === 'quads'
        ? `let leftQuad${load} = ${slot} % ${TILE_QUADS}u; let leftRow${load} = ${slot} / ${TILE_QUADS}u;`
        : `let leftQuad${load} = ${slot} / ${tileRows}u; let leftRow${load} = ${slot} % ${tileRows}u;`;
    }),
    lines(rightLoads, load => `let rightRow${load} = (thread + ${load * threads}u) / ${columnQuads}u;`),
    `let rightQuad = thread % ${columnQuads}u;`,
  ].join('\n');
  // Without branches, and every load before the first store, so that a thread waits for all of them at once.
  const loads = [
    lines(leftLoads, i => {
      const [row, quad] = [`min(tile.row + leftRow${i}, lastRow)`, `min(base + leftQuad${i}, lastQuad)`];
      return `let loadedLeft${i} = left(tile.batch, ${row}, firstQuad + ${quad});`;
    }),
    lines(rightLoads, i => `let loadedRight${i} = right(columns, min(4u * base + rightRow${i}, lastK));`),
  ].join('\n');
  const stores = [
    lines(leftLoads, i => {
      const value = `select(vec4f(), loadedLeft${i}, base + leftQuad${i} <= lastQuad)`;
      return `memory[leftTile + leftQuad${i} * ${leftStride}u + leftRow${i}] = ${value};`;
    }),
    lines(rightLoads, i => {
      const value = `select(vec4f(), loadedRight${i}, 4u * base + rightRow${i} <= lastK)`;
      return `memory[rightTile + rightRow${i} * ${columnQuads}u + rightQuad] = ${value};`;
    }),
  ].join('\n');
  const reads = [
    lines(
      threadRows,
      row => `let left${row} = memory[leftTile + quad * ${leftStride}u + threadRow + ${row * rowStep}u];`,
    ),
    lines(4, k =>
      lines(threadQuads, quad => {
        const place = `(4u * quad + ${k}u) * ${columnQuads}u + threadQuad + ${quad * threadColumns}u`;
        return `let right${k}_${quad} = memory[rightTile + ${place}];`;
      }),
    ),
  ].join('\n');
  const sums = Array.from({ length: threadRows * threadQuads }, (_, index) => {
    return `sum${Math.floor(index / threadQuads)}_${index % threadQuads}`;
  });
  const multiply = lines(threadRows, row =>
    COMPONENTS.flatMap((c, k) =>
      Array.from(
        { length: threadQuads },
        (_, quad) => `sum${row}_${quad} = fma(vec4f(left${row}.${c}), right${k}_${quad}, sum${row}_${quad});`,
      ),
    ).join(' '),
  );
  return /* wgsl */ `
var<workgroup> memory: array<vec4f, ${memory.quads}>;

@compute @workgroup_size(${slices * threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) invocation: u32) {
  let index = group.y * groups.x + group.x;
  if (index >= sizes.tiles) { return; }
  let tile = tileAt(index);
  let slice = invocation / ${threads}u;
  let thread = invocation % ${threads}u;
  let leftTile = slice * ${memory.slice}u;
  let rightTile = leftTile + ${memory.left}u;
  let threadRow = thread / ${threadColumns}u;
  let threadQuad = thread % ${threadColumns}u;
  let lastRow = sizes.rows - 1u;
  let lastQuad = sizes.quads - 1u;
  let lastK = 4u * sizes.quads - 1u;
  ${places}
  let start = columnsAt(tile.batch, tile.column + 4u * rightQuad);
  ${sums.map(sum => `var ${sum} = vec4f();`).join(' ')}
  ${overTaps(
    taps,
    sums,
    /* wgsl */ `for (var first = 0u; first < sizes.quads; first += ${slices * TILE_QUADS}u) {
      let base = first + slice * ${TILE_QUADS}u;
      ${loads}
      ${stores}
      workgroupBarrier();
      for (var quad = 0u; quad < ${TILE_QUADS}u; quad++) {
        ${reads}
        ${multiply}
      }
      workgroupBarrier();
    }`,
  )}
  ${addSlices(slices, threads, sums)}
  var sums = array<vec4f, ${sums.length}>(${sums.join(', ')});
  for (var i = 0u; i < ${sums.length}u; i++) {
    let row = tile.row + threadRow + i / ${threadQuads}u * ${rowStep}u;
    let column = tile.column + 4u * (threadQuad + i % ${threadQuads}u * ${threadColumns}u);
    if (row < sizes.rows && column < sizes.columns) { finish(tile.batch, row, column, sums[i]); }
  }
}`;
}

/** Leaves the first slice with the sums of all: each time the upper half of them hands its own to the lower half. */
function addSlices(slices: number, threads: number, sums: readonly string[]): string {
  if (slices === 1) return '';
  const half = slices / 2;
  const place = (index: number) => `memory[slice % ${half}u * ${threads}u + thread + ${index * half * threads}u]`;
  return /* wgsl */ `
  if (slice >= ${half}u && slice < ${slices}u) { ${sums.map((sum, i) => `${place(i)} = ${sum};`).join(' ')} }
  workgroupBarrier();
  if (slice < ${half}u) { ${sums.map((sum, i) => `${sum} += ${place(i)};`).join(' ')} }
  ${half > 1 ? 'workgroupBarrier();' : 'if (slice > 0u) { return; }'}
  ${addSlices(half, threads, sums)}`;
}

/** What follows the product. */
export interface GemmEnding {
  readonly bias: boolean;
  readonly residual: boolean;
  readonly activation: Activation | undefined;
}

/** How a matrix is read and written: by quads of its rows where those are whole, else by elements. */
export type ElementType = 'vec4f' | 'f32';

export const elementType = (columns: number): ElementType => (columns % 4 === 0 ? 'vec4f' : 'f32');

/**
 * `fn left` for a row-major matrix whose rows have `sizes.inner` elements. `offset` is where a batch begins.
 */
export function rowMajorLeft(name: string, type: ElementType, offset = '0u'): string {
  if (type === 'vec4f') {
    return /* wgsl */ `
fn left(batch: u32, row: u32, quad: u32) -> vec4f { return ${name}[(${offset} + row * sizes.inner) / 4u + quad]; }`;
  }
  return /* wgsl */ `
fn left(batch: u32, row: u32, quad: u32) -> vec4f {
  let first = ${offset} + row * sizes.inner + 4u * quad;
  let rest = sizes.inner - 4u * quad;
  var value = vec4f(${name}[first], 0, 0, 0);
  if (rest > 1u) { value.y = ${name}[first + 1u]; }
  if (rest > 2u) { value.z = ${name}[first + 2u]; }
  if (rest > 3u) { value.w = ${name}[first + 3u]; }
  return value;
}`;
}

/** Statement of `finish`: adds to `value` the quad of the matrix `name` at `index`. */
export function addQuad(name: string, type: ElementType): string {
  if (type === 'vec4f') return `value += ${name}[index / 4u];`;
  return lines(4, i => `if (column + ${i}u < sizes.columns) { value[${i}] += ${name}[index + ${i}u]; }`);
}

/** Statement of `finish`: stores `value` as the quad of the matrix `name` at `index`. */
export function storeQuad(name: string, type: ElementType): string {
  if (type === 'vec4f') return `${name}[index / 4u] = value;`;
  return lines(4, i => `if (column + ${i}u < sizes.columns) { ${name}[index + ${i}u] = value[${i}]; }`);
}
