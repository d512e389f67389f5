import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OptionError, ShapeError } from '../../engine/errors.ts';
import { Canvas, type Color } from '../../models/images/canvas.ts';
import { drawDetections, drawSegmentation } from '../../models/images/draw.ts';
import { measureText, renderText, shortenText, toAscii } from '../../models/images/font.ts';
import type { Image } from '../../models/images/image.ts';
import { classColor, readableOn } from '../../models/images/palette.ts';
import { rejectsWith } from '../support/throws.ts';

const grey = (width: number, height: number, value = 128): Image => {
  return { width, height, channels: 3, data: new Uint8Array(width * height * 3).fill(value) };
};
const pixel = ({ width, data }: Image, x: number, y: number) => [
  ...data.subarray((y * width + x) * 3, (y * width + x) * 3 + 3),
];
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
  for (const labelId of [5, 6]) {
    const swatch = pixelsOf(drawn, classColor(labelId)).filter(([, y]) => y >= height);
    assert.ok(swatch.length > 60, 'the legend shows every class');
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
