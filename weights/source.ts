import type { HostTensor } from '../engine/host-tensor.ts';

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
   * Reads one tensor, converted to float32 (integers and float64 are rounded to nearest, booleans become 0 and 1).
   * @throws {FileError} when there is no such tensor, its dtype is unknown, or the file cannot be read
   */
  read(name: string): Promise<HostTensor<Float32Array>>;
  /** Releases open files; reading afterwards fails. Closing twice is fine. */
  close(): Promise<void>;
}
