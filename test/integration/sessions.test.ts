/** Sessions on the real parts: Temporal, PostgreSQL and an S3 server. Chunks go to S3 as the API sends them. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import type { Incomplete } from '../../src/core/sessions.js';
import type { ClientSource, UploadOptions } from '../../src/core/uploads.js';
import { getNode } from '../../src/infra/catalog/nodes.js';
import { createPool, type Pool } from '../../src/infra/catalog/pool.js';
import {
  createPartWriter,
  readParts,
  sessionProgress,
  vouchParts,
  type PartWriter,
} from '../../src/infra/catalog/session-parts.js';
import { getSession, touchSession, type SessionRow } from '../../src/infra/catalog/sessions.js';
import { createObjectStore, type WorkerStore } from '../../src/infra/s3/index.js';
import { tokenMetadata } from '../../src/infra/s3/store.js';
import type { TestBucket } from '../helpers/buckets.js';
import { faults } from '../helpers/fault-proxy.js';
import { failureOf, keysIn, objectSha256, startRig, type Rig } from '../helpers/rig.js';
import { crcBytes, SessionSender } from '../helpers/session-sender.js';
import { eventually } from '../helpers/wait.js';

const PART = 5 * MiB;

let rig: Rig;
let db: Pool;
let store: WorkerStore;
let writer: PartWriter;

beforeAll(async () => {
  rig = await startRig();
  const { url = '', schema = '' } = rig.surroundings.postgres ?? {};
  db = createPool(url, { schema });
  store = createObjectStore(rig.config.s3);
  writer = createPartWriter(db);
});
afterEach(() => rig.proxy.clearFaults());
afterAll(async () => {
  await writer.close();
  store.close();
  await db.end();
  await rig.close();
});

interface Begin {
  id?: string;
  source?: Partial<ClientSource>;
  options?: UploadOptions;
}

interface Begun {
  id: string;
  key: string;
  bucket: TestBucket;
  sender: SessionSender;
}

/** A session of chunks of 5 MiB. */
async function begin(
  bucket: TestBucket,
  { id = randomUUID(), source = {}, options = {} }: Begin = {},
): Promise<Begun> {
  const key = `sessions/${source.nodeId ?? id}`;
  await rig.client.sessions.start({
    id,
    source: { kind: 'client', name: 'a.bin', nodeId: id, mode: 'chunks', ttlMs: 3_600_000, ...source },
    destination: { bucket: bucket.name, key },
    options: { partSize: PART, ...options },
  });
  const opened = await rig.client.sessions.opened(id);
  const deps = { db, store, writer };
  return { id, key, bucket, sender: new SessionSender(deps, id, { bucket: bucket.name, key }, opened) };
}

const row = async (id: string): Promise<SessionRow> => {
  const found = await getSession(db, id);
  if (found === undefined) throw new Error(`no session ${id}`);
  return found;
};

function cut(bytes: Buffer): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / PART) }, (_, at) =>
    bytes.subarray(at * PART, (at + 1) * PART),
  );
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

async function incomplete(id: string, ask = {}): Promise<Incomplete> {
  const answer = await rig.client.sessions.complete(id, ask);
  if ('incomplete' in answer) return answer.incomplete;
  throw new Error(`it was complete: ${JSON.stringify(answer)}`);
}

async function uploadsIn({ client, name }: TestBucket): Promise<string[]> {
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: name }));
  return Uploads.map(({ UploadId = '' }) => UploadId);
}

async function abortByStranger(bucket: TestBucket, key: string): Promise<void> {
  for (const UploadId of await uploadsIn(bucket)) {
    await bucket.client.send(new AbortMultipartUploadCommand({ Bucket: bucket.name, Key: key, UploadId }));
  }
}

describe('chunks', () => {
  it('in reverse order, in parallel, one of them twice with other bytes: the last counts', async () => {
    const bytes = randomBytes(4 * PART + 7);
    const begun = await begin(await rig.bucket(), {
      options: { expectedSize: bytes.length, metadata: { 'node-id': 'n' }, contentType: 'a/b' },
      source: { connectorId: 'c-1' },
    });
    const { id, key, bucket, sender } = begun;
    expect(await row(id)).toMatchObject({
      ...{ state: 'PENDING', open: true, begun: false, chunkSize: PART, expectedSize: bytes.length },
      ...{ connectorId: 'c-1', nodeId: id, contentType: 'a/b', metadata: { 'node-id': 'n' }, mode: 'chunks' },
      s3UploadId: sender.opened.s3UploadId,
    });
    expect(await getNode(db, id)).toMatchObject({ status: 'PENDING', connectorId: 'c-1', key });
    expect(await sender.send(2, randomBytes(PART))).toBe(true);
    await rig.client.sessions.begun(id);
    await eventually(async () => (await rig.row(id))?.state === 'UPLOADING');
    const reversed = cut(bytes)
      .map((part, at) => ({ part, number: at + 1 }))
      .reverse();
    expect(await Promise.all(reversed.map(({ part, number }) => sender.send(number, part)))).not.toContain(
      false,
    );
    expect(await sessionProgress(db, id, sender.opened.generation)).toEqual({
      parts: 5,
      bytes: bytes.length,
    });

    const answer = await rig.client.sessions.complete(id, { chunks: 5, size: bytes.length });
    expect(answer).toMatchObject({
      result: { size: bytes.length, parts: 5, generations: 1, verification: 'full', bytesSent: bytes.length },
    });
    expect(await objectSha256(bucket, key)).toBe(sha256(bytes));
    const { result } = answer as { result: { etag: string } };
    expect(await row(id)).toMatchObject({
      state: 'COMPLETED',
      open: false,
      size: bytes.length,
      etag: result.etag,
    });
    expect((await row(id)).endedAt).not.toBeNull();
    expect(await getNode(db, id)).toMatchObject({
      ...{ status: 'ACTIVE', uploadId: id, etag: result.etag, size: bytes.length, contentType: 'a/b' },
    });
    expect(await readParts(db, id, sender.opened.generation, { limit: 10 })).toEqual([]);
    expect((await rig.client.view(id)).historyEvents).toBeLessThan(80);
  });

  it('of unknown number, with what the client says at the end', async () => {
    const bytes = randomBytes(2 * PART + 1);
    const { id, key, bucket, sender } = await begin(await rig.bucket());
    expect(await incomplete(id)).toMatchObject({ missing: [0], missingCount: 1 });
    for (const [at, part] of cut(bytes).entries()) await sender.send(at + 1, part);
    // The third is too short to be in the middle.
    const longer = await incomplete(id, { chunks: 4 });
    expect(longer).toMatchObject({ missing: [2, 3], missingCount: 2, surplus: [] });
    expect(longer.message).toBe('missing of 4 chunks: 3; of a size that they cannot have: 2');
    expect(await incomplete(id, { chunks: 2 })).toMatchObject({ missing: [], surplus: [2] });
    const wrong = { size: bytes.length - 1 };
    await expect(rig.client.sessions.complete(id, wrong)).rejects.toMatchObject({ code: 'SizeMismatch' });
    const checksum = 'crc32:AAAAAA==';
    await expect(rig.client.sessions.complete(id, { checksum })).rejects.toMatchObject({
      code: 'VerificationFailed',
    });
    expect(await row(id)).toMatchObject({ open: true });
    expect(await rig.client.sessions.complete(id)).toMatchObject({
      result: { size: bytes.length, parts: 3 },
    });
    expect(await objectSha256(bucket, key)).toBe(sha256(bytes));
  });

  it('that are missing are named, a hundred of them at most, and can be sent then', async () => {
    const bytes = randomBytes(3 * PART);
    const { id, key, bucket, sender } = await begin(await rig.bucket(), {
      options: { expectedSize: bytes.length },
    });
    const parts = cut(bytes);
    await sender.send(2, parts[1] as Buffer);
    const said = await incomplete(id);
    expect(said).toMatchObject({ missing: [0, 2], missingCount: 2, surplus: [] });
    expect(said.message).toContain('0, 2');
    await sender.send(1, parts[0] as Buffer);
    await sender.send(3, parts[2] as Buffer);
    expect(await rig.client.sessions.complete(id)).toHaveProperty('result');
    expect(await objectSha256(bucket, key)).toBe(sha256(bytes));
  });

  it('that S3 has and the client vouches for are taken; others are asked for again', async () => {
    const bytes = randomBytes(3 * PART);
    const { id, key, bucket, sender } = await begin(await rig.bucket(), {
      options: { expectedSize: bytes.length },
    });
    const [one, two, three] = cut(bytes) as [Buffer, Buffer, Buffer];
    const { generation } = sender.opened;
    const etag = await sender.put(1, one);
    await sender.put(2, two);
    await vouchParts(db, id, generation, [
      { partNumber: 1, etag: etag.replaceAll('"', '') },
      { partNumber: 3, etag: '"0123456789abcdef0123456789abcdef"' },
    ]);
    expect(await incomplete(id)).toMatchObject({ missing: [1, 2], missingCount: 2, surplus: [1] });
    await sender.send(2, two);
    await vouchParts(db, id, generation, [{ partNumber: 3, etag: await sender.put(3, three) }]);
    const { result } = (await rig.client.sessions.complete(id)) as { result: object };
    // Two of them did not pass through us, and nobody named a checksum.
    expect(result).toMatchObject({ verification: 'size', bytesSent: PART, parts: 3 });
    expect(result).not.toHaveProperty('checksum');
    expect(await objectSha256(bucket, key)).toBe(sha256(bytes));
  });

  it('replaced behind the catalog’s back are asked for again, never mixed', async () => {
    const bytes = randomBytes(2 * PART);
    const { id, key, bucket, sender } = await begin(await rig.bucket(), {
      options: { expectedSize: bytes.length },
    });
    const [one, two] = cut(bytes) as [Buffer, Buffer];
    await sender.send(1, one);
    await sender.send(2, two);
    // As a request whose API died after S3 had the bytes, and before the row was written.
    await sender.put(1, randomBytes(PART));
    expect(await incomplete(id)).toMatchObject({ missing: [0], surplus: [] });
    // Whoever asks what is there is told the same.
    expect(await sessionProgress(db, id, sender.opened.generation)).toMatchObject({ parts: 1 });
    await sender.send(1, one);
    expect(await rig.client.sessions.complete(id)).toHaveProperty('result');
    expect(await objectSha256(bucket, key)).toBe(sha256(bytes));
  });

  it('replaced between the look at S3 and Complete are asked for again too', async () => {
    const bytes = randomBytes(2 * PART);
    const { id, key, bucket, sender } = await begin(await rig.bucket(), {
      options: { expectedSize: bytes.length },
    });
    const [one, two] = cut(bytes) as [Buffer, Buffer];
    await sender.send(1, one);
    await sender.send(2, two);
    rig.proxy.fault(
      { op: 'CompleteMultipartUpload', bucket: bucket.name, times: 1 },
      faults.hook({ before: async () => void (await sender.put(2, randomBytes(PART))) }),
    );
    expect(await incomplete(id)).toMatchObject({ missing: [1] });
    await sender.send(2, two);
    expect(await rig.client.sessions.complete(id)).toMatchObject({ result: { generations: 1 } });
    expect(await objectSha256(bucket, key)).toBe(sha256(bytes));
  });
});

describe('the multipart upload', () => {
  it('aborted by someone else is begun afresh, and all chunks are asked for again', async () => {
    const bytes = randomBytes(2 * PART);
    const { id, key, bucket, sender } = await begin(await rig.bucket(), {
      options: { expectedSize: bytes.length },
    });
    const parts = cut(bytes);
    await sender.send(1, parts[0] as Buffer);
    await abortByStranger(bucket, key);
    const lost = sender.send(2, parts[1] as Buffer);
    await expect(lost).rejects.toMatchObject({ code: 'NoSuchUpload' });
    await rig.client.sessions.lost(id, sender.opened.generation);
    const opened = await eventually(async () => {
      const now = await rig.client.sessions.opened(id);
      return now.generation > sender.opened.generation && now;
    });
    const stale = sender.send(2, parts[1] as Buffer);
    await expect(stale).rejects.toMatchObject({ code: 'NoSuchUpload' });
    const again = new SessionSender({ db, store, writer }, id, { bucket: bucket.name, key }, opened);
    expect(await incomplete(id)).toMatchObject({ missing: [0, 1] });
    for (const [at, part] of parts.entries()) await again.send(at + 1, part);
    expect(await rig.client.sessions.complete(id)).toMatchObject({ result: { generations: 2 } });
    expect(await objectSha256(bucket, key)).toBe(sha256(bytes));
  });

  it('found lost only at the end says so too', async () => {
    const bytes = randomBytes(PART);
    const { id, key, bucket, sender } = await begin(await rig.bucket(), {
      options: { expectedSize: bytes.length },
    });
    await sender.send(1, bytes);
    await abortByStranger(bucket, key);
    expect(await incomplete(id)).toMatchObject({ missing: [0], missingCount: 1 });
    const opened = await rig.client.sessions.opened(id);
    expect(opened.generation).toBe(sender.opened.generation + 1);
    await rig.client.sessions.cancel(id);
  });
});

describe('Complete', () => {
  it.each([
    ['is lost', faults.dropReply()],
    ['says 200 with an error, though it is done', faults.errorUnder200('InternalError', { forward: true })],
  ])('whose answer %s makes one object, reported once', async (_what, fault) => {
    const bytes = randomBytes(PART + 1);
    const { id, key, bucket, sender } = await begin(await rig.bucket());
    for (const [at, part] of cut(bytes).entries()) await sender.send(at + 1, part);
    rig.proxy.fault({ op: 'CompleteMultipartUpload', bucket: bucket.name, times: 1 }, fault);
    expect(await rig.client.sessions.complete(id)).toMatchObject({
      result: { size: bytes.length, verification: 'full', generations: 1, parts: 2, bytesSent: bytes.length },
    });
    expect(await keysIn(bucket)).toEqual([key]);
    expect(await objectSha256(bucket, key)).toBe(sha256(bytes));
  });

  it('again is the same answer, and a cancel comes too late', async () => {
    const bytes = randomBytes(PART);
    const { id, sender } = await begin(await rig.bucket());
    await sender.send(1, bytes);
    const first = await rig.client.sessions.complete(id);
    await eventually(async () => (await rig.client.view(id)).closedAt);
    expect(await rig.client.sessions.complete(id)).toEqual(first);
    const wrong = rig.client.sessions.complete(id, { size: 1 });
    await expect(wrong).rejects.toMatchObject({ code: 'SizeMismatch' });
    const code = 'AlreadyCompleted';
    await expect(rig.client.sessions.cancel(id)).rejects.toMatchObject({ code });
    await expect(rig.client.sessions.opened(id)).rejects.toMatchObject({ code });
    await expect(sender.send(1, bytes)).rejects.toMatchObject({ code: 'NotRunning' });
  });

  it('of what nobody knows is NotFound', async () => {
    await expect(rig.client.sessions.complete('nobody')).rejects.toMatchObject({ code: 'NotFound' });
    await expect(rig.client.sessions.cancel('nobody')).rejects.toMatchObject({ code: 'NotFound' });
  });
});

describe('a session', () => {
  it('is the same when it is begun again with the same id, and a conflict with another input', async () => {
    const bucket = await rig.bucket();
    const { id, sender } = await begin(bucket);
    expect((await begin(bucket, { id })).sender.opened).toEqual(sender.opened);
    const other = begin(bucket, { id, source: { name: 'b.bin' } });
    await expect(other).rejects.toMatchObject({ code: 'Conflict' });
    expect(await rig.client.sessions.cancel(id)).toBe(true);
    expect(await row(id)).toMatchObject({ state: 'CANCELLED', open: false });
    expect(await getNode(db, id)).toMatchObject({ status: 'CANCELLED' });
    expect(await rig.client.sessions.cancel(id)).toBe(true);
    await expect(sender.send(1, randomBytes(9))).rejects.toMatchObject({ code: 'NotRunning' });
    // Its id is free again, and what is left of the first run is of no use to the second.
    const again = await begin(bucket, { id });
    expect(again.sender.opened.generation).toBe(sender.opened.generation + 1);
    expect(await row(id)).toMatchObject({ state: 'PENDING', open: true, endedAt: null });
    await again.sender.send(1, Buffer.from('whole'));
    expect(await rig.client.sessions.complete(id)).toMatchObject({ result: { size: 5 } });
  });

  it('that nobody comes back to expires; one that is touched does not', async () => {
    const bucket = await rig.bucket();
    const ttl = { source: { ttlMs: 3_000 } };
    const [left, kept] = await Promise.all([begin(bucket, ttl), begin(bucket, ttl)]);
    await left.sender.send(1, randomBytes(9));
    const touching = setInterval(() => void touchSession(db, kept.id), 300);
    try {
      expect(await failureOf(rig.client, left.id)).toMatchObject({ code: 'SessionExpired' });
      expect(await row(left.id)).toMatchObject({ state: 'EXPIRED', failure: { code: 'SessionExpired' } });
      expect(await getNode(db, left.id)).toMatchObject({ status: 'FAILED' });
      expect(await rig.client.view(left.id)).toMatchObject({ state: 'EXPIRED' });
      await expect(left.sender.send(1, randomBytes(9))).rejects.toMatchObject({ code: 'SessionExpired' });
      expect(await uploadsIn(bucket)).toEqual([kept.sender.opened.s3UploadId]);
      expect(await row(kept.id)).toMatchObject({ state: 'PENDING', open: true });
    } finally {
      clearInterval(touching);
    }
    await rig.client.sessions.cancel(kept.id);
  });

  it('makes a version of a node that is there; one that fails leaves it as it was', async () => {
    const bucket = await rig.bucket();
    const first = await begin(bucket);
    await first.sender.send(1, Buffer.from('first'));
    await rig.client.sessions.complete(first.id);
    const version = { source: { nodeId: first.id } };
    const failed = await begin(bucket, version);
    await rig.client.sessions.cancel(failed.id);
    expect(await getNode(db, first.id)).toMatchObject({ status: 'ACTIVE', uploadId: first.id, size: 5 });
    const second = await begin(bucket, version);
    await second.sender.send(1, Buffer.from('second!'));
    await rig.client.sessions.complete(second.id);
    expect(await getNode(db, first.id)).toMatchObject({ status: 'ACTIVE', uploadId: second.id, size: 7 });
  });

  it('for a node that is an object at another key is refused, and nothing is left of it', async () => {
    const bucket = await rig.bucket();
    const first = await begin(bucket);
    await first.sender.send(1, Buffer.from('first'));
    await rig.client.sessions.complete(first.id);
    const id = randomUUID();
    await rig.client.sessions.start({
      id,
      source: { kind: 'client', name: 'a', nodeId: first.id, mode: 'chunks', ttlMs: 60_000 },
      destination: { bucket: bucket.name, key: 'elsewhere' },
      options: { partSize: PART },
    });
    await expect(rig.client.sessions.opened(id)).rejects.toMatchObject({ code: 'Conflict' });
    await eventually(async () => (await rig.row(id))?.state === 'FAILED');
    expect(await uploadsIn(bucket)).toEqual([]);
  });

  it('in a bucket that is not there says so, and is no session', async () => {
    const bucket = { ...(await rig.bucket()), name: 'no-such-bucket' };
    await expect(begin(bucket, { id: 'nowhere' })).rejects.toMatchObject({ code: 'NoSuchBucket' });
    expect(await getSession(db, 'nowhere')).toBeUndefined();
    expect(await rig.row('nowhere')).toMatchObject({ state: 'FAILED' });
  });

  it('terminated in Temporal is FAILED for everyone who asks', async () => {
    const { id, key, bucket } = await begin(await rig.bucket());
    await rig.temporal.client.workflow.getHandle(`upload/${id}`).terminate('by hand');
    expect(await rig.client.view(id)).toMatchObject({ state: 'FAILED', failure: { code: 'Terminated' } });
    await expect(rig.client.sessions.complete(id)).rejects.toMatchObject({ code: 'Terminated' });
    await expect(rig.client.sessions.opened(id)).rejects.toMatchObject({ code: 'Terminated' });
    await abortByStranger(bucket, key);
  });
});

describe('a whole object', () => {
  const whole = { source: { mode: 'whole' as const } };

  it('that somebody puts at the key with our token ends its session, without a word', async () => {
    const { id, key, bucket, sender } = await begin(await rig.bucket(), whole);
    expect(sender.opened.s3UploadId).toBeNull();
    const put = { Bucket: bucket.name, Key: key, Body: 'by form' };
    // Another's object is not ours, whoever put it.
    await bucket.client.send(new PutObjectCommand(put));
    expect(await incomplete(id)).toMatchObject({ missing: [0] });
    await bucket.client.send(new PutObjectCommand({ ...put, Metadata: tokenMetadata(sender.opened.token) }));
    expect(await rig.client.result(id)).toMatchObject({ size: 7, parts: 1, verification: 'size' });
    expect(await row(id)).toMatchObject({ state: 'COMPLETED', size: 7, s3UploadId: null });
    expect(await getNode(db, id)).toMatchObject({ status: 'ACTIVE', size: 7 });
  });

  it('is vouched for by the checksum that was sent with it', async () => {
    const { id, key, bucket, sender } = await begin(await rig.bucket(), {
      ...whole,
      options: { expectedSize: 5 },
    });
    const body = Buffer.from('whole');
    const { token } = sender.opened;
    const crc32 = crcBytes(body).toString('base64');
    const at = { bucket: bucket.name, key };
    await store.putObject(
      { ...at, body, crc32, metadata: tokenMetadata(token) },
      new AbortController().signal,
    );
    expect(await rig.client.sessions.complete(id, { size: 5, checksum: `crc32:${crc32}` })).toMatchObject({
      result: { size: 5, verification: 'full', checksum: `crc32:${crc32}` },
    });
  });
});
