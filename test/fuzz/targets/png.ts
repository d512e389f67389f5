import { readFileSync } from 'node:fs';
import { deflateSync } from 'node:zlib';
import { crc32Of, pngChunk } from '../../images/png-parts.ts';
import { testData } from '../../support/data.ts';
import { concatenate } from '../mutate.ts';
import type { Random } from '../random.ts';
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
  // Checksums are put right in most inputs, and some have pixels that inflate: else nearly all changes would be found out there.
  generate: (random, mutated) => {
    if (random.chance(0.2)) return mutated;
    return withChecksums(random.chance(0.5) ? withPixels(mutated, random) : mutated);
  },
  run: checkImageFile,
};

/** Random pixels in place of the compressed ones, as many as the header wants or a few more or less. */
function withPixels(input: Uint8Array, random: Random): Uint8Array {
  if (input.length < 33) return input;
  const start = Buffer.from(input.buffer, input.byteOffset, input.length).indexOf('IDAT', 33, 'latin1');
  const head = input.slice(0, start < 0 ? 33 : start - 4);
  const header = new DataView(head.buffer, 16);
  header.setUint32(0, header.getUint32(0) & 63);
  header.setUint32(4, header.getUint32(4) & 63);
  const samples = [1, 1, 3, 1, 2, 1, 4][header.getUint8(9)] ?? 1;
  const rowBytes = 1 + Math.ceil((header.getUint32(0) * samples * header.getUint8(8)) / 8);
  const pixels = random.bytes(rowBytes * header.getUint32(4) + (random.chance(0.2) ? random.below(9) : 0));
  // The first byte of a row names its filter.
  for (let row = 0; row < pixels.length; row += rowBytes) if (random.chance(0.99)) pixels[row] = random.below(5);
  return concatenate(head, pngChunk('IDAT', deflateSync(pixels, { level: 1 })), pngChunk('IEND', new Uint8Array(0)));
}

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
