import * as assert from 'uvu/assert';
import type { DetrError } from '../../engine/errors.ts';

type ErrorType = abstract new (...args: never[]) => DetrError;

/** Fails unless `run` throws or rejects with an error of that very type whose message matches; returns the error. */
export async function rejectsWith(run: () => unknown, type: ErrorType, message: RegExp): Promise<DetrError> {
  let result: unknown;
  try {
    result = await run();
  } catch (error) {
    assert.ok(error instanceof type, `expected ${type.name}, got ${error}`);
    const actual = (error as DetrError).message;
    assert.ok(message.test(actual), `expected ${message}, got ${JSON.stringify(actual)}`);
    return error as DetrError;
  }
  throw new assert.Assertion({
    message: `expected ${type.name} ${message}, got the result ${String(result)}`,
    details: '',
    generated: false,
    operator: 'rejectsWith',
    expects: message,
    actual: result,
  });
}
