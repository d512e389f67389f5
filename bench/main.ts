import { DetrError } from '../engine/index.ts';
import { benchEventLoop } from './event-loop.ts';
import { benchKernels } from './kernels.ts';
import { benchModel } from './model.ts';

const usage = `usage: npm run bench -- COMMAND [options]

  kernels [NAME…] [--device cpu|webgpu|auto] [--threads N] [--json]
      every kernel at the shapes that the models use, or the named ones: ms, GFLOP/s, GB/s
  model --model synthetic:NAME|DIR [--size HxW] [--batch N] [--device …] [--threads N] [--runs N] [--json]
      whole forward passes: median and minimum, GFLOP/s, time by stage and by kernel, peak bytes
  event-loop --model … [--size HxW] [--device …] [--threads N] [--runs N]
      the longest delay of the event loop, live bytes and resident memory over repeated forward passes

A kernel's name alone is short for "kernels NAME".`;

const commands: Readonly<Record<string, (args: string[]) => Promise<void>>> = {
  kernels: benchKernels,
  model: benchModel,
  'event-loop': benchEventLoop,
};

const [command = 'help', ...args] = process.argv.slice(2);
try {
  if (command === 'help' || command === '--help') console.log(usage);
  else if (commands[command] !== undefined) await commands[command](args);
  else await benchKernels([command, ...args]);
} catch (error) {
  if (!(error instanceof DetrError) && !(error instanceof TypeError)) throw error;
  console.error(`${error.message}\n\n${usage}`);
  process.exitCode = 2;
}
