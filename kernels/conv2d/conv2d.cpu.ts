// How convolutions run on the cpu device: the method, the weight's layout for it, and the division into tasks.

import type { HostTensor, WasmProgram } from '../../engine/index.ts';
import { type Activation, activationCode } from '../activation.ts';
import {
  evenParts,
  leftPanels,
  PACKING_COST,
  PANEL_COLUMNS,
  packLeftPanels,
  paddedRows,
  taskLength,
} from '../matrix-product.ts';
import type { Conv2dGeometry } from './conv2d.ts';

/**
 * `winograd` for 3x3 windows of stride 1 and enough channels, `depthwise` where every output channel has one input
 * channel, `panels` (a matrix product over packed windows) for all others.
 */
type Method = 'winograd' | 'depthwise' | 'panels';

export interface Conv2dSizes {
  readonly channelsPerGroup: number;
  readonly outChannels: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly stride: number;
  readonly groups: number;
}

/** Below it the transforms take longer than the products that they save. */
const WINOGRAD_CHANNELS = 16;
/** Beyond it transformed weights, four times as many, cost more memory than the few pixels of such layers save time. */
const MOST_WINOGRAD_CHANNELS = 256;

function methodOf(sizes: Conv2dSizes): Method {
  const { channelsPerGroup, outChannels, kernelHeight, kernelWidth, stride, groups } = sizes;
  if (groups > 1 && channelsPerGroup === 1) return 'depthwise';
  const suits =
    Math.min(channelsPerGroup, outChannels) >= WINOGRAD_CHANNELS &&
    Math.max(channelsPerGroup, outChannels) <= MOST_WINOGRAD_CHANNELS;
  const fits = kernelHeight === 3 && kernelWidth === 3 && stride === 1 && groups === 1;
  return fits && suits ? 'winograd' : 'panels';
}

/** The weight [O, C / G, h, w] in the layout that the cpu device's kernel reads. */
export function packConv2dForCpu({ shape, data }: HostTensor, stride: number, groups: number): HostTensor {
  const [outChannels, channelsPerGroup, kernelHeight, kernelWidth] = shape as [number, number, number, number];
  const sizes = { channelsPerGroup, outChannels, kernelHeight, kernelWidth, stride, groups };
  const method = methodOf(sizes);
  if (method === 'depthwise') return { shape, data };
  const packed = method === 'winograd' ? transformWeight(sizes, data) : packGroups(sizes, data);
  return { shape: [packed.length], data: packed };
}

function packGroups(sizes: Conv2dSizes, data: Float32Array): Float32Array {
  const { channelsPerGroup, outChannels, kernelHeight, kernelWidth, groups } = sizes;
  const depth = channelsPerGroup * kernelHeight * kernelWidth;
  const outPerGroup = outChannels / groups;
  const packedSize = paddedRows(outPerGroup) * depth;
  const packed = new Float32Array(groups * packedSize);
  for (let group = 0; group < groups; group++) {
    const weight = data.subarray(group * outPerGroup * depth, (group + 1) * outPerGroup * depth);
    const out = packed.subarray(group * packedSize, (group + 1) * packedSize);
    packLeftPanels(outPerGroup, depth, (row, k) => weight[row * depth + k]!, out);
  }
  return packed;
}

/**
 * G [6, 3] of F(4, 3) with the points 0, √½, -√½, √2, -√2 and infinity; its scale is the one that leaves Aᵀ and Bᵀ as they are.
 */
const WEIGHT_TRANSFORM = Float64Array.from(
  [0, Math.SQRT1_2, -Math.SQRT1_2, Math.SQRT2, -Math.SQRT2]
    .map((point, index, points) => {
      const scale = points.reduce((product, other, at) => (at === index ? product : product * (point - other)), 1);
      return [1 / scale, point / scale, point ** 2 / scale];
    })
    .concat([[0, 0, 1]])
    .flat(),
);

/** POINTS in winograd.assembly.ts. */
const POINTS = 36;

/** G w Gᵀ for every 3x3 window, in float64, as [panel, 36, C, rows]. */
function transformWeight({ channelsPerGroup, outChannels }: Conv2dSizes, data: Float32Array): Float32Array {
  const packed = new Float32Array(paddedRows(outChannels) * POINTS * channelsPerGroup);
  const g = WEIGHT_TRANSFORM;
  const transformed = new Float64Array(18);
  let first = 0;
  for (const height of leftPanels(outChannels)) {
    for (let row = 0; row < Math.min(height, outChannels - first); row++) {
      for (let channel = 0; channel < channelsPerGroup; channel++) {
        const weight = ((first + row) * channelsPerGroup + channel) * 9;
        for (let i = 0; i < 18; i += 3) {
          for (let j = 0; j < 3; j++) {
            const at = weight + j;
            transformed[i + j] = g[i]! * data[at]! + g[i + 1]! * data[at + 3]! + g[i + 2]! * data[at + 6]!;
          }
        }
        let place = first * POINTS * channelsPerGroup + channel * height + row;
        for (let i = 0; i < 18; i += 3) {
          const [a, b, c] = [transformed[i]!, transformed[i + 1]!, transformed[i + 2]!];
          for (let j = 0; j < 18; j += 3, place += height * channelsPerGroup) {
            packed[place] = g[j]! * a + g[j + 1]! * b + g[j + 2]! * c;
          }
        }
      }
    }
    first += height;
  }
  return packed;
}

/** Values that a task packs at most, so that they stay in the second-level cache. */
const PACKED_VALUES = 65_536;
const LEAST = 128;
const MOST_PIXELS = 512;
/** Values of transformed tiles and of their products that a task holds, so that they stay in the second-level cache. */
const TRANSFORMED_VALUES = 196_608;
/** Tiles that a task transforms at least, however many channels they have. */
const LEAST_TILES = 2 * PANEL_COLUMNS;
/** Transforming a value takes about as long as this many multiply-adds. */
const TRANSFORM_COST = 32;

/** TILE in winograd.assembly.ts: what is noted of a tile. */
const TILE_BYTES = 24;
/** The work area there: 6 x 6 vectors, and four patches of 6 rows. */
const WORK_BYTES = 6 * 96 + 4 * 192;
/** ENTRY in conv2d.assembly.ts: what is noted of eight pixels for a tap. */
const ENTRY_BYTES = 36;
/** What sets panels and points apart, in both files, so that they do not share cache sets. */
const GAP_BYTES = 64;

/**
 * Where every output pixel comes of the input pixel in its place, planes of a single row instead: no end of a row lies
 * within the pixels that are packed together.
 */
function joinRows(geometry: Conv2dGeometry): Conv2dGeometry {
  const { height, width, outHeight, outWidth, kernelHeight, kernelWidth, stride, paddingTop, paddingLeft } = geometry;
  const isOneToOne = kernelHeight * kernelWidth * stride === 1 && paddingTop === 0 && paddingLeft === 0;
  if (!isOneToOne || outHeight !== height || outWidth !== width) return geometry;
  return { ...geometry, height: 1, width: height * width, outHeight: 1, outWidth: height * width };
}

/** The method, tasks and scratch memory of a convolution; winograd.assembly.ts and conv2d.assembly.ts say what lies where. */
export function conv2dOnCpu(of: Conv2dGeometry, activation: Activation, threads: number): WasmProgram {
  const geometry = joinRows(of);
  const { batch, inChannels, height, width, outChannels, outHeight, outWidth, groups } = geometry;
  const { kernelHeight, kernelWidth, stride, dilation, paddingTop, paddingLeft } = geometry;
  const channelsPerGroup = inChannels / groups;
  const planes = [inChannels, height, width, outChannels, outHeight, outWidth];
  const window = [kernelHeight, kernelWidth, stride, dilation, paddingTop, paddingLeft, groups];
  const code = activationCode(activation);
  const method = methodOf({ ...geometry, channelsPerGroup });

  if (method === 'depthwise') {
    return { entry: 'conv2dDepthwise', tasks: batch * outChannels, scalars: [...planes, ...window, code] };
  }

  if (method === 'winograd') {
    const tileRows = Math.ceil(Math.ceil(outHeight / dilation) / 4);
    const tileColumns = Math.ceil(Math.ceil(outWidth / dilation) / 4);
    const tiles = dilation ** 2 * tileRows * tileColumns;
    const valuesPerTile = POINTS * (inChannels + 6);
    const most = Math.max(Math.floor(TRANSFORMED_VALUES / valuesPerTile), LEAST_TILES);
    const tilesPerTask = evenParts(tiles, PANEL_COLUMNS, most);
    const tileTasks = Math.ceil(tiles / tilesPerTask);
    const panels = leftPanels(outChannels).length;
    const points = POINTS * tilesPerTask;
    const cost = { fixed: points * inChannels * TRANSFORM_COST, perStep: points * 6 * (inChannels + TRANSFORM_COST) };
    const panelsPerTask = taskLength(panels, 1, batch * tileTasks, cost, threads);
    return {
      entry: 'conv2dWinograd',
      tasks: batch * tileTasks * Math.ceil(panels / panelsPerTask),
      scalars: [...planes, dilation, paddingTop, paddingLeft, code, tilesPerTask, panelsPerTask],
      // The notes, the work area, then per point the transformed tiles and the products of six rows.
      scratchBytes: tilesPerTask * (TILE_BYTES + 4 * valuesPerTile) + WORK_BYTES + POINTS * GAP_BYTES,
    };
  }

  const taps = kernelHeight * kernelWidth;
  const depth = channelsPerGroup * taps;
  const pixels = outHeight * outWidth;
  const most = Math.min(MOST_PIXELS, Math.max(Math.floor(PACKED_VALUES / depth), LEAST));
  const pixelsPerTask = evenParts(pixels, PANEL_COLUMNS, most);
  const columnPanels = pixelsPerTask / PANEL_COLUMNS;
  const pixelTasks = Math.ceil(pixels / pixelsPerTask);
  const panels = leftPanels(outChannels / groups).length;
  const cost = { fixed: pixelsPerTask * depth * PACKING_COST, perStep: pixelsPerTask * depth * 6 };
  const panelsPerTask = taskLength(panels, 1, batch * groups * pixelTasks, cost, threads);
  const fitting = Math.max(Math.floor(PACKED_VALUES / pixelsPerTask / taps), 1);
  const channelsAtOnce = evenParts(channelsPerGroup, 1, fitting);
  // The table of pixels up to the next cache line, the packed pixels, and the sums of one row panel where all channels are
  // packed at once, else of all.
  const tableBytes = taps * columnPanels * ENTRY_BYTES + 64;
  const packedBytes = columnPanels * (channelsAtOnce * taps * PANEL_COLUMNS * 4 + GAP_BYTES);
  const sumRows = channelsAtOnce < channelsPerGroup ? panelsPerTask * 6 : 6;
  return {
    entry: 'conv2dPanels',
    tasks: batch * groups * pixelTasks * Math.ceil(panels / panelsPerTask),
    scalars: [...planes, ...window, code, pixelsPerTask, panelsPerTask, channelsAtOnce],
    scratchBytes: tableBytes + packedBytes + sumRows * pixelsPerTask * 4,
  };
}
