import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { HostTensor } from '../../engine/host-tensor.ts';
import type { Detections } from '../../models/processing/detection.ts';
import { testData } from '../support/data.ts';
import { assertAsExpected, type ReferenceCall, type ReferenceCase, readTensors, runCase } from './reference-case.ts';

// test/data/processing/make_fuzz.py: random calls with ties, empty results, single queries, everything kept. A larger set
// of one's own is tried with FUZZ_CASES=FOLDER.
const folder = process.env.FUZZ_CASES ?? testData('processing', 'fuzz');

/** The rows of a detection result; rows of equal score in the order of labels and boxes, for top-k leaves it open. */
function rowsOf({ scores, labels, boxes }: Detections): Detections {
  const order = Array.from(scores.data.keys()).sort((a, b) => {
    const byLabel = Number(labels.data[a]) - Number(labels.data[b]);
    const byBox = [0, 1, 2, 3]
      .map(i => boxes.data[4 * a + i]! - boxes.data[4 * b + i]!)
      .find(difference => difference !== 0);
    return scores.data[b]! - scores.data[a]! || byLabel || (byBox ?? 0);
  });
  return {
    scores: { shape: scores.shape, data: Float32Array.from(order, row => scores.data[row]!) },
    labels: { shape: labels.shape, data: Int32Array.from(order, row => Number(labels.data[row])) },
    boxes: {
      shape: boxes.shape,
      data: Float32Array.from(order.flatMap(row => [...boxes.data.subarray(4 * row, 4 * row + 4)])),
    },
  };
}

function withOrderedRows(reference: ReferenceCase): ReferenceCase {
  const tensors = new Map(reference.tensors);
  for (let image = 0; tensors.has(`.${image}.scores`); image++) {
    const get = (field: string) => tensors.get(`.${image}.${field}`);
    const rows = rowsOf({
      scores: get('scores') as HostTensor,
      labels: get('labels') as HostTensor<Int32Array>,
      boxes: get('boxes') as HostTensor,
    });
    for (const [field, tensor] of Object.entries(rows)) tensors.set(`.${image}.${field}`, tensor);
  }
  return { ...reference, tensors };
}

const calls = JSON.parse(readFileSync(join(folder, 'fuzz.json'), 'utf8')) as ReferenceCall[];
const all = await readTensors(join(folder, 'fuzz.safetensors'));

function caseAt(index: number): ReferenceCase {
  const tensorsIn = (part: string) => {
    const prefix = `${index}/${part}/`;
    const names = [...all.keys()].filter(name => name.startsWith(prefix));
    return new Map(names.map(name => [name.slice(prefix.length), all.get(name)!]));
  };
  const call = calls[index]!;
  return {
    ...call,
    name: `case ${index} ${call.class} ${call.method}`,
    inputs: tensorsIn('inputs'),
    tensors: tensorsIn('expected'),
  };
}

for (const method of new Set(calls.map(call => call.method))) {
  test(method, () => {
    const failures: string[] = [];
    let compared = 0;
    for (const [index, call] of calls.entries()) {
      if (call.method !== method) continue;
      compared++;
      let reference = caseAt(index);
      let result = runCase(reference);
      if (method === 'post_process_object_detection' && call.class !== 'DetrImageProcessor') {
        reference = withOrderedRows(reference);
        result = (result as Detections[]).map(rowsOf);
      }
      try {
        assertAsExpected(result, reference);
      } catch (error) {
        failures.push((error as Error).message);
      }
    }
    assert.ok(compared > 0);
    assert.equal(failures, [], failures.join('\n'));
  });
}

test.run();
