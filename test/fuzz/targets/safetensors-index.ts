import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FileError } from '../../../engine/errors.ts';
import { encodeSafetensors } from '../../../weights/safetensors.ts';
import { openSafetensors, readShardIndex } from '../../../weights/safetensors-file.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import type { FuzzTarget } from '../target.ts';

const text = (value: string) => new TextEncoder().encode(value);
const folder = temporaryFolder('fuzz-index');
const path = join(folder, 'model.safetensors.index.json');

export const target: FuzzTarget = {
  seeds: () => {
    const one = { shape: [1], data: new Float32Array(1) };
    for (const [file, name] of [
      ['m-1.safetensors', 'a'],
      ['m-2.safetensors', 'b'],
    ] as const) {
      writeFileSync(join(folder, file), encodeSafetensors([[name, one]]));
    }
    return [
      text('{"metadata":{"total_size":8},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}'),
      text('{"weight_map": {"a": "m-1.safetensors"}, "x": [null, {"y": 1.5e3}]}'),
    ];
  },
  words: [
    '"weight_map"',
    '"../',
    '/etc/passwd',
    '..\\',
    '\\u002e',
    '\\u0000',
    '"a"',
    '"m-1.safetensors"',
    '{',
    '[',
    'null',
    '[[[[[[[[',
  ],
  run: async input => {
    writeFileSync(path, input);
    for (const shard of (await readShardIndex(path)).values()) {
      if (dirname(join(folder, shard)) !== folder || shard.includes('\0'))
        throw new Error(`shard ${shard} leads elsewhere`);
    }
    const source = await openSafetensors(path);
    try {
      for (const name of source.tensors.keys()) await source.read(name);
    } finally {
      await source.close();
    }
    if (source.tensors.size > 2) throw new FileError({ file: path }, 'more tensors than the shards have');
  },
};
