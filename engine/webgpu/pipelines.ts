import { DeviceError, ShaderError } from '../errors.ts';
import { getOrInsert } from '../maps.ts';
import { SHADER_STAGE_COMPUTE } from './constants.ts';
import { calmly } from './polling.ts';

/** How a launch binds its tensors: `r` an input, `-` an absent optional input, `w` an output, `u` the uniforms. */
export type BindingSignature = string;

export interface BindingLayout {
  readonly id: number;
  readonly bindGroupLayout: GPUBindGroupLayout;
  readonly pipelineLayout: GPUPipelineLayout;
}

/** A compute pipeline that is compiled, or is being compiled in the background. */
export interface Pipeline {
  readonly layout: BindingLayout;
  readonly compiled: Promise<GPUComputePipeline>;
  /** Set once `compiled` has resolved, to encode without waiting. */
  gpuPipeline: GPUComputePipeline | undefined;
}

/** Compute pipelines by shader text and bindings. */
export class PipelineCache {
  readonly #gpuDevice: GPUDevice;
  readonly #layouts = new Map<BindingSignature, BindingLayout>();
  readonly #pipelines = new Map<BindingSignature, Map<string, Pipeline>>();

  constructor(gpuDevice: GPUDevice) {
    this.#gpuDevice = gpuDevice;
  }

  /** Starts to compile the pipeline at once where it is new. */
  get(kernel: string, code: string, signature: BindingSignature): Pipeline {
    const sameBindings = getOrInsert(this.#pipelines, signature, () => new Map<string, Pipeline>());
    return getOrInsert(sameBindings, code, () => this.#compile(kernel, code, this.#layout(signature), sameBindings));
  }

  #compile(kernel: string, code: string, layout: BindingLayout, sameBindings: Map<string, Pipeline>): Pipeline {
    const compiled = compile(this.#gpuDevice, kernel, code, layout.pipelineLayout);
    const pipeline: Pipeline = { layout, compiled, gpuPipeline: undefined };
    compiled.then(
      gpuPipeline => {
        pipeline.gpuPipeline = gpuPipeline;
      },
      // The batch that uses the pipeline reports the failure.
      error => {
        // What is not the shader's fault may not last.
        if (!(error instanceof ShaderError)) sameBindings.delete(code);
      },
    );
    return pipeline;
  }

  #layout(signature: BindingSignature): BindingLayout {
    return getOrInsert(this.#layouts, signature, () => {
      const bindGroupLayout = this.#gpuDevice.createBindGroupLayout({
        label: signature,
        entries: entriesOf(signature),
      });
      const pipelineLayout = this.#gpuDevice.createPipelineLayout({ bindGroupLayouts: [bindGroupLayout] });
      return { id: this.#layouts.size, bindGroupLayout, pipelineLayout };
    });
  }
}

function entriesOf(signature: BindingSignature): GPUBindGroupLayoutEntry[] {
  const types: Record<string, GPUBufferBindingLayout> = {
    r: { type: 'read-only-storage' },
    w: { type: 'storage' },
    u: { type: 'uniform', hasDynamicOffset: true },
  };
  return [...signature].flatMap((letter, binding) => {
    const buffer = types[letter];
    return buffer === undefined ? [] : [{ binding, visibility: SHADER_STAGE_COMPUTE, buffer }];
  });
}

async function compile(
  gpuDevice: GPUDevice,
  kernel: string,
  code: string,
  layout: GPUPipelineLayout,
): Promise<GPUComputePipeline> {
  // A module that does not compile also makes a validation error, which says less than the failure below.
  gpuDevice.pushErrorScope('validation');
  const module = gpuDevice.createShaderModule({ label: kernel, code });
  calmly(() => gpuDevice.popErrorScope()).catch(() => {});
  try {
    return await calmly(() =>
      gpuDevice.createComputePipelineAsync({ label: kernel, layout, compute: { module, entryPoint: 'main' } }),
    );
  } catch (cause) {
    const { messages } = await calmly(() => module.getCompilationInfo());
    const errors = messages.filter(({ type }) => type === 'error');
    if (errors.length > 0) throw new ShaderError(describeErrors(kernel, code, errors), { cause });
    const reason = cause instanceof Error ? cause.message : String(cause);
    if ((cause as { reason?: string }).reason === 'validation') {
      throw new ShaderError(`${kernel}: expected a shader that fits its bindings, got: ${reason}`, { cause });
    }
    throw new DeviceError(`${kernel}: expected a compute pipeline, got: ${reason}`, { cause });
  }
}

/** The errors, each below the lines of the shader that it is about. */
function describeErrors(kernel: string, code: string, errors: readonly GPUCompilationMessage[]): string {
  const lines = code.split('\n');
  const described = errors.map(({ lineNum, linePos, message }) => {
    const first = Math.max(0, lineNum - 4);
    const context = lines
      .slice(first, lineNum + 3)
      .map(
        (line, index) =>
          `${first + index + 1 === lineNum ? '>' : ' '} ${String(first + index + 1).padStart(4)} | ${line}`,
      );
    return `line ${lineNum}, column ${linePos}: ${message}\n${context.join('\n')}`;
  });
  return `${kernel}: expected WGSL that compiles, got\n${described.join('\n')}`;
}
