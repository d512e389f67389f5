import { choice, describeOptions, flag, number, parseCommandLine, text } from '../../../cli/options.ts';
import { printable } from '../../../cli/terminal.ts';
import type { FuzzTarget } from '../target.ts';

const options = {
  model: text('NAME', 'A model'),
  outputFolder: text('DIR', 'A folder', 'out'),
  threshold: number('SCORE', { minimum: 0, maximum: 1 }, 'A score', 0.9),
  batchSize: number('N', { minimum: 1, maximum: 64, integer: true }, 'A count', 1),
  threads: number('N', { minimum: 1, integer: true }, 'A count'),
  device: choice(['auto', 'webgpu', 'cpu'], 'A device', 'auto'),
  json: flag('A flag'),
  quiet: flag('Another flag'),
};

/** Arguments, one a line. */
export const target: FuzzTarget = {
  seeds: () =>
    [
      ['photo.jpg', '--model', 'facebook/detr-resnet-50', '--threshold', '0.5', '--json'],
      ['--batch-size=4', '--threads', '2', '--device', 'cpu', 'a.png', 'b.png', '--', '--model'],
      ['-h', '--output-folder', 'boxes', '--quiet', '-'],
    ].map(args => new TextEncoder().encode(args.join('\n'))),
  words: [
    ...['\n--model\n', '\n--threshold=', '--', '-', '=', '\n', '--no-json', '--help', '-h', '--json=true', '-hx'],
    ...['1e5', '-1', 'NaN', 'Infinity', '0x10', '--__proto__', '--constructor=1', '--toString', '--device', 'gpu', 'é'],
  ],
  run: input => {
    const args = new TextDecoder().decode(input).split('\n');
    const { values, positionals } = parseCommandLine(args, options);
    if (Object.keys(values).sort().join() !== Object.keys(options).sort().join()) throw new Error('other options');
    const { threshold, batchSize, threads, device, json, model, outputFolder } = values;
    if (!(threshold >= 0 && threshold <= 1)) throw new Error(`threshold ${threshold}`);
    if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > 64) throw new Error(`batch size ${batchSize}`);
    if (threads !== undefined && !Number.isInteger(threads)) throw new Error(`threads ${threads}`);
    if (!['auto', 'webgpu', 'cpu'].includes(device) || typeof json !== 'boolean') throw new Error('other types');
    if (model === '' || outputFolder === '') throw new Error('an empty value');
    if (positionals.some(positional => !args.includes(positional))) throw new Error('an operand that was not given');
    for (const argument of args) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must not reach a terminal
      if (/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/.test(printable(argument))) throw new Error('a control character');
    }
    describeOptions(options, 80);
  },
};
