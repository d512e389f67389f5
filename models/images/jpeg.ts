// JPEG (ITU-T T.81), decoded by jpeg-js: baseline and progressive, Huffman coded, 8 bits. The headers are read here, so
// that a picture's size is known before anything is allocated for it, and what jpeg-js would guess at is refused.
import { decode as decodeJpeg } from 'jpeg-js';
import { FileError } from '../../engine/errors.ts';
import { callCodec, type PictureFile } from './codec.ts';
import type { Image } from './image.ts';
import { exifOrientation } from './orientation.ts';

interface Frame {
  readonly width: number;
  readonly height: number;
  /** Component ids: 1, 3 or 4 of them. */
  readonly components: readonly number[];
}

export const isJpeg = (bytes: Uint8Array): boolean => bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;

/** Real files have up to a dozen; each costs jpeg-js a walk over the whole picture, however short it is. */
const MAXIMUM_SCANS = 500;

/**
 * Reads a JPEG file's headers; `decode()` then gives the pixels. `file` names the file in errors.
 *
 * jpeg-js rounds differently from libjpeg and repeats chroma samples instead of interpolating them: smooth pictures
 * differ from Pillow's by a few grey levels. Four-component pictures (CMYK, YCCK) with Adobe's marker become RGB as
 * Pillow's `convert('RGB')` does. One valid form is beyond jpeg-js, and is refused as damaged: with chroma of half the height,
 * a scan of brightness alone (as progressive files have) whose restart interval does not divide it.
 *
 * @throws FileError for arithmetic coding, lossless and hierarchical frames, more than 8 bits, and files that end early
 */
export function openJpeg(bytes: Uint8Array, file: string): PictureFile {
  let orientation = 1;
  let isJfif = false;
  let adobeTransform: number | undefined;
  for (let offset = 2; ; ) {
    // Encoders leave bytes behind before markers.
    while (offset + 4 <= bytes.length && (bytes[offset] !== 0xff || !startsSegment(bytes[offset + 1]!))) offset++;
    const code = bytes[offset + 1]!;
    const length = offset + 4 <= bytes.length ? (bytes[offset + 2]! << 8) | bytes[offset + 3]! : 2;
    const end = offset + 2 + length;
    if (end > bytes.length) throw new FileError({ file, byte: bytes.length }, 'JPEG file ends early');
    if (length < 2) throw new FileError({ file, byte: offset }, `impossible JPEG segment length ${length}`);
    const content = bytes.subarray(offset + 4, end);
    if (isFrame(code)) {
      const frame = parseFrame(code, content, file, offset);
      const colorTransform = isLuminanceChrominance(frame, isJfif, adobeTransform);
      const { width, height } = frame;
      const decode = () => {
        checkScans(frame, bytes.subarray(end), file, bytes.length);
        return decodePixels(frame, bytes, colorTransform, file);
      };
      return { width, height, orientation, decode };
    }
    if (code === 0xd9 || code === 0xda) throw new FileError({ file, byte: offset }, 'JPEG file without a frame header');
    if (code === 0xe0) isJfif ||= startsWith(content, 'JFIF\0');
    else if (code === 0xe1 && startsWith(content, 'Exif\0\0')) orientation = exifOrientation(content.subarray(6));
    else if (code === 0xee && startsWith(content, 'Adobe\0')) adobeTransform = content[11];
    offset = end;
  }
}

/** Whether an FF followed by this byte is a marker that begins a segment, or the end of the picture. */
const startsSegment = (code: number): boolean => code >= 0xc0 && code < 0xff && !(code >= 0xd0 && code <= 0xd8);

/** FFC0 … FFCF, without the markers of Huffman tables, extensions and arithmetic coding conditions. */
const isFrame = (code: number): boolean => code >= 0xc0 && code <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(code);

const startsWith = (content: Uint8Array, text: string): boolean =>
  content.length >= text.length && [...text].every((character, index) => content[index] === character.charCodeAt(0));

function parseFrame(code: number, content: Uint8Array, file: string, byte: number): Frame {
  const refuse = (message: string) => new FileError({ file, byte }, message);
  if (code > 0xc2) {
    const kind = code > 0xc8 ? 'arithmetic-coded' : code === 0xc3 ? 'lossless' : 'hierarchical';
    throw refuse(`${kind} JPEG (marker FF${code.toString(16).toUpperCase()}) is not supported`);
  }
  const count = content[5] ?? 0;
  if (content.length !== 6 + 3 * count) throw refuse('damaged JPEG frame header');
  const height = (content[1]! << 8) | content[2]!;
  const width = (content[3]! << 8) | content[4]!;
  if (content[0] !== 8) throw refuse(`JPEG with ${content[0]} bits per sample is not supported`);
  if (width === 0 || height === 0) throw refuse(`impossible JPEG size ${width} x ${height}`);
  if (count !== 1 && count !== 3 && count !== 4) throw refuse(`JPEG with ${count} components is not supported`);
  const indices = [0, 1, 2, 3].slice(0, count);
  for (const sampling of indices.map(index => content[7 + 3 * index]!)) {
    const [horizontal, vertical] = [sampling >> 4, sampling & 15];
    if (Math.min(horizontal, vertical) < 1 || Math.max(horizontal, vertical) > 4)
      throw refuse(`impossible JPEG sampling ${horizontal} x ${vertical}`);
  }
  return { width, height, components: indices.map(index => content[6 + 3 * index]!) };
}

/** Whether three components are YCbCr and not RGB: libjpeg's rules. (Of four, jpeg-js asks Adobe's marker itself.) */
function isLuminanceChrominance({ components }: Frame, isJfif: boolean, adobeTransform: number | undefined): boolean {
  if (components.length !== 3) return false;
  if (isJfif) return true;
  if (adobeTransform !== undefined) return adobeTransform !== 0;
  return String.fromCharCode(...components) !== 'RGB';
}

/** A short file cannot ask for the memory of a huge picture, nor a long one for endless work. */
function checkScans({ width, height }: Frame, rest: Uint8Array, file: string, byte: number): void {
  const data = Buffer.from(rest.buffer, rest.byteOffset, rest.length);
  const endsEarly = () => new FileError({ file, byte }, 'JPEG file ends early');
  // A block takes at least a bit.
  if (data.length < (Math.ceil(width / 8) * Math.ceil(height / 8)) / 8) throw endsEarly();
  let scans = 0;
  for (let at = 0; scans <= MAXIMUM_SCANS; ) {
    // Inside entropy-coded data, no marker but a restart can follow an FF.
    at = data.indexOf(0xff, at);
    if (at < 0 || at + 1 >= data.length) throw endsEarly();
    const code = data[at + 1]!;
    if (code === 0xd9) break; // What lies behind it, a film say, is not the picture's.
    if (code === 0xda) scans++;
    at += startsSegment(code) && at + 4 <= data.length ? 2 + data.readUInt16BE(at + 2) : 1;
  }
  if (scans === 0) throw new FileError({ file }, 'JPEG file without a scan');
  if (scans > MAXIMUM_SCANS) throw new FileError({ file }, `expected at most ${MAXIMUM_SCANS} JPEG scans, got more`);
}

function decodePixels({ width, height }: Frame, bytes: Uint8Array, colorTransform: boolean, file: string): Image {
  const pixels = width * height;
  const picture = callCodec('JPEG', file, () =>
    decodeJpeg(bytes, {
      colorTransform,
      useTArray: true,
      formatAsRGBA: false,
      // Permits no more than a last restart interval that reaches beyond the picture, as it may.
      tolerantDecoding: true,
      maxResolutionInMP: (pixels + 1) / 1e6,
      // Four components at full size: 32-bit coefficients, samples, their interleaved copy; and small pictures' margins.
      maxMemoryUsageInMB: 64 + (pixels * 40) / 2 ** 20,
    }),
  );
  if (picture.width !== width || picture.height !== height)
    throw new FileError(
      { file },
      `JPEG frame headers disagree: ${width} x ${height}, ${picture.width} x ${picture.height}`,
    );
  return { width, height, channels: 3, data: picture.data };
}
