import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KiB, MiB } from '../../src/core/limits.js';
import {
  openSmallFiles,
  type ExpectedFile,
  type SmallFiles,
  type SmallFilesOptions,
} from '../../src/infra/sources/small-files.js';

const live = (): AbortSignal => new AbortController().signal;
const SIZES = [0, 1, 16 * KiB, 256 * KiB + 1];

const FILE_SYSTEMS = [
  { kind: 'fast', step: 0 },
  // Everything but each 32nd file is left to threads.
  { kind: 'slow', step: 1_000 },
];

describe.each(FILE_SYSTEMS)('small files on a $kind file system', ({ step }) => {
  let time = 0;
  let home: string;
  let root: string;
  let files: SmallFiles | undefined;

  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'longshore-small-'));
    root = join(home, 'root');
    await mkdir(join(root, 'job'), { recursive: true });
  });
  afterEach(async () => {
    files?.close();
    files = undefined;
    await rm(home, { recursive: true, force: true });
  });

  const make = async (path: string, bytes: Buffer | string): Promise<ExpectedFile> => {
    const at = join(root, 'job', path);
    await mkdir(dirname(at), { recursive: true });
    await writeFile(at, bytes);
    return expected(path);
  };
  const expected = async (path: string): Promise<ExpectedFile> => {
    const { size, mtimeNs } = await stat(join(root, 'job', path), { bigint: true });
    return { path, size: Number(size), mtimeNs: String(mtimeNs) };
  };
  const openAt = async (path = 'job', options: SmallFilesOptions = {}): Promise<SmallFiles> => {
    files = await openSmallFiles(
      { r: root },
      { root: 'r', path },
      { clock: () => (time += step), ...options },
    );
    await writeFile(join(root, 'job/first'), '');
    await files.read({ path: 'first', size: 0, mtimeNs: null }, Buffer.alloc(0), live());
    return files;
  };
  const read = async (file: ExpectedFile): Promise<Buffer> => {
    const target = Buffer.alloc(file.size);
    await (files ?? (await openAt())).read(file, target, live());
    return target;
  };

  it.each(SIZES)('reads %i bytes', async (size) => {
    const bytes = Buffer.alloc(size, 'abc');
    expect((await read(await make(`deep/er/${size}`, bytes))).equals(bytes)).toBe(true);
  });

  it('reads names with newlines, emoji, accents and backslashes', async () => {
    for (const path of ['a\nb/🚢', 'é', 'e\u0301', '\\x41', ' ', '..x', 'a b/…']) {
      expect((await read(await make(path, path))).toString()).toBe(path);
    }
  });

  it('keeps few folders open', async () => {
    const made: ExpectedFile[] = [];
    for (let index = 0; index < 200; index++) made.push(await make(`${index}/f`, String(index)));
    const before = descriptors();
    await openAt();
    await Promise.all(made.map(read));
    expect(descriptors() - before).toBeLessThanOrEqual(64);
    for (const file of made.reverse()) expect((await read(file)).toString()).toBe(file.path.split('/')[0]);
    files?.close();
    expect(descriptors()).toBeLessThanOrEqual(before);
  });

  it.each([16, 300 * KiB])('refuses %i bytes that are not those of the scan', async (size) => {
    const file = await make('f', Buffer.alloc(size));
    await utimes(join(root, 'job/f'), 1, 1);
    await expect(read(file)).rejects.toMatchObject({ code: 'SourceChanged' });
    const shorter = { ...(await expected('f')), size: size - 1 };
    await expect(read(shorter)).rejects.toMatchObject({ code: 'SourceChanged' });
  });

  it('refuses a file that is written to while it is read', async () => {
    const path = join(root, 'job/f');
    const file = await make('f', Buffer.alloc(2 * MiB));
    const larger = await (await openAt()).openLarger(file, live());
    const stream = larger.open();
    await expect(
      (async () => {
        for await (const chunk of stream)
          writeFileSync(path, Buffer.alloc((chunk as Buffer).length * 2, 'b'));
      })(),
    ).rejects.toMatchObject({ code: 'SourceChanged' });
    await larger.close();
  });

  it('streams a larger file as often as it is asked to', async () => {
    const bytes = Buffer.alloc(3 * MiB + 5, 'xyz');
    const file = await make('f', bytes);
    const larger = await (await openAt()).openLarger(file, live());
    expect(larger.crc32 >>> 0).toBe(crc32(bytes));
    for (let round = 0; round < 2; round++) {
      expect(Buffer.concat((await larger.open().toArray()) as Buffer[]).equals(bytes)).toBe(true);
    }
    await larger.close();
  });

  it.each([10, 300 * KiB])('lets no link lead %i bytes astray', async (size) => {
    await mkdir(join(home, 'outside'));
    await writeFile(join(home, 'outside/f'), Buffer.alloc(size));
    const file = await make('d/f', Buffer.alloc(size));
    const { atime, mtime } = await stat(join(root, 'job/d/f'));
    await utimes(join(home, 'outside/f'), atime, mtime);
    await openAt();
    await rename(join(root, 'job/d'), join(root, 'job/kept'));
    await symlink(join(home, 'outside'), join(root, 'job/d'));
    await expect(read(file)).rejects.toMatchObject({ code: 'SourceOutsideRoot' });
    await rm(join(root, 'job/d'));
    await mkdir(join(root, 'job/d'));
    await symlink(join(home, 'outside/f'), join(root, 'job/d/f'));
    await expect(read(file)).rejects.toMatchObject({ code: 'SourceOutsideRoot' });
  });

  it('goes on with a folder that it holds, whatever takes its place', async () => {
    const first = await make('d/1', 'first');
    const second = await make('d/2', 'second');
    await read(first);
    await mkdir(join(home, 'outside'));
    await writeFile(join(home, 'outside/2'), 'secret');
    await rename(join(root, 'job/d'), join(root, 'job/kept'));
    await symlink(join(home, 'outside'), join(root, 'job/d'));
    expect((await read(second)).toString()).toBe('second');
  });

  it('takes links for files that stay inside only where they are to be followed', async () => {
    await make('real/f', 'inside');
    await symlink('real', join(root, 'job/linked'));
    await symlink('real/f', join(root, 'job/link'));
    for (const path of ['linked/f', 'link']) {
      const file = await expected(path);
      await openAt();
      await expect(read(file)).rejects.toMatchObject({ code: 'SourceOutsideRoot' });
      await openAt('job', { follow: true });
      expect((await read(file)).toString()).toBe('inside');
    }
    await writeFile(join(home, 'secret'), 'secret');
    await symlink(join(home, 'secret'), join(root, 'job/out'));
    await expect(read(await expected('out'))).rejects.toMatchObject({ code: 'SourceOutsideRoot' });
  });

  it('tells what is wrong with a file', async () => {
    const file = { size: 0, mtimeNs: null };
    await mkdir(join(root, 'job/folder'));
    execFileSync('mkfifo', [join(root, 'job/fifo')]);
    await expect(read({ ...file, path: 'no' })).rejects.toMatchObject({ code: 'SourceNotFound' });
    await expect(read({ ...file, path: 'no/no' })).rejects.toMatchObject({ code: 'SourceNotFound' });
    await expect(read({ ...file, path: 'folder' })).rejects.toMatchObject({ code: 'SourceInvalid' });
    await expect(read({ ...file, path: 'fifo' })).rejects.toMatchObject({ code: 'SourceInvalid' });
    for (const path of ['..', 'folder/..', '', 'folder/.', '../job/x']) {
      await expect(read({ ...file, path })).rejects.toMatchObject({
        code: expect.stringMatching(/^Source(Invalid|OutsideRoot|NotFound)$/) as string,
      });
    }
  });

  it('takes a root that is away for no missing file', async () => {
    const file = await make('f', 'f');
    await openAt();
    await rename(root, join(home, 'away'));
    await expect(read({ ...file, path: 'other/f' })).rejects.toMatchObject({ code: 'RootUnavailable' });
  });

  it('refuses a job whose folder leads out', async () => {
    await symlink(home, join(root, 'link'));
    await expect(openAt('link')).rejects.toMatchObject({ code: 'SourceOutsideRoot' });
    await expect(openAt('missing')).rejects.toMatchObject({ code: 'SourceNotFound' });
  });
});

function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}
