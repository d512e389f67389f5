import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { Device, type DeviceOptions } from '../device.ts';
import { DeviceError, DeviceLostError, OutOfMemoryError } from '../errors.ts';
import { passFailureOn, type Step, spoil, UntoldFailure } from '../failure.ts';
import type { DataType, HostTensor } from '../host-tensor.ts';
import { type Launch, writeScalars } from '../launch.ts';
import { type HostArray, reserveHostArray, type Storage, type Tensor } from '../tensor.ts';
import { Allocator, alignUp } from './allocator.ts';
import { type KernelModule, loadKernelModule } from './module.ts';
import { type BatchMessage, type DoneMessage, WORDS_PER_LAUNCH, Word, type WorkerData } from './protocol.ts';

const PAGE_BYTES = 65_536;
const MAXIMUM_PAGES = 65_536;

/** What tells the builds of the kernels apart, for people. */
const ARITHMETIC: Readonly<Record<KernelModule['build'], string>> = {
  plain: 'WebAssembly SIMD, no fused multiply-add',
  relaxed: 'WebAssembly SIMD, fused multiply-add',
  wide: 'WebAssembly SIMD joined to 256 bits, fused multiply-add',
};

interface CpuStorage extends Storage {
  readonly address: number;
  /** The last batch that uses it: until that is done, the host must not write there. */
  lastUse: number;
}

interface RecordedLaunch extends Step {
  readonly launch: Launch;
  readonly stage: string;
  readonly entry: number;
  readonly tasks: number;
  readonly words: Uint32Array;
}

interface Batch {
  readonly launches: readonly RecordedLaunch[];
  readonly address: number;
  readonly startMilliseconds: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  workersLeft: number;
  error: Error | undefined;
}

/** WebAssembly SIMD over one shared memory, on worker threads; the calling thread only records. */
export class CpuDevice extends Device {
  readonly kind = 'cpu';
  readonly name: string;
  readonly threads: number;

  #memory: WebAssembly.Memory;
  readonly #allocator: Allocator;
  readonly #entries: ReadonlyMap<string, number>;
  readonly #workers: Worker[] = [];
  readonly #batches = new Map<number, Batch>();
  #recorded: RecordedLaunch[] = [];
  #scratchBytes = 0;
  #scratch: { address: number; bytesPerWorker: number } | undefined;
  #lastBatch = 0;
  #completedBatch = 0;
  #idle: Promise<void> = Promise.resolve();
  readonly #untold = new UntoldFailure();
  /** When the last launch that was timed ended. */
  #lastEndMilliseconds = 0;

  private constructor(kernels: KernelModule, memory: WebAssembly.Memory, maximumPages: number, threads: number) {
    super();
    this.threads = threads;
    this.name = `cpu (${threads} ${threads === 1 ? 'thread' : 'threads'}, ${ARITHMETIC[kernels.build]})`;
    this.#memory = memory;
    // The kernels' own static data lies in the first page.
    this.#allocator = new Allocator(PAGE_BYTES, maximumPages * PAGE_BYTES, end => this.#growTo(end));
    this.#entries = new Map(kernels.entries.map((name, index) => [name, index]));
    const workerData: WorkerData = { module: kernels.module, memory, entries: kernels.entries, workers: threads };
    try {
      while (this.#workers.length < threads) this.#workers.push(this.#startWorker(workerData));
    } catch (cause) {
      const got = `${this.#workers.length}, then: ${(cause as Error).message}`;
      this.#lose('its threads could not be started');
      throw new DeviceError(`cpu device: expected ${threads} threads, got ${got}`, { cause });
    }
  }

  /** @throws OutOfMemoryError if no address space can be had, DeviceError if the threads can't. */
  static async open(options: Pick<DeviceOptions, 'threads' | 'revectorize'> = {}): Promise<CpuDevice> {
    const { threads = availableParallelism(), revectorize = false } = options;
    const kernels = await loadKernelModule({ revectorize });
    const { memory, maximumPages } = reserveMemory();
    return new CpuDevice(kernels, memory, maximumPages, threads);
  }

  override launch(launch: Launch): void {
    this.assertAlive();
    const { entry, tasks, scalars, scratchBytes = 0 } = launch.wasm(this);
    const index = this.#entries.get(entry);
    if (index === undefined)
      throw new DeviceError(`${launch.kernel}: expected a WebAssembly export "${entry}", got none`);
    const storageOf = (tensor: Tensor) => this.storageOf(tensor, launch.kernel);
    const inputs = launch.inputs.map(tensor => tensor && storageOf(tensor));
    const outputs = launch.outputs.map(storageOf);
    const storages = [...inputs, ...outputs];
    const words = new Uint32Array(storages.length + scalars.length);
    storages.forEach((storage, position) => {
      words[position] = storage?.address ?? 0;
    });
    writeScalars(scalars, words, new Float32Array(words.buffer), storages.length);
    if (tasks <= 0) return;
    const present = inputs.filter(storage => storage !== undefined);
    for (const storage of [...present, ...outputs]) storage.lastUse = this.#lastBatch + 1;
    const recorded = { launch, stage: this.currentStage, entry: index, tasks, words, inputs: present, outputs };
    passFailureOn(recorded);
    this.#recorded.push(recorded);
    this.#scratchBytes = Math.max(this.#scratchBytes, scratchBytes);
  }

  override async read<Type extends DataType>(tensor: Tensor<Type>): Promise<HostTensor<HostArray<Type>>> {
    const storage = this.storageOf(tensor, 'read');
    const { shape, dtype, size, byteLength } = tensor;
    storage.references += 1;
    try {
      this.assertAlive();
      this.#flush();
      const data = reserveHostArray(dtype, size);
      await this.#settle([storage]);
      this.assertAlive();
      copyBytes(new Uint8Array(this.#memory.buffer, storage.address, byteLength), data.buffer, 0);
      return { shape: [...shape], data };
    } finally {
      this.dereference(storage);
    }
  }

  override async finish(tensors: Iterable<Tensor> = []): Promise<void> {
    const storages = Array.from(tensors, tensor => this.storageOf(tensor, 'finish'));
    this.assertAlive();
    this.#flush();
    await this.#settle(storages);
  }

  override async drain(): Promise<void> {
    this.assertAlive();
    this.#flush();
    await this.#idle;
  }

  override async destroy(): Promise<void> {
    if (this.lost === undefined) this.#lose('the device was destroyed');
    await Promise.all(this.#workers.map(worker => worker.terminate()));
    // Tensors may keep the device reachable for long.
    this.#memory = new WebAssembly.Memory({ initial: 0, maximum: 0, shared: true });
  }

  /** Bytes of the workers' scratch memory, which grows to what the largest launch needs; part of `memory.liveBytes`. */
  get scratchBytes(): number {
    return (this.#scratch?.bytesPerWorker ?? 0) * this.threads;
  }

  protected override get reservedBytes(): number {
    return this.#memory.buffer.byteLength;
  }

  protected override allocate(byteLength: number): CpuStorage {
    this.assertAlive();
    return { address: this.#allocator.allocate(byteLength), byteLength, references: 1, lastUse: 0 };
  }

  protected override upload(data: Float32Array | Int32Array): CpuStorage {
    this.assertAlive();
    const address = this.#allocator.allocateIdle(data.byteLength, this.#completedBatch);
    copyBytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), this.#memory.buffer, address);
    return { address, byteLength: data.byteLength, references: 1, lastUse: 0 };
  }

  protected override free(storage: Storage): void {
    const { address, lastUse } = storage as CpuStorage;
    this.#allocator.release(address, lastUse, this.#completedBatch);
  }

  protected override storageOf(tensor: Tensor, user: string): CpuStorage {
    return super.storageOf(tensor, user) as CpuStorage;
  }

  /** Waits for what is sent and throws what spoilt the results, or what nobody was told of yet. */
  async #settle(results: Iterable<CpuStorage>): Promise<void> {
    await this.#idle;
    const failure = this.#untold.tell(results);
    if (failure !== undefined) throw failure;
  }

  /** Sends the recorded launches to the workers. */
  #flush(): void {
    const launches = this.#recorded;
    if (launches.length === 0) return;
    this.#recorded = [];
    const batch = ++this.#lastBatch;
    const recordBytes = launches.length * WORDS_PER_LAUNCH * 4;
    const argumentWords = launches.reduce((sum, { words }) => sum + words.length, 0);
    const { scratch, address } = this.#reserveForBatch(launches, recordBytes + argumentWords * 4);
    const memory = new Uint32Array(this.#memory.buffer);
    let args = address + recordBytes;
    launches.forEach(({ entry, tasks, words }, index) => {
      const record = address / 4 + index * WORDS_PER_LAUNCH;
      memory.fill(0, record, record + WORDS_PER_LAUNCH);
      memory[record + Word.entry] = entry;
      memory[record + Word.tasks] = tasks;
      memory[record + Word.args] = args;
      memory.set(words, args / 4);
      args += words.byteLength;
    });
    const startMilliseconds = performance.timeOrigin + performance.now();
    this.#idle = new Promise<void>((resolve, reject) => {
      const state = { workersLeft: this.threads, error: undefined };
      this.#batches.set(batch, { launches, address, startMilliseconds, resolve, reject, ...state });
    });
    // A loss is reported by whoever waits next, and nobody may be waiting now.
    this.#idle.catch(() => {});
    this.#workers.forEach((worker, index) => {
      const message: BatchMessage = {
        batch,
        startMilliseconds,
        launches: address,
        count: launches.length,
        scratch: scratch.address + index * scratch.bytesPerWorker,
      };
      worker.ref();
      worker.postMessage(message);
    });
  }

  /** Memory for a batch's records; without any, the batch counts as done, for it is never sent. */
  #reserveForBatch(
    launches: readonly RecordedLaunch[],
    recordBytes: number,
  ): { scratch: { address: number; bytesPerWorker: number }; address: number } {
    try {
      const scratch = this.#reserveScratch();
      return { scratch, address: this.#allocator.allocateIdle(recordBytes, this.#completedBatch) };
    } catch (error) {
      if (this.#batches.size === 0) this.#completedBatch = this.#lastBatch;
      this.#scratchBytes = this.#scratch?.bytesPerWorker ?? 0; // Other launches may need less.
      spoil(launches, error as Error, this.#pendingLaunches());
      throw error;
    }
  }

  #reserveScratch(): { address: number; bytesPerWorker: number } {
    const bytesPerWorker = alignUp(this.#scratchBytes, 64);
    if (this.#scratch !== undefined && this.#scratch.bytesPerWorker >= bytesPerWorker) return this.#scratch;
    if (this.#scratch !== undefined) {
      this.#allocator.release(this.#scratch.address, this.#lastBatch, this.#completedBatch);
      this.accountFor(-this.#scratch.bytesPerWorker * this.threads);
      this.#scratch = undefined; // Also where no other can be had.
    }
    // Earlier launches of this batch may still use memory that is free for later ones.
    const address = this.#allocator.allocateIdle(bytesPerWorker * this.threads, this.#completedBatch);
    this.accountFor(bytesPerWorker * this.threads);
    this.#scratch = { address, bytesPerWorker };
    return this.#scratch;
  }

  *#pendingLaunches(): Generator<RecordedLaunch> {
    for (const { launches } of this.#batches.values()) yield* launches;
    yield* this.#recorded;
  }

  #startWorker(workerData: WorkerData): Worker {
    const worker = new Worker(new URL('./worker.js', import.meta.url), {
      workerData,
      execArgv: [], // The program's own, --input-type say, may not suit a worker.
    });
    worker.on('message', (message: DoneMessage) => this.#workerDone(message));
    worker.on('error', error => this.#lose(`a worker thread failed: ${error.message}`));
    worker.on('exit', code => this.#lose(`a worker thread exited with code ${code}`));
    worker.unref(); // Last, because a listener for messages takes a reference.
    return worker;
  }

  #workerDone({ batch: number, error }: DoneMessage): void {
    const batch = this.#batches.get(number);
    if (batch === undefined) return;
    if (error !== undefined) {
      const { kernel } = batch.launches[error.launch]!.launch;
      batch.error ??= new DeviceError(`${kernel}: the kernel failed on the cpu device: ${error.message}`);
    }
    batch.workersLeft -= 1;
    if (batch.workersLeft > 0) return;
    this.#collectTimings(batch);
    this.#allocator.release(batch.address, 0, this.#completedBatch);
    this.#batches.delete(number);
    // Batches that found no memory were never sent.
    this.#completedBatch = this.#batches.size === 0 ? this.#lastBatch : number;
    if (batch.error !== undefined) {
      spoil(batch.launches, batch.error, this.#pendingLaunches());
      this.#untold.note(batch.error);
    }
    if (this.#batches.size === 0) for (const worker of this.#workers) worker.unref();
    batch.resolve();
  }

  /** A launch takes from the end of the one before, or from when its batch was sent, to its own end. */
  #collectTimings({ launches, address, startMilliseconds }: Batch): void {
    const { timings } = this;
    if (timings === undefined) return;
    const words = new Int32Array(this.#memory.buffer);
    launches.forEach(({ launch, stage }, index) => {
      const record = address / 4 + index * WORDS_PER_LAUNCH;
      const end = startMilliseconds + words[record + Word.endMicroseconds]! / 1000;
      const milliseconds = Math.max(end - Math.max(startMilliseconds, this.#lastEndMilliseconds), 0);
      this.#lastEndMilliseconds = end;
      timings.push({ kernel: launch.kernel, stage, milliseconds, ...launch.cost });
    });
  }

  #growTo(byteLength: number): void {
    const missing = byteLength - this.#memory.buffer.byteLength;
    if (missing <= 0) return;
    // Growing in steps keeps the number of growths small.
    const pages = Math.ceil(Math.max(missing, 16 * 1024 * 1024) / PAGE_BYTES);
    try {
      this.#memory.grow(pages);
    } catch {
      try {
        this.#memory.grow(Math.ceil(missing / PAGE_BYTES));
      } catch (cause) {
        throw new OutOfMemoryError(`cpu device: expected ${missing} more bytes, got a refusal from the system`, {
          cause,
        });
      }
    }
  }

  #lose(reason: string): void {
    if (this.lost !== undefined) return;
    this.lost = new DeviceLostError(`cpu device: ${reason}; create a new device`);
    this.#recorded = [];
    for (const batch of this.#batches.values()) batch.reject(this.lost);
    this.#batches.clear();
    for (const worker of this.#workers) void worker.terminate();
  }
}

/** From or to shared memory, `fill` takes three quarters of the time of `set`, which goes word by word there. */
function copyBytes(bytes: Uint8Array, buffer: ArrayBufferLike, offset: number): void {
  Buffer.from(buffer, offset, bytes.byteLength).fill(bytes);
}

/** As much address space as the system gives; pages are taken only when they are used. */
function reserveMemory(): { memory: WebAssembly.Memory; maximumPages: number } {
  for (let maximumPages = MAXIMUM_PAGES; ; maximumPages /= 2) {
    try {
      return { memory: new WebAssembly.Memory({ initial: 16, maximum: maximumPages, shared: true }), maximumPages };
    } catch (cause) {
      if (maximumPages <= 1024)
        throw new OutOfMemoryError('cpu device: expected shared memory, got a refusal', { cause });
    }
  }
}
