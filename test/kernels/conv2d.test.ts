import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Device, elementCount, OptionError, ShapeError } from '../../engine/index.ts';
import { conv2dKernel } from '../../kernels/conv2d/conv2d.ts';
import { conv2d, packConv2d, Random } from '../../kernels/index.ts';
import { conv2dReference } from './references/conv2d.ts';

const random = new Random(7);
const device = await Device.create({ device: 'cpu', threads: 2 });
const webgpu = await Device.create({ device: 'webgpu' });

// By the cpu device's methods; the WebGPU kernel has no Winograd's.
for (const [method, problem] of Object.entries({
  panels: { x: [2, 5, 9, 11], outChannels: 7, kernel: 3, stride: 2, padding: 1 },
  'panels without padding': { x: [2, 5, 9, 11], outChannels: 7, kernel: 3, stride: 2 },
  pointwise: { x: [1, 20, 9, 11], outChannels: 30, kernel: 1 },
  depthwise: { x: [2, 6, 9, 11], outChannels: 6, kernel: 5, padding: 2, groups: 6 },
  winograd: { x: [1, 16, 13, 18], outChannels: 16, kernel: 3, padding: 1 },
} as const)) {
  for (const tested of [device, webgpu]) {
    test(`${method}: NaN and infinities of x reach the outputs that they must, on ${tested.kind}`, async () => {
      const tiles = method === 'winograd' && tested.kind === 'cpu';
      const inputs = conv2dKernel.inputs(problem, random);
      const size = elementCount(problem.x);
      const places = [random.integer(0, size - 1), random.integer(0, size - 1)];
      // What follows the first image in memory, and where its channels would go on.
      if (problem.x[0] > 1) places.push(size / problem.x[0]);
      for (const [index, place] of places.entries()) {
        inputs.x!.data[place] = index === 1 ? Number.POSITIVE_INFINITY : Number.NaN;
      }
      const [reference] = conv2dReference.outputs(problem, inputs);
      const output = await conv2dKernel.prepare(tested, problem, inputs)()[0]!.read();
      let reached = 0;
      output.data.forEach((value, index) => {
        const expected = reference!.at(index) as { value: number };
        if (Number.isFinite(expected.value)) {
          // Winograd's tiles may carry them to neighbours within four pixels.
          if (!tiles) assert.ok(Number.isFinite(value), `element ${index}: expected finite, got ${value}`);
          return;
        }
        reached += 1;
        const same = tiles ? !Number.isFinite(value) : Object.is(value, expected.value);
        assert.ok(same, `element ${index}: expected ${expected.value}, got ${value} (x is not finite at ${places})`);
      });
      assert.ok(reached > 0);
    });
  }
}

test('a depthwise plane of more pixels than a dimension holds workgroups is whole', async () => {
  const pixels = 64 * 65_535 + 100;
  const data = Float32Array.from({ length: 2 * pixels }, (_, index) => index % 1000);
  const weight = { shape: [2, 1, 1, 1], data: Float32Array.of(2, 3) };
  for (const other of [device, webgpu]) {
    const x = other.tensor({ shape: [1, 2, 1, pixels], data });
    const output = await conv2d(x, packConv2d(other, weight, undefined, { groups: 2 })).read();
    const wrong = output.data.findIndex((value, index) => value !== data[index]! * (index < pixels ? 2 : 3));
    assert.is(wrong, -1, other.kind);
  }
});

test('depthwise planes, more than a dimension holds workgroups, are all there', async () => {
  const planes = 65_535 + 100;
  const data = Float32Array.from({ length: planes }, (_, index) => index);
  const weight = { shape: [planes, 1, 1, 1], data: Float32Array.from(data, value => (value % 5) + 1) };
  for (const other of [device, webgpu]) {
    const x = other.tensor({ shape: [1, planes, 1, 1], data });
    const output = await conv2d(x, packConv2d(other, weight, undefined, { groups: planes })).read();
    const wrong = output.data.findIndex((value, index) => value !== index * ((index % 5) + 1));
    assert.is(wrong, -1, other.kind);
  }
});

test('impossible shapes and options are refused by name', () => {
  const weight = random.tensor([4, 3, 3, 3]);
  const packed = packConv2d(device, weight, random.tensor([4]));
  const x = (...shape: number[]) => device.tensor(random.tensor(shape));
  const refuses = (run: () => unknown, type: typeof ShapeError, message: RegExp) =>
    assert.throws(run, (error: unknown) => error instanceof type && message.test(error.message));
  refuses(() => conv2d(x(1, 4, 8, 8), packed), ShapeError, /^conv2d: expected x \[B, 3, H, W\], got \[1, 4, 8, 8\]/);
  refuses(() => conv2d(x(3, 8, 8), packed), ShapeError, /^conv2d: expected x/);
  refuses(() => conv2d(x(1, 3, 2, 8), packed), ShapeError, /^conv2d: expected an input that the 3x3 kernel fits into/);
  const residual = x(1, 4, 8, 8);
  refuses(() => conv2d(x(1, 3, 8, 8), packed, { residual }), ShapeError, /^conv2d: expected residual \[1, 4, 6, 6\]/);
  refuses(() => packConv2d(device, random.tensor([4, 9])), ShapeError, /^packConv2d: expected a weight/);
  const [short, integers] = [new Float32Array(5), new Int32Array(4)];
  refuses(() => packConv2d(device, { ...weight, data: short }), ShapeError, /weight: expected as many values .* got 5/);
  const bias = { shape: [4], data: integers } as never;
  refuses(
    () => packConv2d(device, weight, bias),
    OptionError,
    /^packConv2d: bias: expected .* with a Float32Array, got/,
  );
  refuses(() => packConv2d(device, weight, random.tensor([3])), ShapeError, /^packConv2d: expected a bias \[4\]/);
  refuses(() => packConv2d(device, weight, undefined, { groups: 3 }), ShapeError, /^packConv2d: expected output/);
  refuses(() => packConv2d(device, weight, undefined, { stride: 0 }), OptionError, /^packConv2d: expected stride/);
  refuses(() => packConv2d(device, weight, undefined, { padding: -1 }), OptionError, /^packConv2d: expected padding/);
});

test.after(async () => {
  await device.destroy();
  await webgpu.destroy();
});
test.run();
