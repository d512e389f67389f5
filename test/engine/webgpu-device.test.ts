import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  DeviceError,
  DeviceLostError,
  type HostTensor,
  OutOfMemoryError,
  ShaderError,
  type Tensor,
} from '../../engine/index.ts';
import type { Launch } from '../../engine/launch.ts';
import { WebGpuDevice } from '../../engine/webgpu/webgpu-device.ts';
import { AFFINE, affine, calibrate, REFUSED_AFFINE, rejection, SLOW_AFFINE, values } from './affine.ts';

const probe = await WebGpuDevice.open({ acceptSoftware: true });
if (probe === undefined) {
  console.log('webgpu-device: SKIPPED, this machine has no WebGPU adapter');
} else {
  console.log(`webgpu-device: ${probe.name}, profiles by ${probe.timedBy}`);
  await calibrate(probe);
  await probe.destroy();

  const testOnDevice = (name: string, body: (device: WebGpuDevice) => Promise<void>) =>
    test(name, async () => {
      const device = await WebGpuDevice.open({ acceptSoftware: true });
      try {
        await body(device!);
      } finally {
        await device!.destroy();
      }
    });

  test('a software adapter is only taken where it is accepted', async () => {
    const hardware = await WebGpuDevice.open({ acceptSoftware: false });
    assert.is(hardware?.traits.software ?? false, false);
    await hardware?.destroy();
  });

  testOnDevice('launches run in the order they were recorded', async device => {
    let x: Tensor = device.tensor({ shape: [3], data: Float32Array.of(1, 2, 3) });
    for (let step = 0; step < 700; step++) x = affine(x, step % 2 === 0 ? 2 : 0.5, step % 2);
    const { shape, data } = await x.read();
    assert.equal(shape, [3]);
    // Every pair of steps adds one.
    assert.equal([...data], [351, 352, 353]);
  });

  testOnDevice('an int32 tensor comes back as it went', async device => {
    const data = Int32Array.of(1, -2, 2 ** 31 - 1);
    assert.equal((await device.tensor({ shape: [3], data }).read()).data, data);
  });

  testOnDevice('memory of a scope is reused at once, and its result survives', async device => {
    const x = device.tensor({ shape: [1000], data: values(1000) });
    const out = device.scope(() => {
      let y = affine(x, 1, 1);
      for (let step = 0; step < 20; step++) {
        const next = device.scope(() => affine(affine(y, 3), 1 / 3, 1));
        y.dispose();
        y = next;
      }
      return y;
    });
    assert.is(device.memory.liveBytes, 2 * 4000);
    assert.ok(device.bufferCount <= 5, `${device.bufferCount} buffers`);
    const { data } = await out.read();
    for (const [index, value] of data.entries()) assert.ok(Math.abs(value - index - 21) < 1e-2, `${index}: ${value}`);
  });

  testOnDevice('an upload does not overtake recorded work that reads a freed buffer', async device => {
    const x = device.tensor({ shape: [256], data: values(256) });
    const doubled = affine(x, 2);
    x.dispose();
    const late = device.tensor({ shape: [256], data: values(256, 5000) });
    const [a, b] = await Promise.all([doubled.read(), late.read()]);
    assert.is(a.data[255], 510);
    assert.is(b.data[255], 5255);
  });

  testOnDevice('an upload while submitted work still runs is ordered after it', async device => {
    const x = device.tensor({ shape: [64], data: values(64) });
    const slow = affine(x, 2, 0, SLOW_AFFINE);
    const pending = slow.read();
    await new Promise(resolve => setTimeout(resolve, 30));
    x.dispose();
    const late = device.tensor({ shape: [64], data: values(64, 100) });
    assert.is((await pending).data[63], 126);
    assert.is((await late.read()).data[63], 163);
  });

  testOnDevice('concurrent reads share a submit and each get their own values', async device => {
    const x = device.tensor({ shape: [64], data: values(64) });
    const reads = Array.from({ length: 20 }, (_, factor) => device.scope(() => affine(x, factor)).read());
    const results = await Promise.all(reads);
    for (const [factor, { data }] of results.entries()) assert.is(data[63], 63 * factor);
  });

  /** A chain of launches of 4 GFLOP, and how many submits there were. */
  const chainOn = (device: WebGpuDevice) => {
    const { queue } = device.gpuDevice;
    const submit = queue.submit.bind(queue);
    const counted = { submits: 0 };
    queue.submit = buffers => {
      counted.submits += 1;
      return submit(buffers);
    };
    const x = device.tensor({ shape: [64], data: values(64) });
    const chain = (length: number, lastCode = AFFINE) => {
      let y: Tensor = x;
      for (let launch = 1; launch <= length; launch++) y = affine(y, 1, 1, launch < length ? AFFINE : lastCode, 4e9);
      return y;
    };
    return { chain, counted };
  };

  for (const software of [true, false]) {
    const adapter = software ? 'a software adapter' : 'a GPU';
    test(`much work goes to ${adapter} in several submits, and its profile and errors are whole`, async () => {
      await using device = (await WebGpuDevice.open({ acceptSoftware: true, traits: { software } }))!;
      const { chain, counted } = chainOn(device);
      // Three launches fill a submit, so that the copy to the host is one of its own after them. A GPU, once the pipeline is
      // compiled, also gets the first launch by itself.
      for (const [length, expected] of [[2, 1] as const, [3, 2] as const, [7, software ? 3 : 4] as const]) {
        counted.submits = 0;
        assert.is((await chain(length).read()).data[63], 63 + length);
        assert.is(counted.submits, expected, `${length} launches`);
      }
      const { timings } = await device.profile(() => chain(7).read());
      assert.is(timings.length, 7);
      assert.instance(await rejection(chain(7, REFUSED_AFFINE).read()), DeviceError);
      assert.is((await chain(7).read()).data[63], 70);
    });
  }

  test('a GPU begins while the rest is recorded, and what fails there fails all that are waited for together', async () => {
    await using device = (await WebGpuDevice.open({ acceptSoftware: true, traits: { software: false } }))!;
    const { chain, counted } = chainOn(device);
    await chain(1).read();
    counted.submits = 0;
    const begun = chain(7);
    assert.is(counted.submits, 3);
    const late = chain(2).read();
    const [refused, other] = await Promise.all([
      rejection(chain(9, REFUSED_AFFINE).read()),
      rejection(affine(device.tensor({ shape: [64], data: values(64, 500) }), 2).read()),
      rejection(late),
    ]);
    assert.instance(refused, DeviceError);
    assert.is(other, refused);
    assert.is((await begun.read()).data[63], 70);
  });

  test('on a GPU, uploads of every pass go by way of the same mapped buffers', async () => {
    await using device = (await WebGpuDevice.open({ acceptSoftware: true, traits: { software: false } }))!;
    const { gpuDevice } = device;
    const createBuffer = gpuDevice.createBuffer.bind(gpuDevice);
    const created: number[] = [];
    gpuDevice.createBuffer = descriptor => {
      if (descriptor.mappedAtCreation) created.push(descriptor.size);
      return createBuffer(descriptor);
    };
    const size = 20_000;
    const pass = (first: number) => {
      const outputs = device.scope(() => {
        const x = device.tensor({ shape: [size], data: values(size, first) });
        const doubled = affine(x, 2);
        x.dispose();
        // Whatever buffer it gets, this one's values do not reach what was recorded before.
        const late = device.tensor({ shape: [size], data: values(size, first + 7) });
        return [doubled, affine(late, 1)];
      });
      const reads = Promise.all(outputs.map(output => output.read()));
      for (const output of outputs) output.dispose();
      return reads as Promise<[HostTensor, HostTensor]>;
    };
    const check = async (first: number) => {
      const [doubled, late] = await pass(first);
      assert.equal([doubled.data[0], doubled.data[size - 1]], [2 * first, 2 * (first + size - 1)]);
      assert.equal([late.data[0], late.data[size - 1]], [first + 7, first + 7 + size - 1]);
    };
    await check(1);
    assert.equal(created, [], 'weights, which come before the first pass, are uploaded once');
    for (let run = 2; run < 12; run++) await check(run);
    assert.equal(created, [80_128, 80_128]);

    // Passes that overlap, and one that fails, get and give back their own.
    await Promise.all([check(20), check(30), check(40)]);
    const x = device.tensor({ shape: [size], data: values(size) });
    assert.instance(await rejection(affine(x, 1, 0, 'not a shader').read()), ShaderError);
    x.dispose();
    const count = created.length;
    for (let run = 0; run < 5; run++) await Promise.all([check(50), check(60), check(70)]);
    assert.is(created.length, count);
    for (let batch = 0; batch < 12; batch++) {
      affine(device.tensor({ shape: [1], data: values(1) }), 1);
      await device.finish();
    }
    const kept = device.memory.reservedBytes;
    assert.ok(kept < 80_000 * 4, `${kept} bytes are kept`);

    gpuDevice.createBuffer = () => {
      throw new RangeError('createBuffer failed');
    };
    assert.throws(
      () => device.tensor({ shape: [10 * size], data: values(10 * size) }),
      (error: Error) =>
        error instanceof OutOfMemoryError && /expected 800000 bytes, got: RangeError/.test(error.message),
    );
  });

  testOnDevice('a tensor disposed while it is being read keeps its values', async device => {
    const x = affine(device.tensor({ shape: [64], data: values(64) }), 1);
    const read = x.read();
    x.dispose();
    const other = affine(device.tensor({ shape: [64], data: values(64, 1000) }), 1);
    assert.is((await read).data[63], 63);
    assert.is((await other.read()).data[63], 1063);
  });

  testOnDevice('tensors without elements', async device => {
    const x = device.tensor({ shape: [0, 4], data: new Float32Array(0) });
    const { shape, data } = await affine(x, 2).read();
    assert.equal(shape, [0, 4]);
    assert.is(data.length, 0);
  });

  testOnDevice('shared memory is uploaded as any other', async device => {
    const data = new Float32Array(new SharedArrayBuffer(4000)).fill(3);
    const x = device.tensor({ shape: [1000], data });
    assert.is((await affine(x, 2).read()).data.at(-1), 6);
  });

  testOnDevice('launches that cannot be are refused where they are made', async device => {
    const x = device.tensor({ shape: [4], data: values(4) });
    const launch: Launch = {
      kernel: 'wide',
      inputs: [x],
      outputs: [device.empty([4])],
      cost: { flops: 0, bytes: 0 },
      wgsl: () => ({ code: AFFINE, workgroups: [65_536, 1, 1], scalars: [] }),
      wasm: () => ({ entry: '', tasks: 0, scalars: [] }),
    };
    assert.throws(
      () => device.launch(launch),
      (error: Error) => error instanceof DeviceError && /wide: expected at most 65535 workgroups/.test(error.message),
    );
    assert.throws(
      () =>
        device.launch({ ...launch, outputs: [x], wgsl: () => ({ code: AFFINE, workgroups: [1, 1, 1], scalars: [] }) }),
      (error: Error) => error instanceof DeviceError && /wide: expected outputs apart/.test(error.message),
    );
    const other = await WebGpuDevice.open({ acceptSoftware: true });
    assert.throws(
      () => other!.launch(launch),
      (error: Error) => error instanceof DeviceError && /another device/.test(error.message),
    );
    await other!.destroy();
  });

  testOnDevice('a tensor that the adapter cannot bind names both sizes', async device => {
    const limit = device.gpuDevice.limits.maxStorageBufferBindingSize;
    assert.throws(
      () => device.empty([limit / 4 + 1]),
      (error: Error) =>
        error instanceof OutOfMemoryError &&
        error.message.includes(`at most ${limit} bytes`) &&
        error.message.includes(`got ${limit + 4}`),
    );
    assert.is(device.memory.liveBytes, 0);
  });

  testOnDevice('a lost device rejects what waits and what comes, and a new one works', async device => {
    const x = device.tensor({ shape: [64], data: values(64) });
    const pending = rejection(affine(x, 2, 0, SLOW_AFFINE).read());
    await new Promise(resolve => setTimeout(resolve, 20));
    device.gpuDevice.destroy();
    assert.instance(await pending, DeviceLostError);
    assert.instance(await rejection(x.read()), DeviceLostError);
    assert.instance(await rejection(device.finish()), DeviceLostError);
    assert.throws(
      () => affine(x, 2),
      (error: Error) => error instanceof DeviceLostError,
    );
    x.dispose();
    const next = await WebGpuDevice.open({ acceptSoftware: true });
    const y = next!.tensor({ shape: [64], data: values(64) });
    assert.is((await affine(y, 2).read()).data[63], 126);
    await next!.destroy();
  });

  test('a destroyed device is garbage, with all its pipelines', async () => {
    const openAndDestroy = async () => {
      const device = (await WebGpuDevice.open({ acceptSoftware: true }))!;
      await affine(device.tensor({ shape: [64], data: values(64) }), 2).read();
      await device.destroy();
      return [new WeakRef<object>(device), new WeakRef<object>(device.gpuDevice)];
    };
    const references = await openAndDestroy();
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    // Looking at a reference would keep what it refers to until the next turn of the event loop.
    for (let round = 0; round < 8; round++) {
      await new Promise(resolve => setTimeout(resolve, 20));
      collectGarbage();
    }
    assert.equal(
      references.map(reference => reference.deref()),
      [undefined, undefined],
    );
  });

  testOnDevice('destroy can be called twice, and with work pending', async device => {
    const x = device.tensor({ shape: [64], data: values(64) });
    const pending = rejection(affine(x, 2, 0, SLOW_AFFINE).read());
    await device.destroy();
    await device.destroy();
    assert.instance(await pending, DeviceLostError);
  });

  testOnDevice('200 passes leave memory, buffers and bind groups as they were', async device => {
    const weights = device.tensor({ shape: [5000], data: values(5000) });
    const pass = async (seed: number) => {
      const output = device.scope(() => {
        const input = device.tensor({ shape: [5000], data: values(5000, seed) });
        const large = affine(input, 2);
        const small = affine(device.tensor({ shape: [70], data: values(70) }), 3);
        return [affine(affine(large, 0.5), 1), small, affine(weights, 1)] as const;
      });
      const [first, second] = await Promise.all(output.map(tensor => tensor.read()));
      for (const tensor of output) tensor.dispose();
      assert.is(first!.data[10], seed + 10);
      assert.is(second!.data[69], 207);
    };
    const measure = () => ({ ...device.memory, buffers: device.bufferCount, bindGroups: device.bindGroupCount });
    for (let run = 0; run < 10; run++) await pass(run);
    const before = measure();
    for (let run = 0; run < 200; run++) await pass(run);
    assert.equal(measure(), before);
  });

  testOnDevice(
    'buffers that no recent batch used go back to the system, and their bind groups with them',
    async device => {
      const x = device.tensor({ shape: [100], data: values(100) });
      for (let size = 1000; size < 60_000; size += 1000) {
        const y = device.scope(() => affine(device.tensor({ shape: [size], data: values(size) }), 2));
        await y.read();
        y.dispose();
      }
      for (let again = 0; again < 20; again++) await affine(x, 2).read();
      assert.ok(device.memory.reservedBytes < 1_000_000, `${device.memory.reservedBytes} bytes`);
      assert.ok(device.bindGroupCount < 40, `${device.bindGroupCount} bind groups`);
    },
  );

  testOnDevice('a value that is read in every pass is read by way of the same buffer', async device => {
    const { gpuDevice } = device;
    const create = gpuDevice.createBuffer.bind(gpuDevice);
    let created = 0;
    gpuDevice.createBuffer = descriptor => {
      created += 1;
      return create(descriptor);
    };
    const x = device.tensor({ shape: [100], data: values(100) });
    const pass = async () => {
      await x.read();
      await device.finish();
    };
    for (let run = 0; run < 12; run++) await pass();
    const before = created;
    for (let run = 0; run < 12; run++) await pass();
    assert.is(created, before);
  });

  testOnDevice('the event loop stays free while the device works', async device => {
    const x = device.tensor({ shape: [64], data: values(64) });
    await affine(x, 2).read();
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
    }, 1);
    await affine(x, 2, 0, SLOW_AFFINE).read();
    clearInterval(timer);
    // How free it stays is measured by `npm run bench -- event-loop`.
    assert.ok(ticks > 0, 'expected timers to run while the device works');
  });

  testOnDevice('a profile names every launch, its stage and its time', async device => {
    const x = device.tensor({ shape: [64], data: values(64) });
    affine(x, 3).dispose(); // recorded before it
    const { result, timings } = await device.profile(async () => {
      const y = device.stage('backbone', () => affine(x, 2, 0, SLOW_AFFINE));
      await y.read();
      return device.stage('heads', () => affine(y, 2)).read();
    });
    assert.is(result.data[63], 252);
    assert.equal(
      timings.map(({ kernel, stage, flops, bytes }) => [kernel, stage, flops, bytes]),
      [
        ['affine', 'backbone', 128, 512],
        ['affine', 'heads', 128, 512],
      ],
    );
    const [slow, fast] = timings.map(({ milliseconds }) => milliseconds);
    assert.ok(slow! > fast! && fast! >= 0, `${slow} ms and ${fast} ms`);
    assert.instance(await rejection(device.profile(() => device.profile(async () => 1))), DeviceError);
  });

  testOnDevice('a profile has as many launches as there are', async device => {
    const x = device.tensor({ shape: [64], data: values(64) });
    const { timings } = await device.profile(async () => {
      // More than a set of queries holds.
      for (let launch = 0; launch < 2100; launch++) affine(x, 2).dispose();
      affine(x, 2, 0, SLOW_AFFINE).dispose();
    });
    assert.is(timings.length, 2101);
    const milliseconds = timings.map(timing => timing.milliseconds);
    const slow = milliseconds.pop()!;
    milliseconds.sort((a, b) => a - b);
    const [least, median] = [milliseconds[0]!, milliseconds[1050]!];
    assert.ok(least >= 0 && median < slow, `from ${least} ms, ${median} and ${slow} ms`);
  });

  testOnDevice('a profile that fails leaves no queries behind', async device => {
    if (device.timedBy !== 'timestamp queries') return;
    const { gpuDevice } = device;
    const x = device.tensor({ shape: [64], data: values(64) });
    const createQuerySet = gpuDevice.createQuerySet.bind(gpuDevice);
    let [created, destroyed] = [0, 0];
    gpuDevice.createQuerySet = descriptor => {
      const querySet = createQuerySet(descriptor);
      const destroy = querySet.destroy.bind(querySet);
      created += 1;
      querySet.destroy = () => {
        destroyed += 1;
        return destroy();
      };
      return querySet;
    };
    const profile = () => device.profile(() => affine(x, 2).read());

    const createCommandEncoder = gpuDevice.createCommandEncoder.bind(gpuDevice);
    gpuDevice.createCommandEncoder = descriptor => {
      const encoder = createCommandEncoder(descriptor);
      encoder.resolveQuerySet = () => {
        throw new Error('no encoding');
      };
      return encoder;
    };
    const error = await rejection(profile());
    assert.instance(error, DeviceError);
    assert.match(error.message, /no encoding/);
    gpuDevice.createCommandEncoder = createCommandEncoder;

    const createBuffer = gpuDevice.createBuffer.bind(gpuDevice);
    gpuDevice.createBuffer = descriptor => {
      const buffer = createBuffer(descriptor);
      if (descriptor.size === 4096 * 8) buffer.mapAsync = () => Promise.reject(new Error('no mapping'));
      return buffer;
    };
    await profile();
    assert.equal([created, destroyed], [2, 2]);
  });

  test('a process with a device ends by itself, with and without destroy, and also in the middle of work', async () => {
    const device = fileURLToPath(new URL('../../engine/webgpu/webgpu-device.js', import.meta.url));
    const run = (ending: string) => {
      const program = `
        import { WebGpuDevice } from ${JSON.stringify(device)};
        const device = await WebGpuDevice.open({ acceptSoftware: true });
        const x = device.tensor({ shape: [64], data: new Float32Array(64) });
        await x.read();
        ${ending}
        console.log('done');`;
      return promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], { timeout: 60_000 });
    };
    const endings = [
      '',
      'await device.destroy();',
      'void x.read().catch(() => {}); await device.destroy();',
      'void x.read();',
    ];
    for (const ending of endings) assert.match((await run(ending)).stdout, /done/);
    assert.is((await run('void x.read(); console.log("done"); process.exit(0);')).stdout, 'done\n');
  });
}

test.run();
