import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { mathWgsl } from '../../kernels/math.wgsl.ts';
import { flatWorkgroups, rowForm, workgroupGrid } from '../../kernels/wgsl.ts';
import { gpu, llvmpipe } from './devices.ts';

test('a grid holds all workgroups, within the limit of a dimension and with few in excess', () => {
  for (const count of [0, 1, 3, 65_535, 65_536, 65_537, 131_071, 1_000_003, 4_000_000]) {
    const [columns, rows, layers] = workgroupGrid(count);
    assert.ok(columns * rows * layers >= count, `${count}`);
    assert.ok(columns <= 65_535 && rows <= 65_535 && layers === 1, `${count}`);
    assert.ok(columns * rows - count < rows || count === 0, `${count}: ${columns} x ${rows}`);
  }
  assert.equal(flatWorkgroups(65), [2, 1, 1]);
  assert.equal(flatWorkgroups(0), [0, 0, 1]);
});

test('rows go to workgroups on hardware, and to single invocations on software unless they are long', () => {
  assert.is(rowForm(gpu, 256), 'workgroup');
  assert.is(rowForm(llvmpipe, 256), 'invocation');
  assert.is(rowForm(llvmpipe, 6800), 'workgroup');
});

test('the text of elementary functions holds each once, after those that it calls', () => {
  const text = mathWgsl('softplusOf', 'expOf', 'sigmoidOf');
  for (const name of ['expOf', 'isNaNOf', 'logOf', 'logNear1Of', 'sigmoidOf', 'softplusOf']) {
    assert.is(text.split(`fn ${name}(`).length, 2, name);
  }
});

test.run();
