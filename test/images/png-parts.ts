// The checksum and the chunks of PNG files, written down once more, so that tests can build files of their own.

/** CRC-32 as PNG and zip have it. */
export function crc32Of(bytes: Uint8Array): number {
  let remainder = -1;
  for (const byte of bytes) {
    remainder ^= byte;
    for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0xedb88320 : 0);
  }
  return ~remainder >>> 0;
}

/** EXIF of an orientation, 1 … 8, alone. */
export function exifOf(orientation: number): Buffer {
  const bytes = Buffer.from('II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0', 'latin1');
  bytes.writeUInt16LE(orientation, 18);
  return bytes;
}

export function pngChunk(type: string, content: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(12 + content.length);
  bytes.writeUInt32BE(content.length);
  bytes.write(type, 4, 'latin1');
  bytes.set(content, 8);
  bytes.writeUInt32BE(crc32Of(bytes.subarray(4, 8 + content.length)), 8 + content.length);
  return bytes;
}

interface PngFileOptions {
  readonly interlaced?: boolean;
  /** Chunks between header and pixels. */
  readonly extra?: readonly Uint8Array[];
}

/** A file of 8-bit RGB whose header says this size, whatever its compressed pixels hold. */
export function pngFile(width: number, height: number, pixels: Uint8Array, options: PngFileOptions = {}): Uint8Array {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, options.interlaced ? 1 : 0], 8);
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
  return Buffer.concat([
    signature,
    pngChunk('IHDR', header),
    ...(options.extra ?? []),
    pngChunk('IDAT', pixels),
    pngChunk('IEND', Buffer.alloc(0)),
  ]);
}
