import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { linearTaps } from '../../models/processing/interpolation.ts';
import { assignMasks, type ScoredMask } from '../../models/processing/mask-assignment.ts';
import { probability } from '../../models/processing/probability.ts';

/** The definition: all probabilities interpolated to the picture, then the first largest score · probability. */
function direct(
  masks: readonly ScoredMask[],
  maskHeight: number,
  maskWidth: number,
  height: number,
  width: number,
  floor: number,
) {
  const rows = linearTaps(maskHeight, height);
  const columns = linearTaps(maskWidth, width);
  const best = new Float64Array(height * width).fill(-1);
  const winner = new Int32Array(height * width);
  const claimed = new Int32Array(masks.length);
  for (const [query, { logits, score }] of masks.entries()) {
    const probabilities = Float64Array.from(logits, probability);
    for (let y = 0; y < height; y++) {
      const above = rows.low[y]! * maskWidth;
      const below = rows.high[y]! * maskWidth;
      const down = rows.highWeight[y]!;
      for (let x = 0; x < width; x++) {
        const left = columns.low[x]!;
        const right = columns.high[x]!;
        const across = columns.highWeight[x]!;
        const top = (1 - across) * probabilities[above + left]! + across * probabilities[above + right]!;
        const bottom = (1 - across) * probabilities[below + left]! + across * probabilities[below + right]!;
        const value = ((1 - down) * top + down * bottom) * score;
        if (value >= floor) claimed[query] = claimed[query]! + 1;
        if (value > best[y * width + x]!) {
          best[y * width + x] = value;
          winner[y * width + x] = query;
        }
      }
    }
  }
  return { winner, claimed };
}

let seed = 1;
const uniform = () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};
const normal = () => Math.sqrt(-2 * Math.log(uniform() + 1e-12)) * Math.cos(2 * Math.PI * uniform());

type Kind = 'noise' | 'objects' | 'saturated' | 'equal';

function maskOf(kind: Kind, height: number, width: number): ScoredMask {
  const logits = new Float32Array(height * width);
  const [centreX, centreY, radius] = [uniform() * width, uniform() * height, (0.05 + 0.3 * uniform()) * width];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const inside = Math.max(-18, Math.min(8, radius - Math.hypot(x - centreX, y - centreY)));
      logits[at] = { noise: 4 * normal(), objects: inside + 0.5 * normal(), saturated: inside * 20, equal: 1 }[kind];
    }
  }
  return { logits, score: Math.fround(0.5 + 0.5 * uniform()) };
}

function assertSame(
  masks: readonly ScoredMask[],
  maskHeight: number,
  maskWidth: number,
  height: number,
  width: number,
  what: string,
) {
  const expected = direct(masks, maskHeight, maskWidth, height, width, 0.5);
  const { winner, won, claimed } = assignMasks(masks, maskHeight, maskWidth, height, width, 0.5);
  const wrong = winner.findIndex((query, pixel) => query !== expected.winner[pixel]);
  assert.is(wrong, -1, `${what}: pixel ${wrong}: expected query ${expected.winner[wrong]}, got ${winner[wrong]}`);
  for (const query of masks.keys()) {
    const pixels = expected.winner.reduce((sum, value) => sum + (value === query ? 1 : 0), 0);
    assert.is(won[query], pixels, `${what}: pixels won by ${query}`);
    assert.is(claimed(query, Number.POSITIVE_INFINITY), expected.claimed[query], `${what}: pixels claimed by ${query}`);
    const enough = expected.claimed[query]! / 2;
    assert.ok(claimed(query, enough) >= enough, `${what}: counting until ${enough}`);
  }
}

test('tiles, bounds and early ends change nothing', () => {
  const sizes = [
    [1, 1, 1, 1],
    [1, 1, 13, 9],
    [3, 50, 41, 7],
    [17, 16, 64, 65],
    [33, 40, 33, 40],
    [40, 61, 19, 23],
    [50, 67, 120, 160],
    [90, 130, 3, 2],
  ] as const;
  for (const [maskHeight, maskWidth, height, width] of sizes) {
    for (const kind of ['noise', 'objects', 'saturated', 'equal'] as const) {
      for (const count of [1, 2, 11, 30]) {
        const masks = Array.from({ length: count }, () => maskOf(kind, maskHeight, maskWidth));
        if (count > 2) masks[2] = masks[1]!; // a tie everywhere
        assertSame(
          masks,
          maskHeight,
          maskWidth,
          height,
          width,
          `${count} ${kind} ${maskHeight} x ${maskWidth} → ${height} x ${width}`,
        );
      }
    }
  }
});

test('100 objects at full size: the same result in less than half the time', () => {
  const masks = Array.from({ length: 100 }, () => maskOf('objects', 200, 267));
  assertSame(masks, 200, 267, 480, 640, '100 objects');
  const processorMilliseconds = (run: () => void) => {
    const before = process.cpuUsage();
    run();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  };
  const tiled: number[] = [];
  const plain: number[] = [];
  for (let round = 0; round < 3; round++) {
    tiled.push(processorMilliseconds(() => assignMasks(masks, 200, 267, 480, 640, 0.5)));
    plain.push(processorMilliseconds(() => direct(masks, 200, 267, 480, 640, 0.5)));
  }
  const [ours, definition] = [Math.min(...tiled), Math.min(...plain)];
  console.log(`100 masks to 480 x 640: ${ours.toFixed(0)} ms, by the definition ${definition.toFixed(0)} ms`);
  assert.ok(ours < definition / 2, `expected less than half of ${definition.toFixed(0)} ms, got ${ours.toFixed(0)} ms`);
});

test.run();
