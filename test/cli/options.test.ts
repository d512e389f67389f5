import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  checkEffect,
  choice,
  describeOptions,
  flag,
  listOf,
  number,
  parseCommandLine,
  text,
} from '../../cli/options.ts';
import { OptionError } from '../../engine/errors.ts';

const options = {
  model: text('NAME', 'Which model', 'small'),
  out: text('DIR', 'Where to'),
  threshold: number('SCORE', { minimum: 0, maximum: 1 }, 'Least score'),
  batch: number('N', { minimum: 1, integer: true }, 'Pictures at once', 1),
  device: choice(['auto', 'cpu', 'webgpu'], 'Where to compute', 'auto'),
  json: flag('JSON'),
  maskThreshold: number('P', { minimum: 0, maximum: 1 }, 'Least probability', 0.5),
};
const parse = (...args: string[]) => parseCommandLine(args, options);
const refuses = (args: string[], message: string) =>
  assert.throws(
    () => parse(...args),
    (error: unknown) => error instanceof OptionError && error.message === message,
    `${args.join(' ')} should be refused with: ${message}`,
  );

test('defaults hold for what is not given', () => {
  assert.equal(parse('a.png', 'b.png'), {
    values: {
      model: 'small',
      out: undefined,
      threshold: undefined,
      batch: 1,
      device: 'auto',
      json: false,
      maskThreshold: 0.5,
    },
    given: new Set(),
    positionals: ['a.png', 'b.png'],
    help: false,
  });
});

test('what was given is known, even with its default, and refused where it has no effect', () => {
  const { given } = parse('--mask-threshold', '0.5', '--json', '-h');
  assert.equal(given, new Set(['maskThreshold', 'json']));
  const masks = { needed: '--task panoptic', got: '--task detection' };
  checkEffect(given, ['threshold', 'batch'], masks);
  assert.throws(
    () => checkEffect(given, ['threshold', 'maskThreshold'], masks),
    (error: unknown) =>
      error instanceof OptionError &&
      error.message === '--mask-threshold: expected only with --task panoptic, got --task detection',
  );
});

test('values are read in both spellings and turned into their types', () => {
  const { values, positionals } = parse(
    '--threshold=.25',
    'x',
    '--batch',
    '4',
    '--json',
    '--mask-threshold',
    '1e-1',
    '--device=cpu',
  );
  assert.equal(
    [values.threshold, values.batch, values.json, values.maskThreshold, values.device],
    [0.25, 4, true, 0.1, 'cpu'],
  );
  assert.equal(positionals, ['x']);
  assert.equal(parse('--', '--json').positionals, ['--json']);
  assert.ok(parse('-h').help && parse('x', '--help').help);
});

test('unknown options are refused with the nearest known one', () => {
  refuses(['--treshold', '0.5'], 'unknown option --treshold, did you mean "--threshold"?');
  refuses(['--thres=0.5'], 'unknown option --thres, did you mean "--threshold"?');
  refuses(['--jsno'], 'unknown option --jsno, did you mean "--json"?');
  refuses(['--hlep'], 'unknown option --hlep, did you mean "--help"?');
  refuses(['--maskThreshold', '1'], 'unknown option --maskThreshold, did you mean "--mask-threshold"?');
  refuses(['--completely-different'], 'unknown option --completely-different');
  refuses(['-x'], 'unknown option -x');
  refuses(['-h--json'], 'unknown option -h--json, did you mean "--json"?');
  refuses(['--__proto__'], 'unknown option --__proto__');
  refuses(['--constructor'], 'unknown option --constructor');
});

test('impossible values are refused with what was expected', () => {
  refuses(['--threshold', '1.5'], '--threshold: expected a number from 0 to 1, got "1.5"');
  refuses(['--threshold', '-0.1'], '--threshold: expected a number from 0 to 1, got "-0.1"');
  for (const value of ['', 'abc', 'NaN', 'Infinity', '0x1', '1,5', ' 1', '1e999']) {
    refuses([`--threshold=${value}`], `--threshold: expected a number from 0 to 1, got ${JSON.stringify(value)}`);
  }
  refuses(['--batch', '0'], '--batch: expected a whole number, 1 or more, got "0"');
  refuses(['--batch', '2.5'], '--batch: expected a whole number, 1 or more, got "2.5"');
  refuses(
    ['--batch', '99999999999999999999'],
    '--batch: expected a whole number, 1 or more, got "99999999999999999999"',
  );
  refuses(['--device', 'wegbpu'], '--device: expected auto, cpu or webgpu, got "wegbpu", did you mean "webgpu"?');
  refuses(['--out='], '--out: expected DIR, got nothing');
});

test('missing, superfluous and repeated values are refused', () => {
  refuses(['--out'], '--out: expected a value (DIR), got none');
  refuses(['--out', '--json'], '--out: expected a value (DIR), got --json');
  refuses(['--json=yes'], '--json: expected no value, got "yes"');
  refuses(['--help=yes'], '--help: expected no value');
  refuses(['--batch', '1', '--batch', '2'], '--batch: expected once, got it twice');
});

test('lists read naturally', () => {
  assert.equal([[], ['a'], ['a', 'b'], ['a', 'b', 'c']].map(listOf), ['', 'a', 'a or b', 'a, b or c']);
});

test('help lists every option with its default, within the width', () => {
  const help = describeOptions(options, 60);
  for (const name of ['--model NAME', '--out DIR', '--device auto|cpu|webgpu', '--mask-threshold P', '-h, --help']) {
    assert.ok(help.includes(name), name);
  }
  assert.ok(help.includes('(default: small)') && help.includes('(default: 0.5)'));
  assert.ok(
    help.split('\n').every(line => line.length <= 60),
    help,
  );
});

test.run();
