/** Without a living handle, Node 20 waits at the first idle moment until a large WebAssembly module is optimised. */
export function keepAlive() {
  setInterval(() => {}, 2 ** 30);
}

/** Gives libraries made for browsers the globals of WebGPU. */
export async function browserWithWebGpu() {
  const { create, globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  copySharedMemory(globals.GPUQueue.prototype);
  globalThis.dawn = create([]); // kept: Dawn crashes when it is garbage-collected while in use
  Object.defineProperty(globalThis, 'navigator', {
    value: { gpu: globalThis.dawn, hardwareConcurrency: 2, userAgent: 'node' },
    configurable: true,
  });
}

/** Dawn's binding for Node refuses views of shared memory in `writeBuffer`, which browsers accept. */
function copySharedMemory(queue) {
  const { writeBuffer } = queue;
  queue.writeBuffer = function (buffer, offset, data, dataOffset = 0, size = undefined) {
    const memory = ArrayBuffer.isView(data) ? data.buffer : data;
    if (!(memory instanceof SharedArrayBuffer)) {
      return writeBuffer.call(this, buffer, offset, data, dataOffset, ...(size === undefined ? [] : [size]));
    }
    const bytesPerElement = (ArrayBuffer.isView(data) && data.BYTES_PER_ELEMENT) || 1;
    const begin = (ArrayBuffer.isView(data) ? data.byteOffset : 0) + dataOffset * bytesPerElement;
    const length = size === undefined ? data.byteLength - dataOffset * bytesPerElement : size * bytesPerElement;
    const copy = new Uint8Array(length);
    copy.set(new Uint8Array(memory, begin, length));
    return writeBuffer.call(this, buffer, offset, copy, 0, length);
  };
}
