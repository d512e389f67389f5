import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

/** The repository's root: the nearest folder above this file, compiled or not, that holds package.json. */
export const repositoryRoot = findRoot(dirname(fileURLToPath(import.meta.url)));

/** Path of a file or folder in test/data. */
export function testData(...path: string[]): string {
  return join(repositoryRoot, 'test', 'data', ...path);
}

/** A JSON file of test/data, gunzipped where its name ends in .gz. */
export function readTestJson<Content>(...path: string[]): Content {
  const bytes = readFileSync(testData(...path));
  return JSON.parse((path.at(-1)!.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8')) as Content;
}

/**
 * A folder of reference data that is not in the repository: under DETR_SHARED, or in `shared` beside the repository. When it
 * is absent this says so on standard output and returns undefined; the caller skips its test.
 */
export function sharedData(test: string, ...path: string[]): string | undefined {
  const folder = join(process.env.DETR_SHARED ?? join(dirname(repositoryRoot), 'shared'), ...path);
  if (existsSync(folder)) return folder;
  console.log(`SKIPPED ${test}: no ${folder} (set DETR_SHARED to the folder of reference data)`);
  return undefined;
}

function findRoot(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : findRoot(dirname(folder));
}
