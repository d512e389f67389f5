import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { matchCategories } from '../../cli/evaluation/categories.ts';
import { OptionError } from '../../engine/errors.ts';

const animals = { 0: 'N/A', 1: 'cat', 2: 'dog', 3: 'airplane' };
const categories = (...names: string[]) => names.map((name, index) => ({ id: index + 1, name }));
/** Pairs of label and category, and what was said about them. */
function match(names: Record<number, string>, wanted: ReturnType<typeof categories>) {
  const { write } = process.stderr;
  let said = '';
  process.stderr.write = text => {
    said += text;
    return true;
  };
  try {
    return { pairs: [...matchCategories(names, wanted)], said };
  } finally {
    process.stderr.write = write;
  }
}
const refuses = (names: Record<number, string>, wanted: ReturnType<typeof categories>, message: RegExp) =>
  assert.throws(
    () => match(names, wanted),
    (error: unknown) => error instanceof OptionError && message.test(error.message),
  );

test('ids are trusted where names agree with them, or say nothing', () => {
  const byId = (...ids: number[]) => ({ pairs: ids.map(id => [id, id]), said: '' });
  assert.equal(match(animals, categories('cat', 'dog')), byId(1, 2));
  assert.equal(match(animals, categories('Cat', 'dog', 'aeroplane', 'unicorn')), byId(1, 2, 3));
  assert.equal(match({ 0: 'LABEL_0', 1: 'LABEL_1', 2: 'LABEL_2' }, categories('cat', 'dog')), byId(1, 2));
  assert.equal(match(animals, categories('cat', 'aeroplane')), byId(1, 2));
  for (const names of [animals, { 0: 'LABEL_0', 1: 'LABEL_1' }]) assert.equal(match(names, categories('cat')), byId(1));
});

test('names decide where ids point elsewhere', () => {
  const { pairs, said } = match({ 0: 'cat', 1: 'dog', 2: 'bird' }, categories('cat', 'dog'));
  assert.equal(pairs, [
    [0, 1],
    [1, 2],
  ]);
  assert.match(said, /matched by their names/);
});

test('categories that neither ids nor names find are refused', () => {
  refuses(
    { 0: 'cat', 1: 'dog' },
    categories('cat', 'unicorn'),
    /got category 1 "cat", where the model's label 1 is "dog"$/,
  );
  refuses(animals, categories('car', 'bus'), /got category 1 "car", where the model's label 1 is "cat"$/);
  refuses({ 0: 'LABEL_0' }, categories('cat'), /got category 1 "cat", where the model has no label 1$/);
  refuses({ 0: 'cat', 1: 'dog' }, categories('cat', 'cat'), /got category 1 "cat"/);
});

test.run();
