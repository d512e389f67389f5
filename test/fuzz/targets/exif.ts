import { readFileSync } from 'node:fs';
import { readImageSync } from '../../../models/images/files.ts';
import { exifOrientation } from '../../../models/images/orientation.ts';
import { testData } from '../../support/data.ts';
import { concatenate } from '../mutate.ts';
import type { FuzzTarget } from '../target.ts';

const plain = readFileSync(testData('images', 'rgb.jpg'));
const { width, height } = readImageSync(plain);

/** An APP1 segment. */
function segmentOf(content: Uint8Array): Uint8Array {
  const length = content.length + 2;
  return concatenate(Uint8Array.of(0xff, 0xe1, length >> 8, length & 255), content);
}

/** The metadata of a sound picture: as long as their length is right they leave it readable, and turn it at most. */
export const target: FuzzTarget = {
  seeds: () =>
    [1, 2, 3, 4, 5, 6, 7, 8].map(orientation => {
      const file = readFileSync(testData('images', `orientation-${orientation}.jpg`));
      const start = file.indexOf('Exif\0\0');
      return segmentOf(file.subarray(start, start + file.readUInt16BE(start - 2) - 2));
    }),
  words: [
    'Exif\0\0',
    'II*\0',
    'MM\0*',
    '\x01\x12\0\x03',
    '\x12\x01\x03\0',
    '\0\0\0\x01',
    '\x01\0\0\0',
    '\xff\xff\xff\xff',
  ],
  generate: (random, mutated) => (random.chance(0.8) ? segmentOf(mutated.subarray(4, 60_000)) : mutated),
  run: segment => {
    const image = readImageSync(concatenate(plain.subarray(0, 2), segment, plain.subarray(2)));
    const sizes = [`${height} x ${width}`, `${width} x ${height}`];
    if (!sizes.includes(`${image.height} x ${image.width}`)) throw new Error(`${image.height} x ${image.width}`);
    const orientation = exifOrientation(segment.subarray(10));
    if (!Number.isInteger(orientation) || orientation < 1 || orientation > 8)
      throw new Error(`orientation ${orientation}`);
  },
};
