import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Device, FileError, formatShape, type HostTensor, OptionError } from '../../engine/index.ts';
import { fileSystemError } from '../../weights/files.ts';
import { writeSafetensors } from '../../weights/index.ts';
import { isFaultOfInput } from '../batches.ts';
import { defineCommand, exitCodes } from '../command.ts';
import { withoutFile } from '../files.ts';
import { deviceOptions, withDevice } from '../models.ts';
import { flag, text } from '../options.ts';
import type { TensorComparison } from '../parity/compare.ts';
import { compareOutputs, readDump, runDump } from '../parity/dump.ts';
import { formatDuration, formatTable, ProgressBar, plural, printable, printableLines } from '../terminal.ts';

/** One dump's forward pass, repeated. */
interface ParityReport {
  readonly dump: string;
  readonly device: string;
  readonly passed: boolean;
  readonly elapsedMilliseconds: number;
  /** The first output, in the order of the forward pass, that is out of tolerance. */
  readonly firstDeparture?: string;
  readonly rows: readonly TensorComparison[];
  readonly outputs: ReadonlyMap<string, HostTensor>;
}

export const parity = defineCommand({
  name: 'parity',
  summary: 'Repeat a forward pass that PyTorch dumped, and compare every output',
  operands: 'DIR…',
  minimumOperands: 1,
  description: [
    'A DIR is a dump (dump.json, config.json, inputs and expected outputs as safetensors) or a folder of dumps. Prints one row for every output in the order of the forward pass: its shape, the largest absolute error, and of the element that is worst in terms of its own tolerance the error, the tolerance and the index. Names the first output that departs. The exit code is 0 only if everything passes.',
  ],
  options: {
    ...deviceOptions,
    write: text('FILE', 'Store the actual outputs as safetensors (with a single dump)'),
    json: flag('Print one line of JSON for every dump'),
  },
  examples: [
    ['dumps/detr-small --device cpu', 'Is the cpu device right?'],
    ['dumps --device webgpu', 'All dumps of a folder'],
    ['dumps/detr-small --write actual.safetensors', 'Keep the outputs to look at them'],
  ],
  async run(options, operands, { signal }) {
    const { write, json } = options;
    const dumps = (await Promise.all(operands.map(findDumps))).flat();
    const [first] = dumps;
    if (first?.problem !== undefined && dumps.every(({ problem }) => problem !== undefined)) throw first.problem;
    if (write !== undefined && dumps.length !== 1) {
      throw new OptionError(`--write: expected a single dump, got ${dumps.length}`);
    }
    return withDevice(options, async device => {
      const progress = new ProgressBar(dumps.length);
      let done = 0;
      let failed = 0;
      for (const { folder, problem } of dumps) {
        if (signal.aborted) break;
        progress.show(folder);
        try {
          if (problem !== undefined) throw problem;
          const report = await repeatDump(folder, device);
          if (!report.passed) failed++;
          progress.above(() => process.stdout.write(json ? toJson(report) : describe(report)));
          if (write !== undefined) await writeSafetensors(write, report.outputs);
        } catch (error) {
          if (!isFaultOfInput(error)) throw error;
          failed++;
          const message = withoutFile(error.message, folder);
          progress.above(() => {
            process.stdout.write(json ? `${JSON.stringify({ dump: folder, error: message })}\n` : '');
            process.stderr.write(`${printable(folder)}: ${printableLines(message)}\n\n`);
          });
        }
        done++;
        progress.advance(1);
      }
      progress.clear();
      if (!json && dumps.length > 1) {
        process.stdout.write(`${done - failed} of ${plural(done, 'dump')} pass on ${device.name}\n`);
      }
      if (done < dumps.length) {
        process.stderr.write(`interrupted: ${done} of ${plural(dumps.length, 'dump')} done\n`);
        return exitCodes.interrupted;
      }
      return failed > 0 ? exitCodes.failure : exitCodes.success;
    });
  },
});

interface FoundDump {
  readonly folder: string;
  /** What was thrown where there is no dump. */
  readonly problem?: unknown;
}

/** `folder` itself if it is a dump, else the dumps in it. */
async function findDumps(folder: string): Promise<FoundDump[]> {
  const isDump = (path: string) => existsSync(join(path, 'dump.json'));
  if (isDump(folder)) return [{ folder }];
  try {
    const inside = await readdir(folder);
    const dumps = inside.map(name => join(folder, name)).filter(isDump);
    if (dumps.length > 0) return dumps.sort().map(path => ({ folder: path }));
  } catch (error) {
    return [{ folder, problem: fileSystemError(folder, error) }];
  }
  const problem = new FileError({ file: folder }, 'expected a dump, or a folder of dumps: no dump.json there');
  return [{ folder, problem }];
}

async function repeatDump(folder: string, device: Device): Promise<ParityReport> {
  const dump = await readDump(folder);
  const started = performance.now();
  const outputs = await runDump(dump, device);
  const elapsedMilliseconds = performance.now() - started;
  const rows = compareOutputs(dump, outputs);
  const departed = rows.find(({ passed }) => !passed);
  return {
    dump: folder,
    device: device.name,
    passed: departed === undefined,
    elapsedMilliseconds,
    ...(departed === undefined ? {} : { firstDeparture: departed.name }),
    rows,
    outputs,
  };
}

function describe({ dump, device, passed, elapsedMilliseconds, firstDeparture, rows }: ParityReport): string {
  const table = formatTable(
    [
      { title: 'output' },
      { title: 'shape' },
      { title: 'max error', align: 'right' },
      { title: 'worst error', align: 'right' },
      { title: 'tolerance', align: 'right' },
      { title: 'index' },
      { title: '' },
    ],
    rows.map(({ name, shape, maximumError, worst, passed: within, problem }) => [
      name,
      formatShape(shape),
      problem ?? scientific(maximumError),
      ...(worst === undefined
        ? ['', '', '']
        : [scientific(worst.error), scientific(worst.tolerance), formatShape(worst.index)]),
      within ? 'ok' : 'DEPARTS',
    ]),
    2,
  );
  const passing = rows.filter(row => row.passed).length;
  const verdict = passed ? 'passes' : `FAILS, first departure: ${printable(firstDeparture!)}`;
  return `${printable(dump)} on ${device} (${formatDuration(elapsedMilliseconds)})\n${table}  ${passing} of ${plural(rows.length, 'output')} within tolerance: ${verdict}\n\n`;
}

function toJson({ outputs: _, ...report }: ParityReport): string {
  // JSON knows no infinities; they become strings.
  return `${JSON.stringify(report, (_key, value) => (typeof value === 'number' && !Number.isFinite(value) ? String(value) : value))}\n`;
}

const scientific = (value: number) => (value === 0 ? '0' : value.toExponential(1));
