/** Deepest nesting that `skip` follows. */
const MAXIMUM_DEPTH = 64;

/**
 * Reads JSON from UTF-8 bytes one expected value at a time, knowing at which byte it stands. Unlike JSON.parse it refuses
 * an object that names a member twice, and it never builds what nobody asked for.
 */
export class JsonReader {
  readonly #bytes: Uint8Array;
  readonly #fail: (message: string, byte: number) => never;
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  #position = 0;

  /** `fail` throws the error for a message and a byte offset into `bytes`. */
  constructor(bytes: Uint8Array, fail: (message: string, byte: number) => never) {
    this.#bytes = bytes;
    this.#fail = fail;
  }

  /** Byte offset of the next value. */
  get position(): number {
    this.#skipSpace();
    return this.#position;
  }

  /** Reads an object; `onMember` must read the member's value. */
  object(onMember: (name: string, nameByte: number) => void): void {
    const seen = new Set<string>();
    this.#list('{', '}', 'an object', () => {
      const nameByte = this.position;
      const name = this.string();
      if (seen.has(name)) this.#fail(`duplicate name ${JSON.stringify(name)}`, nameByte);
      seen.add(name);
      if (!this.#take(':')) this.#unexpected('":"');
      onMember(name, nameByte);
    });
  }

  /** Reads an array; `onItem` must read the item. */
  array(onItem: (index: number) => void): void {
    let index = 0;
    this.#list('[', ']', 'an array', () => onItem(index++));
  }

  string(): string {
    const begin = this.position;
    if (this.#bytes[begin] !== QUOTE) this.#unexpected('a string');
    let end = begin + 1;
    while (end < this.#bytes.length && this.#bytes[end] !== QUOTE) end += this.#bytes[end] === BACKSLASH ? 2 : 1;
    if (end >= this.#bytes.length) this.#fail('a string does not end', begin);
    this.#position = end + 1;
    try {
      return JSON.parse(this.#decoder.decode(this.#bytes.subarray(begin, end + 1)));
    } catch {
      return this.#fail('a string is not valid JSON in UTF-8', begin);
    }
  }

  /** Reads an integer >= 0 that JavaScript holds exactly, written without sign, fraction or exponent. */
  naturalNumber(): number {
    const begin = this.position;
    const digits = this.#word();
    const value = Number(digits);
    if (!/^(0|[1-9][0-9]*)$/.test(digits)) this.#fail('expected a non-negative integer', begin);
    if (!Number.isSafeInteger(value)) this.#fail(`integer ${digits.slice(0, 40)} is too large`, begin);
    return value;
  }

  /** Reads any value and forgets it. */
  skip(depth = 0): void {
    const begin = this.position;
    if (depth > MAXIMUM_DEPTH) this.#fail(`values are nested more than ${MAXIMUM_DEPTH} deep`, begin);
    const first = this.#bytes[begin];
    if (first === OPEN_BRACE) this.object(() => this.skip(depth + 1));
    else if (first === OPEN_BRACKET) this.array(() => this.skip(depth + 1));
    else if (first === QUOTE) this.string();
    else if (!/^(true|false|null|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?)$/.test(this.#word())) {
      this.#fail('expected a JSON value', begin);
    }
  }

  /** Checks that nothing but white space is left. */
  end(): void {
    if (this.position < this.#bytes.length) this.#unexpected('the end');
  }

  #list(open: string, close: string, what: string, onElement: () => void): void {
    if (!this.#take(open)) this.#unexpected(what);
    if (this.#take(close)) return;
    do onElement();
    while (this.#take(','));
    if (!this.#take(close)) this.#unexpected(`"," or "${close}"`);
  }

  /** A number, or a bare word such as true: everything up to the next delimiter. */
  #word(): string {
    const begin = this.position;
    while (this.#position < this.#bytes.length && isWordByte(this.#bytes[this.#position]!)) this.#position++;
    return String.fromCharCode(...this.#bytes.subarray(begin, Math.min(this.#position, begin + 400)));
  }

  #take(character: string): boolean {
    const found = this.#bytes[this.position] === character.charCodeAt(0);
    if (found) this.#position++;
    return found;
  }

  #skipSpace(): void {
    while (isSpace(this.#bytes[this.#position])) this.#position++;
  }

  #unexpected(expected: string): never {
    const at = this.#position;
    const byte = this.#bytes[at];
    const found =
      byte === undefined
        ? 'the end'
        : byte > 0x20 && byte < 0x7f
          ? `"${String.fromCharCode(byte)}"`
          : `byte 0x${byte.toString(16).padStart(2, '0')}`;
    return this.#fail(`expected ${expected}, got ${found}`, at);
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const OPEN_BRACKET = 0x5b;

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;
}

function isWordByte(byte: number): boolean {
  const isDigit = byte >= 0x30 && byte <= 0x39;
  const isLetter = (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a;
  return isDigit || isLetter || byte === 0x2b || byte === 0x2d || byte === 0x2e;
}
