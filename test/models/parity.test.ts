import { readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { TensorComparison } from '../../cli/parity/compare.ts';
import { compareOutputs, readDump, runDump } from '../../cli/parity/dump.ts';
import type { Device } from '../../engine/index.ts';
import { modelDeviceNames, openDevice } from '../kernels/devices.ts';
import { sharedData, testData } from '../support/data.ts';
import { tensorBytes } from '../support/tensor-bytes.ts';

// Forward passes of every family against PyTorch's, output by output, on every device.

/** The largest dumps are not part of the repository. */
const EXTERNAL = ['deformable-detr-resnet50', 'deformable-detr-single-scale-resnet50'];

const folders = [
  ...readdirSync(testData('dumps')).map(name => testData('dumps', name)),
  ...EXTERNAL.map(name => sharedData(`parity of ${name}`, 'dumps', name)).filter(folder => folder !== undefined),
];

for (const name of modelDeviceNames) {
  const test = suite(`parity on ${name}`);
  let device: Device;
  test.before(async () => {
    device = await openDevice(name);
  });
  test.after(() => device.destroy());
  for (const folder of folders) test(basename(folder), () => check(folder, device));
  test.run();
}

async function check(folder: string, device: Device): Promise<void> {
  const dump = await readDump(folder);
  const live = tensorBytes(device);
  const rows = compareOutputs(dump, await runDump(dump, device));
  assert.ok(rows.length > 0, 'a dump without outputs proves nothing');
  const failures = rows.filter(row => !row.passed);
  assert.is(failures.length, 0, failures.map(describe).join('\n'));
  assert.is(tensorBytes(device), live, 'a disposed model must leave no tensor behind');
}

function describe({ name, problem, worst }: TensorComparison): string {
  if (worst === undefined) return `${name}: ${problem}`;
  const { index, actual, expected, tolerance } = worst;
  return `${name}[${index}]: expected ${expected}, got ${actual}, tolerance ${tolerance}`;
}
