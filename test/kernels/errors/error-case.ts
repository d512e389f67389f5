import type { DataType, Device, Tensor } from '../../../engine/index.ts';

/** A call that must be refused, and how its message must read. */
export interface ErrorCase {
  readonly message: RegExp;
  call(device: Device, tensor: (shape: readonly number[], dtype?: DataType) => Tensor): unknown;
}

/** Refused calls by the launcher's name. */
export type ErrorCases = Readonly<Record<string, readonly ErrorCase[]>>;
