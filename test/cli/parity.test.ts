import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { HostTensor } from '../../engine/host-tensor.ts';
import { openSafetensors, writeSafetensors } from '../../weights/safetensors-file.ts';
import { testData } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { detrWebgpu, jsonLines } from './run-command.ts';

const dump = testData('dumps', 'detr-small-losses');
const folder = temporaryFolder('parity');

async function readAll(path: string): Promise<Map<string, HostTensor>> {
  const file = await openSafetensors(path);
  const tensors = new Map<string, HostTensor>();
  for (const name of file.tensors.keys()) tensors.set(name, await file.read(name));
  await file.close();
  return tensors;
}

test('a dump passes, output by output in the order of the forward pass', async () => {
  const { exitCode, stdout, stderr } = await detrWebgpu(['parity', dump, '--device', 'cpu']);
  assert.equal([exitCode, stderr], [0, '']);
  const names = [...stdout.matchAll(/^ {2}(\S+) +\[.*ok$/gm)].map(([, name]) => name!);
  assert.is(names[0], 'encoder_hidden_states.0');
  assert.is(names.at(-1), 'loss');
  assert.match(stdout, new RegExp(`${names.length} of ${names.length} outputs within tolerance: passes`));
});

test('the actual outputs can be stored, and are those that were compared', async () => {
  const file = join(folder, 'actual.safetensors');
  const { exitCode } = await detrWebgpu(['parity', dump, '--device', 'cpu', '--write', file]);
  assert.is(exitCode, 0);
  const actual = await readAll(file);
  const expected = await readAll(join(dump, 'outputs.safetensors'));
  for (const [name, { shape }] of expected) assert.equal(actual.get(name)?.shape, shape, name);
});

test('the first output that departs is named, with the worst element', async () => {
  const wrong = join(folder, 'wrong');
  cpSync(dump, wrong, { recursive: true });
  const outputs = await readAll(join(dump, 'outputs.safetensors'));
  outputs.get('decoder_hidden_states.1')!.data[40] = 7;
  outputs.get('pred_boxes')!.data[0] = Number.POSITIVE_INFINITY;
  outputs.get('logits')!.data.fill(Number.NaN);
  await writeSafetensors(join(wrong, 'outputs.safetensors'), outputs);
  const { exitCode, stdout } = await detrWebgpu(['parity', wrong, '--device', 'cpu']);
  assert.is(exitCode, 1);
  assert.match(stdout, /FAILS, first departure: decoder_hidden_states\.1/);
  assert.match(stdout, /decoder_hidden_states\.1 .*\[0, 1, 8\] +DEPARTS/);
  assert.match(stdout, /pred_boxes .*Infinity .*DEPARTS/);
  assert.match(stdout, /logits .*ok/, 'an expected NaN is not compared');

  const [line] = jsonLines<{ passed: boolean; firstDeparture: string }>(
    (await detrWebgpu(['parity', wrong, '--device', 'cpu', '--json'])).stdout,
  );
  assert.equal([line!.passed, line!.firstDeparture], [false, 'decoder_hidden_states.1']);
});

test('what a dump says is shown without what a terminal would obey', async () => {
  const strange = join(folder, 'strange');
  cpSync(dump, join(strange, 'class'), { recursive: true });
  cpSync(dump, join(strange, 'output'), { recursive: true });
  const description = JSON.parse(readFileSync(join(dump, 'dump.json'), 'utf8'));
  writeFileSync(join(strange, 'class', 'dump.json'), JSON.stringify({ ...description, class: 'Detr\u001b[31mX' }));
  const outputs = await readAll(join(dump, 'outputs.safetensors'));
  outputs.set('a\u001b[31m', { shape: [1], data: new Float32Array(1) });
  await writeSafetensors(join(strange, 'output', 'outputs.safetensors'), outputs);
  const { stdout, stderr } = await detrWebgpu(['parity', strange, '--device', 'cpu']);
  assert.match(stderr, /got Detr\\x1b\[31mX/);
  assert.match(stdout, /first departure: a\\x1b\[31m/);
  assert.not.match(stdout + stderr, /\p{Cc}(?<!\n)/u);
});

test('a folder of dumps is gone through, one that cannot be read does not stop the others', async () => {
  const many = join(folder, 'many');
  cpSync(dump, join(many, 'good'), { recursive: true });
  cpSync(join(dump, 'dump.json'), join(many, 'bad', 'dump.json'));
  const { exitCode, stdout, stderr } = await detrWebgpu(['parity', many, '--device', 'cpu']);
  assert.is(exitCode, 1);
  assert.match(stdout, /1 of 2 dumps pass on cpu/);
  assert.match(stderr, /bad/);
  assert.ok(existsSync(many) && readdirSync(many).length === 2);
});

test('a dump without tolerances is refused by their name', async () => {
  const intolerant = join(folder, 'intolerant');
  cpSync(dump, intolerant, { recursive: true });
  const { rtol: _, ...description } = JSON.parse(readFileSync(join(dump, 'dump.json'), 'utf8'));
  writeFileSync(join(intolerant, 'dump.json'), JSON.stringify(description));
  const { exitCode, stderr } = await detrWebgpu(['parity', intolerant, '--device', 'cpu']);
  assert.is(exitCode, 1);
  assert.match(stderr, /dump\.json: rtol: expected a number from 0, got nothing/);
});

test('an interrupted run says how far it came', async () => {
  const several = join(folder, 'several');
  for (let copy = 0; copy < 30; copy++) cpSync(dump, join(several, `${copy}`), { recursive: true });
  const { exitCode, stdout, stderr } = await detrWebgpu(['parity', several, '--device', 'cpu'], {
    during: child => child.stdout!.once('data', () => child.kill('SIGINT')),
  });
  assert.is(exitCode, 130);
  const [, passing, done] = /(\d+) of (\d+) dumps? pass on/.exec(stdout)!;
  assert.ok(passing === done && Number(done) < 30, stdout);
  assert.is(stderr, `interrupted: ${done} of 30 dumps done\n`);
});

test('what is no dump is told, and the dumps beside it are gone through', async () => {
  const notes = join(folder, 'notes.md');
  writeFileSync(notes, 'notes');
  const { exitCode, stdout, stderr } = await detrWebgpu(['parity', notes, dump, folder, '--device', 'cpu', '--json']);
  assert.is(exitCode, 1);
  const lines = jsonLines<{ dump: string; passed?: boolean; error?: string }>(stdout);
  assert.equal([lines[0]!.dump, lines[1]!.dump, lines[1]!.passed], [notes, dump, true]);
  assert.is(lines[0]!.error, 'a part of the path is a file, not a folder');
  assert.ok(stderr.startsWith(`${notes}: a part of the path is a file`));
});

test.run();
