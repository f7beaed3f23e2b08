/** Starts the parts that the projects of this run need, each once, and stops them at its end. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LongshoreError } from '../../src/core/errors.js';
import { startGuard } from '../../src/dev/guard.js';
import type { Guard } from '../../src/dev/guard.js';
import { startMinio } from '../../src/dev/parts/minio.js';
import type { Part } from '../../src/dev/parts/part.js';
import { startPostgres } from '../../src/dev/parts/postgres.js';
import { startTemporal } from '../../src/dev/parts/temporal.js';
import { startVersitygw } from '../../src/dev/parts/versitygw.js';
import { pickPort, pickPorts } from '../../src/dev/ports.js';
import { provision } from '../../src/dev/provision.js';
import { findLeaks } from './leaks.js';
import { registryAt } from './registry.js';
import { PART_NAMES } from './stack.js';
import type { PartName, Parts, Stack } from './stack.js';

export class TestStack {
  readonly #parts = new Map<PartName, Promise<void>>();
  readonly #running: Part[] = [];
  readonly #stack: Stack;
  #guard: Guard | undefined;

  private constructor(
    private readonly folder: string,
    private readonly given: Partial<Parts>,
  ) {
    const skipped = PART_NAMES.filter((name) => listOf(process.env['LONGSHORE_TEST_SKIP']).includes(name));
    this.#stack = { skipped, missing: {}, broken: {}, registry: join(folder, 'processes') };
  }

  static async open(): Promise<TestStack> {
    const folder = await mkdtemp(join(tmpdir(), 'longshore-test-'));
    // PostgreSQL runs as another user when root starts it, and has to reach its data.
    await chmod(folder, 0o755);
    const stack = new TestStack(folder, givenParts());
    await writeFile(stack.#stack.registry, '');
    registryAt(stack.#stack.registry);
    return stack;
  }

  /** What is there afterwards; what could not be had is in `missing`. */
  async with(names: readonly PartName[]): Promise<Stack> {
    await Promise.all(names.map((name) => this.#once(name)));
    return structuredClone(this.#stack);
  }

  #once(name: PartName): Promise<void> {
    const begun = this.#parts.get(name) ?? this.#add(name);
    this.#parts.set(name, begun);
    return begun;
  }

  async #add(name: PartName): Promise<void> {
    if (this.#stack.skipped.includes(name)) return;
    try {
      const found = this.given[name] ?? (await this.#start(name));
      Object.assign(this.#stack, { [name]: found });
    } catch (error) {
      const hint = error instanceof LongshoreError ? `\n${error.hint}` : '';
      const text =
        `${name} could not be had: ${error instanceof Error ? error.message : String(error)}${hint}\n` +
        `For tests also: give its address in LONGSHORE_TEST_STACK, or leave its suites out with LONGSHORE_TEST_SKIP=${name}.`;
      this.#stack.missing[name] = text;
      say(text);
    }
  }

  async #start(name: PartName): Promise<Parts[PartName]> {
    const log = (line: string): void => say(line);
    if (name === 'testServer')
      return { bin: await provision('temporal-test-server', { env: process.env, log }) };
    this.#guard ??= startGuard();
    const common = { dataDir: join(this.folder, name), env: process.env, log, guard: this.#guard };
    switch (name) {
      case 'temporal': {
        const [port = 0, uiPort = 0] = await pickPorts([[], []]);
        const dynamicConfig = [
          'system.namespaceCacheRefreshInterval="200ms"',
          ...QUICK_TO_FORGET,
          ...RATE_LIMITS,
        ];
        const temporal = await startTemporal({ ...common, port, uiPort, persistent: false, dynamicConfig });
        this.#running.push(temporal);
        return { address: temporal.address, ui: temporal.ui };
      }
      case 'postgres': {
        const options = { ...common, port: await pickPort(), password: password(), durable: false };
        const postgres = await startPostgres(options);
        this.#running.push(postgres);
        return { url: postgres.url };
      }
      case 'versitygw':
      case 'minio': {
        const keys = { accessKeyId: 'longshore-test', secretAccessKey: password() };
        const options = { ...common, ...keys, port: await pickPort() };
        const server =
          name === 'minio'
            ? await startMinio({
                ...options,
                kmsSecretKey: `longshore-test:${randomBytes(32).toString('base64')}`,
              })
            : await startVersitygw(options);
        this.#running.push(server);
        return { endpoint: server.endpoint, region: server.region, ...keys };
      }
    }
  }

  /** Stops everything; says what the tests left behind. */
  async close(): Promise<string[]> {
    await Promise.all(this.#parts.values());
    const leaks = await findLeaks(this.#stack, {
      ours: PART_NAMES.filter((name) => this.given[name] === undefined),
    });
    await Promise.all(this.#running.map((part) => part.stop()));
    await this.#guard?.close();
    await rm(this.folder, { recursive: true, force: true });
    return leaks;
  }
}

/** A workflow can be deleted once the queues' places are written down, which is every 30 s by default. */
const QUICK_TO_FORGET = [
  'history.transferProcessorUpdateAckInterval="1s"',
  'history.visibilityProcessorUpdateAckInterval="1s"',
];
/** A test run starts more at once than the dev server expects of one namespace. */
const RATE_LIMITS = ['frontend.namespaceRPS=10000', 'frontend.namespaceRPS.visibility=1000'];

function password(): string {
  return randomBytes(18).toString('hex');
}

function givenParts(): Partial<Parts> {
  const text = process.env['LONGSHORE_TEST_STACK'];
  return text === undefined || text === '' ? {} : (JSON.parse(text) as Partial<Parts>);
}

function listOf(text: string | undefined): string[] {
  return (text ?? '').split(',').map((name) => name.trim());
}

export function say(text: string): void {
  process.stderr.write(`[stack] ${text}\n`);
}
