import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import type { HostTensor } from '../../engine/host-tensor.ts';
import { computeLoss, type LossConfig, type LossInputs, type LossKind } from '../../models/losses/compute-loss.ts';
import { hungarianMatcher, type ImageTargets } from '../../models/losses/matcher.ts';
import { readTestJson } from '../support/data.ts';

interface FrozenTensor {
  shape: number[];
  data: number[];
}

/** One random problem with the answers of transformers 5.18 in float64; null stands for NaN. */
interface FrozenCase {
  kind: LossKind;
  config: LossConfig;
  /** The decoder layers' predictions, the last one last. */
  layers: { logits: FrozenTensor; pred_boxes: FrozenTensor }[];
  pred_masks?: FrozenTensor;
  labels: { classLabels: number[]; boxes: FrozenTensor; masks?: FrozenTensor }[];
  loss: number | null;
  lossDict: Record<string, number | null>;
  matching: { queries: number[]; targets: number[] }[];
}

const floats = ({ shape, data }: FrozenTensor): HostTensor => ({ shape, data: Float32Array.from(data) });

const inputsOf = ({ layers, pred_masks: masks }: FrozenCase): LossInputs => {
  const predictions = layers.map(layer => ({ logits: floats(layer.logits), pred_boxes: floats(layer.pred_boxes) }));
  const last = predictions.pop()!;
  return { ...last, auxiliary_outputs: predictions, ...(masks && { pred_masks: floats(masks) }) };
};

const labelsOf = ({ labels }: FrozenCase): ImageTargets[] =>
  labels.map(({ classLabels, boxes, masks }) => ({
    classLabels,
    boxes: floats(boxes),
    ...(masks && { masks: { shape: masks.shape, data: Uint8Array.from(masks.data) } }),
  }));

const cases = readTestJson<FrozenCase[]>('losses', 'random.json');

test('losses equal those of transformers for every model', () => {
  let worst = { error: 0, what: 'none' };
  const seen = new Map<string, number>();
  cases.forEach((problem, index) => {
    const { loss, lossDict } = computeLoss(problem.kind, inputsOf(problem), labelsOf(problem), problem.config);
    assert.equal(Object.keys(lossDict), Object.keys(problem.lossDict), `case ${index}: names and order`);
    for (const [name, expected] of Object.entries({ ...problem.lossDict, loss: problem.loss })) {
      const value = name === 'loss' ? loss : lossDict[name]!;
      const what = `case ${index}, ${problem.kind}, ${name}: ${value}, expected ${expected}`;
      if (expected === null) {
        assert.ok(Number.isNaN(value), what);
        continue;
      }
      // The reference rounds the cardinality error, a diagnostic, to float32.
      const tolerance = name.startsWith('cardinality') ? 1e-7 : 1e-12;
      const error = Math.abs(value - expected) / Math.max(1, Math.abs(expected));
      assert.ok(error <= tolerance, `${what} within ${tolerance}`);
      if (!name.startsWith('cardinality') && error > worst.error) worst = { error, what };
    }
    seen.set(problem.kind, (seen.get(problem.kind) ?? 0) + 1);
  });
  assert.is(seen.size, 5);
  console.log(`${cases.length} problems, worst relative error ${worst.error.toExponential(1)} (${worst.what})`);
});

test('matchings equal those of transformers', () => {
  cases.forEach((problem, index) => {
    const { config } = problem;
    const costs = { class_cost: config.class_cost!, bbox_cost: config.bbox_cost!, giou_cost: config.giou_cost! };
    const softmax = problem.kind.startsWith('Detr') || problem.kind === 'ConditionalDetrForSegmentation';
    const found = hungarianMatcher(inputsOf(problem), labelsOf(problem), costs, softmax ? 'softmax' : 'focal');
    assert.equal(
      found.map(({ queries, targets }) => ({ queries: [...queries], targets: [...targets] })),
      problem.matching,
      `case ${index}`,
    );
  });
});

test('defaults are those of each model', () => {
  const problem = cases.find(
    ({ kind, labels }) => kind === 'ConditionalDetrForSegmentation' && labels[0]!.classLabels.length > 1,
  )!;
  for (const [kind, classCost] of [
    ['ConditionalDetrForSegmentation', 2],
    ['ConditionalDetrForObjectDetection', 2],
    ['DeformableDetrForObjectDetection', 1],
    ['DetrForSegmentation', 1],
    ['DetrForObjectDetection', 1],
  ] as const) {
    const written = {
      class_cost: classCost,
      bbox_cost: 5,
      giou_cost: 2,
      bbox_loss_coefficient: 5,
      giou_loss_coefficient: 2,
      mask_loss_coefficient: 1,
      dice_loss_coefficient: 1,
      eos_coefficient: 0.1,
      focal_alpha: 0.25,
      auxiliary_loss: false,
    };
    assert.equal(
      computeLoss(kind, inputsOf(problem), labelsOf(problem), {}),
      computeLoss(kind, inputsOf(problem), labelsOf(problem), written),
    );
  }
});

test('a tenth more or less of any default makes another loss', () => {
  // From the first query to the last the class grows likelier, and the box worse, ever faster: a little more of any cost
  // picks another query.
  const queries = 400;
  const shares = Array.from({ length: queries }, (_, query) => (query + 1) / queries);
  const outputs: LossInputs = {
    logits: { shape: [1, queries, 2], data: Float32Array.from(shares.flatMap(share => [share ** 0.3 * 3 - 2, 0])) },
    pred_boxes: {
      shape: [1, queries, 4],
      data: Float32Array.from(shares.flatMap(share => [0.5 + 0.2 * share ** 2, 0.5, 0.3, 0.3 + 0.3 * share ** 3])),
    },
    pred_masks: { shape: [1, queries, 2, 2], data: Float32Array.from({ length: 4 * queries }, (_, at) => at % 3) },
  };
  const labels = [
    {
      classLabels: [0],
      boxes: { shape: [1, 4], data: Float32Array.of(0.5, 0.5, 0.3, 0.3) },
      masks: { shape: [1, 2, 2], data: Uint8Array.of(1, 0, 0, 1) },
    },
  ];
  const box = { bbox_cost: 5, giou_cost: 2, bbox_loss_coefficient: 5, giou_loss_coefficient: 2 };
  const mask = { mask_loss_coefficient: 1, dice_loss_coefficient: 1 };
  const [softmax, focal] = [{ eos_coefficient: 0.1 }, { focal_alpha: 0.25 }];
  const defaults: Record<LossKind, LossConfig> = {
    DetrForObjectDetection: { class_cost: 1, ...box, ...softmax },
    DetrForSegmentation: { class_cost: 1, ...box, ...mask, ...softmax },
    ConditionalDetrForObjectDetection: { class_cost: 2, ...box, ...focal },
    ConditionalDetrForSegmentation: { class_cost: 2, ...box, ...mask, ...focal },
    DeformableDetrForObjectDetection: { class_cost: 1, ...box, ...focal },
  };
  for (const [kind, values] of Object.entries(defaults) as [LossKind, LossConfig][]) {
    const { loss } = computeLoss(kind, outputs, labels, {});
    assert.is(computeLoss(kind, outputs, labels, values).loss, loss, kind);
    for (const [name, value] of Object.entries(values)) {
      for (const factor of [0.9, 1.1]) {
        const changed = computeLoss(kind, outputs, labels, { [name]: factor * value }).loss;
        assert.not.equal(changed, loss, `${kind}: ${factor} of ${name}`);
      }
    }
  }
});

test('with a negative α the focal loss is not balanced', () => {
  const [logit, box] = [Float32Array.of(0.75, -0.5), Float32Array.of(0.5, 0.5, 0.2, 0.2)];
  const outputs = { logits: { shape: [1, 1, 2], data: logit }, pred_boxes: { shape: [1, 1, 4], data: box } };
  const labels = [{ classLabels: [0], boxes: { shape: [1, 4], data: box } }];
  const lossOf = (focal_alpha: number) =>
    computeLoss('DeformableDetrForObjectDetection', outputs, labels, { focal_alpha }).lossDict.loss_ce!;
  const [hit, other] = [...logit].map(value => 1 / (1 + Math.exp(-value))) as [number, number];
  const [found, wrong] = [-((1 - hit) ** 2) * Math.log(hit), -(other ** 2) * Math.log(1 - other)];
  assert.ok(Math.abs(lossOf(-1) - (found + wrong)) < 1e-9);
  assert.ok(Math.abs(lossOf(0) - wrong) < 1e-9);
  assert.ok(Math.abs(lossOf(0.75) - (0.75 * found + 0.25 * wrong)) < 1e-9);
});

test('labels may be a tensor, as preprocess returns them', () => {
  const problem = cases.find(({ labels }) => labels[0]!.classLabels.length > 1)!;
  const labels = labelsOf(problem).map((label, image) => {
    const classes = problem.labels[image]!.classLabels;
    return { ...label, classLabels: { shape: [classes.length], data: Int32Array.from(classes) } };
  });
  assert.equal(
    computeLoss(problem.kind, inputsOf(problem), labels, problem.config),
    computeLoss(problem.kind, inputsOf(problem), labelsOf(problem), problem.config),
  );
});

test('what does not fit together is refused by name', () => {
  const logits = { shape: [1, 2, 3], data: new Float32Array(6) };
  const boxes = { shape: [1, 2, 4], data: new Float32Array(8).fill(0.5) };
  const box = { shape: [1, 4], data: new Float32Array(4).fill(0.5) };
  const target: ImageTargets = { classLabels: [1], boxes: box };
  const outputs: LossInputs = { logits, pred_boxes: boxes };
  const refuses = (
    type: new (message: string) => Error,
    message: RegExp,
    changed: Partial<LossInputs>,
    labels: ImageTargets[] = [target],
    config: LossConfig = {},
    kind: LossKind = 'DetrForObjectDetection',
  ) =>
    assert.throws(
      () => computeLoss(kind, { ...outputs, ...changed }, labels, config),
      (error: Error) => error instanceof type && message.test(error.message),
      String(message),
    );
  const invalid = { shape: [1, 4], data: Float32Array.of(0.5, 0.5, -0.1, 0.5) };
  const masks = { shape: [1, 2, 2, 2], data: new Float32Array(8) };
  const segmentation = 'DetrForSegmentation';

  refuses(OptionError, /expected one of Detr/, {}, [target], {}, 'YolosForObjectDetection' as LossKind);
  refuses(ShapeError, /logits: expected \[B, Q, C\], got \[6\]/, { logits: { shape: [6], data: logits.data } });
  refuses(ShapeError, /pred_boxes: expected \[1, 2, 4\], got \[1, 4\]/, { pred_boxes: box });
  refuses(ShapeError, /one entry for each of 1 images, got 2/, {}, [target, target]);
  refuses(ShapeError, /labels\[0\]\.boxes: expected \[2, 4\], got \[1, 4\]/, {}, [{ classLabels: [1, 1], boxes: box }]);
  const labelled = (changed: object) => [{ ...target, ...changed } as ImageTargets];
  const short = { shape: [2, 4], data: new Float32Array(4).fill(0.5) };
  refuses(ShapeError, /labels\[0\]\.boxes: .* as many .* as \[2, 4\] has, got 4/, {}, labelled({ boxes: short }));
  refuses(
    OptionError,
    /labels\[0\]\.boxes: expected \{ shape, data \}/,
    {},
    labelled({ boxes: [[0.5, 0.5, 0.1, 0.1]] }),
  );
  refuses(OptionError, /labels\[0\]: expected classLabels and boxes, got/, {}, labelled({ classLabels: null }));
  refuses(OptionError, /labels\[0\]: expected classLabels and boxes, got nothing/, {}, [{} as never]);
  refuses(OptionError, /labels: expected a list of .* got \[.*null\]/, {}, [target, null as never]);
  refuses(OptionError, /labels: expected a list of .* for each image, got \[null\]/, {}, [null as never]);
  refuses(
    OptionError,
    /labels\[0\]\.classLabels: .* a typed array/,
    {},
    labelled({ classLabels: { shape: [1], data: [1] } }),
  );
  const booleans = { shape: [1, 2, 2], data: [false, false, true, false] };
  refuses(OptionError, /labels\[0\]\.masks: expected .* a typed array, got/, {}, labelled({ masks: booleans }));
  const few = { shape: [1, 2, 2], data: new Uint8Array(2) };
  refuses(ShapeError, /labels\[0\]\.masks: .* as many .* as \[1, 2, 2\] has, got 2/, {}, labelled({ masks: few }));
  refuses(OptionError, /classes from 0 to 2, got 3 at 0/, {}, [{ classLabels: [3], boxes: box }]);
  refuses(OptionError, /labels\[0\]\.boxes: .* got \[0.5,.* at 0/, {}, [{ classLabels: [1], boxes: invalid }]);
  refuses(OptionError, /pred_boxes: .* got \[NaN/, {
    pred_boxes: { shape: [1, 2, 4], data: new Float32Array(8).fill(Number.NaN) },
  });
  const short3 = new Float32Array(3);
  refuses(ShapeError, /^logits: .* as many .* as \[1, 2, 3\] has, got 3/, {
    logits: { shape: [1, 2, 3], data: short3 },
  });
  refuses(OptionError, /^pred_boxes: expected \{ shape, data \}/, { pred_boxes: [[0.5]] as never });
  const fewMasks = { shape: [1, 2, 4, 4], data: short3 };
  refuses(ShapeError, /^pred_masks: .* got 3/, { pred_masks: fewMasks }, [target], {}, segmentation);
  refuses(OptionError, /expected config in an object, got null/, {}, [target], null as never);
  refuses(OptionError, /auxiliary_outputs.* got \{\}/, { auxiliary_outputs: {} as never }, [target], {
    auxiliary_loss: true,
  });
  const costs = { class_cost: 1, bbox_cost: 5, giou_cost: 2 };
  const matches = (given: object, kind: string, message: RegExp) =>
    assert.throws(() => hungarianMatcher(outputs, [target], given as typeof costs, kind as 'focal'), message);
  assert.is(hungarianMatcher(outputs, [target], { ...costs, d_model: 256 } as typeof costs, 'focal').length, 1);
  matches(null as never, 'focal', /expected class_cost to be a number, got nothing/);
  matches({ ...costs, giou_cost: undefined }, 'focal', /expected giou_cost to be a number, got nothing/);
  matches(costs, 'sofmax', /expected softmax or focal, got "sofmax"/);
  refuses(OptionError, /a cost other than 0/, {}, [target], { class_cost: 0, bbox_cost: 0, giou_cost: 0 });
  refuses(OptionError, /expected auxiliary_outputs/, {}, [target], { auxiliary_loss: true });
  refuses(OptionError, /expected pred_masks for DetrForSegmentation/, {}, [target], {}, segmentation);
  refuses(OptionError, /labels\[0\]\.masks: .* got none/, { pred_masks: masks }, [target], {}, segmentation);
  for (const [shape, message] of [
    [[1, 4], /labels\[0\]\.masks: expected \[1, H, W\], got \[1, 4\]/],
    [[2, 1, 2], /labels\[0\]\.masks: expected \[1, H, W\], got \[2, 1, 2\]/],
  ] as const) {
    const wrong = labelled({ masks: { shape, data: new Uint8Array(4) } });
    refuses(ShapeError, message, { pred_masks: masks }, wrong, {}, segmentation);
  }
  refuses(
    ShapeError,
    /labels\[0\]\.masks: expected \[1, H, W\], got \[2, 2\]/,
    { pred_masks: masks },
    [{ ...target, masks: { shape: [2, 2], data: new Uint8Array(4) } }],
    {},
    segmentation,
  );
  refuses(
    ShapeError,
    /pred_masks: expected \[1, Q, h, w\], got \[1, 4\]/,
    { pred_masks: box },
    [target],
    {},
    segmentation,
  );
});

test.run();
