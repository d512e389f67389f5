import { browserWithWebGpu, keepAlive } from './browser.mjs';

export async function start({ device, threads }) {
  keepAlive();
  if (device === 'webgpu') await browserWithWebGpu();
  const tf = await import('@tensorflow/tfjs-core');
  await import('@tensorflow/tfjs-backend-cpu');
  if (device === 'webgpu') await import('@tensorflow/tfjs-backend-webgpu');
  else {
    const wasm = await import('@tensorflow/tfjs-backend-wasm');
    wasm.setThreadsCount(threads);
  }
  const backend = device === 'webgpu' ? 'webgpu' : 'wasm';
  if (!(await tf.setBackend(backend))) throw new Error(`TensorFlow.js has no ${backend} backend here`);
  await tf.ready();
  return {
    name: `TensorFlow.js, ${backend}`,
    async prepare({ kind, input, weight, padding }) {
      if (kind === 'detr') throw new Error('TensorFlow.js: operators only');
      // TensorFlow's layouts: pictures [B, H, W, C], filters [rows, columns, C, O].
      const filter = tf.tidy(() => {
        const w = tf.tensor(weight.data, weight.shape);
        return kind === 'matmul' ? w : tf.transpose(w, [2, 3, 1, 0]);
      });
      return async () => {
        const result = tf.tidy(() => {
          const x = tf.tensor(input.data, input.shape);
          if (kind === 'matmul') return tf.matMul(x, filter);
          const y = tf.conv2d(tf.transpose(x, [0, 2, 3, 1]), filter, 1, padding === 0 ? 'valid' : 'same');
          return tf.transpose(y, [0, 3, 1, 2]);
        });
        const data = await result.data();
        result.dispose();
        return data;
      };
    },
  };
}
