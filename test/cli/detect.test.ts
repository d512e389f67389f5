import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readImage } from '../../models/images/files.ts';
import { readTestJson, repositoryRoot, testData } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { detrWebgpu, jsonLines } from './run-command.ts';

interface Line {
  readonly file: string;
  readonly width: number;
  readonly height: number;
  readonly objects: readonly {
    readonly score: number;
    readonly label: string;
    readonly label_id: number;
    readonly box: { readonly xmin: number; readonly ymin: number; readonly xmax: number; readonly ymax: number };
  }[];
  readonly annotated?: string;
  readonly error?: string;
}
interface CocoResult {
  readonly image_id: number;
  readonly category_id: number;
  readonly score: number;
  readonly bbox: readonly [number, number, number, number];
}

const demo = join(repositoryRoot, 'cli', 'demo');
const scenes = testData('scenes', 'images');

/** Every expected detection has one of the same label, score and box, and there are no others. */
function sameDetections(lines: readonly Line[], expected: readonly CocoResult[], threshold: number): void {
  const margin = 1e-3;
  assert.is(lines.length, readdirSync(scenes).length);
  for (const [index, { file, objects }] of lines.entries()) {
    const found = objects.filter(({ label_id: label }) => label < 5);
    const unmatched = new Set(found);
    for (const { category_id: label, score, bbox } of expected.filter(result => result.image_id === index + 1)) {
      if (score <= threshold - margin) continue;
      const [left, top, width, height] = bbox;
      const wanted = [left, top, left + width, top + height];
      const match = [...unmatched].find(
        object =>
          object.label_id === label &&
          Math.abs(object.score - score) <= 1e-3 &&
          [object.box.xmin, object.box.ymin, object.box.xmax, object.box.ymax].every(
            (edge, side) => Math.abs(edge - wanted[side]!) <= 0.1,
          ),
      );
      if (match !== undefined) unmatched.delete(match);
      else assert.ok(score <= threshold + margin, `${file}: no ${label} of score ${score} at ${bbox}`);
    }
    for (const { score, label } of unmatched) {
      assert.ok(score <= threshold + margin, `${file}: ${label} of score ${score} is not expected`);
    }
  }
}

function sameObjects(actual: Line, expected: Line): void {
  const describe = ({ objects }: Line) => objects.map(({ label }) => label);
  assert.equal(describe(actual), describe(expected));
  for (const [index, { score, box }] of expected.objects.entries()) {
    const other = actual.objects[index]!;
    assert.ok(Math.abs(other.score - score) < 1e-3);
    for (const edge of ['xmin', 'ymin', 'xmax', 'ymax'] as const)
      assert.ok(Math.abs(other.box[edge] - box[edge]) < 0.1);
  }
}

for (const model of ['scenes-detr', 'scenes-conditional-detr', 'scenes-deformable-detr']) {
  test(`${model} finds what transformers finds, alone and in batches`, async () => {
    const expected = readTestJson<CocoResult[]>('scenes', 'predictions', `${model}.json`);
    const args = ['detect', scenes, '--model', model, '--device', 'cpu', '--json', '--threshold', '0.05'];
    const { exitCode, stdout, stderr } = await detrWebgpu(args);
    assert.equal([exitCode, stderr], [0, '']);
    sameDetections(jsonLines<Line>(stdout), expected, 0.05);
  });
}

test('a segmentation model detects as well', async () => {
  const args = ['detect', join(demo, 'scene-1.png'), '--model', 'scenes-detr-panoptic', '--device', 'cpu', '--json'];
  const { exitCode, stdout, stderr } = await detrWebgpu(args);
  assert.equal([exitCode, stderr], [0, '']);
  const { objects } = jsonLines<Line>(stdout)[0]!;
  const labels = new Set(objects.map(({ label }) => label));
  assert.ok(objects.length > 3 && labels.has('sky') && labels.has('star'), stdout);
});

test('pictures of one size find the same in a batch as alone', async () => {
  const picture = join(demo, 'scene-1.png');
  const args = ['--device', 'cpu', '--json'];
  const [alone] = jsonLines<Line>((await detrWebgpu(['detect', picture, ...args])).stdout);
  const together = jsonLines<Line>(
    (await detrWebgpu(['detect', picture, picture, picture, ...args, '--batch', '2'])).stdout,
  );
  assert.is(together.length, 3);
  for (const line of together) sameObjects(line, alone!);
});

test('pictures of different sizes find in a batch what they find alone', async () => {
  const pictures = ['scene-1.png', 'scene-2.png', 'scene-1.png', 'scene-3.png'].map(name => join(demo, name));
  const args = ['detect', ...pictures, '--model', 'scenes-detr', '--device', 'cpu', '--json'];
  const alone = jsonLines<Line>((await detrWebgpu(args)).stdout);
  const together = jsonLines<Line>((await detrWebgpu([...args, '--batch', '4'])).stdout);
  assert.equal(
    together.map(({ file }) => file),
    pictures,
  );
  for (const [index, line] of alone.entries()) sameObjects(together[index]!, line);
});

test('the WebGPU device finds the same as the cpu', async () => {
  const args = ['detect', join(demo, 'scene-1.png'), '--json'];
  const [onCpu] = jsonLines<Line>((await detrWebgpu([...args, '--device', 'cpu'])).stdout);
  const [onWebGpu] = jsonLines<Line>((await detrWebgpu([...args, '--device', 'webgpu'])).stdout);
  sameObjects(onWebGpu!, onCpu!);
});

test('prints a table and writes annotated pictures, whole', async () => {
  const out = join(temporaryFolder('detect'), 'new', 'folder');
  const { exitCode, stdout, stderr } = await detrWebgpu(['detect', demo, '--device', 'cpu', '--out', out]);
  assert.equal([exitCode, stderr], [0, '']);
  assert.match(stdout, /scene-1\.png: \d+ objects \(141 x 198, .*\)\n {2}label +score +left +top +right +bottom\n/);
  assert.match(stdout, /drawn in .*scene-4\.png/);
  assert.equal(
    readdirSync(out).sort(),
    ['scene-1.png', 'scene-2.png', 'scene-3.png', 'scene-4.png'],
    'and no temporary files',
  );
  const drawn = await readImage(join(out, 'scene-1.png'));
  assert.equal([drawn.width, drawn.height], [423, 594], 'small pictures are enlarged');
});

test('goes on after a bad file, and says so at the end', async () => {
  const folder = temporaryFolder('bad');
  copyFileSync(join(demo, 'scene-1.png'), join(folder, 'a.png'));
  writeFileSync(join(folder, 'b.png'), readFileSync(join(demo, 'scene-2.png')).subarray(0, 5000));
  copyFileSync(join(demo, 'scene-3.png'), join(folder, 'c.png'));
  const out = join(folder, 'out');
  const { exitCode, stdout, stderr } = await detrWebgpu([
    'detect',
    folder,
    join(folder, 'none.jpg'),
    '--device',
    'cpu',
    '--out',
    out,
  ]);
  assert.is(exitCode, 1);
  assert.match(stdout, /a\.png: \d+ object[\s\S]*c\.png: \d+ object/);
  assert.match(stderr, /^2 of 4 pictures failed:\n {2}.*b\.png: .*\n {2}.*none\.jpg: no such file or folder\n$/);
  assert.equal(readdirSync(out).sort(), ['a.png', 'c.png']);

  const json = await detrWebgpu(['detect', folder, '--device', 'cpu', '--json', '--batch', '3']);
  assert.is(json.exitCode, 1);
  const lines = jsonLines<Line>(json.stdout);
  assert.is(lines.length, 3);
  assert.ok(lines.some(({ file, error }) => file.endsWith('b.png') && error !== undefined));
});

test('never draws over the pictures themselves', async () => {
  const folder = temporaryFolder('same');
  copyFileSync(join(demo, 'scene-1.png'), join(folder, 'a.png'));
  const before = readFileSync(join(folder, 'a.png'));
  const { exitCode, stderr } = await detrWebgpu(['detect', 'a.png', '--out', '.', '--device', 'cpu'], {
    workingFolder: folder,
  });
  assert.is(exitCode, 2);
  assert.match(stderr, /--out: expected a folder without the pictures themselves/);
  assert.equal(readFileSync(join(folder, 'a.png')), before);
});

test('stops in good order when interrupted, and quietly when its reader goes away', async () => {
  const folder = temporaryFolder('interrupt');
  const pictures = join(folder, 'pictures');
  mkdirSync(pictures);
  for (let index = 0; index < 60; index++) copyFileSync(join(demo, 'scene-2.png'), join(pictures, `${index}.png`));
  const out = join(folder, 'out');
  const interrupted = await detrWebgpu(['detect', pictures, '--device', 'cpu', '--out', out], {
    during: child => child.stdout!.once('data', () => child.kill('SIGINT')),
  });
  assert.is(interrupted.exitCode, 130);
  assert.match(interrupted.stderr, /^interrupted: \d+ of 60 pictures done\n$/);
  const [, done] = /(\d+) of 60/.exec(interrupted.stderr)!;
  assert.is(readdirSync(out).length, Number(done));
  assert.is(interrupted.stdout.match(/drawn in/g)!.length, Number(done));

  const terminated = await detrWebgpu(['detect', pictures, '--device', 'cpu', '--json'], {
    during: child => child.stdout!.once('data', () => child.kill('SIGTERM')),
  });
  assert.is(terminated.exitCode, 143);

  const closed = await detrWebgpu(['detect', pictures, '--device', 'cpu', '--json'], {
    during: child => child.stdout!.once('data', () => child.stdout!.destroy()),
  });
  assert.equal([closed.exitCode, closed.stderr], [0, '']);
});

test.run();
