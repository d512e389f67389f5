import type { WriteStream } from 'node:tty';

/** A column of a table: numbers are aligned to the right, text to the left. */
export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

/** Rows under their titles, two spaces between columns, every line indented by `indent` spaces. */
export function formatTable(columns: readonly Column[], content: readonly (readonly string[])[], indent = 0): string {
  const rows = content.map(row => row.map(printable)); // names out of files may hold anything
  const widths = columns.map(({ title }, index) =>
    rows.reduce((widest, row) => Math.max(widest, cellsOf(row[index] ?? '')), title.length),
  );
  const line = (cells: readonly string[]) =>
    `${' '.repeat(indent)}${cells
      .map((cell, index) => {
        const padding = ' '.repeat(widths[index]! - cellsOf(cell));
        return columns[index]!.align === 'right' ? padding + cell : cell + padding;
      })
      .join('  ')
      .trimEnd()}\n`;
  return line(columns.map(({ title }) => title)) + rows.map(line).join('');
}

const narrow = /^[ -~]*$/;
const wideCharacter =
  /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}\u3000-\u303e\uff01-\uff60\uffe0-\uffe6]/u;
const joinedCharacter = /[\p{Mn}\p{Me}\p{Cf}]/u;

/** How many cells of a terminal a text fills: East Asian characters and emoji fill two, accents of their own none. */
export function cellsOf(text: string): number {
  if (narrow.test(text)) return text.length;
  let cells = 0;
  for (const character of text) cells += joinedCharacter.test(character) ? 0 : wideCharacter.test(character) ? 2 : 1;
  return cells;
}

/** The start of a text that fits into so many cells. */
function cutToCells(text: string, cells: number): string {
  let length = 0;
  let filled = 0;
  for (const character of text) {
    filled += cellsOf(character);
    if (filled > cells) break;
    length += character.length;
  }
  return text.slice(0, length);
}

/** Breaks text into lines of at most `width` characters at spaces. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let current = '';
  for (const word of text.split(' ')) {
    if (current !== '' && current.length + 1 + word.length > width) {
      lines.push(current);
      current = word;
    } else {
      current = current === '' ? word : `${current} ${word}`;
    }
  }
  lines.push(current);
  return lines;
}

/** `850 ms`, `3.2 s`, `2 min 5 s` */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 59_950) return `${(milliseconds / 1000).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** `512 B`, `4.1 MB` (powers of ten, as file managers show them) */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${bytes} B` : `${value >= 99.5 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

/** `1 picture`, `3 pictures` */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Characters that a terminal would obey (file names may hold them) shown as escapes. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, character => {
    return character === '\n' ? '\\n' : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}

/** As `printable`, of a text that may have several lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

const BAR_CELLS = 24;
const REDRAW_MILLISECONDS = 60;

export interface ProgressBarOptions {
  /** What was done before, and took no time here: the part of a file that an earlier download left. */
  readonly start?: number;
  readonly stream?: WriteStream;
  /** Shows amounts; as plain numbers unless given. */
  readonly format?: (amount: number) => string;
}

/**
 * A progress bar on the last line of a terminal, with the time that is left. Shows nothing when `stream` is not a terminal.
 * Print through `above` while it is shown.
 */
export class ProgressBar {
  readonly #stream: WriteStream;
  readonly #total: number;
  readonly #format: (amount: number) => string;
  readonly #started = performance.now();
  readonly #start: number;
  #done: number;
  #label = '';
  #drawn = Number.NEGATIVE_INFINITY;
  #visible = false;

  constructor(total: number, { start = 0, stream = process.stderr, format = String }: ProgressBarOptions = {}) {
    this.#total = total;
    this.#start = start;
    this.#done = start;
    this.#stream = stream;
    this.#format = format;
  }

  /** Counts `steps` more as done; `label` says what comes next. */
  advance(steps: number, label = ''): void {
    this.reach(this.#done + steps, label);
  }

  /** Counts `done` in all as done. */
  reach(done: number, label = ''): void {
    this.#done = done;
    this.show(label);
  }

  show(label: string): void {
    this.#label = label;
    const now = performance.now();
    if (this.#stream.isTTY && now - this.#drawn >= REDRAW_MILLISECONDS) this.#draw(now);
  }

  /** Prints something without a trace of the bar in it. */
  above(print: () => void): void {
    this.clear();
    print();
    this.#drawn = Number.NEGATIVE_INFINITY;
  }

  clear(): void {
    if (this.#visible) this.#stream.write('\r\u001b[K');
    this.#visible = false;
  }

  #draw(now: number): void {
    const fraction = this.#total === 0 ? 1 : this.#done / this.#total;
    const eighths = Math.round(fraction * BAR_CELLS * 8);
    const partial = eighths % 8 === 0 ? '' : '▏▎▍▌▋▊▉'[(eighths % 8) - 1]!;
    const bar = `${'█'.repeat(Math.floor(eighths / 8))}${partial}`.padEnd(BAR_CELLS, '░');
    const ownSteps = this.#done - this.#start;
    const left = ((now - this.#started) / ownSteps) * (this.#total - this.#done);
    const remaining = ownSteps > 0 && this.#done < this.#total ? `${formatDuration(left)} left` : '';
    const counts = `${this.#format(this.#done)}/${this.#format(this.#total)}`;
    const parts = [bar, counts, remaining, printable(this.#label)].filter(part => part !== '');
    const line = cutToCells(parts.join('  '), this.#stream.columns - 1);
    this.#stream.write(`\r${line}\u001b[K`);
    this.#drawn = now;
    this.#visible = true;
  }
}
