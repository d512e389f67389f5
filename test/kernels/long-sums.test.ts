import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { elementCount, type HostTensor } from '../../engine/index.ts';
import { conv2d, linear, packConv2d, packLinear } from '../../kernels/index.ts';
import { deviceNames, openDevice } from './devices.ts';

// Where all terms are equal every addition rounds the same way, and the errors of one long sum would add up.

const EPSILON = 2 ** -23;
const filled = (shape: readonly number[], value: number) => {
  return { shape, data: new Float32Array(elementCount(shape)).fill(value) };
};

for (const name of deviceNames) {
  test(`long sums of equal terms do not drift, on ${name}`, async () => {
    await using device = await openDevice(name);
    const [a, b] = [Math.fround(0.1), Math.fround(0.7)];
    const check = (what: string, { data }: HostTensor<Float32Array | Int32Array>, expected: number) => {
      const worst = Math.max(...Array.from(data, value => Math.abs(value / expected - 1))) / EPSILON;
      assert.ok(worst <= 48, `${what}: ${worst.toFixed(0)} epsilons`);
    };
    for (const features of [2048, 8192]) {
      const weights = packLinear(device, filled([64, features], b));
      const output = await linear(device.tensor(filled([8, features], a)), weights).read();
      check(`linear of ${features}`, output, features * a * b);
    }
    const weights = packConv2d(device, filled([8, 2048, 1, 1], a));
    const output = await conv2d(device.tensor(filled([1, 2048, 6, 6], a)), weights).read();
    check('conv2d of 2048 channels', output, 2048 * a * a);
  });
}

test.run();
