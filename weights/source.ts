import type { HostTensor, NumericArray } from '../engine/host-tensor.ts';

/** What is known of a tensor before it is read. `dtype` is spelled as in safetensors: `F32`, `BF16`, `I64`, … */
export interface TensorEntry {
  readonly shape: readonly number[];
  readonly dtype: string;
}

/**
 * Named tensors that can be read one at a time: a checkpoint on disk or in memory, or synthetic weights. Nothing is read
 * until it is asked for, so that loading a model holds little more than its weights.
 */
export interface WeightSource {
  /** For messages: the file's path, the repository's id or the synthetic checkpoint's name. */
  readonly name: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /**
   * Reads one tensor, converted to float32 (integers and float64 are rounded to nearest, booleans become 0 and 1), into an
   * array of its own: what was read before is still needed.
   * @throws FileError when there is no such tensor or the file cannot be read
   */
  read(name: string): Promise<HostTensor<Float32Array>>;
  /** Releases open files, which cannot be read afterwards. Closing twice is fine. */
  close(): Promise<void>;
}

/** A WeightSource that came from a file, whose tensors can also be had as they are stored. */
export interface Checkpoint extends WeightSource {
  /** The file's own notes: safetensors' `__metadata__`, else empty. */
  readonly metadata: ReadonlyMap<string, string>;
  /**
   * Reads one tensor without converting it. BOOL is a Uint8Array of 0 and 1; the floating-point types that JavaScript has
   * no array for (F16, BF16, F8_…) are unsigned integers with the same bits.
   * @throws FileError as `read`
   */
  readNative(name: string): Promise<HostTensor<NumericArray>>;
}
