// Every kernel x (named, edge and random problems) x every device against its float64 reference.
//
//   DETR_TEST_DEVICES  devices, see devices.ts
//   DETR_TEST_KERNEL   run only the kernels whose names contain one of these, a list with commas
//   DETR_SEED          repeat a run
//   DETR_TEST_ALL=1    run the biggest named cases too (see `LIMITS`)

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type Cost,
  type Device,
  elementCount,
  formatShape,
  type HostTensor,
  sameShape,
  type Tensor,
} from '../../engine/index.ts';
import { allKernels, type Kernel, type KernelInputs, Random } from '../../kernels/index.ts';
import { tensorBytes } from '../support/tensor-bytes.ts';
import { deviceNames, openDevice, triesForms } from './devices.ts';
import { references } from './references/index.ts';

const EPSILON = 2 ** -23;
/** Below the smallest normal number devices may round to 0. */
const SMALLEST_NORMAL = 2 ** -126;
/**
 * Random problems per kernel: of ordinary values, strewn with NaN and infinities, far from 0. They differ from run to run, and
 * are fewer where each brings shaders that a software adapter takes long to compile.
 */
const PROBLEMS = {
  cpu: { ordinary: 12, nonFinite: 4, farFromZero: 4 },
  webgpu: { ordinary: 6, nonFinite: 2, farFromZero: 2 },
  forms: { ordinary: 3, nonFinite: 1, farFromZero: 1 },
};
type ProblemCounts = (typeof PROBLEMS)['cpu'];
/** Outputs of named cases are sampled: the first, the last, and as many random elements as the reference's speed allows. */
const SAMPLES = { ends: 50, least: 300, most: 20_000, flops: 1e6 };

const NO_LIMIT: Cost = { flops: Infinity, bytes: Infinity };

/**
 * Named cases beyond a limit take too long to run with every `npm test`, and are counted on stdout. One thread and software
 * adapters are slow, and slower still with the forms for hardware, where barriers also make an edge of 70,000 workgroups slow.
 */
const LIMITS = {
  all: { cases: NO_LIMIT, edges: NO_LIMIT },
  fast: { cases: { flops: 4e9, bytes: 2.5e8 }, edges: NO_LIMIT },
  slow: { cases: { flops: 1e8, bytes: 4e7 }, edges: NO_LIMIT },
  forms: { cases: { flops: 1e7, bytes: 4e7 }, edges: NO_LIMIT },
  hardwareForms: { cases: { flops: 1e7, bytes: 4e7 }, edges: { flops: Infinity, bytes: 4e6 } },
};
type Limits = (typeof LIMITS)['all'];

const exceeds = (cost: Cost, limit: Cost) => cost.flops > limit.flops || cost.bytes > limit.bytes;

const seed = Number(process.env.DETR_SEED ?? Math.floor(Math.random() * 2 ** 31));
const wantedNames = (process.env.DETR_TEST_KERNEL ?? '').split(',');
const selected = allKernels.filter(kernel => wantedNames.some(name => kernel.name.includes(name)));

function limitsOf(name: string, device: Device): Limits {
  if (process.env.DETR_TEST_ALL === '1') return LIMITS.all;
  if (!/, software\)$|\(1 thread,/.test(device.name)) return LIMITS.fast;
  if (!triesForms(name)) return LIMITS.slow;
  return name === 'webgpu:hardware' ? LIMITS.hardwareForms : LIMITS.forms;
}

interface Trial {
  readonly label: string;
  /** All elements are compared, but for named cases. */
  readonly sampled?: boolean;
  readonly problem: unknown;
  readonly inputs: KernelInputs;
}

function* trials(kernel: Kernel<unknown>, limits: Limits, problems: ProblemCounts): Generator<Trial> {
  const randomOf = (index: number) => new Random(seed + index * 7919);
  for (let index = 0; index < problems.ordinary; index++) {
    const random = randomOf(index);
    const problem = kernel.random(random);
    yield { label: `random ${index}`, problem, inputs: kernel.inputs(problem, random) };
  }
  for (let index = 0; index < problems.nonFinite; index++) {
    const random = randomOf(100 + index);
    const problem = kernel.random(random);
    const inputs = strewNonFinite(kernel.inputs(problem, random), kernel.nonFinite, random);
    yield { label: `NaN and infinities ${index}`, problem, inputs };
  }
  for (let index = 0; index < problems.farFromZero; index++) {
    const random = randomOf(200 + index);
    const problem = kernel.random(random);
    const inputs = moveFarFromZero(kernel.inputs(problem, random), kernel.farFromZero);
    yield { label: `far from 0 ${index}`, problem, inputs };
  }
  for (const [name, problem] of Object.entries(kernel.edges ?? {})) {
    if (exceeds(kernel.cost(problem), limits.edges)) continue;
    yield { label: `edge "${name}"`, problem, inputs: kernel.inputs(problem, randomOf(300)) };
  }
  for (const [name, problem] of Object.entries(kernel.cases)) {
    if (exceeds(kernel.cost(problem), limits.cases)) continue;
    yield { label: `case "${name}"`, sampled: true, problem, inputs: kernel.inputs(problem, randomOf(400)) };
  }
}

function mapInputs(
  inputs: KernelInputs,
  roles: readonly string[] | undefined,
  change: (data: Float32Array) => void,
): KernelInputs {
  const changed: Record<string, HostTensor<Float32Array> | HostTensor<Int32Array>> = {};
  for (const [role, { shape, data }] of Object.entries(inputs)) {
    if (data instanceof Int32Array) changed[role] = { shape, data };
    else {
      const copy = data.slice();
      if (roles === undefined || roles.includes(role)) change(copy);
      changed[role] = { shape, data: copy };
    }
  }
  return changed;
}

function strewNonFinite(inputs: KernelInputs, roles: readonly string[] | undefined, random: Random): KernelInputs {
  const values = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  return mapInputs(inputs, roles, data => {
    if (data.length === 0) return;
    const count = random.integer(1, Math.max(1, Math.floor(data.length / 20)));
    for (let strewn = 0; strewn < count; strewn++) data[random.integer(0, data.length - 1)] = random.pick(values);
  });
}

function moveFarFromZero(inputs: KernelInputs, roles: readonly string[] | undefined): KernelInputs {
  return mapInputs(inputs, roles, data => {
    for (let index = 0; index < data.length; index++) data[index]! += 10_000;
  });
}

interface Difference {
  /** In units of float32 epsilon times the magnitude; infinite for a NaN or infinity in the wrong place. */
  readonly error: number;
  readonly text: string;
}

/** What the reference says of the elements of an output that are compared. */
interface Expected {
  readonly shape: readonly number[];
  readonly indices: readonly number[];
  readonly values: Float64Array;
  readonly magnitudes: Float64Array;
}

/** Trials are the same on all devices, so what is expected is worked out once: for the kernel under test, by label. */
const known = { kernel: '', expected: new Map<string, readonly Expected[]>() };

function expectedOf(kernel: Kernel<unknown>, trial: Trial): readonly Expected[] {
  if (known.kernel !== kernel.name) {
    known.kernel = kernel.name;
    known.expected.clear();
  }
  let expected = known.expected.get(trial.label);
  if (expected === undefined) {
    expected = workOut(kernel, trial);
    known.expected.set(trial.label, expected);
  }
  return expected;
}

function workOut(kernel: Kernel<unknown>, { problem, inputs, sampled }: Trial): Expected[] {
  const reference = references[kernel.name];
  if (reference === undefined) throw new Error(`${kernel.name}: no reference in test/kernels/references/index.ts`);
  const outputs = reference.outputs(problem, inputs);
  const elements = outputs.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const { flops } = kernel.cost(problem);
  return outputs.map(({ shape, at }) => {
    const size = elementCount(shape);
    const indices = [...(sampled ? sampledIndices(size, flops / elements) : indicesBelow(size))];
    const values = new Float64Array(indices.length);
    const magnitudes = new Float64Array(indices.length);
    indices.forEach((index, place) => {
      const result = at(index);
      values[place] = typeof result === 'number' ? result : result.value;
      magnitudes[place] = typeof result === 'number' ? Math.abs(result) : result.magnitude;
    });
    return { shape, indices, values, magnitudes };
  });
}

/** The worst of the elements that are compared. */
function compare(actual: HostTensor<Float32Array | Int32Array>, expected: Expected): Difference {
  const { shape, indices, values, magnitudes } = expected;
  if (!sameShape(actual.shape, shape)) {
    const text = `expected shape ${formatShape(shape)}, got ${formatShape(actual.shape)}`;
    return { error: Number.POSITIVE_INFINITY, text };
  }
  const errorOf = actual.data instanceof Int32Array ? exactError : errorInEpsilons;
  let worst: Difference = { error: 0, text: 'all equal' };
  for (let place = 0; place < indices.length; place++) {
    const index = indices[place]!;
    const value = values[place]!;
    const magnitude = magnitudes[place]!;
    const ours = actual.data[index]!;
    const error = errorOf(ours, value, magnitude);
    if (error > worst.error) {
      const text = `element ${index} of ${formatShape(shape)}: expected ${value}, got ${ours} (magnitude ${magnitude})`;
      worst = { error, text };
    }
  }
  return worst;
}

function exactError(ours: number, value: number): number {
  return ours === value ? 0 : Number.POSITIVE_INFINITY;
}

function errorInEpsilons(ours: number, value: number, magnitude: number): number {
  const rounded = Math.fround(value);
  if (Object.is(ours, rounded) || ours === rounded) return 0;
  if (!Number.isFinite(ours) || !Number.isFinite(rounded)) return Number.POSITIVE_INFINITY;
  const difference = Math.max(Math.abs(ours - value) - SMALLEST_NORMAL, 0);
  if (difference === 0) return 0;
  // Of a magnitude that is no number nothing would be too far off.
  return Number.isNaN(magnitude) ? Number.POSITIVE_INFINITY : difference / (EPSILON * magnitude);
}

function* indicesBelow(size: number): Generator<number> {
  for (let index = 0; index < size; index++) yield index;
}

/** @param flops of an element */
function* sampledIndices(size: number, flops: number): Generator<number> {
  const samples = Math.min(Math.max(SAMPLES.flops / flops, SAMPLES.least), SAMPLES.most);
  if (size <= samples) yield* indicesBelow(size);
  else {
    const { ends } = SAMPLES;
    const random = new Random(seed);
    yield* indicesBelow(ends);
    for (let index = size - ends; index < size; index++) yield index;
    for (let sample = 2 * ends; sample < samples; sample++) yield random.integer(0, size - 1);
  }
}

type HostOutput = HostTensor<Float32Array | Int32Array>;

/** Runs a trial twice: on fresh memory, and on memory that holds NaN, so that an element which no one writes is seen. */
async function runTwice(device: Device, kernel: Kernel<unknown>, { problem, inputs }: Trial) {
  const [first, second] = device.scope((): Promise<HostOutput[]>[] => {
    const run = kernel.prepare(device, problem, inputs);
    const read = (outputs: readonly Tensor[]) =>
      Promise.all(outputs.map(output => output.read() as Promise<HostOutput>));
    const before = device.memory.liveBytes;
    const fresh = run();
    const kept = fresh.reduce((sum, { byteLength }) => sum + byteLength, 0);
    assert.is(device.memory.liveBytes - before, kept, `${kernel.name}: bytes that are kept`);
    // The fresh outputs are still in use: these are the blocks that the second run will be given.
    const blocks = fresh.map(({ shape }) =>
      device.tensor({ shape, data: new Float32Array(elementCount(shape)).fill(Number.NaN) }),
    );
    for (const block of blocks) block.dispose();
    return [read(fresh), read(run())];
  });
  return Promise.all([first!, second!]);
}

/** The trial's worst difference from the reference. */
async function runTrial(device: Device, kernel: Kernel<unknown>, trial: Trial): Promise<Difference> {
  const [first, second] = await runTwice(device, kernel, trial);
  const expected = expectedOf(kernel, trial);
  assert.is(first.length, expected.length, `${kernel.name}: number of outputs`);
  let worst: Difference = { error: 0, text: 'all equal' };
  for (const [index, output] of first.entries()) {
    const again = second[index]!.data;
    // NaN have bits that engines may choose.
    if (!output.data.every((value, place) => Object.is(value, again[place]))) {
      return { error: Number.POSITIVE_INFINITY, text: `output ${index} differs from run to run` };
    }
    const difference = compare(output, expected[index]!);
    if (difference.error > worst.error)
      worst = { error: difference.error, text: `output ${index}, ${difference.text}` };
  }
  return worst;
}

async function checkKernel(name: string, device: Device, kernel: Kernel<unknown>): Promise<void> {
  const tolerance = kernel.tolerance ?? 16;
  const failures: string[] = [];
  let worst = 0;
  let count = 0;
  const limits = limitsOf(name, device);
  for (const trial of trials(kernel, limits, triesForms(name) ? PROBLEMS.forms : PROBLEMS[device.kind])) {
    const difference = await runTrial(device, kernel, trial);
    count += 1;
    if (difference.error <= tolerance) worst = Math.max(worst, difference.error);
    else {
      failures.push(
        `${kernel.name} ${trial.label} ${JSON.stringify(trial.problem)}: ${difference.text}; ` +
          `${difference.error.toPrecision(3)} epsilons, allowed ${tolerance}`,
      );
    }
  }
  const left = (['cases', 'edges'] as const).flatMap(kind => {
    const problems = Object.values(kernel[kind] ?? {});
    const count = problems.filter(problem => exceeds(kernel.cost(problem), limits[kind])).length;
    return count === 0 ? [] : `${count} of ${problems.length} ${kind === 'cases' ? 'named cases' : 'edges'}`;
  });
  const leftOver = left.length === 0 ? '' : `, ${left.join(' and ')} left to DETR_TEST_ALL=1`;
  console.log(
    `  ${kernel.name} on ${name}: ${count} problems, worst ${worst.toPrecision(2)} of ${tolerance} epsilons${leftOver}`,
  );
  assert.is(failures.length, 0, `${failures.join('\n')}\nrepeat with DETR_SEED=${seed}`);
}

console.log(`seed ${seed}`);

test('every kernel has a name of its own, a reference and named cases', () => {
  const names = allKernels.map(kernel => kernel.name);
  assert.is(new Set(names).size, names.length);
  assert.equal(Object.keys(references).sort(), [...names].sort());
  for (const kernel of allKernels) assert.ok(Object.keys(kernel.cases).length > 0, `${kernel.name} has no cases`);
});

const devices = new Map<string, Device>();

for (const name of deviceNames) {
  test(`device ${name} opens`, async () => {
    const device = await openDevice(name);
    devices.set(name, device);
    console.log(`${name}: ${device.name}`);
  });
}

for (const kernel of selected) {
  for (const name of deviceNames.filter(name => kernel.hasForms || !triesForms(name))) {
    test(`${kernel.name} on ${name}`, async () => {
      const device = devices.get(name);
      if (device === undefined) throw new Error(`no device ${name}`);
      await checkKernel(name, device, kernel);
    });
  }
}

for (const name of deviceNames) {
  test(`device ${name} holds no memory afterwards`, async () => {
    const device = devices.get(name);
    if (device === undefined) throw new Error(`no device ${name}`);
    await device.finish();
    const left = tensorBytes(device);
    await device.destroy();
    assert.is(left, 0);
  });
}

test.run();
