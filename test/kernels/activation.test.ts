import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { activate, activations } from '../../kernels/index.ts';
import { deviceNames, openDevice, triesForms } from './devices.ts';
import { activationReference } from './references/elementwise.ts';

const arguments_ = [Number.NaN, -Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, -3, 3, 1e30];

for (const name of deviceNames.filter(name => !triesForms(name))) {
  test(`every activation gives NaN for NaN, and what it should for infinities, on ${name}`, async () => {
    await using device = await openDevice(name);
    const x = device.tensor({ shape: [arguments_.length], data: Float32Array.from(arguments_) });
    for (const activation of activations) {
      const { data } = await activate(x, activation).read();
      arguments_.forEach((argument, index) => {
        const result = activationReference(activation, argument);
        const expected = typeof result === 'number' ? result : result.value;
        const label = `${activation}(${argument})`;
        if (Number.isFinite(expected) && Math.abs(expected) < 1e38) {
          assert.ok(Math.abs(data[index]! - expected) <= 1e-5 * Math.abs(expected) + 1e-6, `${label}: ${data[index]}`);
        } else assert.equal(data[index], Math.fround(expected), label);
      });
    }
  });
}

test.run();
