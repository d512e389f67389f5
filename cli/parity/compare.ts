// B batch, L decoder layers, Q queries, N heads, R reference coordinates (2 or 4)
import { elementCount, formatShape, type HostTensor, sameShape } from '../../engine/host-tensor.ts';
import { linearSumAssignment } from '../../models/losses/linear-sum-assignment.ts';

/** Tensors by the name that HuggingFace gives them; members of lists and records after a dot: `encoder_hidden_states.0`. */
export type NamedTensors = ReadonlyMap<string, HostTensor>;

export interface Tolerance {
  /** Absolute, for every tensor. */
  readonly atol: number;
  /** Relative to the expected value. */
  readonly rtol: number;
  /** How far the reference's own float32 run is from the expected values (largest difference), by tensor. */
  readonly float32Noise: ReadonlyMap<string, number>;
}

export interface WorstElement {
  readonly index: readonly number[];
  readonly actual: number;
  readonly expected: number;
  readonly error: number;
  readonly tolerance: number;
}

export interface TensorComparison {
  readonly name: string;
  readonly shape: readonly number[];
  readonly passed: boolean;
  /** Elements that were compared; NaN in the expected values marks those that are not. */
  readonly compared: number;
  readonly failed: number;
  /** Largest |actual - expected|; NaN when values are not comparable. */
  readonly maximumError: number;
  /** The element that is farthest from its tolerance, measured in tolerances. */
  readonly worst?: WorstElement;
  /** Why there is nothing to compare. */
  readonly problem?: string;
}

/**
 * Compares a tensor with its expected values. An element passes when it is within
 * max(atol, 4 · float32Noise) + rtol · |expected|; an expected NaN is not compared, an expected infinity must be met.
 */
export function compareTensor(
  name: string,
  actual: HostTensor | undefined,
  expected: HostTensor,
  tolerance: Tolerance,
): TensorComparison {
  const { shape } = expected;
  const incomparable = (problem: string): TensorComparison => {
    return { name, shape, passed: false, compared: 0, failed: elementCount(shape), maximumError: Number.NaN, problem };
  };
  if (actual === undefined) return incomparable('missing');
  if (!sameShape(actual.shape, shape)) return incomparable(`shape ${formatShape(actual.shape)}`);

  const floor = Math.max(tolerance.atol, 4 * (tolerance.float32Noise.get(name) ?? 0));
  let compared = 0;
  let failed = 0;
  let maximumError = 0;
  let worstRatio = -1;
  let worst: WorstElement | undefined;
  for (let index = 0; index < expected.data.length; index++) {
    const wanted = expected.data[index]!;
    if (Number.isNaN(wanted)) continue;
    compared++;
    const got = actual.data[index]!;
    const allowed = Number.isFinite(wanted) ? floor + tolerance.rtol * Math.abs(wanted) : 0;
    const error = errorOf(got, wanted);
    if (!(error <= allowed)) failed++;
    if (error > maximumError) maximumError = error;
    const ratio = error === 0 ? 0 : error / allowed;
    if (ratio > worstRatio) {
      worstRatio = ratio;
      worst = { index: unravel(index, shape), actual: got, expected: wanted, error, tolerance: allowed };
    }
  }
  return {
    name,
    shape,
    passed: failed === 0,
    compared,
    failed,
    maximumError,
    ...(worst === undefined ? {} : { worst }),
  };
}

/** NaN where a number should be counts as infinitely wrong; equal infinities are no error. */
function errorOf(actual: number, expected: number): number {
  if (actual === expected) return 0;
  const error = Math.abs(actual - expected);
  return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
}

function unravel(flatIndex: number, shape: readonly number[]): number[] {
  const index: number[] = [];
  let rest = flatIndex;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(rest % shape[axis]!);
    rest = Math.floor(rest / shape[axis]!);
  }
  return index;
}

/** The axes along which an output holds one row for every query. */
const queryAxes: readonly (readonly [name: RegExp, axes: readonly number[]])[] = [
  [/^(last_hidden_state|logits|pred_boxes|pred_masks|init_reference_points)$/, [1]],
  [/^(decoder_hidden_states|cross_attentions|auxiliary_outputs)\./, [1]],
  [/^(intermediate_hidden_states|intermediate_reference_points)$/, [2]],
  [/^decoder_attentions\./, [2, 3]],
];

/**
 * Brings the queries of a two-stage model into the expected order. Such a model picks its queries by the best scores of
 * the encoder's proposals, and the order of nearly equal scores is nobody's to say; queries are matched by their initial
 * reference points [B, Q, R], all at once so that no query is matched twice.
 */
export function matchQueries(actual: NamedTensors, expected: NamedTensors): NamedTensors {
  const found = actual.get('init_reference_points');
  const wanted = expected.get('init_reference_points');
  if (found === undefined || wanted === undefined || !sameShape(found.shape, wanted.shape)) return actual;
  const [batch, queries, coordinates] = wanted.shape as readonly [number, number, number];
  const order: Int32Array[] = [];
  for (let image = 0; image < batch; image++) {
    const costs = new Float64Array(queries * queries);
    for (let row = 0; row < queries; row++) {
      for (let column = 0; column < queries; column++) {
        let distance = 0;
        for (let axis = 0; axis < coordinates; axis++) {
          const at = (query: number) => (image * queries + query) * coordinates + axis;
          distance += Math.abs(wanted.data[at(row)]! - found.data[at(column)]!);
        }
        costs[row * queries + column] = Number.isFinite(distance) ? distance : 1e6;
      }
    }
    order.push(linearSumAssignment(costs, queries, queries).columns);
  }
  return new Map(
    [...actual].map(([name, tensor]) => {
      const axes = queryAxes.find(([pattern]) => pattern.test(name))?.[1] ?? [];
      return [name, axes.reduce((reordered, axis) => reorder(reordered, axis, order), tensor)];
    }),
  );
}

/** Takes row `order[image][q]` of `axis` to row q, for every image of the batch (axis 0). */
function reorder({ shape, data }: HostTensor, axis: number, order: readonly Int32Array[]): HostTensor {
  const rows = shape[axis];
  if (rows === undefined || shape[0] !== order.length || rows !== order[0]?.length) return { shape, data };
  const outer = elementCount(shape.slice(1, axis));
  const inner = elementCount(shape.slice(axis + 1));
  const result = new Float32Array(data.length);
  for (let image = 0; image < order.length; image++) {
    for (let block = 0; block < outer; block++) {
      const start = (image * outer + block) * rows * inner;
      for (let row = 0; row < rows; row++) {
        const from = start + order[image]![row]! * inner;
        result.set(data.subarray(from, from + inner), start + row * inner);
      }
    }
  }
  return { shape, data: result };
}

/** Output names in the order in which a forward pass makes them. */
const forwardOrder = [
  'encoder_hidden_states',
  'encoder_attentions',
  'encoder_last_hidden_state',
  'enc_outputs_class',
  'enc_outputs_coord_logits',
  'init_reference_points',
  'decoder_hidden_states',
  'decoder_attentions',
  'cross_attentions',
  'intermediate_hidden_states',
  'intermediate_reference_points',
  'last_hidden_state',
  'auxiliary_outputs',
  'logits',
  'pred_boxes',
  'pred_masks',
  'loss_dict',
  'loss',
];

/** Sorts output names by when a forward pass makes them: layer by layer, attention before the state that follows from it. */
export function inForwardOrder(names: Iterable<string>): string[] {
  const keyOf = (name: string): [stage: number, layer: number, step: number, rest: string] => {
    const [head, member = '', ...rest] = name.split('.') as [string, string?, ...string[]];
    const known = forwardOrder.indexOf(head);
    const place = known === -1 ? forwardOrder.length : known;
    const layer = /^\d+$/.test(member) ? Number(member) : 0;
    const isState = head.endsWith('coder_hidden_states');
    const isAttention = /^(encoder|decoder|cross)_attentions$/.test(head);
    if (isState || isAttention) {
      // State 0 is the input of layer 0, state n + 1 its output.
      const stack = forwardOrder.indexOf(
        head.startsWith('encoder') ? 'encoder_hidden_states' : 'decoder_hidden_states',
      );
      return [stack, isState ? layer : layer + 0.5, place, ''];
    }
    return [place, layer, 0, [member, ...rest].join('.')];
  };
  return [...names]
    .map(name => ({ name, key: keyOf(name) }))
    .sort((a, b) => {
      for (let part = 0; part < 3; part++) {
        const difference = (a.key[part] as number) - (b.key[part] as number);
        if (difference !== 0) return difference;
      }
      return a.key[3] < b.key[3] ? -1 : a.key[3] > b.key[3] ? 1 : 0;
    })
    .map(({ name }) => name);
}
