// Reading zip archives (Node only): stored and deflated entries, zip64. Source: PKWARE APPNOTE.TXT 6.3.10.

import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { FileError } from '../engine/errors.ts';
import { type ByteSource, memoryBytes, readRange } from './bytes.ts';

const inflateRaw = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.inflateRaw);

/** A central directory longer than this is refused; it would describe a million files. */
const MAXIMUM_DIRECTORY_BYTES = 1 << 27;
/** Weights hardly compress; a deflated entry that claims more than both of these is refused before it is inflated. */
const MAXIMUM_INFLATED_BYTES = 1 << 26;
const MAXIMUM_INFLATED_PER_ARCHIVE_BYTE = 16;

export interface ZipEntry {
  readonly name: string;
  /** Bytes after decompression. */
  readonly size: number;
  readonly compressedSize: number;
  readonly isDeflated: boolean;
  /** CRC-32 of the content; 0 where the writer recorded none. */
  readonly checksum: number;
  /** Byte offset of the entry's local header. */
  readonly headerBegin: number;
}

export interface ZipArchive {
  readonly entries: ReadonlyMap<string, ZipEntry>;
  /**
   * An entry's content. Stored entries are read in place; deflated ones are inflated into memory. The checksum is verified
   * whenever an entry is read from its beginning to its end.
   */
  open(name: string): Promise<ByteSource>;
}

/**
 * Reads an archive's directory.
 * @throws FileError when the archive is damaged, encrypted or names a file twice
 */
export async function openZip(source: ByteSource): Promise<ZipArchive> {
  const directory = await findDirectory(source);
  const entries = parseDirectory(await readRange(source, directory.begin, directory.end), directory, source.name);
  return {
    entries,
    open: async name => {
      const entry = entries.get(name);
      if (entry === undefined)
        throw new FileError({ file: source.name }, `the archive has no file ${JSON.stringify(name)}`);
      return openEntry(source, entry, directory.begin);
    },
  };
}

interface Directory {
  readonly begin: number;
  readonly end: number;
  readonly entryCount: number;
}

async function findDirectory(source: ByteSource): Promise<Directory> {
  const endRecordBytes = 22;
  const tailBegin = Math.max(0, source.size - endRecordBytes - 0xffff);
  const tail = viewOf(await readRange(source, tailBegin, source.size));
  for (let at = tail.byteLength - endRecordBytes; at >= 0; at--) {
    if (tail.getUint32(at, true) !== 0x06054b50) continue;
    if (at + endRecordBytes + tail.getUint16(at + 20, true) !== tail.byteLength) continue;
    const end = tailBegin + at;
    const small = { entryCount: tail.getUint16(at + 10, true), begin: tail.getUint32(at + 16, true), end: 0 };
    small.end = small.begin + tail.getUint32(at + 12, true);
    return checkDirectory(source, end, (await findZip64Directory(source, end)) ?? small);
  }
  throw new FileError(
    { file: source.name, byte: source.size },
    'the zip archive has no end record; is the file truncated?',
  );
}

async function findZip64Directory(source: ByteSource, endRecord: number): Promise<Directory | undefined> {
  const locatorBytes = 20;
  const recordBytes = 56;
  if (endRecord < locatorBytes) return undefined;
  const locator = viewOf(await readRange(source, endRecord - locatorBytes, endRecord));
  if (locator.getUint32(0, true) !== 0x07064b50) return undefined;
  const at = uint64(locator, 8, source.name);
  const location = { file: source.name, byte: at };
  if (at + recordBytes > endRecord) throw new FileError(location, 'the zip64 end record lies outside the file');
  const record = viewOf(await readRange(source, at, at + recordBytes));
  if (record.getUint32(0, true) !== 0x06064b50) throw new FileError(location, 'expected a zip64 end record');
  const begin = uint64(record, 48, source.name);
  return { entryCount: uint64(record, 32, source.name), begin, end: begin + uint64(record, 40, source.name) };
}

function checkDirectory(source: ByteSource, endRecord: number, directory: Directory): Directory {
  const location = { file: source.name, byte: directory.begin };
  if (directory.end > endRecord) throw new FileError(location, 'the zip directory lies outside the file');
  if (directory.end - directory.begin > MAXIMUM_DIRECTORY_BYTES) {
    throw new FileError(location, `the zip directory is over the limit of ${MAXIMUM_DIRECTORY_BYTES} bytes`);
  }
  return directory;
}

function parseDirectory(bytes: Uint8Array, { begin, entryCount }: Directory, file: string): Map<string, ZipEntry> {
  const view = viewOf(bytes);
  const headerBytes = 46;
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let count = 0; count < entryCount; count++) {
    const location = { file, byte: begin + at };
    if (at + headerBytes > view.byteLength || view.getUint32(at, true) !== 0x02014b50) {
      throw new FileError(location, `expected entry ${count + 1} of ${entryCount} of the zip directory`);
    }
    const nameEnd = at + headerBytes + view.getUint16(at + 28, true);
    const extraEnd = nameEnd + view.getUint16(at + 30, true);
    const next = extraEnd + view.getUint16(at + 32, true);
    if (next > view.byteLength) throw new FileError(location, 'an entry of the zip directory is cut off');
    const entry = parseEntry(view, at, new TextDecoder().decode(bytes.subarray(at + headerBytes, nameEnd)), {
      extra: viewOf(bytes.subarray(nameEnd, extraEnd)),
      location,
    });
    if (entries.has(entry.name))
      throw new FileError(location, `the archive has two files ${JSON.stringify(entry.name)}`);
    entries.set(entry.name, entry);
    at = next;
  }
  return entries;
}

function parseEntry(
  view: DataView,
  at: number,
  name: string,
  { extra, location }: { extra: DataView; location: { file: string; byte: number } },
): ZipEntry {
  const what = JSON.stringify(name);
  if (view.getUint16(at + 8, true) & 1) throw new FileError(location, `${what} is encrypted`);
  const method = view.getUint16(at + 10, true);
  if (method !== 0 && method !== 8) {
    throw new FileError(location, `${what} is compressed by method ${method}, expected 0 (stored) or 8 (deflate)`);
  }
  const wide = zip64Values(extra, location.file);
  const orWide = (value: number) => (value === 0xffffffff ? (wide.shift() ?? value) : value);
  const size = orWide(view.getUint32(at + 24, true));
  const compressedSize = orWide(view.getUint32(at + 20, true));
  const headerBegin = orWide(view.getUint32(at + 42, true));
  if (method === 0 && size !== compressedSize) {
    throw new FileError(location, `${what} is not compressed, yet ${compressedSize} bytes should become ${size}`);
  }
  const checksum = view.getUint32(at + 16, true);
  return { name, size, compressedSize, isDeflated: method === 8, checksum, headerBegin };
}

/** The 64-bit values of the zip64 extra field, in the order size, compressed size, header offset, as far as present. */
function zip64Values(extra: DataView, file: string): number[] {
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const end = at + 4 + extra.getUint16(at + 2, true);
    if (extra.getUint16(at, true) === 1 && end <= extra.byteLength) {
      const count = Math.min(3, Math.floor((end - at - 4) / 8));
      return Array.from({ length: count }, (_, i) => uint64(extra, at + 4 + 8 * i, file));
    }
    at = end;
  }
  return [];
}

async function openEntry(source: ByteSource, entry: ZipEntry, directoryBegin: number): Promise<ByteSource> {
  const headerBytes = 30;
  const location = { file: source.name, byte: entry.headerBegin };
  const outside = () => new FileError(location, `${JSON.stringify(entry.name)} lies outside the archive`);
  if (entry.headerBegin + headerBytes > directoryBegin) throw outside();
  const header = viewOf(await readRange(source, entry.headerBegin, entry.headerBegin + headerBytes));
  if (header.getUint32(0, true) !== 0x04034b50)
    throw new FileError(location, 'expected the header of a file in the archive');
  const begin = entry.headerBegin + headerBytes + header.getUint16(26, true) + header.getUint16(28, true);
  if (begin + entry.compressedSize > directoryBegin) throw outside();
  if (!entry.isDeflated) return new StoredEntry(source, begin, entry);
  return memoryBytes(await inflate(source, begin, entry), source.name);
}

async function inflate(source: ByteSource, begin: number, entry: ZipEntry): Promise<Uint8Array> {
  const location = { file: source.name, byte: begin };
  if (entry.size > Math.max(MAXIMUM_INFLATED_BYTES, MAXIMUM_INFLATED_PER_ARCHIVE_BYTE * source.size)) {
    const what = `${JSON.stringify(entry.name)} should become ${entry.size} bytes`;
    throw new FileError(location, `${what} when decompressed, implausible in an archive of ${source.size}`);
  }
  const compressed = await readRange(source, begin, begin + entry.compressedSize);
  let content: Uint8Array;
  try {
    content = await inflateRaw(compressed, { maxOutputLength: Math.max(1, entry.size) });
  } catch (cause) {
    throw new FileError(location, `${JSON.stringify(entry.name)} cannot be decompressed`, { cause });
  }
  if (content.byteLength !== entry.size) {
    const sizes = `expected ${entry.size} bytes, got ${content.byteLength}`;
    throw new FileError(location, `${JSON.stringify(entry.name)}: ${sizes}`);
  }
  checkChecksum(crc32(content, 0), entry, location);
  return content;
}

/** An uncompressed entry, read where it lies in the archive. */
class StoredEntry implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #source: ByteSource;
  readonly #begin: number;
  readonly #entry: ZipEntry;
  /** Everything before this position went into the checksum. */
  #summedUpTo = 0;
  #checksum = 0;

  constructor(source: ByteSource, begin: number, entry: ZipEntry) {
    this.name = source.name;
    this.size = entry.size;
    this.#source = source;
    this.#begin = begin;
    this.#entry = entry;
  }

  async read(into: Uint8Array, position: number): Promise<void> {
    const location = { file: this.name, byte: this.#begin + position };
    if (position + into.byteLength > this.size) {
      const what = `${JSON.stringify(this.#entry.name)} has ${this.size} bytes`;
      throw new FileError(location, `${what}, expected at least ${position + into.byteLength}`);
    }
    await this.#source.read(into, this.#begin + position);
    if (position === 0) {
      this.#checksum = 0;
      this.#summedUpTo = 0;
    }
    if (position !== this.#summedUpTo) return;
    this.#checksum = crc32(into, this.#checksum);
    this.#summedUpTo += into.byteLength;
    if (this.#summedUpTo === this.size) checkChecksum(this.#checksum, this.#entry, location);
  }

  async close(): Promise<void> {}
}

function checkChecksum(actual: number, { name, checksum }: ZipEntry, location: { file: string; byte: number }): void {
  if (checksum === 0 || actual === checksum) return;
  const hexadecimal = (value: number) => value.toString(16).padStart(8, '0');
  const sums = `expected CRC-32 ${hexadecimal(checksum)}, got ${hexadecimal(actual)}`;
  throw new FileError(location, `${JSON.stringify(name)} is damaged: ${sums}`);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function uint64(view: DataView, at: number, file: string): number {
  const value = view.getBigUint64(at, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw new FileError({ file }, `a zip archive of ${value} bytes is damaged`);
  return Number(value);
}

/** CRC-32 of `bytes` continuing `previous`; Node has it since 20.15. */
const crc32: (bytes: Uint8Array, previous: number) => number = zlib.crc32 ?? portableCrc32;

let crcTable: Uint32Array | undefined;

export function portableCrc32(bytes: Uint8Array, previous: number): number {
  crcTable ??= Uint32Array.from({ length: 256 }, (_, value) => {
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
    return value;
  });
  let crc = ~previous;
  for (const byte of bytes) crc = crcTable[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}
