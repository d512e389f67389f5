import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openSafetensors } from '../../weights/safetensors-file.ts';
import { Random } from '../fuzz/random.ts';
import { repositoryRoot, testData } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { detrWebgpu } from './run-command.ts';

const folder = temporaryFolder('kill');
const random = new Random('kill', process.pid);

/** The files that are there for others to find, by name; what is being written has a name that begins with a dot. */
const visibleFiles = (path: string): string[] =>
  existsSync(path) ? readdirSync(path).filter(name => !name.startsWith('.')) : [];

const killAfter = (milliseconds: number) => (child: ChildProcess) => {
  const timer = setTimeout(() => child.kill('SIGKILL'), milliseconds);
  child.on('close', () => clearTimeout(timer));
};

test('detect killed while it writes leaves whole pictures only', async () => {
  const pictures = join(folder, 'pictures');
  mkdirSync(pictures);
  const demo = join(repositoryRoot, 'cli/demo');
  for (let copy = 0; copy < 24; copy++) {
    copyFileSync(join(demo, `scene-${1 + (copy % 4)}.png`), join(pictures, `${copy}.png`));
  }
  const detect = (out: string) => [
    'detect',
    pictures,
    '--model',
    'scenes-detr',
    '--device',
    'cpu',
    '--json',
    '--out',
    out,
  ];
  const whole = join(folder, 'whole');
  assert.is((await detrWebgpu(detect(whole))).exitCode, 0);
  const names = visibleFiles(whole).sort();
  assert.is(names.length, 24);

  let unfinished = 0;
  for (let kill = 0; kill < 4; kill++) {
    const out = join(folder, `killed-${kill}`);
    const { signal } = await detrWebgpu(detect(out), {
      during: child => {
        // With the first result written, at some moment of the writing of the others.
        child.stdout!.once('data', () => killAfter(random.below(120))(child));
      },
    });
    const left = visibleFiles(out);
    if (signal === 'SIGKILL' && left.length < 24) unfinished++;
    for (const name of left) assert.equal(readFileSync(join(out, name)), readFileSync(join(whole, name)), name);
    if (kill > 0) continue;
    // What comes after finds nothing in its way.
    assert.is((await detrWebgpu(detect(out))).exitCode, 0);
    assert.equal(visibleFiles(out).sort(), names);
  }
  assert.ok(unfinished > 0, 'no kill came in time');
});

test('evaluate killed again and again ends with the results of a run in one go', async () => {
  const evaluate = (out: string) => [
    'evaluate',
    ...['--annotations', testData('scenes', 'instances.json'), '--images', testData('scenes', 'images')],
    ...['--model', 'scenes-detr', '--device', 'cpu', '--out', out],
  ];
  const whole = join(folder, 'evaluated');
  const started = performance.now();
  assert.is((await detrWebgpu(evaluate(whole))).exitCode, 0);
  const elapsed = performance.now() - started;

  const out = join(folder, 'evaluation-killed');
  let killed = 0;
  for (let kill = 0; kill < 4; kill++) {
    const { signal } = await detrWebgpu(evaluate(out), { during: killAfter(elapsed * (0.4 + random.below(60) / 100)) });
    if (signal === 'SIGKILL') killed++;
    for (const name of visibleFiles(out)) {
      if (name.endsWith('.json'))
        assert.is(readFileSync(join(out, name), 'utf8'), readFileSync(join(whole, name), 'utf8'));
    }
  }
  assert.ok(killed > 0, 'no kill came in time');
  const { exitCode, stderr } = await detrWebgpu(evaluate(out));
  assert.is(exitCode, 0, stderr);
  assert.equal(visibleFiles(out).sort(), visibleFiles(whole).sort());
  for (const name of visibleFiles(whole)) {
    assert.is(readFileSync(join(out, name), 'utf8'), readFileSync(join(whole, name), 'utf8'), name);
  }
});

test('writeSafetensors killed at any moment leaves the old file or the new one', async () => {
  const path = join(folder, 'weights.safetensors');
  const program = `
    import { writeSafetensors } from ${JSON.stringify(join(repositoryRoot, 'dist/index.js'))};
    const data = new Float32Array(1 << 20);
    for (let round = 1; ; round++) {
      data.fill(round);
      await writeSafetensors(${JSON.stringify(path)}, ['a', 'b'].map(name => [name, { shape: [1024, 1024], data }]));
      if (round === 1) console.log('written');
    }`;
  for (let kill = 0; kill < 4; kill++) {
    const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const closed = new Promise(resolve => child.on('close', resolve));
    await new Promise<void>(resolve => child.stdout.once('data', () => resolve()));
    await new Promise(resolve => setTimeout(resolve, random.below(60)));
    child.kill('SIGKILL');
    await closed;
    const source = await openSafetensors(path);
    const tensors = await Promise.all(['a', 'b'].map(name => source.read(name)));
    await source.close();
    const round = tensors[0]!.data[0]!;
    assert.ok(round >= 1, `round ${round}`);
    assert.ok(
      tensors.every(({ data }) => data.length === 1 << 20 && data.every(value => value === round)),
      'a mixed file',
    );
  }
});

test.run();
