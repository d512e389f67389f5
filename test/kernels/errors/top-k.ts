import { topK } from '../../../kernels/index.ts';
import type { ErrorCases } from './error-case.ts';

export const topKErrors: ErrorCases = {
  topK: [
    { message: /^topK: expected x \[B, S\], got \[5\]$/, call: (_, tensor) => topK(tensor([5]), 1) },
    { message: /^topK: expected k from 1 to 5, got 6$/, call: (_, tensor) => topK(tensor([2, 5]), 6) },
    { message: /^topK: expected k from 1 to 5, got 0$/, call: (_, tensor) => topK(tensor([2, 5]), 0) },
    { message: /^topK: expected x in float32, got int32$/, call: (_, tensor) => topK(tensor([2, 5], 'int32'), 1) },
  ],
};
