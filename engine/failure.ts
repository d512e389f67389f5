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

/** What went wrong and nobody was told of yet. */
export class UntoldFailure {
  #error: Error | undefined;

  /** Of several only the first is kept; what each spoilt is told by `failureOf`. */
  note(error: Error): void {
    this.#error ??= error;
  }

  /** Why somebody who waits for `results` must not go on: what spoilt them, else what nobody knows of yet. */
  tell(results: Iterable<Spoilable>): Error | undefined {
    const failure = failureOf(results) ?? this.#error;
    if (failure === this.#error) this.#error = undefined;
    return failure;
  }
}
