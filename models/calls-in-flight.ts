/** Calls that are under way: whoever frees what they use waits for them first. */
export class CallsInFlight {
  readonly #calls = new Set<Promise<unknown>>();

  /** Counts `call` until it is settled; returns it. */
  track<Result>(call: Promise<Result>): Promise<Result> {
    const forget = () => this.#calls.delete(call);
    this.#calls.add(call);
    call.then(forget, forget);
    return call;
  }

  /** Resolves when the calls so far are settled, however they end. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#calls);
  }
}
