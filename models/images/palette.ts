import type { Color } from './canvas.ts';

/** The golden angle: successive multiples stay far from all earlier ones. */
const GOLDEN_ANGLE = 137.50776405003785;

/**
 * The colour of a class: the same for the same label id in every picture, far from the colours of its neighbours.
 * Instances of a class (`instance` 0, 1, …) get shades of it that can be told apart.
 */
export function classColor(labelId: number, instance = 0): Color {
  const hue = 25 + labelId * GOLDEN_ANGLE + ((instance * 2) % 5) * 9;
  const lightness = [0.68, 0.76, 0.62][labelId % 3]! + [0, 0.07, -0.06, 0.03][instance % 4]!;
  return oklchToRgb(lightness, 0.18, hue);
}

/** Black or white, whichever is easier to read on `background` (contrast ratio of WCAG 2). */
export function readableOn(background: Color): Color {
  const luminance = relativeLuminance(background);
  const contrastWithWhite = 1.05 / (luminance + 0.05);
  const contrastWithBlack = (luminance + 0.05) / 0.05;
  return contrastWithWhite >= contrastWithBlack ? [255, 255, 255] : [0, 0, 0];
}

function relativeLuminance(color: Color): number {
  const [red, green, blue] = color.map(value => {
    const encoded = value / 255;
    return encoded <= 0.04045 ? encoded / 12.92 : ((encoded + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** OKLCH (Björn Ottosson, 2020: equal steps look equally far apart) to sRGB; chroma is reduced until the colour exists. */
function oklchToRgb(lightness: number, chroma: number, hueDegrees: number): Color {
  const hue = (hueDegrees * Math.PI) / 180;
  for (let reduced = chroma; ; reduced -= 0.005) {
    const linear = oklabToLinear(lightness, reduced * Math.cos(hue), reduced * Math.sin(hue));
    if (reduced <= 0 || linear.every(value => value >= 0 && value <= 1)) {
      const [red, green, blue] = linear.map(value => {
        const inside = Math.min(1, Math.max(0, value));
        return Math.round(255 * (inside <= 0.0031308 ? 12.92 * inside : 1.055 * inside ** (1 / 2.4) - 0.055));
      });
      return [red!, green!, blue!];
    }
  }
}

function oklabToLinear(lightness: number, a: number, b: number): number[] {
  const long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
    -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
    -0.0041960863 * long - 0.7034186147 * medium + 1.707614701 * short,
  ];
}
