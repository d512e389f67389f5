import { parentPort } from 'node:worker_threads';
import { FileError } from '../../engine/errors.ts';
import type { DecodeAnswer, DecodeRequest } from './decoder.ts';
import { decodeImage } from './files.ts';

/** One picture. */
function decode({ id, bytes, options }: DecodeRequest): DecodeAnswer {
  try {
    const { data, ...size } = decodeImage(bytes, options);
    // Its buffer moves to the other thread, and must hold nothing else.
    return { id, image: { ...size, data: data.byteLength === data.buffer.byteLength ? data : new Uint8Array(data) } };
  } catch (error) {
    return { id, error: error as Error, location: error instanceof FileError ? error.location : undefined };
  }
}

parentPort!.on('message', (request: DecodeRequest) => {
  const answer = decode(request);
  parentPort!.postMessage(answer, 'image' in answer ? [answer.image.data.buffer as ArrayBuffer] : []);
});
