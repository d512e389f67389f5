/**
 * How the cpu device's main thread and its workers talk. A batch is a list of launches in the shared memory; every worker
 * walks all of it. Within a launch the workers take tasks from a shared counter; the last to arrive opens the next launch.
 */

/** Four-byte words of a launch record in the batch. */
export const Word = {
  /** Index into the worker's list of exported kernel functions. */
  entry: 0,
  tasks: 1,
  args: 2,
  /** Next task to take; starts at 0. */
  counter: 3,
  /** Workers that finished the launch; starts at 0. */
  arrivals: 4,
  /** 1 once every worker has arrived. */
  done: 5,
  /** When the launch ended, counted from when its batch was sent; written by the worker that closes it. */
  endMicroseconds: 6,
} as const;

export const WORDS_PER_LAUNCH = 8;

export interface WorkerData {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Export names in the order of `Word.entry`. */
  readonly entries: readonly string[];
  readonly workers: number;
}

export interface BatchMessage {
  readonly batch: number;
  /** When the batch was sent, since the epoch. */
  readonly startMilliseconds: number;
  /** Byte address of the first launch record. */
  readonly launches: number;
  readonly count: number;
  /** Byte address of this worker's scratch memory. */
  readonly scratch: number;
}

export interface DoneMessage {
  readonly batch: number;
  /** The trap that stopped this worker's part, if one did. */
  readonly error?: { readonly launch: number; readonly message: string };
}
