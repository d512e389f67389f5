import { existsSync, readdirSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { testData } from '../support/data.ts';
import { assertAsExpected, readCase, runCase } from './reference-case.ts';

// transformers 5.18, Pillow backend; see test/data/processing/README.md.
const folder = testData('processing', 'cases');

const names = readdirSync(folder).filter(name => existsSync(`${folder}/${name}/case.json`));

test('there are cases of every method', () => {
  assert.is(names.length, 41);
});

for (const name of names) {
  test(name, async () => {
    const reference = await readCase(`${folder}/${name}`, name);
    assertAsExpected(runCase(reference, `${folder}/${name}`), reference);
  });
}

test.run();
