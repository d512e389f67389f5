// Fuzzing by command: npm run fuzz -- --help
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { listOf, number, type Option, text } from '../../cli/options.ts';
import { OptionError } from '../../engine/errors.ts';
import { didYouMean } from '../../weights/suggest.ts';
import { toolOptions } from '../support/tool.ts';
import { fuzzInput } from './run.ts';
import { superviseTarget } from './supervise.ts';
import { fuzzTargets } from './targets.ts';

const names = Object.keys(fuzzTargets);
const target: Option<readonly string[]> = {
  help: `What to fuzz, separated by commas: ${names.join(', ')} (default: all)`,
  placeholder: 'NAMES',
  fallback: names,
  parse: list =>
    list.split(',').map(name => {
      if (names.includes(name)) return name;
      throw new OptionError(`expected ${listOf(names)}, got ${name}${didYouMean(name, names)}`);
    }),
};
const count = { minimum: 0, integer: true };
const { runs, seed, only, out, ...values } = toolOptions('npm run fuzz --', {
  runs: number('N', count, 'Inputs for each target', 20_000),
  target,
  seed: number('S', count, 'Other seeds give other inputs', 1),
  only: number('INDEX', count, 'Run a single input, and keep it as a file'),
  out: text('DIR', 'Where inputs with findings are kept', join('.out', 'fuzz')),
});

const begin = only ?? 0;
const end = only === undefined ? runs : begin + 1;
let total = 0;
let findingCount = 0;
for (const name of values.target) {
  const started = performance.now();
  const report = await superviseTarget(name, { seed, begin, end });
  const seconds = (performance.now() - started) / 1000;
  total += report.runs;
  findingCount += report.findings.length;
  const counts = `${report.runs} inputs, ${report.accepted} accepted, ${report.refused} refused`;
  const times = `${seconds.toFixed(1)} s, slowest ${report.slowestMilliseconds.toFixed(0)} ms`;
  console.log(`${name.padEnd(20)} ${counts}, ${report.findings.length} findings; ${times}`);
  const indices = new Set([...report.findings.map(({ index }) => index), ...(only === undefined ? [] : [begin])]);
  for (const index of indices) {
    if (index < 0) continue;
    const path = join(out, `${name}-${seed}-${index}`);
    const { target } = await fuzzTargets[name]!();
    mkdirSync(out, { recursive: true });
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
