import { browserWithWebGpu, keepAlive } from './browser.mjs';

export async function start({ device }) {
  keepAlive();
  if (device === 'webgpu') await browserWithWebGpu();
  const { defaultDevice, init, lax, numpy } = await import('@jax-js/jax');
  await init();
  const backend = device === 'webgpu' ? 'webgpu' : 'wasm';
  defaultDevice(backend);
  return {
    name: `jax-js, ${backend}`,
    async prepare({ kind, input, weight }) {
      if (kind === 'detr') throw new Error('jax-js: operators only');
      const filter = numpy.array(weight.data).reshape(weight.shape);
      return async () => {
        const x = numpy.array(input.data).reshape(input.shape);
        const y = kind === 'matmul' ? numpy.matmul(x, filter.ref) : lax.conv(x, filter.ref, [1, 1], 'SAME');
        return y.data();
      };
    },
  };
}
