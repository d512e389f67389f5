// The functions of kernels/math.assembly.ts over a row of floats, for math.test.ts: (x, out, count a multiple of four).

import * as math from '../../kernels/math.assembly';

export function exp(x: usize, out: usize, count: i32): void {
  for (let i = 0; i < count << 2; i += 16) v128.store(out + i, math.exp(v128.load(x + i)));
}

export function log(x: usize, out: usize, count: i32): void {
  for (let i = 0; i < count << 2; i += 16) v128.store(out + i, math.log(v128.load(x + i)));
}

export function sigmoid(x: usize, out: usize, count: i32): void {
  for (let i = 0; i < count << 2; i += 16) v128.store(out + i, math.sigmoid(v128.load(x + i)));
}

export function tanh(x: usize, out: usize, count: i32): void {
  for (let i = 0; i < count << 2; i += 16) v128.store(out + i, math.tanh(v128.load(x + i)));
}

export function erf(x: usize, out: usize, count: i32): void {
  for (let i = 0; i < count << 2; i += 16) v128.store(out + i, math.erf(v128.load(x + i)));
}

export function softplus(x: usize, out: usize, count: i32): void {
  for (let i = 0; i < count << 2; i += 16) v128.store(out + i, math.softplus(v128.load(x + i)));
}

export function sin(x: usize, out: usize, count: i32): void {
  for (let i = 0; i < count << 2; i += 16) v128.store(out + i, math.sin(v128.load(x + i)));
}

export function cos(x: usize, out: usize, count: i32): void {
  for (let i = 0; i < count << 2; i += 16) v128.store(out + i, math.cos(v128.load(x + i)));
}
