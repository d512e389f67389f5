/** Memory that launches and copies write. */
export interface Spoilable {
  /** Why it does not hold what was recorded: what writes it, or what that reads, failed. */
  failure?: Error | undefined;
}

/** A launch or a copy. */
export interface Step {
  readonly inputs: readonly Spoilable[];
  readonly outputs: readonly Spoilable[];
}

/** `failed` has not written what was recorded, and the `later` steps, in their order, may have read it. */
export function spoil(failed: Iterable<Step>, error: Error, later: Iterable<Step>): void {
  for (const { outputs } of failed) for (const output of outputs) output.failure ??= error;
  for (const step of later) passFailureOn(step);
}

/** A step that reads what a failure spoilt writes no better. */
export function passFailureOn({ inputs, outputs }: Step): void {
  const failure = failureOf(inputs);
  if (failure !== undefined) for (const output of outputs) output.failure ??= failure;
}

/** What spoilt the first of them that is spoilt. */
export function failureOf(memory: Iterable<Spoilable>): Error | undefined {
  for (const { failure } of memory) if (failure !== undefined) return failure;
  return undefined;
}
