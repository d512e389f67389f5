/**
 * Whether Linux' dynamic linker can find the Vulkan loader. Dawn needs it there, and without it complains on the standard
 * error of every program that only wanted to know whether there is a GPU. (Node only.)
 */
export async function hasVulkanLoader(): Promise<boolean> {
  if (process.platform !== 'linux') return true;
  const { existsSync, readFileSync } = await import('node:fs');
  const library = 'libvulkan.so.1';
  const folders = [
    ...(process.env.LD_LIBRARY_PATH ?? '').split(':').filter(Boolean),
    '/lib',
    '/usr/lib',
    '/lib64',
    '/usr/lib64',
  ];
  try {
    if (folders.some(folder => existsSync(`${folder}/${library}`))) return true;
    // musl has no such cache, and no Dawn is built for it.
    return readFileSync('/etc/ld.so.cache').includes(library);
  } catch {
    return false; // not there, or not to be read: Node's permissions may say so of each file
  }
}
