// Builds dist/: TypeScript to JavaScript, and the AssemblyScript kernels to WebAssembly three times, so that the
// cpu device can pick at run time: plain SIMD, with relaxed SIMD (fused multiply-add), and with tiles for joined vectors too.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = name => join(root, 'node_modules', '.bin', name);
const run = (command, args) => execFileSync(command, args, { cwd: root, stdio: 'inherit' });

// Of modules that are no more, a package must not hold the last build. Else dist/ stays: programs may be running from it.
if (process.argv.includes('--clean')) rmSync(join(root, 'dist'), { recursive: true, force: true });
run(bin('tsc'), ['--pretty']);

mkdirSync(join(root, 'dist/kernels'), { recursive: true });
const shared = [
  'kernels/kernels.assembly.ts',
  '--importMemory',
  '--sharedMemory',
  '--initialMemory=16',
  '--maximumMemory=65536',
  '--memoryBase=0',
  '--runtime=stub',
  '--optimizeLevel=3',
  '--shrinkLevel=0',
  '--noAssert',
  '--disableWarning=112', // about v128 in functions that stay inside the module
  '--enable=simd,threads,relaxed-simd',
];
for (const [name, relaxed, wide] of [
  ['kernels', 0, 0],
  ['kernels.relaxed', 1, 0],
  ['kernels.wide', 1, 1],
]) {
  run(bin('asc'), [...shared, `--use=RELAXED=${relaxed}`, `--use=WIDE=${wide}`, `--outFile=dist/kernels/${name}.wasm`]);
}
