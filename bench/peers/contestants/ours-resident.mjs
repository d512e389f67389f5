import { start as startOurs } from './ours.mjs';

/** Our operators without the way from and to the host; ONNX Runtime's on the cpu always include it. */
export const start = options => startOurs({ ...options, resident: true });
