import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { Random } from '../../kernels/index.ts';
import { Canvas, type Color, type Rectangle, sharedArea } from '../../models/images/canvas.ts';
import { drawDetections, drawSegmentation } from '../../models/images/draw.ts';
import { measureText, renderText, shortenText, toAscii } from '../../models/images/font.ts';
import type { Image } from '../../models/images/image.ts';
import { classColor, readableOn } from '../../models/images/palette.ts';
import { enlargeMap, Regions } from '../../models/images/regions.ts';
import { styleFor } from '../../models/images/style.ts';
import { aroundBox, aroundPoint, TagLayout } from '../../models/images/tags.ts';
import { rejectsWith } from '../support/throws.ts';

const grey = (width: number, height: number, value = 128): Image => {
  return { width, height, channels: 3, data: new Uint8Array(width * height * 3).fill(value) };
};
const pixel = ({ width, data }: Image, x: number, y: number) => [
  ...data.subarray((y * width + x) * 3, (y * width + x) * 3 + 3),
];
/** How many pixels each colour has. */
const colorsOf = ({ data }: Image) => {
  const counts = new Map<string, number>();
  for (let at = 0; at < data.length; at += 3) {
    const color = `${data[at]},${data[at + 1]},${data[at + 2]}`;
    counts.set(color, (counts.get(color) ?? 0) + 1);
  }
  return counts;
};
const pixelsOf = (image: Image, color: Color) => {
  const found: [number, number][] = [];
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++)
      if (pixel(image, x, y).every((value, i) => value === color[i])) found.push([x, y]);
  }
  return found;
};

test('every printable ASCII character has a glyph of its own', () => {
  const seen = new Map<string, string>();
  for (let code = 33; code < 127; code++) {
    const character = String.fromCharCode(code);
    const { width, coverage } = renderText(character, 21);
    assert.ok(
      coverage.some(value => value > 0.9),
      `${character} is empty`,
    );
    const picture = `${width}:${coverage.map(value => Math.round(value * 8)).join('')}`;
    assert.is(seen.get(picture), undefined, `${character} looks like ${seen.get(picture)}`);
    seen.set(picture, character);
  }
});

test('text stays within its mask', () => {
  const { width, height, coverage } = renderText('(Ågjpqy|{}_)', 14);
  for (let row = 0; row < height; row++) {
    for (const column of [0, width - 1]) assert.is(coverage[row * width + column], 0, `ink at the side of row ${row}`);
  }
  const edge = (row: number) => Math.max(...coverage.subarray(row * width, (row + 1) * width));
  assert.is(edge(0), 0);
  assert.is(edge(height - 1), 0);
});

test('text is measured as it is rendered, at every size', () => {
  for (const capital of [8, 9.5, 13, 40]) {
    const { width, height } = renderText('traffic light 0.97', capital);
    assert.equal(measureText('traffic light 0.97', capital), { width, height });
  }
  assert.ok(measureText('', 10).width === 0 && renderText('', 10).coverage.length === 0);
});

test('accents and typographic signs degrade to ASCII', () => {
  assert.is(toAscii('Café Größe – naïve… Œuf Łódź ﬁn\u00a0²'), 'Cafe Grosse - naive... OEuf Lodz fin 2');
  assert.is(toAscii('猫'), '猫');
  assert.ok(
    renderText('猫', 10).coverage.some(value => value > 0.9),
    'unknown characters leave a box',
  );
});

test('classes have stable colours that differ, and text on them can be read', () => {
  const luminance = (color: Color) => {
    const [red, green, blue] = color.map(value => {
      const encoded = value / 255;
      return encoded <= 0.04045 ? encoded / 12.92 : ((encoded + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
  };
  const colors = Array.from({ length: 91 }, (_, label) => classColor(label));
  for (const [label, color] of colors.entries()) {
    assert.equal(classColor(label), color);
    const [dark, light] = [luminance(color), luminance(readableOn(color))].sort((a, b) => a - b);
    assert.ok((light! + 0.05) / (dark! + 0.05) >= 4.5, `label ${label}: contrast ${(light! + 0.05) / (dark! + 0.05)}`);
    for (let other = 0; other < label; other++) {
      const distance = Math.hypot(...color.map((value, i) => value - colors[other]![i]!));
      assert.ok(distance > (label < 8 ? 60 : 3), `labels ${label} and ${other} look alike: ${distance}`);
    }
  }
  for (let instance = 1; instance < 4; instance++) assert.not.equal(classColor(3, instance), classColor(3, 0));
});

test('a box is drawn along its edges, scaled to the picture, and nothing else changes', () => {
  for (const [width, height, thickness] of [
    [640, 480, 3],
    [1600, 1200, 6],
  ] as const) {
    const image = grey(width, height);
    const drawn = drawDetections(image, [{ label: 'cat', labelId: 17, box: [100, 150, 300, 350] }]);
    assert.is(drawn.width, width);
    assert.ok(
      image.data.every(value => value === 128),
      'the input is left alone',
    );
    for (let step = 0; step < thickness; step++) {
      assert.equal(pixel(drawn, 200, 349 - step), [...classColor(17)]);
      assert.equal(pixel(drawn, 299 - step, 250), [...classColor(17)]);
    }
    assert.equal(pixel(drawn, 200, 349 - thickness - 3), [128, 128, 128]);
    assert.equal(pixel(drawn, 200, 250), [128, 128, 128], 'inside');
    assert.equal(pixel(drawn, 400, 400), [128, 128, 128], 'outside');
  }
});

test('boxes beyond the picture, of no size or turned round are drawn inside it', () => {
  const boxes = [
    [-50, -50, 700, 500],
    [630, 470, 900, 900],
    [300, 200, 300, 200],
    [100, 100, 50, 50],
    [-20, -20, -10, -10],
  ];
  const image = drawDetections(
    grey(640, 480),
    boxes.map((box, labelId) => ({ label: 'x', labelId, score: 0.5, box })),
  );
  for (const labelId of boxes.keys()) {
    assert.ok(pixelsOf(image, classColor(labelId)).length > 10, `box ${labelId} cannot be seen`);
  }
});

test('tags stay inside the picture and apart from each other', () => {
  const corners = [
    [0, 0, 60, 60],
    [580, 0, 640, 60],
    [0, 420, 60, 480],
    [580, 420, 640, 480],
    [0, 0, 640, 480],
    [300, 200, 340, 260],
    [302, 202, 342, 262],
    [304, 204, 344, 264],
  ];
  const label = 'fire hydrant';
  const detections = corners.map((box, labelId) => ({ label, labelId, score: 0.9, box }));
  const drawn = drawDetections(grey(640, 480), detections);
  // A tag's filled area is the largest run of its colour; letters and lines are thinner. All tags have the same size.
  const areas = corners.map((_, labelId) => {
    const [alone] = [drawDetections(grey(640, 480), [detections[labelId]!])].map(image =>
      pixelsOf(image, classColor(labelId)),
    );
    return [pixelsOf(drawn, classColor(labelId)).length, alone!.length] as const;
  });
  for (const [labelId, [together, alone]] of areas.entries()) {
    assert.ok(together > 0.75 * alone, `tag ${labelId}: ${together} of ${alone} pixels are left`);
  }
});

test('thirty tags find room round one box, and seven round one point', () => {
  const places = [
    [30, aroundBox({ left: 100, top: 60, right: 300, bottom: 240 })],
    [7, aroundPoint({ x: 200, y: 150 })],
  ] as const;
  for (const [count, candidates] of places) {
    const drawn = (tagCount: number) => {
      const canvas = new Canvas(400, 300, [128, 128, 128]);
      const tags = new TagLayout(canvas, styleFor(400, 300));
      for (let label = 0; label < tagCount; label++) tags.place('hydrant', classColor(label), candidates);
      tags.draw();
      return canvas.toImage();
    };
    const alone = colorsOf(drawn(1)).get(String(classColor(0)))!;
    const together = colorsOf(drawn(count));
    for (let label = 0; label < count; label++) {
      const left = together.get(String(classColor(label))) ?? 0;
      assert.ok(left > 0.5 * alone, `tag ${label} of ${count}: ${left} of ${alone} pixels are left`);
    }
  }
});

test('the area that rectangles share is that of the pixels in both', () => {
  const rectangles: Rectangle[] = [
    { left: 0, top: 0, right: 9, bottom: 9 },
    { left: 3, top: 2, right: 5, bottom: 12 },
    { left: 5, top: 9, right: 12, bottom: 11 },
    { left: 9, top: 0, right: 12, bottom: 12 },
  ];
  const holds = ({ left, top, right, bottom }: Rectangle, x: number, y: number) =>
    x >= left && x < right && y >= top && y < bottom;
  for (const a of rectangles) {
    for (const b of rectangles) {
      let pixels = 0;
      for (let y = 0; y < 12; y++) for (let x = 0; x < 12; x++) if (holds(a, x, y) && holds(b, x, y)) pixels++;
      assert.is(sharedArea(a, b), pixels, JSON.stringify([a, b]));
    }
  }
});

test('a tag of a box in a corner goes where it can be read', () => {
  const detections = [
    { label: 'person', labelId: 1, score: 0.99, box: [0, 0, 640, 480] },
    { label: 'dog', labelId: 2, score: 0.9, box: [-20, -20, 10, 10] },
  ];
  const drawn = (some: typeof detections) => pixelsOf(drawDetections(grey(640, 480), some), classColor(2)).length;
  const [together, alone] = [drawn(detections), drawn(detections.slice(1))];
  assert.ok(together > 0.9 * alone, `${together} of ${alone} pixels are left`);
});

test('where tags have no room, the best detection keeps its own', () => {
  const crowd = Array.from({ length: 60 }, (_, index) => {
    return { label: 'fire hydrant', labelId: index === 0 ? 1 : 2, score: 0.9 - index / 100, box: [300, 200, 340, 260] };
  });
  const tagPixels = (detections: typeof crowd) => pixelsOf(drawDetections(grey(640, 480), detections), classColor(1));
  const [left, top] = tagPixels(crowd.slice(0, 1))[0]!;
  const inTag = (found: [number, number][]) => found.filter(([x, y]) => y < 199 && x >= left && y >= top).length;
  assert.is(inTag(tagPixels(crowd)), inTag(tagPixels(crowd.slice(0, 1))));
});

test('a label longer than the picture is shortened', () => {
  const drawn = drawDetections(grey(500, 420), [
    { label: 'a very long label '.repeat(20), labelId: 1, box: [10, 60, 200, 200] },
  ]);
  assert.is(drawn.width, 500);
  assert.ok(pixelsOf(drawn, classColor(1)).length > 1000);
});

test('small pictures are enlarged smoothly by a whole factor', () => {
  const image: Image = {
    width: 150,
    height: 100,
    channels: 1,
    data: Uint8Array.from({ length: 15_000 }, (_, i) => i % 150),
  };
  const drawn = drawDetections(image, []);
  assert.equal([drawn.width, drawn.height, drawn.channels], [600, 400, 3]);
  const row = Array.from({ length: 600 }, (_, x) => pixel(drawn, x, 200)[0]!);
  assert.ok(
    row.every((value, x) => x === 0 || (value >= row[x - 1]! && value - row[x - 1]! <= 1)),
    'a ramp stays a ramp',
  );
  for (const [x, value] of row.entries()) {
    const exact = Math.min(149, Math.max(0, (x + 0.5) / 4 - 0.5));
    assert.ok(Math.abs(value - exact) <= 0.5, `${value} at ${x}, expected ${exact}`);
  }
  // An icon becomes as large as a label needs, a thin strip no more than four times as large.
  const sizes = [grey(24, 16), grey(1, 1), grey(2000, 20)].map(small => drawDetections(small, []));
  assert.equal(
    sizes.map(({ width, height }) => [width, height]),
    [
      [600, 400],
      [400, 400],
      [8000, 80],
    ],
  );
});

test('a segmentation is tinted in its colours, with one line between segments and a legend below', () => {
  const [width, height] = [640, 480];
  const data = Int32Array.from({ length: width * height }, (_, index) =>
    index % width < 200 ? 1 : index % width < 600 ? 2 : 0,
  );
  const drawn = drawSegmentation(grey(width, height), { width, height, data }, [
    { id: 1, label: 'sky', labelId: 5, score: 0.9 },
    { id: 2, label: 'ground', labelId: 6, score: 0.8 },
  ]);
  assert.is(drawn.width, width);
  assert.ok(drawn.height > height, 'the legend has room of its own');
  assert.equal(pixel(drawn, 620, 100), [128, 128, 128], 'pixels of no segment are left');
  const sky = classColor(5);
  const tinted = pixel(drawn, 20, 40);
  for (let channel = 0; channel < 3; channel++) {
    assert.ok(Math.abs(tinted[channel]! - (128 + 0.42 * (sky[channel]! - 128))) <= 1);
  }
  assert.equal(pixel(drawn, 199, 40), [...sky], 'the line is on the smaller side');
  assert.not.equal(pixel(drawn, 201, 40), [...classColor(6)]);
  const swatches: number[][] = [];
  for (const labelId of [5, 6]) {
    const swatch = pixelsOf(drawn, classColor(labelId)).filter(([, y]) => y >= height);
    assert.ok(swatch.length > 60, 'the legend shows every class');
    swatches.push(swatch.map(([x]) => x));
  }
  // The class's name stands between its swatch and the next.
  const isInk = (x: number, y: number) => pixel(drawn, x, y).every(value => value < 60);
  const rows = Array.from({ length: drawn.height - height }, (_, row) => height + row);
  const ink = Array.from({ length: width }, (_, x) => x).filter(x => rows.some(y => isInk(x, y)));
  for (const [index, columns] of swatches.entries()) {
    assert.not(ink.some(x => x >= Math.min(...columns) && x <= Math.max(...columns)));
    const next = Math.min(width, ...(swatches[index + 1] ?? []));
    assert.ok(ink.some(x => x > Math.max(...columns) && x < next));
  }
});

test('segments of one class differ in colour', () => {
  const [width, height] = [640, 480];
  const data = Int32Array.from({ length: width * height }, (_, index) => 1 + Math.floor((index % width) / 160));
  const segments = [1, 2, 3, 4].map(id => ({ id, label: 'sheep', labelId: 18 }));
  const drawn = drawSegmentation(grey(width, height), { width, height, data }, segments);
  for (const instance of segments.keys()) {
    const tint = classColor(18, instance).map(value => 128 + 0.42 * (value - 128));
    pixel(drawn, 160 * instance + 80, 40).forEach((value, channel) => {
      assert.ok(Math.abs(value - tint[channel]!) <= 1, `segment ${instance}`);
    });
  }
});

test('a segment that is listed twice is tagged once, one without pixels not at all', () => {
  const [width, height] = [640, 480];
  const data = new Int32Array(width * height).fill(1);
  const draw = (...ids: number[]) => {
    const segments = ids.map(id => ({ id, label: 'sea', labelId: 4 }));
    return drawSegmentation(grey(width, height), { width, height, data }, segments).data;
  };
  assert.equal(draw(1, 1), draw(1));
  const above = 3 * width * height;
  assert.equal(draw(1, 2).subarray(0, above), draw(1).subarray(0, above));
});

test('a map is enlarged by the votes of nine neighbours', () => {
  const random = new Random(3);
  const [width, height, factor] = [9, 7, 4];
  const data = Int32Array.from(random.tensor([height * width]).data, value => Math.floor(3 * Math.abs(value)) % 3);
  const enlarged = enlargeMap({ width, height, data }, factor);
  const clamp = (value: number, size: number) => Math.min(size - 1, Math.max(0, value));
  // A quadratic B-spline: the share of a pixel at this distance.
  const share = (distance: number) =>
    distance < 0.5 ? 0.75 - distance ** 2 : distance < 1.5 ? 0.5 * (1.5 - distance) ** 2 : 0;
  for (let row = 0; row < height * factor; row++) {
    for (let column = 0; column < width * factor; column++) {
      const [y, x] = [(row + 0.5) / factor - 0.5, (column + 0.5) / factor - 0.5];
      const votes = [0, 0, 0];
      for (let fromY = -1; fromY <= height; fromY++) {
        for (let fromX = -1; fromX <= width; fromX++) {
          const id = data[clamp(fromY, height) * width + clamp(fromX, width)]!;
          votes[id]! += share(Math.abs(y - fromY)) * share(Math.abs(x - fromX));
        }
      }
      const winner = enlarged[row * width * factor + column]!;
      assert.ok(votes[winner]! > Math.max(...votes) - 1e-9, `pixel ${column}, ${row}: ${winner} of ${votes}`);
    }
  }
});

test('distances to borders are those of the nearest pixels', () => {
  const [width, height] = [17, 13];
  const ids = Int32Array.from({ length: width * height }, (_, at) => {
    const [x, y] = [at % width, Math.floor(at / width)];
    return Math.hypot(x - 9, y - 5) < 4 ? 8 : x + y > 24 ? 9 : 7;
  });
  const regions = new Regions(ids, width, height);
  assert.equal(regions.ids, [7, 8, 9]);
  // Three for a step along an axis, four for a diagonal one.
  const nearest = (x: number, y: number, counts: (id: number | undefined) => boolean) => {
    let least = Number.POSITIVE_INFINITY;
    for (let row = -1; row <= height; row++) {
      for (let column = -1; column <= width; column++) {
        const isInside = row >= 0 && row < height && column >= 0 && column < width;
        if (!counts(isInside ? ids[row * width + column] : undefined)) continue;
        const [dx, dy] = [Math.abs(x - column), Math.abs(y - row)];
        least = Math.min(least, 3 * Math.max(dx, dy) + Math.min(dx, dy));
      }
    }
    return least;
  };
  const [toOthers, toBorders] = [regions.distancesToOthers(), regions.distancesToBorders([true, true, true])];
  const toBare = regions.distancesToBorders([true, false, true]);
  const largest = new Map<number, number>();
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const id = ids[y * width + x]!;
      const place = regions.at(y, x);
      const toOther = nearest(x, y, other => other !== id);
      assert.is(toOthers[place], toOther, `pixel ${x}, ${y}`);
      largest.set(id, Math.max(largest.get(id) ?? 0, toOther));
      // The borders of the small regions are theirs.
      if (id === 7) assert.ok(toBorders[place]! > 1000, `pixel ${x}, ${y}`);
      if (id === 7)
        assert.is(
          toBare[place],
          nearest(x, y, other => other === 8),
          `pixel ${x}, ${y}, to what is not drawn`,
        );
      else
        assert.is(
          toBorders[place],
          nearest(x, y, other => other === 7),
          `pixel ${x}, ${y}, to the larger region`,
        );
    }
  }
  for (const [id, { x, y, clearance }] of regions.innermostPoints()) {
    assert.is(ids[y * width + x], id);
    assert.is(clearance, largest.get(id)! / 3);
    assert.is(toOthers[regions.at(y, x)], largest.get(id));
  }
});

test('a segmentation of a small picture keeps its borders where they are', () => {
  const [width, height] = [160, 120];
  const data = Int32Array.from({ length: width * height }, (_, index) =>
    ((index % width) - 80) ** 2 + (index / width - 60) ** 2 < 900 ? 7 : 0,
  );
  const drawn = drawSegmentation(grey(width, height), { width, height, data }, [{ id: 7, label: 'disc', labelId: 0 }]);
  assert.is(drawn.width, 640);
  let painted = 0;
  for (let y = 0; y < 480; y++) {
    for (let x = 0; x < 640; x++) {
      const inside = Math.hypot(x + 0.5 - 322, y + 0.5 - 240) < 120;
      const changed = pixel(drawn, x, y).some(value => value !== 128);
      if (changed) painted++;
      if (Math.abs(Math.hypot(x + 0.5 - 322, y + 0.5 - 240) - 120) > 6) assert.is(changed, inside, `pixel ${x}, ${y}`);
    }
  }
  assert.ok(painted > 40_000);
});

test('labels of any length are cut to what fits', () => {
  for (const text of ['cat', 'a label of some length', 'Ångström café', '👍🏽 hands', 'W'.repeat(50)]) {
    for (const width of [-3, 0, 20, 60, 150, 1000]) {
      const fits = (candidate: string) => measureText(candidate, 14).width <= width;
      const characters = [...text];
      while (characters.length > 1 && !fits(`${characters.join('')}...`)) characters.pop();
      assert.is(shortenText(text, 14, width), fits(text) ? text : `${characters.join('')}...`, `${text} in ${width}`);
    }
  }
  const label = 'label '.repeat(5000);
  drawDetections(grey(200, 200), [{ label, labelId: 1, box: [10, 10, 60, 60] }]);
  drawSegmentation(grey(20, 20), { width: 20, height: 20, data: new Int32Array(400) }, [{ id: 0, label, labelId: 1 }]);
});

test('labels and scores that are none are refused', async () => {
  const image = { width: 20, height: 10, channels: 3, data: new Uint8Array(600) };
  const detection = { label: 'a', labelId: 1, score: 0.5, box: [1, 1, 5, 5] };
  const draw = (change: object) => () => drawDetections(image, [{ ...detection, ...change } as never]);
  await rejectsWith(draw({ label: undefined }), OptionError, /drawDetections: expected a label of text, got nothing/);
  await rejectsWith(
    draw({ score: '0.5' }),
    OptionError,
    /drawDetections: expected a score that is a number, got "0.5"/,
  );
  for (const labelId of [undefined, 1.5, Number.NaN]) {
    await rejectsWith(draw({ labelId }), OptionError, /drawDetections: expected a labelId that is an integer/);
  }
  await rejectsWith(draw({ box: [Number.NaN, 1, 5, 5] }), OptionError, /drawDetections: expected a box of left, top/);
  await rejectsWith(() => drawDetections(image, [null as never]), OptionError, /drawDetections: expected a list of/);
  const map = { width: 20, height: 10, data: new Int32Array(200) };
  const segment = () => drawSegmentation(image, map, [{ id: 1, labelId: 1 } as never]);
  await rejectsWith(segment, OptionError, /drawSegmentation: expected a label of text, got nothing/);
});

test('a map of another size is refused', () => {
  assert.throws(
    () => drawSegmentation(grey(10, 10), { width: 9, height: 10, data: new Int32Array(90) }, []),
    (error: unknown) => error instanceof ShapeError && /expected a map of 10 x 10, got 10 x 9/.test(error.message),
  );
  assert.throws(
    () => drawDetections({ ...grey(4, 4), width: 5 }, []),
    (error: unknown) => error instanceof ShapeError,
  );
});

test('text is drawn as it is rendered', () => {
  const mask = renderText('7g', 20);
  const canvas = new Canvas(mask.width + 8, mask.height + 6);
  canvas.drawText(mask, 5, 4, [255, 255, 255]);
  const drawn = canvas.toImage();
  for (let y = 0; y < drawn.height; y++) {
    for (let x = 0; x < drawn.width; x++) {
      const [column, row] = [x - 5, y - 4];
      const inside = column >= 0 && column < mask.width && row >= 0 && row < mask.height;
      const expected = inside ? 255 * mask.coverage[row * mask.width + column]! : 0;
      assert.ok(Math.abs(pixel(drawn, x, y)[0]! - expected) <= 0.51, `pixel ${x}, ${y}`);
    }
  }
});

test('a canvas clips what leaves it', () => {
  const canvas = new Canvas(20, 10, [1, 2, 3]);
  canvas.fillRectangle({ left: -5, top: -5, right: 3, bottom: 3 }, 0, { color: [9, 9, 9] });
  canvas.strokeRectangle({ left: 15, top: 5, right: 40, bottom: 40 }, 3, 2, { color: [7, 7, 7] });
  canvas.drawText(renderText('wide text', 10), 15, -3, [8, 8, 8]);
  assert.equal(pixel(canvas.toImage(), 2, 2), [9, 9, 9]);
  assert.equal(pixel(canvas.toImage(), 3, 3), [1, 2, 3]);
  assert.is(canvas.data.length, 600);
});

test.run();
