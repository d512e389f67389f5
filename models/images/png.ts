// PNG (W3C PNG Specification, Third Edition), decoded and encoded by pngjs. What is done here is what pngjs leaves open:
// it allocates what a header announces, inflates interlaced pictures without a bound, hands out uninitialised memory for
// a damaged compressed stream, and blackens transparent colours. So the size is read first, the compressed pixels are
// inflated once within that size's bound, and pngjs is given the chunks that make up the pixels and no others.
import { constants, inflateSync } from 'node:zlib';
import { PNG } from 'pngjs';
import { FileError } from '../../engine/errors.ts';
import type { OwnBytes } from '../../engine/host-tensor.ts';
import { callCodec, type PictureFile } from './codec.ts';
import { checkImage, type Image, toRgb } from './image.ts';
import { exifOrientation } from './orientation.ts';

const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/** Colour types of the header. */
const GREY = 0;
const RGB = 2;
const PALETTE = 3;
const GREY_ALPHA = 4;
const RGBA = 6;
const formats: Record<number, { readonly samples: number; readonly depths: readonly number[] }> = {
  [GREY]: { samples: 1, depths: [1, 2, 4, 8, 16] },
  [RGB]: { samples: 3, depths: [8, 16] },
  [PALETTE]: { samples: 1, depths: [1, 2, 4, 8] },
  [GREY_ALPHA]: { samples: 2, depths: [8, 16] },
  [RGBA]: { samples: 4, depths: [8, 16] },
};

const PALETTE_BYTES = 3 * 256;
/** A palette chunk of 256 black entries. pngjs appends it to the file's own, so that every index has a colour. */
const blackPalette = Buffer.concat([
  Uint8Array.of(0, 0, PALETTE_BYTES >> 8, PALETTE_BYTES & 255),
  Buffer.from('PLTE'),
  Buffer.alloc(PALETTE_BYTES),
  Uint8Array.of(0xb3, 0x30, 0xf4, 0x88), // their checksum
]);

interface Header {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly colorType: number;
  readonly isInterlaced: boolean;
}

export const isPng = (bytes: Uint8Array): boolean => signature.every((byte, index) => bytes[index] === byte);

/**
 * Reads a PNG file's chunks up to its end; `decode()` then gives the pixels. `file` names the file in errors.
 *
 * The pixels equal Pillow's `convert('RGB')`: 1, 2 and 4 bits are stretched to 0 … 255, 16 bits keep their high byte,
 * alpha and transparent colours are ignored, palette indices without an entry are black. One exception: Pillow cuts
 * 16-bit *grey* off at 255, so that HuggingFace's models are shown nothing but white of an ordinary picture; here it keeps
 * its high byte too.
 *
 * @throws FileError when the file is cut short or damaged; damage to metadata is not looked for
 */
export function openPng(bytes: Uint8Array, file: string): PictureFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pixelChunks: Uint8Array[] = [signature];
  const compressed: Uint8Array[] = [];
  let header: Header | undefined;
  let hasPalette = false;
  let orientation: number | undefined;
  let profileOrientation = 1;
  let offset = signature.length;
  for (let type = ''; type !== 'IEND'; ) {
    const contentEnd = offset + 12 > bytes.length ? Number.POSITIVE_INFINITY : offset + 8 + view.getUint32(offset);
    if (contentEnd + 4 > bytes.length)
      throw new FileError({ file, byte: bytes.length }, 'PNG file ends before its IEND chunk');
    type = String.fromCharCode(...bytes.subarray(offset + 4, offset + 8));
    const chunk = bytes.subarray(offset, contentEnd + 4);
    const content = bytes.subarray(offset + 8, contentEnd);
    if (header === undefined) {
      if (type !== 'IHDR') throw new FileError({ file, byte: offset }, 'PNG file does not begin with an IHDR chunk');
      header = parseHeader(content, file);
      pixelChunks.push(chunk);
    } else if (type === 'IHDR') {
      throw new FileError({ file, byte: offset }, 'second IHDR chunk in a PNG file');
    } else if (type === 'PLTE') {
      if (hasPalette || content.length > PALETTE_BYTES) {
        const problem = hasPalette ? 'second palette' : `palette of ${content.length} bytes`;
        throw new FileError(
          { file, byte: offset },
          `${problem} in a PNG file, expected one of at most ${PALETTE_BYTES}`,
        );
      }
      hasPalette = true;
      if (header.colorType === PALETTE) pixelChunks.push(chunk, blackPalette);
    } else if (type === 'eXIf') {
      orientation = exifOrientation(content);
    } else if (type === 'tEXt' || type === 'zTXt') {
      profileOrientation = orientationInText(content, type === 'zTXt') ?? profileOrientation;
    } else if ((type.charCodeAt(0) & 0x20) === 0) {
      // IDAT, IEND, and critical chunks that pngjs refuses.
      if (type === 'IDAT') compressed.push(content);
      pixelChunks.push(chunk);
    }
    offset = contentEnd + 4;
  }
  const { width, height } = header!;
  const decode = () =>
    callCodec('PNG', file, () => {
      checkCompressedPixels(header!, compressed, file);
      return decodePixels(header!, Buffer.concat(pixelChunks));
    });
  return { width, height, orientation: orientation ?? profileOrientation, decode };
}

const profileKeyword = Buffer.from('Raw profile type exif\0');
/** A JPEG file's EXIF segment, in hexadecimal. */
const LONGEST_PROFILE = 2 ** 18;

/**
 * The orientation in the text chunk in which ImageMagick keeps the EXIF block of a JPEG file that it made the PNG from:
 * after a line of its name and one of its length, hexadecimal lines.
 */
function orientationInText(content: Uint8Array, isCompressed: boolean): number | undefined {
  if (profileKeyword.compare(content.subarray(0, profileKeyword.length)) !== 0) return undefined;
  const rest = content.subarray(profileKeyword.length);
  try {
    // Of compressed text, the first byte names the method, of which there is one.
    const text = isCompressed ? inflateSync(rest.subarray(1), { maxOutputLength: LONGEST_PROFILE }) : Buffer.from(rest);
    const profile = Buffer.from(text.toString('latin1').split('\n').slice(3).join(''), 'hex');
    const isMarked = profile.subarray(0, 6).equals(Buffer.from('Exif\0\0'));
    return exifOrientation(isMarked ? profile.subarray(6) : profile);
  } catch {
    return undefined; // A picture is not refused because of its metadata.
  }
}

function parseHeader(content: Uint8Array, file: string): Header {
  const byte = signature.length + 8;
  if (content.length !== 13)
    throw new FileError({ file, byte }, `expected a PNG header of 13 bytes, got ${content.length}`);
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const width = view.getUint32(0);
  const height = view.getUint32(4);
  const depth = content[8]!;
  const colorType = content[9]!;
  if (width === 0 || height === 0) throw new FileError({ file, byte }, `impossible PNG size ${width} x ${height}`);
  if (!formats[colorType]?.depths.includes(depth)) {
    throw new FileError({ file, byte }, `impossible PNG colour type ${colorType} with ${depth} bits`);
  }
  return { width, height, depth, colorType, isInterlaced: content[12] !== 0 };
}

/** Inflates the pixels once, to know that the stream is sound and as long as it should be before pngjs does it again. */
function checkCompressedPixels(header: Header, compressed: Uint8Array[], file: string): void {
  const { width, height, depth, colorType, isInterlaced } = header;
  const rowBytes = Math.ceil((width * formats[colorType]!.samples * depth) / 8);
  // Each row begins with its filter's number. Interlacing spreads a row over at most four, each filled up to whole
  // bytes; pngjs itself counts those exactly.
  const expected = height * (rowBytes + (isInterlaced ? 8 : 1));
  let length: number;
  try {
    length = inflateSync(Buffer.concat(compressed), { maxOutputLength: expected }).length;
  } catch (error) {
    if ((error as { code?: string }).code !== 'ERR_BUFFER_TOO_LARGE') throw error;
    throw new FileError({ file }, `expected ${expected} bytes of PNG pixels, got more`, { cause: error });
  }
  if (!isInterlaced && length !== expected)
    throw new FileError({ file }, `expected ${expected} bytes of PNG pixels, got ${length}`);
}

function decodePixels({ width, height, depth }: Header, png: Buffer): Image {
  // With `skipRescale` pngjs leaves 16-bit samples alone: a Uint16Array, whatever its type says.
  const { data } = PNG.sync.read(png, { skipRescale: depth === 16 });
  return toRgb({ width, height, channels: 4, data: depth === 16 ? highBytes(data) : data });
}

function highBytes(samples: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(samples.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = samples[i]! >> 8;
  return bytes;
}

/** The bytes of a PNG file of `image` (8 bits; grey, RGB or RGBA by its channels). Throws `ShapeError`. */
export function encodePng(image: Image): OwnBytes {
  checkImage(image, 'encodePng');
  const { width, height, channels, data } = image;
  const colorType = channels === 1 ? GREY : channels === 3 ? RGB : RGBA;
  return PNG.sync.write({ width, height, data: Buffer.from(data.buffer, data.byteOffset, data.length) } as PNG, {
    colorType,
    inputColorType: colorType,
    // Differences to the row above, and of them runs only: a tenth of the time of the best filters and searches, for files
    // that are a fifth larger.
    filterType: 2,
    deflateStrategy: constants.Z_RLE,
    deflateLevel: 1,
  }) as OwnBytes;
}
