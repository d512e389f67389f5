// Decoding on a thread of its own: a large photograph takes seconds, in which the calling thread has other work to do.
import { Worker } from 'node:worker_threads';
import { FileError, type FileLocation, OutOfMemoryError } from '../../engine/errors.ts';
import type { CheckedReadOptions } from './files.ts';
import type { Image } from './image.ts';

export interface DecodeRequest {
  readonly id: number;
  /** A file's bytes. */
  readonly bytes: Uint8Array;
  readonly options: CheckedReadOptions;
}

export type DecodeAnswer =
  | { readonly id: number; readonly image: Image }
  /** Threads exchange errors without their class: a `FileError` is known by its location. */
  | { readonly id: number; readonly error: Error; readonly location: FileLocation | undefined };

/** The thread is not to be had. */
export class DecoderLost extends Error {}

/** The thread died of another picture. */
class DecoderDied extends Error {}

interface Waiting {
  /** What errors call the picture. */
  readonly name: string;
  readonly resolve: (image: Image) => void;
  readonly reject: (error: Error) => void;
}

/** One thread for all pictures, started with the first one; it lets the process end. */
class Decoder {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  constructor(onLost: () => void) {
    this.#worker = new Worker(new URL('./decoder-worker.js', import.meta.url), { execArgv: [] });
    this.#worker.on('message', (answer: DecodeAnswer) => this.#settle(answer));
    const lose = (cause?: NodeJS.ErrnoException) => {
      onLost();
      const waiting = [...this.#waiting.values()];
      this.#waiting.clear();
      const diedAtWork = cause?.code === 'ERR_WORKER_OUT_OF_MEMORY';
      const deadly = diedAtWork ? waiting.shift() : undefined;
      // On the calling thread, the picture would end the process.
      deadly?.reject(
        new OutOfMemoryError(`${deadly.name}: expected memory to decode the picture, got none`, { cause }),
      );
      const error = diedAtWork ? new DecoderDied() : new DecoderLost('the decoder was lost', { cause });
      for (const { reject } of waiting) reject(error);
    };
    this.#worker.on('error', lose);
    this.#worker.on('exit', () => lose());
    this.#worker.unref(); // Last, because a listener for messages takes a reference.
  }

  decode(bytes: Uint8Array, options: CheckedReadOptions): Promise<Image> {
    const id = ++this.#lastId;
    const request: DecodeRequest = { id, bytes, options };
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { name: options.name, resolve, reject });
      this.#worker.ref();
      this.#worker.postMessage(request); // A copy, for the bytes may be needed again.
    });
  }

  #settle(answer: DecodeAnswer): void {
    const { resolve, reject } = this.#waiting.get(answer.id)!;
    this.#waiting.delete(answer.id);
    if (this.#waiting.size === 0) this.#worker.unref();
    if ('image' in answer) resolve(answer.image);
    else reject(answer.location === undefined ? answer.error : asFileError(answer.error, answer.location));
  }
}

function asFileError(error: Error, location: FileLocation): Error {
  Object.setPrototypeOf(error, FileError.prototype);
  return Object.assign(error, { name: FileError.name, location });
}

let decoder: Decoder | undefined;

/**
 * `decodeImage` on the decoder's thread. The bytes are to be all of their buffer, and not to change meanwhile.
 * @throws FileError as there; OutOfMemoryError; DecoderLost
 */
export async function decodeElsewhere(bytes: Uint8Array, options: CheckedReadOptions): Promise<Image> {
  for (;;) {
    decoder ??= startDecoder();
    try {
      return await decoder.decode(bytes, options);
    } catch (error) {
      if (!(error instanceof DecoderDied)) throw error;
    }
  }
}

function startDecoder(): Decoder {
  try {
    const started = new Decoder(() => {
      if (decoder === started) decoder = undefined;
    });
    return started;
  } catch (cause) {
    throw new DecoderLost('the decoder cannot be started', { cause });
  }
}
