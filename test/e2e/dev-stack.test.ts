/** The embedded stack as a person has it: a process, its folder, and nothing left when it is gone. */
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { DevReady } from '../../src/dev/dev.js';
import { processStart } from '../../src/dev/identity.js';
import { startStack } from '../../src/dev/stack.js';
import { DevStateSchema } from '../../src/infra/dev-state.js';
import type { DevState } from '../../src/infra/dev-state.js';

const CHILD = fileURLToPath(new URL('./dev-child.ts', import.meta.url));
const STUB_WORKER = `
import { createServer } from 'node:http';
const server = createServer((request, response) => response.writeHead(request.url === '/ready' ? 200 : 404).end());
server.listen(Number(process.env.LONGSHORE_HEALTH_PORT), '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
console.log('stub worker with', process.argv.slice(2).join(' '));
`;

let dataDir: string;
let stub: string;
const started: Dev[] = [];

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'longshore-dev-'));
  // PostgreSQL's own user has to get in when the tests run as root.
  await chmod(dataDir, 0o755);
  stub = join(dataDir, 'stub.mjs');
  await writeFile(stub, STUB_WORKER);
});

afterEach(async () => {
  for (const dev of started.splice(0)) await dev.end();
});

afterAll(async () => {
  await rm(dataDir, { recursive: true, force: true });
});

class Dev {
  stdout = '';
  stderr = '';
  readonly exited: Promise<number | NodeJS.Signals | null>;
  readonly #pids = new Set<number>();

  private constructor(readonly child: ChildProcess) {
    child.stdout?.on('data', (chunk: Buffer) => (this.stdout += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()));
    this.exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)));
  }

  static launch(env: NodeJS.ProcessEnv = {}, ...args: string[]): Dev {
    const { DATABASE_URL: _, ...rest } = process.env;
    const child = spawn(process.execPath, ['--import', 'tsx', CHILD, dataDir, ...args], {
      env: { ...rest, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const dev = new Dev(child);
    started.push(dev);
    return dev;
  }

  static async up(...args: string[]): Promise<{ dev: Dev; ready: DevReady }> {
    const dev = Dev.launch({}, ...args);
    await until(
      () => dev.stdout.includes('\n') || dev.child.exitCode !== null,
      () => dev.stderr,
    );
    if (dev.stdout === '') throw new Error(`dev did not start: ${dev.stderr}`);
    const ready = JSON.parse(dev.stdout) as DevReady;
    dev.remember(Object.values(ready.pids));
    return { dev, ready };
  }

  remember(pids: Iterable<number>): void {
    for (const pid of pids) this.#pids.add(pid);
  }

  get living(): number[] {
    return [...this.#pids].filter((pid) => processStart(pid) !== undefined);
  }

  async end(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
    await this.exited;
    await until(
      () => this.living.length === 0,
      () => `left: ${this.living.join()}`,
    );
  }
}

async function until(
  condition: () => boolean | Promise<boolean>,
  otherwise: () => string = () => '',
): Promise<void> {
  for (const began = performance.now(); performance.now() - began < 20_000; await delay(25)) {
    if (await condition()) return;
  }
  throw new Error(`waited too long; ${otherwise()}`);
}

/** Every part has the folder among its arguments, or in its program's. */
function processesOfFolder(): string[] {
  const lines = execFileSync('ps', ['-axww', '-o', 'args='], { encoding: 'utf8' }).split('\n');
  return lines.filter((line) => line.includes(dataDir));
}

async function readState(): Promise<DevState> {
  return DevStateSchema.parse(JSON.parse(await readFile(join(dataDir, 'dev.json'), 'utf8')));
}

async function withS3<T>(work: (client: S3Client) => Promise<T>): Promise<T> {
  const { endpoint, region, ...credentials } = (await readState()).s3;
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true });
  return await work(client).finally(() => client.destroy());
}

async function readObject(): Promise<string | undefined> {
  return await withS3(async (client) => {
    const answer = await client.send(new GetObjectCommand({ Bucket: 'uploads', Key: 'kept' }));
    return await answer.Body?.transformToString();
  });
}

async function sql(text: string): Promise<unknown[]> {
  const client = new pg.Client((await readState()).postgres.url);
  await client.connect();
  return await client
    .query(text)
    .then(({ rows }) => rows as unknown[])
    .finally(() => client.end());
}

async function withTemporal<T>(work: (client: Client) => Promise<T>): Promise<T> {
  const connection = await Connection.connect({ address: (await readState()).temporal.address });
  return await work(new Client({ connection })).finally(() => connection.close());
}

async function workflowState(): Promise<string> {
  return await withTemporal(
    async (client) => (await client.workflow.getHandle('kept').describe()).status.name,
  );
}

describe('the embedded stack', { timeout: 40_000 }, () => {
  let ports: { temporal: string; s3: string };

  test('Ctrl-C stops every part and marks the state', async () => {
    const { dev, ready } = await Dev.up();
    expect(Object.keys(ready.pids).sort()).toEqual(['dev', 'guard', 'postgres', 's3', 'temporal']);
    expect(dev.living).toHaveLength(5);
    expect((await stat(join(dataDir, 'dev.json'))).mode & 0o777).toBe(0o600);
    expect((await stat(join(dataDir, 'secrets.json'))).mode & 0o777).toBe(0o600);
    const ui = await fetch(ready.temporal.ui);
    expect(await ui.text()).toContain('<html');
    await withS3((client) =>
      client.send(new PutObjectCommand({ Bucket: 'uploads', Key: 'kept', Body: 'bytes' })),
    );
    await sql('CREATE TABLE kept AS SELECT 42 AS answer');
    await withTemporal((client) =>
      client.workflow.start('waits', { workflowId: 'kept', taskQueue: 'nobody-polls', args: [] }),
    );
    ports = { temporal: ready.temporal.address, s3: ready.s3.endpoint };

    dev.child.kill('SIGINT');
    expect(await dev.exited).toBe(0);
    expect(dev.living).toEqual([]);
    expect(await readState()).toMatchObject({ status: 'stopped', pids: {} });
  });

  test('a second start finds the data of the first at its addresses, and a third one is refused', async () => {
    const { dev, ready } = await Dev.up();
    expect({ temporal: ready.temporal.address, s3: ready.s3.endpoint }).toEqual(ports);
    expect(await readObject()).toBe('bytes');
    expect(await sql('SELECT answer FROM kept')).toEqual([{ answer: 42 }]);
    expect(await workflowState()).toBe('RUNNING');
    await withTemporal(async (client) => {
      const { customAttributes } = await client.connection.operatorService.listSearchAttributes({
        namespace: 'default',
      });
      expect(Object.keys(customAttributes ?? {})).toContain('LongshoreState');
    });

    const third = startStack({
      dataDir,
      worker: false,
      cliEntry: '',
      env: process.env,
      log: () => undefined,
    });
    await expect(third).rejects.toMatchObject({
      code: 'Conflict',
      message: expect.stringContaining(ports.temporal) as string,
    });
    expect(dev.living).toHaveLength(5);
    expect(await readObject()).toBe('bytes');
  });

  test('kill -9 of the parent leaves no process, and the next start recovers', async () => {
    const { dev } = await Dev.up(stub);
    expect(dev.living).toHaveLength(6);
    await sql('INSERT INTO kept VALUES (43)');
    dev.child.kill('SIGKILL');
    await dev.exited;
    await until(
      () => dev.living.length === 0,
      () => `left: ${dev.living.join()}`,
    );

    const next = await Dev.up();
    expect(await sql('SELECT answer FROM kept ORDER BY 1')).toEqual([{ answer: 42 }, { answer: 43 }]);
    expect(await workflowState()).toBe('RUNNING');

    // The guard killed with it: the parts live on, and the next start ends them before it touches their files.
    process.kill(next.ready.pids['guard'] ?? 0, 'SIGKILL');
    next.dev.child.kill('SIGKILL');
    await next.dev.exited;
    expect(next.dev.living).toHaveLength(3);
    const last = await Dev.up();
    expect(next.dev.living).toEqual([]);
    expect(last.dev.stderr).toContain('of an earlier run');

    // The guard killed first: another one takes its place.
    process.kill(last.ready.pids['guard'] ?? 0, 'SIGKILL');
    await until(() => last.dev.stderr.includes('another one watches now'));
    last.dev.child.kill('SIGKILL');
    await last.dev.exited;
    await until(
      () => last.dev.living.length === 0,
      () => `left: ${last.dev.living.join()}`,
    );
  });

  test('a part that is killed is reported and started again; a server that ends again stops the stack', async () => {
    const { dev, ready } = await Dev.up(stub);
    for (const name of ['worker', 's3']) {
      const pid = ready.pids[name] ?? 0;
      process.kill(pid, 'SIGKILL');
      await until(
        () => dev.stderr.includes(`${name} is up again`),
        () => dev.stderr,
      );
      expect(dev.stderr).toContain(`${name} (pid ${pid}) ended by itself: signal SIGKILL`);
    }
    expect(dev.stderr).toContain('| stub worker with worker --data-dir');
    const { pids } = await readState();
    dev.remember(Object.values(pids));
    expect(pids['s3']).not.toBe(ready.pids['s3']);
    expect(await readObject()).toBe('bytes');

    process.kill(pids['s3'] ?? 0, 'SIGKILL');
    expect(await dev.exited).toBe(1);
    expect(dev.stderr).toContain('s3 ended again within a minute');
    expect(dev.living).toEqual([]);
  });

  test('a start that fails stops what it began and gives the folder back', async () => {
    const broken = Dev.launch({ LONGSHORE_VERSITYGW_BIN: '/nowhere/versitygw' });
    expect(await broken.exited).toBe(9);
    expect(broken.stderr).toContain('LONGSHORE_VERSITYGW_BIN=/nowhere/versitygw is not usable');
    expect(processesOfFolder()).toEqual([]);
    await expect(stat(join(dataDir, 'dev.lock'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('a signal during the start leaves nothing', async () => {
    const dev = Dev.launch();
    await until(async () => (await stat(join(dataDir, 'dev.lock')).catch(() => undefined)) !== undefined);
    dev.child.kill('SIGTERM');
    expect(await dev.exited).toBe(0);
    expect(dev.stdout).toBe('');
    expect(processesOfFolder()).toEqual([]);
    await expect(stat(join(dataDir, 'dev.lock'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
