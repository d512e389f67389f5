import type { Reference } from '../reference.ts';
import { activateReference, addReference, inverseSigmoidReference, multiplyReference } from './elementwise.ts';

/** The float64 reference of every kernel, by the kernel's name. */
export const references: Readonly<Record<string, Reference<unknown>>> = {
  // elementwise
  add: addReference,
  multiply: multiplyReference,
  activate: activateReference,
  inverseSigmoid: inverseSigmoidReference,
};
