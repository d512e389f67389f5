import { type Activation, activate, add, inverseSigmoid, multiply } from '../../../kernels/index.ts';
import type { ErrorCases } from './error-case.ts';

export const elementwiseErrors: ErrorCases = {
  add: [
    {
      message: /^add: expected shapes that broadcast, got \[2, 3\] and \[4\] \(axis 1\)$/,
      call: (_, tensor) => add(tensor([2, 3]), tensor([4])),
    },
    {
      message: /^add: expected b in float32, got int32$/,
      call: (_, tensor) => add(tensor([2]), tensor([2], 'int32')),
    },
    {
      message: /^add: expected at most 4 axes after merging, got \[2, 1, 2, 1, 2\] and \[1, 2, 1, 2, 1\]$/,
      call: (_, tensor) => add(tensor([2, 1, 2, 1, 2]), tensor([1, 2, 1, 2, 1])),
    },
  ],
  multiply: [
    {
      message: /^multiply: expected shapes that broadcast, got \[0, 3\] and \[2, 3\] \(axis 0\)$/,
      call: (_, tensor) => multiply(tensor([0, 3]), tensor([2, 3])),
    },
  ],
  activate: [
    {
      message: /^activate: expected x in float32, got int32$/,
      call: (_, tensor) => activate(tensor([2], 'int32'), 'relu'),
    },
    {
      message: /^activate: expected one of linear, relu, .*, got "rectify"$/,
      call: (_, tensor) => activate(tensor([2]), 'rectify' as Activation),
    },
  ],
  inverseSigmoid: [
    {
      message: /^inverseSigmoid: expected x in float32, got int32$/,
      call: (_, tensor) => inverseSigmoid(tensor([2], 'int32')),
    },
  ],
};
