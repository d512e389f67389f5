import { readFileSync } from 'node:fs';
import { testData } from '../../support/data.ts';
import type { FuzzTarget } from '../target.ts';
import { target as pickleTarget } from './torch-pickle.ts';
import { checkTorchFile } from './torch-zip.ts';

/** The format before torch 1.6: pickles and storages one after the other, without checksums. */
export const target: FuzzTarget = {
  seeds: () => [readFileSync(testData('weights', 'torch', 'legacy.pth'))],
  words: pickleTarget.words!,
  run: checkTorchFile,
};
