// Finds a WebGPU adapter for tests, benchmarks and the command line on machines without a GPU.
//
// First choice is whatever the machine offers (a GPU, or a Mesa new enough for Dawn). Otherwise SwiftShader, a software
// Vulkan driver that the development dependency @sparticuz/chromium carries, is unpacked below node_modules/.cache.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * Asks Dawn, in a process of its own, which adapter an environment offers: its name, and whether it computes in software
 * (told as engine/webgpu/adapter.ts does); null when there is none.
 */
function probeAdapter(environment) {
  const program = `
    import { create } from 'webgpu';
    globalThis.gpu = create([]);
    const adapter = await globalThis.gpu.requestAdapter();
    if (adapter) {
      const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
      (await adapter.requestDevice()).destroy();
      const name = [description, device, architecture, vendor].find(text => text) ?? 'unnamed adapter';
      const isSoftware = /llvmpipe|lavapipe|swiftshader|basic render|software/i;
      const software = isFallbackAdapter || isSoftware.test([description, device, architecture].join(' '));
      console.log(JSON.stringify({ name, software }));
    }
    process.exit(0);`;
  try {
    const stdout = execFileSync(process.execPath, ['--input-type=module', '--eval', program], {
      cwd: root,
      env: environment,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 60_000,
    });
    return stdout.trim() === '' ? null : JSON.parse(stdout);
  } catch {
    return null;
  }
}

/** Unpacks SwiftShader and returns its folder, or null when the development dependency is not installed. */
function unpackSwiftShader() {
  const archive = join(root, 'node_modules/@sparticuz/chromium/bin/swiftshader.tar.br');
  if (!existsSync(archive)) return null;
  const compressed = readFileSync(archive);
  const version = createHash('sha256').update(compressed).digest('hex').slice(0, 12);
  const cache = join(root, 'node_modules/.cache/detr-webgpu');
  const folder = join(cache, `swiftshader-${version}`);
  if (existsSync(folder)) return folder;

  mkdirSync(cache, { recursive: true });
  const unfinished = mkdtempSync(join(cache, 'unpacking-'));
  for (const { name, content } of readTar(brotliDecompressSync(compressed))) {
    if (/^(libvk_swiftshader\.so|libvulkan\.so\.1|vk_swiftshader_icd\.json)$/.test(name)) {
      writeFileSync(join(unfinished, name), content, { mode: 0o755 });
    }
  }
  try {
    renameSync(unfinished, folder);
  } catch (error) {
    rmSync(unfinished, { recursive: true });
    if (!existsSync(folder)) throw error; // otherwise another process was faster
  }
  return folder;
}

/** The regular files of a POSIX tar archive, by base name. */
function* readTar(archive) {
  const text = (start, length) => archive.toString('latin1', start, start + length).replace(/\0.*$/s, '');
  for (let header = 0; text(header, 100) !== ''; ) {
    const size = Number.parseInt(text(header + 124, 12), 8);
    const start = header + 512;
    if (/^0?$/.test(text(header + 156, 1))) {
      yield { name: basename(text(header, 100)), content: archive.subarray(start, start + size) };
    }
    header = start + Math.ceil(size / 512) * 512;
  }
}

/**
 * The environment in which `webgpu` finds an adapter, and the adapter's name; throws when there is none.
 * DETR_ADAPTER=swiftshader passes over the machine's own drivers; DETR_ADAPTER=hardware takes nothing but a GPU, so that
 * one whose driver is not found is not replaced without a word.
 */
export function findAdapter() {
  const wanted = process.env.DETR_ADAPTER ?? '';
  if (!['', 'hardware', 'swiftshader'].includes(wanted)) {
    throw new Error(`DETR_ADAPTER: expected hardware or swiftshader, got ${wanted}`);
  }
  if (wanted !== 'swiftshader') {
    const adapter = probeAdapter(process.env);
    if (wanted === 'hardware' && (adapter === null || adapter.software)) {
      const got = adapter === null ? 'none' : `only ${adapter.name}, which is software`;
      const advice =
        'are the Vulkan loader (libvulkan.so.1) and the driver installed, and does VK_DRIVER_FILES name its ICD?';
      throw new Error(`DETR_ADAPTER=hardware: expected a GPU, got ${got}; ${advice}`);
    }
    if (adapter !== null) return { name: adapter.name, environment: { ...process.env } };
  }
  const folder = unpackSwiftShader();
  if (folder === null) {
    throw new Error('no WebGPU adapter, and @sparticuz/chromium (SwiftShader) is not installed: run `npm ci`');
  }
  const driver = join(folder, 'vk_swiftshader_icd.json');
  const environment = {
    ...process.env,
    LD_LIBRARY_PATH: [folder, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':'),
    VK_DRIVER_FILES: driver,
    VK_ICD_FILENAMES: driver,
  };
  const adapter = probeAdapter(environment);
  if (adapter === null)
    throw new Error(`no WebGPU adapter: neither this machine's drivers nor SwiftShader (${folder}) work`);
  return { name: adapter.name, environment };
}
