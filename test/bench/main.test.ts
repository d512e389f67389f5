import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { repositoryRoot } from '../support/data.ts';

function bench(...args: string[]): Promise<{ exitCode: unknown; stdout: string; stderr: string }> {
  return new Promise(resolve => {
    execFile(process.execPath, [join(repositoryRoot, 'dist/bench/main.js'), ...args], (error, stdout, stderr) => {
      resolve({ exitCode: error === null ? 0 : error.code, stdout, stderr });
    });
  });
}

test('wrong usage is refused, with what was expected, before a device is opened', async () => {
  const cases: [args: string[], message: RegExp][] = [
    [['constructor'], /^expected a kernel out of conv2d, .*, got constructor\n/],
    [['kernels', 'sofmax'], /got sofmax, did you mean "softmax"\?\n/],
    [['model', '--batch', '0'], /^--batch: expected a whole number, 1 or more, got "0"\n/],
    [['event-loop', '--runs', 'x'], /^--runs: expected a whole number, 1 or more, got "x"\n/],
    [['model', '--size', '0x100'], /^--size: expected HEIGHTxWIDTH, got "0x100"\n/],
    [
      ['model', 'facebook/detr-resnet-101'],
      /^model: expected options only, got facebook.*; a model is named by --model\n/,
    ],
    [['kernels', '--runs', '3'], /^--runs: expected only with model or event-loop, got kernels\n/],
    [['--devise', 'cpu'], /^unknown option --devise, did you mean "--device"\?\n/],
  ];
  for (const [args, message] of cases) {
    const { exitCode, stdout, stderr } = await bench(...args);
    assert.equal([exitCode, stdout], [2, ''], args.join(' '));
    assert.match(stderr, message);
    assert.match(stderr, /\n\nusage: npm run bench/);
    assert.not.match(stderr, /Warning/, 'a device');
  }
  for (const help of ['help', '--help']) assert.match((await bench(help)).stdout, /^usage: /);
});

test('a kernel is timed, as a table and as JSON', async () => {
  const table = await bench('validRatios', '--device', 'cpu');
  assert.equal([table.exitCode, table.stderr], [0, '']);
  assert.match(table.stdout, /^cpu \(.*\n.*\n\nvalidRatios +ms +GFLOP\/s +GB\/s\n800x1066.* +\d+\.\d{3} +\d/);
  const { exitCode, stdout } = await bench('kernels', 'validRatios', '--device', 'cpu', '--json');
  assert.is(exitCode, 0);
  const { kernel, launchesPerBatch, milliseconds } = JSON.parse(stdout);
  assert.is(kernel, 'validRatios');
  assert.ok(launchesPerBatch >= 1 && milliseconds > 0, stdout);
});

test.run();
