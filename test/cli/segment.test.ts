import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { stuffLabels } from '../../cli/models.ts';
import { panopticIds } from '../../models/evaluation/panoptic-evaluator.ts';
import { type CocoRle, rleArea, rleFromCoco } from '../../models/evaluation/rle.ts';
import { readImage } from '../../models/images/files.ts';
import { repositoryRoot } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { detrWebgpu, jsonLines } from './run-command.ts';

const demo = join(repositoryRoot, 'cli', 'demo');
const folder = temporaryFolder('segment');

interface Dataset {
  readonly images: readonly {
    readonly id: number;
    readonly file_name: string;
    readonly width: number;
    readonly height: number;
  }[];
  readonly annotations: readonly {
    readonly image_id: number;
    readonly file_name: string;
    readonly category_id: number;
    readonly area: number;
    readonly bbox: readonly number[];
    readonly segmentation: CocoRle;
    readonly segments_info: readonly { readonly id: number; readonly category_id: number; readonly area: number }[];
  }[];
  readonly categories: readonly { readonly id: number; readonly name: string; readonly isthing: number }[];
}
interface JsonSegment {
  readonly id: number;
  readonly label: string;
  readonly label_id: number;
  readonly area: number;
  readonly segmentation: CocoRle;
}
const readDataset = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Dataset;

test('panoptic: the PNGs and the JSON file tell the same, every id once, stuff in one piece', async () => {
  for (const batch of ['1', '4']) {
    const out = join(folder, `panoptic-${batch}`);
    const { exitCode, stdout, stderr } = await detrWebgpu([
      'segment',
      demo,
      '--device',
      'cpu',
      '--out',
      out,
      '--batch',
      batch,
    ]);
    assert.equal([exitCode, stderr], [0, '']);
    assert.match(stdout, /scene-1\.png: \d+ segments \(141 x 198, .*\)\n {2}label +score +area +id\n {2}sky /);
    assert.equal(readdirSync(out).sort(), [
      'panoptic',
      'panoptic.json',
      'scene-1.png',
      'scene-2.png',
      'scene-3.png',
      'scene-4.png',
    ]);
    const { images, annotations, categories } = readDataset(join(out, 'panoptic.json'));
    assert.equal(
      categories.filter(({ isthing }) => isthing === 0).map(({ name }) => name),
      ['sky', 'ground'],
    );
    assert.is(annotations.length, 4);
    for (const { image_id, file_name, segments_info } of annotations) {
      const { width, height } = images.find(({ id }) => id === image_id)!;
      const { shape, data } = panopticIds(await readImage(join(out, 'panoptic', file_name)));
      assert.equal(shape, [height, width]);
      const areas = new Map<number, number>();
      for (const id of data) if (id !== 0) areas.set(id, (areas.get(id) ?? 0) + 1);
      assert.equal(new Map(segments_info.map(({ id, area }) => [id, area] as const)), areas);
      for (const stuff of [5, 6]) assert.is(segments_info.filter(segment => segment.category_id === stuff).length, 1);
      const covered = [...areas.values()].reduce((sum, area) => sum + area, 0);
      assert.ok(covered > 0.9 * width * height, `${covered} of ${width * height} pixels have a segment`);
    }
  }
});

test('instance: run-length encoded masks of countable objects', async () => {
  const out = join(folder, 'instance');
  const { exitCode } = await detrWebgpu(['segment', demo, '--device', 'cpu', '--task', 'instance', '--out', out]);
  assert.is(exitCode, 0);
  const { annotations } = readDataset(join(out, 'instances.json'));
  assert.ok(annotations.length > 10);
  for (const { category_id, segmentation, area, bbox } of annotations) {
    assert.ok(category_id < 5, 'sky and ground are no objects');
    assert.is(rleArea(rleFromCoco(segmentation)), area);
    assert.ok(bbox[2]! * bbox[3]! >= area);
  }
});

test('semantic: a label for every pixel', async () => {
  const out = join(folder, 'semantic');
  const args = ['segment', join(demo, 'scene-1.png'), '--device', 'cpu', '--task', 'semantic', '--out', out, '--json'];
  const { exitCode, stdout } = await detrWebgpu(args);
  assert.is(exitCode, 0);
  const [line] = jsonLines<{ segments: JsonSegment[] }>(stdout);
  const map = await readImage(join(out, 'semantic', 'scene-1.png'));
  assert.is(
    line!.segments.reduce((sum, { area }) => sum + area, 0),
    141 * 198,
  );
  for (const { id, label_id, area, segmentation } of line!.segments) {
    assert.is(id, label_id, 'as in the PNG');
    assert.is(rleArea(rleFromCoco(segmentation)), area);
    let pixels = 0;
    for (let index = 0; index < map.data.length; index += map.channels) if (map.data[index] === label_id) pixels++;
    assert.is(pixels, area);
  }
  assert.equal(
    line!.segments.slice(0, 2).map(({ label }) => label),
    ['sky', 'ground'],
  );
});

test('with --json and no --out nothing is written, and the masks are in the JSON', async () => {
  const workingFolder = temporaryFolder('nothing');
  const { exitCode, stdout } = await detrWebgpu(
    ['segment', join(demo, 'scene-3.png'), '--device', 'cpu', '--json', '--stuff', 'sky,6'],
    { workingFolder },
  );
  assert.is(exitCode, 0);
  const [line, ...others] = jsonLines<{ width: number; height: number; segments: JsonSegment[] }>(stdout);
  assert.is(others.length, 0);
  for (const { area, segmentation } of line!.segments) {
    assert.equal(segmentation.size, [line!.height, line!.width]);
    assert.is(rleArea(rleFromCoco(segmentation)), area);
  }
  assert.equal(readdirSync(workingFolder), []);
});

test('stuff is what the model is known for, what lies above the things of COCO, or what is named', () => {
  const named = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, label) => [label, `n${label}`]));
  const stuffOf = (wanted: string | undefined, count: number, stuff?: readonly number[]) =>
    [...stuffLabels(wanted, named(count), { name: '', directory: '', threshold: 0.5, stuff })].sort((a, b) => a - b);
  assert.equal(stuffOf(undefined, 7, [5, 6]), [5, 6]);
  assert.equal(stuffOf(undefined, 91), []);
  const published = stuffOf(undefined, 250);
  assert.equal([published[0], published.at(-1), published.length], [91, 249, 159]);
  assert.equal(stuffOf('n3, 5,n0', 250, [1]), [0, 3, 5]);
});

test('never writes a map over the pictures themselves', async () => {
  const pictures = join(folder, 'own', 'panoptic');
  mkdirSync(pictures, { recursive: true });
  const picture = join(pictures, 'scene-1.png');
  copyFileSync(join(demo, 'scene-1.png'), picture);
  const { exitCode, stderr } = await detrWebgpu(['segment', picture, '--device', 'cpu', '--out', join(folder, 'own')]);
  assert.is(exitCode, 2);
  assert.match(stderr, /--out: expected a folder without the pictures themselves/);
  assert.equal(readFileSync(picture), readFileSync(join(demo, 'scene-1.png')));
});

test('when no picture can be read, an earlier result stays', async () => {
  const out = temporaryFolder('earlier');
  writeFileSync(join(out, 'panoptic.json'), 'of an earlier run');
  const { exitCode, stdout } = await detrWebgpu(['segment', 'none.png', '--device', 'cpu', '--out', out]);
  assert.equal([exitCode, stdout], [1, '']);
  assert.is(readFileSync(join(out, 'panoptic.json'), 'utf8'), 'of an earlier run');
});

test.run();
