import { execFileSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Device, DeviceError } from '../../engine/index.ts';
import { describeAdapter } from '../../engine/webgpu/adapter.ts';

const info = (parts: Partial<GPUAdapterInfo>) =>
  ({ vendor: '', architecture: '', device: '', description: '', isFallbackAdapter: false, ...parts }) as GPUAdapterInfo;

test('an adapter is called by its GPU and its driver, or by what is known of it', () => {
  const known = info({ vendor: 'nvidia', architecture: 'ada', device: 'nvidia-l4', description: 'NVIDIA: 550.54.14' });
  assert.is(describeAdapter(known), 'nvidia-l4, NVIDIA: 550.54.14');
  assert.is(describeAdapter(info({ device: 'llvmpipe-256-bits-' })), 'llvmpipe-256-bits');
  assert.is(describeAdapter(info({ description: 'Apple M2' })), 'Apple M2');
  assert.is(describeAdapter(info({ vendor: 'apple', architecture: 'metal-3' })), 'apple metal-3');
  assert.is(describeAdapter(info({ vendor: 'apple' })), 'apple');
  assert.is(describeAdapter(info({})), 'unnamed adapter');
});

/** Runs `body` where a browser's WebGPU has one adapter, which gives no device. */
async function withRefusingAdapter(body: () => Promise<void>): Promise<void> {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  const adapter = {
    info: info({ device: 'gtx-1' }),
    limits: {},
    features: new Set(),
    requestDevice: () => Promise.reject(new Error('too many devices')),
  };
  const gpu = { requestAdapter: async () => adapter };
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
  try {
    await body();
  } finally {
    if (before === undefined) Reflect.deleteProperty(globalThis, 'navigator');
    else Object.defineProperty(globalThis, 'navigator', before);
  }
}

test('an adapter that gives no device is a DeviceError where it is asked for, and passed over by auto', async () => {
  await withRefusingAdapter(async () => {
    const error = await Device.create({ device: 'webgpu' }).catch(error => error);
    assert.instance(error, DeviceError);
    assert.is(error.message, 'device: expected webgpu (gtx-1) to give a device, got: too many devices');
    assert.instance(error.cause, Error);
    const device = await Device.create({ threads: 1 });
    assert.is(device.kind, 'cpu');
    await device.destroy();
  });
});

test('a package webgpu that does not load is told where a GPU is asked for, and passed over by auto', () => {
  const program = `
    import { Device } from ${JSON.stringify(new URL('../../engine/index.js', import.meta.url))};
    const error = await Device.create({ device: 'webgpu' }).catch(error => error);
    console.log(error.name, error.message, error.cause?.code);
    const device = await Device.create();
    console.log(device.kind);
    await device.destroy();`;
  const args = ['--no-addons', '--input-type=module', '--eval', program];
  const lines = execFileSync(process.execPath, args, { encoding: 'utf8' }).split('\n');
  assert.match(lines[0]!, /^DeviceError device: expected the package webgpu to load, got: .* ERR_DLOPEN_DISABLED$/);
  assert.is(lines[1], 'cpu');
});

test.run();
