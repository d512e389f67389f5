import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { didYouMean } from '../../weights/suggest.ts';

test('suggestions are near or absent', () => {
  const known = ['detect', 'segment', 'facebook/detr-resnet-50', 'facebook/detr-resnet-50-dc5'];
  for (const [word, meant] of [
    ['detct', 'detect'],
    ['dectet', 'detect'],
    ['DETECTS', 'detect'],
    ['seg', 'segment'],
    ['detr-resnet-50', 'facebook/detr-resnet-50'],
    ['facebok/detr-resnet-50', 'facebook/detr-resnet-50'],
  ] as const) {
    assert.is(didYouMean(word, known), `, did you mean ${JSON.stringify(meant)}?`, word);
  }
  // Too many letters more, fewer and other ones.
  for (const word of ['x', 'se', '', 'constructor', 'dexxxxtect', 'dtt', 'dxxxct'])
    assert.is(didYouMean(word, known), '', word);
});

test('what a terminal would obey is not suggested as it is', () => {
  assert.is(didYouMean('mode', ['\u001b[31mmodel']), ', did you mean "\\u001b[31mmodel"?');
});

test.run();
