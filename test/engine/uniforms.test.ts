import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DeviceError } from '../../engine/index.ts';
import { writeScalars } from '../../engine/launch.ts';
import { UniformWriter } from '../../engine/webgpu/uniforms.ts';

const scalars = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

test('a slot is as long as a struct with vectors in it, whatever alignment the adapter makes do with', () => {
  for (const alignment of [4, 8, 16, 32]) assert.is(new UniformWriter(alignment).write(scalars(22)).byteLength, 96);
  assert.is(new UniformWriter(256).write(scalars(22)).byteLength, 256);
});

test('slots follow each other, in a new buffer where one is full', () => {
  const writer = new UniformWriter(4);
  assert.equal(writer.write(scalars(3)), { chunk: 0, byteOffset: 0, byteLength: 16 });
  assert.equal(writer.write(scalars(5)), { chunk: 0, byteOffset: 16, byteLength: 32 });
  assert.equal(writer.write(scalars(16_384)), { chunk: 1, byteOffset: 0, byteLength: 65_536 });
  const taken = [...writer.takeWritten()];
  assert.equal([...new Uint32Array(taken[0]!.data, 16, 5)], scalars(5));
  assert.equal(
    taken.map(({ chunk, byteOffset, byteLength }) => [chunk, byteOffset, byteLength]),
    [
      [0, 0, 65_536],
      [1, 0, 65_536],
    ],
  );
  assert.throws(
    () => writer.write(scalars(16_385)),
    (error: Error) => error instanceof DeviceError && /at most 16384 scalars, got 16385/.test(error.message),
  );
});

test('what was taken is not taken again', () => {
  const writer = new UniformWriter(16);
  const taken = () =>
    [...writer.takeWritten()].map(({ chunk, byteOffset, byteLength }) => [chunk, byteOffset, byteLength]);
  assert.equal(taken(), []);
  writer.write(scalars(4));
  assert.equal(taken(), [[0, 0, 16]]);
  assert.equal(taken(), []);
  writer.write(scalars(4));
  writer.write(scalars(16_384));
  assert.equal(taken(), [
    [0, 16, 65_520],
    [1, 0, 65_536],
  ]);
});

test('integers are those of 32 bits, with a sign or without; floats are any', () => {
  const words = new Uint32Array(6);
  const write = (...values: Parameters<typeof writeScalars>[0]) =>
    writeScalars(values, words, new Float32Array(words.buffer), 1);
  write(2 ** 32 - 1, -(2 ** 31), { f32: 2 ** 32 }, 0);
  assert.equal([...words], [0, 0xffff_ffff, 0x8000_0000, 0x4f80_0000, 0, 0]);
  for (const value of [2 ** 32, -(2 ** 31) - 1, Number.NaN]) {
    assert.throws(
      () => write(value),
      (error: Error) => error instanceof DeviceError && error.message.endsWith(`32 bits, got ${value}`),
    );
  }
});

test.run();
