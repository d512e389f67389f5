import { type FileHandle, open, readFile, rm } from 'node:fs/promises';
import { FileError, OptionError } from '../engine/errors.ts';
import { fileSystemError } from '../weights/files.ts';

/**
 * A record of what a long run has done, one line of JSON for each image, so that it can go on after an interrupt. The first
 * line says what the run is about. A line that was being written when the process ended is left out.
 */
export class Journal<Entry> {
  readonly path: string;
  /** What is done, by image id. */
  readonly entries: Map<number, Entry>;
  readonly #file: FileHandle;

  private constructor(path: string, entries: Map<number, Entry>, file: FileHandle) {
    this.path = path;
    this.entries = entries;
    this.#file = file;
  }

  /**
   * Opens the journal at `path` and reads what is done; `restart` throws that away. One of another run in which nothing is
   * done gives way.
   * @throws OptionError when it is about another run, FileError when it is damaged
   */
  static async open<Entry>(path: string, identity: object, restart: boolean): Promise<Journal<Entry>> {
    if (restart) await rm(path, { force: true });
    const header = JSON.stringify({ journal: 1, ...identity });
    const content = await readIfThere(path);
    const [first, ...lines] = completeLines(content);
    if (first !== header && lines.length > 0) {
      throw new OptionError(
        `--out: ${path} is the record of an interrupted run with other options or files (${first}); choose another folder or add --restart`,
      );
    }
    const entries = new Map<number, Entry>();
    for (const [index, line] of lines.entries()) {
      try {
        const [id, entry] = JSON.parse(line) as [number, Entry];
        entries.set(id, entry);
      } catch (cause) {
        throw new FileError({ file: path }, `line ${index + 2} is damaged; add --restart to begin anew`, { cause });
      }
    }
    let file: FileHandle | undefined;
    try {
      file = await open(path, 'a');
      await file.truncate(first === header ? content.lastIndexOf(NEWLINE) + 1 : 0);
      if (first !== header) await file.appendFile(`${header}\n`);
      return new Journal(path, entries, file);
    } catch (error) {
      await file?.close();
      throw fileSystemError(path, error);
    }
  }

  async add(id: number, entry: Entry): Promise<void> {
    try {
      await this.#file.appendFile(`${JSON.stringify([id, entry])}\n`);
    } catch (error) {
      throw fileSystemError(this.path, error);
    }
    this.entries.set(id, entry);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

const NEWLINE = 0x0a;

/** One by one, for all together may be longer than a string can be. */
function* completeLines(content: Buffer): Generator<string> {
  let start = 0;
  for (let end = content.indexOf(NEWLINE); end !== -1; end = content.indexOf(NEWLINE, start)) {
    yield content.toString('utf8', start, end);
    start = end + 1;
  }
}

async function readIfThere(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0);
    throw fileSystemError(path, error);
  }
}
