import type { Options, Values } from './options.ts';

/** What a command gets beside its options. */
export interface Surroundings {
  /** Aborted by the first Ctrl-C: finish what cannot be left half done, then return. */
  readonly signal: AbortSignal;
  /** The keys of the options that were given. */
  readonly given: ReadonlySet<string>;
}

/** A subcommand of `detr-webgpu`. */
export interface Command<From extends Options = Options> {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What follows the options on the command line: `IMAGE…`. */
  readonly operands: string;
  /** How many operands there must be. */
  readonly minimumOperands: number;
  readonly maximumOperands?: number;
  /** Paragraphs below the usage line of `--help`. */
  readonly description: readonly string[];
  readonly options: From;
  /** Command lines with what they do. */
  readonly examples: readonly (readonly [command: string, does: string])[];
  /** Returns the exit code. */
  run(values: Values<From>, operands: readonly string[], surroundings: Surroundings): Promise<number>;
}

/** Gives a command's `run` the types of its options. */
export function defineCommand<const From extends Options>(command: Command<From>): Command {
  return command as unknown as Command;
}

/** Exit codes, as most Unix tools have them: 128 and the signal's number when one ended the run. */
export const exitCodes = { success: 0, failure: 1, usage: 2, interrupted: 130, terminated: 143 } as const;
