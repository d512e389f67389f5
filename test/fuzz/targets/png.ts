import { readFileSync } from 'node:fs';
import { crc32Of } from '../../images/png-parts.ts';
import { testData } from '../../support/data.ts';
import type { FuzzTarget } from '../target.ts';
import { checkImageFile } from './jpeg.ts';

const names = [
  'grey1',
  'grey16-adam7',
  'palette4',
  'palette8-adam7',
  'rgb8',
  'rgb16',
  'grey-alpha8',
  'rgba8-adam7',
  'orientation-6',
];

export const target: FuzzTarget = {
  seeds: () => names.map(name => readFileSync(testData('images', `${name}.png`))),
  words: [
    'IHDR',
    'PLTE',
    'IDAT',
    'IEND',
    'eXIf',
    'tRNS',
    'gAMA',
    'teST',
    '\x78\x9c',
    '\0\0\0\x01',
    '\x7f\xff\xff\xff',
    '\xff\xff\xff\xff',
  ],
  // Checksums are put right in most inputs: else every change would be found out by them.
  generate: (random, mutated) => (random.chance(0.8) ? withChecksums(mutated) : mutated),
  run: checkImageFile,
};

function withChecksums(input: Uint8Array): Uint8Array {
  const bytes = input.slice();
  const view = new DataView(bytes.buffer);
  for (let at = 8; at + 12 <= bytes.length; ) {
    const end = at + 8 + view.getUint32(at);
    if (end + 4 > bytes.length) break;
    view.setUint32(end, crc32Of(bytes.subarray(at + 4, end)));
    at = end + 4;
  }
  return bytes;
}
