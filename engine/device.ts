import { describe } from './describe.ts';
import { DeviceError, type DeviceLostError, OptionError, ShapeError } from './errors.ts';
import { checkHostTensor, type DataType, elementCount, formatShape, type HostTensor, isShape } from './host-tensor.ts';
import type { KernelTiming, Launch } from './launch.ts';
import { checkFlag, checkOptionNames } from './options.ts';
import { type HostArray, type Storage, Tensor } from './tensor.ts';

const MAXIMUM_THREADS = 256;

/** The kinds of device to create; `auto` is a GPU if there is one, else the cpu. */
export const deviceChoices = ['auto', 'cpu', 'webgpu'] as const;
export type DeviceChoice = (typeof deviceChoices)[number];

export interface DeviceOptions {
  /**
   * `auto` (default): a hardware WebGPU adapter if there is one that gives a device, else `cpu`. `webgpu`: whatever WebGPU
   * adapter there is, software ones too. `cpu`: WebAssembly SIMD on all cores.
   */
  readonly device?: DeviceChoice | undefined;
  /** Worker threads of the cpu device; default `os.availableParallelism()`. */
  readonly threads?: number | undefined;
  /**
   * Lets the cpu device turn on V8's `--experimental-wasm-revectorize`, which joins pairs of 128-bit vectors to 256 bits on
   * x86-64 from Node.js 24 on; half as fast again for a whole model. Off by default, for the flag counts for all WebAssembly
   * of the process; the command line turns it on. A program started with the flag needs no option.
   */
  readonly revectorize?: boolean | undefined;
}

const optionNames = Object.keys({ device: true, threads: true, revectorize: true } satisfies Record<
  keyof DeviceOptions,
  true
>);

export interface MemoryUse {
  /**
   * Bytes of living tensors; on the cpu device also of the scratch memory that each thread has, which grows to what the
   * largest launch needs and stays until the device is destroyed, and on WebGPU of what is being read.
   */
  readonly liveBytes: number;
  /** The most that `liveBytes` has been since creation or `resetPeak()`. */
  readonly peakBytes: number;
  /** Bytes taken from the system, pooled memory included. */
  readonly reservedBytes: number;
}

/**
 * Where tensors live and kernels run. Launches only record work, in order; `tensor.read()` waits. Errors that arise while
 * the device works (out of memory, device loss, a shader that does not compile) reject the next `read()` or `finish()`, and
 * every `read()` of what they spoilt.
 */
export abstract class Device {
  abstract readonly kind: 'webgpu' | 'cpu';
  /** What the device is, for people: `cpu (2 threads, WebAssembly SIMD, fused multiply-add)`. */
  abstract readonly name: string;

  readonly #scopes: Set<Tensor>[] = [];
  #stages: string[] = [];
  #liveBytes = 0;
  #peakBytes = 0;
  /** While `profile` runs, where devices put the time of every launch. */
  protected timings: KernelTiming[] | undefined;
  /** Set once the device is gone: what every later call throws. */
  protected lost: DeviceLostError | undefined;

  /** @throws OptionError for an unknown kind or option, DeviceError when the asked-for device is not to be had. */
  static async create(options: DeviceOptions = {}): Promise<Device> {
    checkOptionNames(options, optionNames, 'Device.create');
    const kind = options.device ?? 'auto';
    if (!deviceChoices.includes(kind)) {
      throw new OptionError(`device: expected auto, webgpu or cpu, got ${describe(kind)}`);
    }
    checkThreads(options.threads);
    checkFlag(options.revectorize, 'revectorize', 'Device.create');
    if (kind !== 'cpu') {
      const { WebGpuDevice } = await import('./webgpu/webgpu-device.ts');
      const opening = WebGpuDevice.open({ acceptSoftware: kind === 'webgpu' });
      const device = await (kind === 'auto' ? opening.catch(undefinedIfRefused) : opening);
      if (device !== undefined) return device;
      if (kind === 'webgpu') throw new DeviceError('device: expected a WebGPU adapter, got none on this machine');
    }
    const { CpuDevice } = await import('./cpu/cpu-device.ts');
    return CpuDevice.open(options);
  }

  /** Records a kernel launch. */
  abstract launch(launch: Launch): void;
  /** Copies a tensor's values to the host once all work recorded so far is done. */
  abstract read<Type extends DataType>(tensor: Tensor<Type>): Promise<HostTensor<HostArray<Type>>>;
  /** Resolves when all work recorded so far is done; rejects, too, if one of `tensors` does not hold what was recorded. */
  abstract finish(tensors?: Iterable<Tensor>): Promise<void>;
  /** Like `finish`, whatever became of the work: failures are left for others to be told. */
  abstract drain(): Promise<void>;
  /** Frees everything; tensors of this device become unusable. Idempotent. */
  abstract destroy(): Promise<void>;

  /** `destroy()`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy();
  }

  protected abstract readonly reservedBytes: number;
  /** Memory for a tensor that only kernels write. Throws OutOfMemoryError. */
  protected abstract allocate(byteLength: number): Storage;
  /** Memory that no recorded work uses, holding `data`. */
  protected abstract upload(data: Float32Array | Int32Array): Storage;
  /** Takes memory back into the pool. */
  protected abstract free(storage: Storage): void;

  /**
   * Copies host values to the device. The data may be changed afterwards.
   * @throws ShapeError if the shape does not fit, OptionError for data that is neither Float32Array nor Int32Array
   */
  tensor<Data extends Float32Array | Int32Array>(
    host: HostTensor<Data>,
  ): Tensor<Data extends Int32Array ? 'int32' : 'float32'> {
    // A wrong array would break the memory of everything else, so that callers without types are told as well.
    checkHostTensor(host, 'tensor', Float32Array, Int32Array);
    const { shape, data } = host;
    const dtype = (data instanceof Int32Array ? 'int32' : 'float32') as Data extends Int32Array ? 'int32' : 'float32';
    return this.#adopt(shape, dtype, this.upload(data));
  }

  /**
   * A tensor with undefined contents, for a kernel to write.
   * @throws ShapeError for a size that is no whole number from 0, OptionError for another type than float32 and int32
   */
  empty<Type extends DataType = 'float32'>(shape: readonly number[], dtype?: Type): Tensor<Type> {
    if (!isShape(shape)) throw new ShapeError(`empty: expected whole sizes from 0, got ${formatShape(shape)}`);
    const type: DataType = dtype ?? 'float32';
    if (type !== 'float32' && type !== 'int32') {
      throw new OptionError(`empty: expected dtype float32 or int32, got ${describe(type)}`);
    }
    return this.#adopt(shape, type as Type, this.allocate(elementCount(shape) * 4));
  }

  /** A view for `Tensor.reshape`. */
  view<Type extends DataType>(tensor: Tensor<Type>, shape: readonly number[]): Tensor<Type> {
    const storage = tensor.storage;
    storage.references += 1;
    return this.#track(new Tensor(this, shape, tensor.dtype, storage));
  }

  /** Called by `Tensor.dispose`. */
  release(tensor: Tensor, storage: Storage): void {
    this.#scopes.at(-1)?.delete(tensor);
    this.dereference(storage);
  }

  /**
   * Runs `body` (synchronously) and gives every tensor made inside back to the pool, except those reachable from its result
   * (a tensor, or tensors in arrays, Maps and plain objects), which pass to the caller's scope.
   */
  scope<Result>(body: () => Result): Result {
    const created = new Set<Tensor>();
    this.#scopes.push(created);
    let kept = new Set<Tensor>();
    try {
      const result = body();
      if (result instanceof Promise) {
        result.catch(() => {}); // It may well fail without its tensors, and nobody else has it.
        throw new DeviceError('scope: expected a synchronous body, got a promise');
      }
      kept = new Set(tensorsIn(result));
      return result;
    } finally {
      this.#scopes.pop();
      for (const tensor of created) {
        if (kept.has(tensor)) this.#scopes.at(-1)?.add(tensor);
        else tensor.dispose();
      }
    }
  }

  /** Labels the launches that `body` records, for profiles: `device.stage('encoder', () => …)`. */
  stage<Result>(name: string, body: () => Result): Result {
    this.#stages.push(name);
    try {
      return body();
    } finally {
      this.#stages.pop();
    }
  }

  /**
   * Runs `body`, waits for the device, and returns the time of every launch that was recorded meanwhile, by whomever.
   * @throws DeviceError while another profile runs
   */
  async profile<Result>(body: () => Promise<Result>): Promise<{ result: Result; timings: KernelTiming[] }> {
    const assertFirst = () => {
      if (this.timings !== undefined) throw new DeviceError('profile: expected one profile at a time, got a second');
    };
    assertFirst();
    await this.finish();
    assertFirst();
    const timings: KernelTiming[] = [];
    this.timings = timings;
    try {
      const result = await body();
      await this.finish();
      return { result, timings };
    } finally {
      this.timings = undefined;
    }
  }

  protected get currentStage(): string {
    return this.#stages.join('/');
  }

  get memory(): MemoryUse {
    return { liveBytes: this.#liveBytes, peakBytes: this.#peakBytes, reservedBytes: this.reservedBytes };
  }

  /** Starts a new measurement of `memory.peakBytes`. */
  resetPeak(): void {
    this.#peakBytes = this.#liveBytes;
  }

  protected assertAlive(): void {
    if (this.lost !== undefined) throw this.lost;
  }

  /** The memory behind a tensor of this device. @throws DeviceError for one of another device; `user` starts the message */
  protected storageOf(tensor: Tensor, user: string): Storage {
    if (tensor.device !== this)
      throw new DeviceError(`${user}: expected a tensor of ${this.name}, got one of another device`);
    return tensor.storage;
  }

  protected dereference(storage: Storage): void {
    storage.references -= 1;
    if (storage.references > 0) return;
    this.accountFor(-storage.byteLength);
    this.free(storage);
  }

  /** Books memory that becomes live (or, negative, is given back). */
  protected accountFor(bytes: number): void {
    this.#liveBytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#liveBytes);
  }

  #adopt<Type extends DataType>(shape: readonly number[], dtype: Type, storage: Storage): Tensor<Type> {
    this.accountFor(storage.byteLength);
    return this.#track(new Tensor(this, [...shape], dtype, storage));
  }

  #track<Type extends DataType>(tensor: Tensor<Type>): Tensor<Type> {
    this.#scopes.at(-1)?.add(tensor as unknown as Tensor);
    return tensor;
  }
}

/** Whichever device it becomes: the same program is to be right or wrong on every machine. */
function checkThreads(threads: number | undefined): void {
  if (threads === undefined || (Number.isInteger(threads) && threads >= 1 && threads <= MAXIMUM_THREADS)) return;
  throw new OptionError(`threads: expected an integer from 1 to ${MAXIMUM_THREADS}, got ${describe(threads)}`);
}

function undefinedIfRefused(error: unknown): undefined {
  if (!(error instanceof DeviceError)) throw error;
}

/** Every tensor in a value: itself, or within arrays, maps and plain objects. */
export function* tensorsIn(value: unknown): Generator<Tensor> {
  if (value instanceof Tensor) yield value;
  else if (Array.isArray(value)) for (const item of value) yield* tensorsIn(item);
  else if (value instanceof Map) for (const item of value.values()) yield* tensorsIn(item);
  else if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) yield* tensorsIn(item);
  }
}
