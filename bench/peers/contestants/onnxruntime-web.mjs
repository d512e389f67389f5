import { browserWithWebGpu, keepAlive } from './browser.mjs';
import { onnxContestant } from './onnx-contestant.mjs';

export async function start({ device, threads }) {
  keepAlive();
  if (device === 'webgpu') await browserWithWebGpu();
  const ort = await import(device === 'webgpu' ? 'onnxruntime-web/webgpu' : 'onnxruntime-web');
  ort.env.wasm.numThreads = device === 'webgpu' ? 1 : threads;
  const provider = device === 'webgpu' ? 'webgpu' : 'wasm';
  return onnxContestant('onnxruntime-web', ort, { executionProviders: [provider] }, provider);
}
