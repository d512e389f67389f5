// Times detr-webgpu and its peers in turn; see README.md.
import { fork } from 'node:child_process';
import { availableParallelism, cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { caseNames } from './cases.mjs';

const operators = caseNames.filter(name => name !== 'detr');
const usage = `usage: node compare.mjs [--device cpu|webgpu] [--case ${caseNames.join('|')}]… [--size HxW] [--peers A,B] [--rounds N] [--warm N] [--threads N] [--json]`;

function refuse(...problems) {
  console.error([...problems, usage].join('\n'));
  process.exit(2);
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        help: { type: 'boolean', short: 'h', default: false },
        device: { type: 'string', default: 'cpu' },
        case: { type: 'string', multiple: true, default: operators },
        peers: { type: 'string' },
        size: { type: 'string', default: '800x1066' },
        rounds: { type: 'string', default: '10' },
        warm: { type: 'string', default: '0' },
        threads: { type: 'string', default: String(availableParallelism()) },
        json: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    return refuse(error.message);
  }
}

const options = readOptions();
if (options.help) {
  console.log(usage);
  process.exit(0);
}
const usualPeers = options.device === 'cpu' ? 'onnxruntime-web,onnxruntime-node' : 'onnxruntime-node,onnxruntime-web';
const peers = (options.peers ?? usualPeers).split(',');
const rounds = Number(options.rounds);
const warm = Number(options.warm);
const size = options.size.split('x').map(Number);
const startOptions = { device: options.device, threads: Number(options.threads) };
const wrongCases = options.case.filter(name => !caseNames.includes(name));
if (wrongCases.length > 0 || !(rounds >= 1) || !(warm >= 0) || size.length !== 2 || !size.every(side => side > 0)) {
  refuse();
}

/** Before each turn: threads of the one before may still spin, waiting for work. */
const PAUSE_MILLISECONDS = 200;

class Contestant {
  #child;

  constructor(module) {
    this.module = module;
    this.#child = fork(fileURLToPath(new URL('contestant.mjs', import.meta.url)), [module], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', process.env.DEBUG ? 'inherit' : 'ignore', 'ipc'],
    });
  }

  ask(request, requestOptions) {
    return new Promise((resolve, reject) => {
      const done = action => {
        this.#child.off('message', onMessage);
        this.#child.off('exit', onExit);
        action();
      };
      const onMessage = ({ answer, error }) =>
        done(() => (error === undefined ? resolve(answer) : reject(new Error(error))));
      const onExit = (code, signal) => done(() => reject(new Error(`ended with ${signal ?? `exit code ${code}`}`)));
      this.#child.on('message', onMessage);
      this.#child.on('exit', onExit);
      this.#child.send({ request, options: requestOptions });
    });
  }

  end() {
    this.#child.kill('SIGKILL');
  }
}

/** Starts a contestant on a case; undefined, with the reason printed, when that fails. */
async function prepare(module, caseName) {
  const contestant = new Contestant(module);
  try {
    const { name } = await contestant.ask('start', startOptions);
    return { contestant, module, name, times: [], ...(await contestant.ask('prepare', { caseName, size })) };
  } catch (error) {
    contestant.end();
    console.error(`${module}: ${error.message}`);
    return undefined;
  }
}

async function compare(caseName) {
  const entries = [];
  const ourModules = caseName === 'detr' ? ['ours'] : ['ours', 'ours-resident'];
  for (const module of [...ourModules, ...peers]) {
    const entry = await prepare(module, caseName);
    if (entry !== undefined) entries.push(entry);
  }
  for (let round = 0; round < rounds; round++) {
    // Each round begins with another contestant, so that none always follows the same one.
    for (let turn = 0; turn < entries.length; turn++) {
      const entry = entries[(round + turn) % entries.length];
      await sleep(PAUSE_MILLISECONDS);
      entry.times.push((await entry.contestant.ask('run', { warm })).milliseconds);
    }
  }
  for (const { contestant } of entries) contestant.end();
  const [ours] = entries;
  return entries.map(({ module, name, times, flops, sample, expected, milliseconds: first }) => {
    const sorted = times.toSorted((a, b) => a - b);
    const truth = expected ?? ours.sample;
    return {
      case: caseName,
      module,
      name,
      first,
      median: sorted[Math.floor(sorted.length / 2)],
      minimum: sorted[0],
      gflops: flops / sorted[Math.floor(sorted.length / 2)] / 1e6,
      error: Math.max(...sample.map((value, index) => Math.abs(value - truth[index]))),
    };
  });
}

if (!options.json) {
  console.log(
    `${cpus()[0].model.trim()}, ${options.threads} threads, Node ${process.versions.node}, ${rounds} rounds in turn${warm > 0 ? `, each after ${warm} runs that do not count` : ''}`,
  );
}
for (const caseName of options.case) {
  const rows = await compare(caseName);
  if (options.json) {
    for (const row of rows) console.log(JSON.stringify(row));
    continue;
  }
  console.log(`\n${caseName === 'detr' ? `DETR-R50 at ${options.size}` : caseName}`);
  const ours = rows.filter(({ module }) => module.startsWith('ours'));
  for (const row of rows) {
    const ratios = ours.includes(row) ? [] : ours.map(({ median }) => `${(row.median / median).toFixed(2)}x`);
    console.log(
      [
        `  ${row.name.padEnd(58)}`,
        `median ${row.median.toFixed(1).padStart(8)} ms`,
        `min ${row.minimum.toFixed(1).padStart(8)} ms`,
        `first ${row.first.toFixed(0).padStart(6)} ms`,
        `${row.gflops.toFixed(1).padStart(6)} GFLOP/s`,
        `error ${row.error.toExponential(0)}`,
        ratios.join(', '),
      ].join('  '),
    );
  }
}
