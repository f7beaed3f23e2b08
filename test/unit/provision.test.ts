import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isLock, tryLock } from '../../src/dev/lock.js';
import { cacheFolder, provision } from '../../src/dev/provision.js';
import { toolFor } from '../../src/dev/tools.js';

const GATEWAY = toolFor('versitygw');
const SAYS_GATEWAY = '#!/bin/sh\necho "Version  : test"\n';

let root: string;
let bin: string;
let env: NodeJS.ProcessEnv;
let lines: string[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'longshore-provision-'));
  bin = join(root, 'path');
  await mkdir(bin);
  lines = [];
  env = {
    PATH: `${bin}:/usr/bin:/bin`,
    LONGSHORE_CACHE_DIR: join(root, 'cache'),
    // Nothing listens there: every download fails at once, wherever the tests run.
    HTTPS_PROXY: 'http://127.0.0.1:9',
  };
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

async function program(path: string, text: string): Promise<string> {
  await writeFile(path, text, { mode: 0o755 });
  return path;
}

/** A `go` that takes `seconds`, counts its runs and installs a gateway. */
async function fakeGo(seconds = 0): Promise<void> {
  const install = `printf '#!/bin/sh\\necho "Version  : built"\\n' > "$GOBIN/versitygw"; chmod 755 "$GOBIN/versitygw"`;
  await program(join(bin, 'go'), `#!/bin/sh\necho "$@" >> ${root}/runs\nsleep ${seconds}\n${install}\n`);
}

async function goRuns(): Promise<string[]> {
  return (await readFile(join(root, 'runs'), 'utf8')).trim().split('\n');
}

const get = (more: { signal?: AbortSignal } = {}): Promise<string> =>
  provision('versitygw', { env, log: (line) => lines.push(line), ...more });

const cached = (): string => join(root, 'cache', 'bin', `versitygw-${GATEWAY.version}`, 'versitygw');

describe('where a tool is looked for', () => {
  test('a path given by environment comes first, and must be right', async () => {
    await program(join(bin, 'versitygw'), SAYS_GATEWAY);
    env['LONGSHORE_VERSITYGW_BIN'] = await program(join(root, 'mine'), SAYS_GATEWAY);
    expect(await get()).toBe(join(root, 'mine'));

    await program(join(root, 'mine'), '#!/bin/sh\necho "something else"\n');
    await expect(get()).rejects.toMatchObject({
      code: 'ToolMissing',
      message: expect.stringContaining('LONGSHORE_VERSITYGW_BIN') as string,
    });
  });

  test('PATH comes next; a program of the same name that is another one is passed over', async () => {
    const other = join(root, 'other');
    await mkdir(other);
    await program(join(other, 'temporal'), '#!/bin/sh\necho "temporal 3, a calendar"\n');
    const real = await program(
      join(bin, 'temporal'),
      '#!/bin/sh\necho "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)"\n',
    );
    env['PATH'] = `${other}:${env['PATH']}`;
    expect(await provision('temporal', { env, log: (line) => lines.push(line) })).toBe(real);
    expect(lines).toEqual([expect.stringContaining(`${other}/temporal is passed over`)]);
  });

  test('the cache answers without a word', async () => {
    await mkdir(join(cached(), '..'), { recursive: true });
    await program(cached(), SAYS_GATEWAY);
    expect(await get()).toBe(cached());
    expect(lines).toEqual([]);
  });

  test('the cache is where the user has it', () => {
    expect(cacheFolder({ LONGSHORE_CACHE_DIR: '/a', XDG_CACHE_HOME: '/b', HOME: '/c' })).toBe('/a');
    expect(cacheFolder({ XDG_CACHE_HOME: '/b', HOME: '/c' })).toBe('/b/longshore');
    expect(cacheFolder({ XDG_CACHE_HOME: 'relative', HOME: '/c' })).toBe('/c/.cache/longshore');
  });
});

describe('how a tool is had', () => {
  test('go install follows a download that fails, with progress, and fills the cache once', async () => {
    await fakeGo(2.2);
    expect(await get()).toBe(cached());
    expect(await goRuns()).toEqual([
      `install -ldflags=-s -w github.com/versity/versitygw/cmd/versitygw@${GATEWAY.version}`,
    ]);
    expect(lines.some((line) => line.startsWith('download versitygw') && line.includes('github.com:'))).toBe(
      true,
    );
    expect(lines.some((line) => / … 2 s$/.test(line))).toBe(true);
    await get();
    expect(await goRuns()).toHaveLength(1);
  });

  test('two at once do one build', async () => {
    await fakeGo(0.6);
    expect(await Promise.all([get(), get()])).toEqual([cached(), cached()]);
    expect(await goRuns()).toHaveLength(1);
    expect(lines.some((line) => line.startsWith('waiting for process'))).toBe(true);
  });

  test('the lock and the draft of an installer that was killed do not matter', async () => {
    await fakeGo();
    const folder = join(root, 'cache', 'bin');
    await mkdir(join(folder, `.draft-versitygw-${GATEWAY.version}-killed`), { recursive: true });
    await writeFile(join(folder, `versitygw-${GATEWAY.version}.lock`), JSON.stringify({ pid: 2 ** 22 + 1 }));
    expect(await get()).toBe(cached());
    expect(await readdir(folder)).toEqual([`versitygw-${GATEWAY.version}`]);
  });

  test('a build that brings something that does not run is not kept', async () => {
    await program(
      join(bin, 'go'),
      '#!/bin/sh\nprintf "#!/bin/sh\\nexit 3\\n" > "$GOBIN/versitygw"; chmod 755 "$GOBIN/versitygw"\n',
    );
    await expect(get()).rejects.toMatchObject({ code: 'ToolMissing' });
    expect(await readdir(join(root, 'cache', 'bin'))).toEqual([]);
  });

  test('without a toolchain the error names every way out, and what was tried', async () => {
    env['PATH'] = bin;
    const error = await get().catch((reason: unknown) => reason as Error);
    expect(error).toMatchObject({ code: 'ToolMissing' });
    const { message } = error as Error;
    for (const way of [
      'LONGSHORE_VERSITYGW_BIN',
      'on PATH',
      cached(),
      'github.com',
      'install Go',
      'go is not on PATH',
    ]) {
      expect(message).toContain(way);
    }
  });

  test('an abort ends the build and what it started, and leaves nothing', async () => {
    await program(join(bin, 'go'), `#!/bin/sh\nsleep 60 &\necho $! > ${root}/child\nwait\n`);
    const abort = new AbortController();
    const call = get({ signal: abort.signal });
    await expect.poll(() => existsSync(join(root, 'child')), { timeout: 5000 }).toBe(true);
    await expect.poll(async () => await readFile(join(root, 'child'), 'utf8')).toMatch(/\d+\n/);
    abort.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    const child = Number(await readFile(join(root, 'child'), 'utf8'));
    await expect.poll(() => existsSync(`/proc/${child}/cwd`)).toBe(false);
    expect(await readdir(join(root, 'cache', 'bin'))).toEqual([]);
  });
});

describe('the lock', () => {
  test('names a living holder, also to one that shares its process; a released one is free', async () => {
    const path = join(root, 'lock');
    const first = await tryLock(path);
    expect(isLock(first)).toBe(true);
    expect(await tryLock(path)).toMatchObject({ pid: process.pid });
    if (isLock(first)) await first.release();
    expect(isLock(await tryLock(path))).toBe(true);
  });

  test('a pid that another process has now holds nothing', async () => {
    const path = join(root, 'lock');
    await writeFile(path, JSON.stringify({ pid: process.pid, start: 'long ago' }));
    expect(isLock(await tryLock(path))).toBe(true);
  });

  test('of many at once, one gets a stale one', async () => {
    const path = join(root, 'lock');
    await writeFile(path, 'damaged');
    const answers = await Promise.all(Array.from({ length: 20 }, () => tryLock(path)));
    expect(answers.filter(isLock)).toHaveLength(1);
  });
});
