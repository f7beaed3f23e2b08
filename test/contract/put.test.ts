/** A copy by the server onto the key of its own source: it must not replace what was written there meanwhile. */
import type { Client } from '@temporalio/client';
import { MockActivityEnvironment } from '@temporalio/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { createInspectSource, type InspectDeps } from '../../src/activities/inspect.js';
import { NO_KEYS } from '../../src/activities/keyed.js';
import type { PartsDeps } from '../../src/activities/parts.js';
import { createPutObject } from '../../src/activities/put.js';
import { LongshoreError } from '../../src/core/errors.js';
import { MiB } from '../../src/core/limits.js';
import type { UploadObjectInput } from '../../src/core/uploads.js';
import type { Inspection, KeyHolder, PutInput, StoredObject } from '../../src/core/upload-steps.js';
import type { UploadDefaults } from '../../src/infra/config.js';
import { tokenMetadata, type ObjectHead, type ObjectStore } from '../../src/infra/s3/store.js';
import type { Sources } from '../../src/infra/sources/source.js';
import { quietTemporal } from '../helpers/quiet.js';

const KEY = { bucket: 'bucket', key: 'k' };
const TOKEN = { uploadId: 'upload/u', nonce: 'x' };
const BEFORE = { etag: '"before"', lastModified: '2026-01-01T00:00:00.000Z' };

type Copy = Parameters<ObjectStore['copyObject']>[0];

beforeAll(quietTemporal);

function environment(attempt: number): MockActivityEnvironment {
  const client = {
    withAbortSignal: (_signal: AbortSignal, call: () => Promise<unknown>) => call(),
    withDeadline: (_until: number, call: () => Promise<unknown>) => call(),
    activity: { heartbeat: () => Promise.resolve() },
  } as unknown as Client;
  return new MockActivityEnvironment({ heartbeatTimeoutMs: 60_000, attempt }, { client });
}

function headOf(etag: string, metadata: Record<string, string> = {}): ObjectHead {
  return { ...BEFORE, etag, size: 5, metadata };
}

function input(
  before: KeyHolder | undefined,
  { versionId }: { versionId?: string } = { versionId: 'v1' },
): PutInput {
  const source = { kind: 'object' as const, ...KEY, ...(versionId === undefined ? {} : { versionId }) };
  return {
    again: false,
    upload: { id: 'u', nodeId: 'n', source, destination: KEY, options: {} },
    inspection: {
      source: { ...source, size: 5, etag: '"source"', crc32: null, serverSide: true },
      plan: { kind: 'copy', size: 5 },
      options: { contentType: 'a/b', checksum: false, concurrency: 1 },
      maxGenerations: 1,
      ...(before === undefined ? {} : { before }),
    },
    token: TOKEN,
  };
}

/** What a server is asked whose key holds these at one look after the other, the last from then on. */
async function copied(asked: PutInput, heads: ObjectHead[], { attempt = 1, refuses = false } = {}) {
  const requests: Copy[] = [];
  const seen = [...heads];
  const store = {
    headObject: () => Promise.resolve(seen.length > 1 ? seen.shift() : seen[0]),
    copyObject: (request: Copy) => {
      requests.push(request);
      return refuses && request.ifMatch !== undefined
        ? Promise.reject(new LongshoreError('NotSupported', 'no such header', { op: 'CopyObject' }))
        : Promise.resolve({ etag: '"made"', checksumAccepted: false });
    },
  } as unknown as ObjectStore;
  const put = createPutObject({ store, keysOf: NO_KEYS } as unknown as PartsDeps);
  const run: Promise<StoredObject> = environment(attempt).run(put, asked);
  const answer = await run.then(
    ({ etag }) => ({ etag }),
    (error: unknown) => ({ code: (error as LongshoreError).code }),
  );
  return { answer, requests };
}

describe('an earlier version copied onto its own key', () => {
  it('replaces what was there when it was asked for, and says so to the server', async () => {
    const { answer, requests } = await copied(input(BEFORE), [headOf('"before"')]);
    expect(answer).toEqual({ etag: '"made"' });
    expect(requests).toMatchObject([
      { ifMatch: '"before"', source: { versionId: 'v1', ifMatch: '"source"' } },
    ]);
  });

  it('replaces nothing that came after that, also where the server does not look', async () => {
    const refused = { answer: { code: 'SourceChanged' }, requests: [] };
    expect(await copied(input(BEFORE), [headOf('"newer"')])).toEqual(refused);
    expect(await copied(input('absent'), [headOf('"newer"')])).toEqual(refused);
    // An attempt before this one may have put ours there, and somebody another one over it.
    expect(await copied(input(BEFORE), [headOf('"newer"')], { attempt: 2 })).toEqual(refused);
  });

  it('is done when what came is our own, of an attempt that was given up', async () => {
    const ours = headOf('"ours"', tokenMetadata(TOKEN));
    const done = { answer: { etag: '"ours"' }, requests: [] };
    expect(await copied(input(BEFORE), [ours], { attempt: 2 })).toEqual(done);
    // It landed after the first look.
    expect(await copied(input(BEFORE), [headOf('"before"'), ours], { attempt: 2 })).toEqual(done);
  });

  it('is asked for once more without a condition where the server knows none', async () => {
    const { answer, requests } = await copied(input(BEFORE), [headOf('"before"')], { refuses: true });
    expect(answer).toEqual({ etag: '"made"' });
    expect(requests.map(({ ifMatch }) => ifMatch)).toEqual(['"before"', undefined]);
  });

  it('goes without a condition where nobody may look, or nobody looked', async () => {
    for (const before of ['unknown', undefined] as const) {
      const { answer, requests } = await copied(input(before), [headOf('"newer"')]);
      expect(answer).toEqual({ etag: '"made"' });
      expect(requests[0]).not.toHaveProperty('ifMatch');
    }
  });
});

describe('what is at a key', () => {
  const defaults = { threshold: 16 * MiB, concurrency: 1, partSize: 8 * MiB } as UploadDefaults;

  async function inspected(
    change: Partial<UploadObjectInput>,
    version: { versionId?: string },
  ): Promise<Inspection> {
    const { upload, inspection } = input(undefined, version);
    const look = { pinned: inspection.source, contentType: undefined, access: 'random' };
    const deps = {
      store: { headObject: () => Promise.resolve(headOf('"before"')) },
      sources: { inspect: () => Promise.resolve(look) } as unknown as Sources,
      ...{ defaults, keysOf: NO_KEYS },
    } as unknown as InspectDeps;
    return await environment(1).run(createInspectSource(deps), { ...upload, ...change });
  }

  it('is written down before an earlier version is copied onto it, and otherwise not', async () => {
    const versionId = 'v1';
    expect(await inspected({}, { versionId })).toMatchObject({ plan: { kind: 'copy' }, before: BEFORE });
    const elsewhere = { destination: { ...KEY, key: 'other' } };
    expect(await inspected(elsewhere, { versionId })).not.toHaveProperty('before');
    expect(await inspected({}, {})).not.toHaveProperty('before');
  });
});
