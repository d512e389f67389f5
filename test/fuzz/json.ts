import { FileError } from '../../engine/errors.ts';
import type { Random } from './random.ts';
import type { FuzzTarget } from './target.ts';

/** What hostile or careless JSON puts in a value's place. */
const interestingValues: readonly unknown[] = [
  ...[null, true, false, '', '0', 'a', 'é\u0000', '../../x', '__proto__', [], {}, [[]], [null], { a: 1 }],
  ...[0, -1, 1, 2, 3, 0.5, -0.5, 7, 64, 255, 4096, 65_537, 1e6, 2 ** 24, 2 ** 31, 2 ** 32, 2 ** 53, 1e100, 1e308],
  ...[5e-324, -(2 ** 31), -1e308, [1, 2, 3, 4], [0, 0, 0, 0], ['a', 'b'], Array.from({ length: 40 }, () => 1)],
];

export interface JsonTarget {
  readonly seeds: () => readonly unknown[];
  /** Keys and strings that mean something to the format. */
  readonly words: readonly string[];
  readonly run: (value: unknown) => unknown;
}

/** A target that reads JSON: most inputs stay JSON and are changed as values, the others as bytes. */
export function jsonTarget({ seeds, words, run }: JsonTarget): FuzzTarget {
  const values = seeds();
  return {
    seeds: () => values.map(encode),
    words: words.map(word => JSON.stringify(word)),
    generate: (random, mutated) =>
      random.chance(0.15) ? mutated : encode(mutateJson(random.pick(values), values, words, random)),
    run: input => run(parse(input)),
  };
}

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

function parse(input: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(input));
  } catch (cause) {
    throw new FileError({ file: 'input' }, `is not JSON: ${(cause as Error).message}`, { cause });
  }
}

/** A copy of `value` with one to a few of its values, at any depth, replaced, removed, copied or added. */
function mutateJson(value: unknown, others: readonly unknown[], words: readonly string[], random: Random): unknown {
  const root = { value: structuredClone(value) };
  const changes = 1 + (random.chance(0.5) ? 0 : random.below(4));
  for (let i = 0; i < changes; i++) mutateOnce(root, others, words, random);
  return root.value;
}

function mutateOnce(root: { value: unknown }, others: readonly unknown[], words: readonly string[], random: Random) {
  let parent: Record<string, unknown> = root;
  let key = 'value';
  // Down to a random depth; most of the keys that matter lie high.
  for (;;) {
    const child = parent[key];
    if (typeof child !== 'object' || child === null || random.chance(0.2)) break;
    const keys = Object.keys(child);
    if (keys.length === 0) break;
    parent = child as Record<string, unknown>;
    key = random.pick(keys);
  }
  const current = parent[key];
  switch (random.below(7)) {
    case 0:
      if (Array.isArray(parent)) parent.splice(Number(key), 1);
      else if (parent !== root) delete parent[key];
      break;
    case 1:
      parent[key] = typeof current === 'number' ? changedNumber(current, random) : interestingValue(random);
      break;
    case 2:
      parent[key] = random.pick(words);
      break;
    case 3:
      parent[key] = structuredClone(somewhereIn(random.pick(others), random));
      break;
    case 4:
      if (Array.isArray(current)) current.push(structuredClone(current[0] ?? interestingValue(random)));
      else if (typeof current === 'object' && current !== null)
        (current as Record<string, unknown>)[random.pick(words)] = interestingValue(random);
      else parent[key] = [current];
      break;
    default:
      parent[key] = interestingValue(random);
  }
}

/** A copy: a later change must not reach the value that other inputs are made of. */
const interestingValue = (random: Random): unknown => structuredClone(random.pick(interestingValues));

const changedNumber = (value: number, random: Random): number =>
  random.pick([value + 1, value - 1, -value, value * 2, value / 2, value * 1e9, value + 0.5, 0, value * 100]);

function somewhereIn(value: unknown, random: Random): unknown {
  if (typeof value !== 'object' || value === null || random.chance(0.3)) return value;
  const children = Object.values(value);
  return children.length === 0 ? value : somewhereIn(random.pick(children), random);
}
