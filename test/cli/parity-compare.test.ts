import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareTensor, inForwardOrder, matchQueries, type Tolerance } from '../../cli/parity/compare.ts';
import type { HostTensor } from '../../engine/host-tensor.ts';

const tolerance: Tolerance = { atol: 1e-4, rtol: 1e-2, float32Noise: new Map([['noisy', 1e-3]]) };
const tensor = (shape: number[], values: number[]): HostTensor => ({ shape, data: Float32Array.from(values) });
const compare = (actual: number[], expected: number[], name = 'x') =>
  compareTensor(name, tensor([actual.length], actual), tensor([expected.length], expected), tolerance);

test('an element passes within atol + rtol · |expected|', () => {
  assert.ok(compare([1.01, 0.00009], [1, 0]).passed);
  const report = compare([0, 1.0103, -2], [0, 1, -2]);
  assert.not(report.passed);
  assert.is(report.failed, 1);
  assert.equal(report.worst?.index, [1]);
  assert.ok(Math.abs(report.worst!.error - 0.0103) < 1e-6 && Math.abs(report.worst!.tolerance - 0.0101) < 1e-9);
});

test("four times the reference's own noise takes the place of a smaller atol", () => {
  assert.ok(compare([0.0039], [0], 'noisy').passed);
  assert.not(compare([0.0041], [0], 'noisy').passed);
  assert.not(compare([0.0039], [0]).passed);
});

test('the worst element is the one with the largest error in tolerances', () => {
  const report = compare([100.5, 0.0003], [100, 0]);
  assert.equal(report.worst?.index, [1]);
  assert.ok(Math.abs(report.maximumError - 0.5) < 1e-6);
});

test('expected NaN is not compared, everything else about NaN and infinities is strict', () => {
  const report = compare([123, 1], [Number.NaN, 1]);
  assert.ok(report.passed && report.compared === 1);
  const infinity = Number.POSITIVE_INFINITY;
  assert.ok(compare([infinity, -infinity], [infinity, -infinity]).passed);
  for (const [got, wanted] of [
    [infinity, -infinity],
    [3e38, infinity],
    [infinity, 3e38],
    [Number.NaN, 0],
    [Number.NaN, infinity],
  ] as const) {
    const wrong = compare([got], [wanted]);
    assert.not(wrong.passed, `${got} for ${wanted}`);
    assert.is(wrong.worst!.error, infinity);
  }
});

test('missing and misshapen tensors fail', () => {
  const expected = tensor([2, 3], [0, 0, 0, 0, 0, 0]);
  assert.is(compareTensor('x', undefined, expected, tolerance).problem, 'missing');
  assert.is(compareTensor('x', tensor([3, 2], [0, 0, 0, 0, 0, 0]), expected, tolerance).problem, 'shape [3, 2]');
  assert.not(compareTensor('x', undefined, expected, tolerance).passed);
});

test('indices have the rank of the tensor, scalars none', () => {
  const shape = [2, 3, 4];
  const expected = tensor(shape, new Array(24).fill(0));
  const actual = tensor(shape, new Array(24).fill(0).fill(1, 17, 18));
  assert.equal(compareTensor('x', actual, expected, tolerance).worst?.index, [1, 1, 1]);
  assert.equal(compareTensor('x', tensor([], [1]), tensor([], [0]), tolerance).worst?.index, []);
});

test('queries are matched by their reference points in every output that has one row per query', () => {
  const expected = new Map([
    ['init_reference_points', tensor([2, 3, 2], [0.1, 0.1, 0.5, 0.5, 0.9, 0.9, 1, 1, 2, 2, 3, 3])],
  ]);
  const actual = new Map([
    ['init_reference_points', tensor([2, 3, 2], [0.5, 0.5, 0.9, 0.9, 0.1, 0.1, 1, 1, 3, 3, 2, 2])],
    ['logits', tensor([2, 3, 1], [5, 9, 1, 1, 3, 2])],
    ['intermediate_hidden_states', tensor([2, 2, 3, 1], [5, 9, 1, 50, 90, 10, 1, 3, 2, 10, 30, 20])],
    [
      'decoder_attentions.0',
      tensor([2, 1, 3, 3], [55, 59, 51, 95, 99, 91, 15, 19, 11, 11, 13, 12, 31, 33, 32, 21, 23, 22]),
    ],
    ['enc_outputs_class', tensor([2, 3, 1], [5, 9, 1, 1, 3, 2])],
  ]);
  const matched = matchQueries(actual, expected);
  assert.equal([...matched.get('init_reference_points')!.data], [...expected.get('init_reference_points')!.data]);
  assert.equal([...matched.get('logits')!.data], [1, 5, 9, 1, 2, 3]);
  assert.equal([...matched.get('intermediate_hidden_states')!.data], [1, 5, 9, 10, 50, 90, 1, 2, 3, 10, 20, 30]);
  assert.equal(
    [...matched.get('decoder_attentions.0')!.data],
    [11, 15, 19, 51, 55, 59, 91, 95, 99, 11, 12, 13, 21, 22, 23, 31, 32, 33],
  );
  assert.equal([...matched.get('enc_outputs_class')!.data], [5, 9, 1, 1, 3, 2], 'encoder outputs have no queries');
});

test('outputs are reported in the order of the forward pass', () => {
  const ordered = [
    'encoder_hidden_states.0',
    'encoder_attentions.0',
    'encoder_hidden_states.1',
    'encoder_attentions.1',
    'encoder_hidden_states.2',
    'encoder_last_hidden_state',
    'enc_outputs_class',
    'init_reference_points',
    'decoder_hidden_states.0',
    'decoder_attentions.0',
    'cross_attentions.0',
    'decoder_hidden_states.1',
    'decoder_hidden_states.10',
    'last_hidden_state',
    'auxiliary_outputs.0.logits',
    'logits',
    'pred_boxes',
    'loss_dict.loss_ce',
    'loss',
    'something_new',
  ];
  assert.equal(inForwardOrder([...ordered].sort()), ordered);
  assert.equal(inForwardOrder([...ordered].reverse()), ordered);
});

test.run();
