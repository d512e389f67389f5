import { convertCheckpoint } from '../../weights/convert.ts';
import { defineCommand, exitCodes } from '../command.ts';
import { download, isOnHub } from '../models.ts';
import { flag, text } from '../options.ts';
import { formatBytes, plural, printable } from '../terminal.ts';

export const convert = defineCommand({
  name: 'convert',
  summary: 'Write any checkpoint as a clean folder with model.safetensors',
  operands: 'SOURCE DESTINATION',
  minimumOperands: 2,
  maximumOperands: 2,
  description: [
    "SOURCE is a model folder, a safetensors or PyTorch file (.bin, .pth; read without executing anything), the index of a sharded checkpoint, or a model on the hub, with the tensor names of any dialect: the hub's, transformers 5's or the original repositories'. DESTINATION is a folder that does not exist yet or is empty; it appears whole or not at all. Types and values stay as they are.",
  ],
  options: {
    config: text('FILE', 'A config.json for weights that come without one'),
    revision: text('REVISION', 'Branch, tag or commit of a model on the hub'),
    json: flag('Print JSON'),
  },
  examples: [
    ['pytorch_model.bin detr-resnet-50 --config config.json', 'A PyTorch file as safetensors'],
    ['detr-r50-e632da11.pth detr-r50 --config config.json', "The original repository's checkpoint under hub names"],
  ],
  async run({ config, revision, json }, [source, destination], { signal }) {
    const local = isOnHub(source!) ? await download(source!, revision, signal) : source!;
    const result = await convertCheckpoint(local, destination!, { signal, ...(config !== undefined && { config }) });
    if (json) {
      process.stdout.write(`${JSON.stringify(result)}\n`);
      return exitCodes.success;
    }
    const { folder, tensorCount, bytes, dropped, companions } = result;
    process.stdout.write(`${printable(folder)}: ${plural(tensorCount, 'tensor')}, ${formatBytes(bytes)}\n`);
    if (companions.length > 0) process.stdout.write(`  with ${companions.join(', ')}\n`);
    if (dropped.length > 0) {
      const shown = dropped.slice(0, 5).join(', ') + (dropped.length > 5 ? ', …' : '');
      process.stdout.write(
        `  left out ${plural(dropped.length, 'stored tensor')} that models do not use: ${printable(shown)}\n`,
      );
    }
    if (!companions.includes('config.json')) {
      process.stdout.write('  there is no config.json yet: the folder cannot be loaded without one (see --config)\n');
    }
    return exitCodes.success;
  },
});
