import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DeviceError, OutOfMemoryError, ShaderError, type Tensor } from '../../engine/index.ts';
import { WebGpuDevice } from '../../engine/webgpu/webgpu-device.ts';
import { AFFINE, affine, REFUSED_AFFINE, rejection, values } from './affine.ts';

// What goes wrong on the WebGPU device: who is told, and that it stays usable.

const probe = await WebGpuDevice.open({ acceptSoftware: true });
if (probe === undefined) {
  console.log('webgpu-failures: SKIPPED, this machine has no WebGPU adapter');
} else {
  await probe.destroy();

  const testOnDevice = (name: string, body: (device: WebGpuDevice) => Promise<void>, software?: boolean) =>
    test(name, async () => {
      const traits = software === undefined ? {} : { software };
      await using device = (await WebGpuDevice.open({ acceptSoftware: true, traits }))!;
      await body(device);
    });

  /** As an adapter without memory: the buffers are invalid, and the scope that was asked for knows of an error. */
  function withoutMemory<Result>({ gpuDevice }: WebGpuDevice, body: () => Result): Result {
    const { createBuffer, pushErrorScope } = gpuDevice;
    gpuDevice.createBuffer = descriptor => createBuffer.call(gpuDevice, { ...descriptor, usage: 3 });
    gpuDevice.pushErrorScope = filter =>
      pushErrorScope.call(gpuDevice, filter === 'out-of-memory' ? 'validation' : filter);
    try {
      return body();
    } finally {
      gpuDevice.createBuffer = createBuffer;
      gpuDevice.pushErrorScope = pushErrorScope;
    }
  }

  testOnDevice('a shader that does not compile is shown with its lines', async device => {
    const x = device.tensor({ shape: [4], data: values(4) });
    const error = await rejection(affine(x, 2, 0, AFFINE.replace('id.x < uniforms.count', 'id.x < 1.5')).read());
    assert.instance(error, ShaderError);
    assert.match(error.message, /affine: expected WGSL that compiles, got\nline 8, column \d+: /);
    assert.match(error.message, />\s+8 \|.*id\.x < 1\.5/);
    assert.is((await affine(x, 2).read()).data[3], 6);
  });

  testOnDevice('what fails while a failure waits to be told is no less a failure', async device => {
    const x = device.tensor({ shape: [64], data: values(64) });
    for (const turns of [0, 4, 8, 12, 20]) {
      const first = rejection(affine(x, 3, 0, 'not a shader').read());
      for (let turn = 0; turn < turns; turn++) await null;
      const second = rejection(affine(x, 3, 0, 'not a shader').read());
      for (const error of await Promise.all([first, second])) assert.instance(error, ShaderError, `${turns} turns`);
    }
    assert.is((await affine(x, 2).read()).data[5], 10);
  });

  testOnDevice('what a failure spoilt is never read as if it were right, also once it was told', async device => {
    const x = device.tensor({ shape: [64], data: values(64) });
    await device.finish();
    for (const [code, kind] of [['not a shader', ShaderError] as const, [REFUSED_AFFINE, DeviceError] as const]) {
      const refused = affine(x, 3, 0, code);
      const beside = affine(x, 5);
      const after = affine(refused, 2);
      const error = await rejection(refused.read());
      assert.instance(error, kind);
      const later = affine(affine(after, 1), 1);
      for (const spoilt of [refused, beside, after, later, affine(later, 1).reshape([8, 8])]) {
        assert.is(await rejection(spoilt.read()), error);
      }
      assert.is((await affine(x, 2).read()).data[5], 10);
    }
    // Recorded while the failure is on its way.
    const refused = affine(x, 3, 0, REFUSED_AFFINE);
    const waiting = rejection(device.finish());
    for (let turn = 0; turn < 6; turn++) await null;
    const recorded = [affine(refused, 2), affine(affine(refused, 2), 1)];
    const errors = [await waiting, await rejection(recorded[0]!.read()), await rejection(recorded[1]!.read())];
    for (const error of errors) assert.instance(error, DeviceError);
  });

  test('what a GPU would have got by way of a mapped buffer is not taken for it when that fails', async () => {
    await using device = (await WebGpuDevice.open({ acceptSoftware: true, traits: { software: false } }))!;
    await affine(device.tensor({ shape: [64], data: values(64) }), 1).read();
    const x = device.tensor({ shape: [20_000], data: values(20_000) });
    const error = await rejection(affine(x, 1, 0, 'not a shader').read());
    assert.instance(error, ShaderError);
    assert.is(await rejection(x.read()), error);
    assert.is((await device.tensor({ shape: [20_000], data: values(20_000) }).read()).data[7], 7);
  });

  testOnDevice(
    'a buffer that the system refused is not handed out again, however early it was given back',
    async device => {
      const x = device.tensor({ shape: [5000], data: values(5000) });
      const pass = () => device.scope(() => affine(affine(affine(x, 2), 3), 5));
      const refused = withoutMemory(device, pass);
      assert.instance(await rejection(refused.read()), OutOfMemoryError);
      refused.dispose();
      for (let again = 0; again < 3; again++) assert.is((await pass().read()).data[10], 300);
    },
  );

  testOnDevice('where memory is short, free buffers go back to the system before others are taken', async device => {
    const { gpuDevice } = device;
    const { createBuffer, popErrorScope } = gpuDevice;
    const budget = 1_500_000;
    let taken = 0;
    let isRefused = false;
    gpuDevice.createBuffer = descriptor => {
      const buffer = createBuffer.call(gpuDevice, descriptor);
      isRefused = taken + descriptor.size > budget;
      if (isRefused) return buffer;
      taken += descriptor.size;
      const { destroy } = buffer;
      buffer.destroy = () => {
        taken -= descriptor.size;
        buffer.destroy = destroy;
        return destroy.call(buffer);
      };
      return buffer;
    };
    gpuDevice.popErrorScope = async () => {
      const refused = isRefused;
      isRefused = false;
      const error = await popErrorScope.call(gpuDevice);
      return refused ? ({ message: 'no memory left' } as GPUError) : error;
    };
    // Each of the sizes fits by itself.
    const pass = (length: number) => {
      const output = device.scope(() => affine(affine(device.tensor({ shape: [length], data: values(length) }), 2), 3));
      return output.read().finally(() => output.dispose());
    };
    const outcomes: string[] = [];
    for (const length of [40_000, 60_000, 40_000, 60_000, 40_000, 60_000]) {
      const outcome = await pass(length).then(
        ({ data }) => (data[7] === 42 ? 'right' : 'wrong'),
        (error: Error) => error.name,
      );
      outcomes.push(outcome);
    }
    assert.equal(outcomes, ['right', 'OutOfMemoryError', 'right', 'right', 'right', 'right']);
  });

  testOnDevice('a shader that does not fit its bindings', async device => {
    const x = device.tensor({ shape: [4], data: values(4) });
    const error = await rejection(affine(x, 2, 0, AFFINE.replace('@binding(1)', '@binding(7)')).read());
    assert.instance(error, ShaderError);
    assert.is((await affine(x, 2).read()).data[3], 6);
  });

  testOnDevice('work that the adapter refuses rejects the next wait, and only that', async device => {
    const x = device.tensor({ shape: [4], data: values(4) });
    const error = await rejection(affine(x, 2, 0, REFUSED_AFFINE).read());
    assert.instance(error, DeviceError);
    assert.is((await affine(x, 2).read()).data[3], 6);
  });

  testOnDevice(
    'an allocation that fails later is an OutOfMemoryError at the next wait, not kept in the pool',
    async device => {
      const { gpuDevice } = device;
      // What an adapter without memory does: an invalid buffer and an error in the scope.
      const create = gpuDevice.createBuffer.bind(gpuDevice);
      const pop = gpuDevice.popErrorScope.bind(gpuDevice);
      let refuse = false;
      gpuDevice.createBuffer = descriptor => {
        refuse = descriptor.size === 256 * 77;
        return create(descriptor);
      };
      gpuDevice.popErrorScope = async () => {
        const refused = refuse;
        refuse = false;
        return (await pop()) ?? (refused ? ({ message: 'no memory left' } as GPUError) : null);
      };
      const x = device.tensor({ shape: [64 * 77], data: values(64 * 77) });
      const error = await rejection(x.read());
      assert.instance(error, OutOfMemoryError);
      assert.match(error.message, /19712 bytes were refused: no memory left/);
      x.dispose();
      assert.is(device.memory.liveBytes, 0);
      const again = device.tensor({ shape: [64], data: values(64) });
      assert.is((await affine(again, 2).read()).data[63], 126);
    },
  );

  testOnDevice(
    'what finds no memory is an OutOfMemoryError for all who use it, whoever was told first',
    async device => {
      const x = device.tensor({ shape: [64], data: values(64) });
      await x.read();
      const uploaded = () => device.tensor({ shape: [5000], data: values(5000) });
      for (const make of [uploaded, () => device.empty([5000])]) {
        // A read of other values is under way, and takes the error.
        const early = affine(x, 2, 0, `${AFFINE} // to be compiled`).read();
        for (let turn = 0; turn < 3; turn++) await null;
        const refused = withoutMemory(device, make);
        await early.catch(() => {});
        await device.finish().catch(() => {});
        const used = affine(refused, 1);
        const error = await rejection(used.read());
        assert.instance(error, OutOfMemoryError);
        assert.match(error.message, /expected memory, got: 20224 bytes were refused/);
        for (const spoilt of [refused, used]) assert.is(await rejection(device.finish([x, spoilt])), error);
        await device.finish([x]);
        assert.is((await affine(x, 2).read()).data[5], 10);
      }
    },
  );

  for (const timedBy of ['timestamp queries', 'wall time'] as const) {
    testOnDevice(`what fails in a profile by ${timedBy} spoils no less`, async device => {
      (device as { timedBy: string }).timedBy = timedBy;
      const x = device.tensor({ shape: [64], data: values(64) });
      await affine(x, 2).read();
      let outputs: Tensor[] = [];
      const profile = device.profile(async () => {
        const refused = affine(x, 3, 0, REFUSED_AFFINE);
        outputs = [refused, affine(x, 7), affine(refused, 2, 5)];
        await device.finish();
      });
      const error = await rejection(profile);
      assert.instance(error, DeviceError);
      for (const output of outputs) assert.is(await rejection(output.read()), error);
      const { result, timings } = await device.profile(() => affine(x, 2).read());
      assert.is(result.data[5], 10);
      assert.is(timings.length, 1);
    });
  }

  for (const [state, code] of [['submitted', REFUSED_AFFINE] as const, ['waiting', 'not a shader, and new'] as const]) {
    testOnDevice(`a failure reaches the batches after it that are ${state} when it is told`, async device => {
      const x = device.tensor({ shape: [64], data: values(64) });
      await affine(x, 2).read();
      if (state === 'submitted') await rejection(affine(x, 3, 0, code).read()); // compiles it
      const refused = affine(x, 3, 0, code);
      const first = device.finish().catch(() => {});
      for (let turn = 0; turn < 4; turn++) await null;
      const after = affine(refused, 2, 5);
      await Promise.all([first, device.finish().catch(() => {})]);
      await device.finish().catch(() => {});
      assert.instance(await rejection(after.read()), DeviceError);
    });
  }

  testOnDevice('of two failures each is told to those whom it concerns', async device => {
    const x = device.tensor({ shape: [64], data: values(64) });
    const refused = affine(x, 3, 0, REFUSED_AFFINE);
    const old = await rejection(refused.read());
    const other = affine(x, 1, 0, 'not a shader');
    const [again, error] = await Promise.all([rejection(refused.read()), rejection(other.read())]);
    assert.is(again, old);
    assert.instance(error, ShaderError);
    assert.is(await rejection(other.read()), error);
  });

  testOnDevice('a value that could not be written is never read as if it were right', async device => {
    const { queue } = device.gpuDevice;
    const { writeBuffer } = queue;
    const x = device.tensor({ shape: [64], data: values(64) });
    const early = x.read();
    for (let turn = 0; turn < 3; turn++) await null;
    queue.writeBuffer = (buffer, _, data) => writeBuffer.call(queue, buffer, 2, data as Float32Array<ArrayBuffer>);
    const unwritten = device.tensor({ shape: [64], data: values(64) });
    queue.writeBuffer = writeBuffer;
    await early.catch(() => {});
    await device.finish().catch(() => {});
    for (const spoilt of [affine(unwritten, 2), unwritten]) {
      assert.match((await rejection(spoilt.read())).message, /WriteBuffer/);
    }
    assert.is((await affine(x, 2).read()).data[5], 10);
  });

  testOnDevice('what fails once is made anew: a pipeline, a bind group, the uniforms', async device => {
    const { gpuDevice } = device;
    const { createComputePipelineAsync, createBindGroup, createBuffer } = gpuDevice;
    const failsOnce = async () => {
      const x = device.tensor({ shape: [4], data: values(4) }); // new to all bind groups
      const failed = affine(x, 2, 1);
      assert.instance(await rejection(failed.read()), DeviceError);
      failed.dispose();
      for (let again = 0; again < 3; again++) {
        const output = affine(x, 2, 1);
        assert.equal([...(await output.read()).data], [1, 3, 5, 7]);
        output.dispose();
      }
    };

    gpuDevice.createComputePipelineAsync = async () => {
      gpuDevice.createComputePipelineAsync = createComputePipelineAsync;
      throw Object.assign(new Error('no memory left'), { reason: 'internal' });
    };
    await failsOnce();

    gpuDevice.createBindGroup = descriptor => {
      gpuDevice.createBindGroup = createBindGroup;
      return createBindGroup.call(gpuDevice, { ...descriptor, entries: [] });
    };
    await failsOnce();

    const x = device.tensor({ shape: [4], data: values(4) });
    await rejection(affine(x, 2, 1, REFUSED_AFFINE).read()); // has the uniforms made anew
    gpuDevice.createBuffer = descriptor => {
      if (descriptor.label !== 'uniforms') return createBuffer.call(gpuDevice, descriptor);
      gpuDevice.createBuffer = createBuffer;
      return createBuffer.call(gpuDevice, { ...descriptor, usage: 3 });
    };
    await failsOnce();
  });

  testOnDevice(
    'an upload buffer that cannot be mapped again is given back to the system',
    async device => {
      const { gpuDevice } = device;
      const { createBuffer } = gpuDevice;
      const x = device.tensor({ shape: [4], data: values(4) });
      await affine(x, 2).read(); // has the uniforms made
      const pass = async () => {
        const output = device.scope(() => affine(device.tensor({ shape: [200_000], data: values(200_000) }), 2));
        assert.is((await output.read()).data[199_999], 399_998);
        output.dispose();
      };
      const { reservedBytes } = device.memory;
      let refused = 0;
      gpuDevice.createBuffer = descriptor => {
        const buffer = createBuffer.call(gpuDevice, descriptor);
        if (descriptor.mappedAtCreation) {
          refused += 1;
          buffer.mapAsync = () => Promise.reject(new Error('not to be mapped'));
        }
        return buffer;
      };
      for (let run = 0; run < 3; run++) await pass();
      assert.is(refused, 3);
      gpuDevice.createBuffer = createBuffer;
      for (let batch = 0; batch < 12; batch++) await x.read();
      assert.ok(device.memory.reservedBytes <= reservedBytes, `${device.memory.reservedBytes} bytes are kept`);
    },
    false,
  );
}

test.run();
