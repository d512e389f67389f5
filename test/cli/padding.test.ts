import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { withoutPadding } from '../../cli/padding.ts';
import type { HostTensor } from '../../engine/host-tensor.ts';
import type { Image } from '../../models/images/image.ts';

const picture = (height: number, width: number): Image => ({
  height,
  width,
  channels: 3,
  data: new Uint8Array(3 * height * width),
});
const pixelMask = (
  paddedHeight: number,
  paddedWidth: number,
  sizes: readonly (readonly [number, number])[],
): HostTensor<Int32Array> => ({
  shape: [sizes.length, paddedHeight, paddedWidth],
  data: Int32Array.from({ length: sizes.length * paddedHeight * paddedWidth }, (_, index) => {
    const [height, width] = sizes[Math.floor(index / (paddedHeight * paddedWidth))]!;
    const row = Math.floor(index / paddedWidth) % paddedHeight;
    return row < height && index % paddedWidth < width ? 1 : 0;
  }),
});

test('a picture that fills the batch keeps its masks and its size', () => {
  const logits = { shape: [1, 2, 3], data: Float32Array.from([1, 2, 3, 4, 5, 6]) };
  const pred_masks = { shape: [1, 2, 3, 4], data: Float32Array.from({ length: 24 }, (_, index) => index) };
  for (const mask of [undefined, pixelMask(11, 15, [[11, 15]])]) {
    const [own] = withoutPadding({ logits, pred_masks }, mask, [picture(100, 140)]);
    assert.equal(own!.outputs, { logits, pred_masks });
    assert.equal(own!.targetSizes, [[100, 140]]);
  }
});

test('masks are cut to the picture, and the target grows by what is left of the last mask pixel', () => {
  // Padded input 16 x 24, masks 4 x 6 (every 4 pixels); the second picture is 10 x 16 of it, from an original of 20 x 32.
  const logits = { shape: [2, 1, 2], data: Float32Array.from([1, 2, 3, 4]) };
  const pred_masks = { shape: [2, 1, 4, 6], data: Float32Array.from({ length: 48 }, (_, index) => index) };
  const mask = pixelMask(16, 24, [
    [16, 24],
    [10, 16],
  ]);
  const [first, second] = withoutPadding({ logits, pred_masks }, mask, [picture(32, 48), picture(20, 32)]);
  assert.equal(first!.outputs.pred_masks.shape, [1, 1, 4, 6]);
  assert.equal(first!.targetSizes, [[32, 48]]);
  assert.equal([...second!.outputs.logits.data], [3, 4]);
  assert.equal(second!.outputs.pred_masks.shape, [1, 1, 3, 4]);
  assert.equal([...second!.outputs.pred_masks.data], [24, 25, 26, 27, 30, 31, 32, 33, 36, 37, 38, 39]);
  assert.equal(second!.targetSizes, [[24, 32]], 'three mask rows are 12 input rows, 24 rows of the original');
  const [, odd] = withoutPadding({ logits, pred_masks }, mask, [picture(32, 48), picture(23, 37)]);
  assert.equal(odd!.targetSizes, [[28, 37]], '27.6 rows, to the nearest');
  const map = { shape: [24, 32], data: Int32Array.from({ length: 24 * 32 }, (_, index) => index) };
  const cropped = second!.crop(map);
  assert.equal(cropped.shape, [20, 32]);
  assert.equal([cropped.data.length, cropped.data[33], cropped.data.at(-1)], [640, 33, 639]);
});

test.run();
