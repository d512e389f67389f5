// Synthetic checkpoints: every tensor is a pure function of its checkpoint name and shape, so that full-size models can be
// tested and timed without a download. The same bits as the Python reference that wrote the parity dumps.
import { FileError } from '../engine/errors.ts';
import { elementCount, formatShape, type HostTensor } from '../engine/host-tensor.ts';
import type { WeightSource } from './source.ts';
import { tensorNamed } from './stored-tensor.ts';

/** The configuration's say in which synthetic tensors are equal. */
export interface SyntheticOptions {
  /** For messages, for example `synthetic:facebook/detr-resnet-50`. */
  readonly name?: string;
  /** Deformable DETR: without box refinement all its heads are one, `class_embed.0` and `bbox_embed.0`. Default false. */
  readonly with_box_refine?: boolean;
}

/**
 * A checkpoint made up from names (hub naming) and shapes. Tensors are computed when they are read: about 30 ms a million
 * elements. `*.num_batches_tracked` is I64 zero, everything else F32.
 */
export function syntheticSource(
  specs: Iterable<readonly [name: string, shape: readonly number[]]>,
  options: SyntheticOptions = {},
): WeightSource {
  const sourceName = options.name ?? 'synthetic';
  const tensors = new Map(
    [...specs].map(([name, shape]) => [name, { shape, dtype: name.endsWith(counter) ? 'I64' : 'F32' }]),
  );
  return {
    name: sourceName,
    tensors,
    read: async name => {
      const { shape } = tensorNamed(tensors, name, sourceName);
      return syntheticTensor(tiedName(name, options.with_box_refine ?? false), shape);
    },
    close: async () => {},
  };
}

/** The synthetic tensor of that checkpoint name and shape, untied. */
export function syntheticTensor(name: string, shape: readonly number[]): HostTensor<Float32Array> {
  const count = elementCount(shape);
  if (!Number.isSafeInteger(count) || count < 0 || count >= 2 ** 32) {
    throw new FileError(
      { file: 'synthetic', tensor: name },
      `expected fewer than 2^32 elements, got shape ${formatShape(shape)}`,
    );
  }
  const data = new Float32Array(count);
  if (name.endsWith(counter)) return { shape, data };
  const fill = fillOf(name, shape);
  const seed = fnv1a(name);
  let previous = 0;
  for (let i = 0; i < count; i++) {
    const unit = hashedUnit(seed, i);
    let signed = 2 * unit - 1;
    if (fill.cancelsNeighbours && i % 2 === 1) signed = -previous;
    previous = signed;
    data[i] = fill.value(unit, signed);
  }
  return { shape, data };
}

const counter = 'num_batches_tracked';

interface Fill {
  /** `unit` in [0, 1), `signed` in [-1, 1); the order of operations is part of the definition. */
  readonly value: (unit: number, signed: number) => number;
  /** Every odd element is minus its left neighbour, so that a random convolution's sums stay alive. */
  readonly cancelsNeighbours: boolean;
}

function fillOf(name: string, shape: readonly number[]): Fill {
  const independent = (value: Fill['value']): Fill => ({ value, cancelsNeighbours: false });
  if (name.endsWith('.running_var')) return independent(unit => 0.5 + unit);
  if (name.endsWith('.running_mean')) return independent((_, signed) => 0.2 * signed);
  if (shape.length === 1 && name.endsWith('.weight')) {
    const endsResidualBranch = /(bn[23]|layer\.[12]\.normalization)\.weight$/.test(name);
    return independent(endsResidualBranch ? unit => 0.4 * (0.9 + 0.2 * unit) : unit => 0.9 + 0.2 * unit);
  }
  if (name.endsWith('.sampling_offsets.bias')) return independent((_, signed) => 2 * signed);
  if (shape.length <= 1) return independent((_, signed) => 0.1 * signed);
  if (/(query_position_embeddings\.weight|level_embed|(row|column)_embeddings\.weight)$/.test(name)) {
    return independent((_, signed) => signed);
  }
  const rootFanIn = Math.sqrt(elementCount(shape.slice(1)));
  const rootThree = Math.sqrt(3);
  if (name.endsWith('.sampling_offsets.weight'))
    return independent((_, signed) => (signed * rootThree * 0.3) / rootFanIn);
  const gain = gainOf(name, shape);
  return {
    value: (_, signed) => (signed * rootThree * gain) / rootFanIn,
    cancelsNeighbours: shape.length === 4,
  };
}

function gainOf(name: string, shape: readonly number[]): number {
  if (shape.length === 4 && name.includes('backbone')) return Math.sqrt(2);
  if (/(^|[._])(q|k)_?(proj|linear|content|pos)|ref_point_head|query_scale/.test(name)) return 3;
  if (/input_proj|class|bbox_(predictor|embed).*layers.2/.test(name)) return 2;
  return 1;
}

/** The name whose value a tied tensor takes: the top-level one, and head 0 unless each layer refines with its own. */
function tiedName(name: string, withBoxRefine: boolean): string {
  const head = /^(?:model\.decoder\.)?(bbox_embed|class_embed)\.(\d+)\.(.*)$/.exec(name);
  if (head === null) return name;
  const [, kind, index, rest] = head;
  return `${kind}.${withBoxRefine ? index : 0}.${rest}`;
}

/** 32-bit FNV-1a of a text's UTF-8 bytes. */
function fnv1a(text: string): number {
  let hash = 2166136261;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 16777619);
  return hash;
}

/** A 24-bit fraction in [0, 1) that depends on seed and index only. */
function hashedUnit(seed: number, index: number): number {
  let x = (seed + Math.imul(index, 0x9e3779b9)) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return ((x ^ (x >>> 15)) >>> 8) / 2 ** 24;
}
