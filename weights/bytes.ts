import { FileError } from '../engine/errors.ts';

/** Bytes that can be read from any position: a file, or memory. */
export interface ByteSource {
  /** For messages: the file's path. */
  readonly name: string;
  readonly size: number;
  /**
   * Fills `into` with the bytes from `position` on.
   * @throws FileError when fewer bytes are left or the file cannot be read
   */
  read(into: Uint8Array, position: number): Promise<void>;
  close(): Promise<void>;
}

/** `bytes` as a ByteSource. */
export function memoryBytes(bytes: Uint8Array, name: string): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    async read(into, position) {
      checkRange(this, position, into.byteLength);
      into.set(bytes.subarray(position, position + into.byteLength));
    },
    async close() {},
  };
}

/** All that a stream gives; undefined when that is more than `maximumBytes`. */
export async function collectBytes(
  stream: AsyncIterable<Uint8Array>,
  maximumBytes: number,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    length += chunk.byteLength;
    if (length > maximumBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** A ByteSource's bytes from `begin` to `end`. `end` must not lie beyond the source's. */
export async function readRange(source: ByteSource, begin: number, end: number): Promise<Uint8Array> {
  checkRange(source, begin, end - begin);
  const bytes = new Uint8Array(end - begin);
  await source.read(bytes, begin);
  return bytes;
}

/** The bytes of `source` from `begin` to `end` as a source of their own. Closing it leaves `source` open. */
export function partOfBytes(source: ByteSource, begin: number, end: number): ByteSource {
  return {
    name: source.name,
    size: end - begin,
    async read(into, position) {
      checkRange(this, position, into.byteLength);
      await source.read(into, begin + position);
    },
    async close() {},
  };
}

/** @throws FileError when `[position, position + length)` is not inside the source */
export function checkRange(source: { name: string; size: number }, position: number, length: number): void {
  if (position < 0 || length < 0 || position + length > source.size) {
    throw new FileError(
      { file: source.name, byte: position },
      `expected ${length} more bytes, but the file ends at byte ${source.size}`,
    );
  }
}
