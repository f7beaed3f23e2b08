/** Folders held open, each proved to be where its path says: what is opened below one cannot be swapped from above. */
import { closeSync, constants, open as openByCallback, openSync, readlinkSync } from 'node:fs';
import { readlink } from 'node:fs/promises';
import { promisify } from 'node:util';

const openByThreads = promisify(openByCallback);

const FLAGS = constants.O_RDONLY | constants.O_DIRECTORY;
/** Descriptors that are kept. */
const KEPT = 64;

interface Held {
  fd: number;
  users: number;
  /** To be closed with its last user. */
  dropped: boolean;
}

export interface HeldFolder {
  /** What `name` in the folder is called: opened at once, or before `release`. */
  entry(name: string): string;
  release(): void;
}

export class HeldFolders {
  readonly #held = new Map<string, Held>();
  #closed = false;

  /** `locate`: the path to open; `prove` throws unless `real` is where the folder has to be. */
  constructor(
    private readonly locate: (path: string) => string,
    private readonly prove: (path: string, real: string) => void,
  ) {}

  /** Only for what is opened before anything else can run: the next call may close the descriptor. */
  entryAtOnce(path: string, name: string): string {
    return inside(this.#atOnce(path).fd, name);
  }

  /** Without keeping the event loop waiting. */
  async hold(path: string): Promise<HeldFolder> {
    const held = this.#held.get(path) ?? (await this.#openByThreads(path));
    held.users += 1;
    return {
      entry: (name) => inside(held.fd, name),
      release: () => {
        held.users -= 1;
        closeUnused(held);
      },
    };
  }

  close(): void {
    this.#closed = true;
    for (const path of [...this.#held.keys()]) this.#drop(path);
  }

  #atOnce(path: string): Held {
    const known = this.#held.get(path);
    if (known !== undefined) return known;
    const fd = openSync(this.locate(path), FLAGS);
    try {
      this.prove(path, readlinkSync(`/proc/self/fd/${fd}`));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return this.#keep(path, fd);
  }

  async #openByThreads(path: string): Promise<Held> {
    const fd = await openByThreads(this.locate(path), FLAGS);
    try {
      this.prove(path, await readlink(`/proc/self/fd/${fd}`));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    const meanwhile = this.#held.get(path);
    if (meanwhile === undefined) return this.#keep(path, fd);
    closeSync(fd);
    return meanwhile;
  }

  #keep(path: string, fd: number): Held {
    if (this.#closed) {
      closeSync(fd);
      throw new TypeError('the folders were closed');
    }
    const [oldest] = this.#held.keys();
    if (oldest !== undefined && this.#held.size >= KEPT) this.#drop(oldest);
    const held = { fd, users: 0, dropped: false };
    this.#held.set(path, held);
    return held;
  }

  #drop(path: string): void {
    const held = this.#held.get(path);
    if (held === undefined) return;
    this.#held.delete(path);
    held.dropped = true;
    closeUnused(held);
  }
}

function closeUnused(held: Held): void {
  if (held.dropped && held.users === 0) closeSync(held.fd);
}

function inside(fd: number, name: string): string {
  return `/proc/self/fd/${fd}/${name}`;
}
