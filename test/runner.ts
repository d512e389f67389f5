import { spawn } from 'node:child_process';

/** What one test file did. */
export interface FileReport {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly elapsedMilliseconds: number;
  /** Why the file failed beyond its failed tests: a crash, a time limit, no tests at all. */
  readonly trouble?: string;
  /** Standard output and standard error together, in the order they came. */
  readonly output: string;
}

export interface TestFile {
  /** How reports call the file. */
  readonly name: string;
  /** The JavaScript file to run. */
  readonly path: string;
}

export interface RunOptions {
  /** Files at once. */
  readonly jobs: number;
  /** Milliseconds after which a file is killed and counts as failed. */
  readonly timeLimitMilliseconds: number;
  readonly environment?: NodeJS.ProcessEnv;
  /** Called as each file ends. */
  readonly onReport?: (report: FileReport) => void;
}

/**
 * Runs uvu test files, each in a process of its own, and returns their reports in the order of `files`.
 *
 * A file that crashes, runs past the time limit or holds no test counts as (at least) one failed test.
 */
export async function runTestFiles(files: readonly TestFile[], options: RunOptions): Promise<FileReport[]> {
  const reports: FileReport[] = new Array(files.length);
  const waiting = files.entries();
  const work = async () => {
    for (const [index, file] of waiting) {
      const report = await runTestFile(file, options);
      reports[index] = report;
      options.onReport?.(report);
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, work));
  return reports;
}

function runTestFile(file: TestFile, options: RunOptions): Promise<FileReport> {
  const started = performance.now();
  const child = spawn(process.execPath, ['--enable-source-maps', file.path], {
    env: { ...(options.environment ?? process.env), NO_COLOR: '1', FORCE_COLOR: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // a process group of its own, so that a hanging test's own children end with it
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', chunk => chunks.push(chunk));
  child.stderr.on('data', chunk => chunks.push(chunk));
  const endGroup = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {} // the group is gone already
  };
  process.once('exit', endGroup);

  return new Promise(resolve => {
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      endGroup();
    }, options.timeLimitMilliseconds);
    child.on('error', error => chunks.push(Buffer.from(`${error.message}\n`)));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      process.off('exit', endGroup);
      const output = Buffer.concat(chunks).toString();
      const counts = readCounts(output);
      const troubles: string[] = [];
      if (timedOut) troubles.push(`not finished after ${options.timeLimitMilliseconds / 1000} s`);
      else if (code !== 0 && counts.failed === 0) troubles.push(`ended with ${signal ?? `exit code ${code}`}`);
      if (counts.passed + counts.failed === 0) troubles.push('ran no tests');
      resolve({
        name: file.name,
        ...counts,
        failed: troubles.length > 0 ? Math.max(1, counts.failed) : counts.failed,
        elapsedMilliseconds: performance.now() - started,
        ...(troubles.length > 0 ? { trouble: troubles.join(', ') } : {}),
        output,
      });
    });
  });
}

/** Reads the last summary that uvu printed; all zero when there is none. */
function readCounts(output: string): { passed: number; failed: number; skipped: number } {
  const summaries = [...output.matchAll(/^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n {2}Skipped: +(\d+)$/gm)];
  const [, total, passed, skipped] = summaries.at(-1)?.map(Number) ?? [];
  if (total === undefined || passed === undefined || skipped === undefined) return { passed: 0, failed: 0, skipped: 0 };
  return { passed, failed: total - passed, skipped };
}
