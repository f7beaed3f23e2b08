/**
 * `npm run demo`: an upload on a real stack, its worker killed hard in the middle, then a folder whose changes a monitor
 * picks up, and the proof that what arrived is what was sent. `-- --keep` leaves the stack up, `-- --size 2GiB` sends more.
 * Exits with 1 when anything does not match.
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { LongshoreClient } from '../src/client/longshore-client.js';
import { LongshoreError } from '../src/core/errors.js';
import { DEFAULT_CONCURRENCY, DEFAULT_MULTIPART_THRESHOLD, MiB } from '../src/core/limits.js';
import { startGuard, type Guard } from '../src/dev/guard.js';
import { startStack, UPLOADS_BUCKET, type Stack } from '../src/dev/stack.js';
import { migrateAt } from '../src/infra/catalog/migrations.js';
import { loadConfig, parseSize, type Config } from '../src/infra/config.js';
import { createObjectStore } from '../src/infra/s3/index.js';
import type { ObjectStore } from '../src/infra/s3/store.js';
import { demoEnvironment, hashOf, makeFile, makeFolder, removeFolder, untilSignal } from './demo/machine.js';
import { concludeJob, JOB_ID, playJob } from './demo/job.js';
import { Narrator, mebibytes, percent } from './demo/narrator.js';
import { startPut, type Put, type PutResult } from './demo/put.js';
import { PartsWatch } from './demo/parts-watch.js';

// A notice of the SDK's about Node 20 has no place in the story.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';

const CLI = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
const NODE_MODULES = fileURLToPath(new URL('../node_modules', import.meta.url));
const KEY = 'demo/random.bin';
const ID = 'demo';
/** Where in the upload the worker is killed. */
const KILL_AT = 0.45;

interface Options {
  size: number;
  keep: boolean;
}

/** What the steps share once the stack is up. */
interface Scene {
  stack: Stack;
  guard: Guard;
  env: NodeJS.ProcessEnv;
  config: Config;
  client: LongshoreClient;
  store: ObjectStore;
  tell: Narrator;
  signal: AbortSignal;
}

interface Killed {
  pid: number;
  at: number;
  partsThere: number;
  bytesThere: number;
  /** What the workers had said of bytes sent when the first one died. */
  bytesReported: number;
}

interface Outcome {
  sha256: { source: string; object: string };
  killed: Killed;
  /** Seconds from the kill to the first part that arrived after it. */
  pause: number;
  result: PutResult;
  historyEvents: number;
}

function readOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: { keep: { type: 'boolean', default: false }, size: { type: 'string', default: '512MiB' } },
  });
  const size = parseSize(values.size);
  if (size === undefined || size < 4 * DEFAULT_MULTIPART_THRESHOLD) {
    throw new LongshoreError('InvalidInput', `--size ${values.size} is not a size of at least 64MiB`, {
      op: 'demo',
    });
  }
  return { size, keep: values.keep };
}

async function demo(options: Options, tell: Narrator, signal: AbortSignal): Promise<boolean> {
  const folder = await makeFolder(options.size);
  const guard = startGuard();
  let stack: Stack | undefined;
  try {
    tell.step('Starting Temporal, S3 and PostgreSQL, without a worker');
    const env = demoEnvironment(process.env);
    const log = (line: string): void => tell.note(line);
    stack = await startStack({
      dataDir: folder,
      worker: false,
      cliEntry: CLI,
      env,
      log,
      migrate: migrateAt,
      signal,
    });
    tell.done(`up; Web UI ${stack.state.temporal.ui}`);
    const config = loadConfig({ flags: { dataDir: folder }, env });
    const client = await LongshoreClient.connect(config.temporal);
    const store = createObjectStore(config.s3);
    let right: boolean;
    try {
      const scene = { stack, guard, env, config, client, store, tell, signal };
      const outcome = await play(scene, folder, options);
      right = conclude(outcome, options, tell);
      right = (await playFolder(scene, folder)) && right;
    } finally {
      store.close();
      await client.close();
    }
    if (options.keep) await keepUp(stack, tell, signal);
    return right;
  } finally {
    if (stack !== undefined) tell.step('Stopping everything');
    await stack?.stop();
    await guard.close();
    await removeFolder(folder);
  }
}

async function play(scene: Scene, folder: string, { size }: Options): Promise<Outcome> {
  const { tell, stack, config, env, guard, signal } = scene;
  tell.step(`Making a file of ${mebibytes(size)} of pseudo-random bytes`);
  const file = await makeFile(folder, size, signal);
  tell.done(`SHA-256 ${file.sha256}`);

  tell.step('Starting a worker');
  await stack.start('worker');
  tell.done(`pid ${workerOf(stack).pid}`);

  tell.step(`longshore put ${file.name} s3://${UPLOADS_BUCKET}/${KEY}`);
  const put = startPut({
    cli: CLI,
    file: file.path,
    to: `s3://${UPLOADS_BUCKET}/${KEY}`,
    id: ID,
    dataDir: config.dataDir,
    env,
    guard,
  });
  try {
    const watch = new PartsWatch(scene.store, { bucket: UPLOADS_BUCKET, key: KEY });
    const killed = await killInTheMiddle(scene, put, watch, size);
    const pause = await goOn(scene, put, watch, killed);
    const result = await put.result;
    tell.done(`${result.state} after ${result.seconds.toFixed(1)} s, kill included`);
    const object = await readBack(scene);
    const { historyEvents } = await scene.client.view(ID);
    return { sha256: { source: file.sha256, object }, killed, pause, result, historyEvents };
  } finally {
    await put.stop();
  }
}

/** False when something is not as it must be. */
async function playFolder(scene: Scene, parent: string): Promise<boolean> {
  const { store, config, env, guard, tell, signal } = scene;
  const outcome = await playJob({
    ...{ tell, signal, parent, from: NODE_MODULES },
    command: { cli: CLI, dataDir: config.dataDir, env, guard },
    place: { store, bucket: UPLOADS_BUCKET, prefix: `demo/folder/` },
  });
  const faults = concludeJob(outcome, tell);
  for (const fault of faults) tell.fault(fault);
  return faults.length === 0;
}

async function killInTheMiddle(scene: Scene, put: Put, watch: PartsWatch, size: number): Promise<Killed> {
  const { stack, tell, client, signal } = scene;
  const worker = workerOf(stack);
  await put.raceEnd(watch.until(({ bytes }) => bytes >= KILL_AT * size, signal));
  worker.kill();
  const at = performance.now();
  await worker.exited;
  const there = await watch.look(signal);
  if (there.gone) {
    throw new Error(
      'the upload ended before its worker was killed: this machine wants a larger file, `-- --size 2GiB`',
    );
  }
  const { progress } = await client.view(ID);
  const killed = {
    pid: worker.pid,
    at,
    partsThere: there.parts,
    bytesThere: there.bytes,
    // The next attempt counts on from the last heartbeat, and that lags behind what is there.
    bytesReported: Math.max(progress.bytesSent, there.bytes),
  };
  tell.step(
    `Worker ${worker.pid} killed by SIGKILL with ${percent(there.bytes, size)} in S3 (${there.parts} parts)`,
  );
  return killed;
}

/** Seconds until a part arrived after the kill. */
async function goOn(
  { stack, tell, signal }: Scene,
  put: Put,
  watch: PartsWatch,
  killed: Killed,
): Promise<number> {
  await stack.start('worker');
  tell.note(
    `another worker is up, pid ${workerOf(stack).pid}; Temporal gives it the work once the dead one is missed`,
  );
  await put.raceEnd(watch.until(({ parts, gone }) => gone || parts > killed.partsThere, signal));
  const pause = (performance.now() - killed.at) / 1000;
  tell.step(`The upload goes on ${pause.toFixed(1)} s after the kill, where it was`);
  return pause;
}

async function readBack({ store, tell, signal }: Scene): Promise<string> {
  tell.step('Reading the object back');
  const sha256 = await hashOf(await store.getObject({ bucket: UPLOADS_BUCKET, key: KEY }, signal));
  tell.done(`SHA-256 ${sha256}`);
  return sha256;
}

/** The summary; false when something is not as it must be. */
function conclude(outcome: Outcome, { size }: Options, tell: Narrator): boolean {
  const { sha256, killed, pause, result, historyEvents } = outcome;
  const partSize = Math.ceil(size / result.parts / MiB) * MiB;
  const missing = result.parts - killed.partsThere;
  const inFlight = Math.min(DEFAULT_CONCURRENCY, missing) * partSize;
  const sentAfter = result.bytesSent - killed.bytesReported;
  const equal = sha256.source === sha256.object;
  tell.table([
    ['object', `s3://${result.bucket}/${result.key}, ${mebibytes(result.size)} in ${result.parts} parts`],
    ['SHA-256', equal ? 'equal: what was read back is what was sent' : 'NOT EQUAL'],
    ['checksum', `${result.checksum ?? 'none'}, verified: ${result.verification}`],
    [
      'killed',
      `${percent(killed.bytesThere, size)} was there: ${killed.partsThere} of ${result.parts} parts`,
    ],
    ['went on', `${pause.toFixed(1)} s after the kill, in another process`],
    ['sent after it', `${mebibytes(sentAfter)} for ${missing} missing parts`],
    ['sent again', `at most ${mebibytes(inFlight)}: parts that were in flight at the kill`],
    ['history', `${historyEvents} events`],
    ['took', `${result.seconds.toFixed(1)} s from the start of \`put\``],
    ['Web UI', result.webUi ?? 'unknown'],
  ]);
  const faults = [
    equal ? undefined : `SHA-256 of the source is ${sha256.source}, of the object ${sha256.object}`,
    result.state === 'COMPLETED' ? undefined : `the upload ended as ${result.state}`,
    result.size === size ? undefined : `the object has ${result.size} bytes, the file ${size}`,
    result.verification === 'full' ? undefined : `verified only by ${result.verification}`,
    result.generations === 1
      ? undefined
      : `${result.generations} multipart uploads were begun; the first should have gone on`,
    sentAfter <= missing * partSize
      ? undefined
      : `${sentAfter} bytes were sent after the kill for ${missing} missing parts`,
  ].filter((fault) => fault !== undefined);
  for (const fault of faults) tell.fault(fault);
  return faults.length === 0;
}

async function keepUp(stack: Stack, tell: Narrator, signal: AbortSignal): Promise<void> {
  const { temporal, s3, postgres } = stack.state;
  tell.table([
    ['Temporal', temporal.address],
    ['Web UI', temporal.ui],
    ['S3', s3.endpoint],
    ['PostgreSQL', new URL(postgres.url).host],
    ['worker', `pid ${workerOf(stack).pid}`],
    ['data', stack.dataDir],
    ['try', `npx longshore list --data-dir ${stack.dataDir}`],
    ['', `npx longshore status ${JOB_ID} --data-dir ${stack.dataDir}`],
  ]);
  tell.step('The stack stays up until Ctrl-C; its data goes with it');
  await untilSignal(signal);
}

function workerOf(stack: Stack) {
  const worker = stack.parts.get('worker');
  if (worker === undefined) throw new Error('no worker was started');
  return worker;
}

async function main(): Promise<number> {
  const stopping = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () =>
      stopping.abort(new LongshoreError('Cancelled', `stopped by ${name}`, { op: 'demo' })),
    );
  }
  const tell = new Narrator((line) => console.log(line));
  try {
    const options = readOptions(process.argv.slice(2));
    tell.title('Longshore: an upload that survives kill -9, and a folder that is kept up to date');
    const right = await demo(options, tell, stopping.signal);
    tell.end(right ? 'Everything matches.' : 'Something does not match.');
    if (!options.keep)
      tell.end('`npm run demo -- --keep` leaves the stack up, to look at the upload in the Web UI.');
    return right ? 0 : 1;
  } catch (caught) {
    const error: unknown = stopping.signal.aborted ? stopping.signal.reason : caught;
    tell.fault(error instanceof Error ? error.message : String(error));
    if (error instanceof LongshoreError && !stopping.signal.aborted) tell.fault(error.hint);
    return stopping.signal.aborted ? 130 : 1;
  }
}

process.exit(await main());
