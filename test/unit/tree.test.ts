import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, realpath } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFilter } from '../../src/infra/sources/filter.js';
import { openTree } from '../../src/infra/sources/tree-root.js';
import type { TreeEntry, TreeOptions } from '../../src/infra/sources/tree.js';
import type { JobFilter } from '../../src/core/jobs.js';

interface Asked extends Partial<Pick<TreeOptions, 'after' | 'follow' | 'emptyFolders'>> {
  filter?: JobFilter;
  path?: string;
}

let base: string;
let root: string;

beforeEach(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), 'tree-')));
  root = join(base, 'root');
  mkdirSync(root);
});
// Node's own cannot reach what is deeper than a path may be long.
afterEach(() => void execFileSync('rm', ['-rf', base]));

function put(...paths: (string | Buffer)[]): void {
  for (const path of paths) {
    const at = Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path)]);
    const text = at.toString('latin1');
    mkdirSync(Buffer.from(dirname(text), 'latin1'), { recursive: true });
    if (text.endsWith('/')) mkdirSync(at, { recursive: true });
    else writeFileSync(at, 'x');
  }
}

const open = ({ filter = {}, path = '', ...rest }: Asked = {}) =>
  openTree(
    { data: root },
    { root: 'data', path },
    { after: null, follow: false, emptyFolders: false, filter: createFilter(filter, Date.now()), ...rest },
  );
const walk = async (asked?: Asked): Promise<TreeEntry[]> => [...(await open(asked))];
const paths = async (asked?: Asked): Promise<string[]> => (await walk(asked)).map(({ path }) => path);
const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

describe('the order of a tree', () => {
  const NAMES = [
    ...[
      'a/x',
      'a/b/c',
      'a!',
      'a!!/1',
      'a!!!',
      'a-b',
      'a-b.d/q',
      'a0',
      'a.txt',
      'a ',
      'ab/a',
      'b/a/a',
      'b/a-',
    ],
    ...[
      'é',
      'e\u0301',
      'z',
      '😀/1',
      '\uffee',
      '日本/語',
      'new\nline',
      'back\\slash',
      '%',
      '~',
      'Z',
      '\u0001',
    ],
  ];

  it('is that of the bytes of its paths', async () => {
    put(...NAMES);
    const expected = [...NAMES].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect(await paths()).toEqual(expected);
  });

  it('goes on after any path, there or not', async () => {
    put(...NAMES, 'empty/', 'a!!/e/');
    const all = await paths({ emptyFolders: true });
    expect(all).toContain('empty/');
    const cursors = [
      ...all,
      ...all.map((path) => `${path}!`),
      'a',
      'a/',
      'a/b',
      'b/',
      'm',
      'a!!/',
      'zz',
      'b/a/zzz',
    ];
    for (const after of cursors) {
      const rest = all.filter((path) => Buffer.compare(Buffer.from(path), Buffer.from(after)) > 0);
      expect(await paths({ after, emptyFolders: true }), JSON.stringify(after)).toEqual(rest);
    }
  });

  it('holds for bytes that are no UTF-8, which are shown as \\xHH', async () => {
    put('\\xFE', '\\xFF', 'caf\u00e9', 'z/a', '\\xFF\\x00/1');
    put(Buffer.from([0xff]), Buffer.from([0x63, 0x61, 0x66, 0xe9]), Buffer.from([0x64, 0xc3, 0x2f, 0x66]));
    const found = await walk();
    const bytes = found.map(({ path }) => path);
    expect(bytes).toEqual([...bytes].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
    expect(new Set(bytes).size).toBe(8);
    expect(found.filter(({ kind }) => kind === 'failed').map(({ path }) => path)).toEqual([
      '\\xFF\\x00\\x00',
      'caf\\xE9',
      'd\\xC3/f',
    ]);
    expect(found.find(({ path }) => path === 'caf\\xE9')).toMatchObject({ code: 'SourceInvalid', size: 1 });
  });
});

describe('entries', () => {
  it('of files have size and nanoseconds', async () => {
    put('a');
    execFileSync('touch', ['-d', '2020-01-02T03:04:05.123456789Z', join(root, 'a')]);
    expect(await walk()).toMatchObject([
      { kind: 'file', path: 'a', order: 'a', size: 1, mtimeNs: 1577934245123456789n },
    ]);
  });

  it('of empty folders only when asked', async () => {
    put('e/', 'f/g/', 'h/x', 'ü/');
    expect(await paths()).toEqual(['h/x']);
    expect(await paths({ emptyFolders: true })).toEqual(['e/', 'f/g/', 'h/x', 'ü/']);
    expect(await paths({ emptyFolders: true, filter: { exclude: ['f'] } })).toEqual(['e/', 'h/x', 'ü/']);
    expect(await paths({ emptyFolders: true, path: 'e' })).toEqual([]);
  });

  it('of special files say what they are', async () => {
    execFileSync('mkfifo', [join(root, 'fifo')]);
    const server = createServer().listen(join(root, 'sock'));
    await new Promise((resolve) => server.once('listening', resolve));
    expect(await walk()).toMatchObject([
      { kind: 'skipped', path: 'fifo', reason: 'a FIFO' },
      { kind: 'skipped', path: 'sock', reason: 'a socket' },
    ]);
    await new Promise((resolve) => server.close(resolve));
  });

  it('of another size are told from what is not there', async () => {
    put('a', 'b.txt');
    expect(await walk({ filter: { minSize: 5, exclude: ['b*'] } })).toMatchObject([
      { kind: 'unfit', path: 'a' },
    ]);
  });

  it('leave folders out that the filter does not enter', async () => {
    put('a/b/c.txt', 'a/d', 'node_modules/x/y', 'q/node_modules/z');
    expect(await paths({ filter: { exclude: ['**/node_modules'] } })).toEqual(['a/b/c.txt', 'a/d']);
    expect(await paths({ filter: { include: ['a/b/*'] } })).toEqual(['a/b/c.txt']);
  });

  it('are below the folder that was asked for', async () => {
    put('a/b/c', 'a/b/d/e', 'a/x', 'b');
    expect(await paths({ path: 'a/b' })).toEqual(['c', 'd/e']);
    await expect(walk({ path: 'none' })).rejects.toMatchObject({ code: 'SourceNotFound' });
    await expect(walk({ path: 'b' })).rejects.toMatchObject({ code: 'SourceNotFound' });
    await expect(walk({ path: '..' })).rejects.toMatchObject({ code: 'SourceOutsideRoot' });
    rmSync(root, { recursive: true });
    await expect(walk()).rejects.toMatchObject({ code: 'RootUnavailable' });
  });
});

describe('links', () => {
  beforeEach(() => {
    put('real/f', 'real/deep/g', 'z');
    writeFileSync(join(base, 'secret'), 'secret');
    mkdirSync(join(base, 'elsewhere'));
    writeFileSync(join(base, 'elsewhere', 'h'), 'x');
  });

  it('are skipped by default', async () => {
    symlinkSync('real', join(root, 'folder'));
    symlinkSync('z', join(root, 'file'));
    expect((await walk()).filter(({ kind }) => kind === 'skipped')).toMatchObject([
      { path: 'file', reason: 'a symbolic link' },
      { path: 'folder', reason: 'a symbolic link' },
    ]);
  });

  it('are followed inside the root, when asked', async () => {
    symlinkSync('real', join(root, 'folder'));
    symlinkSync('folder/deep/g', join(root, 'file'));
    const found = await walk({ follow: true });
    const all = ['file', 'folder/deep/g', 'folder/f', 'real/deep/g', 'real/f', 'z'];
    expect(found.map(({ path }) => path)).toEqual(all);
    expect(found.every(({ kind, size }) => kind === 'file' && size === 1)).toBe(true);
    for (const after of all) {
      expect(await paths({ follow: true, after })).toEqual(all.slice(all.indexOf(after) + 1));
    }
    expect(await paths({ follow: true, path: 'real' })).toEqual(['deep/g', 'f']);
  });

  it('may lead out of the folder, but not out of the root', async () => {
    symlinkSync('../z', join(root, 'real/up'));
    symlinkSync('../../secret', join(root, 'real/out'));
    symlinkSync(join(base, 'elsewhere'), join(root, 'real/out2'));
    symlinkSync('none', join(root, 'real/none'));
    expect(await walk({ follow: true, path: 'real' })).toMatchObject([
      { path: 'deep/g', kind: 'file' },
      { path: 'f', kind: 'file' },
      { path: 'none', kind: 'skipped', code: 'SourceNotFound' },
      { path: 'out', kind: 'skipped', code: 'SourceOutsideRoot' },
      { path: 'out2', kind: 'skipped', code: 'SourceOutsideRoot' },
      { path: 'up', kind: 'file' },
    ]);
  });

  it('that lead in a circle end it', async () => {
    symlinkSync('..', join(root, 'real/deep/up'));
    symlinkSync('.', join(root, 'self'));
    symlinkSync('loop', join(root, 'loop'));
    const found = await walk({ follow: true });
    expect(found.filter(({ kind }) => kind === 'skipped')).toMatchObject([
      { path: 'loop', code: 'SourceNotFound' },
      { path: 'real/deep/up', reason: 'it leads to a folder that holds it' },
      { path: 'self', reason: 'it leads to a folder that holds it' },
    ]);
    symlinkSync('real/deep', join(root, 'a'));
    symlinkSync('../a', join(root, 'real/b'));
    expect((await paths({ follow: true })).length).toBeLessThan(40);
  });
});

describe('what changes under the walk', () => {
  it('is seen as it is when its turn comes', async () => {
    put('a/1', 'b/1', 'c/1', 'd', 'e');
    const seen: string[] = [];
    for (const { path } of await open()) {
      seen.push(path);
      if (path !== 'a/1') continue;
      rmSync(join(root, 'b'), { recursive: true });
      rmSync(join(root, 'c'), { recursive: true });
      symlinkSync(base, join(root, 'c'));
      rmSync(join(root, 'd'));
    }
    expect(seen).toEqual(['a/1', 'c', 'e']);
  });

  it('does not lead out when a folder on the way becomes a link', async () => {
    put('a/1', 'a/s/2', 'a/s/3');
    mkdirSync(join(base, 'elsewhere/s'), { recursive: true });
    writeFileSync(join(base, 'elsewhere/s/9'), 'x');
    const seen: string[] = [];
    for (const { path } of await open()) {
      seen.push(path);
      if (path !== 'a/1') continue;
      execFileSync('mv', [join(root, 'a'), join(base, 'moved')]);
      symlinkSync(join(base, 'elsewhere'), join(root, 'a'));
    }
    expect(seen).toEqual(['a/1', 'a/s/2', 'a/s/3']);
  });

  it('leaves no descriptor open, whenever it ends', async () => {
    put('a/b/c/d', 'a/b/e', 'f');
    const before = openDescriptors();
    await walk();
    const tree = await open();
    for (const { path } of tree) if (path === 'a/b/c/d') break;
    expect(openDescriptors()).toBe(before);
    await expect(open({ path: 'none' })).rejects.toThrow();
    expect(openDescriptors()).toBe(before);
  });
});

it('goes deeper than a path may be long', async () => {
  const name = 'n'.repeat(200);
  execFileSync('sh', [
    '-c',
    `cd "$0"; for i in $(seq 30); do mkdir ${name}; cd -P ${name}; done; echo x > end`,
    root,
  ]);
  const found = await paths();
  expect(found).toHaveLength(1);
  expect(found[0]?.length).toBe(201 * 30 + 3);
});
