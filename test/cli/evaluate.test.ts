import type { ChildProcess } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { CocoDataset } from '../../models/evaluation/coco-format.ts';
import type { PanopticDataset } from '../../models/evaluation/panoptic-evaluator.ts';
import { writePng } from '../../models/images/files.ts';
import { exifOf, pngChunk } from '../images/png-parts.ts';
import { readTestJson, repositoryRoot, testData } from '../support/data.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { detrWebgpu } from './run-command.ts';

interface Expected {
  readonly coco: Readonly<Record<string, number>>;
  readonly panoptic: Readonly<Record<'all' | 'things' | 'stuff', Readonly<Record<'pq' | 'sq' | 'rq' | 'n', number>>>>;
}

const expected = readTestJson<Record<string, Expected>>('scenes', 'expected.json');
const folder = temporaryFolder('evaluate');
const detection = (model: string, out: string) => [
  'evaluate',
  ...['--annotations', testData('scenes', 'instances.json'), '--images', testData('scenes', 'images')],
  ...['--model', model, '--device', 'cpu', '--out', out],
];
const panoptic = (out: string) => [
  'evaluate',
  ...['--annotations', testData('scenes', 'panoptic.json'), '--images', testData('scenes', 'images')],
  ...['--task', 'panoptic', '--device', 'cpu', '--out', out],
];

function sameMetrics(out: string, wanted: Readonly<Record<string, number>>): void {
  const metrics = JSON.parse(readFileSync(join(out, 'metrics.json'), 'utf8'));
  for (const [name, value] of Object.entries(wanted)) {
    assert.ok(Math.abs(metrics[name] - value) <= 1e-3, `${name}: expected ${value}, got ${metrics[name]}`);
  }
}

for (const model of ['scenes-detr', 'scenes-conditional-detr', 'scenes-deformable-detr']) {
  test(`${model} has the average precision that pycocotools gives transformers' detections`, async () => {
    const out = join(folder, model);
    const { exitCode, stdout, stderr } = await detrWebgpu(detection(model, out));
    assert.equal([exitCode, stderr], [0, '']);
    assert.is(stdout.match(/Average (Precision|Recall)/g)?.length, 12);
    assert.equal(readdirSync(out).sort(), ['metrics.json', 'predictions.json']);
    sameMetrics(out, expected[model]!.coco);
    const results = JSON.parse(readFileSync(join(out, 'predictions.json'), 'utf8'));
    assert.equal(Object.keys(results[0]).sort(), ['bbox', 'category_id', 'image_id', 'score']);
  });
}

test('scenes-detr-panoptic has the panoptic quality that panopticapi gives transformers', async () => {
  const out = join(folder, 'panoptic');
  const { exitCode, stdout, stderr } = await detrWebgpu(panoptic(out));
  assert.equal([exitCode, stderr], [0, '']);
  assert.match(stdout, /^All {7}\| +71\.2 /m);
  const metrics = JSON.parse(readFileSync(join(out, 'metrics.json'), 'utf8'));
  for (const group of ['all', 'things', 'stuff'] as const) {
    for (const [name, value] of Object.entries(expected['scenes-detr-panoptic']!.panoptic[group])) {
      assert.ok(
        Math.abs(metrics[group][name] - value) <= 1e-3,
        `${group} ${name}: expected ${value}, got ${metrics[group][name]}`,
      );
    }
  }
  assert.is(readdirSync(join(out, 'panoptic')).length, 24);
});

for (const signal of ['SIGINT', 'SIGKILL'] as const) {
  test(`after ${signal} the same command goes on where it stopped`, async () => {
    const out = join(folder, signal);
    const journal = join(out, 'unfinished.jsonl');
    const stopped = await detrWebgpu(detection('scenes-detr', out), {
      during: child => {
        const timer = setInterval(() => {
          if (!existsSync(journal) || readFileSync(journal, 'utf8').split('\n').length < 5) return;
          clearInterval(timer);
          child.kill(signal);
        }, 5);
        child.on('exit', () => clearInterval(timer));
      },
    });
    if (signal === 'SIGINT') {
      assert.is(stopped.exitCode, 130);
      assert.match(stopped.stderr, /^interrupted: \d+ of 24 pictures done\nrun the same command again to go on\n$/);
    } else {
      assert.is(stopped.signal, 'SIGKILL');
    }
    const done = readFileSync(journal, 'utf8').split('\n').length - 2;
    assert.ok(done >= 3 && done < 24, `${done} pictures were done`);

    const other = await detrWebgpu([...detection('scenes-detr', out), '--threshold', '0.5']);
    assert.is(other.exitCode, 2);
    assert.match(other.stderr, /record of an interrupted run with other options/);

    const empty = join(folder, `${signal}-model`);
    mkdirSync(empty);
    copyFileSync(join(repositoryRoot, 'weights/embedded/scenes-detr/config.json'), join(empty, 'config.json'));
    const unloaded = await detrWebgpu(detection(empty, out));
    assert.is(unloaded.exitCode, 2, 'the model is not even loaded');
    assert.match(unloaded.stderr, /record of an interrupted run with other options/);

    const resumed = await detrWebgpu(detection('scenes-detr', out));
    assert.is(resumed.exitCode, 0);
    assert.match(resumed.stderr, new RegExp(`^${done} pictures done before`));
    sameMetrics(out, expected['scenes-detr']!.coco);
    assert.not(existsSync(journal));
  });
}

/** The same data set with some fields changed, in a file of its own; the options name it instead. */
function withAnnotations(args: readonly string[], name: string, changes: object): string[] {
  const file = join(folder, `${name}.json`);
  const [dataset] = args.flatMap(arg => (arg.endsWith('.json') ? [JSON.parse(readFileSync(arg, 'utf8'))] : []));
  writeFileSync(file, JSON.stringify({ ...dataset, ...changes }));
  return args.map(arg => (arg.endsWith('.json') ? file : arg));
}

test('the maps of the annotations must be there, and are never overwritten', async () => {
  const data = join(folder, 'truths');
  cpSync(testData('scenes', 'panoptic'), join(data, 'panoptic'), { recursive: true });
  for (const name of ['panoptic.json', 'elsewhere.json'])
    copyFileSync(testData('scenes', 'panoptic.json'), join(data, name));
  const before = readdirSync(join(data, 'panoptic')).map(name => readFileSync(join(data, 'panoptic', name)));
  const run = (annotations: string, out: string) =>
    detrWebgpu(panoptic(out).map(arg => (arg.endsWith('panoptic.json') ? join(data, annotations) : arg)));
  const missing = await run('elsewhere.json', join(folder, 'truths-out'));
  assert.is(missing.exitCode, 2);
  assert.match(missing.stderr, /--annotations: expected the PNG files of .* in a folder .*elsewhere, got none/);
  const inPlace = await run('panoptic.json', data);
  assert.is(inPlace.exitCode, 2);
  assert.match(inPlace.stderr, /--out: expected a folder other than that of the annotations/);
  assert.equal(
    readdirSync(join(data, 'panoptic')).map(name => readFileSync(join(data, 'panoptic', name))),
    before,
  );
});

test('a run does not go on with a model that has changed', async () => {
  const model = join(folder, 'changing');
  cpSync(join(repositoryRoot, 'weights', 'embedded', 'scenes-detr'), model, { recursive: true });
  const out = join(folder, 'changing-out');
  const journal = join(out, 'unfinished.jsonl');
  const linesDone = () => (existsSync(journal) ? readFileSync(journal, 'utf8').split('\n').length - 1 : 0);
  const interruptOnceBegun = (child: ChildProcess) => {
    const timer = setInterval(() => linesDone() > 2 && child.kill('SIGKILL'), 5);
    child.on('close', () => clearInterval(timer));
  };
  await detrWebgpu(detection(model, out), { during: interruptOnceBegun });
  const done = linesDone();
  assert.ok(done > 2, 'ended too early, or not at all');
  utimesSync(join(model, 'model.safetensors'), new Date(), new Date(1e12));
  const { exitCode, stderr } = await detrWebgpu(detection(model, out));
  assert.is(exitCode, 2);
  assert.match(stderr, /is the record of an interrupted run with other options/);
  assert.is(linesDone(), done);
});

test('without a picture that can be read nothing is written, and an earlier run is kept', async () => {
  const out = join(folder, 'missing');
  mkdirSync(out);
  writeFileSync(join(out, 'metrics.json'), 'of an earlier run');
  const args = detection('scenes-detr', out).map(arg => (arg === testData('scenes', 'images') ? folder : arg));
  const { exitCode, stdout, stderr } = await detrWebgpu([...args, '--limit', '3']);
  assert.equal([exitCode, stdout], [1, '']);
  assert.match(stderr, /^3 of 3 pictures failed:\n/);
  assert.match(stderr, /expected pictures to measure the model on, got none that could be read; nothing is written\n$/);
  assert.equal(readdirSync(out), ['metrics.json']);
  assert.is(readFileSync(join(out, 'metrics.json'), 'utf8'), 'of an earlier run');
});

test('the metrics say over how many pictures they are, none of which lies outside --images', async () => {
  const out = join(folder, 'outside');
  const { images } = readTestJson<CocoDataset>('scenes', 'instances.json');
  const other = join('..', 'images', images[1]!.file_name!);
  const changed = images.slice(0, 4).map((image, index) => {
    return index === 1 ? { ...image, file_name: other } : index === 2 ? { ...image, file_name: 'none.png' } : image;
  });
  const args = withAnnotations(detection('scenes-detr', out), 'outside', { images: changed });
  const { exitCode, stdout, stderr } = await detrWebgpu(args);
  assert.is(exitCode, 1);
  assert.match(stderr, /^2 of 4 pictures failed:\n {2}\.\.\/images\/\S+: expected a file_name below --images/);
  assert.match(stdout, /^over 2 of 4 pictures\n/);
  const metrics = JSON.parse(readFileSync(join(out, 'metrics.json'), 'utf8'));
  assert.equal([metrics.images, metrics.images_listed], [2, 4]);
});

test('pictures have the size of their annotations, upright or as they are stored; others fail', async () => {
  const { images: listed, ...dataset } = readTestJson<CocoDataset>('scenes', 'instances.json');
  const images = join(folder, 'turned');
  mkdirSync(images);
  const some = listed.filter(({ width, height }) => width !== height).slice(0, 4);
  for (const { file_name: name } of some) {
    const bytes = readFileSync(testData('scenes', 'images', name!));
    const behindHeader = 33;
    const parts = [bytes.subarray(0, behindHeader), pngChunk('eXIf', exifOf(6)), bytes.subarray(behindHeader)];
    writeFileSync(join(images, name!), Buffer.concat(parts));
  }
  const run = async (out: string, from: string, changed: typeof some) => {
    const args = withAnnotations(detection('scenes-detr', join(folder, out)), out, { ...dataset, images: changed });
    return detrWebgpu(args.map(arg => (arg === testData('scenes', 'images') ? from : arg)));
  };
  const asStored = await run('upright', testData('scenes', 'images'), some);
  const turned = await run('stored', images, some);
  assert.is(turned.exitCode, 0);
  const resultsIn = (out: string) => readFileSync(join(folder, out, 'predictions.json'), 'utf8');
  assert.equal(resultsIn('stored'), resultsIn('upright'));
  assert.is(asStored.exitCode, 0);

  const resized = some.map((image, index) => (index === 0 ? { ...image, width: 2 * image.width! } : image));
  const { exitCode, stderr } = await run('resized', images, resized);
  assert.is(exitCode, 1);
  assert.match(
    stderr,
    /^1 of 4 pictures failed:\n {2}\S+: expected \d+ x \d+ pixels as in the annotations, got \d+ x \d+\n$/,
  );
});

test('maps of the annotations that are damaged or of another size leave their pictures out', async () => {
  const out = join(folder, 'odd-maps');
  const { annotations } = readTestJson<PanopticDataset>('scenes', 'panoptic.json');
  const args = withAnnotations(panoptic(out), 'maps', { annotations: annotations.slice(0, 4) });
  cpSync(testData('scenes', 'panoptic'), join(folder, 'maps'), { recursive: true });
  writeFileSync(join(folder, 'maps', annotations[0]!.file_name), 'not a picture');
  writePng(join(folder, 'maps', annotations[2]!.file_name), {
    width: 2,
    height: 1,
    channels: 3,
    data: new Uint8Array(6),
  });
  const { exitCode, stdout, stderr } = await detrWebgpu(args);
  assert.is(exitCode, 1);
  assert.match(
    stderr,
    /^2 of 4 pictures failed:\n.*: expected a PNG or JPEG file.*\n.*image \d+: expected ids of one shape/,
  );
  assert.match(stdout, /^over 2 of 4 pictures\n/);
  const { images, images_listed: all } = JSON.parse(readFileSync(join(out, 'metrics.json'), 'utf8'));
  assert.equal([images, all], [2, 4]);

  // Repaired, they are measured from what was recorded.
  cpSync(testData('scenes', 'panoptic'), join(folder, 'maps'), { recursive: true });
  const repaired = await detrWebgpu(args);
  assert.equal([repaired.exitCode, repaired.stderr], [0, `4 pictures done before (${out})\n`]);
  assert.is(JSON.parse(readFileSync(join(out, 'metrics.json'), 'utf8')).images, 4);
  assert.not(existsSync(join(out, 'unfinished.jsonl')));
});

/** The data set with every category id one higher. */
function shifted<Item extends { readonly category_id: number }>(items: readonly Item[]): Item[] {
  return items.map(item => ({ ...item, category_id: item.category_id + 1 }));
}
const oneHigher = (categories: readonly { readonly id: number }[]) =>
  categories.map(category => ({ ...category, id: category.id + 1 }));

test('labels with other ids than the categories are matched by name', async () => {
  const matched = 'labels and categories differ in their ids and are matched by their names\n';
  const boxes = readTestJson<CocoDataset>('scenes', 'instances.json');
  const out = join(folder, 'shifted');
  const args = withAnnotations(detection('scenes-detr', out), 'shifted', {
    annotations: shifted(boxes.annotations),
    categories: oneHigher(boxes.categories),
  });
  const detected = await detrWebgpu(args);
  assert.equal([detected.exitCode, detected.stderr], [0, matched]);
  sameMetrics(out, expected['scenes-detr']!.coco);

  // Without the ground, whose segments the model finds all the same.
  const regions = readTestJson<PanopticDataset>('scenes', 'panoptic.json');
  const ground = 6;
  const annotations = regions.annotations.map(annotation => {
    const segments = annotation.segments_info.filter(({ category_id: category }) => category !== ground);
    return { ...annotation, segments_info: shifted(segments) };
  });
  const categories = oneHigher(regions.categories.filter(({ id }) => id !== ground));
  const panopticArgs = withAnnotations(panoptic(out), 'regions', { annotations, categories });
  cpSync(testData('scenes', 'panoptic'), join(folder, 'regions'), { recursive: true });
  const segmented = await detrWebgpu([...panopticArgs, '--json']);
  assert.equal([segmented.exitCode, segmented.stderr], [0, matched]);
  const wanted = expected['scenes-detr-panoptic']!.panoptic.things;
  assert.ok(Math.abs(JSON.parse(segmented.stdout).things.pq - wanted.pq) <= 1e-3, segmented.stdout);
});

test('a panoptic prediction is written below --out, whatever the annotations call it', async () => {
  const dataset = readTestJson<PanopticDataset>('scenes', 'panoptic.json');
  const [annotation] = dataset.annotations;
  for (const name of ['../../outside.png', '/outside.png', 'a\\..\\..\\outside.png']) {
    const annotations = join(folder, 'hostile.json');
    writeFileSync(annotations, JSON.stringify({ ...dataset, annotations: [{ ...annotation, file_name: name }] }));
    const args = panoptic(join(folder, 'a', 'b')).map(arg => (arg.endsWith('panoptic.json') ? annotations : arg));
    const { exitCode, stderr } = await detrWebgpu(args);
    assert.is(exitCode, 1);
    assert.match(stderr, /hostile\.json: expected the name of a file below the folder of the annotations, got "/);
  }
  assert.not(existsSync(join(folder, 'outside.png')));
});

test('annotations of another kind are refused by file and entry, with the task that they are for', async () => {
  const boxes = (file: string) =>
    detection('scenes-detr', join(folder, 'wrong')).map(arg =>
      arg.endsWith('.json') ? testData('scenes', file) : arg,
    );
  const cases: [args: string[], message: RegExp][] = [
    [boxes('expected.json'), /expected\.json: images: expected a list, got nothing$/m],
    [boxes('panoptic.json'), /panoptic\.json: \S+: expected .*; these are annotations for --task panoptic$/m],
    [
      [...boxes('instances.json'), '--task', 'panoptic'],
      /instances\.json: \S+: expected .*; these are annotations for --task detection$/m,
    ],
  ];
  for (const [args, message] of cases) {
    const { exitCode, stderr } = await detrWebgpu(args);
    assert.is(exitCode, 2);
    assert.match(stderr, message);
  }
});

test.run();
