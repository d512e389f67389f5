// The elementary functions of the kernels against float64, in units in the last place: the WebAssembly ones with and
// without fused multiply-add, the WGSL ones on the adapter at hand.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import asc from 'assemblyscript/asc';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Device } from '../../engine/index.ts';
import { type MathFunction, mathWgsl } from '../../kernels/math.wgsl.ts';
import { flatMain, flatWorkgroups } from '../../kernels/wgsl.ts';
import { deviceNames } from './devices.ts';
import { erf } from './references/elementwise.ts';

interface FunctionCase {
  readonly reference: (x: number) => number;
  readonly wgsl: MathFunction;
  /** Arguments are spread over these intervals, and to them the special ones are added. */
  readonly intervals: readonly (readonly [number, number])[];
  /** Largest error in units in the last place of the result. */
  readonly units: number;
  /** Beyond it the WebAssembly function has no digits. */
  readonly largest?: number;
}

const CASES: Readonly<Record<string, FunctionCase>> = {
  exp: {
    reference: Math.exp,
    wgsl: 'expOf',
    intervals: [
      [-87, 88.3],
      [-1, 1],
    ],
    units: 2,
  },
  log: {
    reference: Math.log,
    wgsl: 'logOf',
    intervals: [
      [1e-37, 1e-30],
      [0, 3],
      [1e-5, 1e5],
      [1e30, 3e38],
    ],
    units: 2,
  },
  sigmoid: {
    reference: x => 1 / (1 + Math.exp(-x)),
    wgsl: 'sigmoidOf',
    intervals: [
      [-85, 30],
      [-3, 3],
    ],
    units: 5,
  },
  tanh: {
    reference: Math.tanh,
    wgsl: 'tanhOf',
    intervals: [
      [-1, 1],
      [-20, 20],
    ],
    units: 4,
  },
  erf: {
    reference: erf,
    wgsl: 'erfOf',
    intervals: [
      [-1, 1],
      [-5, 5],
    ],
    units: 2.5,
  },
  softplus: {
    reference: x => Math.log1p(Math.exp(-Math.abs(x))) + Math.max(x, 0),
    wgsl: 'softplusOf',
    intervals: [
      [-80, 40],
      [-3, 3],
    ],
    units: 5,
  },
  sin: {
    reference: Math.sin,
    wgsl: 'sinOf',
    intervals: [
      [-1, 1],
      [-7, 7],
      [-1e3, 1e3],
      [-1e7, 1e7],
    ],
    units: 2.5,
    largest: 2.6e7,
  },
  cos: {
    reference: Math.cos,
    wgsl: 'cosOf',
    intervals: [
      [-1, 1],
      [-7, 7],
      [-1e3, 1e3],
      [-1e7, 1e7],
    ],
    units: 2.5,
    largest: 2.6e7,
  },
};

const SAMPLES = 20_000;
const SPECIAL = [0, -0, 1, -1, Number.NaN, Infinity, -Infinity, 1e-30, -1e-30, 1e30, -1e30, 100, -100, 1000, -1000];

function argumentsOf({ intervals }: FunctionCase): Float32Array {
  const values = [...SPECIAL];
  for (const [low, high] of intervals) {
    for (let sample = 0; sample < SAMPLES; sample++) values.push(low + ((high - low) * sample) / SAMPLES);
  }
  while (values.length % 4 !== 0) values.push(0);
  return new Float32Array(values);
}

/** 2 to the exponent of the last bit of a float32. */
function unitInTheLastPlace(value: number): number {
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))), -126);
  return 2 ** (exponent - 23);
}

function check(name: string, x: Float32Array, ours: Float32Array, largest = Infinity): void {
  const { reference, units } = CASES[name]!;
  let worst = { error: 0, text: '' };
  x.forEach((argument, index) => {
    const value = reference(argument);
    const rounded = Math.fround(value);
    const got = ours[index]!;
    if (Object.is(got, rounded) || got === rounded || (Math.abs(argument) > largest && Math.abs(got) <= 1)) return;
    // Overflow may start, and results may be 0, a little before they must.
    if (Math.abs(value) >= 2 ** 127.5 && got === Math.sign(value) * Infinity) return;
    const difference = Math.abs(got - value) - 2 ** -126;
    if (difference <= 0) return;
    const finite = Number.isFinite(got) && Number.isFinite(rounded);
    const error = finite ? difference / unitInTheLastPlace(value) : Infinity;
    if (!(error <= worst.error)) worst = { error, text: `${name}(${argument}): expected ${value}, got ${got}` };
  });
  console.log(`  ${name}: ${x.length} arguments, worst ${worst.error.toPrecision(3)} of ${units} units: ${worst.text}`);
  assert.ok(worst.error <= units, `${worst.text}, ${worst.error} units in the last place, allowed ${units}`);
}

type RowFunction = (x: number, out: number, count: number) => void;

/** Compiles math.assembly.ts, which the product does not export. */
async function compile(relaxed: boolean): Promise<Record<string, RowFunction>> {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  setFlagsFromString('--experimental-wasm-relaxed-simd');
  let binary: Uint8Array | undefined;
  const { error, stderr } = await asc.main(
    [
      'test/kernels/math.assembly.ts',
      '--outFile=math.wasm',
      '--importMemory',
      '--runtime=stub',
      '--optimizeLevel=3',
      '--enable=simd,relaxed-simd',
      `--use=RELAXED=${relaxed ? 1 : 0}`,
    ],
    {
      readFile(path) {
        try {
          return readFileSync(join(root, path), 'utf8');
        } catch {
          return null;
        }
      },
      writeFile(_, contents) {
        binary = contents as Uint8Array;
      },
      listFiles: () => [],
    },
  );
  if (error !== null || binary === undefined) throw new Error(`${error?.message}\n${stderr.toString()}`);
  const module = await WebAssembly.compile(binary as Uint8Array<ArrayBuffer>);
  const instance = await WebAssembly.instantiate(module, { env: { memory, abort() {} } });
  return instance.exports as Record<string, RowFunction>;
}

const memory = new WebAssembly.Memory({ initial: 64 });

for (const relaxed of [false, true]) {
  const wasm = suite(`WebAssembly ${relaxed ? 'with' : 'without'} fused multiply-add`);
  let functions: Record<string, RowFunction>;
  wasm.before(async () => {
    functions = await compile(relaxed);
    console.log(relaxed ? 'fused multiply-add' : 'no fused multiply-add');
  });
  for (const [name, functionCase] of Object.entries(CASES)) {
    wasm(name, () => {
      const x = argumentsOf(functionCase);
      const [source, target] = [65_536, 65_536 + x.byteLength];
      new Float32Array(memory.buffer, source, x.length).set(x);
      functions[name]!(source, target, x.length);
      check(name, x, new Float32Array(memory.buffer, target, x.length).slice(), functionCase.largest);
    });
  }
  wasm.run();
}

if (deviceNames.some(name => name.startsWith('webgpu'))) {
  const wgsl = suite('WGSL', { device: undefined as unknown as Device });
  wgsl.before(async context => {
    context.device = await Device.create({ device: 'webgpu' });
    console.log(context.device.name);
  });
  wgsl.after(async ({ device }) => {
    await device.destroy();
  });
  for (const [name, functionCase] of Object.entries(CASES)) {
    wgsl(name, async ({ device }) => {
      const data = argumentsOf(functionCase);
      const { data: ours } = await device.scope(() => {
        const x = device.tensor({ shape: [data.length], data });
        const out = device.empty([data.length]);
        device.launch({
          kernel: name,
          inputs: [x],
          outputs: [out],
          cost: { flops: 0, bytes: 0 },
          wgsl: () => ({
            code: /* wgsl */ `${mathWgsl(functionCase.wgsl)}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
${flatMain('arrayLength(&x)', `  out[index] = ${functionCase.wgsl}(x[index]);`)}`,
            workgroups: flatWorkgroups(data.length),
            scalars: [],
          }),
          wasm() {
            throw new Error('not a cpu kernel');
          },
        });
        return [out.read()] as const;
      })[0];
      check(name, data, ours);
    });
  }
  wgsl.run();
}
