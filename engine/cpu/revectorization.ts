// V8 can join two 128-bit vector operations on neighbouring memory to one of 256 bits (its flag is experimental). The wide build
// is written for that: where V8 does not do it, the big tiles run out of registers and are slower than the small ones. Whether
// it does shows only in what the tiles compute and in how long they take.

interface Tiles {
  tile6(left: number, right: number, depth: number, sums: number, sumStride: number, adds: boolean): void;
  tile6Wide(
    left: number,
    right: number,
    panelStride: number,
    depth: number,
    sums: number,
    sumStride: number,
    adds: boolean,
  ): void;
}

const DEPTH = 256;
const ROWS = 6;
const PANEL_COLUMNS = 8;
const PANEL_BYTES = DEPTH * PANEL_COLUMNS * 4;
/** Places of the operands in the probe's memory, in bytes, behind the module's static data. */
const LEFT = 65_536;
const RIGHT = LEFT + DEPTH * ROWS * 4;
const SUMS = RIGHT + 2 * PANEL_BYTES;
const SUM_STRIDE = 2 * PANEL_COLUMNS * 4;

/** V8 compiles functions well once they have run for a while; a busy machine takes longer. */
const TIME_LIMIT_MILLISECONDS = 200;
const CALLS = 32;
/** How much faster both tiles are at least once V8 has compiled it well. */
const WELL_COMPILED = 4;
/** Time of the wide tile, which does twice the work, over that of the small one: 1.5 with joined vectors, 3.5 without. */
const MOST_TIME = 1.8;

/** Whether the wide build's tiles are right, and run as fast as joined vectors do. Takes some 20 milliseconds. */
export function joinsVectors(module: WebAssembly.Module): boolean {
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true });
  const abort = () => {
    throw new Error('the kernel aborted');
  };
  const tiles = new WebAssembly.Instance(module, { env: { memory, abort } }).exports as unknown as Tiles;
  const floats = new Float32Array(memory.buffer);
  // Small integers, whose products and sums are exact.
  for (let index = 0; index < DEPTH * ROWS; index++) floats[LEFT / 4 + index] = (index % 7) - 3;
  for (let index = 0; index < 2 * DEPTH * PANEL_COLUMNS; index++) floats[RIGHT / 4 + index] = (index % 11) - 5;
  const narrow = () => tiles.tile6(LEFT, RIGHT, DEPTH, SUMS, SUM_STRIDE, false);
  const wide = () => tiles.tile6Wide(LEFT, RIGHT, PANEL_BYTES, DEPTH, SUMS, SUM_STRIDE, false);

  const deadline = performance.now() + TIME_LIMIT_MILLISECONDS;
  narrow(); // V8 compiles a function for the first time when it is called.
  wide();
  const leastOf = (run: () => void) => Math.min(timeOf(run), timeOf(run), timeOf(run));
  const first = { narrow: leastOf(narrow), wide: leastOf(wide) };
  const best = { ...first };
  const isFast = () => best.wide < MOST_TIME * best.narrow;
  const isWellCompiled = () => Math.min(first.narrow / best.narrow, first.wide / best.wide) > WELL_COMPILED;
  while (!(isFast() && isWellCompiled()) && performance.now() < deadline) {
    best.narrow = Math.min(best.narrow, timeOf(narrow));
    best.wide = Math.min(best.wide, timeOf(wide));
  }
  if (!isFast()) return false;

  wide();
  return isRight(floats);
}

function timeOf(run: () => void): number {
  const start = performance.now();
  for (let call = 0; call < CALLS; call++) run();
  return performance.now() - start;
}

function isRight(floats: Float32Array): boolean {
  for (let row = 0; row < ROWS; row++) {
    for (let column = 0; column < 2 * PANEL_COLUMNS; column++) {
      const panel = RIGHT / 4 + Math.floor(column / PANEL_COLUMNS) * DEPTH * PANEL_COLUMNS + (column % PANEL_COLUMNS);
      let sum = 0;
      for (let k = 0; k < DEPTH; k++) sum += floats[LEFT / 4 + k * ROWS + row]! * floats[panel + k * PANEL_COLUMNS]!;
      if (floats[SUMS / 4 + row * 2 * PANEL_COLUMNS + column] !== sum) return false;
    }
  }
  return true;
}
