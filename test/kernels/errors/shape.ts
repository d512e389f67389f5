import { broadcastTo, concatenate, flattenSpace, gatherRows, permute, slice } from '../../../kernels/index.ts';
import type { ErrorCases } from './error-case.ts';

export const shapeErrors: ErrorCases = {
  permute: [
    {
      message: /^permute: expected each axis of \[2, 3\] once, got \[0, 0\]$/,
      call: (_, tensor) => permute(tensor([2, 3]), [0, 0]),
    },
    {
      message: /^permute: expected each axis of \[2, 3\] once, got \[1\]$/,
      call: (_, tensor) => permute(tensor([2, 3]), [1]),
    },
    {
      message: /^permute: expected at most 4 groups of axes, got \[4, 3, 2, 1, 0\] of \[2, 3, 2, 3, 2\]$/,
      call: (_, tensor) => permute(tensor([2, 3, 2, 3, 2]), [4, 3, 2, 1, 0]),
    },
  ],
  flattenSpace: [
    {
      message: /^flattenSpace: expected x \[B, C, H, W\], got \[2, 3, 4\]$/,
      call: (_, tensor) => flattenSpace(tensor([2, 3, 4])),
    },
  ],
  concatenate: [
    {
      message: /^concatenate: expected at least one tensor, got none$/,
      call: () => concatenate([], 0),
    },
    {
      message: /^concatenate: expected an axis from -2 to 1, got 2$/,
      call: (_, tensor) => concatenate([tensor([2, 3])], 2),
    },
    {
      message: /^concatenate: expected shapes that differ only in axis 1, got \[2, 3\] float32, \[3, 3\] float32$/,
      call: (_, tensor) => concatenate([tensor([2, 3]), tensor([3, 3])], -1),
    },
    {
      message: /^concatenate: expected shapes that differ only in axis 0, got \[2\] float32, \[2\] int32$/,
      call: (_, tensor) => concatenate([tensor([2]), tensor([2], 'int32')], 0),
    },
  ],
  slice: [
    {
      message: /^slice: expected an axis from -1 to 0, got -2$/,
      call: (_, tensor) => slice(tensor([2]), -2, 0, 1),
    },
    {
      message: /^slice: expected 0 <= start <= end <= 2, got 1 and 3$/,
      call: (_, tensor) => slice(tensor([2]), 0, 1, 3),
    },
    {
      message: /^slice: expected 0 <= start <= end <= 2, got 2 and 1$/,
      call: (_, tensor) => slice(tensor([2]), 0, 2, 1),
    },
  ],
  broadcastTo: [
    {
      message: /^broadcastTo: expected shapes that broadcast, got \[3\] and \[4\] \(axis 0\)$/,
      call: (_, tensor) => broadcastTo(tensor([3]), [4]),
    },
    {
      message: /^broadcastTo: expected a shape that \[2, 3\] repeats to, got \[3\]$/,
      call: (_, tensor) => broadcastTo(tensor([2, 3]), [3]),
    },
  ],
  gatherRows: [
    {
      message: /^gatherRows: expected x \[B, S, D\], got \[2, 3\]$/,
      call: (_, tensor) => gatherRows(tensor([2, 3]), tensor([2, 1], 'int32')),
    },
    {
      message: /^gatherRows: expected index \[2, k\], got \[3, 1\]$/,
      call: (_, tensor) => gatherRows(tensor([2, 3, 4]), tensor([3, 1], 'int32')),
    },
    {
      message: /^gatherRows: expected index in int32, got float32$/,
      call: (_, tensor) => gatherRows(tensor([2, 3, 4]), tensor([2, 1])),
    },
    {
      message: /^gatherRows: expected rows to choose from, got none$/,
      call: (_, tensor) => gatherRows(tensor([1, 0, 4]), tensor([1, 1], 'int32')),
    },
  ],
};
