/**
 * Records the histories that test/replay replays: `npx tsx scripts/record-histories.ts [uploadObject-completed-put …]`.
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
import { checkWorkflowId } from '../src/core/ids.js';
import { pickPorts } from '../src/dev/ports.js';
import { historyToText, type History } from '../test/helpers/histories.js';
import { Bench, type BenchServer } from '../test/helpers/upload-bench.js';
import { JobBench, ROOT } from '../test/helpers/job-bench.js';
import { CASES, SESSION_CASES, type Case } from './histories/cases.js';
import { JOB_CASES, type JobCase } from './histories/job-cases.js';
import { neutralHistory } from './histories/neutral.js';
import { recordStanding, STANDING_CASES } from './histories/standing-cases.js';

const root = join(import.meta.dirname, '..');
const folder = join(root, 'test/replay/histories');

await main(process.argv.slice(2));

async function main(asked: readonly string[]): Promise<void> {
  const work: Record<string, (server: BenchServer, file: string) => Promise<History>> = {};
  for (const [name, each] of Object.entries(CASES))
    work[`uploadObject-${name}`] = (server) => upload(server, name, each);
  for (const [name, each] of Object.entries(SESSION_CASES))
    work[`uploadObject-session-${name}`] = (server) => upload(server, `session-${name}`, each);
  for (const [name, each] of Object.entries(JOB_CASES))
    work[`uploadJob-${name}`] = (server, file) => job(server, file, each);
  work['monitorJob-idle'] = (server, file) => check(server, file, false);
  work['monitorJob-changed'] = (server, file) => check(server, file, true);
  for (const [name, each] of Object.entries(STANDING_CASES))
    work[name] = (server, file) => recordStanding(server, file, each);
  const chosen = Object.entries(work).filter(([file]) => asked.length === 0 || asked.includes(file));
  if (chosen.length === 0) throw new Error(`no such case; there are ${Object.keys(work).join(', ')}`);
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  execFileSync(process.execPath, [join(root, 'scripts/build.mjs'), '--workflows-only']);
  await withServer(async (server) => {
    for (const [file, record] of chosen) await write(file, await record(server, file));
  });
}

async function write(file: string, history: History): Promise<void> {
  await writeFile(join(folder, `${file}.json`), neutralHistory(historyToText(history), process.pid));
  console.log(`${file}: ${history.events?.length ?? 0} events`);
}

async function upload(server: BenchServer, name: string, { closes, prepare, steer }: Case): Promise<History> {
  const bench = new Bench(server, name);
  prepare?.(bench);
  return await bench.run(async (handle) => {
    await steer?.(handle, bench);
    // How it closed is looked at below, whatever it was.
    await handle.result().catch(() => undefined);
    const { status } = await handle.describe();
    if (status.name !== closes) throw new Error(`${name} closed as ${status.name}, not as ${closes}`);
    return await handle.fetchHistory();
  });
}

async function job(server: BenchServer, id: string, { closes, prepare, steer }: JobCase): Promise<History> {
  const bench = new JobBench(server, id);
  prepare?.(bench);
  return await bench.run(async (handle) => {
    await steer?.(handle, bench);
    await handle.result().catch(() => undefined);
    const { workflowId, firstExecutionRunId } = handle;
    const first = closes === 'CONTINUED_AS_NEW' ? firstExecutionRunId : undefined;
    const recorded = server.client.workflow.getHandle(workflowId, first);
    const { status } = await recorded.describe();
    if (status.name !== closes) throw new Error(`${id} closed as ${status.name}, not as ${closes}`);
    return await recorded.fetchHistory();
  });
}

async function check(server: BenchServer, id: string, changed: boolean): Promise<History> {
  const bench = new JobBench(server, id);
  bench.activities.checkFolder = () => Promise.resolve({ changed, over: false });
  return await bench.serving(async () => {
    const handle = await server.client.workflow.start('monitorJob', {
      args: [{ id, job: 7, root: ROOT }],
      workflowId: checkWorkflowId(id),
      taskQueue: 'orchestration',
    });
    await handle.result();
    return await handle.fetchHistory();
  });
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
