import { DetrError } from '../../engine/errors.ts';
import type { ExcessiveAllocation } from './allocation.ts';
import { mutate } from './mutate.ts';
import { Random } from './random.ts';
import type { FuzzTarget } from './target.ts';

export interface FuzzRange {
  readonly seed: number;
  readonly begin: number;
  readonly end: number;
}

export interface Finding {
  readonly index: number;
  readonly problem: string;
}

export interface FuzzReport {
  readonly runs: number;
  readonly accepted: number;
  readonly refused: number;
  readonly slowestMilliseconds: number;
  readonly findings: readonly Finding[];
}

/** An input may take so long, on a machine that does other things too. */
const MAXIMUM_MILLISECONDS = 5000;
const MAXIMUM_FINDINGS = 20;

/** The input of that index: a function of seed, target and index alone. */
export function fuzzInput(
  name: string,
  target: FuzzTarget,
  seeds: readonly Uint8Array[],
  seed: number,
  index: number,
): Uint8Array {
  const random = new Random(seed, name, index);
  const mutated = mutate(seeds, target.words ?? [], random);
  return target.generate?.(random, mutated) ?? mutated;
}

/** Runs a target on a range of inputs in this process, telling each index before it is run. */
export async function runTarget(
  name: string,
  target: FuzzTarget,
  { seed, begin, end }: FuzzRange,
  takeExcess: () => ExcessiveAllocation | undefined = () => undefined,
  onIndex: (index: number) => void = () => {},
): Promise<FuzzReport> {
  const seeds = await target.seeds();
  const findings: Finding[] = [];
  let accepted = 0;
  let refused = 0;
  let slowestMilliseconds = 0;
  for (const whole of seeds) {
    try {
      await target.run(whole);
    } catch (error) {
      findings.push({ index: -1, problem: `a sound seed is refused: ${describe(error)}` });
    }
  }
  let index = begin;
  for (; index < end && findings.length < MAXIMUM_FINDINGS; index++) {
    onIndex(index);
    const input = fuzzInput(name, target, seeds, seed, index);
    const started = performance.now();
    try {
      await target.run(input);
      accepted++;
    } catch (error) {
      refused++;
      if (!(error instanceof DetrError)) findings.push({ index, problem: describe(error) });
      else if (error.message === '' || error.message.includes('undefined')) {
        findings.push({ index, problem: `an error without a message: ${describe(error)}` });
      }
    }
    const milliseconds = performance.now() - started;
    slowestMilliseconds = Math.max(slowestMilliseconds, milliseconds);
    if (milliseconds > MAXIMUM_MILLISECONDS) findings.push({ index, problem: `took ${milliseconds.toFixed(0)} ms` });
    const excess = takeExcess();
    if (excess !== undefined) findings.push({ index, problem: `excessive allocation: ${excess.message}` });
  }
  return { runs: index - begin, accepted, refused, slowestMilliseconds, findings };
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message).slice(0, 1500) : String(error);
}
