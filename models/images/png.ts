// PNG, Portable Network Graphics (W3C PNG Specification, Third Edition), read and written with node:zlib alone: a
// decoder library would hand out pixels whose transparent colours are already overwritten and inflate interlaced files
// without a bound. Here nothing is allocated beyond the size that the header announces and the caller has allowed.
//
// H height, W width, C channels
import { deflateSync, inflateSync } from 'node:zlib';
import { FileError } from '../../engine/errors.ts';
import { checkImage, type Image } from './image.ts';
import { exifOrientation } from './orientation.ts';

const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/** Colour types of the header. */
const grey = 0;
const rgb = 2;
const palette = 3;
const greyAlpha = 4;
const rgba = 6;
const samplesOf: Record<number, number> = { [grey]: 1, [rgb]: 3, [palette]: 1, [greyAlpha]: 2, [rgba]: 4 };
const depthsOf: Record<number, readonly number[]> = {
  [grey]: [1, 2, 4, 8, 16],
  [rgb]: [8, 16],
  [palette]: [1, 2, 4, 8],
  [greyAlpha]: [8, 16],
  [rgba]: [8, 16],
};

/** First column and row and their steps of the seven Adam7 passes. */
const adam7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

interface Header {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly colourType: number;
  readonly interlaced: boolean;
}

export interface PngFile {
  readonly width: number;
  readonly height: number;
  /** EXIF orientation 1 … 8, from the `eXIf` chunk. */
  readonly orientation: number;
  /** Decodes the pixels to RGB. */
  decode(): Image;
}

export const isPng = (bytes: Uint8Array): boolean => signature.every((byte, index) => bytes[index] === byte);

/**
 * Checks a PNG file's structure (chunks complete, checksums right) and reads its header; `decode()` then gives the
 * pixels. `file` names the file in errors.
 *
 * The pixels equal Pillow's `convert('RGB')`: 1, 2 and 4 bits are stretched to 0 … 255, 16 bits keep their high byte,
 * alpha and transparent colours are ignored, palette indices without an entry are black. One exception: Pillow cuts
 * 16-bit *grey* off at 255, which leaves nothing but white of an ordinary picture; here it keeps its high byte too.
 */
export function openPng(bytes: Uint8Array, file: string): PngFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pixelChunks: Uint8Array[] = [];
  let header: Header | undefined;
  let colours: Uint8Array | undefined;
  let orientation = 1;
  let offset = signature.length;
  for (let type = ''; type !== 'IEND'; ) {
    if (offset + 12 > bytes.length)
      throw new FileError({ file, byte: bytes.length }, 'PNG file ends before its IEND chunk');
    const length = view.getUint32(offset);
    type = String.fromCharCode(...bytes.subarray(offset + 4, offset + 8));
    const end = offset + 8 + length;
    if (end + 4 > bytes.length) {
      throw new FileError(
        { file, byte: offset },
        `PNG chunk ${printable(type)} of ${length} bytes ends after the file`,
      );
    }
    if (crc32(bytes, offset + 4, end) !== view.getUint32(end)) {
      throw new FileError({ file, byte: offset }, `PNG chunk ${printable(type)} has a wrong checksum`);
    }
    const content = bytes.subarray(offset + 8, end);
    if (header === undefined) {
      if (type !== 'IHDR')
        throw new FileError({ file, byte: offset }, `expected the PNG chunk IHDR, got ${printable(type)}`);
      header = parseHeader(content, file);
    } else if (type === 'IHDR') {
      throw new FileError({ file, byte: offset }, 'second IHDR chunk');
    } else if (type === 'PLTE') {
      colours = content;
    } else if (type === 'IDAT') {
      pixelChunks.push(content);
    } else if (type === 'eXIf') {
      orientation = exifOrientation(content);
    } else if (type !== 'IEND' && (type.charCodeAt(0) & 0x20) === 0) {
      throw new FileError({ file, byte: offset }, `unknown critical PNG chunk ${printable(type)}`);
    }
    offset = end + 4;
  }
  const { width, height } = header!;
  return { width, height, orientation, decode: () => decodePixels(header!, colours, pixelChunks, file) };
}

const printable = (type: string): string => JSON.stringify(type.replace(/[^ -~]/g, '?'));

function parseHeader(content: Uint8Array, file: string): Header {
  const byte = signature.length + 8;
  if (content.length !== 13)
    throw new FileError({ file, byte }, `expected a PNG header of 13 bytes, got ${content.length}`);
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const width = view.getUint32(0);
  const height = view.getUint32(4);
  const [depth, colourType, compression, filter, interlace] = content.subarray(8) as unknown as number[];
  if (width === 0 || height === 0 || width > 0x7fffffff || height > 0x7fffffff) {
    throw new FileError({ file, byte }, `impossible PNG size ${width} x ${height}`);
  }
  if (!depthsOf[colourType!]?.includes(depth!)) {
    throw new FileError({ file, byte }, `impossible PNG colour type ${colourType} with ${depth} bits`);
  }
  if (compression !== 0 || filter !== 0 || interlace! > 1) {
    throw new FileError(
      { file, byte },
      `unknown PNG compression ${compression}, filter ${filter} or interlace method ${interlace}`,
    );
  }
  return { width, height, depth: depth!, colourType: colourType!, interlaced: interlace === 1 };
}

/** Part of the picture that is stored as one: the whole, or one pass of an interlaced picture. */
interface Pass {
  readonly width: number;
  readonly height: number;
  readonly x: number;
  readonly y: number;
  readonly stepX: number;
  readonly stepY: number;
}

function passesOf({ width, height, interlaced }: Header): Pass[] {
  if (!interlaced) return [{ width, height, x: 0, y: 0, stepX: 1, stepY: 1 }];
  return adam7
    .map(([x, y, stepX, stepY]) => {
      const columns = Math.max(0, Math.ceil((width - x) / stepX));
      const rows = Math.max(0, Math.ceil((height - y) / stepY));
      return { width: columns, height: rows, x, y, stepX, stepY };
    })
    .filter(pass => pass.width > 0 && pass.height > 0);
}

function decodePixels(header: Header, colours: Uint8Array | undefined, chunks: Uint8Array[], file: string): Image {
  const { width, height, depth, colourType } = header;
  const bitsPerPixel = samplesOf[colourType]! * depth;
  const rowBytes = (columns: number) => Math.ceil((columns * bitsPerPixel) / 8);
  const passes = passesOf(header);
  const expected = passes.reduce((sum, pass) => sum + pass.height * (1 + rowBytes(pass.width)), 0);
  const filtered = inflatePixels(chunks, expected, file);

  if (colourType === palette && colours === undefined)
    throw new FileError({ file }, 'PNG palette picture without a palette');
  const data = new Uint8Array(width * height * 3);
  const writeRow = rowWriter(header, colours);
  const noRow = new Uint8Array(rowBytes(width));
  let offset = 0;
  for (const pass of passes) {
    const stride = rowBytes(pass.width);
    let previous: Uint8Array = noRow.subarray(0, stride);
    for (let row = 0; row < pass.height; row++) {
      const current = filtered.subarray(offset + 1, offset + 1 + stride);
      unfilter(filtered[offset]!, current, previous, Math.max(1, bitsPerPixel >> 3), file);
      writeRow(current, pass.width, data, ((pass.y + row * pass.stepY) * width + pass.x) * 3, pass.stepX * 3);
      previous = current;
      offset += 1 + stride;
    }
  }
  return { width, height, channels: 3, data };
}

function inflatePixels(chunks: Uint8Array[], expected: number, file: string): Uint8Array {
  const compressed = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
  let inflated: Uint8Array;
  try {
    inflated = inflateSync(compressed, { maxOutputLength: expected });
  } catch (error) {
    const tooLong = (error as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE';
    const why = tooLong
      ? `expected ${expected} bytes of PNG pixels, got more`
      : `damaged PNG pixels: ${(error as Error).message}`;
    throw new FileError({ file }, why, { cause: error });
  }
  if (inflated.length !== expected) {
    throw new FileError({ file }, `expected ${expected} bytes of PNG pixels, got ${inflated.length}`);
  }
  return inflated;
}

/** Undoes a row's filter in place. `previous` is the unfiltered row above; `distance` the bytes of one pixel. */
function unfilter(type: number, row: Uint8Array, previous: Uint8Array, distance: number, file: string): void {
  const length = row.length;
  switch (type) {
    case 0:
      break;
    case 1:
      for (let i = distance; i < length; i++) row[i] = row[i]! + row[i - distance]!;
      break;
    case 2:
      for (let i = 0; i < length; i++) row[i] = row[i]! + previous[i]!;
      break;
    case 3:
      for (let i = 0; i < distance; i++) row[i] = row[i]! + (previous[i]! >> 1);
      for (let i = distance; i < length; i++) row[i] = row[i]! + ((row[i - distance]! + previous[i]!) >> 1);
      break;
    case 4:
      for (let i = 0; i < distance; i++) row[i] = row[i]! + previous[i]!;
      for (let i = distance; i < length; i++) {
        row[i] = row[i]! + paeth(row[i - distance]!, previous[i]!, previous[i - distance]!);
      }
      break;
    default:
      throw new FileError({ file }, `unknown PNG row filter ${type}`);
  }
}

/** Whichever neighbour is nearest to left + above - corner. */
function paeth(left: number, above: number, corner: number): number {
  const toLeft = Math.abs(above - corner);
  const toAbove = Math.abs(left - corner);
  const toCorner = Math.abs(left + above - 2 * corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

type RowWriter = (row: Uint8Array, columns: number, data: Uint8Array, to: number, step: number) => void;

/** Spreads a row's samples over RGB pixels that lie `step` bytes apart in `data`, from byte `to` on. */
function rowWriter({ depth, colourType }: Header, colours: Uint8Array | undefined): RowWriter {
  if (colourType === rgb || colourType === rgba || depth >= 8) {
    // Whole bytes: of 16 bits the first, high one counts.
    const sampleBytes = depth >> 3;
    const pixelBytes = samplesOf[colourType]! * sampleBytes;
    if (colourType === palette) {
      const table = colourTable(colours!);
      return (row, columns, data, to, step) => {
        for (let column = 0; column < columns; column++, to += step) putColour(data, to, table, row[column]!);
      };
    }
    const coloured = colourType === rgb || colourType === rgba;
    const green = coloured ? sampleBytes : 0;
    const blue = coloured ? 2 * sampleBytes : 0;
    return (row, columns, data, to, step) => {
      for (let column = 0, from = 0; column < columns; column++, from += pixelBytes, to += step) {
        data[to] = row[from]!;
        data[to + 1] = row[from + green]!;
        data[to + 2] = row[from + blue]!;
      }
    };
  }
  // 1, 2 or 4 bits: an index into the palette or into the even greys from black to white.
  const levels = 1 << depth;
  const greys = Uint8Array.from({ length: levels * 3 }, (_, index) => (Math.floor(index / 3) * 255) / (levels - 1));
  const table = colourType === palette ? colourTable(colours!) : greys;
  return (row, columns, data, to, step) => {
    for (let column = 0, bit = 0; column < columns; column++, bit += depth, to += step) {
      const index = (row[bit >> 3]! >> (8 - depth - (bit & 7))) & (levels - 1);
      putColour(data, to, table, index);
    }
  };
}

/** The palette filled up with black to 256 entries. */
function colourTable(colours: Uint8Array): Uint8Array {
  const table = new Uint8Array(256 * 3);
  table.set(colours.subarray(0, Math.floor(Math.min(colours.length, table.length) / 3) * 3));
  return table;
}

function putColour(data: Uint8Array, to: number, table: Uint8Array, index: number): void {
  data[to] = table[index * 3]!;
  data[to + 1] = table[index * 3 + 1]!;
  data[to + 2] = table[index * 3 + 2]!;
}

/** The bytes of a PNG file of `image` (8 bits; grey, RGB or RGBA by its channels). Throws `ShapeError`. */
export function encodePng(image: Image): Uint8Array {
  checkImage(image, 'encodePng');
  const { width, height, channels, data } = image;
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8;
  header[9] = channels === 1 ? grey : channels === 3 ? rgb : rgba;

  // Every row with the Paeth filter, which is near the best choice for photographs and masks alike.
  const stride = width * channels;
  const filtered = new Uint8Array(height * (1 + stride));
  let to = 0;
  for (let row = 0; row < height; row++) {
    const start = row * stride;
    filtered[to++] = 4;
    for (let i = start; i < start + stride; i++) {
      const left = i - channels >= start ? data[i - channels]! : 0;
      const above = row > 0 ? data[i - stride]! : 0;
      const corner = row > 0 && i - channels >= start ? data[i - stride - channels]! : 0;
      filtered[to++] = data[i]! - paeth(left, above, corner);
    }
  }
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(filtered, { level: 6 })),
    chunk('IEND', new Uint8Array(0)),
  ]);
}

function chunk(type: string, content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  for (let i = 0; i < 4; i++) bytes[4 + i] = type.charCodeAt(i);
  bytes.set(content, 8);
  view.setUint32(8 + content.length, crc32(bytes, 4, 8 + content.length));
  return bytes;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? 0xedb88320 ^ (remainder >>> 1) : remainder >>> 1;
  return remainder;
});

function crc32(bytes: Uint8Array, start: number, end: number): number {
  let remainder = -1;
  for (let i = start; i < end; i++) remainder = crcTable[(remainder ^ bytes[i]!) & 0xff]! ^ (remainder >>> 8);
  return ~remainder >>> 0;
}
