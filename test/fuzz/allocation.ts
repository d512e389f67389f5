/** A single allocation that no input may cause. */
export class ExcessiveAllocation extends Error {}

const arrayTypes = [
  ...['Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array', 'Uint16Array', 'Int32Array', 'Uint32Array'],
  ...['Float32Array', 'Float64Array', 'BigInt64Array', 'BigUint64Array', 'ArrayBuffer', 'SharedArrayBuffer', 'Array'],
] as const;

/**
 * Makes every typed array, array buffer, Buffer or sparse array of more than `maximumBytes` throw, and reports it even where
 * the code under test swallows the error. Must be called before the modules under test are loaded.
 * @returns gives the error of the largest excess since the last call, if there was one
 */
export function watchAllocations(maximumBytes: number): () => ExcessiveAllocation | undefined {
  let excess: ExcessiveAllocation | undefined;
  const check = (what: string, bytes: number) => {
    if (!(bytes > maximumBytes)) return;
    excess = new ExcessiveAllocation(`${what} of ${bytes} bytes`);
    throw excess;
  };
  const globals = globalThis as unknown as Record<
    string,
    { new (...values: unknown[]): object; BYTES_PER_ELEMENT?: number }
  >;
  for (const name of arrayTypes) {
    const original = globals[name]!;
    globals[name] = new Proxy(original, {
      construct(target, values, newTarget) {
        if (typeof values[0] === 'number')
          check(name, values[0] * (original.BYTES_PER_ELEMENT ?? (name === 'Array' ? 8 : 1)));
        return Reflect.construct(target, values, newTarget === globals[name] ? target : newTarget);
      },
    });
  }
  for (const name of ['alloc', 'allocUnsafe', 'allocUnsafeSlow'] as const) {
    const original = Buffer[name] as (size: number, ...rest: never[]) => Buffer;
    Buffer[name] = ((size: number, ...rest: never[]) => {
      check(`Buffer.${name}`, size);
      return original(size, ...rest);
    }) as never;
  }
  return () => {
    const found = excess;
    excess = undefined;
    return found;
  };
}
