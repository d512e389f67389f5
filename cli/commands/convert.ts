import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { listNames } from '../../engine/describe.ts';
import { modelClass, modelClasses } from '../../models/auto.ts';
import { openCheckpoint } from '../../weights/checkpoint.ts';
import { convertCheckpoint } from '../../weights/convert.ts';
import { readJson } from '../../weights/json-file.ts';
import { matchCheckpoint } from '../../weights/match.ts';
import { defineCommand, exitCodes } from '../command.ts';
import { locateModel, revisionOption } from '../models.ts';
import { flag, text } from '../options.ts';
import { formatBytes, plural, printable } from '../terminal.ts';

export const convert = defineCommand({
  name: 'convert',
  summary: 'Write any checkpoint as a clean folder with model.safetensors',
  operands: 'SOURCE DESTINATION',
  minimumOperands: 2,
  maximumOperands: 2,
  description: [
    "SOURCE is a model folder, a safetensors or PyTorch file (.bin, .pth; read without executing anything), the index of a sharded checkpoint, or a model by its name (embedded, or on the hub), with the tensor names of any dialect: the hub's, transformers 5's or the original repositories'. DESTINATION is a folder that does not exist yet or is empty; it appears whole or not at all. Types and values stay as they are. Weights that do not fit a config.json of a model class known here are refused.",
  ],
  options: {
    config: text('FILE', 'A config.json for weights that come without one'),
    ...revisionOption,
    json: flag('Print JSON'),
  },
  examples: [
    ['pytorch_model.bin detr-resnet-50 --config config.json', 'A PyTorch file as safetensors'],
    ['detr-r50-e632da11.pth detr-r50 --config config.json', "The original repository's checkpoint under hub names"],
  ],
  async run({ config, revision, json }, [source, destination], { signal }) {
    const path = await locateModel(source!, revision, signal);
    await checkFit(path, config);
    const result = await convertCheckpoint(path, destination!, { signal, ...(config !== undefined && { config }) });
    if (json) {
      process.stdout.write(`${JSON.stringify(result)}\n`);
      return exitCodes.success;
    }
    const { folder, tensorCount, bytes, dropped, companions } = result;
    process.stdout.write(`${printable(folder)}: ${plural(tensorCount, 'tensor')}, ${formatBytes(bytes)}\n`);
    if (companions.length > 0) process.stdout.write(`  with ${companions.join(', ')}\n`);
    if (dropped.length > 0) {
      const shown = listNames(dropped, 5);
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

/**
 * Checks that the folder can be loaded: that the tensors are those of the class that config.json names, if there is such a
 * file and such a class. @throws FileError, listing what does not fit as loading does; ConfigError naming the key
 */
async function checkFit(source: string, config: string | undefined): Promise<void> {
  const checkpoint = await openCheckpoint(source);
  try {
    const home = (await stat(source)).isDirectory() ? source : dirname(source);
    const file = config ?? join(home, 'config.json');
    if (config === undefined && !existsSync(file)) return;
    const raw = await readJson(file);
    const [architecture] = Array.isArray(raw.architectures) ? raw.architectures : [];
    if (typeof architecture !== 'string' || !Object.hasOwn(modelClasses, architecture)) return;
    const Model = modelClass(architecture);
    const model = new Model(Model.readConfig(raw) as never);
    matchCheckpoint(checkpoint, model.parameters(), { ...model.config, mayHoldHeads: model.isBare });
  } finally {
    await checkpoint.close();
  }
}
