import type { WriteStream } from 'node:tty';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  cellsOf,
  formatBytes,
  formatDuration,
  formatTable,
  ProgressBar,
  plural,
  printable,
  printableLines,
  wrap,
} from '../../cli/terminal.ts';

/** A stream that remembers what was written to it. */
function recorder(isTTY: boolean, columns = 60) {
  const written: string[] = [];
  const stream = { isTTY, columns, write: (text: string) => written.push(text) > 0 } as unknown as WriteStream;
  return { stream, written };
}

test('tables align their columns', () => {
  const columns = [{ title: 'label' }, { title: 'score', align: 'right' }] as const;
  assert.is(
    formatTable(columns, [
      ['cat', '0.9'],
      ['fire hydrant', '0.25'],
    ]),
    'label         score\ncat             0.9\nfire hydrant   0.25\n',
  );
  assert.is(formatTable(columns, [], 2), '  label  score\n');
  const many = Array.from({ length: 200_000 }, (_, index) => [`${index}`, '']);
  assert.is(formatTable(columns, many).split('\n').length, 200_002);
});

test('control characters out of file names never reach a terminal', () => {
  assert.is(printable('a\u001b[31mb\n\r\u0007\u009b'), 'a\\x1b[31mb\\n\\x0d\\x07\\x9b');
  assert.is(printableLines('a\u0007\nb\r'), 'a\\x07\nb\\x0d');
  assert.ok(formatTable([{ title: 'x' }], [['\u001b[2J']]).includes('\\x1b[2J'));
});

test('durations, sizes and counts read naturally', () => {
  assert.equal([0, 999, 1000, 59_949, 59_950, 61_000, 3_660_000].map(formatDuration), [
    '0 ms',
    '999 ms',
    '1.0 s',
    '59.9 s',
    '1 min 0 s',
    '1 min 1 s',
    '1 h 1 min',
  ]);
  assert.equal([0, 999, 1000, 4_110_000, 134_217_728, 2.5e12].map(formatBytes), [
    '0 B',
    '999 B',
    '1.0 kB',
    '4.1 MB',
    '134 MB',
    '2.5 TB',
  ]);
  assert.equal([plural(1, 'picture'), plural(0, 'picture')], ['1 picture', '0 pictures']);
});

test('text is wrapped at spaces', () => {
  assert.equal(wrap('one two three', 7), ['one two', 'three']);
  assert.equal(wrap('unbreakable', 3), ['unbreakable']);
});

test('wide characters take two cells, accents none', () => {
  assert.equal(['abc', '犬', 'e\u0301', '한글', '🦀!', 'ｗ', 'é'].map(cellsOf), [3, 2, 1, 4, 3, 2, 1]);
  const rows = [
    ['犬', '1'],
    ['dog', '22'],
  ];
  assert.is(formatTable([{ title: 'x' }, { title: 'n', align: 'right' }], rows), 'x     n\n犬    1\ndog  22\n');
  const { stream, written } = recorder(true, 50);
  new ProgressBar(4, { stream }).advance(1, '犬'.repeat(40));
  assert.ok(cellsOf(written.at(-1)!.replace('\r', '').replace('\u001b[K', '')) < 50);
});

test('a progress bar is drawn on a terminal, cut to its width, and leaves no trace', () => {
  const { stream, written } = recorder(true, 50);
  const bar = new ProgressBar(4, { stream });
  bar.advance(1, 'a-long-file-name-that-does-not-fit-into-the-line.png\u001b[31m');
  assert.match(written.at(-1)!, /^\r█{6}░{18} {2}1\/4 {2}\d/);
  assert.ok(written.at(-1)!.replace('\r', '').replace('\u001b[K', '').length < 50);
  assert.not(written.at(-1)!.includes('\u001b[31m'));
  const order: string[] = [];
  bar.above(() => order.push(written.at(-1)!));
  assert.equal(order, ['\r\u001b[K'], 'the line is cleared before anything is printed');
  bar.advance(3);
  assert.match(written.at(-1)!, /█{24} {2}4\/4/);
  bar.clear();
  assert.is(written.at(-1), '\r\u001b[K');
});

test('a progress bar knows what was done before it began', () => {
  const { stream, written } = recorder(true, 80);
  const bar = new ProgressBar(4_000_000, { stream, start: 1_000_000, format: formatBytes });
  bar.reach(1_000_000, 'model.safetensors');
  assert.match(written.at(-1)!, /^\r█{6}░{18} {2}1\.0 MB\/4\.0 MB {2}model\.safetensors/);
  bar.above(() => {});
  bar.reach(2_500_000, 'model.safetensors');
  assert.match(written.at(-1)!, /2\.5 MB\/4\.0 MB {2}\d+ ms left {2}model/);
});

test('a progress bar that is not on a terminal writes nothing', () => {
  const { stream, written } = recorder(false);
  const bar = new ProgressBar(2, { stream });
  bar.show('start');
  bar.advance(2, 'x');
  bar.clear();
  assert.equal(written, []);
});

test.run();
