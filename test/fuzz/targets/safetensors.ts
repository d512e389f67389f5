import { readFileSync } from 'node:fs';
import { elementCount } from '../../../engine/host-tensor.ts';
import { storedDataType } from '../../../weights/data-types.ts';
import { encodeSafetensors, parseSafetensors } from '../../../weights/safetensors.ts';
import { testData } from '../../support/data.ts';
import type { FuzzTarget } from '../target.ts';

export const target: FuzzTarget = {
  seeds: () => [
    readFileSync(testData('weights', 'torch', 'expected.safetensors')),
    encodeSafetensors([]),
    encodeSafetensors(
      [
        ['a', { shape: [2, 3], data: new Float32Array(6) }],
        ['b.c', { shape: [], data: new BigInt64Array(1) }],
        ['é', { shape: [0, 4], dtype: 'BF16', data: new Uint16Array(0) }],
      ],
      { format: 'pt' },
    ),
  ],
  words: safetensorsWords(),
  run: checkSafetensors,
};

export function safetensorsWords(): string[] {
  const names = [
    '"__metadata__"',
    '"dtype"',
    '"shape"',
    '"data_offsets"',
    '"__proto__"',
    '"a"',
    '"F32"',
    '"BOOL"',
    '"F8_E4M3"',
  ];
  const syntax = ['{', '}', '[', ']', ',', ':', '"', '\\u0061', '\\ud800', ' ', '\n', '[0,0]', '[0,4]', '{}', '{"a":'];
  return [...names, ...syntax, '1e3', '-0', '1.0', '00', '9007199254740993', 'null', 'true', '4294967296', '\0'];
}

/** Reads everything; where it is accepted, compares with what the header says when read by other means. */
export async function checkSafetensors(input: Uint8Array): Promise<void> {
  const source = parseSafetensors(input);
  const length = Number(new DataView(input.buffer, input.byteOffset).getBigUint64(0, true));
  const header: Record<string, unknown> = JSON.parse(Buffer.from(input.subarray(8, 8 + length)).toString());
  const expected = new Set(Object.keys(header).filter(name => name !== '__metadata__'));
  // JSON.parse hides a member called __proto__.
  const names = [...source.tensors.keys()].filter(name => name !== '__proto__');
  if (names.length !== expected.size || names.some(name => !expected.has(name)))
    throw new Error('other tensors than the header has');
  let bytes = 0;
  for (const [name, { shape, dtype }] of source.tensors) {
    const size = elementCount(shape) * storedDataType(dtype)!.bytes;
    const native = await source.readNative(name);
    const converted = await source.read(name);
    if (native.data.byteLength !== size || converted.data.length !== elementCount(shape))
      throw new Error(`${name}: wrong length`);
    bytes += size;
  }
  if (8 + length + bytes !== input.length) throw new Error('the tensors do not cover the file');
}
