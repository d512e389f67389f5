import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { FuzzRange, FuzzReport } from './run.ts';

/** No input may keep the process silent for so long. */
const SILENCE_MILLISECONDS = 30_000;
const HEAP_MEGABYTES = 1024;

type Message = { readonly index: number } | { readonly report: FuzzReport };

interface Ending {
  readonly lastIndex: number;
  readonly report?: FuzzReport;
  readonly problem?: string;
}

/** Runs a target in a process of its own, so that a crash or a hang is a finding and not the end. */
export async function superviseTarget(name: string, range: FuzzRange): Promise<FuzzReport> {
  const ending = await runChild(name, range, false);
  if (ending.report !== undefined) return ending.report;
  // Once more from where it was last heard of, one step at a time, to learn which input it was.
  const again = await runChild(name, { ...range, begin: ending.lastIndex }, true);
  const problem = again.problem ?? `${ending.problem}, but not again`;
  const index = again.problem === undefined ? ending.lastIndex : again.lastIndex;
  const runs = index - range.begin;
  return { runs, accepted: 0, refused: 0, slowestMilliseconds: 0, findings: [{ index, problem }] };
}

function runChild(name: string, { seed, begin, end }: FuzzRange, isCareful: boolean): Promise<Ending> {
  const child = fork(
    fileURLToPath(new URL('child.js', import.meta.url)),
    [name, seed, begin, end, isCareful].map(String),
    {
      execArgv: [`--max-old-space-size=${HEAP_MEGABYTES}`, '--unhandled-rejections=strict'],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    },
  );
  return new Promise(resolve => {
    let lastIndex = begin;
    let report: FuzzReport | undefined;
    let problem: string | undefined;
    let standardError = '';
    const hang = () => {
      problem = `silent for ${SILENCE_MILLISECONDS / 1000} s`;
      child.kill('SIGKILL');
    };
    let timer = setTimeout(hang, SILENCE_MILLISECONDS);
    child.stderr!.on('data', chunk => {
      standardError = (standardError + chunk).slice(-1500);
    });
    child.on('message', (message: Message) => {
      clearTimeout(timer);
      timer = setTimeout(hang, SILENCE_MILLISECONDS);
      if ('index' in message) lastIndex = message.index;
      else report = message.report;
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (report !== undefined) resolve({ lastIndex, report });
      else resolve({ lastIndex, problem: problem ?? `the process ended with ${signal ?? code}: ${standardError}` });
    });
  });
}
