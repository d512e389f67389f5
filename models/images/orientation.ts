// H height, W width, C channels
import type { Image } from './image.ts';

const ORIENTATION_TAG = 0x0112;
const SHORT_TYPE = 3;
const LONG_TYPE = 4;

/**
 * The EXIF orientation (1 … 8) that a TIFF-structured EXIF block holds, or 1 when it holds none or is damaged: a
 * picture is not refused because of its metadata.
 */
export function exifOrientation(tiff: Uint8Array): number {
  if (tiff.length < 8) return 1;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  const byteOrder = view.getUint16(0);
  if (byteOrder !== 0x4949 && byteOrder !== 0x4d4d) return 1;
  const littleEndian = byteOrder === 0x4949;
  if (view.getUint16(2, littleEndian) !== 42) return 1;
  const directory = view.getUint32(4, littleEndian);
  if (directory + 2 > tiff.length) return 1;
  const entries = view.getUint16(directory, littleEndian);
  for (let entry = 0; entry < entries; entry++) {
    const offset = directory + 2 + entry * 12;
    if (offset + 12 > tiff.length) return 1;
    if (view.getUint16(offset, littleEndian) !== ORIENTATION_TAG) continue;
    const type = view.getUint16(offset + 2, littleEndian);
    if (type !== SHORT_TYPE && type !== LONG_TYPE) return 1;
    const value =
      type === SHORT_TYPE ? view.getUint16(offset + 8, littleEndian) : view.getUint32(offset + 8, littleEndian);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

/** Whether an orientation exchanges width and height. */
const swapsAxes = (orientation: number): boolean => orientation >= 5;

/**
 * The picture as it is meant to be seen: rotated and mirrored as EXIF orientation 1 … 8 says (Pillow's
 * `ImageOps.exif_transpose`).
 */
export function applyOrientation(image: Image, orientation: number): Image {
  if (orientation === 1) return image;
  const { channels, data } = image;
  const width = swapsAxes(orientation) ? image.height : image.width;
  const height = swapsAxes(orientation) ? image.width : image.height;
  const turned = new Uint8Array(data.length);
  // The stored pixel of the shown pixel (x, y) lies at start + x * stepX + y * stepY.
  const right = channels;
  const down = image.width * channels;
  const lastColumn = (image.width - 1) * right;
  const lastRow = (image.height - 1) * down;
  const walks: Record<number, [start: number, stepX: number, stepY: number]> = {
    2: [lastColumn, -right, down],
    3: [lastRow + lastColumn, -right, -down],
    4: [lastRow, right, -down],
    5: [0, down, right],
    6: [lastRow, -down, right],
    7: [lastRow + lastColumn, -down, -right],
    8: [lastColumn, down, -right],
  };
  const [start, stepX, stepY] = walks[orientation]!;
  let to = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0, from = start + y * stepY; x < width; x++, from += stepX) {
      for (let channel = 0; channel < channels; channel++) turned[to++] = data[from + channel]!;
    }
  }
  return { width, height, channels, data: turned };
}
