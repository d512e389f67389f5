import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { permute } from '../../kernels/index.ts';
import { mathWgsl } from '../../kernels/math.wgsl.ts';
import { planTopKSelect } from '../../kernels/top-k/top-k.wgsl.ts';
import { flatWorkgroups, memoized, rowForm, workgroupGrid } from '../../kernels/wgsl.ts';
import { deviceNames, gpu, llvmpipe, openDevice, triesForms } from './devices.ts';

test('a grid holds all workgroups, within the limit of a dimension and with few in excess', () => {
  for (const count of [0, 1, 3, 65_535, 65_536, 65_537, 131_071, 1_000_003, 4_000_000]) {
    const [columns, rows, layers] = workgroupGrid(count);
    assert.ok(columns * rows * layers >= count, `${count}`);
    assert.ok(columns <= 65_535 && rows <= 65_535 && layers === 1, `${count}`);
    assert.ok(columns * rows - count < rows || count === 0, `${count}: ${columns} x ${rows}`);
  }
  // 70,000 workgroups with barriers take a software adapter too long to be an edge of the kernel's own tests.
  assert.equal(planTopKSelect(70_000, 3, 1).workgroups, workgroupGrid(70_000));
  assert.equal(flatWorkgroups(65), [2, 1, 1]);
  assert.equal(flatWorkgroups(0), [0, 0, 1]);
});

for (const name of deviceNames.filter(name => name.startsWith('webgpu') && !triesForms(name))) {
  test(`invocations of a grid of two rows do each its own part, on ${name}`, async () => {
    await using device = await openDevice(name);
    const columns = 1_398_102;
    const data = Float32Array.from({ length: 3 * columns }, (_, index) => index);
    assert.equal(flatWorkgroups(data.length), [32_769, 2, 1]);
    const output = await permute(device.tensor({ shape: [3, columns], data }), [1, 0]).read();
    const wrong = output.data.findIndex((value, index) => value !== (index % 3) * columns + Math.floor(index / 3));
    assert.is(wrong, -1);
  });
}

test('rows go to workgroups on hardware, and to single invocations on software unless they are long', () => {
  assert.is(rowForm(gpu, 256), 'workgroup');
  assert.is(rowForm(llvmpipe, 256), 'invocation');
  assert.is(rowForm(llvmpipe, 6800), 'workgroup');
});

test('a shader text is made once for equal arguments, and anew for each that differs', () => {
  let made = 0;
  const code = memoized((width: number, form: { readonly bias: boolean; readonly activation: string | undefined }) => {
    made += 1;
    return `${width} ${form.bias} ${form.activation}`;
  });
  for (let again = 0; again < 3; again++) {
    assert.is(code(1, { bias: true, activation: 'relu' }), '1 true relu');
    assert.is(code(4, { bias: true, activation: 'relu' }), '4 true relu');
    assert.is(code(4, { bias: false, activation: 'relu' }), '4 false relu');
    assert.is(code(4, { bias: false, activation: undefined }), '4 false undefined');
  }
  assert.is(made, 4);
});

test('the text of elementary functions holds each once, after those that it calls', () => {
  const text = mathWgsl('softplusOf', 'expOf', 'sigmoidOf');
  for (const name of ['expOf', 'isNaNOf', 'logOf', 'logNear1Of', 'sigmoidOf', 'softplusOf']) {
    assert.is(text.split(`fn ${name}(`).length, 2, name);
  }
});

test.run();
