/**
 * The embedded stack as one thing: Temporal, S3 and PostgreSQL start at once, the worker and the API after them; all stop in reverse.
 * What a start began, its failure stops.
 */
import { resolve } from 'node:path';
import { LongshoreError } from '../core/errors.js';
import type { DevState } from '../infra/dev-state.js';
import { ensureBucket } from './bucket.js';
import { startGuard } from './guard.js';
import type { Guard } from './guard.js';
import type { Lock } from './lock.js';
import { endOrphans } from './orphans.js';
import { startApi } from './parts/api.js';
import type { Part } from './parts/part.js';
import { postgresUrl, startPostgres } from './parts/postgres.js';
import { startTemporal } from './parts/temporal.js';
import { startVersitygw } from './parts/versitygw.js';
import { startWorker } from './parts/worker.js';
import { PREFERRED_PORTS, pickPort, pickPorts } from './ports.js';
import { ensureDataDir, ensureSecrets, lockDataDir, readDevState, writeDevState } from './state.js';
import type { Secrets } from './state.js';

export const UPLOADS_BUCKET = 'uploads';

export interface StackOptions {
  dataDir: string;
  worker: boolean;
  api?: boolean;
  /** What `longshore` is started from: `dist/cli.js`, or the source file when sources run. */
  cliEntry: string;
  env: NodeJS.ProcessEnv;
  /** Progress lines. */
  log: (line: string) => void;
  /** Brings the catalog up to date; called before the worker and the API start. */
  migrate?: ((postgresUrl: string) => Promise<void>) | undefined;
  /** Ends a start that is not done; what it began is stopped. */
  signal?: AbortSignal | undefined;
}

export type PartName = 'temporal' | 's3' | 'postgres' | 'worker' | 'api';

const SERVERS: readonly PartName[] = ['temporal', 's3', 'postgres'];
/** Programs of our own, which need all servers. */
export const PROGRAMS: readonly PartName[] = ['worker', 'api'];

/** Throws Conflict when the folder has a stack, ToolMissing when a tool cannot be had, Internal when a part does not start. */
export async function startStack(options: StackOptions): Promise<Stack> {
  const dataDir = resolve(options.dataDir);
  await ensureDataDir(dataDir);
  const lock = await lockDataDir(dataDir);
  const guard = startGuard(options.log);
  const stack = await prepare({ ...options, dataDir }, lock, guard).catch(async (error: unknown) => {
    await guard.close();
    await lock.release();
    throw error;
  });
  try {
    await stack.startAll();
    return stack;
  } catch (error) {
    await stack.stop();
    throw error;
  }
}

async function prepare(options: StackOptions, lock: Lock, guard: Guard): Promise<Stack> {
  await guard.ready;
  const secrets = await ensureSecrets(options.dataDir);
  const former = await readDevState(options.dataDir);
  // We have the lock: a run that says it is running was killed.
  if (former?.status === 'running') await endOrphans(options.dataDir, former.pids, options.log);
  const ports = await choosePorts(former);
  return new Stack(options, secrets, ports, lock, guard);
}

interface Ports {
  temporal: number;
  ui: number;
  s3: number;
  postgres: number;
  api: number;
}

/** Those of the last run, so that bookmarks and settings stay right; else those that people expect; else free ones. */
async function choosePorts(former: DevState | undefined): Promise<Ports> {
  const portOf = (url: string | undefined): number | undefined =>
    url === undefined ? undefined : Number(new URL(url).port) || undefined;
  const [temporal, ui, s3, postgres, api] = (await pickPorts([
    [portOf(former && `tcp://${former.temporal.address}`), PREFERRED_PORTS.temporal],
    [portOf(former?.temporal.ui), PREFERRED_PORTS.ui],
    [portOf(former?.s3.endpoint), PREFERRED_PORTS.s3],
    [portOf(former?.postgres.url), PREFERRED_PORTS.postgres],
    [portOf(former?.api?.url), PREFERRED_PORTS.api],
  ])) as [number, number, number, number, number];
  return { temporal, ui, s3, postgres, api };
}

export class Stack {
  readonly dataDir: string;
  readonly #parts = new Map<PartName, Part>();
  readonly #abort = new AbortController();
  #failure: { error: unknown } | undefined;
  readonly #postgresUrl: string;
  readonly #ownPostgres: boolean;
  #stopped: Promise<void> | undefined;
  #saved: Promise<void> = Promise.resolve();

  constructor(
    private readonly options: StackOptions,
    private readonly secrets: Secrets,
    private readonly ports: Ports,
    private readonly lock: Lock,
    private readonly guard: Guard,
  ) {
    this.dataDir = options.dataDir;
    const given = options.env['DATABASE_URL'] ?? '';
    this.#ownPostgres = given === '';
    this.#postgresUrl = this.#ownPostgres ? postgresUrl(ports.postgres, secrets.postgresPassword) : given;
    options.signal?.addEventListener('abort', () => this.#abort.abort(options.signal?.reason), {
      once: true,
    });
    if (options.signal?.aborted === true) this.#abort.abort(options.signal.reason);
  }

  /** The parts that were started, in order. */
  get parts(): ReadonlyMap<PartName, Part> {
    return this.#parts;
  }

  get state(): DevState {
    const { ports, secrets } = this;
    const running = this.#stopped === undefined;
    const pids = [...this.#parts].map(([name, part]) => [name, part.pid] as const);
    return {
      status: running ? 'running' : 'stopped',
      temporal: { address: `127.0.0.1:${ports.temporal}`, ui: `http://127.0.0.1:${ports.ui}` },
      s3: {
        endpoint: `http://127.0.0.1:${ports.s3}`,
        region: 'us-east-1',
        accessKeyId: secrets.accessKeyId,
        secretAccessKey: secrets.secretAccessKey,
      },
      postgres: { url: this.#postgresUrl },
      ...(this.options.api === true && { api: { url: `http://127.0.0.1:${ports.api}` } }),
      sealingKey: secrets.sealingKey,
      installation: secrets.installation,
      pids: running ? { dev: process.pid, guard: this.guard.pid, ...Object.fromEntries(pids) } : {},
    };
  }

  /** Used by `startStack` alone. */
  async startAll(): Promise<void> {
    await this.#startAtOnce(SERVERS.filter((name) => name !== 'postgres' || this.#ownPostgres));
    await this.options.migrate?.(this.#postgresUrl);
    const { worker, api = false } = this.options;
    await this.#startAtOnce([...(worker ? ['worker' as const] : []), ...(api ? ['api' as const] : [])]);
  }

  async #startAtOnce(names: readonly PartName[]): Promise<void> {
    await Promise.allSettled(names.map((name) => this.#startOne(name)));
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#abort.signal.throwIfAborted();
  }

  /** One failure ends the other starts: nobody waits for a stack that will not be. */
  async #startOne(name: PartName): Promise<void> {
    try {
      await this.start(name);
    } catch (error) {
      // Only the first counts: the others fail because of it.
      this.#failure ??= { error };
      this.#abort.abort(error);
    }
  }

  /** Starts a part, or starts it again after it ended, on the same port and data. */
  async start(name: PartName): Promise<Part> {
    this.#abort.signal.throwIfAborted();
    const part = await this.#launch(name);
    this.#parts.set(name, part);
    if (this.#stopped !== undefined) await part.stop();
    else await this.#save();
    return part;
  }

  async #launch(name: PartName): Promise<Part> {
    const { ports, secrets, guard, dataDir } = this;
    const { env, log, cliEntry } = this.options;
    const common = { dataDir, env, log, guard, signal: this.#abort.signal };
    switch (name) {
      case 'temporal':
        return await startTemporal({ ...common, port: ports.temporal, uiPort: ports.ui });
      case 's3': {
        const part = await startVersitygw({ ...common, ...secrets, port: ports.s3 });
        this.#parts.set(name, part);
        await ensureBucket(this.state.s3, UPLOADS_BUCKET);
        return part;
      }
      case 'postgres':
        return await startPostgres({ ...common, port: ports.postgres, password: secrets.postgresPassword });
      case 'worker':
        return await startWorker({ ...common, cliEntry, healthPort: await pickPort() });
      case 'api':
        return await startApi({ ...common, cliEntry, port: ports.api });
    }
  }

  /** Programs first, as they need the servers to leave cleanly. May be called again. */
  async stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    await this.#stopped;
  }

  async #stopAll(): Promise<void> {
    this.#abort.abort(new LongshoreError('Cancelled', 'the stack is being stopped', { op: 'stop' }));
    await Promise.all(PROGRAMS.map(async (name) => this.#parts.get(name)?.stop()));
    await Promise.all([...this.#parts.values()].map((part) => part.stop()));
    await this.guard.close();
    await this.#save();
    await this.lock.release();
  }

  /** One after the other, each with what is true when its turn comes: parts start at the same time. */
  async #save(): Promise<void> {
    const turn = this.#saved.then(() => writeDevState(this.dataDir, this.state));
    // The next one has its turn whatever became of this one, whose caller hears of it.
    this.#saved = turn.catch(() => undefined);
    await turn;
  }

  /** At once: the parts are ended hard, and recover at their next start. */
  kill(): void {
    for (const part of this.#parts.values()) part.kill();
  }
}
