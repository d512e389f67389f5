import type { WgslProgram } from '../../engine/index.ts';
import { type Activation, activationWgsl } from '../activation.ts';
import type { BroadcastPlan } from '../broadcast.ts';
import { mathWgsl } from '../math.wgsl.ts';
import { flatMain, flatWorkgroups, memoized } from '../wgsl.ts';

/** Four elements per invocation where the rows allow it. */
export function planBinary(operator: '+' | '*', { sizes, strides }: BroadcastPlan): WgslProgram {
  const inner = sizes[3];
  const count = sizes[0] * sizes[1] * sizes[2] * inner;
  const width = inner % 4 === 0 ? 4 : 1;
  const [aStrides, bStrides] = strides as [BroadcastPlan['sizes'], BroadcastPlan['sizes']];
  const flat = inner === count;
  return {
    code: binaryCode(operator, width, flat, aStrides[3] !== 0, bStrides[3] !== 0),
    workgroups: flatWorkgroups(count / width),
    scalars: [count / width, sizes[1], sizes[2], inner / width, ...aStrides.slice(0, 3), ...bStrides.slice(0, 3)],
  };
}

/**
 * @param width elements per invocation
 * @param flat there is one long row
 * @param aVaries, bVaries whether the operand changes along the row, or repeats one value
 */
const binaryCode = memoized((operator: '+' | '*', width: 1 | 4, flat: boolean, aVaries: boolean, bVaries: boolean) => {
  const vector = width === 4 ? 'vec4f' : 'f32';
  const operand = (name: string, varies: boolean): string => {
    const start = flat ? '0u' : `i0 * sizes.${name}0 + i1 * sizes.${name}1 + i2 * sizes.${name}2`;
    return varies ? `${name}[(${start}) / ${width}u + i3]` : `${vector}(${name}[${start}])`;
  };
  const axes = flat
    ? '  let i3 = index;'
    : /* wgsl */ `  let i3 = index % sizes.size3;
  let row = index / sizes.size3;
  let i2 = row % sizes.size2;
  let plane = row / sizes.size2;
  let i1 = plane % sizes.size1;
  let i0 = plane / sizes.size1;`;
  return /* wgsl */ `
struct Sizes {
  count: u32, size1: u32, size2: u32, size3: u32,
  a0: u32, a1: u32, a2: u32,
  b0: u32, b1: u32, b2: u32,
}
@group(0) @binding(0) var<storage, read> a: array<${aVaries ? vector : 'f32'}>;
@group(0) @binding(1) var<storage, read> b: array<${bVaries ? vector : 'f32'}>;
@group(0) @binding(2) var<storage, read_write> out: array<${vector}>;
@group(0) @binding(3) var<uniform> sizes: Sizes;
${flatMain('sizes.count', `${axes}\n  out[index] = ${operand('a', aVaries)} ${operator} ${operand('b', bVaries)};`)}`;
});

/** Computes every output from the input at its place. */
function planUnary(count: number, codeOf: (width: 1 | 4) => string): WgslProgram {
  const width = count % 4 === 0 ? 4 : 1;
  return { code: codeOf(width), workgroups: flatWorkgroups(count / width), scalars: [count / width] };
}

function unaryCode(functions: string, name: string, width: 1 | 4): string {
  const vector = width === 4 ? 'vec4f' : 'f32';
  return /* wgsl */ `${functions}
struct Sizes { count: u32 }
@group(0) @binding(0) var<storage, read> x: array<${vector}>;
@group(0) @binding(1) var<storage, read_write> out: array<${vector}>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
${flatMain('sizes.count', `  out[index] = ${name}${width === 4 ? '4' : ''}(x[index]);`)}`;
}

export function planActivate(count: number, activation: Activation): WgslProgram {
  return planUnary(count, width => activateCode(activation, width));
}

const activateCode = memoized((activation: Activation, width: 1 | 4) =>
  unaryCode(activationWgsl(activation), 'activate', width),
);

const INVERSE_SIGMOID = /* wgsl */ `${mathWgsl('logOf', 'clampOf', 'isNaNOf')}
fn inverseSigmoid(x: f32) -> f32 {
  let inside = clampOf(x, 0.0, 1.0);
  return select(logOf(max(inside, 1e-5) / max(1.0 - inside, 1e-5)), x, isNaNOf(x));
}
fn inverseSigmoid4(x: vec4f) -> vec4f {
  return vec4f(inverseSigmoid(x.x), inverseSigmoid(x.y), inverseSigmoid(x.z), inverseSigmoid(x.w));
}`;

export function planInverseSigmoid(count: number): WgslProgram {
  return planUnary(count, inverseSigmoidCode);
}

const inverseSigmoidCode = memoized((width: 1 | 4) => unaryCode(INVERSE_SIGMOID, 'inverseSigmoid', width));
