import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmod,
  mkdir,
  mkdtemp,
  open,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FileSource } from '../../src/core/uploads.js';
import type { PinnedSource } from '../../src/core/upload-steps.js';
import { createFileSource } from '../../src/infra/sources/file-source.js';

const AT = new Date('2020-02-02T02:02:02Z');
const saying = (text: string): unknown => expect.stringContaining(text);
const never = new AbortController().signal;
type PinnedFile = PinnedSource & { kind: 'file' };

let base: string;
let root: string;
const file = (path: string, name = 'data'): FileSource => ({ kind: 'file', root: name, path });
const source = () => createFileSource({ data: root });
const pin = async (path: string): Promise<PinnedFile> =>
  (await source().inspect(file(path), never)).pinned as PinnedFile;

beforeEach(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), 'sources-file-')));
  root = join(base, 'root');
  await chmod(base, 0o755);
  await mkdir(root);
});
afterEach(() => rm(base, { recursive: true, force: true }));

describe('inspect', () => {
  it('pins size, nanoseconds and inode, and guesses the type', async () => {
    await writeFile(join(root, 'a.png'), 'hello');
    const stats = await stat(join(root, 'a.png'), { bigint: true });
    expect(await source().inspect(file('a.png'), never)).toEqual({
      pinned: {
        ...file('a.png'),
        size: 5,
        mtimeNs: stats.mtimeNs.toString(),
        inode: `${stats.dev.toString()}:${stats.ino.toString()}`,
      },
      contentType: 'image/png',
      access: 'random',
    });
  });

  it.each(['a b+&?#%', 'línea', 'li\u0301nea', 'new\nline', '😀', 'back\\slash', ' ', '...', 'x (deleted)'])(
    'takes the name %j as it is',
    async (name) => {
      await writeFile(join(root, name), name);
      const pinned = await pin(name);
      expect(pinned.path).toBe(name);
      expect(pinned.size).toBe(Buffer.byteLength(name));
    },
  );

  it('finds nothing where there is nothing', async () => {
    await writeFile(join(root, 'a'), 'x');
    for (const path of ['b', 'b/c', 'a/c']) {
      await expect(source().inspect(file(path), never)).rejects.toMatchObject({ code: 'SourceNotFound' });
    }
  });

  it('refuses paths that leave the root, existing or not', async () => {
    await writeFile(join(base, 'secret'), 'x');
    await mkdir(join(base, 'root2'));
    await writeFile(join(base, 'root2', 'f'), 'x');
    const paths = [
      '',
      '\0',
      'a\0b',
      join(base, 'secret'),
      '../secret',
      '../none',
      'x/../../none',
      '..',
      '../root2/f',
    ];
    for (const path of paths) {
      await expect(source().inspect(file(path), never), path).rejects.toMatchObject({
        code: 'SourceOutsideRoot',
      });
    }
  });

  it('refuses half a character, which would name another file', async () => {
    await writeFile(join(root, '\ufffd'), 'x');
    await expect(source().inspect(file('\ud800'), never)).rejects.toMatchObject({ code: 'SourceInvalid' });
  });

  it('follows links that stay inside, and none that lead out', async () => {
    await mkdir(join(root, 'sub'));
    await writeFile(join(root, 'sub', 'f'), 'inside');
    await writeFile(join(base, 'secret'), 'x');
    await symlink('sub/f', join(root, 'link'));
    await symlink('sub', join(root, 'folder'));
    await symlink('.', join(root, 'self'));
    await symlink('../secret', join(root, 'out'));
    await symlink(base, join(root, 'up'));
    for (const path of ['link', 'folder/f', 'self/self/link']) expect((await pin(path)).size).toBe(6);
    for (const path of ['out', 'up/secret', 'up/none', 'self/up/no/ne', 'folder/../../secret']) {
      await expect(source().inspect(file(path), never), path).rejects.toMatchObject({
        code: 'SourceOutsideRoot',
      });
    }
    await expect(source().inspect(file('self/none'), never)).rejects.toMatchObject({
      code: 'SourceNotFound',
    });
  });

  it('takes a root that is a link, and the root /', async () => {
    await writeFile(join(root, 'f'), '12');
    await symlink(root, join(base, 'alias'));
    const sources = createFileSource({ alias: join(base, 'alias'), host: '/' });
    expect((await sources.inspect(file('f', 'alias'), never)).pinned.size).toBe(2);
    expect((await sources.inspect(file(join(root, 'f').slice(1), 'host'), never)).pinned.size).toBe(2);
    await expect(sources.inspect(file('../etc', 'host'), never)).rejects.toMatchObject({
      code: 'SourceOutsideRoot',
    });
  });

  it('parks when the root is missing, no folder or unknown', async () => {
    await writeFile(join(base, 'plain'), 'x');
    const sources = createFileSource({ missing: join(base, 'none'), plain: join(base, 'plain') });
    for (const name of ['missing', 'plain', 'other', 'constructor']) {
      const failure = sources.inspect(file('f', name), never);
      await expect(failure, name).rejects.toMatchObject({ code: 'RootUnavailable', retry: 'park' });
    }
  });

  it('refuses what is no file, without waiting for a writer', async () => {
    await mkdir(join(root, 'folder'));
    execFileSync('mkfifo', [join(root, 'fifo')]);
    const server = createServer();
    await new Promise<void>((done) => server.listen(join(root, 'socket'), done));
    for (const path of ['folder', 'fifo', 'socket', '.']) {
      await expect(source().inspect(file(path), never), path).rejects.toMatchObject({
        code: 'SourceInvalid',
      });
    }
    const device = createFileSource({ host: '/' }).inspect(file('dev/null', 'host'), never);
    await expect(device).rejects.toMatchObject({
      code: 'SourceInvalid',
      message: saying('device'),
    });
    await new Promise((done) => server.close(done));
  });

  it.skipIf(process.platform !== 'linux')('refuses a file that says 0 bytes and holds some', async () => {
    const version = createFileSource({ host: '/' }).inspect(file('proc/version', 'host'), never);
    await expect(version).rejects.toMatchObject({ code: 'SourceInvalid' });
  });

  it('says who may not read', async () => {
    await writeFile(join(root, 'f'), 'x');
    await mkdir(join(root, 'closed'));
    await writeFile(join(root, 'closed', 'f'), 'x');
    const pinned = await pin('f');
    await chmod(join(root, 'f'), 0);
    await chmod(join(root, 'closed'), 0);
    await asNobody(async () => {
      for (const path of ['f', 'closed/f']) {
        await expect(source().inspect(file(path), never), path).rejects.toMatchObject({
          code: 'SourceDenied',
        });
      }
      await expect(source().open(pinned, never)).rejects.toMatchObject({ code: 'SourceDenied' });
    });
    await chmod(root, 0);
    await asNobody(() =>
      expect(source().inspect(file('f'), never)).rejects.toMatchObject({ code: 'RootUnavailable' }),
    );
    await chmod(root, 0o755);
  });
});

describe('a swap between check and open', () => {
  it('of a folder for a link out of the root is caught', async () => {
    await mkdir(join(root, 'sub'));
    await mkdir(join(base, 'elsewhere'));
    await writeFile(join(root, 'sub', 'f'), 'mine');
    await writeFile(join(base, 'elsewhere', 'f'), 'secret');
    const beforeOpen = async (): Promise<void> => {
      await rename(join(root, 'sub'), join(root, 'old'));
      await symlink(join(base, 'elsewhere'), join(root, 'sub'));
    };
    const swapped = createFileSource({ data: root }, { beforeOpen }).inspect(file('sub/f'), never);
    await expect(swapped).rejects.toMatchObject({ code: 'SourceOutsideRoot' });
  });

  it('of the file for a link is caught', async () => {
    await writeFile(join(root, 'f'), 'mine');
    await writeFile(join(base, 'secret'), 'x');
    const beforeOpen = async (): Promise<void> => {
      await rm(join(root, 'f'));
      await symlink(join(base, 'secret'), join(root, 'f'));
    };
    const swapped = createFileSource({ data: root }, { beforeOpen }).inspect(file('f'), never);
    await expect(swapped).rejects.toMatchObject({ code: 'SourceOutsideRoot' });
  });

  it('of the file for a FIFO does not hang', async () => {
    await writeFile(join(root, 'f'), 'mine');
    const beforeOpen = async (): Promise<void> => {
      await rm(join(root, 'f'));
      execFileSync('mkfifo', [join(root, 'f')]);
    };
    const swapped = createFileSource({ data: root }, { beforeOpen }).inspect(file('f'), never);
    await expect(swapped).rejects.toMatchObject({ code: 'SourceInvalid' });
  });
});

describe('a pinned file', () => {
  const changes: [string, (path: string) => Promise<unknown>][] = [
    ['grown', (path) => writeFile(path, 'x', { flag: 'a' })],
    ['truncated', (path) => truncate(path, 3)],
    ['written to in place', (path) => overwrite(path)],
    ['replaced by its equal', (path) => replaceByEqual(path)],
    ['deleted', (path) => rm(path)],
    ['turned into a folder', (path) => rm(path).then(() => mkdir(path))],
  ];

  it.each(changes)('%s is not opened', async (_how, change) => {
    await writeFile(join(root, 'f'), 'contents');
    await utimes(join(root, 'f'), AT, AT);
    const pinned = await pin('f');
    await change(join(root, 'f'));
    await expect(source().open(pinned, never)).rejects.toMatchObject({ code: 'SourceChanged' });
  });

  it.each(changes)('%s while it is open fails the check', async (_how, change) => {
    await writeFile(join(root, 'f'), 'contents');
    await utimes(join(root, 'f'), AT, AT);
    const opened = await source().open(await pin('f'), never);
    await opened.check(never);
    await change(join(root, 'f'));
    await expect(opened.check(never)).rejects.toMatchObject({ code: 'SourceChanged' });
    await opened.close();
  });

  it('waits for its root when that went away', async () => {
    await writeFile(join(root, 'f'), 'contents');
    const pinned = await pin('f');
    const opened = await source().open(pinned, never);
    await rename(root, join(base, 'unmounted'));
    await expect(opened.check(never)).rejects.toMatchObject({ code: 'RootUnavailable' });
    await expect(source().open(pinned, never)).rejects.toMatchObject({ code: 'RootUnavailable' });
    await rename(join(base, 'unmounted'), root);
    await opened.check(never);
    await opened.close();
  });

  it('goes on under another device number, as after a mount', async () => {
    await writeFile(join(root, 'f'), 'contents');
    const pinned = await pin('f');
    const opened = await source().open({ ...pinned, inode: `1${pinned.inode}` }, never);
    await opened.check(never);
    await opened.close();
    await expect(source().open({ ...pinned, inode: `${pinned.inode}1` }, never)).rejects.toMatchObject({
      code: 'SourceChanged',
    });
  });

  it('gives the bytes at every offset, many reads at once', async () => {
    const bytes = randomBytes(3 * 1024 * 1024 + 17);
    await writeFile(join(root, 'f'), bytes);
    const opened = await source().open(await pin('f'), never);
    const ranges = [
      [0, 1],
      [0, bytes.length],
      [1_000_000, 2_000_000],
      [bytes.length - 1, 1],
      [5, 0],
    ] as const;
    await Promise.all(
      ranges.map(async ([offset, length]) => {
        const target = Buffer.alloc(length);
        await opened.read(offset, target, never);
        expect(target.equals(bytes.subarray(offset, offset + length))).toBe(true);
        expect((await collect(await opened.stream(offset, length, never))).equals(target)).toBe(true);
      }),
    );
    const rest = await collect(await opened.stream(2_000_000, undefined, never));
    expect(rest.equals(bytes.subarray(2_000_000))).toBe(true);
    await opened.close();
  });

  it('reads nothing past its end', async () => {
    await writeFile(join(root, 'f'), 'contents');
    const opened = await source().open(await pin('f'), never);
    await truncate(join(root, 'f'), 4);
    await expect(opened.read(0, Buffer.alloc(8), never)).rejects.toMatchObject({ code: 'SourceChanged' });
    await expect(collect(await opened.stream(0, 8, never))).rejects.toMatchObject({ code: 'SourceChanged' });
    await opened.close();
  });

  it('stops at the signal, with its reason', async () => {
    await writeFile(join(root, 'f'), 'contents');
    const opened = await source().open(await pin('f'), never);
    const stop = new AbortController();
    stop.abort(new Error('stopped'));
    await expect(opened.read(0, Buffer.alloc(8), stop.signal)).rejects.toThrow('stopped');
    await expect(opened.check(stop.signal)).rejects.toThrow('stopped');
    await expect(collect(await opened.stream(0, 8, stop.signal))).rejects.toThrow('stopped');
    await expect(source().inspect(file('f'), stop.signal)).rejects.toThrow('stopped');
    await opened.close();
  });
});

/** Same length, other bytes: only the modification time tells. */
async function overwrite(path: string): Promise<void> {
  const handle = await open(path, 'r+');
  await handle.write('CONTENTS', 0);
  await handle.close();
  // The clock of the file system may tick slower than this test.
  await utimes(path, new Date(), new Date(Date.now() + 1000));
}

/** Same bytes, same modification time, another inode. */
async function replaceByEqual(path: string): Promise<void> {
  await writeFile(`${path}.new`, 'contents');
  await utimes(`${path}.new`, AT, AT);
  await rename(`${path}.new`, path);
}

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Permissions do not hold the superuser back, so drop to someone whom they do. */
async function asNobody(step: () => Promise<void>): Promise<void> {
  if (process.geteuid?.() !== 0) return step();
  process.seteuid?.('nobody');
  try {
    await step();
  } finally {
    process.seteuid?.(0);
  }
}
