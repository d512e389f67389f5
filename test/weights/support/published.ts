import { readTestJson } from '../../support/data.ts';

/** A tensor of a published checkpoint, by the name in its file, and as transformers 5 names it in memory. */
export interface PublishedTensor {
  readonly name: string;
  readonly nameInVersion5: string;
  readonly shape: readonly number[];
}

let lists: Record<string, [name: string, nameInVersion5: string, shape: number[]][]> | undefined;

/** The variants whose tensor lists are known, among them every kind of model. */
export function publishedVariants(): string[] {
  lists ??= readTestJson('weights', 'keys.json.gz');
  return Object.keys(lists!);
}

/** The complete tensor list of a published variant, in the order of its state dict. */
export function publishedTensors(variant: string): PublishedTensor[] {
  lists ??= readTestJson('weights', 'keys.json.gz');
  return lists![variant]!.map(([name, nameInVersion5, shape]) => ({ name, nameInVersion5, shape }));
}
