#!/usr/bin/env node
// Runs a command with a WebGPU adapter, a software one where the machine has none:
//     node scripts/with-adapter.mjs node dist/test/kernels/linear.test.js
// DETR_ADAPTER=hardware demands a GPU, DETR_ADAPTER=swiftshader passes over it.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { findAdapter } from './adapter.mjs';

const [command, ...commandArguments] = process.argv.slice(2);
if (command === undefined) {
  console.error('usage: node scripts/with-adapter.mjs COMMAND [ARGUMENT…]');
  process.exit(2);
}

let adapter;
try {
  adapter = findAdapter();
} catch (error) {
  console.error(`with-adapter: ${error.message}`);
  process.exit(1);
}
const child = spawn(command, commandArguments, { env: adapter.environment, stdio: 'inherit' });
process.on('SIGTERM', () => child.kill('SIGTERM'));
// A terminal sends Ctrl-C to both; a second one would end the command at once.
process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
child.on('error', error => {
  console.error(`with-adapter: ${command}: ${error.message}`);
  process.exit(127);
});
child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
