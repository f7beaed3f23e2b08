/**
 * `npx tsx bench/files.ts [--count 20000] [--size 16KiB] [--runs 3]`: many small files, by our batch activity alone and by
 * s5cmd, in turn, to one versitygw. What Temporal and the scan add is not in it.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startGuard } from '../src/dev/guard.js';
import { startPostgres } from '../src/dev/parts/postgres.js';
import { startVersitygw } from '../src/dev/parts/versitygw.js';
import { pickPorts } from '../src/dev/ports.js';
import { run } from '../src/dev/run.js';
import { migrateAt } from '../src/infra/catalog/migrations.js';
import { parseSize } from '../src/infra/config.js';
import { S3_CONNECT_TIMEOUT_MS, S3_MAX_CONNECTIONS, S3_SOCKET_TIMEOUT_MS } from '../src/core/limits.js';
import { createObjectStore } from '../src/infra/s3/index.js';
import { runMeasured } from './measure.js';
import { findPeer } from './tools/peers.js';
import { buildProgram } from './tools/programs.js';

const FILES_A_FOLDER = 500;

async function makeTree(folder: string, count: number, size: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    const inside = join(folder, String(Math.floor(index / FILES_A_FOLDER)).padStart(4, '0'));
    if (index % FILES_A_FOLDER === 0) await mkdir(inside, { recursive: true });
    await writeFile(join(inside, `file-${index}.bin`), randomBytes(size));
  }
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      count: { type: 'string', default: '20000' },
      size: { type: 'string', default: '16KiB' },
      runs: { type: 'string', default: '3' },
      profile: { type: 'string' },
    },
  });
  const log = (line: string): void => console.error(line);
  const folder = await mkdtemp(join(tmpdir(), 'longshore-files-'));
  await run('chmod', ['755', folder], { env: process.env });
  const guard = startGuard();
  const [s3Port = 0, pgPort = 0] = await pickPorts([[], []]);
  const keys = { accessKeyId: 'bench', secretAccessKey: randomBytes(12).toString('hex') };
  const common = { env: process.env, log, guard };
  const s3 = await startVersitygw({ ...common, ...keys, dataDir: join(folder, 'server'), port: s3Port });
  const postgres = await startPostgres({
    ...common,
    dataDir: join(folder, 'postgres'),
    port: pgPort,
    password: 'bench',
  });
  try {
    await migrateAt(postgres.url);
    const env = {
      ...process.env,
      DATABASE_URL: postgres.url,
      AWS_ENDPOINT_URL: s3.endpoint,
      AWS_REGION: s3.region,
      AWS_ACCESS_KEY_ID: keys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
    };
    const store = createObjectStore({
      ...keys,
      endpoint: s3.endpoint,
      region: s3.region,
      maxConnections: S3_MAX_CONNECTIONS,
      connectTimeoutMs: S3_CONNECT_TIMEOUT_MS,
      socketTimeoutMs: S3_SOCKET_TIMEOUT_MS,
    });
    await store.createBucket('bench', new AbortController().signal);
    store.close();
    const tree = join(folder, 'tree');
    const count = Number(values.count);
    await makeTree(tree, count, parseSize(values.size) ?? 0);
    const program = await buildProgram('job-files-child');
    const peer = { program: 's5cmd', packaged: 's5cmd', versionArgs: ['version'] };
    const s5cmd = await findPeer(peer, process.env, log);
    const series = { ours: [] as number[], whole: [] as number[], s5cmd: [] as number[] };
    for (let round = 0; round <= Number(values.runs); round++) {
      await run('sync', [], { env: process.env });
      const flags = values.profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', values.profile];
      const ours = await runMeasured(
        process.execPath,
        [...flags, program, tree, 'bench', `ours-${round}/`],
        env,
      );
      const said = JSON.parse(ours.lines.at(-1)?.text ?? '{}') as { wallMs: number; uploaded: number };
      if (said.uploaded !== count) throw new Error(`ours: ${ours.lines.at(-1)?.text ?? 'nothing'}`);
      log(`ours: ${ours.lines.at(-1)?.text ?? ''} rss ${Math.round(ours.peakRssBytes / 2 ** 20)} MiB`);
      await run('sync', [], { env: process.env });
      const args = ['--endpoint-url', s3.endpoint, 'cp', `${tree}/`, `s3://bench/theirs-${round}/`];
      const theirs = await runMeasured(s5cmd, args, env);
      log(`s5cmd: ${Math.round(theirs.wallMs)} ms, ${theirs.cpuSeconds} s CPU`);
      if (round === 0) continue;
      series.ours.push(said.wallMs);
      series.whole.push(ours.wallMs);
      series.s5cmd.push(theirs.wallMs);
    }
    const [ours, whole, theirs] = [median(series.ours), median(series.whole), median(series.s5cmd)];
    console.log(
      `${count} × ${values.size}: batches ${Math.round(ours)} ms (process ${Math.round(whole)} ms), s5cmd ${Math.round(theirs)} ms, ratio ${(ours / theirs).toFixed(2)}`,
    );
  } finally {
    await Promise.all([s3.stop(), postgres.stop()]);
    await guard.close();
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
