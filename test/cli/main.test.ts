import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { writeSafetensors } from '../../weights/safetensors-file.ts';
import { repositoryRoot, testData } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { detrWebgpu } from './run-command.ts';

const commands = ['detect', 'segment', 'evaluate', 'parity', 'convert', 'inspect', 'devices'];
const embedded = (name: string) => join(repositoryRoot, 'weights', 'embedded', name);

test('help lists every command, and every command has help with examples', async () => {
  for (const args of [['--help'], ['-h'], ['help']]) {
    const { exitCode, stdout, stderr } = await detrWebgpu(args);
    assert.equal([exitCode, stderr], [0, '']);
    for (const command of commands) assert.match(stdout, new RegExp(`^  ${command} +\\S`, 'm'));
  }
  for (const command of commands) {
    const { exitCode, stdout } = await detrWebgpu([command, '--help']);
    assert.is(exitCode, 0);
    for (const part of [`Usage: detr-webgpu ${command}`, 'Options:', '-h, --help', 'Examples:'])
      assert.ok(stdout.includes(part), `${command}: ${part}`);
    assert.ok(
      stdout.split('\n').every(line => line.length <= 100),
      `${command} has lines of more than 100 characters`,
    );
    assert.not.match(stdout, / $/m);
  }
  assert.is((await detrWebgpu(['help', 'detect'])).stdout, (await detrWebgpu(['detect', '--help'])).stdout);
});

test('the version is that of the package', async () => {
  const { stdout } = await detrWebgpu(['--version']);
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
});

test('wrong usage says what is wrong and where to look, with exit code 2 and no stack', async () => {
  const folder = temporaryFolder('usage');
  mkdirSync(join(folder, 'empty-model'));
  const cases: [args: string[], message: RegExp][] = [
    [[], /^Usage: /],
    [['detct'], /unknown command detct, did you mean "detect"\?/],
    [['--detect'], /unknown option --detect/],
    [['__proto__'], /unknown command __proto__/],
    [['detect'], /expected IMAGE…, got nothing/],
    [['detect', 'x.png', '--treshold', '1'], /unknown option --treshold, did you mean "--threshold"\?/],
    [['detect', 'x.png', '--threshold', '2'], /--threshold: expected a number from 0 to 1, got "2"/],
    [['detect', 'x.png', '--batch', '0'], /--batch: expected a whole number from 1 to 256, got "0"/],
    [['detect', 'x.png', '--device', 'gpu'], /got "gpu", did you mean "webgpu"\?/],
    [
      ['detect', 'x.png', '--model', 'scenes-dter'],
      /got scenes-dter, which does not exist, did you mean "scenes-detr"\?/,
    ],
    [['detect', 'x.png', '--model', 'constructor'], /got constructor, which does not exist$/m],
    [
      ['detect', 'x.png', '--model', './emty-model'],
      /got .\/emty-model, which does not exist, did you mean "empty-model"\?/,
    ],
    [['detect', 'x.png', '--model', join(folder, 'empty-model')], /which holds no config\.json/],
    [['detect', 'x.png', '--model', 'scenes-detr', '--revision', 'v1'], /--revision: expected a model on the hub/],
    [
      ['segment', 'x.png', '--task', 'panoptc'],
      /--task: expected panoptic, instance or semantic, got "panoptc", did you mean "panoptic"\?/,
    ],
    [
      ['segment', 'x.png', '--model', 'scenes-deformable-detr'],
      /expected a model that segments, got scenes-deformable-detr/,
    ],
    [
      ['segment', 'x.png', '--stuff', 'grund'],
      /--stuff: expected class names or ids of the model, got "grund", did you mean "ground"\?/,
    ],
    [
      ['segment', 'x.png', '--task', 'semantic', '--stuff', 'sky'],
      /--stuff: expected only with --task panoptic or instance, got --task semantic/,
    ],
    [['evaluate', '--mask-threshold', '0.5'], /--mask-threshold: expected only with --task panoptic, got --task detec/],
    [['evaluate'], /--annotations: expected a file, got none/],
    [['parity', 'empty-model', '--write', 'x'], /empty-model: expected a dump/],
    [['parity', 'a'], /a: no such file or folder/],
    [['evaluate', '--annotations', 'x', '--images', 'a'], /--images: expected a folder, got a, which does not exist/],
    [['convert', 'only-one'], /expected SOURCE DESTINATION, got only-one/],
    [['inspect', 'a', 'b'], /expected FILE\|DIR\|NAME, got 2 operands: a b/],
    [['inspect', 'scenes-detr', '--revision', 'v1'], /--revision: expected a model on the hub/],
    [['detect', ''], /expected IMAGE…, got an empty one/],
    [['devices', 'x'], /expected no operands, got 1 operand: x/],
  ];
  for (const [args, message] of cases) {
    const { exitCode, stdout, stderr } = await detrWebgpu(args, { workingFolder: folder });
    assert.match(stderr, message, args.join(' '));
    assert.is(stdout, '', args.join(' '));
    assert.not.match(stderr, /^\s+at /m);
    if (args[0] !== 'parity') assert.is(exitCode, 2, args.join(' '));
  }
});

test('devices names the default and says why another is missing', async () => {
  const { exitCode, stdout } = await detrWebgpu(['devices', '--json']);
  assert.is(exitCode, 0);
  const devices = JSON.parse(stdout) as {
    device: string;
    available: boolean;
    name: string;
    default: boolean;
    details: Record<string, unknown>;
  }[];
  assert.equal(
    devices.map(({ device }) => device),
    ['webgpu', 'cpu'],
  );
  assert.is(devices.filter(({ default: isDefault }) => isDefault).length, 1);
  assert.ok(devices[0]!.available, 'the test runner brings an adapter');
  const { largestBufferBytes, subgroups } = devices[0]!.details;
  assert.equal([typeof largestBufferBytes, typeof subgroups], ['number', 'boolean']);
  assert.match((await detrWebgpu(['devices'])).stdout, /^\* (webgpu|cpu) /m);
});

test('inspect sums up a model folder and lists a checkpoint', async () => {
  const summary = await detrWebgpu(['inspect', 'scenes-detr-panoptic']);
  assert.is(summary.stdout, (await detrWebgpu(['inspect', embedded('scenes-detr-panoptic')])).stdout);
  assert.is(summary.exitCode, 0);
  for (const part of [
    'DetrForSegmentation',
    'resnet (basic, 1-1-2, 32-64-128)',
    '7 (circle, square,',
    '3 encoder, 3 decoder',
    '231 tensors',
  ]) {
    assert.ok(summary.stdout.includes(part), part);
  }
  const file = join(embedded('scenes-detr'), 'model.safetensors');
  const listed = await detrWebgpu(['inspect', file, '--tensors']);
  assert.match(listed.stdout, /class_labels_classifier\.weight +F32 +\[8, 128\]/);
  const { tensors, parameters } = JSON.parse((await detrWebgpu(['inspect', file, '--json'])).stdout);
  assert.is(tensors.length, 199);
  assert.is(parameters, 1_650_428);
  assert.match((await detrWebgpu(['inspect', 'cli/demo/scene-1.png'])).stdout, /picture, 141 x 198/);
});

test('inspect tells what a trainer left beside the weights, and refuses only folders without any', async () => {
  const trained = join(temporaryFolder('trained'), 'model');
  cpSync(embedded('scenes-detr'), trained, { recursive: true });
  writeFileSync(join(trained, 'training_args.bin'), 'no weights');
  mkdirSync(join(trained, 'checkpoint.pt'));
  const { exitCode, stdout, stderr } = await detrWebgpu(['inspect', trained]);
  assert.equal([exitCode, stderr], [0, '']);
  assert.match(stdout, /199 tensors/);
  assert.match(stdout, /no weights +training_args\.bin: expected /);
  const { weights, others } = JSON.parse((await detrWebgpu(['inspect', trained, '--json'])).stdout);
  assert.equal([weights.length, others.length], [1, 1]);
  rmSync(join(trained, 'model.safetensors'));
  assert.is((await detrWebgpu(['inspect', trained])).exitCode, 1);
});

test('inspect counts the bytes of the values in all shards of an index', async () => {
  const folder = temporaryFolder('shards');
  await writeSafetensors(join(folder, 'a.safetensors'), [['a', { shape: [250], data: new Float32Array(250) }]]);
  await writeSafetensors(join(folder, 'b.safetensors'), [['b', { shape: [3], data: new BigInt64Array(3) }]]);
  const index = join(folder, 'model.safetensors.index.json');
  writeFileSync(index, JSON.stringify({ weight_map: { a: 'a.safetensors', b: 'b.safetensors' } }));
  for (const path of [index, folder]) {
    const { stdout } = await detrWebgpu(['inspect', path]);
    assert.match(stdout, /^model\.safetensors\.index\.json: 2 tensors, 253 values \(F32, I64\), 1\.0 kB$/m);
  }
  assert.is(JSON.parse((await detrWebgpu(['inspect', index, '--json'])).stdout).bytes, 1024);
});

test('names of files and folders are shown without what a terminal would obey', async () => {
  const folder = join(temporaryFolder('escapes'), '\u001b[31mfolder');
  const picture = join(folder, '\u001b[31m.png');
  cpSync(embedded('scenes-detr'), folder, { recursive: true });
  cpSync(join(folder, 'model.safetensors'), join(folder, '\u001b[2J.safetensors'));
  cpSync(join(repositoryRoot, 'cli/demo/scene-1.png'), picture);
  for (const path of [folder, picture]) {
    const { exitCode, stdout, stderr } = await detrWebgpu(['inspect', path]);
    assert.equal([exitCode, stderr], [0, '']);
    assert.match(stdout, /\\x1b\[31m/);
    assert.not.match(stdout, /\p{Cc}(?<!\n)/u);
  }
  const { stderr } = await detrWebgpu(['inspect', join(folder, 'none')], { environment: { DEBUG: '1' } });
  assert.match(stderr, /\\x1b\[31m/);
  assert.not.match(stderr, /\p{Cc}(?<!\n)/u);
});

test('inspect refuses what it cannot read, by name', async () => {
  const folder = temporaryFolder('inspect');
  writeFileSync(join(folder, 'broken.safetensors'), 'not a checkpoint');
  writeFileSync(join(folder, 'notes.txt'), 'hello');
  for (const [path, message] of [
    ['broken.safetensors', /broken\.safetensors: /],
    ['notes.txt', /notes\.txt: expected weights .* got \.txt/],
    ['none', /none: no such file/],
    ['folder/model.safetensors', /model\.safetensors: no such file/],
  ] as const) {
    const { exitCode, stderr } = await detrWebgpu(['inspect', path], { workingFolder: folder });
    assert.is(exitCode, 1);
    assert.match(stderr, message);
    assert.not.match(stderr, /^\s+at /m);
  }
});

test('a model that only detects does not segment, which one line says', async () => {
  const args = ['segment', 'cli/demo/scene-1.png', '--model', 'scenes-detr', '--device', 'cpu', '--json'];
  const { exitCode, stderr } = await detrWebgpu(args);
  assert.is(exitCode, 1);
  assert.match(stderr, /^detr-webgpu segment: \S+: has no mask head: the weights are of a detector, .*\n$/);
});

// What waits for a writer cannot be interrupted.
const pipe = join(temporaryFolder('pipe'), 'x.png');
if (spawnSync('mkfifo', [pipe]).status === 0) {
  test('a pipe in the place of a file is refused', async () => {
    const model = temporaryFolder('pipe-model');
    spawnSync('mkfifo', [join(model, 'config.json')]);
    for (const args of [
      ['detect', dirname(pipe), '--device', 'cpu', '--json'],
      ['detect', 'cli/demo', '--device', 'cpu', '--model', model],
      ['inspect', pipe],
      ['convert', model, join(model, 'converted')],
    ]) {
      for (const file of ['model.safetensors', 'preprocessor_config.json']) {
        cpSync(join(embedded('scenes-detr'), file), join(model, file));
      }
      const { exitCode, signal, stdout, stderr } = await detrWebgpu(args, {
        during: child => {
          const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
          child.on('exit', () => clearTimeout(timer));
        },
      });
      assert.equal([exitCode, signal], [1, null], args.join(' '));
      assert.match(stdout + stderr, /expected a file, got a pipe/);
    }
  });
}

test('a place where results cannot be written is named, without a stack', async () => {
  const folder = temporaryFolder('unwritable');
  const picture = join(repositoryRoot, 'cli/demo/scene-1.png');
  writeFileSync(join(folder, 'file'), '');
  const coco = ['--annotations', testData('scenes', 'instances.json'), '--images', testData('scenes', 'images')];
  for (const command of [
    ['detect', picture],
    ['segment', picture],
    ['evaluate', ...coco],
  ]) {
    for (const out of ['file', 'file/below']) {
      const { exitCode, stderr } = await detrWebgpu([...command, '--device', 'cpu', '--out', join(folder, out)]);
      assert.is(exitCode, 1, command.join(' '));
      assert.match(stderr, /file\S*: (expected a folder, got a file|a part of the path is a file, not a folder)\n$/);
    }
  }
});

// A device that is always full.
if (existsSync('/dev/full')) {
  test('standard output that cannot be written is no crash', async () => {
    const { exitCode, stderr } = await new Promise<{ exitCode: number | null; stderr: string }>(resolve => {
      const program = join(repositoryRoot, 'dist/cli/main.js');
      const child = spawn(process.execPath, [program, '--help'], {
        stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
      });
      let stderr = '';
      child.stderr!.on('data', text => {
        stderr += text;
      });
      child.on('close', exitCode => resolve({ exitCode, stderr }));
    });
    assert.is(stderr, 'detr-webgpu: standard output: no space left on the disk\n');
    assert.is(exitCode, 1);
  });
}

test('a stack trace is shown when DEBUG asks for it', async () => {
  const { stderr } = await detrWebgpu(['inspect', 'none'], { environment: { DEBUG: '1' } });
  assert.match(stderr, /^\s+at /m);
});

test('- is a picture from standard input, which an interrupt ends', async () => {
  const program = join(repositoryRoot, 'dist/cli/main.js');
  const out = temporaryFolder('stdin');
  const input = readFileSync(join(repositoryRoot, 'cli/demo/scene-1.png'));
  const read = spawnSync(process.execPath, [program, 'detect', '-', '--device', 'cpu', '--json', '--out', out], {
    input,
  });
  const { file, width } = JSON.parse(read.stdout.toString());
  assert.equal([read.status, file, width, readdirSync(out)], [0, 'stdin', 141, ['stdin.png']]);

  const child = spawn(process.execPath, [program, 'detect', '-', '--device', 'cpu', '--json']);
  // More than a pipe holds: it is written when the process has begun to read.
  child.stdin.write(new Uint8Array(2 ** 22), () => child.kill('SIGINT'));
  assert.equal(await once(child, 'exit'), [130, null]);
});

test('convert writes a folder that inspect and the models read', async () => {
  const folder = join(temporaryFolder('convert'), 'copy');
  const { exitCode, stdout } = await detrWebgpu(['convert', embedded('scenes-deformable-detr'), folder]);
  assert.is(exitCode, 0);
  assert.match(stdout, /copy: \d+ tensors, \d\.\d MB\n {2}with config\.json, preprocessor_config\.json\n/);
  const again = await detrWebgpu(['convert', embedded('scenes-detr'), folder]);
  assert.is(again.exitCode, 1);
  const detected = await detrWebgpu(['detect', 'cli/demo/scene-1.png', '--model', folder, '--device', 'cpu', '--json']);
  assert.is(detected.exitCode, 0);
  assert.ok(JSON.parse(detected.stdout).objects.length > 3);
});

test('convert writes no folder that cannot be loaded', async () => {
  const folder = join(temporaryFolder('unfit'), 'copy');
  const config = join(embedded('scenes-conditional-detr'), 'config.json');
  const other = await detrWebgpu(['convert', 'scenes-detr', folder, '--config', config]);
  assert.is(other.exitCode, 1);
  assert.match(other.stderr, /does not fit the model: \d+ missing, \d+ misshapen and \d+ unused tensors\n {2}tensor "/);
  const picture = await detrWebgpu(['convert', 'cli/demo/scene-1.png', folder]);
  assert.match(picture.stderr, /scene-1\.png: is a PNG picture, not the weights\n$/);
  assert.not(existsSync(folder));
});

test.run();
