import { deflateRawSync } from 'node:zlib';
import { portableCrc32 } from '../../../weights/zip.ts';

export interface ZipFile {
  readonly name: string;
  readonly content: Uint8Array;
  readonly isDeflated?: boolean;
}

/** A zip archive; with `zip64` all sizes and places are written in the 64-bit fields. */
export function zipArchive(files: readonly ZipFile[], { zip64 = false, comment = '' } = {}): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let position = 0;
  for (const { name, content, isDeflated = false } of files) {
    const data = isDeflated ? deflateRawSync(content) : Buffer.from(content);
    const nameBytes = Buffer.from(name);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(isDeflated ? 8 : 0, 8);
    local.writeUInt16LE(nameBytes.length, 26);
    const extra = zip64 ? Buffer.alloc(4 + 4 + 24) : Buffer.alloc(0);
    if (zip64) {
      // An unrelated field first, then the 64-bit values.
      extra.writeUInt16LE(0x4246, 0);
      extra.writeUInt16LE(1, 4);
      extra.writeUInt16LE(24, 6);
      extra.writeBigUInt64LE(BigInt(content.length), 8);
      extra.writeBigUInt64LE(BigInt(data.length), 16);
      extra.writeBigUInt64LE(BigInt(position), 24);
    }
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(isDeflated ? 8 : 0, 10);
    central.writeUInt32LE(portableCrc32(content, 0), 16);
    central.writeUInt32LE(zip64 ? 0xffffffff : data.length, 20);
    central.writeUInt32LE(zip64 ? 0xffffffff : content.length, 24);
    central.writeUInt16LE(nameBytes.length, 28);
    central.writeUInt16LE(extra.length, 30);
    central.writeUInt32LE(zip64 ? 0xffffffff : position, 42);
    directory.push(central, nameBytes, extra);
    parts.push(local, nameBytes, data);
    position += local.length + nameBytes.length + data.length;
  }
  const directoryBytes = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(zip64 ? 0xffff : files.length, 10);
  end.writeUInt32LE(zip64 ? 0xffffffff : directoryBytes.length, 12);
  end.writeUInt32LE(zip64 ? 0xffffffff : position, 16);
  end.writeUInt16LE(comment.length, 20);
  const wide = Buffer.alloc(zip64 ? 76 : 0);
  if (zip64) {
    wide.writeUInt32LE(0x06064b50, 0);
    wide.writeBigUInt64LE(44n, 4);
    wide.writeBigUInt64LE(BigInt(files.length), 32);
    wide.writeBigUInt64LE(BigInt(directoryBytes.length), 40);
    wide.writeBigUInt64LE(BigInt(position), 48);
    wide.writeUInt32LE(0x07064b50, 56);
    wide.writeBigUInt64LE(BigInt(position + directoryBytes.length), 64);
  }
  return Buffer.concat([...parts, directoryBytes, wide, end, Buffer.from(comment)]);
}
