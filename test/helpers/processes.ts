/** Longshore's programs as child processes of a test, ended by their pid. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { registerProcess } from './registry.js';
import { requireBuilt } from './stack.js';
import type { S3Address } from './stack.js';
import { eventually } from './wait.js';

export interface Surroundings {
  temporal?: { address: string; namespace: string };
  /** `endpoint` may be a fault proxy's. */
  s3?: S3Address;
  postgres?: { url: string; schema?: string };
  /** Holds no stack: keeps a `.longshore` of the repository out of the test. */
  dataDir: string;
  env?: Record<string, string>;
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
}

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

/** Nothing of the machine's own settings reaches the program. */
const INHERITED = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'LONGSHORE_CACHE_DIR', 'XDG_CACHE_HOME'];

export function environmentOf({
  temporal,
  s3,
  postgres,
  dataDir,
  env = {},
}: Surroundings): Record<string, string> {
  const inherited = INHERITED.map((name) => [name, process.env[name]] as const).filter(
    ([, value]) => value !== undefined,
  );
  return {
    ...(Object.fromEntries(inherited) as Record<string, string>),
    NO_COLOR: '1',
    LONGSHORE_DATA_DIR: dataDir,
    ...(temporal && { TEMPORAL_ADDRESS: temporal.address, TEMPORAL_NAMESPACE: temporal.namespace }),
    ...(s3 && {
      AWS_ENDPOINT_URL: s3.endpoint,
      AWS_REGION: s3.region,
      AWS_ACCESS_KEY_ID: s3.accessKeyId,
      AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
    }),
    ...(postgres && { DATABASE_URL: withSchema(postgres.url, postgres.schema) }),
    ...env,
  };
}

/** A connection string whose sessions see only this schema. */
export function withSchema(url: string, schema: string | undefined): string {
  if (schema === undefined) return url;
  const changed = new URL(url);
  changed.searchParams.set('options', `-c search_path=${schema}`);
  return changed.href;
}

/** Runs `longshore …` to its end. */
export async function longshore(
  args: readonly string[],
  surroundings: Surroundings,
): Promise<Ended & { stdout: string; stderr: string }> {
  const child = startLongshore(args, surroundings);
  const ended = await child.exited;
  return { ...ended, stdout: child.stdout, stderr: child.stderr };
}

/** `longshore worker`, ready. Ended with the test unless the test did it. */
export async function startWorker(
  surroundings: Surroundings,
  args: readonly string[] = [],
): Promise<TestProcess> {
  const worker = startLongshore(['worker', ...args], surroundings);
  await worker.said(/the worker is ready/, { timeout: 60_000 });
  return worker;
}

/** Starts `longshore …`; at the test's end it is killed if it still lives. */
export function startLongshore(args: readonly string[], surroundings: Surroundings): TestProcess {
  requireBuilt('programs');
  const child = startProcess(
    process.execPath,
    [CLI, ...args],
    environmentOf(surroundings),
    `longshore ${args[0] ?? ''}`,
  );
  onTestFinished(() => child.end());
  return child;
}

export function startProcess(
  command: string,
  args: readonly string[],
  env: Record<string, string>,
  label: string,
): TestProcess {
  return new TestProcess(spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'] }), label);
}

export class TestProcess {
  stdout = '';
  stderr = '';
  readonly exited: Promise<Ended>;
  #ended: Ended | undefined;

  constructor(
    readonly child: ChildProcess,
    readonly label: string,
  ) {
    if (child.pid !== undefined) registerProcess(child.pid, label);
    child.stdout?.on('data', (chunk: Buffer) => (this.stdout += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()));
    this.exited = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve((this.#ended = { code, signal })));
    });
    this.exited.catch(() => undefined);
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error(`${this.label} did not start`);
    return this.child.pid;
  }

  get running(): boolean {
    return this.#ended === undefined;
  }

  /** SIGKILL is kill -9; SIGSTOP and SIGCONT make a zombie of it for a while. */
  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** Kills it and waits until it is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<Ended> {
    if (this.running) this.signal(signal);
    return await this.exited;
  }

  /** SIGTERM, then SIGKILL after 10 s; SIGCONT first, for a stopped process hears nothing else. */
  async end(): Promise<void> {
    if (!this.running) return;
    this.signal('SIGCONT');
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    await this.exited;
    clearTimeout(timer);
  }

  /** Waits until the output, both streams together, matches; throws with its end when the process ends before. */
  async said(pattern: RegExp, options: { timeout?: number } = {}): Promise<RegExpExecArray> {
    const output = (): string => `${this.stdout}\n${this.stderr}`;
    let early = false;
    const match = await eventually(
      () => {
        const found = pattern.exec(output());
        early = found === null && !this.running;
        return found ?? (early ? null : undefined);
      },
      { ...options, what: `${this.label} saying ${pattern}` },
    );
    if (match === null)
      throw new Error(`${this.label} ended before it said ${pattern}:\n${output().slice(-3000)}`);
    return match;
  }
}

/** The last line of standard output as JSON: what `--json` promises. */
export function lastJson(stdout: string): Record<string, unknown> {
  const line = stdout.trimEnd().split('\n').at(-1) ?? '';
  return JSON.parse(line) as Record<string, unknown>;
}
