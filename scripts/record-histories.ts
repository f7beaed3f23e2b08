/**
 * Records the histories that test/replay replays: `npx tsx scripts/record-histories.ts [case …]`.
 *
 * Each case runs on a Temporal dev server of its own, with activities that only answer. A history of a released version
 * is not recorded again: it is what running workflows have.
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import { startGuard } from '../src/dev/guard.js';
import { startTemporal } from '../src/dev/parts/temporal.js';
import { pickPorts } from '../src/dev/ports.js';
import { historyToText } from '../test/helpers/histories.js';
import { Bench, type BenchServer } from '../test/helpers/upload-bench.js';
import { CASES, type Case } from './histories/cases.js';
import { neutralHistory } from './histories/neutral.js';

const root = join(import.meta.dirname, '..');
const folder = join(root, 'test/replay/histories');

await main(process.argv.slice(2));

async function main(asked: readonly string[]): Promise<void> {
  const cases = Object.entries(CASES).filter(([name]) => asked.length === 0 || asked.includes(name));
  if (cases.length === 0) throw new Error(`no such case; there are ${Object.keys(CASES).join(', ')}`);
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  execFileSync(process.execPath, [join(root, 'scripts/build.mjs'), '--workflows-only']);
  await withServer(async (server) => {
    for (const [name, each] of cases) await record(server, name, each);
  });
}

async function record(server: BenchServer, name: string, { closes, prepare, steer }: Case): Promise<void> {
  const bench = new Bench(server, name);
  prepare?.(bench);
  const history = await bench.run(async (handle) => {
    await steer?.(handle, bench);
    // How it closed is looked at below, whatever it was.
    await handle.result().catch(() => undefined);
    const { status } = await handle.describe();
    if (status.name !== closes) throw new Error(`${name} closed as ${status.name}, not as ${closes}`);
    return await handle.fetchHistory();
  });
  const file = join(folder, `uploadObject-${name}.json`);
  await writeFile(file, neutralHistory(historyToText(history), process.pid));
  console.log(`${name}: ${history.events?.length ?? 0} events`);
}

async function withServer(body: (server: BenchServer) => Promise<void>): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'longshore-histories-'));
  const guard = startGuard();
  const [port = 0, uiPort = 0] = await pickPorts([[], []]);
  const log = (line: string): void => console.error(line);
  const temporal = await startTemporal({
    ...{ dataDir, env: process.env, log, guard, port, uiPort },
    persistent: false,
  });
  try {
    const { address } = temporal;
    const [connection, nativeConnection] = await Promise.all([
      Connection.connect({ address }),
      NativeConnection.connect({ address }),
    ]);
    const code = await readFile(join(root, 'dist/workflows.js'), 'utf8');
    const namespace = 'default';
    await body({
      ...{ client: new Client({ connection, namespace }), nativeConnection, namespace },
      bundle: { code },
    });
    await Promise.all([connection.close(), nativeConnection.close()]);
  } finally {
    await temporal.stop();
    await guard.close();
    await rm(dataDir, { recursive: true, force: true });
  }
}
