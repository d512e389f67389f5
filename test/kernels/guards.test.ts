import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadKernelModule } from '../../engine/cpu/module.ts';
import { Device, type HostTensor, type Launch, type Tensor } from '../../engine/index.ts';
import { writeScalars } from '../../engine/launch.ts';
import type { HostArray, Storage } from '../../engine/tensor.ts';
import { allKernels, Random } from '../../kernels/index.ts';

// Every WebAssembly kernel writes all of its outputs and nothing else, and lets nothing that lies around its inputs into them.
// Of everything beside the inputs, all bits are set: a NaN, and as good as nothing that a kernel computes.

const UNTOUCHED = 0xff;
const GUARD_BYTES = 4096;
const MEMORY_PAGES = 16_384;
/** The kernels' own data lies below. */
const FIRST_ADDRESS = 65_536;

interface Block extends Storage {
  readonly address: number;
}

const { module, entries } = await loadKernelModule({ revectorize: false });
const memory = new WebAssembly.Memory({ initial: MEMORY_PAGES, maximum: MEMORY_PAGES, shared: true });
const abort = () => {
  throw new Error('the kernel aborted');
};
const { exports } = new WebAssembly.Instance(module, { env: { memory, abort } });
const bytes = Buffer.from(memory.buffer);

/** Runs launches at once, in memory whose every block lies between guards. */
class GuardedDevice extends Device {
  readonly kind = 'cpu';
  readonly name = 'guarded';
  readonly threads: number;
  protected readonly reservedBytes = 0;
  readonly #blocks: Block[] = [];
  #end = FIRST_ADDRESS;

  constructor(threads: number) {
    super();
    this.threads = threads;
  }

  override launch({ kernel, inputs, outputs, wasm }: Launch): void {
    const { entry, tasks, scalars, scratchBytes = 0 } = wasm(this);
    assert.ok(entries.includes(entry), `${kernel}: ${entry}`);
    const addresses = [...inputs, ...outputs].map(tensor => (tensor === undefined ? 0 : blockOf(tensor).address));
    const words = new Uint32Array(addresses.length + scalars.length);
    words.set(addresses);
    writeScalars(scalars, words, new Float32Array(words.buffer), addresses.length);
    const args = this.allocate(words.byteLength);
    const scratch = this.allocate(scratchBytes);
    const before = inputs.map(tensor => tensor && Buffer.from(contentOf(blockOf(tensor))));
    for (let task = 0; task < tasks; task++) {
      bytes.set(new Uint8Array(words.buffer), args.address);
      contentOf(scratch).fill(UNTOUCHED);
      (exports[entry] as (args: number, task: number, scratch: number) => void)(args.address, task, scratch.address);
    }
    for (const block of this.#blocks) {
      const [start, end] = [block.address, block.address + block.byteLength];
      for (const guard of [bytes.subarray(start - GUARD_BYTES, start), bytes.subarray(end, end + GUARD_BYTES)]) {
        assert.ok(guard.equals(untouchedGuard), `${kernel} writes beside a block of ${block.byteLength} bytes`);
      }
    }
    for (const [index, tensor] of inputs.entries()) {
      if (tensor === undefined || outputs.some(output => output.storage === tensor.storage)) continue;
      assert.ok(contentOf(blockOf(tensor)).equals(before[index]!), `${kernel} writes to its input ${index}`);
    }
  }

  protected override allocate(byteLength: number): Block {
    const address = this.#end + GUARD_BYTES;
    this.#end = Math.ceil((address + byteLength + GUARD_BYTES) / 64) * 64;
    assert.ok(this.#end <= bytes.length, 'too large a problem');
    bytes.fill(UNTOUCHED, address - GUARD_BYTES, this.#end);
    const block = { address, byteLength, references: 1 };
    this.#blocks.push(block);
    return block;
  }

  protected override upload(data: Float32Array | Int32Array): Block {
    const block = this.allocate(data.byteLength);
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), block.address);
    return block;
  }

  protected override free(): void {}
  override async finish(): Promise<void> {}
  override async drain(): Promise<void> {}
  override async destroy(): Promise<void> {}
  override read<Type extends 'float32' | 'int32'>(_: Tensor<Type>): Promise<HostTensor<HostArray<Type>>> {
    throw new Error('not needed');
  }
}

const untouchedGuard = Buffer.alloc(GUARD_BYTES, UNTOUCHED);
const blockOf = (tensor: Tensor) => tensor.storage as Block;
const contentOf = ({ address, byteLength }: Block) => bytes.subarray(address, address + byteLength);

const RANDOM_PROBLEMS = 8;
/** What a named problem costs at most; DETR_TEST_ALL=1 runs all. */
const LARGEST = process.env.DETR_TEST_ALL === '1' ? { flops: Infinity, bytes: Infinity } : { flops: 2e8, bytes: 5e7 };
const seed = Number(process.env.DETR_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`guards: DETR_SEED=${seed}`);

for (const kernel of allKernels) {
  test(`${kernel.name} writes its outputs and nothing else`, () => {
    const problems = Array.from({ length: RANDOM_PROBLEMS }, (_, index) => {
      const random = new Random(seed + index * 7919);
      const problem = kernel.random(random);
      return { problem, inputs: kernel.inputs(problem, random) };
    });
    for (const problem of [...Object.values(kernel.edges ?? {}), ...Object.values(kernel.cases)]) {
      const { flops, bytes } = kernel.cost(problem);
      if (flops > LARGEST.flops || bytes > LARGEST.bytes) continue;
      problems.push({ problem, inputs: kernel.inputs(problem, new Random(seed)) });
    }
    for (const { problem, inputs } of problems) {
      for (const threads of [1, 2, 7]) {
        const outputs = kernel.prepare(new GuardedDevice(threads), problem, inputs)();
        for (const [index, output] of outputs.entries()) {
          const words = new Uint32Array(memory.buffer, blockOf(output).address, output.size);
          const place = words.indexOf(0xffffffff);
          const where = `output ${index} of ${JSON.stringify(problem)} with ${threads} threads`;
          assert.is(place, -1, `${where}: element ${place} is not written, or made of what is none of its inputs`);
        }
      }
    }
  });
}

test.run();
