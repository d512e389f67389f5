import { getOrInsert } from '../../engine/maps.ts';
import type { Canvas, Color } from './canvas.ts';
import { measureText, renderText, shortenText } from './font.ts';
import { classColor } from './palette.ts';
import type { Style } from './style.ts';

/*
 * The legend below a segmented picture: the classes and their colours.
 */

export const legendBackground: Color = [247, 247, 245];
const legendInk: Color = [32, 33, 36];

/** What the legend needs of a segment. */
export interface LegendSegment {
  readonly id: number;
  readonly label: string;
  readonly labelId: number;
}

interface LegendEntry {
  readonly text: string;
  readonly color: Color;
}

export interface Legend {
  readonly entries: readonly LegendEntry[];
  readonly columns: number;
  readonly columnWidth: number;
  readonly rowHeight: number;
  /** Pixels that the legend needs below the picture. */
  readonly height: number;
}

/** One entry for every class, with the number of its segments when there are several. */
export function layOutLegend(segments: readonly LegendSegment[], width: number, style: Style): Legend {
  const rowHeight = Math.round(style.capital * 2.4);
  const swatch = rowHeight;
  const counts = new Map<number, { label: string; ids: Set<number> }>();
  for (const { id, label, labelId } of segments) {
    getOrInsert(counts, labelId, () => ({ label, ids: new Set() })).ids.add(id);
  }
  const room = width - 4 * style.padding - swatch;
  const entries = [...counts].map(([labelId, { label, ids }]) => ({
    text: shortenText(ids.size > 1 ? `${label} x ${ids.size}` : label, style.capital, room),
    color: classColor(labelId),
  }));
  const widest = Math.max(0, ...entries.map(({ text }) => measureText(text, style.capital).width));
  const columnWidth = swatch + widest + 3 * style.padding;
  const columns = Math.max(1, Math.floor((width - 2 * style.padding) / columnWidth));
  const rows = Math.ceil(entries.length / columns);
  return { entries, columns, columnWidth, rowHeight, height: rows === 0 ? 0 : rows * rowHeight + 2 * style.padding };
}

export function drawLegend(canvas: Canvas, top: number, legend: Legend, style: Style): void {
  const { rowHeight } = legend;
  for (const [index, { text, color }] of legend.entries.entries()) {
    const left = 2 * style.padding + (index % legend.columns) * legend.columnWidth;
    const rowTop = top + style.padding + Math.floor(index / legend.columns) * rowHeight;
    const inset = Math.round(rowHeight * 0.22);
    const side = rowHeight - 2 * inset;
    const swatch = { left, top: rowTop + inset, right: left + side, bottom: rowTop + inset + side };
    canvas.fillRectangle(swatch, Math.round(side / 4), { color });
    const mask = renderText(text, style.capital);
    const textTop = rowTop + Math.round((rowHeight - mask.height) / 2);
    canvas.drawText(mask, swatch.right + style.padding, textTop, legendInk);
  }
}
