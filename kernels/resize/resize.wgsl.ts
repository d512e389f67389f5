import { type Scalar, ShapeError, type WgslProgram } from '../../engine/index.ts';
import { flatMain, flatWorkgroups, memoized } from '../wgsl.ts';

/** From source planes to output planes. */
export interface PlaneSizes {
  readonly planes: number;
  readonly height: number;
  readonly width: number;
  readonly outHeight: number;
  readonly outWidth: number;
}

const outputCount = ({ planes, outHeight, outWidth }: PlaneSizes): number => planes * outHeight * outWidth;

/** What every shader of this file knows: count, height, width, outHeight, outWidth. */
function planeScalars(sizes: PlaneSizes): Scalar[] {
  const { height, width, outHeight, outWidth } = sizes;
  return [outputCount(sizes), height, width, outHeight, outWidth];
}

/** The same and the ratios: rowRatio, columnRatio. */
function nearestScalars(sizes: PlaneSizes): Scalar[] {
  const { height, width, outHeight, outWidth } = sizes;
  const ratios = [nearestRatio(height, outHeight), nearestRatio(width, outWidth)];
  return [...planeScalars(sizes), ...ratios.map(f32 => ({ f32 }))];
}

/** The ratio of "nearest" in float32, as PyTorch computes it. */
export const nearestRatio = (size: number, outSize: number): number => Math.fround(size / outSize);

const NEAREST = /* wgsl */ `
fn nearest(place: u32, ratio: f32, size: u32) -> u32 {
  return min(u32(floor(f32(place) * ratio)), size - 1u);
}
/** Where an output's source lies. */
fn sourceAt(plane: u32, row: u32, column: u32) -> u32 {
  let sourceRow = plane * sizes.height + nearest(row, sizes.rowRatio, sizes.height);
  return sourceRow * sizes.width + nearest(column, sizes.columnRatio, sizes.width);
}`;

/** `row`, `column` and `plane` of the output at `index`. */
const PLACE = /* wgsl */ `  let column = index % sizes.outWidth;
  let row = index / sizes.outWidth % sizes.outHeight;
  let plane = index / sizes.outWidth / sizes.outHeight;`;

export interface ResidualSizes {
  readonly channels: number;
  /** Batch items that share a residual. */
  readonly repeats: number;
}

export function planResizeNearest(sizes: PlaneSizes, residual: ResidualSizes | undefined): WgslProgram {
  return {
    code: resizeNearestCode(residual !== undefined),
    workgroups: flatWorkgroups(outputCount(sizes)),
    scalars: [...nearestScalars(sizes), residual?.channels ?? 1, residual?.repeats ?? 1],
  };
}

const resizeNearestCode = memoized((residual: boolean) => {
  const declaration = '@group(0) @binding(1) var<storage, read> residual: array<f32>;';
  const residualAt = /* wgsl */ `residual[
    ((plane / sizes.channels / sizes.repeats * sizes.channels + plane % sizes.channels) * sizes.outHeight + row)
      * sizes.outWidth + column
  ]`;
  return /* wgsl */ `
struct Sizes {
  count: u32, height: u32, width: u32, outHeight: u32, outWidth: u32,
  rowRatio: f32, columnRatio: f32, channels: u32, repeats: u32,
}
@group(0) @binding(0) var<storage, read> x: array<f32>;
${residual ? declaration : ''}
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;
${NEAREST}
${flatMain(
  'sizes.count',
  /* wgsl */ `${PLACE}
  out[index] = x[sourceAt(plane, row, column)]${residual ? ` + ${residualAt}` : ''};`,
)}`;
});

export function planDownsampleMask(sizes: PlaneSizes): WgslProgram {
  return {
    code: DOWNSAMPLE_MASK,
    workgroups: flatWorkgroups(outputCount(sizes)),
    scalars: nearestScalars(sizes),
  };
}

const DOWNSAMPLE_MASK = /* wgsl */ `
struct Sizes {
  count: u32, height: u32, width: u32, outHeight: u32, outWidth: u32, rowRatio: f32, columnRatio: f32,
}
@group(0) @binding(0) var<storage, read> mask: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
${NEAREST}
${flatMain(
  'sizes.count',
  /* wgsl */ `${PLACE}
  let bits = mask[sourceAt(plane, row, column)];
  // Both zeros have no bits but the sign.
  out[index] = select(1.0, 0.0, (bits & 0x7fffffffu) == 0u);`,
)}`;

export function planResizeBilinear(sizes: PlaneSizes): WgslProgram {
  const { height, width, outHeight, outWidth } = sizes;
  if (2 * Math.max(height * outHeight, width * outWidth) >= 2 ** 32) {
    throw new ShapeError(
      `resizeBilinear: expected sizes whose product with the new ones is below 2^31, got ${height} x ${width} to ${outHeight} x ${outWidth}`,
    );
  }
  return {
    code: RESIZE_BILINEAR,
    workgroups: flatWorkgroups(outputCount(sizes)),
    scalars: planeScalars(sizes),
  };
}

const RESIZE_BILINEAR = /* wgsl */ `
struct Sizes { count: u32, height: u32, width: u32, outHeight: u32, outWidth: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
struct Between { lower: u32, upper: u32, share: f32 }
// Where an output place lies between two source places, exactly: ((2 place + 1) in / out - 1) / 2, not below 0.
fn between(place: u32, size: u32, outSize: u32) -> Between {
  let middle = (2u * place + 1u) * size;
  let position = middle - min(middle, outSize);
  let lower = position / (2u * outSize);
  return Between(lower, min(lower + 1u, size - 1u), f32(position % (2u * outSize)) / f32(2u * outSize));
}
${flatMain(
  'sizes.count',
  /* wgsl */ `${PLACE}
  let vertical = between(row, sizes.height, sizes.outHeight);
  let horizontal = between(column, sizes.width, sizes.outWidth);
  let upperRow = (plane * sizes.height + vertical.lower) * sizes.width;
  let lowerRow = (plane * sizes.height + vertical.upper) * sizes.width;
  let rest = 1.0 - vertical.share;
  let left = x[upperRow + horizontal.lower] * rest + x[lowerRow + horizontal.lower] * vertical.share;
  let right = x[upperRow + horizontal.upper] * rest + x[lowerRow + horizontal.upper] * vertical.share;
  out[index] = left * (1.0 - horizontal.share) + right * horizontal.share;`,
)}`;
