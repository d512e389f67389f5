#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { DetrError, OptionError } from '../engine/errors.ts';
import { fileSystemError } from '../weights/files.ts';
import { didYouMean } from '../weights/suggest.ts';
import { type Command, exitCodes } from './command.ts';
import { describeOptions, parseCommandLine } from './options.ts';
import { formatTable, plural, printableLines, wrap } from './terminal.ts';

const commands: Readonly<Record<string, () => Promise<Command>>> = {
  detect: async () => (await import('./commands/detect.ts')).detect,
  segment: async () => (await import('./commands/segment.ts')).segment,
  evaluate: async () => (await import('./commands/evaluate.ts')).evaluate,
  parity: async () => (await import('./commands/parity.ts')).parity,
  convert: async () => (await import('./commands/convert.ts')).convert,
  inspect: async () => (await import('./commands/inspect.ts')).inspect,
  devices: async () => (await import('./commands/devices.ts')).devices,
};

const width = Math.min(100, process.stdout.columns || 100);

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined) {
    process.stderr.write(await overview());
    return exitCodes.usage;
  }
  if (name === '--version' || name === '-v') {
    process.stdout.write(`${packageVersion()}\n`);
    return exitCodes.success;
  }
  if (name === '--help' || name === '-h' || (name === 'help' && rest.length === 0)) {
    process.stdout.write(await overview());
    return exitCodes.success;
  }
  if (name === 'help') return main([rest[0]!, '--help']);
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (load === undefined) {
    const what = name.startsWith('-') ? 'option' : 'command';
    const known = Object.keys(commands);
    fail('detr-webgpu', `unknown ${what} ${name}${didYouMean(name, known)}`, 'detr-webgpu --help');
    return exitCodes.usage;
  }
  return runCommand(await load(), rest);
}

async function runCommand(command: Command, args: readonly string[]): Promise<number> {
  const program = `detr-webgpu ${command.name}`;
  try {
    const { values, given, positionals, help } = parseCommandLine(args, command.options);
    if (help) {
      process.stdout.write(helpOf(command));
      return exitCodes.success;
    }
    checkOperands(command, positionals);
    return await withInterrupt(signal => command.run(values, positionals, { signal, given }));
  } catch (error) {
    if (error instanceof OptionError) {
      fail(program, error.message, `${program} --help`);
      return exitCodes.usage;
    }
    report(program, error);
    return exitCodes.failure;
  }
}

function checkOperands(
  { operands, minimumOperands, maximumOperands = Number.POSITIVE_INFINITY }: Command,
  given: readonly string[],
): void {
  if (given.includes('')) throw new OptionError(`expected ${operands}, got an empty one`);
  if (given.length < minimumOperands) {
    throw new OptionError(`expected ${operands}, got ${given.length === 0 ? 'nothing' : given.join(' ')}`);
  }
  if (given.length > maximumOperands) {
    const expected = maximumOperands === 0 ? 'no operands' : operands;
    throw new OptionError(`expected ${expected}, got ${plural(given.length, 'operand')}: ${given.join(' ')}`);
  }
}

/** The first Ctrl-C (or SIGTERM) asks the command to stop in good order, the second ends the process at once. */
async function withInterrupt(run: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const controller = new AbortController();
  let stopped: number = exitCodes.interrupted;
  const interrupt = (signal: NodeJS.Signals) => {
    stopped = signal === 'SIGTERM' ? exitCodes.terminated : exitCodes.interrupted;
    if (controller.signal.aborted) process.exit(stopped);
    controller.abort();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  try {
    const exitCode = await run(controller.signal);
    return exitCode === exitCodes.interrupted ? stopped : exitCode; // It may have come to its end all the same.
  } catch (error) {
    if (controller.signal.aborted && error === controller.signal.reason) return stopped;
    throw error;
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}

/** A DetrError's message says it all; anything else is a bug of ours. */
function report(program: string, error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof DetrError) fail(program, message);
  else fail(program, `internal error: ${message}`, 'the same with DEBUG=1 for the stack trace');
  if (process.env.DEBUG)
    process.stderr.write(`${printableLines(String(error instanceof Error ? error.stack : error))}\n`);
}

function fail(program: string, message: string, hint?: string): void {
  process.stderr.write(`${program}: ${printableLines(message)}\n`);
  if (hint !== undefined) process.stderr.write(`Try: ${hint}\n`);
}

async function overview(): Promise<string> {
  const rows: string[][] = [];
  for (const load of Object.values(commands)) {
    const { name, summary } = await load();
    rows.push([`  ${name}`, summary]);
  }
  const table = formatTable([{ title: 'Commands:' }, { title: '' }], rows);
  return `Usage: detr-webgpu COMMAND [options]

${wrap('Object detection and segmentation with DETR, Conditional DETR and Deformable DETR.', width).join('\n')}

${table}
  detr-webgpu COMMAND --help   options and examples of a command
  detr-webgpu --version        ${packageVersion()}
`;
}

function helpOf({ name, operands, description, options, examples }: Command): string {
  const usage = ['Usage: detr-webgpu', name, operands, '[options]'].filter(part => part !== '').join(' ');
  const paragraphs = description.map(paragraph => wrap(paragraph, width).join('\n'));
  const exampleLines = examples.flatMap(([command, does]) => [
    `  # ${does}`,
    `  detr-webgpu ${name} ${command}`.trimEnd(),
  ]);
  return `${[usage, ...paragraphs, `Options:\n${describeOptions(options, width)}`, `Examples:\n${exampleLines.join('\n')}`].join('\n\n')}\n`;
}

function packageVersion(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

// `detr-webgpu … | head` closes the pipe: that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCodes.success);
  report('detr-webgpu', fileSystemError('standard output', error));
  process.exit(exitCodes.failure);
});
process.stderr.on('error', () => {}); // there is nobody left to tell

process.exitCode = await main(process.argv.slice(2));
