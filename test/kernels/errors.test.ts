// Every launcher refuses wrong shapes, types and options, at once and in words.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Device, OptionError, ShapeError } from '../../engine/index.ts';
import * as kernels from '../../kernels/index.ts';
import { attentionErrors } from './errors/attention.ts';
import { deformableErrors } from './errors/deformable.ts';
import { elementwiseErrors } from './errors/elementwise.ts';
import type { ErrorCases } from './errors/error-case.ts';
import { multiScaleDeformableAttentionErrors } from './errors/multi-scale-deformable-attention.ts';
import { normalizationErrors } from './errors/normalization.ts';
import { poolingErrors } from './errors/pooling.ts';
import { positionsErrors } from './errors/positions.ts';
import { productErrors } from './errors/products.ts';
import { resizeErrors } from './errors/resize.ts';
import { shapeErrors } from './errors/shape.ts';
import { topKErrors } from './errors/top-k.ts';

/** Functions of kernels/index.ts that launch nothing. */
const NOT_LAUNCHERS = ['activationByName', 'Random'];

const errors: ErrorCases = {
  ...deformableErrors,
  ...topKErrors,
  ...multiScaleDeformableAttentionErrors,
  ...attentionErrors,
  ...elementwiseErrors,
  ...positionsErrors,
  ...productErrors,
  ...shapeErrors,
  ...normalizationErrors,
  ...poolingErrors,
  ...resizeErrors,
};

const refusals = suite('refusals', { device: undefined as unknown as Device });

refusals.before(async context => {
  context.device = await Device.create({ device: 'cpu', threads: 1 });
});

refusals.after(async ({ device }) => {
  await device.destroy();
});

refusals('cover every launcher', () => {
  const launchers = Object.entries(kernels)
    .filter(([name, value]) => typeof value === 'function' && !NOT_LAUNCHERS.includes(name))
    .map(([name]) => name);
  assert.equal(Object.keys(errors).sort(), launchers.sort());
});

for (const [name, cases] of Object.entries(errors)) {
  refusals(name, ({ device }) => {
    assert.ok(cases.length > 0, 'no cases');
    for (const { message, call } of cases) {
      assert.throws(
        () => device.scope(() => call(device, (shape, dtype) => device.empty(shape, dtype))),
        (error: unknown) => {
          if (!(error instanceof ShapeError || error instanceof OptionError)) throw error;
          assert.match(error.message, message);
          return true;
        },
      );
    }
  });
}

refusals.run();
