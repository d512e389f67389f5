import { readFileSync } from 'node:fs';
import { memoryBytes, readRange } from '../../../weights/bytes.ts';
import { openZip } from '../../../weights/zip.ts';
import { testData } from '../../support/data.ts';
import { deepTuple, doublings } from '../../weights/support/pickles.ts';
import { zipArchive } from '../../weights/support/zip-writer.ts';
import type { FuzzTarget } from '../target.ts';
import { checkTorchFile, pickleOf } from './torch-zip.ts';

const samples = ['zip.bin', 'training.pth', 'misc.pt', 'linear.bin', 'protocol3.pt', 'protocol4.pt', 'protocol5.pt'];

/** Pickles, in archives whose checksums fit: what gets as far as the unpickler. */
export const target: FuzzTarget = {
  seeds: async () => {
    const pickles = samples.map(async name => {
      const archive = await openZip(memoryBytes(readFileSync(testData('weights', 'torch', name)), name));
      const pickle = [...archive.entries.keys()].find(entry => entry.endsWith('/data.pkl'))!;
      const source = await archive.open(pickle);
      return readRange(source, 0, source.size);
    });
    const plain = pickleOf(16);
    const nested = [doublings(60), deepTuple(20_000)].map(value => plain.replace(/\.$/, () => `U\x01x${value}s.`));
    const handMade = [plain, ...nested].map(pickle => Buffer.from(pickle, 'latin1'));
    return [...(await Promise.all(pickles)), ...handMade];
  },
  words: [
    ...[
      'cos\nsystem\n',
      'c__builtin__\neval\n',
      'ctorch._utils\n_rebuild_tensor_v2\n',
      'ctorch\nFloatStorage\n',
      'ctorch\nSize\n',
    ],
    ...[
      'ccollections\nOrderedDict\n',
      'cargparse\nNamespace\n',
      'c__builtin__\nset\n',
      'ctorch._utils\n_rebuild_parameter\n',
    ],
    ...[
      '(',
      ')',
      '.',
      '0',
      '1',
      '2',
      'N',
      't',
      'R',
      'Q',
      'b',
      's',
      'u',
      'e',
      'a',
      'd',
      'l',
      '}',
      ']',
      'h\x00',
      'q\x00',
      'q\x01',
      'h\x01',
    ],
    ...[
      '\x81',
      '\x85',
      '\x86',
      '\x87',
      '\x8a\xff',
      '\x8b\xff\xff\xff\x7f',
      '\x8c\x05posix',
      '\x93',
      '\x94',
      '\x95',
      'X\xff\xff\xff\xff',
    ],
    ...[
      'U\x07storage',
      'K\x00',
      'J\xff\xff\xff\xff',
      'M\xff\xff',
      'I1\n',
      'L99999999999999999999L\n',
      "S'x'\n",
      'G\x7f\xf0\0\0\0\0\0\0',
    ],
  ],
  run: pickle => {
    // Storages 0 to 19 with 128 bytes each, so that mutated tensors find something to lie in.
    const storages = Array.from({ length: 20 }, (_, key) => ({ name: `a/data/${key}`, content: new Uint8Array(128) }));
    return checkTorchFile(zipArchive([{ name: 'a/data.pkl', content: pickle }, ...storages]));
  },
};
