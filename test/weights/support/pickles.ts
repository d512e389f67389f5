/** A list that holds the list before it twice, `depth` times over: short, and without end when it is written out. */
export function doublings(depth: number): string {
  const recall = (index: number) => `h${String.fromCharCode(index)}`;
  const next = Array.from({ length: depth - 1 }, (_, index) => {
    return `0](${recall(index)}${recall(index)}eq${String.fromCharCode(index + 1)}`;
  });
  return `](X\x04\0\0\0longeq\0${next.join('')}`;
}

/** A tuple in a tuple in a tuple …, deeper than functions can call themselves. */
export const deepTuple = (depth: number): string => `N${'\x85'.repeat(depth)}`;
