import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import fileSystem from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import workerThreads, { type Worker, type WorkerOptions } from 'node:worker_threads';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  Device,
  DeviceError,
  DeviceLostError,
  type HostTensor,
  OptionError,
  OutOfMemoryError,
  ShapeError,
  type Tensor,
} from '../../engine/index.ts';
import type { Launch } from '../../engine/launch.ts';
import { activate, add } from '../../kernels/index.ts';
import { DetrForObjectDetection } from '../../models/detr.ts';

/** Every worker thread that the devices of this process start, so that tests can end one. */
const workers: Worker[] = [];
/** How many more may be started. */
let threadsLeft = Number.POSITIVE_INFINITY;
const { Worker: OriginalWorker } = workerThreads;
workerThreads.Worker = class extends OriginalWorker {
  constructor(file: string | URL, options?: WorkerOptions) {
    if (threadsLeft-- < 1) throw new Error('EAGAIN');
    super(file, options);
    workers.push(this);
  }
};
syncBuiltinESMExports();

/** What nobody waits for must not surface as a rejection of its own. */
const unhandled: unknown[] = [];
process.on('unhandledRejection', reason => unhandled.push(reason));

async function rejection(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected a rejection, got a result');
}

/** Fails where waiting would never end. */
async function within<Result>(milliseconds: number, promise: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing happened for ${milliseconds} ms`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const GIBIBYTE = 2 ** 30;
const values = (count: number) => Float32Array.from({ length: count }, (_, index) => index - count / 2);
const relu = async (device: Device, count = 1000) =>
  device.scope(() => activate(device.tensor({ shape: [count], data: values(count) }), 'relu')).read();

function assertRelu({ data }: HostTensor): void {
  assert.is(data[0], 0);
  assert.is(data.at(-1), data.length / 2 - 1);
}

/** Work for some seconds, whatever the machine, unless it is stopped. */
function longWork(device: Device): Tensor {
  const x = device.tensor({ shape: [1 << 22], data: new Float32Array(1 << 22).fill(0.5) });
  for (let pass = 0; pass < 3000; pass++) activate(x, 'gelu').dispose();
  return activate(x, 'gelu');
}

const testOnDevice = (name: string, body: (device: Device) => Promise<void>) =>
  test(name, async () => {
    const device = await Device.create({ device: 'cpu', threads: 2 });
    try {
      await body(device);
    } finally {
      await device.destroy();
    }
    await new Promise(resolve => setImmediate(resolve));
    assert.equal(unhandled, []);
  });

const pixels = { shape: [1, 3, 96, 128], data: values(3 * 96 * 128).map(value => value / 20_000) };
const loadModel = (device: Device) => DetrForObjectDetection.fromPretrained('scenes-detr', { device });

test('impossible thread counts are refused', async () => {
  for (const [index, threads] of [0, -1, 1.5, 1000, Number.NaN].entries()) {
    const error = await rejection(Device.create({ device: (['cpu', 'auto', 'webgpu'] as const)[index % 3]!, threads }));
    assert.instance(error, OptionError);
    assert.match(error.message, /threads: expected an integer from 1 to 256/);
  }
});

test('threads that cannot all be started leave none behind', async () => {
  threadsLeft = 2;
  const started = workers.length;
  const error = await rejection(Device.create({ device: 'cpu', threads: 3 }));
  threadsLeft = Number.POSITIVE_INFINITY;
  assert.instance(error, DeviceError);
  assert.match(error.message, /^cpu device: expected 3 threads, got 2, then: EAGAIN$/);
  assert.is(workers.length, started + 2);
  const exits = workers.slice(started).map(worker => new Promise(resolve => worker.once('exit', resolve)));
  await within(20_000, Promise.all(exits));
});

test('options of a device that do not exist are refused', async () => {
  const refused: [options: unknown, message: RegExp][] = [
    ['cpu', /^Device.create: expected an object { device, threads, revectorize }/],
    [null, /^Device.create: expected an object .*, got null$/],
    [['cpu'], /^Device.create: expected an object .*, got \["cpu"\]$/],
    [{ backend: 'cpu' }, /^Device.create: unknown option backend; known are device/],
    [{ device: 'gpu' }, /^device: expected auto, webgpu or cpu, got "gpu"/],
    [{ device: 'cpu', revectorize: 'yes' }, /^Device.create: expected revectorize to be true or false, got "yes"/],
  ];
  for (const [options, message] of refused) {
    const error = await rejection(Device.create(options as object));
    assert.instance(error, OptionError);
    assert.match(error.message, message);
  }
});

testOnDevice('without memory an allocation is an OutOfMemoryError, and freed memory serves again', async device => {
  const hogs = [device.empty([(1.5 * GIBIBYTE) / 4]), device.empty([(1.5 * GIBIBYTE) / 4])];
  const { liveBytes } = device.memory;
  const refused = (error: Error) =>
    error instanceof OutOfMemoryError && /cpu device: expected \d+ more/.test(error.message);
  assert.throws(() => device.empty([(1.5 * GIBIBYTE) / 4]), refused);
  assert.throws(() => device.empty([2 ** 40]), refused);
  assert.is(device.memory.liveBytes, liveBytes, 'what was refused does not count');
  assertRelu(await relu(device));
  for (const hog of hogs) hog.dispose();
  device.empty([(2.5 * GIBIBYTE) / 4]).dispose();
  assertRelu(await relu(device));
});

testOnDevice('a forward pass without memory rejects and leaves nothing behind; with memory it works', async device => {
  const model = await loadModel(device);
  const expected = await model.forward({ pixelValues: pixels });
  const before = device.memory;
  const hogs: Tensor[] = [];
  for (let size = GIBIBYTE; size >= 4096; size /= 2) {
    try {
      for (;;) hogs.push(device.empty([size / 4]));
    } catch (error) {
      assert.instance(error, OutOfMemoryError);
    }
  }
  const { liveBytes } = device.memory;
  for (let again = 0; again < 3; again++) {
    assert.instance(await rejection(model.forward({ pixelValues: pixels })), OutOfMemoryError);
    assert.is(device.memory.liveBytes, liveBytes);
  }
  for (const hog of hogs) hog.dispose();
  const { logits, pred_boxes: boxes } = await model.forward({ pixelValues: pixels });
  assert.equal(logits.data, expected.logits.data);
  assert.equal(boxes.data, expected.pred_boxes.data);
  assert.is(device.memory.liveBytes, before.liveBytes);
});

/** A launch of `relu` on some tensor, to be changed. */
function soundLaunch(device: Device): Launch {
  const x = device.tensor({ shape: [1000], data: values(1000) });
  let sound: Launch | undefined;
  const { launch } = device;
  device.launch = function (recorded) {
    sound = recorded;
    launch.call(this, recorded);
  };
  activate(x, 'relu');
  device.launch = launch;
  return sound!;
}

testOnDevice('a kernel that traps fails all that hangs on it, by its name, and the device goes on', async device => {
  const sound = soundLaunch(device);
  const { entry } = sound.wasm({ threads: 1 });
  const out = device.empty([1000]);
  // It reads what it should write, and writes 1000 values far outside of the memory.
  const scalars = [0xfffffff0, 1000, 1];
  device.launch({ ...sound, kernel: 'wild', inputs: [], outputs: [out], wasm: () => ({ entry, tasks: 1, scalars }) });
  const reads = [out.read(), activate(out, 'relu').read()];
  const nextBatch = activate(activate(out, 'relu'), 'relu');
  for (const read of [...reads, nextBatch.read()]) {
    const error = await within(20_000, rejection(read));
    assert.instance(error, DeviceError);
    assert.match(error.message, /^wild: the kernel failed on the cpu device: memory access out of bounds/);
  }
  assert.instance(await rejection(activate(nextBatch, 'relu').read()), DeviceError);
  assertRelu(await relu(device));
});

testOnDevice('work that finds no memory is told to all who recorded it, and smaller work goes on', async device => {
  const sound = soundLaunch(device);
  await device.finish();
  const before = activate(device.tensor({ shape: [4], data: values(4) }), 'relu');
  const out = device.empty([1000]);
  device.launch({ ...sound, outputs: [out], wasm: host => ({ ...sound.wasm(host), scratchBytes: 3 * GIBIBYTE }) });
  const errors = await Promise.all([out, before, activate(before, 'relu')].map(tensor => rejection(tensor.read())));
  for (const error of errors) assert.instance(error, OutOfMemoryError);
  assertRelu(await relu(device));
});

testOnDevice('scratch memory grows with what launches need, also after more was refused', async device => {
  const sound = soundLaunch(device);
  await device.finish();
  const x = device.tensor({ shape: [1000], data: values(1000) });
  const { liveBytes } = device.memory;
  const scratchAfter = async (scratchBytes: number) => {
    const out = device.empty([1000]);
    const wasm: Launch['wasm'] = host => ({ ...sound.wasm(host), scratchBytes });
    device.launch({ ...sound, inputs: [x], outputs: [out], wasm });
    const read = out.read();
    out.dispose();
    assertRelu(await read);
    return device.memory.liveBytes - liveBytes;
  };
  assert.equal([await scratchAfter(1000), await scratchAfter(10)], [2 * 1024, 2 * 1024]);
  assert.instance(await rejection(scratchAfter(3 * GIBIBYTE)), OutOfMemoryError);
  assert.is(device.memory.liveBytes, liveBytes);
  assert.equal([await scratchAfter(10), await scratchAfter(2000)], [2 * 64, 2 * 2048]);
});

testOnDevice('a scope with an asynchronous body is refused, and its promise troubles nobody', async device => {
  const body = async () => {
    const x = device.empty([4]);
    await null;
    return x.read();
  };
  assert.throws(() => device.scope(body), /scope: expected a synchronous body, got a promise/);
  await new Promise(resolve => setTimeout(resolve, 20));
});

testOnDevice('a destroyed device holds no memory, whoever holds the device', async device => {
  assertRelu(await relu(device));
  assert.ok(device.memory.reservedBytes > 0);
  await device.destroy();
  assert.is(device.memory.reservedBytes, 0);
});

testOnDevice(
  'a worker that dies at work rejects what waits with a DeviceLostError; a new device works',
  async device => {
    const model = await loadModel(device);
    const started = workers.slice(-2);
    const y = longWork(device);
    const reads = [y.read(), model.forward({ pixelValues: pixels }), device.finish()].map(rejection);
    await new Promise(resolve => setTimeout(resolve, 50));
    await started[0]!.terminate();
    for (const error of await within(20_000, Promise.all(reads))) {
      assert.instance(error, DeviceLostError);
      assert.match(error.message, /a worker thread exited with code 1; create a new device/);
    }
    assert.instance(await rejection(model.forward({ pixelValues: pixels })), DeviceLostError);
    assert.instance(await rejection(device.finish()), DeviceLostError);
    assert.throws(
      () => device.empty([1]),
      (error: Error) => error instanceof DeviceLostError,
    );
    y.dispose();
    model.dispose();
    await within(20_000, Promise.all(started.map(worker => worker.terminate())));

    const next = await Device.create({ device: 'cpu', threads: 2 });
    const again = await loadModel(next);
    assert.is((await again.forward({ pixelValues: pixels })).logits.shape[0], 1);
    await next.destroy();
  },
);

testOnDevice('a worker that dies while nothing waits is told to whoever comes next', async device => {
  await relu(device);
  const x = device.empty([4]);
  await workers.at(-1)!.terminate();
  await new Promise(resolve => setTimeout(resolve, 20));
  assert.instance(await rejection(x.read()), DeviceLostError);
});

testOnDevice('a worker that dies at work, with no one waiting, is no unhandled rejection', async device => {
  void longWork(device);
  const pending = device.finish().catch(() => 'rejected');
  await new Promise(resolve => setTimeout(resolve, 20));
  await workers.at(-1)!.terminate();
  assert.is(await within(20_000, pending), 'rejected');
});

testOnDevice('destroy can be called twice, and with work pending', async device => {
  const pending = rejection(longWork(device).read());
  await new Promise(resolve => setTimeout(resolve, 20));
  await within(20_000, device.destroy());
  await device.destroy();
  assert.instance(await pending, DeviceLostError);
});

test('a process with a device ends by itself, with and without destroy, also in the middle of work', async () => {
  const index = fileURLToPath(new URL('../../index.js', import.meta.url));
  const run = (ending: string) => {
    const program = `
      import { Device, DetrForObjectDetection } from ${JSON.stringify(index)};
      const device = await Device.create({ device: 'cpu', threads: 2 });
      const model = await DetrForObjectDetection.fromPretrained('scenes-detr', { device });
      const pixelValues = { shape: [1, 3, 64, 64], data: new Float32Array(3 * 64 * 64) };
      const forward = () => model.forward({ pixelValues });
      ${ending}
      console.log('done');`;
    return promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], { timeout: 60_000 });
  };
  const endings = [
    '',
    'await forward();',
    'await forward(); await device.destroy();',
    'void forward();',
    'void forward().catch(() => {}); await device.destroy();',
    'await Promise.all([forward(), forward()]); model.dispose();',
    'await device.finish(); await Device.create({ device: "cpu" });',
  ];
  for (const ending of endings) assert.is((await run(ending)).stdout, 'done\n', ending);
  assert.is((await run('void forward(); console.log("done"); process.exit(0);')).stdout, 'done\n');
});

test('data and shapes that are none are refused, and the device goes on', async () => {
  const device = await Device.create({ device: 'cpu', threads: 1 });
  const { liveBytes } = device.memory;
  const wrong: readonly [
    data: unknown,
    shape: readonly number[],
    type: typeof OptionError | typeof ShapeError,
    message: RegExp,
  ][] = [
    [
      [1, 2],
      [2],
      OptionError,
      /tensor: expected .* with a Float32Array or Int32Array, got {"shape":\[2\],"data":\[1,2\]}$/,
    ],
    [new Float64Array(2), [2], OptionError, /"data":"Float64Array"}$/],
    [undefined, [2], OptionError, /"data":"undefined"}$/],
    [new Float32Array(3), [2], ShapeError, /tensor: expected as many values as \[2\] has, got 3$/],
    [new Float32Array(2), [0.5, 4], ShapeError, /expected as many values as \[0.5, 4\] has, got 2$/],
    [new Float32Array(2), [-1, -2], ShapeError, /expected as many values as \[-1, -2\] has, got 2$/],
  ];
  for (const [data, shape, type, message] of wrong) {
    assert.throws(
      () => device.tensor({ shape, data } as HostTensor),
      (error: Error) => error instanceof type && message.test(error.message),
    );
  }
  assert.throws(() => device.empty([2, Number.NaN]), /empty: expected whole sizes from 0, got \[2, NaN\]/);
  for (const size of [1e200, 2 ** 53]) assert.throws(() => device.empty([size, 0]), /empty: expected whole sizes/);
  assert.is(device.empty(new Array(30).fill(2 ** 50).concat(0)).size, 0);
  const float16 = 'float16' as 'float32';
  assert.throws(() => device.empty([2], float16), /empty: expected dtype float32 or int32, got "float16"/);
  assert.is(device.memory.liveBytes, liveBytes);
  const { data } = await device.tensor({ shape: [2], data: Float32Array.of(1, 2) }).read();
  assert.equal([...data], [1, 2]);
  await device.destroy();
});

testOnDevice('a tensor of another device is neither read nor given to a kernel', async device => {
  const other = await Device.create({ device: 'cpu', threads: 1 });
  const foreign = other.tensor({ shape: [2], data: Float32Array.of(1, 2) });
  const expected = /: expected a tensor of cpu \(2 threads, .*\), got one of another device$/;
  const error = await rejection(device.read(foreign));
  assert.instance(error, DeviceError);
  assert.match(error.message, expected);
  assert.throws(
    () => add(device.empty([2]), foreign),
    (thrown: Error) => thrown instanceof DeviceError && expected.test(thrown.message),
  );
  assert.equal([...(await foreign.read()).data], [1, 2]);
  await other.destroy();
});

testOnDevice('a tensor that was disposed of is neither read nor given to a kernel', async device => {
  const [x, y] = [device.tensor({ shape: [2], data: Float32Array.of(1, 2) }), device.empty([2])];
  const view = x.reshape([1, 2]);
  x.dispose();
  x.dispose();
  const expected = /^tensor \[2\]: expected live, got disposed$/;
  assert.match((await rejection(x.read())).message, expected);
  assert.throws(() => add(x, y), expected);
  assert.throws(() => x.reshape([2, 1]), expected);
  assert.equal([...(await view.read()).data], [1, 2]);
});

testOnDevice('a profile has a time for every launch, and is the only one', async device => {
  const together = await Promise.allSettled([1, 2].map(() => device.profile(() => relu(device))));
  assert.equal(
    together.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  );
  const before = activate(device.tensor({ shape: [4], data: values(4) }), 'relu');
  const { result, timings } = await device.profile(async () => {
    const error = await rejection(device.profile(async () => {}));
    assert.instance(error, DeviceError);
    assert.match(error.message, /^profile: expected one profile at a time/);
    return relu(device);
  });
  assertRelu(result);
  assert.equal(
    timings.map(({ kernel, flops, bytes }) => ({ kernel, flops, bytes })),
    [{ kernel: 'activate', flops: 1000, bytes: 8000 }],
    'without what was recorded before',
  );
  before.dispose();
  assert.ok(timings[0]!.milliseconds >= 0);
  assert.equal((await device.profile(async () => {})).timings, []);
});

testOnDevice('the times of a profile are parts of what it took', async device => {
  const x = device.tensor({ shape: [1 << 22], data: new Float32Array(1 << 22).fill(0.5) });
  const start = performance.now();
  const { timings } = await device.profile(async () => {
    for (let launch = 0; launch < 3; launch++) activate(x, 'gelu').dispose();
    await relu(device);
  });
  const elapsed = performance.now() - start;
  const milliseconds = timings.map(timing => timing.milliseconds);
  const sum = milliseconds.reduce((total, each) => total + each, 0);
  assert.is(milliseconds.length, 4);
  assert.ok(milliseconds.every(each => each > 0) && sum < elapsed + 10, `${milliseconds} of ${elapsed} ms`);
});

test('the cpu device has fused multiply-add where WebAssembly has it', async () => {
  setFlagsFromString('--experimental-wasm-relaxed-simd');
  const kernels = readFileSync(fileURLToPath(new URL('../../kernels/kernels.relaxed.wasm', import.meta.url)));
  await using device = await Device.create({ device: 'cpu', threads: 1 });
  assert.is(/SIMD.*, fused multiply-add\)$/.test(device.name), WebAssembly.validate(kernels), device.name);
});

test('kernels that could not be read are read when a device is wanted again', async () => {
  const { readFile } = fileSystem;
  process.env.DETR_KERNELS = 'plain'; // the other builds were read before
  try {
    fileSystem.readFile = (() => Promise.reject(new Error('too many open files'))) as typeof readFile;
    syncBuiltinESMExports();
    const error = await rejection(Device.create({ device: 'cpu', threads: 1 }));
    assert.instance(error, DeviceError);
    assert.match(error.message, /^cpu device: expected compiled kernels at .*kernels\.wasm, got none; run the build/);
    fileSystem.readFile = readFile;
    syncBuiltinESMExports();
    await using device = await Device.create({ device: 'cpu', threads: 1 });
    assertRelu(await relu(device));
  } finally {
    delete process.env.DETR_KERNELS;
  }
});

testOnDevice('reshape refuses what is no shape, and shapes of other sizes', async device => {
  const wrong: readonly [from: readonly number[], to: readonly number[], message: RegExp][] = [
    [[6], [-2, -3], /expected whole sizes from 0, of which one may be -1, got \[-2, -3\]$/],
    [[6], [1.5, 4], /expected whole sizes from 0, .*, got \[1\.5, 4\]$/],
    [[6], [Number.NaN, 6], /expected whole sizes from 0, .*, got \[NaN, 6\]$/],
    [[1], [-1, -1], /expected whole sizes from 0, .*, got \[-1, -1\]$/],
    [[6], [4, -1], /expected 6 elements for \[6\], got \[4, -1\]$/],
    [[6], [2, 2], /expected 6 elements for \[6\], got \[2, 2\]$/],
    [[6], [0, -1], /expected 6 elements for \[6\], got \[0, -1\]$/],
    [[0, 3], [0, -1], /expected 0 elements for \[0, 3\], got \[0, -1\]$/],
  ];
  for (const [from, to, message] of wrong) {
    assert.throws(
      () => device.empty(from).reshape(to),
      (error: Error) => error instanceof ShapeError && message.test(error.message),
    );
  }
  assert.equal(device.empty([2, 6]).reshape([3, -1, 2]).shape, [3, 2, 2]);
  assert.equal(device.empty([0, 3]).reshape([-1, 5]).shape, [0, 5]);
  assert.equal(device.empty([1]).reshape([]).shape, []);
});

test.run();
