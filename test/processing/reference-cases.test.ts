import { existsSync, readdirSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { HostTensor } from '../../engine/host-tensor.ts';
import type { Image } from '../../models/images/image.ts';
import { testData } from '../support/data.ts';
import { assertAsExpected, camelCase, processors, type ReferenceCase, readCase } from './reference-case.ts';

// transformers 5.18, Pillow backend; see test/data/processing/README.md.
const folder = testData('processing', 'cases');

function run(reference: ReferenceCase, path: string): unknown {
  const processor = new processors[reference.class](reference.config);
  const options: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(reference.args)) {
    if (value !== null && value !== false) options[camelCase(key)] = value;
  }
  if (reference.method === 'preprocess') {
    const images: Image[] = [];
    for (let index = 0; reference.inputs.has(`images.${index}`); index++) {
      const { shape, data } = reference.inputs.get(`images.${index}`) as HostTensor<Uint8Array>;
      images.push({ height: shape[0]!, width: shape[1]!, channels: shape[2]!, data });
    }
    if (options.masksPath !== undefined) options.masksPath = path;
    return processor.preprocess(images, options);
  }
  const outputs = Object.fromEntries(reference.inputs);
  const methods = processor as unknown as Record<string, (outputs: unknown, options: unknown) => unknown>;
  return methods[camelCase(reference.method)]!(outputs, options);
}

const names = readdirSync(folder).filter(name => existsSync(`${folder}/${name}/case.json`));

test('there are cases of every method', () => {
  assert.is(names.length, 41);
});

for (const name of names) {
  test(name, async () => {
    const reference = await readCase(`${folder}/${name}`, name);
    assertAsExpected(run(reference, `${folder}/${name}`), reference);
  });
}

test.run();
