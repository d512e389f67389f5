import { AutoImageProcessor, AutoModelForObjectDetection } from '../../models/auto.ts';
import { drawDetections } from '../../models/images/draw.ts';
import { writePng } from '../../models/images/files.ts';
import { makeFolder } from '../../weights/files.ts';
import { conclude, type Picture, printAsJson, processBatches, writeResults } from '../batches.ts';
import { defineCommand } from '../command.ts';
import { findPictures, outputPaths } from '../files.ts';
import { batchOption, chooseModel, detectorOptions, embeddedSettings, withDevice } from '../models.ts';
import { flag, number, text } from '../options.ts';
import { formatDuration, formatTable, plural, printable } from '../terminal.ts';

/** An object, as HuggingFace's object detection pipeline reports it. */
interface FoundObject {
  readonly score: number;
  readonly label: string;
  readonly label_id: number;
  /** Pixels of the picture. */
  readonly box: { readonly xmin: number; readonly ymin: number; readonly xmax: number; readonly ymax: number };
}

interface Found {
  readonly objects: readonly FoundObject[];
  readonly elapsedMilliseconds: number;
}

const thresholds = Object.entries(embeddedSettings)
  .map(([name, { threshold }]) => `${threshold} for ${name}`)
  .join(', ');

export const detect = defineCommand({
  name: 'detect',
  summary: 'Find objects in pictures and draw boxes round them',
  operands: 'IMAGE…',
  minimumOperands: 1,
  description: [
    'Finds objects in PNG and JPEG pictures. An IMAGE may be a folder, for all pictures in it but not below, or - for standard input. Prints a table of labels, scores and boxes (in pixels) for every picture and writes annotated copies of the pictures to --out, small ones enlarged so that the labels can be read.',
    'A picture that cannot be read is reported at the end, the others go on; the exit code is then 1.',
  ],
  options: {
    ...detectorOptions,
    threshold: number(
      'SCORE',
      { minimum: 0, maximum: 1 },
      `Show objects with a higher score (default: what suits the model, ${thresholds}, else 0.5)`,
    ),
    out: text('DIR', 'Write annotated pictures there (default: detections; with --json only if given)'),
    json: flag('Print one line of JSON for every picture'),
    ...batchOption,
  },
  examples: [
    ['photo.jpg', 'Boxes on a picture, in detections/photo.png'],
    ['holidays/ --threshold 0.8 --out annotated', 'A folder of pictures'],
    ['photo.jpg --json | jq .', 'For other programs'],
  ],
  async run(options, operands, { signal }) {
    const chosen = await chooseModel(options.model, options.revision, signal);
    const inputs = await findPictures(operands, signal);
    const out = options.out ?? (options.json ? undefined : 'detections');
    const annotated =
      out === undefined
        ? undefined
        : outputPaths(
            inputs.map(({ path }) => path),
            out,
            '.png',
          );
    if (out !== undefined) await makeFolder(out);
    const threshold = options.threshold ?? chosen.threshold;

    return withDevice(options, async device => {
      const processor = await AutoImageProcessor.fromPretrained(chosen.directory);
      const model = await AutoModelForObjectDetection.fromPretrained(chosen.directory, { device });
      const names = model.config.id2label;

      const run = async (pictures: readonly Picture[]): Promise<Found[]> => {
        const started = performance.now();
        const images = pictures.map(({ image }) => image);
        const outputs = await model.predict(processor.preprocess(images));
        const targetSizes = images.map(({ width, height }) => [height, width] as const);
        const detections = processor.postProcessObjectDetection(outputs, { threshold, targetSizes });
        const elapsedMilliseconds = (performance.now() - started) / pictures.length;
        return detections.map(({ scores, labels, boxes }) => ({
          elapsedMilliseconds,
          objects: Array.from(scores.data, (score, index) => {
            const [xmin, ymin, xmax, ymax] = boxes.data.subarray(index * 4, index * 4 + 4);
            const label_id = labels.data[index]!;
            const label = names[label_id]!;
            return { score, label, label_id, box: { xmin: xmin!, ymin: ymin!, xmax: xmax!, ymax: ymax! } };
          }).sort((a, b) => b.score - a.score),
        }));
      };

      const finish = async ({ index, path, image }: Picture, { objects, elapsedMilliseconds }: Found) => {
        const target = annotated?.[index];
        if (target !== undefined) {
          const boxes = objects.map(({ label, label_id, score, box }) => {
            return { label, labelId: label_id, score, box: [box.xmin, box.ymin, box.xmax, box.ymax] };
          });
          writeResults(() => writePng(target, drawDetections(image, boxes)));
        }
        const { width, height } = image;
        process.stdout.write(
          options.json
            ? `${JSON.stringify({ file: path, width, height, objects, ...(target && { annotated: target }) })}\n`
            : describe(path, `${width} x ${height}`, objects, elapsedMilliseconds, target),
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
      return conclude(outcome, inputs.length);
    });
  },
});

function describe(
  path: string,
  size: string,
  objects: readonly FoundObject[],
  elapsedMilliseconds: number,
  target: string | undefined,
): string {
  const head = `${printable(path)}: ${plural(objects.length, 'object')} (${size}, ${formatDuration(elapsedMilliseconds)})\n`;
  const rows = objects.map(({ label, score, box: { xmin, ymin, xmax, ymax } }) => [
    label,
    score.toFixed(3),
    ...[xmin, ymin, xmax, ymax].map(edge => edge.toFixed(1)),
  ]);
  const numbers = ['score', 'left', 'top', 'right', 'bottom'].map(title => ({ title, align: 'right' as const }));
  const table = objects.length === 0 ? '' : formatTable([{ title: 'label' }, ...numbers], rows, 2);
  return `${head}${table}${target === undefined ? '' : `  drawn in ${printable(target)}\n`}\n`;
}
