import { join, relative, sep } from 'node:path';
import { CachedRepository } from '../../../weights/hub/cache.ts';
import { hubSettings } from '../../../weights/hub/settings.ts';
import type { FuzzTarget } from '../target.ts';

const cacheDir = join(sep, 'cache');
const commit = '0123456789abcdef0123456789abcdef01234567';
const text = (...parts: string[]) => new TextEncoder().encode(parts.join('\n'));

/** Names that come from users and servers and become paths: none may lead out of the cache. */
export const target: FuzzTarget = {
  seeds: () => [
    text('facebook/detr-resnet-50', 'main', commit, 'model.safetensors', 'a'.repeat(64)),
    text('x', 'refs/pr/1', commit, 'model-00001-of-00002.safetensors', '0'.repeat(40)),
  ],
  words: [
    '..',
    '/',
    '../',
    '\\',
    '..\\',
    '\0',
    '%2e%2e%2f',
    '~',
    '$HOME',
    '/etc/passwd',
    'C:',
    '--',
    '.git',
    '\n',
    'con',
    '\u00e9',
  ],
  run: input => {
    const [id, revision, commitName, file, etag] = new TextDecoder().decode(input).split('\n');
    const repository = new CachedRepository(cacheDir, id ?? '');
    const settings = hubSettings({ revision: revision ?? '' }, {});
    const paths = [
      repository.folder,
      repository.snapshotFile(commitName ?? '', file ?? ''),
      repository.blobFile(etag ?? ''),
      repository.partialFile(etag ?? ''),
      repository.lockFile(etag ?? ''),
      join(repository.folder, 'refs', ...settings.revision.split('/')),
    ];
    for (const path of paths) {
      const within = relative(cacheDir, path);
      const isInside = within !== '' && !within.startsWith('..') && !within.includes('\0') && !within.includes('\\');
      if (!isInside) throw new Error(`leads out of the cache: ${JSON.stringify(path)}`);
    }
    if (!paths.slice(1, 4).every(path => path.startsWith(repository.folder + sep)))
      throw new Error('leads out of the repository');
  },
};
