import { parentPort, workerData } from 'node:worker_threads';
import { type BatchMessage, type DoneMessage, WORDS_PER_LAUNCH, Word, type WorkerData } from './protocol.ts';

/** Looks at a flag this often before the thread goes to sleep on it. */
const SPINS = 4000;

type KernelFunction = (args: number, task: number, scratch: number) => void;

const { module, memory, entries, workers } = workerData as WorkerData;
const instance = new WebAssembly.Instance(module, { env: { memory, abort } });
const kernels = entries.map(entry => instance.exports[entry] as KernelFunction);

function abort(): never {
  throw new Error('the kernel aborted');
}

function waitUntilSet(words: Int32Array, index: number): void {
  for (let spin = 0; spin < SPINS; spin++) if (Atomics.load(words, index) !== 0) return;
  while (Atomics.load(words, index) === 0) Atomics.wait(words, index, 0);
}

function runBatch({ batch, startMilliseconds, launches, count, scratch }: BatchMessage): DoneMessage {
  memory.grow(0); // Another thread may have grown it; this brings `buffer` up to date.
  const words = new Int32Array(memory.buffer);
  let error: DoneMessage['error'];
  for (let launch = 0; launch < count; launch++) {
    const record = launches / 4 + launch * WORDS_PER_LAUNCH;
    const kernel = kernels[words[record + Word.entry]!]!;
    const tasks = words[record + Word.tasks]!;
    const args = words[record + Word.args]! >>> 0;
    try {
      for (;;) {
        const task = Atomics.add(words, record + Word.counter, 1);
        if (task >= tasks) break;
        kernel(args, task, scratch);
      }
    } catch (trap) {
      error ??= { launch, message: trap instanceof Error ? trap.message : String(trap) };
    }
    if (Atomics.add(words, record + Word.arrivals, 1) === workers - 1) {
      const elapsedMilliseconds = performance.timeOrigin + performance.now() - startMilliseconds;
      words[record + Word.endMicroseconds] = Math.round(elapsedMilliseconds * 1000);
      Atomics.store(words, record + Word.done, 1);
      Atomics.notify(words, record + Word.done);
    } else {
      waitUntilSet(words, record + Word.done);
    }
  }
  return error === undefined ? { batch } : { batch, error };
}

parentPort!.on('message', (message: BatchMessage) => {
  parentPort!.postMessage(runBatch(message));
});
