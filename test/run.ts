// Runs every test file of the project: node scripts/with-adapter.mjs node dist/test/run.js [--verbose] [NAME…]
// A NAME picks the files whose path contains it.
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type FileReport, runTestFiles, type TestFile } from './runner.ts';

const { values: options, positionals: names } = parseArgs({
  options: { verbose: { type: 'boolean', default: false }, 'time-limit': { type: 'string', default: '900' } },
  allowPositionals: true,
});

// The sources say which tests there are, so that a test which no longer exists is not run from an old build and a test
// that was not built is a failure.
const root = fileURLToPath(new URL('../..', import.meta.url));
const files: TestFile[] = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
  .filter(path => path.endsWith('.test.ts') && (names.length === 0 || names.some(name => path.includes(name))))
  .sort()
  .map(path => ({ name: path.replace(/\.ts$/, ''), path: join(root, 'dist/test', path.replace(/\.ts$/, '.js')) }));
const unbuilt = files.filter(file => !existsSync(file.path));
if (files.length === 0 || unbuilt.length > 0) {
  console.error(files.length === 0 ? 'no test file fits' : `not built: ${unbuilt.map(file => file.name).join(', ')}`);
  console.log('\n0 passed, 1 failed');
  process.exit(1);
}

const nameWidth = Math.max(...files.map(file => file.name.length));
function show(report: FileReport) {
  const seconds = (report.elapsedMilliseconds / 1000).toFixed(1).padStart(6);
  const counts = [`${String(report.passed).padStart(5)} passed`];
  if (report.failed > 0) counts.push(`${report.failed} failed`);
  if (report.skipped > 0) counts.push(`${report.skipped} skipped`);
  if (report.trouble !== undefined) counts.push(report.trouble);
  console.log(`${report.failed > 0 ? '✘' : '✔'} ${report.name.padEnd(nameWidth)} ${seconds} s  ${counts.join(', ')}`);
  // What a test could not check (data that is not in the repository) is said even when everything else passes.
  const shown =
    options.verbose || report.failed > 0 ? report.output : (report.output.match(/SKIPPED .*$/gm) ?? []).join('\n');
  if (shown.trim() !== '') console.log(shown.trimEnd().replace(/^/gm, '    '));
}

/** The longest files start first, so that no core waits for them at the end. */
const startFirst = ['kernels/kernels.test', 'models/parity.test', 'kernels/plain-simd.test'];
/** Files that measure time have the machine to themselves. */
const runAlone = ['engine/webgpu-device.test'];

const started = performance.now();
const timeLimitMilliseconds = 1000 * Number(options['time-limit']);
const together = files.filter(({ name }) => !runAlone.includes(name));
const urgency = ({ name }: TestFile) => (startFirst.includes(name) ? startFirst.indexOf(name) : startFirst.length);
const inOrder = together.toSorted((a, b) => urgency(a) - urgency(b));
const alone = files.filter(({ name }) => runAlone.includes(name));
const jobs = Math.min(2, availableParallelism());
const reports = [
  ...(await runTestFiles(inOrder, { jobs, timeLimitMilliseconds, onReport: show })),
  ...(await runTestFiles(alone, { jobs: 1, timeLimitMilliseconds, onReport: show })),
];
const sum = (pick: (report: FileReport) => number) => reports.reduce((total, report) => total + pick(report), 0);
const passed = sum(report => report.passed);
const failed = sum(report => report.failed);
const broken = reports.filter(report => report.failed > 0);
if (broken.length > 0) console.log(`\nfailed: ${broken.map(report => report.name).join(', ')}`);
console.log(`\n${files.length} files in ${((performance.now() - started) / 1000).toFixed(0)} s`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
