/**
 * In Node, Dawn learns that work has ended by polling from `setImmediate` for as long as any promise of it is pending. That
 * keeps a core busy, which a software adapter needs for the work itself. So calls that make Dawn wait go through
 * `calmly`: while Dawn queues its polls, and only then, it sees a `setImmediate` that soon slows down.
 */
export function calmly<Result>(call: () => Result): Result {
  waitingSince = performance.now();
  return withCalmImmediate(call);
}

/** To be called once there is a GPU: it needs no core, and its work is often done within a few milliseconds. */
export function pollEagerly(): void {
  eagerMilliseconds = 4;
}

let eagerMilliseconds = 1;
let waitingSince = 0;

function withCalmImmediate<Result>(call: () => Result): Result {
  const original = globalThis.setImmediate;
  if (original === undefined) return call();
  globalThis.setImmediate = calmImmediate as typeof setImmediate;
  try {
    return call();
  } finally {
    globalThis.setImmediate = original;
  }
}

/**
 * Polls at once for a millisecond, or a few, then ever less often: a result is noticed at most a sixteenth of its time late,
 * or the millisecond that timers take at least.
 */
function calmImmediate(poll: () => void): unknown {
  const again = () => withCalmImmediate(poll);
  const elapsedMilliseconds = performance.now() - waitingSince;
  if (elapsedMilliseconds < eagerMilliseconds) return nodeSetImmediate(again);
  return setTimeout(again, Math.min(8, elapsedMilliseconds / 16));
}

const nodeSetImmediate = globalThis.setImmediate;
