// Fuzzing by command: npm run fuzz -- [--runs N] [--target NAME]… [--seed S] [--only INDEX]
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fuzzInput } from './run.ts';
import { superviseTarget } from './supervise.ts';
import { fuzzTargets } from './targets.ts';

const { values } = parseArgs({
  options: {
    /** Inputs for each target. */
    runs: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '1' },
    target: { type: 'string', multiple: true },
    /** Runs a single input, and keeps it as a file. */
    only: { type: 'string' },
    /** Where inputs with findings are kept. */
    out: { type: 'string', default: join('.out', 'fuzz') },
  },
});
const seed = Number(values.seed);
const names = values.target ?? Object.keys(fuzzTargets);
for (const name of names) {
  if (fuzzTargets[name] === undefined) {
    console.error(`--target: expected one of ${Object.keys(fuzzTargets).join(', ')}, got ${name}`);
    process.exit(2);
  }
}

const begin = values.only === undefined ? 0 : Number(values.only);
const end = values.only === undefined ? Number(values.runs) : begin + 1;
let total = 0;
let findingCount = 0;
for (const name of names) {
  const started = performance.now();
  const report = await superviseTarget(name, { seed, begin, end });
  const seconds = (performance.now() - started) / 1000;
  total += report.runs;
  findingCount += report.findings.length;
  const counts = `${report.runs} inputs, ${report.accepted} accepted, ${report.refused} refused`;
  const times = `${seconds.toFixed(1)} s, slowest ${report.slowestMilliseconds.toFixed(0)} ms`;
  console.log(`${name.padEnd(20)} ${counts}, ${report.findings.length} findings; ${times}`);
  const indices = new Set([
    ...report.findings.map(({ index }) => index),
    ...(values.only === undefined ? [] : [begin]),
  ]);
  for (const index of indices) {
    if (index < 0) continue;
    const path = join(values.out, `${name}-${seed}-${index}`);
    const { target } = await fuzzTargets[name]!();
    mkdirSync(values.out, { recursive: true });
    writeFileSync(path, fuzzInput(name, target, await target.seeds(), seed, index));
    console.log(`  input kept: ${path}`);
  }
  for (const { index, problem } of report.findings) {
    console.log(
      `  finding: --target ${name} --seed ${seed} --only ${index}\n    ${problem.replaceAll('\n', '\n    ')}`,
    );
  }
}
console.log(`${total} inputs, ${findingCount} findings`);
process.exitCode = findingCount > 0 ? 1 : 0;
