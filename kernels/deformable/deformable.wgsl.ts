import type { WgslProgram } from '../../engine/index.ts';
import { type FeatureLevels, levelsField, levelsFieldScalars, tokensOf } from '../levels.ts';
import { mathWgsl } from '../math.wgsl.ts';
import { flatMain, flatWorkgroups, memoized } from '../wgsl.ts';

/** An invocation per item of the batch. */
export function planValidRatios(
  batch: number,
  [height, width]: readonly [number, number],
  levels: number,
  level: number,
): WgslProgram {
  return {
    code: VALID_RATIOS,
    workgroups: flatWorkgroups(batch),
    scalars: [batch, height, width, levels, level],
  };
}

const VALID_RATIOS = /* wgsl */ `
struct Sizes { batch: u32, height: u32, width: u32, levels: u32, level: u32 }
@group(0) @binding(0) var<storage, read> mask: array<f32>;
@group(0) @binding(1) var<storage, read_write> ratios: array<vec2f>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
${flatMain(
  'sizes.batch',
  /* wgsl */ `
  let first = index * sizes.height * sizes.width;
  var real = vec2f(0.0);
  for (var column = 0u; column < sizes.width; column++) { real.x += mask[first + column]; }
  for (var row = 0u; row < sizes.height; row++) { real.y += mask[first + row * sizes.width]; }
  ratios[index * sizes.levels + sizes.level] = real / vec2f(f32(sizes.width), f32(sizes.height));`,
)}`;

/** An invocation per token of an item of the batch. */
export function planEncoderReferencePoints(batch: number, levels: FeatureLevels): WgslProgram {
  const tokens = tokensOf(levels);
  return {
    code: encoderReferencePointsCode(levels.length),
    workgroups: flatWorkgroups(batch * tokens),
    scalars: [...levelsFieldScalars(levels), batch, tokens, levels.length],
  };
}

const encoderReferencePointsCode = memoized(
  (levels: number) => /* wgsl */ `
struct Sizes {
  ${levelsField(levels)}
  batch: u32, tokens: u32, levelCount: u32,
}
@group(0) @binding(0) var<storage, read> ratios: array<vec2f>;
@group(0) @binding(1) var<storage, read_write> references: array<vec2f>;
@group(0) @binding(2) var<uniform> sizes: Sizes;

${flatMain(
  'sizes.batch * sizes.tokens',
  /* wgsl */ `
  let batch = index / sizes.tokens;
  let token = index % sizes.tokens;
  var level = 0u;
  while (level + 1u < sizes.levelCount && token >= sizes.levels[level + 1u].z) { level++; }
  let map = sizes.levels[level];
  let cell = token - map.z;
  let place = vec2f(vec2u(cell % map.y, cell / map.y)) + 0.5;
  let first = batch * sizes.levelCount;
  let reference = place / (ratios[first + level] * vec2f(map.yx));
  for (var other = 0u; other < sizes.levelCount; other++) {
    references[index * sizes.levelCount + other] = reference * ratios[first + other];
  }`,
)}`,
);

export interface ProposalSizes {
  readonly batch: number;
  readonly tokens: number;
  /** Channels. */
  readonly width: number;
  readonly levels: number;
  readonly level: number;
  readonly size: readonly [height: number, width: number];
  /** Token of the level's first cell. */
  readonly start: number;
  /** Infinite where the level's proposals are too small or too big. */
  readonly sizeLogit: number;
}

/** An invocation per channel of a token of the level; that of the first channel writes the proposal. */
export function planTwoStageProposals(sizes: ProposalSizes): WgslProgram {
  const { batch, tokens, width, levels, level, size, start, sizeLogit } = sizes;
  const valid = Number.isFinite(sizeLogit);
  return {
    code: TWO_STAGE_PROPOSALS,
    workgroups: flatWorkgroups(batch * size[0] * size[1] * width),
    scalars: [batch, tokens, width, levels, level, ...size, start, valid ? 1 : 0, { f32: valid ? sizeLogit : 0 }],
  };
}

const TWO_STAGE_PROPOSALS = /* wgsl */ `${mathWgsl('logOf')}
struct Sizes {
  batch: u32, tokens: u32, width: u32, levels: u32, level: u32, rows: u32, columns: u32, start: u32, valid: u32,
  sizeLogit: f32,
}
@group(0) @binding(0) var<storage, read> memory: array<f32>;
@group(0) @binding(1) var<storage, read> mask: array<f32>;
@group(0) @binding(2) var<storage, read> ratios: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> logits: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> candidates: array<f32>;
@group(0) @binding(5) var<uniform> sizes: Sizes;

const INFINITY = 0x7f800000u;

// 0.01 < (place + 0.5) / size < 0.99, in integers: divisions are not exact.
fn within(place: u32, size: u32) -> bool {
  let hundredfold = 100u * place + 50u;
  return hundredfold > size && hundredfold < 99u * size;
}

fn centreLogit(place: u32, size: u32) -> f32 {
  let centre = f32(place) + 0.5;
  return logOf(centre / (f32(size) - centre));
}

${flatMain(
  'sizes.batch * sizes.rows * sizes.columns * sizes.width',
  /* wgsl */ `
  let channel = index % sizes.width;
  let cell = (index / sizes.width) % (sizes.rows * sizes.columns);
  let batch = index / (sizes.width * sizes.rows * sizes.columns);
  let token = batch * sizes.tokens + sizes.start + cell;
  let real = ratios[batch * sizes.levels + sizes.level] * vec2f(f32(sizes.columns), f32(sizes.rows));
  let realColumns = u32(round(real.x));
  let realRows = u32(round(real.y));
  let column = cell % sizes.columns;
  let row = cell / sizes.columns;
  let valid = sizes.valid == 1u && mask[batch * sizes.rows * sizes.columns + cell] != 0.0
    && within(column, realColumns) && within(row, realRows);
  candidates[token * sizes.width + channel] = select(0.0, memory[token * sizes.width + channel], valid);
  if (channel == 0u) {
    var proposal = vec4<u32>(INFINITY);
    if (valid) {
      proposal = bitcast<vec4<u32>>(
        vec4f(centreLogit(column, realColumns), centreLogit(row, realRows), sizes.sizeLogit, sizes.sizeLogit),
      );
    }
    logits[token] = proposal;
  }`,
)}`;
