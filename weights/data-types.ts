import type { NumericArray } from '../engine/host-tensor.ts';

/**
 * A tensor element type as checkpoints store it, little-endian.
 *
 * `native` is the array that holds the stored bits unchanged: the numbers themselves where JavaScript has such numbers,
 * the bit patterns as unsigned integers for the narrow floating-point types, 0 and 1 for BOOL.
 */
export interface StoredDataType {
  readonly name: string;
  readonly bytes: number;
  readonly native: NativeArrayConstructor;
  /** Converts all of `from` (an array of the `native` kind) to float32 into `to`, rounding to nearest, ties to even. */
  readonly toFloat32: (from: NumericArray, to: Float32Array) => void;
}

type NativeArrayConstructor = {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, byteOffset?: number, length?: number): NumericArray;
  new (length: number): NumericArray;
};

/** Every type that can be read. The order is safetensors' own: files lay their tensors out from the last to the first. */
const readableDataTypes: readonly StoredDataType[] = [
  { name: 'BOOL', bytes: 1, native: Uint8Array, toFloat32: truthToFloat32 },
  { name: 'U8', bytes: 1, native: Uint8Array, toFloat32: numbersToFloat32 },
  { name: 'I8', bytes: 1, native: Int8Array, toFloat32: numbersToFloat32 },
  smallFloat({ name: 'F8_E5M2', exponentBits: 5, mantissaBits: 2, bias: 15, special: 'infinity' }),
  smallFloat({ name: 'F8_E4M3', exponentBits: 4, mantissaBits: 3, bias: 7, special: 'last' }),
  { name: 'F8_E8M0', bytes: 1, native: Uint8Array, toFloat32: tableToFloat32(256, exponentOnlyToNumber) },
  smallFloat({ name: 'F8_E4M3FNUZ', exponentBits: 4, mantissaBits: 3, bias: 8, special: 'negative zero' }),
  smallFloat({ name: 'F8_E5M2FNUZ', exponentBits: 5, mantissaBits: 2, bias: 16, special: 'negative zero' }),
  { name: 'I16', bytes: 2, native: Int16Array, toFloat32: numbersToFloat32 },
  { name: 'U16', bytes: 2, native: Uint16Array, toFloat32: numbersToFloat32 },
  smallFloat({ name: 'F16', exponentBits: 5, mantissaBits: 10, bias: 15, special: 'infinity' }),
  { name: 'BF16', bytes: 2, native: Uint16Array, toFloat32: upperHalfToFloat32 },
  { name: 'I32', bytes: 4, native: Int32Array, toFloat32: numbersToFloat32 },
  { name: 'U32', bytes: 4, native: Uint32Array, toFloat32: numbersToFloat32 },
  { name: 'F32', bytes: 4, native: Float32Array, toFloat32: numbersToFloat32 },
  { name: 'F64', bytes: 8, native: Float64Array, toFloat32: numbersToFloat32 },
  { name: 'I64', bytes: 8, native: BigInt64Array, toFloat32: bigIntegersToFloat32 },
  { name: 'U64', bytes: 8, native: BigUint64Array, toFloat32: bigIntegersToFloat32 },
];

const dataTypesByName: ReadonlyMap<string, StoredDataType> = new Map(readableDataTypes.map(type => [type.name, type]));

/** Types of the safetensors specification that have no meaning as single float32 numbers here. */
const refusedDataTypes: ReadonlySet<string> = new Set(['C64', 'F4', 'F6_E2M3', 'F6_E3M2']);

/** The type of that name, or undefined when it is not a readable one. */
export function storedDataType(name: string): StoredDataType | undefined {
  return dataTypesByName.get(name);
}

/** Why `storedDataType(name)` is undefined: `unknown dtype "X"`, or known to safetensors but not supported here. */
export function explainUnreadableDataType(name: string): string {
  const known = [...dataTypesByName.keys()].join(', ');
  const problem = refusedDataTypes.has(name) ? 'unsupported' : 'unknown';
  return `${problem} dtype ${JSON.stringify(name)}, expected one of ${known}`;
}

/** The dtype a typed array is stored as. BOOL and the narrow floats cannot be told from their bits: name them. */
export function dataTypeOfArray(data: NumericArray): StoredDataType {
  const name =
    data instanceof Float32Array
      ? 'F32'
      : data instanceof Float64Array
        ? 'F64'
        : data instanceof BigInt64Array
          ? 'I64'
          : data instanceof BigUint64Array
            ? 'U64'
            : `${data.constructor.name.startsWith('Uint') ? 'U' : 'I'}${8 * data.BYTES_PER_ELEMENT}`;
  return dataTypesByName.get(name)!;
}

/** Negative when tensors of dtype `a` come before those of `b` in a safetensors file (wide types first). */
export function compareFileOrder(a: StoredDataType, b: StoredDataType): number {
  return readableDataTypes.indexOf(b) - readableDataTypes.indexOf(a);
}

function numbersToFloat32(from: NumericArray, to: Float32Array): void {
  to.set(from as Float64Array);
}

function truthToFloat32(from: NumericArray, to: Float32Array): void {
  for (let i = 0; i < to.length; i++) to[i] = from[i] ? 1 : 0;
}

/** Up to 2^53 an integer is a float64; beyond, the bits that fall off are kept as one sticky bit, so that it rounds once. */
function bigIntegersToFloat32(from: NumericArray, to: Float32Array): void {
  for (let i = 0; i < to.length; i++) {
    const value = from[i] as bigint;
    const number = Number(value);
    to[i] = Number.isSafeInteger(number) ? number : Number((value >> 11n) | (value & 0x7ffn ? 1n : 0n)) * 2048;
  }
}

function upperHalfToFloat32(from: NumericArray, to: Float32Array): void {
  const bits = new Uint32Array(to.buffer, to.byteOffset, to.length);
  for (let i = 0; i < bits.length; i++) bits[i] = (from[i] as number) << 16;
}

interface FloatFormat {
  readonly name: string;
  readonly exponentBits: number;
  readonly mantissaBits: number;
  readonly bias: number;
  /** Where infinities and NaN live: the top exponent (IEEE), NaN in the very last pattern only, or NaN in place of -0. */
  readonly special: 'infinity' | 'last' | 'negative zero';
}

function smallFloat(format: FloatFormat): StoredDataType {
  const bits = 1 + format.exponentBits + format.mantissaBits;
  return {
    name: format.name,
    bytes: bits / 8,
    native: bits === 8 ? Uint8Array : Uint16Array,
    toFloat32: tableToFloat32(2 ** bits, pattern => smallFloatToNumber(pattern, format)),
  };
}

function smallFloatToNumber(pattern: number, { exponentBits, mantissaBits, bias, special }: FloatFormat): number {
  const magnitude = pattern & (2 ** (exponentBits + mantissaBits) - 1);
  const negative = pattern !== magnitude;
  const exponent = magnitude >> mantissaBits;
  const mantissa = magnitude & (2 ** mantissaBits - 1);
  const topExponent = 2 ** exponentBits - 1;
  if (special === 'negative zero' && negative && magnitude === 0) return Number.NaN;
  if (special === 'last' && exponent === topExponent && mantissa === 2 ** mantissaBits - 1) return Number.NaN;
  if (special === 'infinity' && exponent === topExponent) {
    if (mantissa !== 0) return Number.NaN;
    return negative ? -Infinity : Infinity;
  }
  const value =
    exponent === 0
      ? mantissa * 2 ** (1 - bias - mantissaBits)
      : (1 + mantissa / 2 ** mantissaBits) * 2 ** (exponent - bias);
  return negative ? -value : value;
}

/** OCP microscaling scale factors: a bare power of two. */
function exponentOnlyToNumber(pattern: number): number {
  return pattern === 0xff ? Number.NaN : 2 ** (pattern - 127);
}

/** Converts by looking every bit pattern up in a table that is made on first use. */
function tableToFloat32(patterns: number, toNumber: (pattern: number) => number): StoredDataType['toFloat32'] {
  let table: Float32Array | undefined;
  return (from, to) => {
    table ??= Float32Array.from({ length: patterns }, (_, pattern) => toNumber(pattern));
    for (let i = 0; i < to.length; i++) to[i] = table[from[i] as number]!;
  };
}
