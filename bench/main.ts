import { describeOptions } from '../cli/options.ts';
import { DetrError, OptionError } from '../engine/index.ts';
import { benchEventLoop } from './event-loop.ts';
import { benchKernels, howKernelsAreTimed } from './kernels.ts';
import { benchModel } from './model.ts';
import { type BenchOptions, benchOptions, options } from './options.ts';

const usage = () => `usage: npm run bench -- COMMAND [options]

  kernels [NAME…]  every kernel at the shapes that the models use, or the named ones: ms, GFLOP/s, GB/s;
                   ${howKernelsAreTimed}
  model            whole forward passes: median and minimum, GFLOP/s, time by stage and by kernel, peak bytes
  event-loop       the longest delay of the event loop, live bytes and resident memory over repeated forward passes

A kernel's name alone is short for "kernels NAME".

Options:
${describeOptions(options, 100)}`;

const commands: Readonly<Record<string, (options: BenchOptions) => Promise<void>>> = {
  kernels: benchKernels,
  model: benchModel,
  'event-loop': benchEventLoop,
};

// `… | head` closes the pipe: that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

const [command = 'help', ...args] = process.argv.slice(2);
const bench = Object.hasOwn(commands, command) ? commands[command] : undefined;
try {
  const given = benchOptions(bench === undefined ? [command, ...args] : args);
  if (command === 'help' || given.help) console.log(usage());
  else if (bench !== undefined && bench !== benchKernels && given.names.length > 0)
    throw new OptionError(
      `${command}: expected options only, got ${given.names.join(' ')}; a model is named by --model`,
    );
  else await (bench ?? benchKernels)(given);
} catch (error) {
  if (!(error instanceof DetrError)) throw error;
  console.error(error instanceof OptionError ? `${error.message}\n\n${usage()}` : error.message);
  process.exitCode = 2;
}
