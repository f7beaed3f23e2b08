/** Sweeps on real servers: what is ours and dead goes, and nothing else. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/core/errors.js';
import { SWEEP_SCHEDULE } from '../../src/core/ids.js';
import { MiB } from '../../src/core/limits.js';
import { createPool, type Pool } from '../../src/infra/catalog/pool.js';
import { getUpload } from '../../src/infra/catalog/uploads.js';
import type { TestBucket } from '../helpers/buckets.js';
import { faults } from '../helpers/fault-proxy.js';
import { longshore } from '../helpers/processes.js';
import { objectSha256, reached, startRig, type Rig } from '../helpers/rig.js';
import { abortStrangers, leftBehind, openUploads, strangersUpload, sweepBucket } from '../helpers/sweeps.js';
import { eventually } from '../helpers/wait.js';

let rig: Rig;
let pool: Pool;
beforeAll(async () => {
  rig = await startRig();
  pool = createPool(rig.config.postgresUrl ?? '');
});
afterEach(() => rig.proxy.clearFaults());
afterAll(async () => {
  await pool.end();
  await rig.close();
});

/** An upload that stands still once a part of it is in S3. */
async function underWay(bucket: TestBucket, id: string): Promise<{ key: string; s3UploadId: string }> {
  const file = await rig.file(40 * MiB);
  rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name, key: file.name, part: 5 }, faults.stall());
  await rig.start(file, bucket, { id });
  await reached(rig.client, id, 8 * MiB);
  const row = await eventually(async () => {
    const now = await rig.row(id);
    return now?.s3UploadId === null ? undefined : now;
  });
  return { key: file.name, s3UploadId: row.s3UploadId ?? '' };
}

/** Nothing of it is on its way to S3 any more, and what comes later than now is a different second. */
async function terminate(id: string): Promise<void> {
  const handle = rig.temporal.client.workflow.getHandle(`upload/${id}`);
  await handle.terminate('by hand');
  await eventually(async () => (await handle.describe()).status.name === 'TERMINATED');
  await delay(1100);
}

describe('the upload of a workflow that was terminated', () => {
  it('is listed by a dry run, which changes nothing, then aborted, and its row closed', async () => {
    const bucket = await rig.bucket();
    const { s3UploadId } = await underWay(bucket, 'swept');
    await terminate('swept');
    const before = await rig.row('swept');

    const dry = await sweepBucket(rig, pool, bucket, { dryRun: true });
    expect(dry.result).toMatchObject({ dryRun: true, aborted: 1, closed: 1, kept: 0, strangers: 0 });
    expect(dry.findings).toMatchObject([
      { kind: 'multipart', subject: s3UploadId, owner: 'swept', outcome: 'aborting', reason: 'ended' },
      { kind: 'row', subject: 'swept', outcome: 'closing', reason: 'terminated' },
    ]);
    expect(await openUploads(bucket)).toEqual([s3UploadId]);
    expect(await rig.row('swept')).toEqual(before);

    const { result, findings } = await sweepBucket(rig, pool, bucket);
    expect(result).toMatchObject({ dryRun: false, aborted: 1, closed: 1, failed: 0, troubles: 0 });
    expect(findings.map(({ outcome }) => outcome)).toEqual(['aborted', 'closed']);
    expect(await openUploads(bucket)).toEqual([]);
    expect(await rig.row('swept')).toMatchObject({ state: 'FAILED', failure: { code: 'Terminated' } });

    const again = await sweepBucket(rig, pool, bucket);
    expect(again.result).toMatchObject({ aborted: 0, closed: 0 });
    expect(again.findings).toEqual([]);
  });

  it('is left alone while it is younger than asked', async () => {
    const bucket = await rig.bucket();
    const { s3UploadId } = await underWay(bucket, 'young');
    await terminate('young');
    const { result } = await sweepBucket(rig, pool, bucket, { olderThanMs: 3_600_000 });
    expect(result).toMatchObject({ aborted: 0, closed: 0, young: 1 });
    expect(await openUploads(bucket)).toEqual([s3UploadId]);
    expect((await sweepBucket(rig, pool, bucket)).result.aborted).toBe(1);
  });

  it('is known from its history when the catalog never heard of it', async () => {
    const bucket = await rig.bucket();
    const { s3UploadId } = await underWay(bucket, 'unheard');
    await terminate('unheard');
    await pool.query(`UPDATE object_uploads SET s3_upload_id = NULL WHERE id = 'unheard'`);
    const { findings } = await sweepBucket(rig, pool, bucket);
    expect(findings[0]).toMatchObject({ subject: s3UploadId, owner: 'unheard', outcome: 'aborted' });
    expect(await openUploads(bucket)).toEqual([]);
  });
});

describe('an upload that runs', () => {
  it('keeps its multipart upload, and loses the one whose id was lost on its way', async () => {
    const bucket = await rig.bucket();
    rig.proxy.fault({ op: 'CreateMultipartUpload', bucket: bucket.name, times: 1 }, faults.dropReply());
    const { key, s3UploadId } = await underWay(bucket, 'running');
    const before = await openUploads(bucket);
    expect(before).toHaveLength(2);
    await delay(1100);

    const { result, findings } = await sweepBucket(rig, pool, bucket);
    expect(result).toMatchObject({ aborted: 1, closed: 0, kept: 1 });
    const [lost] = before.filter((id) => id !== s3UploadId);
    expect(findings).toContainEqual(
      expect.objectContaining({ subject: lost, outcome: 'aborted', reason: 'lost' }),
    );
    expect(findings).toContainEqual(expect.objectContaining({ subject: s3UploadId, outcome: 'kept' }));
    expect(await openUploads(bucket)).toEqual([s3UploadId]);

    rig.proxy.clearFaults();
    await rig.client.pause('running');
    await rig.client.resume('running');
    const { size } = await rig.client.result('running');
    expect(size).toBe(40 * MiB);
    expect(await objectSha256(bucket, key)).toHaveLength(64);
  });

  it('has its lost Create swept after it completed, too', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(20 * MiB);
    rig.proxy.fault({ op: 'CreateMultipartUpload', bucket: bucket.name, times: 1 }, faults.dropReply());
    const { id } = await rig.start(file, bucket);
    await rig.client.result(id);
    const orphans = await openUploads(bucket);
    expect(orphans).toHaveLength(1);
    const { findings } = await sweepBucket(rig, pool, bucket);
    expect(findings).toMatchObject([{ subject: orphans[0], owner: id, outcome: 'aborted', reason: 'lost' }]);
    expect(await openUploads(bucket)).toEqual([]);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
  });
});

describe('a stranger’s multipart upload', () => {
  it('is never touched: beside our key, before and after us, and while we are at work', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(20 * MiB);
    const at = (key: string, bytes = 0): Promise<string> => strangersUpload(bucket, key, bytes);
    const strangers = [await at(file.name), await at(`${file.name}.x`), await at('elsewhere', 10)];
    await delay(1100);
    const stalled = rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.stall());
    const { id } = await rig.start(file, bucket);
    await eventually(() => stalled.hits > 0);
    // No answer to a Create of ours was lost, so an empty one is none of ours either.
    strangers.push(await at(file.name, 10), await at(file.name));
    await rig.client.cancel(id);
    await rig.client.result(id).catch(() => undefined);
    await eventually(async () => (await getUpload(pool, id))?.state === 'CANCELLED');
    await delay(1100);
    strangers.push(await at(file.name));
    await delay(1100);

    const { result, findings } = await sweepBucket(rig, pool, bucket);
    expect(result).toMatchObject({ aborted: 0, closed: 0, strangers: strangers.length });
    expect(findings).toEqual([]);
    expect(await openUploads(bucket)).toEqual(strangers.sort());
    await abortStrangers(bucket);
  });

  it('is no other installation’s either', async () => {
    const bucket = await rig.bucket();
    const left = await leftBehind(pool, bucket, 'theirs');
    await pool.query(`UPDATE object_uploads SET installation = 'another' WHERE bucket = $1`, [bucket.name]);
    const { result } = await sweepBucket(rig, pool, bucket);
    expect(result).toMatchObject({ aborted: 0, strangers: 1 });
    expect(await openUploads(bucket)).toEqual([left]);
    await abortStrangers(bucket);
  });
});

describe('a stranger’s multipart upload with bytes', () => {
  it('is not touched where an answer of ours was lost', async () => {
    const bucket = await rig.bucket();
    rig.proxy.fault({ op: 'CreateMultipartUpload', bucket: bucket.name, times: 1 }, faults.dropReply());
    const { key, s3UploadId } = await underWay(bucket, 'beside');
    const stranger = await strangersUpload(bucket, key, 10);
    await terminate('beside');
    const { result } = await sweepBucket(rig, pool, bucket);
    expect(result).toMatchObject({ aborted: 2, closed: 1 });
    expect(await openUploads(bucket)).toEqual([stranger]);
    expect(s3UploadId).not.toBe(stranger);
    await abortStrangers(bucket);
  });
});

describe('what Temporal has forgotten', () => {
  it('is dead when its row has ended, or is older than anything that Temporal could have forgotten', async () => {
    const bucket = await rig.bucket();
    const ended = await leftBehind(pool, bucket, 'ended');
    const recent = await leftBehind(pool, bucket, 'recent', { id: 'recent', state: 'UPLOADING' });
    const old = await leftBehind(pool, bucket, 'old', { id: 'old', state: 'UPLOADING' });
    await pool.query(`UPDATE object_uploads SET updated_at = now() - interval '3 days' WHERE id = 'old'`);
    const { findings } = await sweepBucket(rig, pool, bucket);
    const outcomes = Object.fromEntries(
      findings.map(({ kind, key, outcome }) => [`${kind} ${key}`, outcome]),
    );
    expect(outcomes).toEqual({
      'multipart ended': 'aborted',
      'multipart old': 'aborted',
      'multipart recent': 'kept',
      'row old': 'closed',
      'row recent': 'kept',
    });
    expect(await openUploads(bucket)).toEqual([recent]);
    expect([ended, old]).not.toContain(recent);
    await abortStrangers(bucket);
  });
});

describe('two sweeps at once', () => {
  it('end everything once, and both say so', async () => {
    const bucket = await rig.bucket();
    for (let n = 0; n < 20; n++) await leftBehind(pool, bucket, `left-${n}`);
    const [one, other] = await Promise.all([sweepBucket(rig, pool, bucket), sweepBucket(rig, pool, bucket)]);
    expect(await openUploads(bucket)).toEqual([]);
    for (const { result } of [one, other]) expect(result).toMatchObject({ failed: 0, troubles: 0 });
    expect(one.result.aborted + other.result.aborted).toBeGreaterThanOrEqual(20);
  });
});

describe('a worker', () => {
  it('sees that sweeps are scheduled, once a day by default', async () => {
    const schedule = rig.temporal.client.schedule.getHandle(SWEEP_SCHEDULE);
    const { spec, action } = await eventually(() => schedule.describe());
    expect(spec.intervals?.[0]?.every).toBe(24 * 3_600_000);
    expect(action).toMatchObject({ args: [{ olderThanMs: 48 * 3_600_000, dryRun: false }] });
  });
});

describe('longshore sweep', () => {
  it('says what it would do, does it, and says what it did', async () => {
    const bucket = await rig.bucket();
    const left = await leftBehind(pool, bucket, 'by/command');
    const args = ['sweep', '--older-than', '1ms', '--bucket', bucket.name];
    const dry = await longshore([...args, '--dry-run', '--json'], rig.surroundings);
    const lines = dry.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(lines).toMatchObject([
      { type: 'finding', key: 'by/command', subject: left, outcome: 'aborting', reason: 'ended' },
      { type: 'result', dryRun: true, aborted: 1, closed: 0 },
    ]);
    expect(dry.code).toBe(EXIT.ok);
    expect(await openUploads(bucket)).toEqual([left]);
    const done = await longshore(args, rig.surroundings);
    expect(done.code).toBe(EXIT.ok);
    expect(done.stdout).toMatch(new RegExp(`^aborted .*its upload has ended .*by/command  ${left}$`, 'm'));
    expect(done.stderr).toContain('1 multipart upload aborted, 0 rows closed');
    expect(await openUploads(bucket)).toEqual([]);
  });
});
