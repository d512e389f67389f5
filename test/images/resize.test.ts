import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import type { Image } from '../../models/images/image.ts';
import { type ResampleFilter, resize, resizeTorchvision, type TorchvisionFilter } from '../../models/images/resize.ts';
import { readTestJson, testData } from '../support/data.ts';
import { rejectsWith } from '../support/throws.ts';
import { assertSameBytes } from './compare.ts';

// test/data/images/make_vectors.py: Pillow 12 and torchvision 0.28 (torch 2.13, AVX2).
interface Case {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly newHeight: number;
  readonly newWidth: number;
  readonly results: readonly [library: 'pillow' | 'torchvision', filter: ResampleFilter][];
}

test('every filter equals Pillow and torchvision bit for bit', () => {
  const bytes = readFileSync(testData('images', 'resize.bin'));
  let offset = 0;
  const take = (length: number) => {
    offset += length;
    return new Uint8Array(bytes.subarray(offset - length, offset));
  };
  let compared = 0;
  for (const { height, width, channels, newHeight, newWidth, results } of readTestJson<Case[]>(
    'images',
    'resize.json',
  )) {
    const image: Image = { height, width, channels, data: take(height * width * channels) };
    for (const [library, filter] of results) {
      const resized =
        library === 'pillow'
          ? resize(image, newHeight, newWidth, filter)
          : resizeTorchvision(image, newHeight, newWidth, filter as TorchvisionFilter);
      const what = `${library} ${filter} ${height} x ${width} x ${channels} → ${newHeight} x ${newWidth}`;
      assert.equal([resized.height, resized.width, resized.channels], [newHeight, newWidth, channels], what);
      assertSameBytes(resized.data, take(newHeight * newWidth * channels), what);
      compared++;
    }
  }
  assert.is(offset, bytes.length);
  assert.is(compared, 8 * 10);
});

test('columns over a hundred times as tall as wide are shortened first, as Pillow does', () => {
  const data = Uint8Array.from({ length: 2 * 250 }, (_, i) => (Math.imul(i + 1, 2654435761) >>> 9) & 255);
  const resized = resize({ height: 250, width: 2, channels: 1, data }, 7, 3, 'lanczos');
  const pillow = [
    ...[128, 129, 130, 129, 129, 129, 129, 129, 128, 127, 128],
    ...[129, 128, 128, 127, 126, 127, 127, 128, 128, 128],
  ];
  assert.equal([...resized.data], pillow);
});

test('bilinear equals the definition with exact weights to one level', () => {
  // An independent statement of the same: a triangle of the source pixels' width, or wider when shrinking.
  const [height, width, newHeight, newWidth] = [41, 37, 23, 90];
  const data = Uint8Array.from({ length: height * width }, (_, i) => (Math.imul(i + 1, 2654435761) >>> 9) & 255);
  const resized = resize({ height, width, channels: 1, data }, newHeight, newWidth);
  const weights = (inputs: number, outputs: number, output: number) => {
    const reach = Math.max(1, inputs / outputs);
    const centre = ((output + 0.5) * inputs) / outputs - 0.5;
    const raw = Array.from({ length: inputs }, (_, input) => Math.max(0, 1 - Math.abs(input - centre) / reach));
    const sum = raw.reduce((total, weight) => total + weight, 0);
    return raw.map(weight => weight / sum);
  };
  for (let y = 0; y < newHeight; y++) {
    const rows = weights(height, newHeight, y);
    for (let x = 0; x < newWidth; x++) {
      const columns = weights(width, newWidth, x);
      let expected = 0;
      for (const [i, row] of rows.entries()) {
        if (row > 0) for (const [j, column] of columns.entries()) expected += row * column * data[i * width + j]!;
      }
      const actual = resized.data[y * newWidth + x]!;
      assert.ok(Math.abs(actual - expected) <= 1.01, `[${y}, ${x}]: expected ${expected}, got ${actual}`);
    }
  }
});

test('a picture of the wanted size is copied', () => {
  const image: Image = { height: 3, width: 2, channels: 3, data: Uint8Array.from({ length: 18 }, (_, index) => index) };
  for (const copy of [resize(image, 3, 2, 'lanczos'), resizeTorchvision(image, 3, 2)]) {
    assert.equal(copy, image);
    copy.data.fill(0);
    assert.is(image.data[17], 17);
  }
  const buffer = { ...image, data: Buffer.from(image.data) };
  resize(buffer, 3, 2).data.fill(0);
  assert.is(buffer.data[17], 17);
});

test('impossible sizes, pictures and filters are refused', async () => {
  const image: Image = { height: 3, width: 2, channels: 3, data: new Uint8Array(18) };
  await rejectsWith(() => resize(image, 0, 5), ShapeError, /resize: expected a positive height, got 0/);
  await rejectsWith(() => resize(image, 4, 2.5), ShapeError, /resize: expected a positive width, got 2.5/);
  await rejectsWith(() => resize({ ...image, channels: 2 }, 4, 4), ShapeError, /expected 1, 3 or 4 channels, got 2/);
  await rejectsWith(() => resize({ ...image, width: 3 }, 4, 4), ShapeError, /3 x 3 x 3 = 27 bytes, got 18/);
  const wrong = 'cubic' as ResampleFilter;
  await rejectsWith(() => resize(image, 4, 4, wrong), OptionError, /expected a filter out of nearest, .* got cubic/);
  const box = 'box' as TorchvisionFilter;
  await rejectsWith(() => resizeTorchvision(image, 4, 4, box), OptionError, /resizeTorchvision: .* got box/);
});

test.run();
