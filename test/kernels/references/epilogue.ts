import type { Activation } from '../../../kernels/index.ts';
import type { ReferenceValue } from '../reference.ts';
import { activationReference } from './elementwise.ts';

/** A sum of products, and what is done to it before it is written. */
export interface Epilogue {
  readonly bias: number;
  readonly residual: number;
  readonly activation: Activation | undefined;
}

/** Collects the terms of one output in float64; its rounding errors are relative to the sum of absolute terms. */
export class Sum {
  value = 0;
  magnitude = 0;

  add(term: number): void {
    this.value += term;
    this.magnitude += Math.abs(term);
  }

  finish({ bias, residual, activation }: Epilogue): ReferenceValue {
    this.add(bias);
    this.add(residual);
    const { value, magnitude } = activationReference(activation ?? 'linear', this.value);
    // The steepest slope of all activations is below 1.5, but for the square of relu.
    const slope = activation === 'relu2' ? Math.max(2 * Math.abs(this.value), 1) : 1.5;
    return { value, magnitude: Math.max(magnitude, this.magnitude * slope) };
  }
}
