// A restricted unpickler: it builds numbers, strings and plain containers, and calls nothing but the few constructors it is
// given by name. Source: CPython Lib/pickletools.py (protocols 0 to 5).
import { FileError } from '../engine/errors.ts';

export type PickleValue = unknown;

/** What a pickle may name: `module name` → what calling it makes of its arguments. */
export type PickleGlobals = ReadonlyMap<string, (...values: PickleValue[]) => PickleValue>;

/** A class or function that a pickle names. Naming does nothing; calling runs the function of `PickleGlobals`. */
export class PickleGlobal {
  readonly name: string;
  readonly call: (...values: PickleValue[]) => PickleValue;

  constructor(name: string, call: (...values: PickleValue[]) => PickleValue) {
    this.name = name;
    this.call = call;
  }
}

/** An object of a plain data class (argparse.Namespace): its attributes only. */
export class PickleObject {
  state: PickleValue = undefined;
}

export interface PickleOptions {
  /** For messages. */
  readonly file: string;
  /** Byte offset of the pickle in the file, for messages. */
  readonly byte: number;
  readonly globals: PickleGlobals;
  /** Gives persistent ids (how torch refers to storages) their value. */
  readonly persistent: (id: PickleValue) => PickleValue;
}

/** A pickle that goes on beyond the bytes at hand. */
export class PickleTruncated extends FileError {}

/** Longest integer literal in bytes. */
const MAXIMUM_INTEGER_BYTES = 256;

/**
 * Reads one pickle: dicts become Maps, lists and tuples arrays, sets Sets, integers numbers where they fit and else bigints.
 * Memory is bounded by a small multiple of the pickle's length.
 * @returns the value and the position after the pickle
 * @throws FileError for damage, and for anything that is named and not among `globals`
 */
export function unpickle(
  bytes: Uint8Array,
  position: number,
  options: PickleOptions,
): { value: PickleValue; end: number } {
  return new Unpickler(bytes, position, options).run();
}

class Unpickler {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #options: PickleOptions;
  readonly #text = new TextDecoder();
  readonly #memo = new Map<number, PickleValue>();
  #position: number;
  #stack: PickleValue[] = [];
  /** The stacks below each mark. */
  readonly #below: PickleValue[][] = [];

  constructor(bytes: Uint8Array, position: number, options: PickleOptions) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#position = position;
    this.#options = options;
  }

  run(): { value: PickleValue; end: number } {
    for (;;) {
      const code = this.#bytes[this.#take(1)]!;
      if (code === STOP_CODE) return { value: this.pop(), end: this.#position };
      const operation = operations.get(code);
      if (operation === undefined) this.fail(`unsupported pickle opcode 0x${code.toString(16).padStart(2, '0')}`);
      operation(this);
    }
  }

  fail(message: string): never {
    throw new FileError({ file: this.#options.file, byte: this.#options.byte + this.#position }, message);
  }

  #take(length: number): number {
    const begin = this.#position;
    if (begin + length > this.#bytes.byteLength) {
      const location = { file: this.#options.file, byte: this.#options.byte + begin };
      throw new PickleTruncated(location, 'the pickle is cut off');
    }
    this.#position += length;
    return begin;
  }

  uint8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  uint16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  int32(): number {
    return this.#view.getInt32(this.#take(4), true);
  }

  uint32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** A length of 8 bytes; beyond the pickle's own length it is cut off anyway. */
  uint64(): number {
    return Number(this.#view.getBigUint64(this.#take(8), true));
  }

  /** Protocol 1 and later write floats big-endian. */
  float64(): number {
    return this.#view.getFloat64(this.#take(8), false);
  }

  raw(length: number): Uint8Array {
    const begin = this.#take(length);
    return this.#bytes.subarray(begin, begin + length);
  }

  utf8(length: number): string {
    return this.#text.decode(this.raw(length));
  }

  /** Text up to the end of the line. */
  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#position);
    const text = this.utf8((end < 0 ? this.#bytes.byteLength : end) - this.#position);
    this.#take(1);
    return text.replace(/\r$/, '');
  }

  /** A little-endian two's complement integer. */
  integer(length: number): number | bigint {
    if (length > MAXIMUM_INTEGER_BYTES) this.fail(`an integer of ${length} bytes`);
    const bytes = this.raw(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
    return narrow(BigInt.asIntN(8 * length, value));
  }

  push(value: PickleValue): void {
    this.#stack.push(value);
  }

  pop(): PickleValue {
    if (this.#stack.length === 0) this.fail('the pickle takes a value from an empty stack');
    return this.#stack.pop();
  }

  top(): PickleValue {
    if (this.#stack.length === 0) this.fail('the pickle looks at an empty stack');
    return this.#stack.at(-1);
  }

  /** The last `count` values, in the order they were pushed. */
  popMany(count: number): PickleValue[] {
    if (this.#stack.length < count) this.fail('the pickle takes a value from an empty stack');
    return this.#stack.splice(this.#stack.length - count, count);
  }

  mark(): void {
    this.#below.push(this.#stack);
    this.#stack = [];
  }

  popMark(): PickleValue[] {
    const above = this.#stack;
    this.#stack = this.#below.pop() ?? this.fail('the pickle has no mark');
    return above;
  }

  popMarkOrValue(): void {
    if (this.#stack.length > 0) this.#stack.pop();
    else this.popMark();
  }

  remember(index: number): void {
    this.#memo.set(index, this.top());
  }

  rememberNext(): void {
    this.remember(this.#memo.size);
  }

  recall(index: number): void {
    if (!this.#memo.has(index)) this.fail(`the pickle recalls value ${index}, which it never stored`);
    this.push(this.#memo.get(index));
  }

  persistent(id: PickleValue): void {
    this.push(this.#options.persistent(id));
  }

  global(module: PickleValue, name: PickleValue): void {
    const path = `${plainText(module)}.${plainText(name)}`;
    const call = this.#options.globals.get(`${plainText(module)} ${plainText(name)}`);
    if (call === undefined) {
      this.fail(
        `holds ${JSON.stringify(path)}, which is not loaded: only tensors and plain containers are. ` +
          'In Python, save the state_dict() alone',
      );
    }
    this.push(new PickleGlobal(path, call));
  }

  call(callable: PickleValue, values: PickleValue): void {
    if (!(callable instanceof PickleGlobal) || !Array.isArray(values))
      this.fail('the pickle calls what cannot be called');
    try {
      this.push(callable.call(...values.slice(0, 16)));
    } catch (error) {
      this.fail(`${callable.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Sets attributes: kept for plain objects, dropped for dicts (torch hangs version notes on a state dict). */
  build(): void {
    const state = this.pop();
    const target = this.top();
    if (target instanceof PickleObject) target.state = state;
    else if (!(target instanceof Map)) this.fail('the pickle sets attributes on what has none');
  }

  appendAll(items: PickleValue[]): void {
    const list = this.top();
    if (!Array.isArray(list)) this.fail('the pickle appends to what is no list');
    for (const item of items) list.push(item);
  }

  addAll(items: PickleValue[]): void {
    const set = this.top();
    if (!(set instanceof Set)) this.fail('the pickle adds to what is no set');
    for (const item of items) set.add(item);
  }

  setAll(items: PickleValue[]): void {
    const dict = this.top();
    if (!(dict instanceof Map)) this.fail('the pickle sets items of what is no dict');
    this.fill(dict, items);
  }

  fill(dict: Map<PickleValue, PickleValue>, items: PickleValue[]): Map<PickleValue, PickleValue> {
    if (items.length % 2 !== 0) this.fail('the pickle has a dict key without a value');
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1]);
    return dict;
  }

  decimal(text: string): number | bigint {
    if (!/^-?[0-9]{1,600}$/.test(text)) this.fail('expected a decimal integer');
    return narrow(BigInt(text));
  }

  /** Protocol 0 quotes strings as Python source does; torch never writes one with escapes. */
  quoted(text: string): string {
    const match = /^(['"])([^\\]*)\1$/.exec(text);
    if (match === null) this.fail('expected a quoted string without escapes');
    return match[2]!;
  }
}

/**
 * A value for a message or a name. Containers are not looked into: a short pickle can nest them without end, or put them
 * into each other so often that their text would fill the memory.
 */
export function plainText(value: PickleValue): string {
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

const STOP_CODE = 0x2e;

const operations: ReadonlyMap<number, (machine: Unpickler) => void> = new Map(
  Object.entries<(machine: Unpickler) => void>({
    // Frame and protocol marks
    '\x80': m => {
      const protocol = m.uint8();
      if (protocol > 5) m.fail(`pickle protocol ${protocol}, expected at most 5`);
    },
    '\x95': m => void m.uint64(),
    // Numbers and other atoms
    N: m => m.push(null),
    '\x88': m => m.push(true),
    '\x89': m => m.push(false),
    I: m => {
      const text = m.line();
      m.push(text === '00' ? false : text === '01' ? true : m.decimal(text));
    },
    J: m => m.push(m.int32()),
    K: m => m.push(m.uint8()),
    M: m => m.push(m.uint16()),
    L: m => m.push(m.decimal(m.line().replace(/L$/, ''))),
    '\x8a': m => m.push(m.integer(m.uint8())),
    '\x8b': m => m.push(m.integer(m.uint32())),
    F: m => m.push(Number(m.line())),
    G: m => m.push(m.float64()),
    // Strings and bytes
    S: m => m.push(m.quoted(m.line())),
    T: m => m.push(m.utf8(m.uint32())),
    U: m => m.push(m.utf8(m.uint8())),
    V: m => m.push(m.line()),
    X: m => m.push(m.utf8(m.uint32())),
    '\x8c': m => m.push(m.utf8(m.uint8())),
    '\x8d': m => m.push(m.utf8(m.uint64())),
    B: m => m.push(m.raw(m.uint32())),
    C: m => m.push(m.raw(m.uint8())),
    '\x8e': m => m.push(m.raw(m.uint64())),
    '\x96': m => m.push(m.raw(m.uint64())),
    // Containers
    '(': m => m.mark(),
    '0': m => m.popMarkOrValue(),
    '1': m => void m.popMark(),
    '2': m => m.push(m.top()),
    ')': m => m.push([]),
    t: m => m.push(m.popMark()),
    '\x85': m => m.push(m.popMany(1)),
    '\x86': m => m.push(m.popMany(2)),
    '\x87': m => m.push(m.popMany(3)),
    ']': m => m.push([]),
    l: m => m.push(m.popMark()),
    a: m => m.appendAll(m.popMany(1)),
    e: m => m.appendAll(m.popMark()),
    '}': m => m.push(new Map()),
    d: m => m.push(m.fill(new Map(), m.popMark())),
    s: m => m.setAll(m.popMany(2)),
    u: m => m.setAll(m.popMark()),
    '\x8f': m => m.push(new Set()),
    '\x90': m => m.addAll(m.popMark()),
    '\x91': m => m.push(new Set(m.popMark())),
    // Memory of values
    g: m => m.recall(Number(m.line())),
    h: m => m.recall(m.uint8()),
    j: m => m.recall(m.uint32()),
    p: m => m.remember(Number(m.line())),
    q: m => m.remember(m.uint8()),
    r: m => m.remember(m.uint32()),
    '\x94': m => m.rememberNext(),
    // Names and calls
    P: m => m.persistent(m.line()),
    Q: m => m.persistent(m.pop()),
    c: m => m.global(m.line(), m.line()),
    '\x93': m => {
      const [module, name] = m.popMany(2);
      m.global(module, name);
    },
    R: m => {
      const [callable, values] = m.popMany(2);
      m.call(callable, values);
    },
    '\x81': m => {
      const [callable, values] = m.popMany(2);
      m.call(callable, values);
    },
    b: m => m.build(),
  }).map(([character, operation]) => [character.charCodeAt(0), operation]),
);
