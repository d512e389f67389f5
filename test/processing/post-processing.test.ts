import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import type { HostTensor } from '../../engine/host-tensor.ts';
import { Random } from '../../kernels/index.ts';
import {
  ConditionalDetrImageProcessor,
  DeformableDetrImageProcessor,
  DetrImageProcessor,
} from '../../models/processing/processors.ts';
import type { SegmentationOutputs } from '../../models/processing/segmentation.ts';
import { formatFixed } from '../../models/rounding.ts';
import { rejectsWith } from '../support/throws.ts';

const tensor = (shape: number[], values: readonly number[]): HostTensor => ({ shape, data: Float32Array.from(values) });
const detr = new DetrImageProcessor();
const conditional = new ConditionalDetrImageProcessor();

/** Queries in a row of `width` pixels, each sure of its label (of 4, and "no object"), each with the pixels of its digit. */
function stripes(labels: readonly number[], owners: string): SegmentationOutputs {
  const logits = labels.flatMap(label => [0, 1, 2, 3, 4].map(column => (column === label ? 9 : 0)));
  const masks = labels.flatMap((_, query) => [...owners].map(owner => (owner === `${query}` ? 8 : -8)));
  return {
    logits: tensor([1, labels.length, 5], logits),
    pred_masks: tensor([1, labels.length, 1, owners.length], masks),
  };
}

test('ids go on from a fused segment, even to one that is taken', () => {
  // Labels A (fused), B, A, C: transformers gives the ids 1, 2, 1, 2.
  const [result] = detr.postProcessPanopticSegmentation(stripes([0, 1, 0, 2], '00112233'), { labelIdsToFuse: [0] });
  assert.equal(
    result!.segmentsInfo.map(({ id, labelId, wasFused }) => [id, labelId, wasFused]),
    [
      [1, 0, true],
      [2, 1, false],
      [1, 0, true],
      [2, 2, false],
    ],
  );
  assert.equal([...result!.segmentation.data], [1, 1, 2, 2, 1, 1, 2, 2]);
});

/** Query 1 is "no object"; query 2 claims six pixels, of which query 0 wins three, and the two that nobody claims as well. */
function covered(): SegmentationOutputs {
  const outputs = stripes([0, 4, 1], '0001222.');
  outputs.pred_masks.data.fill(7, 16, 16 + 3);
  return outputs;
}

test('instances: "no object" and masks that others cover leave no segment', () => {
  const [result] = detr.postProcessInstanceSegmentation(covered());
  assert.equal([...result!.segmentation.data], [1, 1, 1, 1, 0, 0, 0, 1]);
  assert.equal(
    result!.segmentsInfo.map(({ id, labelId, wasFused }) => [id, labelId, wasFused]),
    [[1, 0, false]],
  );
  const [lenient] = detr.postProcessInstanceSegmentation(covered(), { overlapMaskAreaThreshold: 0.3 });
  assert.equal([...lenient!.segmentation.data], [1, 1, 1, 1, 2, 2, 2, 1]);
  assert.equal(
    lenient!.segmentsInfo.map(({ id, labelId }) => [id, labelId]),
    [
      [1, 0],
      [2, 1],
    ],
  );
});

test('run lengths go along the rows, from 1, for every value in turn', () => {
  const [encoded] = detr.postProcessInstanceSegmentation(covered(), { returnCocoAnnotation: true });
  assert.equal(encoded!.segmentation, [
    [5, 3],
    [1, 4, 8, 1],
  ]);
  const [two] = detr.postProcessInstanceSegmentation(stripes([0, 1], '0.11..'), { returnCocoAnnotation: true });
  assert.equal(two!.segmentation, [
    [1, 2, 5, 2],
    [3, 2],
  ]);
});

test('without a confident query the map is -1, encoded or not', () => {
  const outputs = stripes([4, 4], '0011');
  const none = { shape: [2, 3], data: new Int32Array(6).fill(-1) };
  const options = { targetSizes: [[2, 3]] as const };
  assert.equal(detr.postProcessPanopticSegmentation(outputs, options), [{ segmentation: none, segmentsInfo: [] }]);
  const encoded = detr.postProcessInstanceSegmentation(outputs, { ...options, returnCocoAnnotation: true });
  assert.equal(encoded, [{ segmentation: none, segmentsInfo: [] }]);
});

test('unless told, labels up to 90 are things and those up to 200 stuff', async () => {
  const panoptic = (label: number) => {
    const logits = tensor(
      [1, 1, 203],
      Array.from({ length: 203 }, (_, column) => (column === label ? 20 : 0)),
    );
    const [result] = detr.postProcessPanoptic({ logits, pred_masks: tensor([1, 1, 1, 8], Array(8).fill(5)) }, [[1, 8]]);
    return result!.segmentsInfo.map(({ isthing, category_id: category }) => [category, isthing]);
  };
  assert.equal([0, 90, 91, 200].flatMap(panoptic), [
    [0, true],
    [90, true],
    [91, false],
    [200, false],
  ]);
  await rejectsWith(() => panoptic(201), OptionError, /isThingMap does not say whether label 201 is a thing/);
});

test('scores and tables are rounded as Python rounds', () => {
  const cases: [value: number, digits: number, python: string][] = [
    [0.0078125, 6, '0.007812'],
    [0.0234375, 6, '0.023438'],
    [0.5078125, 6, '0.507812'],
    [Math.fround(0.123456789), 6, '0.123457'],
    [Math.fround(0.9999996), 6, '1.000000'],
    [1, 6, '1.000000'],
    [0.3125, 3, '0.312'],
    [0.4375, 3, '0.438'],
    [0.3135, 3, '0.314'],
    [-1, 3, '-1.000'],
    [62.25, 1, '62.2'],
    [62.75, 1, '62.8'],
    [0.5, 0, '0'],
    [Number.NaN, 1, 'NaN'],
  ];
  for (const [value, digits, python] of cases) assert.is(formatFixed(value, digits), python);
});

test('the semantic map is the arg max of the scores', () => {
  let seed = 3;
  const uniform = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
  const [queries, columns, height, width] = [30, 41, 50, 67];
  const logits = Array.from({ length: queries * columns }, () => 8 * (uniform() - 0.5));
  const masks = Array.from({ length: queries }, () => {
    const [x0, y0, radius] = [uniform() * width, uniform() * height, 5 + 20 * uniform()];
    return Array.from(
      { length: height * width },
      (_, at) => radius - Math.hypot((at % width) - x0, at / width - y0) + uniform(),
    );
  });
  const outputs = {
    logits: tensor([1, queries, columns], logits),
    pred_masks: tensor([1, queries, height, width], masks.flat()),
  };
  for (const processor of [detr, conditional]) {
    for (const [h, w] of [
      [120, 160],
      [50, 67],
      [23, 31],
    ] as const) {
      const options = { targetSizes: [[h, w]] as const };
      const [map] = processor.postProcessSemanticSegmentation(outputs, options);
      const [scored] = processor.postProcessSemanticSegmentation(outputs, {
        ...options,
        returnSegmentationScores: true,
      });
      const { shape, data: scores } = scored!.segmentationScores;
      assert.equal([...shape], [processor === detr ? 40 : 41, h, w]);
      let different = 0;
      for (let pixel = 0; pixel < h * w; pixel++) {
        const [a, b] = [map!.data[pixel]!, scored!.segmentation.data[pixel]!];
        if (a === b) continue;
        different++;
        const gap = Math.abs(scores[a * h * w + pixel]! - scores[b * h * w + pixel]!);
        assert.ok(gap < 1e-6, `pixel ${pixel}: ${a} and ${b} differ by ${gap}`);
      }
      assert.ok(different <= 2, `${different} pixels differ`);
    }
  }
});

test('version 4 takes the last class of Conditional DETR for "no object" in semantic segmentation', () => {
  const outputs = stripes([4, 1], '0011');
  const old = new ConditionalDetrImageProcessor({}, { behaviour: 'v4' });
  assert.equal([...conditional.postProcessSemanticSegmentation(outputs)[0]!.data], [4, 4, 1, 1]);
  assert.is(
    old.postProcessSemanticSegmentation(outputs, { returnSegmentationScores: true })[0]!.segmentationScores.shape[0],
    4,
  );
});

test('detections above the threshold, not at it; a query may have several labels', () => {
  const outputs = {
    logits: tensor([1, 2, 3], [0, 2, 2, -9, -9, 0]),
    pred_boxes: tensor([1, 2, 4], [0.5, 0.5, 0.2, 0.4, 0.25, 0.5, 0.5, 1]),
  };
  const deformable = new DeformableDetrImageProcessor();
  const [found] = deformable.postProcessObjectDetection(outputs, { threshold: 0.4, targetSizes: [[100, 200]] });
  assert.equal([...found!.labels.data], [1, 2, 0, 2]);
  assert.equal([...found!.boxes.data.subarray(0, 8)].map(Math.round), [80, 30, 120, 70, 80, 30, 120, 70]);
  assert.equal([...found!.boxes.data.subarray(12)].map(Math.round), [0, 0, 100, 100]);
  // sigmoid(0) = 0.5 exactly.
  assert.equal([...deformable.postProcessObjectDetection(outputs, { threshold: 0.5 })[0]!.labels.data], [1, 2]);
  assert.equal([...deformable.postProcessObjectDetection(outputs, { threshold: 0.5, topK: 1 })[0]!.labels.data], [1]);
  const [all] = detr.postProcessObjectDetection(outputs, { threshold: 0 });
  assert.equal([...all!.labels.data], [1, 0]);
  assert.equal(detr.postProcessObjectDetection(outputs, { threshold: 1 })[0]!.boxes.shape, [0, 4]);

  // As for torch.topk, NaN is the largest: it takes a place, then falls below the threshold.
  const logits = { shape: [1, 3, 2], data: Float32Array.of(1, Number.NaN, 3, 1, 2, 6) };
  const predictions = { logits, pred_boxes: { shape: [1, 3, 4], data: new Float32Array(12) } };
  const classes = (topK: number) => [
    ...deformable.postProcessObjectDetection(predictions, { threshold: 0.1, topK })[0]!.labels.data,
  ];
  assert.equal(classes(3), [1, 0]);
  assert.equal(classes(6), [1, 0, 0, 0, 1]);
});

test('the old methods give the best pairs of query and class, however unlikely', () => {
  const random = new Random(4);
  const outputs = { logits: random.tensor([1, 80, 5], 3, -9), pred_boxes: random.tensor([1, 80, 4]) };
  const targetSizes = [[30, 40]] as const;
  for (const [processor, topK] of [
    [conditional, 300],
    [new DeformableDetrImageProcessor(), 100],
  ] as const) {
    const [old] = processor.postProcess(outputs, targetSizes);
    assert.equal(old!.scores.shape, [topK]);
    assert.equal([old], processor.postProcessObjectDetection(outputs, { threshold: 0, topK, targetSizes }));
  }
  const best = conditional.postProcessObjectDetection(outputs, { threshold: 0 })[0]!.scores;
  assert.equal(best.shape, [100], 'unless told, the hundred best');
});

test('one class, without a column for no object', () => {
  const logits = { shape: [1, 3, 1], data: Float32Array.of(2, -1, 0.5) };
  const boxes = { shape: [1, 3, 4], data: Float32Array.of(0.5, 0.5, 1, 1, 0.5, 0.5, 0.2, 0.2, 0.25, 0.5, 0.5, 1) };
  const outputs = { logits, pred_boxes: boxes };
  for (const processor of [new ConditionalDetrImageProcessor(), new DeformableDetrImageProcessor()]) {
    const [found] = processor.postProcessObjectDetection(outputs, { targetSizes: [[10, 20]] });
    assert.equal([...found!.labels.data], [0, 0]);
    for (const [index, logit] of [2, 0.5].entries()) {
      assert.ok(Math.abs(found!.scores.data[index]! - 1 / (1 + Math.exp(-logit))) < 1e-6);
    }
    assert.equal([...found!.boxes.data], [0, 0, 20, 10, 0, 0, 10, 10]);
  }
  const masks = { shape: [1, 3, 2, 2], data: new Float32Array(12) };
  const [map] = new ConditionalDetrImageProcessor().postProcessSemanticSegmentation({ logits, pred_masks: masks });
  assert.equal(map!.shape, [2, 2]);
});

test('outputs and options that do not fit are refused', async () => {
  const outputs = { ...stripes([0, 1], '0011'), pred_boxes: tensor([1, 2, 4], [0, 0, 0, 0, 0, 0, 0, 0]) };
  const sized = (targetSizes: unknown) => ({ targetSizes: targetSizes as [number, number][] });
  const manyClasses = { logits: tensor([1, 1, 12], new Array(12).fill(0)), pred_masks: tensor([1, 1, 1, 1], [0]) };
  type Refusal = [call: () => unknown, type: typeof ShapeError | typeof OptionError, message: RegExp];
  const refusals: Refusal[] = [
    [
      () => detr.postProcessObjectDetection({ ...outputs, pred_boxes: tensor([2, 4], [0, 0, 0, 0, 0, 0, 0, 0]) }),
      ShapeError,
      /postProcessObjectDetection: expected pred_boxes \[1, 2, 4\], got \[2, 4\]/,
    ],
    [
      () => detr.postProcessObjectDetection({} as never),
      ShapeError,
      /expected logits \[B, Q, C\] with at least 2 columns, got none/,
    ],
    [
      () => detr.postProcessObjectDetection(undefined as never),
      OptionError,
      /postProcessObjectDetection: expected the outputs of a model, got nothing/,
    ],
    [
      () => detr.postProcessInstanceSegmentation(Promise.resolve(outputs) as never),
      OptionError,
      /expected the outputs of a model, got a promise, which is to be awaited/,
    ],
    [
      () => detr.postProcessPanopticSegmentation(outputs, { labelIdsToFuse: 5 as never }),
      OptionError,
      /expected labelIdsToFuse to be a list, got 5/,
    ],
    [
      () => detr.postProcessSemanticSegmentation({ logits: outputs.logits } as never),
      ShapeError,
      /expected pred_masks \[1, 2, h, w\], got none/,
    ],
    [
      () => detr.postProcessPanopticSegmentation({ ...outputs, pred_masks: tensor([1, 3, 1, 1], [0, 0, 0]) }),
      ShapeError,
      /pred_masks \[1, 2, h, w\], got \[1, 3, 1, 1\]/,
    ],
    [
      () => detr.postProcessObjectDetection(outputs, { target_sizes: [[1, 1]] } as never),
      OptionError,
      /unknown option target_sizes; did you mean targetSizes\?/,
    ],
    [
      () => detr.postProcessObjectDetection(outputs, { topK: 5 } as never),
      OptionError,
      /unknown option topK; known are threshold, targetSizes/,
    ],
    [
      () => conditional.postProcessObjectDetection(outputs, { top_k: 5 } as never),
      OptionError,
      /unknown option top_k; did you mean topK\?/,
    ],
    [
      () => detr.postProcessObjectDetection(outputs, 0.9 as never),
      OptionError,
      /postProcessObjectDetection: expected an object \{ threshold, targetSizes \}, got 0.9/,
    ],
    [() => detr.postProcessObjectDetection(outputs, null as never), OptionError, /expected an object .* got null/],
    [() => detr.postProcessSemanticSegmentation(outputs, null as never), OptionError, /an object .* got null/],
    [() => detr.postProcessObjectDetection(outputs, { threshold: 90 }), OptionError, /threshold from 0 to 1, got 90/],
    [
      () => detr.postProcessInstanceSegmentation(outputs, { maskThreshold: -1 }),
      OptionError,
      /maskThreshold from 0 to 1, got -1/,
    ],
    [
      () => detr.postProcessObjectDetection(outputs, sized([])),
      OptionError,
      /a list of \[height, width\] for each of 1 images, got 0/,
    ],
    [
      () => detr.postProcessObjectDetection(outputs, sized([[480]])),
      OptionError,
      /\[height, width\] in positive whole pixels, got \[480\]/,
    ],
    [() => detr.postProcessObjectDetection(outputs, sized([[0, 5]])), OptionError, /got \[0,5\]/],
    ...[sized([[1e6, 1e6]]), sized([[1, 1e6]])].flatMap(tooLarge =>
      [
        () => detr.postProcessPanopticSegmentation(outputs, tooLarge),
        () => detr.postProcessInstanceSegmentation(outputs, tooLarge),
        () => detr.postProcessSemanticSegmentation(outputs, tooLarge),
        () => detr.postProcessSegmentation(outputs, tooLarge.targetSizes!),
        () => detr.postProcessPanoptic(outputs, tooLarge.targetSizes!),
        () => detr.postProcessInstance([], outputs, tooLarge.targetSizes!, [[1, 4]]),
      ].map(
        (call): Refusal => [
          call,
          OptionError,
          /Sizes of at most 268435456 pixels and 65536 on a side, got (1000000|1) x 1000000/,
        ],
      ),
    ),
    [
      () =>
        detr.postProcessSemanticSegmentation(manyClasses, {
          ...sized([[16384, 16384]]),
          returnSegmentationScores: true,
        }),
      ShapeError,
      /postProcessSemanticSegmentation: expected maps of at most 2147483648 values in all, got \d+ x 16384 x 16384/,
    ],
    [
      () => detr.postProcessInstanceSegmentation(outputs, { threshold: Number.NaN }),
      OptionError,
      /expected threshold to be a number, got NaN/,
    ],
    [
      () => detr.postProcessPanopticSegmentation(outputs, { labelIdsToFuse: ['sky' as never] }),
      OptionError,
      /labelIdsToFuse of whole numbers, got "sky"/,
    ],
    [
      () => conditional.postProcessObjectDetection(outputs, { topK: 0 }),
      OptionError,
      /topK to be a positive whole number, got 0/,
    ],
    [
      () => conditional.postProcess(undefined as never, [[1, 1]]),
      OptionError,
      /postProcess: expected the outputs of a model, got nothing/,
    ],
    [() => conditional.postProcess(outputs, [[1, 1]]), ShapeError, /at least 300 pairs of query and class, got 10/],
    [
      () => detr.postProcessPanoptic(outputs, [[1, 4]], { isThingMap: {} }),
      OptionError,
      /isThingMap does not say whether label 0 is a thing/,
    ],
    [
      () => detr.postProcessInstance([], outputs, [[1, 4]], [[1, 4]]),
      OptionError,
      /postProcessInstance: expected results for 1 images, got 0/,
    ],
    [
      () => detr.postProcessPanoptic(outputs, [[1, 4]], { threshold: 50 }),
      OptionError,
      /postProcessPanoptic: expected threshold from 0 to 1, got 50/,
    ],
    ...[{ threshold: 50 }, { maskThreshold: 50 }].map(
      (options): Refusal => [
        () => detr.postProcessSegmentation(outputs, [[1, 4]], options),
        OptionError,
        /postProcessSegmentation: expected (t|maskT)hreshold from 0 to 1, got 50/,
      ],
    ),
    [
      () => detr.postProcessInstance([], outputs, [[1, 4]], [[1, 4]], 50),
      OptionError,
      /postProcessInstance: expected threshold from 0 to 1, got 50/,
    ],
    [
      () => detr.postProcessSemanticSegmentation({ ...outputs, logits: tensor([1, 2, 1], [0, 0]) }),
      ShapeError,
      /expected logits \[B, Q, C\] with at least 2 columns, got \[1, 2, 1\]/,
    ],
  ];
  for (const [call, type, message] of refusals) await rejectsWith(call, type, message);
});

test.run();
