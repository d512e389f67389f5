import { concatenate } from '../mutate.ts';
import type { FuzzTarget } from '../target.ts';
import { checkSafetensors, safetensorsWords } from './safetensors.ts';

const text = (value: string) => new TextEncoder().encode(value);

/** Headers as text: the length before and the data behind them are made to fit, so that mutations get past the first check. */
export const target: FuzzTarget = {
  seeds: () =>
    [
      '{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}}',
      '{"__metadata__":{"format":"pt"},"x.y":{"data_offsets":[0,16],"shape":[4,2],"dtype":"BF16"}}  ',
      '{"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"t":{"dtype":"F64","shape":[1,1,1],"data_offsets":[8,16]}}',
    ].map(header => frame(text(header))),
  words: safetensorsWords(),
  generate: (_, mutated) => frame(mutated.subarray(8, Math.max(8, mutated.length - 16))),
  run: checkSafetensors,
};

function frame(header: Uint8Array): Uint8Array {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  return concatenate(length, header, new Uint8Array(16));
}
