import { parseArgs } from 'node:util';
import { OptionError } from '../engine/errors.ts';
import { didYouMean } from '../weights/suggest.ts';
import { wrap } from './terminal.ts';

/** One option of a command. Its name on the command line is its key in kebab-case: `maskThreshold` → `--mask-threshold`. */
export interface Option<Value> {
  readonly help: string;
  /** What stands for the value in help texts; a flag has none. */
  readonly placeholder?: string;
  readonly fallback: Value;
  /** Reads the value. Throws an OptionError that says what was expected. */
  readonly parse?: (text: string) => Value;
  /** The value when the option is not given, for help texts. */
  readonly shownDefault?: string;
}

export type Options = Readonly<Record<string, Option<unknown>>>;
export type Values<From extends Options> = {
  readonly [Key in keyof From]: From[Key] extends Option<infer Value> ? Value : never;
};

export function flag(help: string): Option<boolean> {
  return { help, fallback: false };
}

export function text(placeholder: string, help: string): Option<string | undefined>;
export function text(placeholder: string, help: string, fallback: string): Option<string>;
export function text(placeholder: string, help: string, fallback?: string): Option<string | undefined> {
  return {
    help,
    placeholder,
    fallback,
    ...(fallback === undefined ? {} : { shownDefault: fallback }),
    parse: value => {
      if (value === '') throw new OptionError(`expected ${placeholder}, got nothing`);
      return value;
    },
  };
}

export interface NumberRange {
  readonly minimum: number;
  readonly maximum?: number;
  readonly integer?: boolean;
}

export function number(placeholder: string, range: NumberRange, help: string): Option<number | undefined>;
export function number(placeholder: string, range: NumberRange, help: string, fallback: number): Option<number>;
export function number(
  placeholder: string,
  { minimum, maximum, integer = false }: NumberRange,
  help: string,
  fallback?: number,
): Option<number | undefined> {
  const kind = integer ? 'a whole number' : 'a number';
  const expected = maximum === undefined ? `${kind}, ${minimum} or more` : `${kind} from ${minimum} to ${maximum}`;
  return {
    help,
    placeholder,
    fallback,
    ...(fallback === undefined ? {} : { shownDefault: String(fallback) }),
    parse: value => {
      const result = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(value) ? Number(value) : Number.NaN;
      const inRange = result >= minimum && result <= (maximum ?? Number.MAX_SAFE_INTEGER);
      if (!inRange || (integer && !Number.isInteger(result))) {
        throw new OptionError(`expected ${expected}, got ${JSON.stringify(value)}`);
      }
      return result;
    },
  };
}

export function choice<const Choice extends string>(
  choices: readonly Choice[],
  help: string,
  fallback: Choice,
): Option<Choice> {
  return {
    help,
    placeholder: choices.join('|'),
    fallback,
    shownDefault: fallback,
    parse: value => {
      const found = choices.find(candidate => candidate === value);
      if (found === undefined) {
        throw new OptionError(`expected ${listOf(choices)}, got ${JSON.stringify(value)}${didYouMean(value, choices)}`);
      }
      return found;
    },
  };
}

/** A command line that was read: the options' values, and everything that is not an option. */
export interface CommandLine<From extends Options> {
  readonly values: Values<From>;
  /** The keys of the options that were given, even with the value that they have anyway. */
  readonly given: ReadonlySet<string>;
  readonly positionals: readonly string[];
  readonly help: boolean;
}

/** @throws OptionError for unknown options (with the nearest known one), impossible values and repeated options. */
export function parseCommandLine<From extends Options>(args: readonly string[], options: From): CommandLine<From> {
  const byName = new Map(Object.keys(options).map(key => [kebabCase(key), key]));
  const values: Record<string, unknown> = Object.fromEntries(
    Object.entries(options).map(([key, { fallback }]) => [key, fallback]),
  );
  const positionals: string[] = [];
  const given = new Set<string>();
  const { tokens } = parseArgs({
    args: [...args],
    options: {
      help: { type: 'boolean', short: 'h' },
      ...Object.fromEntries(
        [...byName].map(([name, key]) => [name, { type: options[key]!.parse === undefined ? 'boolean' : 'string' }]),
      ),
    },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  let optionsEnded = false;
  for (const token of tokens) {
    const argument = args[token.index]!;
    // Node takes `-h--json` apart into -h and --, which would make operands of the rest.
    if (!optionsEnded && /^-[^-\d.]./u.test(argument)) {
      throw unknownOption(argument, byName.keys());
    }
    optionsEnded ||= token.kind === 'option-terminator';
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    const key = byName.get(name);
    if (name === 'help') {
      if (value !== undefined) throw new OptionError('--help: expected no value');
    } else if (key === undefined) {
      throw unknownOption(rawName, byName.keys());
    } else if (options[key]!.parse === undefined) {
      if (value !== undefined) throw new OptionError(`--${name}: expected no value, got ${JSON.stringify(value)}`);
      values[key] = true;
    } else {
      if (given.has(name)) throw new OptionError(`--${name}: expected once, got it twice`);
      if (value === undefined || (!token.inlineValue && /^-(?![\d.])/.test(value))) {
        throw new OptionError(`--${name}: expected a value (${options[key]!.placeholder}), got ${value ?? 'none'}`);
      }
      values[key] = parseValue(name, options[key]!, value);
    }
    given.add(name);
  }
  const keys = [...given].flatMap(name => byName.get(name) ?? []);
  return { values: values as Values<From>, given: new Set(keys), positionals, help: given.has('help') };
}

/** @throws OptionError for the first of the options `keys` that was given without `needed`, another option's value */
export function checkEffect(
  given: ReadonlySet<string>,
  keys: readonly string[],
  { needed, got }: { readonly needed: string; readonly got: string },
): void {
  const key = keys.find(candidate => given.has(candidate));
  if (key !== undefined) throw new OptionError(`--${kebabCase(key)}: expected only with ${needed}, got ${got}`);
}

function unknownOption(given: string, names: Iterable<string>): OptionError {
  const known = ['help', ...names].map(name => `--${name}`);
  return new OptionError(`unknown option ${given}${didYouMean(given, known)}`);
}

function parseValue(name: string, option: Option<unknown>, value: string): unknown {
  try {
    return option.parse!(value);
  } catch (error) {
    if (error instanceof OptionError) throw new OptionError(`--${name}: ${error.message}`);
    throw error;
  }
}

/** The options as help shows them, one paragraph each. */
export function describeOptions(options: Options, width: number): string {
  const rows = Object.entries(options).map(([key, { help, placeholder, shownDefault }]) => {
    const usage = `--${kebabCase(key)}${placeholder === undefined ? '' : ` ${placeholder}`}`;
    return [usage, shownDefault === undefined ? help : `${help} (default: ${shownDefault})`] as const;
  });
  rows.push(['-h, --help', 'Show this help']);
  const column = Math.min(32, Math.max(...rows.map(([usage]) => usage.length)) + 4);
  return rows
    .map(([usage, help]) => {
      const [first, ...others] = wrap(help, Math.max(24, width - column));
      const head = `  ${usage}`;
      const start = head.length + 2 <= column ? head.padEnd(column) + first : `${head}\n${' '.repeat(column)}${first}`;
      return [start, ...others.map(line => ' '.repeat(column) + line)].join('\n');
    })
    .join('\n');
}

/** `a, b or c` */
export function listOf(items: readonly string[]): string {
  return items.length < 2 ? items.join('') : `${items.slice(0, -1).join(', ')} or ${items.at(-1)}`;
}

const kebabCase = (key: string) => key.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`);
