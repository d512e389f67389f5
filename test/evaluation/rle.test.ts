import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import {
  type CocoRle,
  type CocoSegmentation,
  MAXIMUM_MASK_PIXELS,
  rleArea,
  rleFromBox,
  rleFromCoco,
  rleFromMask,
  rleFromPolygon,
  rleFromSegmentation,
  rleFromString,
  rleIntersection,
  rleIou,
  rleToBox,
  rleToCoco,
  rleToMask,
  rleToString,
  rleUnion,
} from '../../models/evaluation/rle.ts';
import { readTestJson } from '../support/data.ts';

/** Random input with the answers of pycocotools 2.0.11. */
const frozen = readTestJson<{
  polygons: [height: number, width: number, polygon: number[], counts: string][];
  segmentations: {
    size: [number, number];
    segmentation: CocoSegmentation;
    counts: string;
    area: number;
    box: number[];
  }[];
  pairs: {
    size: [number, number];
    rows: [a: string, b: string, iou: number, crowdIou: number, intersection: string][];
  };
}>('evaluation', 'rle.json');

test('polygons are rasterised as pycocotools does', () => {
  assert.is(frozen.polygons.length, 3000);
  for (const [height, width, polygon, counts] of frozen.polygons) {
    assert.is(rleToString(rleFromPolygon(polygon, height, width)), counts, `${height} x ${width}: ${polygon}`);
  }
});

test('segmentations of every form become the masks of pycocotools', () => {
  for (const { size, segmentation, counts, area, box } of frozen.segmentations) {
    const rle = rleFromSegmentation(segmentation, ...size);
    const what = JSON.stringify(segmentation);
    assert.is(rleToString(rle), counts, what);
    assert.is(rleArea(rle), area, what);
    assert.equal(rleToBox(rle), box, what);
  }
});

test('masks survive encoding, strings and decoding', () => {
  for (const { size, counts, area } of frozen.segmentations) {
    const [height, width] = size;
    const mask = rleToMask(rleFromString(counts, height, width));
    assert.is(
      mask.reduce((sum, pixel) => sum + pixel, 0),
      area,
    );
    const rle = rleFromMask(mask, height, width);
    assert.equal(rleToMask(rle), mask);
    assert.is(rleToString(rle), counts);
    assert.equal(rleFromCoco(rleToCoco(rle)), rle);
    assert.equal(rleFromCoco({ size, counts: [...rle.counts] }), rle);
  }
});

test('a mask is read by rows and encoded by columns', () => {
  // . # #
  // # . #
  const mask = [0, 1, 1, 1, 0, 1];
  const rle = rleFromMask(mask, 2, 3);
  assert.equal([...rle.counts], [1, 2, 1, 2]);
  assert.equal([...rleToMask(rle)], mask);
  assert.equal([...rleFromMask([1, 1], 1, 2).counts], [0, 2]);
});

test('overlaps agree with pycocotools, crowds included', () => {
  const [height, width] = frozen.pairs.size;
  for (const [a, b, iou, crowdIou, intersection] of frozen.pairs.rows) {
    const first = rleFromString(a, height, width);
    const second = rleFromString(b, height, width);
    assert.is(rleIou(first, second), iou, `${a} ${b}`);
    assert.is(rleIou(first, second, true), crowdIou, `${a} ${b}`);
    assert.is(rleToString(rleIntersection([first, second])), intersection);
    assert.is(
      rleArea(rleUnion([first, second])),
      rleArea(first) + rleArea(second) - rleArea(rleIntersection([second, first])),
    );
  }
  assert.is(rleIou(rleFromMask([1], 1, 1), rleFromMask([1, 1], 1, 2)), -1);
});

test('a union of many masks is that of one after the other, in little more than linear time', () => {
  const squares = Array.from({ length: 300 }, (_, index) =>
    rleFromBox([(index * 37) % 90, (index * 53) % 110, 1 + (index % 9), 1 + (index % 7)], 120, 100),
  );
  for (const count of [1, 2, 3, 7, 300]) {
    const some = squares.slice(0, count);
    const [first, ...others] = some;
    assert.equal(
      rleUnion(some),
      others.reduce((all, square) => rleUnion([all, square]), first!),
    );
    assert.equal(
      rleIntersection(some),
      others.reduce((all, square) => rleIntersection([all, square]), first!),
    );
  }
  const far = Array.from({ length: 8000 }, (_, index) =>
    rleFromBox([(index % 100) * 40, Math.floor(index / 100) * 40, 20, 20], 4000, 4000),
  );
  assert.is(rleArea(rleUnion(far)), 8000 * 400);
});

test('an empty mask has an empty box', () => {
  assert.equal(rleToBox(rleFromMask([0, 0, 0, 0], 2, 2)), [0, 0, 0, 0]);
  assert.equal(rleToBox(rleFromCoco({ size: [2, 2], counts: [1, 0, 3] })), [0, 0, 0, 0]);
});

test('outlines far beyond the image cover all of it, or the half on their side', () => {
  const far = 4e8;
  assert.is(rleArea(rleFromPolygon([-far, -far, far, -far, far, far, -far, far], 50, 60)), 3000);
  assert.is(rleArea(rleFromPolygon([-far, -far, far, far, -far, far], 100, 100)), 5050);
});

test('malformed input is refused by name', () => {
  const refuses = (call: () => unknown, type: new (message: string) => Error, message: RegExp) =>
    assert.throws(call, (error: Error) => error instanceof type && message.test(error.message), String(message));
  const segmentation = (value: unknown) => () => rleFromSegmentation(value as CocoSegmentation, 4, 5);
  const coco = (value: unknown) => () => rleFromCoco(value as CocoRle);

  refuses(() => rleFromPolygon([0, 0, 1, 1, Number.NaN, 2], 4, 5), OptionError, /rleFromPolygon: .* got NaN at 4/);
  refuses(() => rleFromPolygon([0, 0, 1e12, 1, 2, 2], 4, 5), OptionError, /got 1000000000000 at 2/);
  refuses(() => rleFromPolygon(['4', 0, 1, 1, 2, 2] as unknown as number[], 4, 5), OptionError, /got "4" at 0/);
  refuses(() => rleFromPolygon([[0, 0, 1, 1, 1, 2]] as never, 4, 5), OptionError, /got \[0,0,1,1,1,2\] at 0/);
  refuses(() => rleFromPolygon({} as never, 4, 5), OptionError, /expected \[x0, y0, x1, y1, …\], got \{\}/);
  refuses(() => rleFromPolygon([0, 0, 1, 1, 1, 2], 0, 5), ShapeError, /got 0 x 5/);
  refuses(() => rleFromPolygon([0, 0, 1, 1, 1, 2], 2 ** 20, 2 ** 20), ShapeError, /at most 268435456 pixels/);
  const zigzag = Array.from({ length: 4000 }, (_, index) => (index % 4 < 2 ? index % 2 : 16000 + (index % 2)));
  refuses(() => rleFromPolygon(zigzag, 16000, 16000), OptionError, /simpler outline/);
  refuses(() => rleFromBox([1, 2, 3], 4, 5), ShapeError, /got 3 numbers/);
  refuses(segmentation([]), OptionError, /at least one polygon/);
  refuses(segmentation([[1, 2, 3]]), OptionError, /got 3 numbers/);
  refuses(segmentation([1, 2, 3, 4, 5, 6]), OptionError, /lists of numbers\), got 1/);
  refuses(
    segmentation([
      [1, 2, 3, 4],
      [1, 2, 3, 4, 5, 6],
    ]),
    ShapeError,
    /got 6 numbers/,
  );
  refuses(segmentation(null), OptionError, /got null/);
  refuses(segmentation('T3'), OptionError, /got "T3"/);
  refuses(segmentation({ size: [5, 4], counts: [20] }), ShapeError, /image's size \[4, 5\], got size \[5, 4\]/);
  refuses(coco({ size: [4], counts: [20] }), OptionError, /size \[height, width\]/);
  refuses(coco({ size: [4, '5'], counts: [20] }), ShapeError, /got 4 x "5"/);
  refuses(coco({ size: [4, 5], counts: [21] }), OptionError, /got 21 pixels/);
  refuses(coco({ size: [4, 5], counts: [25, -5] }), OptionError, /got -5/);
  refuses(coco({ size: [4, 5], counts: [MAXIMUM_MASK_PIXELS + 1] }), OptionError, /got 268435457/);
  refuses(coco({ size: [4, 5] }), OptionError, /got nothing/);
  refuses(coco({ size: [2 ** 16, 2 ** 16], counts: [2 ** 32] }), ShapeError, /at most/);
  refuses(() => rleFromString('d', 4, 5), OptionError, /cut off/);
  refuses(() => rleFromString('d0~', 4, 5), OptionError, /got "~" at 2/);
  refuses(() => rleFromString('oooooooooo', 4, 5), OptionError, /below 2\^31/);
  refuses(() => rleFromString('N', 4, 5), OptionError, /got -2 at 0/);
  refuses(() => rleFromMask([0, 1], 1, 3), ShapeError, /got 2/);
  refuses(() => rleFromMask([], 0, 5), ShapeError, /rleFromMask: .* got 0 x 5/);
  refuses(() => rleToMask({ height: 4, width: 5, counts: Uint32Array.of(3, 4) }), OptionError, /got 7 pixels/);
  refuses(() => rleUnion([]), OptionError, /at least one mask/);
  refuses(() => rleUnion([rleFromMask([1], 1, 1), rleFromMask([1, 1], 1, 2)]), ShapeError, /one size/);
});

test.run();
