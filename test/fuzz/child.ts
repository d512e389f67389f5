// The process in which a target runs: node child.js TARGET SEED BEGIN END CAREFUL
import { watchAllocations } from './allocation.ts';

/** More than any input of at most a mebibyte may need in one piece. */
const MAXIMUM_ALLOCATION_BYTES = 2 ** 28;

const takeExcess = watchAllocations(MAXIMUM_ALLOCATION_BYTES);
const { runTarget } = await import('./run.ts');
const { fuzzTargets } = await import('./targets.ts');

const [name, seed, begin, end, isCareful] = process.argv.slice(2) as [string, string, string, string, string];
const { target } = await fuzzTargets[name]!();
let toldAt = 0;
const report = await runTarget(
  name,
  target,
  { seed: Number(seed), begin: Number(begin), end: Number(end) },
  takeExcess,
  index => {
    const now = performance.now();
    if (isCareful !== 'true' && now - toldAt < 100) return;
    toldAt = now;
    process.send!({ index });
  },
);
process.send!({ report }, () => process.exit(0));
