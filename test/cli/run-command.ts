import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { repositoryRoot } from '../support/data.ts';

export interface Finished {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly workingFolder?: string;
  /** Called with the running process. */
  readonly during?: (child: ChildProcess) => void;
}

/** Runs `detr-webgpu` in a process of its own, as a user would. */
export function detrWebgpu(args: readonly string[], options: CommandOptions = {}): Promise<Finished> {
  const { DEBUG: _, ...environment } = process.env;
  const child = spawn(process.execPath, [join(repositoryRoot, 'dist/cli/main.js'), ...args], {
    cwd: options.workingFolder ?? repositoryRoot,
    env: { ...environment, ...options.environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', text => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', text => {
    stderr += text;
  });
  options.during?.(child);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode, signal) => resolve({ exitCode, signal, stdout, stderr }));
  });
}

/** The lines of a `--json` output. */
export function jsonLines<Line>(text: string): Line[] {
  return text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Line);
}
