import { basename, join } from 'node:path';
import { type HostTensor, OptionError } from '../../engine/index.ts';
import { AutoModelForImageSegmentation } from '../../models/auto.ts';
import { panopticImage, toPanopticPrediction } from '../../models/evaluation/panoptic-evaluator.ts';
import { type Rle, rleFromMask, rleToBox, rleToCoco } from '../../models/evaluation/rle.ts';
import { drawSegmentation } from '../../models/images/draw.ts';
import { writePng } from '../../models/images/files.ts';
import type { Segmentation as PostProcessed } from '../../models/processing/segmentation.ts';
import { makeFolder } from '../../weights/files.ts';
import { conclude, type Picture, printAsJson, processBatches, writeResults } from '../batches.ts';
import { defineCommand } from '../command.ts';
import { findPictures, outputPaths, refuseOverwriting, writeJsonFile } from '../files.ts';
import {
  batchOption,
  chooseModel,
  maskOptions,
  openSegmentationProcessor,
  segmenterOptions,
  stuffLabels,
  withDevice,
} from '../models.ts';
import { checkEffect, choice, flag, number, text } from '../options.ts';
import { withoutPadding } from '../padding.ts';
import { formatDuration, formatTable, plural, printable } from '../terminal.ts';

const tasks = ['panoptic', 'instance', 'semantic'] as const;
type Task = (typeof tasks)[number];

interface Segment {
  readonly id: number;
  readonly label: string;
  readonly label_id: number;
  /** Semantic segmentation has none. */
  readonly score?: number;
  /** Pixels. */
  readonly area: number;
}

interface Segmentation {
  /** Segment ids of the pixels, [H, W]; 0 for none, but in semantic segmentation, where ids are labels. */
  readonly ids: HostTensor<Int32Array>;
  readonly segments: readonly Segment[];
  readonly elapsedMilliseconds: number;
}

export const segment = defineCommand({
  name: 'segment',
  summary: 'Divide pictures into objects and regions, and tint them',
  operands: 'IMAGE…',
  minimumOperands: 1,
  description: [
    'Segments PNG and JPEG pictures. An IMAGE may be a folder, for all pictures in it but not below, or - for standard input. Prints a table of the segments of every picture and writes to --out: a copy of each picture (small ones enlarged) with its segments tinted, outlined and named, and the segments themselves.',
    'panoptic: every pixel belongs to one object or region, or to none (0); panoptic.json and panoptic/*.png in COCO format. instance: countable objects only; instances.json in COCO format with run-length encoded masks. semantic: classes without instances; semantic/*.png with one byte per pixel, the label id.',
  ],
  options: {
    ...segmenterOptions,
    task: choice(tasks, 'What to look for', 'panoptic'),
    threshold: number(
      'SCORE',
      { minimum: 0, maximum: 1 },
      'Keep objects with a higher score (default: what suits the model, else 0.5)',
    ),
    ...maskOptions,
    stuff: text('LABELS', 'Class names or ids, separated by commas, that are regions without instances (sky, grass)'),
    out: text('DIR', 'Write pictures and segments there (default: segments; with --json only if given)'),
    json: flag("Print one line of JSON for every picture, with the segments' masks in COCO's run lengths"),
    ...batchOption,
  },
  examples: [
    ['photo.jpg', 'Everything in a picture, in segments/photo.png'],
    ['pictures/ --task instance --out objects', 'Only countable objects, in a folder of pictures'],
    ['photo.jpg --task semantic', 'A class for every pixel'],
  ],
  async run(options, operands, { signal, given }) {
    const { task, maskThreshold } = options;
    if (task === 'semantic') {
      const segments = { needed: '--task panoptic or instance', got: '--task semantic' };
      checkEffect(given, ['threshold', ...Object.keys(maskOptions), 'stuff'], segments);
    }
    const chosen = await chooseModel(options.model, options.revision, signal);
    const inputs = await findPictures(operands, signal);
    const out = options.out ?? (options.json ? undefined : 'segments');
    const paths = inputs.map(({ path }) => path);
    const overlays = out === undefined ? undefined : outputPaths(paths, out, '.png');
    const mapOf = (overlay: string) => join(out!, task, basename(overlay));
    if (overlays !== undefined && task !== 'instance') refuseOverwriting(paths, overlays.map(mapOf));
    if (out !== undefined) await makeFolder(task === 'instance' ? out : join(out, task));

    return withDevice(options, async device => {
      const processor = await openSegmentationProcessor(chosen);
      const model = await AutoModelForImageSegmentation.fromPretrained(chosen.directory, { device });
      const names = model.config.id2label;
      const nameOf = (label: number) => names[label]!;
      const stuff = stuffLabels(options.stuff, names, chosen);
      const settings = {
        threshold: options.threshold ?? chosen.threshold,
        maskThreshold,
        overlapMaskAreaThreshold: options.overlapThreshold,
      };

      const run = async (pictures: readonly Picture[]): Promise<Segmentation[]> => {
        const started = performance.now();
        const images = pictures.map(({ image }) => image);
        const inputs = processor.preprocess(images);
        const outputs = await model.predict(inputs);
        const maps = withoutPadding(outputs, inputs.pixelMask, images).map(({ outputs, targetSizes, crop }) => {
          if (task === 'semantic') {
            const [labels] = processor.postProcessSemanticSegmentation(outputs, { targetSizes });
            return semanticSegments(crop(labels!), nameOf);
          }
          const [result] = processor.postProcessInstanceSegmentation(outputs, { ...settings, targetSizes });
          const { segmentation, segmentsInfo } = task === 'panoptic' ? fuse(result!, stuff) : without(result!, stuff);
          const { ids, segments } = toPanopticPrediction({ segmentation: crop(segmentation), segmentsInfo });
          return {
            ids,
            segments: segments.map(({ id, category_id, area, score }) => {
              return { id, label: nameOf(category_id), label_id: category_id, score: score!, area: area! };
            }),
          };
        });
        const elapsedMilliseconds = (performance.now() - started) / pictures.length;
        return maps.map(map => ({ ...map, elapsedMilliseconds }));
      };

      const files: FileEntry[] = [];
      const finish = async ({ index, path, image }: Picture, { ids, segments, elapsedMilliseconds }: Segmentation) => {
        const { width, height } = image;
        const overlay = overlays?.[index];
        if (overlay !== undefined) {
          const shown = segments.map(({ id, label, label_id, score }) => {
            return { id, label, labelId: label_id, ...(score === undefined ? {} : { score }) };
          });
          // First what may fail: of a picture there are all files or none.
          const map = task === 'panoptic' ? panopticImage(ids) : task === 'semantic' ? labelImage(ids) : undefined;
          writeResults(() => {
            writePng(overlay, drawSegmentation(image, { width, height, data: ids.data }, shown));
            if (map !== undefined) writePng(mapOf(overlay), map);
          });
          const entry = { id: index + 1, file: path, mapName: basename(overlay), width, height, segments };
          files.push({ ...entry, ...(task === 'instance' && { masks: segments.map(({ id }) => maskOf(ids, id)) }) });
        }
        const masked = () => segments.map(entry => ({ ...entry, segmentation: rleToCoco(maskOf(ids, entry.id)) }));
        process.stdout.write(
          options.json
            ? `${JSON.stringify({ file: path, width, height, segments: masked(), ...(overlay && { annotated: overlay }) })}\n`
            : describe(path, { width, height }, segments, elapsedMilliseconds, overlay),
        );
      };

      const outcome = await processBatches(inputs, {
        batchSize: options.batch,
        signal,
        inputSize: image => processor.resizedSize(image),
        run,
        finish,
        ...(options.json && { onFailure: printAsJson }),
      });
      await model.dispose();
      if (out !== undefined && task !== 'semantic' && files.length > 0) {
        const isThing = (label: number) => !stuff.has(label);
        const target = join(out, task === 'panoptic' ? 'panoptic.json' : 'instances.json');
        await writeJsonFile(target, cocoDataset(task, files, names, isThing));
        if (!options.json)
          process.stdout.write(`segments of ${plural(files.length, 'picture')} in ${printable(target)}\n`);
      }
      return conclude(outcome, inputs.length);
    });
  },
});

/** What is kept of a picture for the COCO file. */
interface FileEntry {
  readonly id: number;
  readonly file: string;
  readonly mapName: string;
  readonly width: number;
  readonly height: number;
  readonly segments: readonly Segment[];
  /** Of the segments, for instances. */
  readonly masks?: readonly Rle[];
}

/** The pixels of a segment, run-length encoded: maps of a folder full of pictures would fill the memory. */
function maskOf({ shape, data }: HostTensor<Int32Array>, segment: number): Rle {
  const [height, width] = shape as [number, number];
  return rleFromMask(
    data.map(id => (id === segment ? 1 : 0)),
    height,
    width,
  );
}

/** A map of labels as segments: one for every class, under the label. */
function semanticSegments(
  labels: HostTensor<Int32Array>,
  nameOf: (label: number) => string,
): Omit<Segmentation, 'elapsedMilliseconds'> {
  const areas = new Map<number, number>();
  for (const label of labels.data) areas.set(label, (areas.get(label) ?? 0) + 1);
  const segments = [...areas]
    .sort(([, a], [, b]) => b - a)
    .map(([label, area]) => ({ id: label, label: nameOf(label), label_id: label, area }));
  return { ids: labels, segments };
}

/**
 * Makes one segment of all segments of a label that is stuff. (`postProcessPanopticSegmentation` has HuggingFace's ids, which
 * may give one id to two different segments.)
 */
function fuse({ segmentation, segmentsInfo }: PostProcessed, stuff: ReadonlySet<number>): PostProcessed {
  const first = new Map<number, number>();
  const renamed = new Map<number, number>();
  const kept = segmentsInfo.filter(({ id, labelId }) => {
    const earlier = stuff.has(labelId) ? first.get(labelId) : undefined;
    if (earlier !== undefined) renamed.set(id, earlier);
    else first.set(labelId, id);
    return earlier === undefined;
  });
  const data = segmentation.data.map(id => renamed.get(id) ?? id);
  return { segmentation: { shape: segmentation.shape, data }, segmentsInfo: kept };
}

/** Leaves stuff out: its pixels belong to no segment. */
function without({ segmentation, segmentsInfo }: PostProcessed, stuff: ReadonlySet<number>): PostProcessed {
  const kept = segmentsInfo.filter(({ labelId }) => !stuff.has(labelId));
  const listed = new Set(kept.map(({ id }) => id));
  const data = segmentation.data.map(id => (listed.has(id) ? id : 0));
  return { segmentation: { shape: segmentation.shape, data }, segmentsInfo: kept };
}

/** Label ids as grey values. @throws OptionError for labels that do not fit into a byte */
function labelImage({ shape, data }: HostTensor<Int32Array>) {
  const largest = data.reduce((most, label) => Math.max(most, label), 0);
  if (largest > 255) throw new OptionError(`semantic PNG: expected labels up to 255, got ${largest}; use --json`);
  const [height, width] = shape as [number, number];
  return { width, height, channels: 1, data: Uint8Array.from(data) };
}

function cocoDataset(
  task: Task,
  files: readonly FileEntry[],
  names: Readonly<Record<number, string>>,
  isThing: (label: number) => boolean,
): object {
  const images = files.map(({ id, file, width, height }) => ({ id, file_name: basename(file), width, height }));
  const categories = Object.entries(names).map(([label, name]) => {
    return { id: Number(label), name, ...(task === 'panoptic' && { isthing: isThing(Number(label)) ? 1 : 0 }) };
  });
  if (task === 'panoptic') {
    const annotations = files.map(({ id: image_id, mapName: file_name, segments }) => ({
      image_id,
      file_name,
      segments_info: segments.map(({ id, label_id: category_id, area, score }) => {
        return { id, category_id, area, iscrowd: 0, score };
      }),
    }));
    return { images, annotations, categories };
  }
  const annotations = files.flatMap(({ id: image_id, masks, segments }) =>
    segments.map(({ label_id: category_id, score, area }, index) => {
      const rle = masks![index]!;
      return { image_id, category_id, bbox: rleToBox(rle), segmentation: rleToCoco(rle), area, iscrowd: 0, score };
    }),
  );
  return {
    images,
    annotations: annotations.map((annotation, index) => ({ id: index + 1, ...annotation })),
    categories,
  };
}

function describe(
  path: string,
  { width, height }: { width: number; height: number },
  segments: readonly Segment[],
  elapsedMilliseconds: number,
  overlay: string | undefined,
): string {
  const head = `${printable(path)}: ${plural(segments.length, 'segment')} (${width} x ${height}, ${formatDuration(elapsedMilliseconds)})\n`;
  const rows = [...segments]
    .sort((a, b) => b.area - a.area)
    .map(({ id, label, score, area }) => [
      label,
      score?.toFixed(3) ?? '',
      `${((100 * area) / (width * height)).toFixed(1)} %`,
      String(id),
    ]);
  const columns = ['score', 'area', 'id'].map(title => ({ title, align: 'right' as const }));
  const table = segments.length === 0 ? '' : formatTable([{ title: 'label' }, ...columns], rows, 2);
  return `${head}${table}${overlay === undefined ? '' : `  drawn in ${printable(overlay)}\n`}\n`;
}
