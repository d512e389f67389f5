import { DeviceError } from './errors.ts';
import type { Tensor } from './tensor.ts';

/**
 * A number that a kernel receives beside its tensors. Integers are written as they are (u32 or i32 in the shader),
 * floats as `{ f32: value }`. Every scalar takes four bytes, in order.
 */
export type Scalar = number | { readonly f32: number };

/** Floating point operations (a multiply-add counts two) and bytes that a launch must at least move. */
export interface Cost {
  readonly flops: number;
  readonly bytes: number;
}

/** What a WGSL kernel may choose its form by. */
export interface AdapterTraits {
  /** A software adapter (llvmpipe, SwiftShader): barriers and workgroup memory cost more than they save. */
  readonly software: boolean;
  readonly subgroups: boolean;
  /** Invocations per subgroup where it is always the same, else 0. */
  readonly subgroupSize: number;
  readonly shaderF16: boolean;
  readonly maxWorkgroupStorageBytes: number;
}

/** What a WebAssembly kernel may divide its work by. */
export interface CpuTraits {
  readonly threads: number;
}

/** Workgroups that a dimension of a dispatch holds on every adapter. */
export const MAXIMUM_WORKGROUPS_PER_DIMENSION = 65_535;

/**
 * A WGSL dispatch. Bindings of group 0 are numbered by position: inputs (`read`), outputs (`read_write`), then the
 * uniform struct of the scalars. An absent optional input leaves its number unused. The text is the pipeline's cache key:
 * sizes that vary with the image belong in `scalars`. The entry point is `main`. A binding reaches to the next multiple of
 * 16 bytes at least, with undefined contents, so that tensors of any size can be read by vec4f.
 */
export interface WgslProgram {
  readonly code: string;
  /** Workgroups per dimension, each at most `MAXIMUM_WORKGROUPS_PER_DIMENSION`; a zero makes the launch a no-op. */
  readonly workgroups: readonly [number, number, number];
  readonly scalars: readonly Scalar[];
}

/**
 * A WebAssembly call per task. The exported function has the signature `(args: usize, task: i32, scratch: usize)`;
 * `args` points at four-byte words: input addresses, output addresses (0 for an absent optional input), then the scalars.
 * Tasks run in any order on all threads; the next launch starts when all tasks are done.
 */
export interface WasmProgram {
  readonly entry: string;
  readonly tasks: number;
  readonly scalars: readonly Scalar[];
  /** Bytes of scratch memory that each thread needs, 64-byte aligned, contents undefined at every task. */
  readonly scratchBytes?: number;
}

/** One kernel launch, written once for both devices; the device evaluates the program of its own kind. */
export interface Launch {
  /** The kernel's name, as profiles and errors show it. */
  readonly kernel: string;
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly Tensor[];
  readonly cost: Cost;
  wgsl(traits: AdapterTraits): WgslProgram;
  wasm(traits: CpuTraits): WasmProgram;
}

/** Time that one launch took on the device. */
export interface KernelTiming {
  readonly kernel: string;
  /** The model stage that recorded the launch (`backbone`, `encoder`, …), or an empty string. */
  readonly stage: string;
  readonly milliseconds: number;
  readonly flops: number;
  readonly bytes: number;
}

/** Writes scalars as consecutive four-byte words. @throws DeviceError for an integer that they do not hold */
export function writeScalars(
  scalars: readonly Scalar[],
  words: Uint32Array,
  floats: Float32Array,
  offset: number,
): void {
  scalars.forEach((scalar, index) => {
    if (typeof scalar !== 'number') {
      floats[offset + index] = scalar.f32;
      return;
    }
    if (!(scalar >= -(2 ** 31) && scalar < 2 ** 32)) {
      throw new DeviceError(`launch: expected integers of 32 bits, got ${scalar}`);
    }
    words[offset + index] = scalar;
  });
}
