// JPEG (ITU-T T.81): baseline and progressive, Huffman coded, 8 bits. The arithmetic after the entropy decoder is
// libjpeg-turbo's default (integer inverse DCT, triangle-filter chroma upsampling, 16-bit fixed-point colour
// conversion), so the pixels equal Pillow's bit for bit and published numbers hold for JPEG pictures too.
//
// A frame has 1, 3 or 4 components; each is cut into 8 x 8 blocks; interleaved scans go by MCU (minimum coded unit):
// h x v blocks of every component, h and v being the component's sampling factors.
import { FileError } from '../../engine/errors.ts';
import type { Image } from './image.ts';
import { componentPlane, rowUpsampler } from './jpeg-samples.ts';
import { exifOrientation } from './orientation.ts';

/** Position in a block, by order of transmission. */
// biome-ignore format: the zigzag is read as a picture
const zigzag = Uint8Array.of(
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
);

export interface Component {
  readonly id: number;
  readonly horizontal: number;
  readonly vertical: number;
  readonly quantisationIndex: number;
  /** Size in samples, before upsampling. */
  width: number;
  height: number;
  /** Blocks that hold samples. */
  blockColumns: number;
  blockRows: number;
  /** Blocks in a row of the store, whole MCUs. */
  blockStride: number;
  /** [blockRows rounded up to whole MCUs, blockStride, 64], each block in natural order. */
  coefficients: Int16Array;
  /** Table at the time of the component's first scan. */
  quantisation: Uint16Array | undefined;
}

interface Frame {
  readonly progressive: boolean;
  readonly width: number;
  readonly height: number;
  readonly components: Component[];
  readonly maxHorizontal: number;
  readonly maxVertical: number;
  readonly mcuColumns: number;
  readonly mcuRows: number;
}

export interface JpegFile {
  readonly width: number;
  readonly height: number;
  /** EXIF orientation 1 … 8. */
  readonly orientation: number;
  /** Decodes the pixels to RGB. */
  decode(): Image;
}

export const isJpeg = (bytes: Uint8Array): boolean => bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;

/**
 * Reads a JPEG file's header; `decode()` then gives the pixels. `file` names the file in errors.
 *
 * Four-component pictures (CMYK, YCCK) become RGB as Pillow's `convert('RGB')` does. Refused by name: arithmetic
 * coding, lossless and hierarchical frames, more than 8 bits, files that end early, damaged entropy-coded data.
 */
export function openJpeg(bytes: Uint8Array, file: string): JpegFile {
  const parser = new JpegParser(bytes, file);
  const frame = parser.parseHeader();
  return {
    width: frame.width,
    height: frame.height,
    orientation: parser.orientation,
    decode: () => parser.decode(frame),
  };
}

const marker = (code: number): string => `FF${code.toString(16).toUpperCase().padStart(2, '0')}`;

const refusedFrames: Record<number, string> = {
  195: 'lossless JPEG',
  197: 'hierarchical JPEG',
  198: 'hierarchical JPEG',
  199: 'hierarchical JPEG',
  201: 'arithmetic-coded JPEG',
  202: 'arithmetic-coded JPEG',
  203: 'arithmetic-coded JPEG',
  205: 'arithmetic-coded JPEG',
  206: 'arithmetic-coded JPEG',
  207: 'arithmetic-coded JPEG',
};

class JpegParser {
  orientation = 1;

  readonly #bytes: Uint8Array;
  readonly #file: string;
  #offset = 2;
  readonly #quantisation: (Uint16Array | undefined)[] = [];
  readonly #dcTables: (HuffmanTable | undefined)[] = [];
  readonly #acTables: (HuffmanTable | undefined)[] = [];
  #restartInterval = 0;
  #jfif = false;
  #adobeTransform: number | undefined;

  constructor(bytes: Uint8Array, file: string) {
    this.#bytes = bytes;
    this.#file = file;
  }

  /** Everything up to and including the frame header. */
  parseHeader(): Frame {
    for (;;) {
      const code = this.#nextMarker();
      if (code === 0xc0 || code === 0xc1 || code === 0xc2) return this.#parseFrame(code === 0xc2);
      if (code in refusedFrames) throw this.#error(`${refusedFrames[code]} (marker ${marker(code)}) is not supported`);
      if (code === 0xd9 || code === 0xda) throw this.#error(`JPEG marker ${marker(code)} before any frame header`);
      this.#parseTable(code);
    }
  }

  decode(frame: Frame): Image {
    this.#checkEnoughData(frame);
    for (const component of frame.components) {
      component.coefficients = new Int16Array(frame.mcuRows * component.vertical * component.blockStride * 64);
    }
    let scans = 0;
    for (;;) {
      const code = this.#nextMarker();
      if (code === 0xd9) break;
      if (code === 0xda) {
        this.#parseScan(frame);
        scans++;
      } else if (code === 0xc0 || code === 0xc1 || code === 0xc2 || code in refusedFrames) {
        throw this.#error('second JPEG frame header');
      } else {
        this.#parseTable(code);
      }
    }
    if (scans === 0) throw this.#error('JPEG file without a scan');
    for (const component of frame.components) {
      if (component.quantisation === undefined) throw this.#error(`JPEG component ${component.id} is in no scan`);
    }
    return this.#toRgb(frame);
  }

  #error(message: string, byte = this.#offset): FileError {
    return new FileError({ file: this.#file, byte }, message);
  }

  /** The code of the next marker, skipping what lies before it (fill bytes, bytes that encoders leave behind). */
  #nextMarker(): number {
    const bytes = this.#bytes;
    let offset = this.#offset;
    for (; offset + 1 < bytes.length; offset++) {
      const code = bytes[offset + 1]!;
      if (bytes[offset] !== 0xff || code === 0x00 || code === 0xff) continue;
      if ((code >= 0xd0 && code <= 0xd8) || code === 0x01) continue;
      this.#offset = offset + 2;
      return code;
    }
    throw this.#error('JPEG file ends early', bytes.length);
  }

  /** A marker segment's content. */
  #segment(): Uint8Array {
    const bytes = this.#bytes;
    const offset = this.#offset;
    const length = offset + 2 <= bytes.length ? (bytes[offset]! << 8) | bytes[offset + 1]! : 2;
    if (length < 2) throw this.#error(`impossible JPEG segment length ${length}`);
    if (offset + 2 > bytes.length || offset + length > bytes.length)
      throw this.#error('JPEG file ends early', bytes.length);
    this.#offset += length;
    return bytes.subarray(offset + 2, offset + length);
  }

  #parseTable(code: number): void {
    const content = this.#segment();
    if (code === 0xdb) this.#parseQuantisation(content);
    else if (code === 0xc4) this.#parseHuffman(content);
    else if (code === 0xdd) {
      if (content.length !== 2) throw this.#error('impossible JPEG restart interval');
      this.#restartInterval = (content[0]! << 8) | content[1]!;
    } else if (code === 0xe0) this.#jfif ||= startsWith(content, 'JFIF\0');
    else if (code === 0xe1) {
      if (startsWith(content, 'Exif\0\0')) this.orientation = exifOrientation(content.subarray(6));
    } else if (code === 0xee) {
      if (startsWith(content, 'Adobe') && content.length >= 12) this.#adobeTransform = content[11];
    } else if (code === 0xdc) throw this.#error('JPEG with a DNL marker is not supported');
    // The other application segments and comments say nothing about the pixels.
  }

  #parseQuantisation(content: Uint8Array): void {
    for (let offset = 0; offset < content.length; ) {
      const wide = content[offset]! >> 4;
      const index = content[offset]! & 15;
      const bytes = wide === 0 ? 64 : 128;
      offset++;
      if (wide > 1 || index > 3 || offset + bytes > content.length)
        throw this.#error('damaged JPEG quantisation table');
      const table = new Uint16Array(64);
      for (let k = 0; k < 64; k++) {
        const at = offset + (wide === 0 ? k : 2 * k);
        table[zigzag[k]!] = wide === 0 ? content[at]! : (content[at]! << 8) | content[at + 1]!;
      }
      this.#quantisation[index] = table;
      offset += bytes;
    }
  }

  #parseHuffman(content: Uint8Array): void {
    for (let offset = 0; offset < content.length; ) {
      const kind = content[offset]! >> 4;
      const index = content[offset]! & 15;
      const lengths = content.subarray(offset + 1, offset + 17);
      const count = lengths.reduce((sum, length) => sum + length, 0);
      const symbols = content.subarray(offset + 17, offset + 17 + count);
      if (kind > 1 || index > 3 || lengths.length < 16 || count > 256 || symbols.length < count) {
        throw this.#error('damaged JPEG Huffman table');
      }
      const table = huffmanTable(lengths, symbols);
      if (table === undefined) throw this.#error('impossible JPEG Huffman code lengths');
      if (kind === 0 && symbols.some(symbol => symbol > 15)) throw this.#error('impossible symbol in a JPEG DC table');
      (kind === 0 ? this.#dcTables : this.#acTables)[index] = table;
      offset += 17 + count;
    }
  }

  #parseFrame(progressive: boolean): Frame {
    const content = this.#segment();
    const count = content[5] ?? 0;
    if (content.length < 6 || content.length !== 6 + 3 * count) throw this.#error('damaged JPEG frame header');
    const precision = content[0]!;
    const height = (content[1]! << 8) | content[2]!;
    const width = (content[3]! << 8) | content[4]!;
    if (precision !== 8) throw this.#error(`JPEG with ${precision} bits per sample is not supported`);
    if (width === 0 || height === 0) throw this.#error(`impossible JPEG size ${width} x ${height}`);
    if (count !== 1 && count !== 3 && count !== 4) throw this.#error(`JPEG with ${count} components is not supported`);
    const components: Component[] = [];
    for (let index = 0; index < count; index++) {
      const [id, sampling, quantisationIndex] = content.subarray(6 + 3 * index, 9 + 3 * index) as unknown as number[];
      const horizontal = sampling! >> 4;
      const vertical = sampling! & 15;
      if (horizontal < 1 || horizontal > 4 || vertical < 1 || vertical > 4 || quantisationIndex! > 3) {
        throw this.#error(`impossible JPEG sampling ${horizontal} x ${vertical}`);
      }
      if (components.some(other => other.id === id)) throw this.#error(`two JPEG components with id ${id}`);
      components.push({
        id: id!,
        horizontal,
        vertical,
        quantisationIndex: quantisationIndex!,
        width: 0,
        height: 0,
        blockColumns: 0,
        blockRows: 0,
        blockStride: 0,
        coefficients: new Int16Array(0),
        quantisation: undefined,
      });
    }
    const maxHorizontal = Math.max(...components.map(component => component.horizontal));
    const maxVertical = Math.max(...components.map(component => component.vertical));
    const mcuColumns = Math.ceil(width / (8 * maxHorizontal));
    const mcuRows = Math.ceil(height / (8 * maxVertical));
    for (const component of components) {
      if (maxHorizontal % component.horizontal !== 0 || maxVertical % component.vertical !== 0) {
        throw this.#error('JPEG with fractional sampling ratios is not supported');
      }
      component.width = Math.ceil((width * component.horizontal) / maxHorizontal);
      component.height = Math.ceil((height * component.vertical) / maxVertical);
      component.blockColumns = Math.ceil(component.width / 8);
      component.blockRows = Math.ceil(component.height / 8);
      component.blockStride = mcuColumns * component.horizontal;
    }
    return { progressive, width, height, components, maxHorizontal, maxVertical, mcuColumns, mcuRows };
  }

  /** A block takes at least a bit (two when baseline), so that a short file cannot ask for a huge picture's memory. */
  #checkEnoughData(frame: Frame): void {
    const blocks = frame.components.reduce((sum, component) => sum + component.blockColumns * component.blockRows, 0);
    const neededBytes = (blocks * (frame.progressive ? 1 : 2)) / 8;
    if (this.#bytes.length - this.#offset < neededBytes) throw this.#error('JPEG file ends early', this.#bytes.length);
  }

  #parseScan(frame: Frame): void {
    const content = this.#segment();
    const count = content[0] ?? 0;
    if (count < 1 || count > 4 || content.length !== 4 + 2 * count) throw this.#error('damaged JPEG scan header');
    const [spectralStart, spectralEnd, approximation] = content.subarray(1 + 2 * count) as unknown as number[];
    const high = approximation! >> 4;
    const low = approximation! & 15;
    const { progressive } = frame;
    const possible = progressive
      ? spectralEnd! < 64 &&
        low <= 13 &&
        (spectralStart === 0 ? spectralEnd === 0 : count === 1 && spectralStart! <= spectralEnd!)
      : spectralStart === 0 && spectralEnd === 63 && approximation === 0;
    if (!possible) throw this.#error('impossible JPEG scan header');
    const needsDc = spectralStart === 0 && high === 0;
    const needsAc = !progressive || spectralStart! > 0;

    const scan: ScanComponent[] = [];
    for (let index = 0; index < count; index++) {
      const [id, tables] = content.subarray(1 + 2 * index, 3 + 2 * index) as unknown as number[];
      const component = frame.components.find(candidate => candidate.id === id);
      if (component === undefined || scan.some(other => other.component === component)) {
        throw this.#error(`JPEG scan names component ${id}`);
      }
      component.quantisation ??= this.#quantisation[component.quantisationIndex];
      const dcTable = this.#dcTables[tables! >> 4];
      const acTable = this.#acTables[tables! & 15];
      if (component.quantisation === undefined)
        throw this.#error(`JPEG quantisation table ${component.quantisationIndex} is missing`);
      if (needsDc && dcTable === undefined) throw this.#error(`JPEG DC table ${tables! >> 4} is missing`);
      if (needsAc && acTable === undefined) throw this.#error(`JPEG AC table ${tables! & 15} is missing`);
      scan.push({ component, dcTable: dcTable ?? emptyTable, acTable: acTable ?? emptyTable, prediction: 0 });
    }
    const blocksPerMcu = scan.reduce((sum, { component }) => sum + component.horizontal * component.vertical, 0);
    if (count > 1 && blocksPerMcu > 10)
      throw this.#error(`JPEG scan with ${blocksPerMcu} blocks per unit, expected at most 10`);

    const reader = new EntropyReader(this.#bytes, this.#offset, this.#file);
    const decodeBlock = blockDecoder(reader, progressive, spectralStart!, spectralEnd!, high, low);
    this.#offset = decodeScan(frame, scan, reader, decodeBlock, this.#restartInterval);
  }

  #toRgb(frame: Frame): Image {
    const { width, height, components } = frame;
    const rows = components.map(component => {
      const plane = componentPlane(component);
      component.coefficients = new Int16Array(0);
      return rowUpsampler(
        component,
        plane,
        frame.maxHorizontal / component.horizontal,
        frame.maxVertical / component.vertical,
        width,
      );
    });
    const convert = this.#colourConverter(components);
    const data = new Uint8Array(width * height * 3);
    for (let y = 0; y < height; y++) {
      convert(
        rows.map(row => row(y)),
        data.subarray(y * width * 3, (y + 1) * width * 3),
      );
    }
    return { width, height, channels: 3, data };
  }

  /** Which colours the components stand for, guessed as libjpeg does when no application segment says it. */
  #colourConverter(components: Component[]): (rows: Uint8Array[], to: Uint8Array) => void {
    const transform = this.#adobeTransform;
    if (components.length === 1) return greyToRgb;
    if (components.length === 4) return transform === undefined || transform === 0 ? cmykToRgb : ycckToRgb;
    const ids = components.map(component => component.id);
    const namedRgb = ids[0] === 0x52 && ids[1] === 0x47 && ids[2] === 0x42;
    const plainRgb = !this.#jfif && (transform === undefined ? namedRgb : transform === 0);
    return plainRgb ? interleaveRgb : yccToRgb;
  }
}

const startsWith = (content: Uint8Array, text: string): boolean =>
  content.length >= text.length && [...text].every((character, index) => content[index] === character.charCodeAt(0));

// Huffman tables ------------------------------------------------------------------------------------------------------

const lookupBits = 9;

interface HuffmanTable {
  /** By the next 9 bits: code length << 8 | symbol, 0 where the code is longer. */
  readonly lookup: Uint16Array;
  /** By code length: the largest code of that length, -1 where there is none; [17] catches all. */
  readonly largest: Int32Array;
  /** By code length: what to add to a code to get the index of its symbol. */
  readonly shift: Int32Array;
  readonly symbols: Uint8Array;
}

const emptyTable: HuffmanTable = {
  lookup: new Uint16Array(1 << lookupBits),
  largest: new Int32Array(18).fill(-1),
  shift: new Int32Array(18),
  symbols: new Uint8Array(0),
};

/** Canonical codes (T.81 annex C), or undefined when the lengths do not fit into a tree. */
function huffmanTable(lengths: Uint8Array, symbols: Uint8Array): HuffmanTable | undefined {
  const lookup = new Uint16Array(1 << lookupBits);
  const largest = new Int32Array(18).fill(-1);
  const shift = new Int32Array(18);
  let code = 0;
  let index = 0;
  for (let length = 1; length <= 16; length++, code <<= 1) {
    const count = lengths[length - 1]!;
    if (code + count > 1 << length) return undefined;
    shift[length] = index - code;
    for (let i = 0; i < count; i++, code++, index++) {
      if (length > lookupBits) continue;
      const spare = lookupBits - length;
      lookup.fill((length << 8) | symbols[index]!, code << spare, (code + 1) << spare);
    }
    if (count > 0) largest[length] = code - 1;
  }
  return { lookup, largest, shift, symbols: symbols.slice() };
}

// Entropy-coded data --------------------------------------------------------------------------------------------------

/** Bits of an entropy-coded segment. Stops before the next marker and hands out zeros from there on. */
class EntropyReader {
  readonly bytes: Uint8Array;
  readonly file: string;
  offset: number;
  #buffer = 0;
  #count = 0;
  /** How many of the buffered bits were invented after the end of the segment. */
  #invented = 0;

  constructor(bytes: Uint8Array, offset: number, file: string) {
    this.bytes = bytes;
    this.offset = offset;
    this.file = file;
  }

  #fill(): void {
    const bytes = this.bytes;
    while (this.#count <= 24) {
      const byte = bytes[this.offset];
      if (byte === undefined || (byte === 0xff && bytes[this.offset + 1] !== 0)) {
        this.#buffer <<= 8;
        this.#invented += 8;
      } else {
        this.#buffer = (this.#buffer << 8) | byte;
        this.offset += byte === 0xff ? 2 : 1;
      }
      this.#count += 8;
    }
  }

  /** Throws if more bits were taken than the segment has. */
  checkNotPastEnd(): void {
    if (this.#count < this.#invented) throw this.error('JPEG picture data end early');
  }

  error(message: string): FileError {
    return new FileError({ file: this.file, byte: this.offset }, message);
  }

  symbol(table: HuffmanTable): number {
    if (this.#count < 16) this.#fill();
    const entry = table.lookup[(this.#buffer >>> (this.#count - lookupBits)) & ((1 << lookupBits) - 1)]!;
    if (entry !== 0) {
      this.#count -= entry >> 8;
      return entry & 255;
    }
    for (let length = lookupBits + 1; length <= 16; length++) {
      const code = (this.#buffer >>> (this.#count - length)) & ((1 << length) - 1);
      if (code <= table.largest[length]!) {
        this.#count -= length;
        return table.symbols[code + table.shift[length]!]!;
      }
    }
    throw this.error('damaged JPEG picture data: unknown code');
  }

  /** `length` ≤ 16 plain bits. */
  bits(length: number): number {
    if (length === 0) return 0;
    if (this.#count < length) this.#fill();
    this.#count -= length;
    return (this.#buffer >>> this.#count) & ((1 << length) - 1);
  }

  /** A signed value of `length` bits (T.81 figure F.12). */
  signed(length: number): number {
    const value = this.bits(length);
    return length > 0 && value < 1 << (length - 1) ? value - (1 << length) + 1 : value;
  }

  /** Goes on after the restart marker `expected` (0 … 7). */
  restart(expected: number): void {
    this.checkNotPastEnd();
    this.#skipToMarker();
    const code = this.bytes[this.offset + 1];
    if (code !== 0xd0 + expected) throw this.error(`expected JPEG restart marker ${expected}`);
    this.offset += 2;
    this.#buffer = 0;
    this.#count = 0;
    this.#invented = 0;
  }

  #skipToMarker(): void {
    const bytes = this.bytes;
    while (
      this.offset < bytes.length &&
      !(bytes[this.offset] === 0xff && bytes[this.offset + 1]! !== 0 && bytes[this.offset + 1] !== 0xff)
    ) {
      this.offset++;
    }
  }
}

interface ScanComponent {
  readonly component: Component;
  readonly dcTable: HuffmanTable;
  readonly acTable: HuffmanTable;
  prediction: number;
}

interface BlockDecoder {
  /** Decodes into the 64 coefficients from `at` on. */
  decode(scan: ScanComponent, coefficients: Int16Array, at: number): void;
  /** Forgets what carries over from block to block. */
  restart(): void;
}

/** Walks a scan's blocks; returns the offset after its data. */
function decodeScan(
  frame: Frame,
  scan: ScanComponent[],
  reader: EntropyReader,
  decoder: BlockDecoder,
  restartInterval: number,
): number {
  const single = scan.length === 1 ? scan[0]!.component : undefined;
  const columns = single?.blockColumns ?? frame.mcuColumns;
  const units = columns * (single?.blockRows ?? frame.mcuRows);
  let restarts = 0;
  for (let unit = 0, column = 0, row = 0; unit < units; unit++) {
    if (restartInterval > 0 && unit > 0 && unit % restartInterval === 0) {
      reader.restart(restarts++ & 7);
      for (const part of scan) part.prediction = 0;
      decoder.restart();
    }
    if (single !== undefined) {
      decoder.decode(scan[0]!, single.coefficients, (row * single.blockStride + column) * 64);
    } else {
      for (const part of scan) {
        const { horizontal, vertical, blockStride, coefficients } = part.component;
        for (let v = 0; v < vertical; v++) {
          const start = (row * vertical + v) * blockStride + column * horizontal;
          for (let h = 0; h < horizontal; h++) decoder.decode(part, coefficients, (start + h) * 64);
        }
      }
    }
    if (++column === columns) {
      column = 0;
      row++;
      reader.checkNotPastEnd();
    }
  }
  return reader.offset;
}

function blockDecoder(
  reader: EntropyReader,
  progressive: boolean,
  spectralStart: number,
  spectralEnd: number,
  high: number,
  low: number,
): BlockDecoder {
  const nothing = () => {};
  if (!progressive)
    return { decode: (scan, coefficients, at) => decodeBaseline(reader, scan, coefficients, at), restart: nothing };
  if (spectralStart === 0) {
    return high === 0
      ? {
          decode(scan, coefficients, at) {
            scan.prediction += reader.signed(reader.symbol(scan.dcTable));
            coefficients[at] = scan.prediction << low;
          },
          restart: nothing,
        }
      : {
          decode(_scan, coefficients, at) {
            if (reader.bits(1) === 1) coefficients[at] = coefficients[at]! | (1 << low);
          },
          restart: nothing,
        };
  }
  return high === 0
    ? progressiveFirst(reader, spectralStart, spectralEnd, low)
    : progressiveRefinement(reader, spectralStart, spectralEnd, low);
}

function decodeBaseline(reader: EntropyReader, scan: ScanComponent, coefficients: Int16Array, at: number): void {
  scan.prediction += reader.signed(reader.symbol(scan.dcTable));
  coefficients[at] = scan.prediction;
  const table = scan.acTable;
  for (let k = 1; k < 64; k++) {
    const runAndSize = reader.symbol(table);
    const size = runAndSize & 15;
    if (size === 0) {
      if (runAndSize !== 0xf0) break;
      k += 15;
      continue;
    }
    k += runAndSize >> 4;
    if (k > 63) throw reader.error('damaged JPEG picture data: too many coefficients');
    coefficients[at + zigzag[k]!] = reader.signed(size);
  }
}

/** First scan of a band of AC coefficients (T.81 G.1.2.2). */
function progressiveFirst(reader: EntropyReader, start: number, end: number, low: number): BlockDecoder {
  let emptyBlocks = 0;
  return {
    decode(scan, coefficients, at) {
      if (emptyBlocks > 0) {
        emptyBlocks--;
        return;
      }
      for (let k = start; k <= end; k++) {
        const runAndSize = reader.symbol(scan.acTable);
        const run = runAndSize >> 4;
        const size = runAndSize & 15;
        if (size === 0) {
          if (run === 15) {
            k += 15;
            continue;
          }
          emptyBlocks = (1 << run) + reader.bits(run) - 1;
          break;
        }
        k += run;
        if (k > end) throw reader.error('damaged JPEG picture data: too many coefficients');
        coefficients[at + zigzag[k]!] = reader.signed(size) << low;
      }
    },
    restart() {
      emptyBlocks = 0;
    },
  };
}

/** A further bit of a band of AC coefficients (T.81 G.1.2.3). */
function progressiveRefinement(reader: EntropyReader, start: number, end: number, low: number): BlockDecoder {
  const plus = 1 << low;
  const minus = -1 << low;
  let emptyBlocks = 0;

  const refine = (coefficients: Int16Array, position: number): void => {
    const value = coefficients[position]!;
    if (reader.bits(1) === 1 && (value & plus) === 0) coefficients[position] = value + (value >= 0 ? plus : minus);
  };

  return {
    decode(scan, coefficients, at) {
      let k = start;
      if (emptyBlocks === 0) {
        for (; k <= end; k++) {
          const runAndSize = reader.symbol(scan.acTable);
          let run = runAndSize >> 4;
          const size = runAndSize & 15;
          let value = 0;
          if (size !== 0) {
            if (size !== 1) throw reader.error('damaged JPEG picture data: impossible refinement');
            value = reader.bits(1) === 1 ? plus : minus;
          } else if (run !== 15) {
            emptyBlocks = (1 << run) + reader.bits(run);
            break;
          }
          // Already known coefficients on the way get their bit; `run` zeros are passed over.
          for (; k <= end; k++) {
            const position = at + zigzag[k]!;
            if (coefficients[position] !== 0) refine(coefficients, position);
            else if (--run < 0) break;
          }
          if (value !== 0) {
            if (k > end) throw reader.error('damaged JPEG picture data: too many coefficients');
            coefficients[at + zigzag[k]!] = value;
          }
        }
      }
      if (emptyBlocks > 0) {
        for (; k <= end; k++) {
          const position = at + zigzag[k]!;
          if (coefficients[position] !== 0) refine(coefficients, position);
        }
        emptyBlocks--;
      }
    },
    restart() {
      emptyBlocks = 0;
    },
  };
}

// Colours -------------------------------------------------------------------------------------------------------------

const fixed = (value: number): number => Math.floor(value * 65536 + 0.5);
const redOfCr = Int32Array.from({ length: 256 }, (_, cr) => (fixed(1.402) * (cr - 128) + 32768) >> 16);
const blueOfCb = Int32Array.from({ length: 256 }, (_, cb) => (fixed(1.772) * (cb - 128) + 32768) >> 16);
const greenOfCr = Int32Array.from({ length: 256 }, (_, cr) => -fixed(0.71414) * (cr - 128));
const greenOfCb = Int32Array.from({ length: 256 }, (_, cb) => -fixed(0.34414) * (cb - 128) + 32768);

const clamp = (value: number): number => (value < 0 ? 0 : value > 255 ? 255 : value);

function greyToRgb([grey]: Uint8Array[], to: Uint8Array): void {
  for (let x = 0, i = 0; i < to.length; x++, i += 3) to[i] = to[i + 1] = to[i + 2] = grey![x]!;
}

function interleaveRgb([red, green, blue]: Uint8Array[], to: Uint8Array): void {
  for (let x = 0, i = 0; i < to.length; x++, i += 3) {
    to[i] = red![x]!;
    to[i + 1] = green![x]!;
    to[i + 2] = blue![x]!;
  }
}

function yccToRgb([luma, blueness, redness]: Uint8Array[], to: Uint8Array): void {
  for (let x = 0, i = 0; i < to.length; x++, i += 3) {
    const y = luma![x]!;
    const cb = blueness![x]!;
    const cr = redness![x]!;
    to[i] = clamp(y + redOfCr[cr]!);
    to[i + 1] = clamp(y + ((greenOfCb[cb]! + greenOfCr[cr]!) >> 16));
    to[i + 2] = clamp(y + blueOfCb[cb]!);
  }
}

/** Inverted CMYK, which is what files hold, by Pillow's formula. */
function cmykToRgb([cyan, magenta, yellow, black]: Uint8Array[], to: Uint8Array): void {
  for (let x = 0, i = 0; i < to.length; x++, i += 3) {
    const light = black![x]!;
    to[i] = clamp(light - divideBy255((255 - cyan![x]!) * light));
    to[i + 1] = clamp(light - divideBy255((255 - magenta![x]!) * light));
    to[i + 2] = clamp(light - divideBy255((255 - yellow![x]!) * light));
  }
}

function ycckToRgb([luma, blueness, redness, black]: Uint8Array[], to: Uint8Array): void {
  yccToRgb([luma!, blueness!, redness!], to);
  for (let x = 0, i = 0; i < to.length; x++, i += 3) {
    const light = black![x]!;
    for (let channel = 0; channel < 3; channel++) {
      // The conversion gives inverted cyan, magenta and yellow as if they were red, green and blue.
      to[i + channel] = clamp(light - divideBy255(to[i + channel]! * light));
    }
  }
}

/** Pillow's rounded division of a product of bytes. */
function divideBy255(product: number): number {
  const sum = product + 128;
  return ((sum >> 8) + sum) >> 8;
}
