import { readFileSync } from 'node:fs';
import { readImageSync } from '../../../models/images/files.ts';
import { testData } from '../../support/data.ts';
import type { FuzzTarget } from '../target.ts';

const names = [
  'ycc-420',
  'ycc-420-progressive',
  'ycc-422',
  'ycc-440',
  'restart',
  'restart-progressive',
  'grey',
  'cmyk',
  'rgb',
  'orientation-5',
];

export const target: FuzzTarget = {
  seeds: () => names.map(name => readFileSync(testData('images', `${name}.jpg`))),
  words: [
    ...[
      '\xff\xd8',
      '\xff\xd9',
      '\xff\xc0',
      '\xff\xc2',
      '\xff\xc4',
      '\xff\xc9',
      '\xff\xda',
      '\xff\xdb',
      '\xff\xdd',
      '\xff\xd0',
      '\xff\xdc',
    ],
    ...['\xff\x00', '\xff\xff', '\x00\x01', '\x11', '\x22', '\x44', 'Exif\0\0', 'Adobe', 'JFIF\0', 'II*\0'],
  ],
  run: checkImageFile,
};

/** Reads a picture; where it is accepted, its bytes are those of its size. */
export function checkImageFile(input: Uint8Array): void {
  const { width, height, channels, data } = readImageSync(input, { maxPixels: 2 ** 22 });
  if (channels !== 3 || data.length !== width * height * 3 || width * height > 2 ** 22) {
    throw new Error(`${height} x ${width} x ${channels} with ${data.length} bytes`);
  }
}
