import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Device, elementCount } from '../../engine/index.ts';
import { allKernels, type Kernel, type KernelInputs, Random } from '../../kernels/index.ts';
import { references } from './references/index.ts';

// What kernels say that they cost, which profiles and benchmarks divide times by.

const seed = Number(process.env.DETR_SEED ?? Math.floor(Math.random() * 2 ** 31));
const sizeOf = (tensors: readonly { readonly shape: readonly number[] }[]) =>
  tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
const outputsOf = (kernel: Kernel<unknown>, problem: unknown, inputs: KernelInputs) =>
  sizeOf(references[kernel.name]!.outputs(problem, inputs));

test('the launches of a kernel cost what it costs, or more where one reads what another wrote', async () => {
  await using device = await Device.create({ device: 'cpu', threads: 1 });
  for (const kernel of allKernels) {
    for (let index = 0; index < 4; index++) {
      const random = new Random(seed + index);
      const problem = kernel.random(random);
      const inputs = kernel.inputs(problem, random);
      if (outputsOf(kernel, problem, inputs) === 0) continue;
      const { timings } = await device.profile(async () => {
        device.scope(() => void kernel.prepare(device, problem, inputs)());
      });
      const cost = kernel.cost(problem);
      for (const what of ['flops', 'bytes'] as const) {
        const sum = timings.reduce((total, timing) => total + timing[what], 0);
        const context = `${kernel.name}: ${sum} ${what}, expected ${cost[what]}; DETR_SEED=${seed}`;
        assert.ok(timings.length === 1 ? sum === cost[what] : sum >= cost[what], context);
      }
    }
  }
});

/** These leave out what nobody asked for. */
const readsAPart = ['slice', 'gatherRows', 'resizeNearest', 'downsampleMask', 'validRatios'];

test('at the shapes of models a kernel reads every input once and writes every output once', () => {
  const random = new Random(seed);
  for (const kernel of allKernels.filter(({ name }) => !readsAPart.includes(name))) {
    // Larger ones take long to fill.
    const cases = Object.values(kernel.cases).filter(problem => kernel.cost(problem).bytes < 1e7);
    for (const problem of cases) {
      const { bytes } = kernel.cost(problem);
      const inputs = kernel.inputs(problem, random);
      const values = sizeOf(Object.values(inputs)) + outputsOf(kernel, problem, inputs);
      // Biases and masks do not count.
      const context = `${kernel.name} ${JSON.stringify(problem)}: ${bytes} bytes, expected ${4 * values}`;
      assert.ok(bytes >= 0.98 * 4 * values && bytes <= 4 * values, context);
    }
  }
});

test('rows and pixels that are picked out are read and written', () => {
  const random = new Random(seed);
  for (const kernel of allKernels.filter(({ name }) => ['slice', 'gatherRows'].includes(name))) {
    for (let index = 0; index < 20; index++) {
      const problem = kernel.random(random);
      const inputs = kernel.inputs(problem, random);
      const places = inputs.index === undefined ? 0 : elementCount(inputs.index.shape);
      assert.is(kernel.cost(problem).bytes, 4 * (places + 2 * outputsOf(kernel, problem, inputs)), kernel.name);
    }
  }
});

test('a product takes a multiplication and an addition for each weight that an output depends on', () => {
  const depths: Readonly<Record<string, (inputs: KernelInputs) => number>> = {
    conv2d: ({ weight }) => elementCount(weight!.shape.slice(1)),
    linear: ({ x }) => x!.shape.at(-1)!,
    matmul: ({ a }) => a!.shape.at(-1)!,
  };
  for (const [name, depthOf] of Object.entries(depths)) {
    const kernel = allKernels.find(candidate => candidate.name === name)!;
    for (let index = 0; index < 20; index++) {
      const random = new Random(seed + index);
      const problem = kernel.random(random);
      const inputs = kernel.inputs(problem, random);
      assert.is(kernel.cost(problem).flops, 2 * depthOf(inputs) * outputsOf(kernel, problem, inputs), name);
    }
  }
});

test.run();
