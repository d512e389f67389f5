// A contestant's process: answers the parent's requests one by one.
import { makeCase } from './cases.mjs';

const [name] = process.argv.slice(2);
let contestant;
let run;

const answers = {
  async start(options) {
    contestant = await (await import(`./contestants/${name}.mjs`)).start(options);
    return { name: contestant.name };
  },
  async prepare({ caseName, size }) {
    const task = makeCase(caseName, size);
    run = await contestant.prepare(task);
    const { milliseconds, output } = await timed();
    const sample = samplePositions(output.length).map(position => output[position]);
    const expected = task.expectedAt && samplePositions(output.length).map(position => task.expectedAt(position));
    return { milliseconds, sample, expected, flops: task.flops };
  },
  async run({ warm }) {
    for (let run = 0; run < warm; run++) await timed();
    const { milliseconds } = await timed();
    return { milliseconds };
  },
};

/** Runs once. Where the output comes as a function, getting it does not count. */
async function timed() {
  const started = performance.now();
  const result = await run();
  const milliseconds = performance.now() - started;
  return { milliseconds, output: typeof result === 'function' ? await result() : result };
}

/** 200 places spread over an output, to compare results by. */
function samplePositions(length) {
  return Array.from({ length: 200 }, (_, index) => Math.floor(((index + 0.5) * length) / 200));
}

process.on('message', async ({ request, options }) => {
  try {
    process.send({ answer: await answers[request](options) });
  } catch (error) {
    process.send({ error: error instanceof Error ? error.message : String(error) });
  }
});
process.on('disconnect', () => process.exit(0));
