import { readFileSync } from 'node:fs';
import { elementCount } from '../../../engine/host-tensor.ts';
import { memoryBytes } from '../../../weights/bytes.ts';
import { readTorchFile } from '../../../weights/torch-file.ts';
import { testData } from '../../support/data.ts';
import { zipArchive } from '../../weights/support/zip-writer.ts';
import type { FuzzTarget } from '../target.ts';

const sample = (name: string) => readFileSync(testData('weights', 'torch', name));

/** Archives mutated as they are. */
export const target: FuzzTarget = {
  seeds: () => {
    const files = [
      { name: 'a/data.pkl', content: Buffer.from(pickleOf(4), 'latin1') },
      { name: 'a/byteorder', content: Buffer.from('little') },
      { name: 'a/data/0', content: new Uint8Array(16), isDeflated: true },
    ];
    return [
      sample('linear.bin'),
      sample('nocrc.bin'),
      zipArchive(files),
      zipArchive(files, { zip64: true, comment: 'a comment' }),
    ];
  },
  words: [
    'PK\x01\x02',
    'PK\x03\x04',
    'PK\x05\x06',
    'PK\x06\x06',
    'PK\x06\x07',
    'data.pkl',
    'byteorder',
    'data/0',
    '../',
    '\xff\xff\xff\xff',
  ],
  run: checkTorchFile,
};

/** A state dict with one tensor of so many floats. */
export function pickleOf(count: number): string {
  const storage = `(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK${String.fromCharCode(count)}tQ`;
  return `\x80\x02}U\x01actorch._utils\n_rebuild_tensor_v2\n(${storage}K\0(K${String.fromCharCode(count)}t(K\x01t\x89NtRs.`;
}

/** Reads all that a file offers; no tensor may be of another size than it says. */
export async function checkTorchFile(input: Uint8Array): Promise<void> {
  const source = await readTorchFile(memoryBytes(input, 'input'));
  let bytes = 0;
  for (const [name, { shape }] of source.tensors) {
    const { data } = await source.read(name);
    const native = await source.readNative(name);
    bytes += native.data.byteLength;
    if (data.length !== elementCount(shape) || native.data.length !== data.length)
      throw new Error(`${name}: wrong length`);
  }
  if (bytes > 1024 * (input.length + 1024)) throw new Error(`${bytes} bytes of tensors out of ${input.length}`);
}
