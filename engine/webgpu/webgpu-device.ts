import { Device } from '../device.ts';
import { DetrError, DeviceError, DeviceLostError, OutOfMemoryError } from '../errors.ts';
import { failureOf, passFailureOn, type Spoilable, type Step, spoil, UntoldFailure } from '../failure.ts';
import type { DataType, HostTensor } from '../host-tensor.ts';
import {
  type AdapterTraits,
  type Cost,
  type KernelTiming,
  type Launch,
  MAXIMUM_WORKGROUPS_PER_DIMENSION,
} from '../launch.ts';
import { getOrInsert } from '../maps.ts';
import { type HostArray, reserveHostArray, type Storage, type Tensor } from '../tensor.ts';
import { type OpenedAdapter, openAdapter } from './adapter.ts';
import { BufferPool, type PooledBuffer } from './buffer-pool.ts';
import { BUFFER_USAGE, MAP_MODE_READ } from './constants.ts';
import { type Pipeline, PipelineCache } from './pipelines.ts';
import { calmly } from './polling.ts';
import { Timestamps } from './timestamps.ts';
import { UniformBuffers, type UniformSlot, UniformWriter } from './uniforms.ts';
import { UploadBuffers } from './upload-buffers.ts';

class WebGpuStorage implements Storage {
  readonly buffer: PooledBuffer;
  readonly byteLength: number;
  references = 1;
  #failure: Error | undefined;

  constructor(buffer: PooledBuffer, byteLength: number) {
    this.buffer = buffer;
    this.byteLength = byteLength;
  }

  get failure(): Error | undefined {
    return this.#failure ?? this.buffer.failure;
  }

  set failure(failure: Error | undefined) {
    this.#failure = failure;
  }
}

interface BufferStep extends Step {
  readonly buffers: readonly PooledBuffer[];
}

interface RecordedLaunch extends BufferStep {
  readonly kernel: string;
  readonly stage: string;
  readonly cost: Cost;
  readonly pipeline: Pipeline;
  /** By binding number, without gaps for absent inputs. */
  readonly buffers: readonly PooledBuffer[];
  readonly bindings: readonly number[];
  readonly uniforms: UniformSlot | undefined;
  readonly workgroups: readonly [number, number, number];
}

interface RecordedCopy extends BufferStep {
  /** From the first to the second. */
  readonly buffers: readonly [PooledBuffer, PooledBuffer];
  readonly byteLength: number;
}

type Command = RecordedLaunch | RecordedCopy;

/** Work that is waited for together. */
interface Batch {
  readonly number: number;
  /** What is not submitted yet. */
  readonly commands: Command[];
  /** Operations recorded since it was last tried to submit ahead. */
  flops: number;
  /** Some of the work was submitted ahead of the rest. */
  begun: boolean;
  /** From which some of the commands copy. */
  readonly uploads: PooledBuffer[];
  readonly uniforms: UniformWriter;
}

/** Commands that were submitted, whose errors the adapter tells later. */
interface CheckedCommands {
  readonly commands: readonly Command[];
  done: boolean;
}

const ALL_ERRORS: readonly GPUErrorFilter[] = ['validation', 'out-of-memory', 'internal'];

/** A free buffer that this many batches have not used goes back to the system. */
const BATCHES_KEPT_FREE = 8;

/** For so many batches after the system has refused memory, none is kept free. */
const FRUGAL_BATCHES = 1000;

/**
 * Work goes to the adapter in submits of about so many operations: a single one is cut off by the watchdogs of some systems
 * (Windows', after two seconds), and lets nothing else draw in between.
 */
const FLOPS_PER_SUBMIT = 1e10;

/** The first submit of a pass comes sooner, so that a GPU has something to do at once. */
const FLOPS_TO_BEGIN = 1e9;

/** WebGPU: the browser's, or Dawn (npm package `webgpu`) in Node. The calling thread records, encodes and submits. */
export class WebGpuDevice extends Device {
  readonly kind = 'webgpu';
  readonly name: string;
  readonly traits: AdapterTraits;
  /** The underlying device, for interoperation. */
  readonly gpuDevice: GPUDevice;
  /** How `profile` measures: by the adapter's own clock, or else each launch alone, from submit to completion. */
  readonly timedBy: 'timestamp queries' | 'wall time';

  readonly #pipelines: PipelineCache;
  readonly #uniformBuffers: UniformBuffers;
  readonly #tensorBuffers: BufferPool;
  readonly #downloadBuffers: BufferPool;
  readonly #uploadBuffers: UploadBuffers;
  readonly #bindGroups = new Map<
    string,
    { readonly bindGroup: GPUBindGroup; readonly buffers: readonly PooledBuffer[] }
  >();
  /** Up to this batch, free buffers go back to the system before more memory is taken. */
  #lastFrugalBatch = 0;
  /** The adapter refused work: the next batch makes them anew. */
  #bindingsFailed = false;
  readonly #bindGroupKeys = new Map<PooledBuffer, Set<string>>();
  readonly #maximumStorageBuffers: number;
  readonly #uniformAlignment: number;
  #recording: Batch;
  #sealing: Promise<unknown> | undefined;
  /** Sealed and not submitted yet. */
  readonly #sealed = new Set<Batch>();
  #lastSubmission: Promise<unknown> = Promise.resolve();
  #submittedBatch = 0;
  /** What still may report an error about past calls. */
  readonly #checks = new Set<Promise<unknown>>();
  readonly #unchecked = new Set<CheckedCommands>();
  readonly #untold = new UntoldFailure();
  readonly #onUncapturedError = ({ error }: GPUUncapturedErrorEvent): void =>
    this.#fail(errorOf(error.constructor.name, error.message));

  private constructor({ gpuDevice, traits, name }: OpenedAdapter) {
    super();
    this.gpuDevice = gpuDevice;
    this.traits = traits;
    this.name = name;
    this.timedBy = gpuDevice.features.has('timestamp-query') ? 'timestamp queries' : 'wall time';
    const { limits } = gpuDevice;
    this.#maximumStorageBuffers = limits.maxStorageBuffersPerShaderStage;
    this.#uniformAlignment = limits.minUniformBufferOffsetAlignment;
    this.#pipelines = new PipelineCache(gpuDevice);
    this.#uniformBuffers = new UniformBuffers(gpuDevice);
    const create = this.#createBuffer.bind(this);
    const maximumByteLength = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
    this.#tensorBuffers = new BufferPool({
      usage: BUFFER_USAGE.storage | BUFFER_USAGE.copySource | BUFFER_USAGE.copyDestination,
      maximumByteLength,
      create,
      destroyed: buffer => this.#dropBindGroups(buffer),
    });
    this.#downloadBuffers = new BufferPool({
      usage: BUFFER_USAGE.mapRead | BUFFER_USAGE.copyDestination,
      maximumByteLength,
      create,
    });
    this.#uploadBuffers = new UploadBuffers({ maximumByteLength, create });
    this.#recording = this.#newBatch(1);
    gpuDevice.addEventListener('uncapturederror', this.#onUncapturedError);
    void gpuDevice.lost.then(({ reason, message }) => this.#lose(`the adapter was lost (${reason}): ${message}`));
  }

  /**
   * Undefined if there is no adapter, or only a software one and that is not accepted. `traits` override what kernels choose
   * their form by, to try a form on an adapter that it is not meant for.
   */
  static async open(options: {
    acceptSoftware: boolean;
    traits?: Partial<AdapterTraits>;
  }): Promise<WebGpuDevice | undefined> {
    const opened = await openAdapter(options.acceptSoftware);
    return opened && new WebGpuDevice({ ...opened, traits: { ...opened.traits, ...options.traits } });
  }

  /** Bind groups that are kept for the next pass. */
  get bindGroupCount(): number {
    return this.#bindGroups.size;
  }

  /** Buffers taken from the system. */
  get bufferCount(): number {
    return this.#pools.reduce((sum, { bufferCount }) => sum + bufferCount, 0);
  }

  override launch(launch: Launch): void {
    this.assertAlive();
    const { kernel, inputs, outputs, cost } = launch;
    const { code, workgroups, scalars } = launch.wgsl(this.traits);
    const storages: WebGpuStorage[] = [];
    const bindings: number[] = [];
    let signature = '';
    for (const tensor of [...inputs, ...outputs]) {
      const binding = signature.length;
      signature += tensor === undefined ? '-' : binding < inputs.length ? 'r' : 'w';
      if (tensor === undefined) continue;
      storages.push(this.storageOf(tensor, kernel));
      bindings.push(binding);
    }
    if (workgroups.includes(0)) return;
    const buffers = storages.map(({ buffer }) => buffer);
    this.#checkLaunch(kernel, buffers, outputs.length, workgroups);
    const uniforms = scalars.length > 0 ? this.#recording.uniforms.write(scalars) : undefined;
    if (uniforms !== undefined) {
      bindings.push(signature.length);
      signature += 'u';
    }
    const pipeline = this.#pipelines.get(kernel, code, signature);
    const firstOutput = storages.length - outputs.length;
    // Spelled out: to spread one object into another takes longer than all else here.
    this.#record({
      inputs: storages.slice(0, firstOutput),
      outputs: storages.slice(firstOutput),
      kernel,
      stage: this.currentStage,
      cost,
      pipeline,
      buffers,
      bindings,
      uniforms,
      workgroups,
    });
    this.#recording.flops += cost.flops;
    // A software adapter would take the cores away from the recording.
    const enough = this.#recording.begun ? FLOPS_PER_SUBMIT : FLOPS_TO_BEGIN;
    if (!this.traits.software && this.#recording.flops >= enough) this.#submitAhead(this.#recording);
  }

  override async read<Type extends DataType>(tensor: Tensor<Type>): Promise<HostTensor<HostArray<Type>>> {
    this.assertAlive();
    const { shape, dtype, size, byteLength } = tensor;
    const storage = this.storageOf(tensor, 'read');
    const copied: Spoilable = {};
    const destination = this.#downloadBuffers.take(byteLength);
    this.accountFor(byteLength);
    try {
      const buffers = [storage.buffer, destination] as const;
      this.#record({ inputs: [storage], outputs: [copied], buffers, byteLength });
      await this.#seal();
      const data = reserveHostArray(dtype, size);
      await this.#settle(
        calmly(() => destination.gpuBuffer.mapAsync(MAP_MODE_READ)),
        [copied],
      );
      new Uint8Array(data.buffer).set(new Uint8Array(destination.gpuBuffer.getMappedRange(0, byteLength)));
      return { shape: [...shape], data };
    } finally {
      this.accountFor(-byteLength);
      if (this.lost === undefined) {
        destination.gpuBuffer.unmap();
        this.#downloadBuffers.give(destination);
      }
    }
  }

  override async finish(tensors: Iterable<Tensor> = []): Promise<void> {
    const storages = Array.from(tensors, tensor => this.storageOf(tensor, 'finish'));
    this.assertAlive();
    await this.#seal();
    await this.#settle(
      calmly(() => this.gpuDevice.queue.onSubmittedWorkDone()),
      storages,
    );
  }

  override async drain(): Promise<void> {
    this.assertAlive();
    await this.#seal();
    await calmly(() => this.gpuDevice.queue.onSubmittedWorkDone());
    await Promise.all(this.#checks);
  }

  override async destroy(): Promise<void> {
    this.#lose('the device was destroyed');
  }

  protected override get reservedBytes(): number {
    return this.#pools.reduce((sum, { reservedBytes }) => sum + reservedBytes, this.#uniformBuffers.reservedBytes);
  }

  /** Gives back what is free and of no use to batches after `batch`. */
  #trimPools(batch: number): void {
    for (const pool of this.#pools) pool.trim(batch);
  }

  get #pools(): readonly BufferPool[] {
    return [this.#tensorBuffers, this.#downloadBuffers, this.#uploadBuffers];
  }

  protected override allocate(byteLength: number): WebGpuStorage {
    this.assertAlive();
    return new WebGpuStorage(this.#tensorBuffers.take(byteLength), byteLength);
  }

  protected override upload(data: Float32Array | Int32Array): WebGpuStorage {
    this.assertAlive();
    const { byteLength } = data;
    // What comes before the first pass are weights, and they are not uploaded again.
    const again = this.#submittedBatch > 0 && !this.traits.software;
    if (again && this.#uploadBuffers.accepts(byteLength, this.#recording.uploads)) {
      return this.#recordUpload(data);
    }
    // The write happens before all work that is not submitted yet, so none of it may use the buffer.
    const storage = new WebGpuStorage(this.#tensorBuffers.take(byteLength, this.#submittedBatch), byteLength);
    // Dawn's binding for Node crashes on shared memory.
    const isShared = typeof SharedArrayBuffer !== 'undefined' && data.buffer instanceof SharedArrayBuffer;
    const bytes = (isShared ? data.slice() : data) as Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;
    if (byteLength > 0) {
      const write = () => this.gpuDevice.queue.writeBuffer(storage.buffer.gpuBuffer, 0, bytes);
      const step: BufferStep = { inputs: [], outputs: [storage], buffers: [storage.buffer] };
      this.#scoped(ALL_ERRORS, write, error => this.#fail(errorOf(error.constructor.name, error.message), [step]));
    }
    return storage;
  }

  #recordUpload(data: Float32Array | Int32Array): WebGpuStorage {
    const { byteLength } = data;
    const source = this.#uploadBuffers.fill(data);
    const storage = new WebGpuStorage(this.#tensorBuffers.take(byteLength), byteLength);
    this.#record({ inputs: [], outputs: [storage], buffers: [source, storage.buffer], byteLength });
    this.#recording.uploads.push(source);
    return storage;
  }

  #record(command: Command): void {
    for (const buffer of command.buffers) buffer.lastBatch = this.#recording.number;
    passFailureOn(command);
    this.#recording.commands.push(command);
  }

  protected override free(storage: Storage): void {
    // Later launches may write the buffer at once: they are encoded after those that use it now.
    this.#tensorBuffers.give((storage as WebGpuStorage).buffer);
  }

  protected override storageOf(tensor: Tensor, user: string): WebGpuStorage {
    return super.storageOf(tensor, user) as WebGpuStorage;
  }

  #checkLaunch(
    kernel: string,
    buffers: readonly PooledBuffer[],
    outputCount: number,
    workgroups: readonly number[],
  ): void {
    if (workgroups.some(count => !Number.isInteger(count) || count < 0 || count > MAXIMUM_WORKGROUPS_PER_DIMENSION)) {
      throw new DeviceError(
        `${kernel}: expected at most ${MAXIMUM_WORKGROUPS_PER_DIMENSION} workgroups per dimension, got ${workgroups.join(' x ')}`,
      );
    }
    if (buffers.length > this.#maximumStorageBuffers) {
      throw new DeviceError(
        `${kernel}: expected at most ${this.#maximumStorageBuffers} tensors (the adapter's maxStorageBuffersPerShaderStage), got ${buffers.length}`,
      );
    }
    const written = buffers.slice(buffers.length - outputCount);
    if (written.some(output => buffers.indexOf(output) !== buffers.lastIndexOf(output))) {
      throw new DeviceError(`${kernel}: expected outputs apart from the inputs, got one that shares its memory`);
    }
  }

  #newBatch(number: number): Batch {
    const uniforms = new UniformWriter(this.#uniformAlignment);
    return { number, commands: [], flops: 0, begun: false, uploads: [], uniforms };
  }

  /** Submits what is recorded so far, unless that has to wait for something, so that a GPU works while the rest is recorded. */
  #submitAhead(batch: Batch): void {
    batch.flops = 0;
    const waits = this.timings !== undefined || this.#submittedBatch < batch.number - 1;
    if (waits || !batch.commands.every(isCompiled)) return;
    batch.begun = true;
    this.#submitChecked(batch.commands.splice(0), batch);
    this.#giveBackUploads(batch);
  }

  /** Of commands that are submitted, or never will be. */
  #giveBackUploads({ uploads }: Batch): void {
    for (const upload of uploads.splice(0)) this.#watch(this.#uploadBuffers.giveBack(upload));
  }

  /**
   * Closes the batch that is being recorded, at the end of the current turn so that reads that are asked for together share
   * it, and resolves once it is submitted.
   */
  #seal(): Promise<unknown> {
    this.#sealing ??= Promise.resolve().then(() => {
      this.#sealing = undefined;
      const batch = this.#recording;
      this.#sealed.add(batch);
      this.#recording = this.#newBatch(batch.number + 1);
      this.#lastSubmission = this.#lastSubmission.then(() => this.#submit(batch));
      return this.#lastSubmission;
    });
    return this.#sealing;
  }

  /** Submits a batch whose predecessors are submitted; it is dropped if a pipeline of it does not compile. */
  async #submit(batch: Batch): Promise<void> {
    try {
      await this.#compilePipelines(batch);
      if (this.lost === undefined) {
        if (this.#bindingsFailed) this.#forgetBindings();
        if (this.timings !== undefined) await this.#submitTimed(batch, this.timings);
        else if (this.traits.software) await this.#submitCalmly(batch);
        else this.#submitChecked(batch.commands, batch);
        this.#sealed.delete(batch);
      }
    } catch (error) {
      this.#sealed.delete(batch);
      this.#fail(typedError(error), batch.commands);
    }
    if (this.lost === undefined) this.#giveBackUploads(batch);
    this.#submittedBatch = batch.number;
    this.#trimPools(batch.number - BATCHES_KEPT_FREE);
  }

  /** Submit by submit, with turns of the event loop between them: a software adapter takes the processor away meanwhile. */
  async #submitCalmly(batch: Batch): Promise<void> {
    for (const part of partsOf(batch.commands)) {
      if (this.lost !== undefined) return;
      this.#submitChecked(part, batch, { spoilt: batch.commands }); // They share their uniforms.
      await new Promise(resolve => setTimeout(resolve));
    }
  }

  async #compilePipelines({ commands }: Batch): Promise<void> {
    for (const command of commands) {
      if ('pipeline' in command && !isCompiled(command)) await command.pipeline.compiled;
    }
  }

  /** In as few submits and compute passes as there can be, or in one submit with a timed pass for each launch. */
  #encodeAndSubmit(commands: readonly Command[], { uniforms }: Batch, timestamps?: Timestamps): void {
    this.#uniformBuffers.upload(uniforms);
    const parts = timestamps === undefined ? partsOf(commands) : [commands];
    for (const part of parts) this.gpuDevice.queue.submit([this.#encode(part, timestamps)]);
  }

  #encode(commands: readonly Command[], timestamps: Timestamps | undefined): GPUCommandBuffer {
    const encoder = this.gpuDevice.createCommandEncoder();
    let pass: GPUComputePassEncoder | undefined;
    for (const command of commands) {
      if ('pipeline' in command) {
        pass ??= encoder.beginComputePass(timestamps === undefined ? {} : { timestampWrites: timestamps.nextPass() });
        this.#encodeLaunch(pass, command);
        if (timestamps === undefined) continue;
      }
      pass?.end();
      pass = undefined;
      if ('byteLength' in command) {
        const [source, destination] = command.buffers;
        encoder.copyBufferToBuffer(source.gpuBuffer, 0, destination.gpuBuffer, 0, command.byteLength);
      }
    }
    pass?.end();
    timestamps?.resolve(encoder);
    return encoder.finish();
  }

  #encodeLaunch(pass: GPUComputePassEncoder, launch: RecordedLaunch): void {
    pass.setPipeline(launch.pipeline.gpuPipeline!);
    pass.setBindGroup(0, this.#bindGroup(launch), launch.uniforms === undefined ? [] : [launch.uniforms.byteOffset]);
    pass.dispatchWorkgroups(...launch.workgroups);
  }

  /** The same buffers come back in the next forward pass, and so does the bind group. */
  #bindGroup({ pipeline, buffers, bindings, uniforms }: RecordedLaunch): GPUBindGroup {
    const { layout } = pipeline;
    const uniformKey = uniforms === undefined ? '' : `${uniforms.chunk}:${uniforms.byteLength}`;
    const key = `${layout.id}:${uniformKey}:${buffers.map(({ id }) => id).join()}`;
    const cached = this.#bindGroups.get(key);
    if (cached !== undefined) return cached.bindGroup;
    const resources: GPUBufferBinding[] = buffers.map(({ gpuBuffer }) => ({ buffer: gpuBuffer }));
    if (uniforms !== undefined) {
      resources.push({ buffer: this.#uniformBuffers.buffer(uniforms.chunk), size: uniforms.byteLength });
    }
    const entries = resources.map((resource, index) => ({ binding: bindings[index]!, resource }));
    const bindGroup = this.gpuDevice.createBindGroup({ layout: layout.bindGroupLayout, entries });
    this.#bindGroups.set(key, { bindGroup, buffers });
    for (const buffer of buffers) {
      getOrInsert(this.#bindGroupKeys, buffer, () => new Set<string>()).add(key);
    }
    return bindGroup;
  }

  /** One that the adapter refused must not be used again. */
  #forgetBindings(): void {
    this.#bindingsFailed = false;
    this.#bindGroups.clear();
    this.#bindGroupKeys.clear();
    this.#uniformBuffers.destroy();
  }

  #dropBindGroups(buffer: PooledBuffer): void {
    for (const key of this.#bindGroupKeys.get(buffer) ?? []) {
      for (const other of this.#bindGroups.get(key)?.buffers ?? []) {
        if (other !== buffer) this.#bindGroupKeys.get(other)?.delete(key);
      }
      this.#bindGroups.delete(key);
    }
    this.#bindGroupKeys.delete(buffer);
  }

  async #submitTimed(batch: Batch, timings: KernelTiming[]): Promise<void> {
    const launches = batch.commands.filter(command => 'pipeline' in command);
    const add = (elapsed: readonly number[]) => {
      launches.forEach(({ kernel, stage, cost }, index) => {
        timings.push({ kernel, stage, milliseconds: elapsed[index]!, ...cost });
      });
    };
    if (this.timedBy === 'timestamp queries') {
      const timestamps = new Timestamps(this.gpuDevice);
      try {
        this.#submitChecked(batch.commands, batch, { timestamps });
        await this.#watch(timestamps.read().then(add));
      } finally {
        timestamps.destroy();
      }
      return;
    }
    const elapsed: number[] = [];
    for (const command of batch.commands) {
      if (this.lost !== undefined) return;
      const start = performance.now();
      this.#submitChecked([command], batch, { spoilt: batch.commands }); // They share their uniforms.
      await calmly(() => this.gpuDevice.queue.onSubmittedWorkDone());
      if ('pipeline' in command) elapsed.push(performance.now() - start);
    }
    add(elapsed);
  }

  #createBuffer(descriptor: GPUBufferDescriptor, failed: (error: DetrError) => void): GPUBuffer {
    if (this.#recording.number <= this.#lastFrugalBatch) this.#trimPools(this.#submittedBatch);
    try {
      return this.#scoped(
        ['out-of-memory'],
        () => this.gpuDevice.createBuffer(descriptor),
        ({ message }) => {
          const error = errorOf('GPUOutOfMemoryError', `${descriptor.size} bytes were refused: ${message}`);
          failed(error);
          this.#lastFrugalBatch = this.#recording.number + FRUGAL_BATCHES;
          this.#fail(error);
        },
      );
    } catch (cause) {
      // Only of buffers that are born mapped; others turn out to be invalid.
      this.#lastFrugalBatch = this.#recording.number + FRUGAL_BATCHES;
      throw new OutOfMemoryError(`webgpu device: expected ${descriptor.size} bytes, got: ${String(cause)}`, { cause });
    }
  }

  /** Submits commands whose errors, told later, spoil what they write. */
  #submitChecked(
    commands: readonly Command[],
    batch: Batch,
    { timestamps, spoilt = commands }: { timestamps?: Timestamps; spoilt?: readonly Command[] } = {},
  ): void {
    const unchecked: CheckedCommands = { commands: spoilt, done: false };
    this.#unchecked.add(unchecked);
    const failed = (error: DetrError) => {
      this.#fail(error, spoilt);
      this.#bindingsFailed = true;
    };
    this.#scoped(
      ALL_ERRORS,
      () => {
        try {
          this.#encodeAndSubmit(commands, batch, timestamps);
        } catch (error) {
          failed(typedError(error));
        }
      },
      error => failed(errorOf(error.constructor.name, error.message)),
      () => {
        unchecked.done = true;
        for (const earliest of this.#unchecked) {
          if (!earliest.done) break;
          this.#unchecked.delete(earliest);
        }
      },
    );
  }

  /** Makes calls to the adapter. What it has against them it tells later: then `failed` is called, and last `checked`. */
  #scoped<Result>(
    filters: readonly GPUErrorFilter[],
    calls: () => Result,
    failed: (error: GPUError) => void,
    checked = () => {},
  ): Result {
    for (const filter of filters) this.gpuDevice.pushErrorScope(filter);
    try {
      return calls();
    } finally {
      const scopes = filters.map(() => calmly(() => this.gpuDevice.popErrorScope()));
      const told = Promise.all(scopes).then(errors => {
        for (const error of errors) if (error !== null) failed(error);
        checked();
      });
      this.#watch(told);
    }
  }

  #watch(check: Promise<unknown>): Promise<unknown> {
    // A check only rejects when the device is lost, which is reported as such, or for timings, which are missing then.
    const watched = check.catch(() => {}).finally(() => this.#checks.delete(watched));
    this.#checks.add(watched);
    return watched;
  }

  /** Tells the next who waits, and all who read what the steps, where they are known, should have written. */
  #fail(error: DetrError, steps: readonly BufferStep[] = []): void {
    // Work with memory that the system refused is refused as well, in words that say less.
    const cause = failureOf(steps.flatMap(({ buffers }) => buffers)) ?? error;
    this.#untold.note(cause);
    spoil(steps, cause, this.#pendingCommands());
  }

  *#pendingCommands(): Generator<Command> {
    for (const { commands } of this.#unchecked) yield* commands;
    for (const { commands } of this.#sealed) yield* commands;
    yield* this.#recording.commands;
  }

  /** Waits for what is submitted and throws what spoilt the results, or what nobody was told of yet. */
  async #settle(done: Promise<unknown>, results: Iterable<Spoilable>): Promise<void> {
    const outcome = done.then(
      () => undefined,
      (cause: Error) =>
        new DeviceError(`webgpu device: expected to wait for the adapter, got: ${cause.message}`, { cause }),
    );
    await Promise.all(this.#checks);
    const error = await outcome;
    if (error !== undefined) await new Promise(resolve => setTimeout(resolve)); // a loss is told right after
    this.assertAlive();
    const failure = this.#untold.tell(results) ?? error;
    if (failure !== undefined) throw failure;
  }

  #lose(reason: string): void {
    if (this.lost !== undefined) return;
    this.lost = new DeviceLostError(`webgpu device: ${reason}; create a new device`);
    for (const pool of this.#pools) pool.destroyAll();
    this.#forgetBindings();
    this.#unchecked.clear();
    this.#sealed.clear();
    // Dawn holds on to listeners, and through this one to every pipeline of the device.
    this.gpuDevice.removeEventListener('uncapturederror', this.#onUncapturedError);
    this.gpuDevice.destroy();
  }
}

const isCompiled = (command: Command): boolean =>
  !('pipeline' in command) || command.pipeline.gpuPipeline !== undefined;

/** The commands in runs that each end as soon as they hold the work of a submit. */
function* partsOf(commands: readonly Command[]): Generator<readonly Command[]> {
  let first = 0;
  let flops = 0;
  for (const [index, command] of commands.entries()) {
    flops += 'pipeline' in command ? command.cost.flops : 0;
    if (flops < FLOPS_PER_SUBMIT) continue;
    yield commands.slice(first, index + 1);
    first = index + 1;
    flops = 0;
  }
  if (first < commands.length) yield commands.slice(first);
}

const typedError = (error: unknown): DetrError => (error instanceof DetrError ? error : errorOf('', String(error)));

function errorOf(kind: string, message: string): DetrError {
  if (kind === 'GPUOutOfMemoryError') return new OutOfMemoryError(`webgpu device: expected memory, got: ${message}`);
  return new DeviceError(`webgpu device: expected work that the adapter accepts, got: ${message}`);
}
