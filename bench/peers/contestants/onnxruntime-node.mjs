import ort from 'onnxruntime-node';
import { onnxContestant } from './onnx-contestant.mjs';

export async function start({ device, threads }) {
  return onnxContestant('onnxruntime-node', ort, { executionProviders: [device], intraOpNumThreads: threads }, device);
}
