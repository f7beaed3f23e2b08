/** Sweeps after sessions that died, on a server that lists little, past what expired, and through the worker's own death. */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { getJob, openJob } from '../../src/infra/catalog/jobs.js';
import { listFindings } from '../../src/infra/catalog/maintenance.js';
import type { Pool } from '../../src/infra/catalog/pool.js';
import { createVault } from '../../src/infra/catalog/vault.js';
import { definition } from '../helpers/catalog-jobs.js';
import { faults } from '../helpers/fault-proxy.js';
import { startWorker } from '../helpers/processes.js';
import { reached, startRig, type Rig } from '../helpers/rig.js';
import { catalogOf, sessionScene } from '../helpers/sessions-api.js';
import { isSkipped } from '../helpers/stack.js';
import { abortStrangers, leftBehind, openUploads, strangersUpload, sweepBucket } from '../helpers/sweeps.js';
import { eventually } from '../helpers/wait.js';

async function terminate(rig: Rig, id: string): Promise<void> {
  const handle = rig.temporal.client.workflow.getHandle(`upload/${id}`);
  await handle.terminate('by hand');
  await eventually(async () => (await handle.describe()).status.name === 'TERMINATED');
  // What comes later than now is a different second.
  await delay(1100);
}

describe('a session whose workflow was terminated', () => {
  let rig: Rig;
  let pool: Pool;
  beforeAll(async () => {
    rig = await startRig();
    pool = catalogOf(rig);
  });
  afterAll(async () => {
    await pool.end();
    await rig.close();
  });

  it('is aborted, and closed with its node, its parts and its event', async () => {
    const { api, bucket, begin, session } = await sessionScene(rig);
    const { upload_id, node_id } = await begin({
      name: 'dead.bin',
      expected_size: 12 * MiB,
      chunk_size: 6 * MiB,
    });
    const [id, node] = [String(upload_id), String(node_id)];
    const sent = await fetch(`${api.url}/api/v1/sessions/${id}/chunks/0`, {
      method: 'PUT',
      headers: { 'content-type': 'application/octet-stream' },
      body: new Uint8Array(randomBytes(6 * MiB)),
    });
    expect(sent.status, await sent.text()).toBe(200);
    await terminate(rig, id);

    const { result, findings } = await sweepBucket(rig, pool, bucket);
    expect(result).toMatchObject({ aborted: 1, closed: 1, failed: 0 });
    expect(findings.map(({ kind, owner, outcome }) => [kind, owner, outcome])).toEqual([
      ['multipart', id, 'aborted'],
      ['row', id, 'closed'],
    ]);
    expect(await openUploads(bucket)).toEqual([]);
    expect(await session(id)).toMatchObject({ state: 'FAILED', ended_at: expect.any(String) as string });
    expect((await api.get(`/api/v1/nodes/${node}`)).body).toMatchObject({ status: 'FAILED', location: null });
    const count = async (text: string): Promise<number> =>
      (await pool.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${text}`, [id])).rows[0]?.n ?? -1;
    expect(await count('session_parts WHERE session = $1')).toBe(0);
    expect(await count(`outbox WHERE type LIKE '%upload.failed' AND event->'data'->>'upload_id' = $1`)).toBe(
      1,
    );
  });

  it('goes with the probes of jobs that were cut off, whatever bucket they are in', async () => {
    const [bucket, other] = [await rig.bucket(), await rig.bucket()];
    const destination = { bucket: bucket.name, prefix: 'photos/' };
    const asked = {
      id: 'probing',
      mode: 'first',
      workflowId: 'job/probing',
      runId: 'r',
      fingerprint: 'f',
    } as const;
    await openJob(pool, 'default', { ...asked, definition: { ...definition, destination } });
    const probe = await strangersUpload(bucket, 'photos/.longshore-probe');
    const strangers = [
      await strangersUpload(bucket, 'photos/.longshore-probe', 10),
      await strangersUpload(bucket, 'others/.longshore-probe'),
    ];
    const left = await leftBehind(pool, other, 'left');
    await delay(1100);
    const { id, workflowId } = await rig.client.maintenance.sweep({ olderThanMs: 0, dryRun: false });
    const result = await rig.client.maintenance.result(id);
    // The bucket of an earlier test is gone by now.
    expect(result).toMatchObject({ aborted: 2, strangers: 2, failed: 0 });
    expect(result.failures.every(({ code }) => code === 'NoSuchBucket')).toBe(true);
    const { findings } = await listFindings(pool, { sweep: workflowId, limit: 10 });
    expect(findings.map(({ subject, owner }) => [subject, owner])).toEqual(
      expect.arrayContaining([
        [probe, 'probing'],
        [left, expect.stringMatching(/^left-/)],
      ]),
    );
    expect(await openUploads(bucket)).toEqual(strangers.sort());
    await abortStrangers(bucket);
  });

  it('closes a job whose workflow was terminated, and tells of it once', async () => {
    const bucket = await rig.bucket();
    const workflowId = 'job/dead';
    const asked = { id: 'dead', mode: 'first', workflowId, runId: 'r', fingerprint: 'f' } as const;
    const destination = { bucket: bucket.name, prefix: 'dead/' };
    await openJob(pool, 'default', { ...asked, definition: { ...definition, destination } });
    const { client } = rig.temporal;
    const options = { workflowId, taskQueue: 'nobody' };
    const handle = await client.workflow.start('uploadJob', options);
    const running = await sweepBucket(rig, pool, bucket);
    expect(running.result).toMatchObject({ closed: 0, kept: 0 });
    await handle.terminate();
    await delay(100);
    expect((await sweepBucket(rig, pool, bucket, { dryRun: true })).result.closed).toBe(1);
    expect(await getJob(pool, 'dead')).toMatchObject({ failure: null, finishedAt: null });
    expect((await sweepBucket(rig, pool, bucket)).findings).toMatchObject([
      { kind: 'row', subject: 'dead', key: 'dead/', outcome: 'closed', reason: 'terminated' },
    ]);
    expect(await getJob(pool, 'dead')).toMatchObject({ state: 'FAILED', failure: { code: 'Terminated' } });
    expect((await sweepBucket(rig, pool, bucket)).result.closed).toBe(0);
    const told = await pool.query(
      `SELECT FROM outbox WHERE type LIKE '%job.failed' AND event::text LIKE '%"dead"%'`,
    );
    expect(told.rowCount).toBe(1);
  });

  it('takes expired secrets along', async () => {
    const bucket = await rig.bucket();
    const vault = createVault({ db: pool, sealingKey: randomBytes(32).toString('base64') });
    await vault.seal('of yesterday', { purpose: 'source-url', ttlMs: 1 });
    const stays = await vault.seal('of today', { purpose: 'source-url', ttlMs: 3_600_000 });
    await delay(10);
    expect((await sweepBucket(rig, pool, bucket, { dryRun: true })).result.purged.secrets).toBe(0);
    expect((await sweepBucket(rig, pool, bucket)).result.purged.secrets).toBe(1);
    expect(await vault.unseal(stays, 'source-url')).toBe('of today');
  });
});

describe.skipIf(isSkipped('minio'))('on MinIO, which lists by the whole key', () => {
  let rig: Rig;
  let pool: Pool;
  beforeAll(async () => {
    rig = await startRig({ server: 'minio' });
    pool = catalogOf(rig);
  });
  afterEach(() => rig.proxy.clearFaults());
  afterAll(async () => {
    await pool.end();
    await rig.close();
  });

  it('a terminated upload goes, and the Create that was lost before it', async () => {
    const [bucket, file] = [await rig.bucket(), await rig.file(40 * MiB)];
    rig.proxy.fault({ op: 'CreateMultipartUpload', bucket: bucket.name, times: 1 }, faults.dropReply());
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name, part: 5 }, faults.stall());
    await rig.start(file, bucket, { id: 'on-minio' });
    await reached(rig.client, 'on-minio', 8 * MiB);
    await terminate(rig, 'on-minio');
    expect(await openUploads(bucket)).toHaveLength(2);
    const { findings } = await sweepBucket(rig, pool, bucket);
    expect(findings.map(({ reason, outcome }) => `${reason} ${outcome}`).sort()).toEqual([
      'ended aborted',
      'lost aborted',
      'terminated closed',
    ]);
    expect(await openUploads(bucket)).toEqual([]);
  });
});

describe('kill -9 of the worker in the middle of a sweep', () => {
  let rig: Rig;
  let pool: Pool;
  beforeAll(async () => {
    rig = await startRig({ worker: false });
    pool = catalogOf(rig);
  });
  afterEach(() => rig.proxy.clearFaults());
  afterAll(async () => {
    await pool.end();
    await rig.close();
  });

  it('leaves nothing undone, and nothing uncounted', async () => {
    const bucket = await rig.bucket();
    const uploads = 30;
    for (let n = 0; n < uploads; n++) await leftBehind(pool, bucket, `left/${n}`);
    rig.proxy.fault({ op: 'AbortMultipartUpload', bucket: bucket.name }, faults.delay(150));
    const first = await startWorker(rig.surroundings);
    const sweeping = sweepBucket(rig, pool, bucket);
    await eventually(() => rig.proxy.calls('AbortMultipartUpload', { bucket: bucket.name }) >= 8, {
      timeout: 60_000,
    });
    await first.kill('SIGKILL');
    const left = (await openUploads(bucket)).length;
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThan(uploads);
    await startWorker(rig.surroundings);
    const { result, findings } = await sweeping;
    expect(result).toMatchObject({ aborted: uploads, kept: 0, failed: 0, troubles: 0 });
    expect(findings.every(({ outcome }) => outcome === 'aborted')).toBe(true);
    expect(await openUploads(bucket)).toEqual([]);
  });
});
