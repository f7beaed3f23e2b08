/** The built command line, run as people run it: as processes, in a data folder. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { registerProcess } from '../helpers/registry.js';
import { requireBuilt } from '../helpers/stack.js';
import { eventually } from '../helpers/wait.js';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

export type Line = Record<string, unknown>;

/** One command under way. */
export class Run {
  stdout = '';
  stderr = '';
  readonly exited: Promise<number>;

  constructor(readonly child: ChildProcess) {
    child.stdout?.on('data', (chunk: Buffer) => (this.stdout += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()));
    this.exited = new Promise((resolve) =>
      child.once('close', (code, signal) => resolve(code ?? (signal === null ? -1 : -2))),
    );
  }

  /** JSON lines so far. */
  get lines(): Line[] {
    const whole = this.stdout.slice(0, this.stdout.lastIndexOf('\n') + 1);
    return whole
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Line);
  }

  get last(): Line {
    const last = this.lines.at(-1);
    if (last === undefined) throw new Error(`no JSON line; stderr: ${this.stderr}`);
    return last;
  }

  async until(condition: (run: this) => unknown, timeout = 30_000): Promise<void> {
    await eventually(() => Boolean(condition(this)), {
      timeout,
      what: `${condition.toString()} (stderr: ${this.stderr})`,
    });
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    if (this.child.exitCode === null) this.child.kill(signal);
    return await this.exited;
  }
}

/** The stack of `longshore dev --no-worker`, and commands in its folder. */
export class Harness {
  private readonly runs: Run[] = [];
  private worker: Run | undefined;
  /** Of the commands that follow. */
  env: Record<string, string> = {};

  private constructor(readonly dataDir: string) {}

  static async start(): Promise<Harness> {
    requireBuilt('programs');
    requireBuilt('workflows');
    const harness = new Harness(join(await mkdtemp(join(tmpdir(), 'longshore-cli-')), 'data'));
    const dev = harness.run('dev', '--no-worker', '--json');
    await dev.until(({ lines }) => lines.length > 0, 100_000);
    return harness;
  }

  run(...args: string[]): Run {
    // What the outside calls its database or its Temporal is not what is tested here.
    const { DATABASE_URL: _, TEMPORAL_ADDRESS: __, AWS_ENDPOINT_URL: ___, ...env } = process.env;
    const child = spawn(process.execPath, [CLI, ...args, '--data-dir', this.dataDir], {
      env: { ...env, LONGSHORE_URL_ALLOW: '127.0.0.0/8', LONGSHORE_SHUTDOWN_GRACE: '1s', ...this.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (child.pid !== undefined) registerProcess(child.pid, `longshore ${args[0]}`);
    const run = new Run(child);
    this.runs.push(run);
    return run;
  }

  /** Runs to its end. */
  async call(...args: string[]): Promise<Run & { code: number }> {
    const run = this.run(...args);
    const code = await run.exited;
    return Object.assign(run, { code });
  }

  /** Harmless when there is one. */
  async startWorker(): Promise<void> {
    this.worker ??= this.run('worker', '--json');
    await this.worker.until(
      ({ stdout, stderr }) => (stdout + stderr).includes('the worker is ready'),
      60_000,
    );
  }

  async state(): Promise<{ pids: Record<string, number>; temporal: { address: string } }> {
    return JSON.parse(await readFile(join(this.dataDir, 'dev.json'), 'utf8')) as never;
  }

  /** The file that the S3 server of the stack keeps an object in. */
  object(key: string): string {
    return join(this.dataDir, 's3', 'objects', 'uploads', key);
  }

  async stop(): Promise<void> {
    // The stack is the first: it goes last.
    for (const run of this.runs.slice(1)) await run.end(run === this.worker ? 'SIGTERM' : 'SIGKILL');
    await this.runs[0]?.end();
    await rm(join(this.dataDir, '..'), { recursive: true, force: true });
  }
}

/** A source of `size` bytes that stops in the middle until it is released. */
export class HeldSource {
  private release_: () => void = () => undefined;
  private readonly released = new Promise<void>((resolve) => (this.release_ = resolve));

  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async start(content: Buffer): Promise<HeldSource> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const source = new HeldSource(server, `http://127.0.0.1:${port}/held.bin`);
    server.on('request', (request, response) => {
      const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
      const from = Number(range?.[1] ?? 0);
      const to =
        range?.[2] === undefined || range[2] === ''
          ? content.length - 1
          : Math.min(Number(range[2]), content.length - 1);
      const head = { etag: '"held"', 'accept-ranges': 'bytes', 'content-length': String(to - from + 1) };
      response.writeHead(range === null ? 200 : 206, {
        ...head,
        ...(range === null ? {} : { 'content-range': `bytes ${from}-${to}/${content.length}` }),
      });
      if (request.method === 'HEAD') return void response.end();
      const middle = Math.max(from, content.length / 2);
      if (from < middle) response.write(content.subarray(from, Math.min(to + 1, middle)));
      if (to < middle) return void response.end();
      void source.released.then(() => response.end(content.subarray(middle, to + 1)));
    });
    return source;
  }

  release(): void {
    this.release_();
  }

  async stop(): Promise<void> {
    this.release();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
