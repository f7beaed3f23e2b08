/** The last step of an object that is made anew at its own key: it must not replace what was written there meanwhile. */
import { MockActivityEnvironment } from '@temporalio/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { createComplete } from '../../src/activities/complete.js';
import { NO_KEYS } from '../../src/activities/keyed.js';
import { Ledger } from '../../src/activities/ledger.js';
import { LongshoreError } from '../../src/core/errors.js';
import type { CompleteInput, StoredObject } from '../../src/core/upload-steps.js';
import type { CompleteRequest, ObjectStore } from '../../src/infra/s3/store.js';
import type { OpenSource, Sources } from '../../src/infra/sources/source.js';
import { quietTemporal } from '../helpers/quiet.js';

const KEY = { bucket: 'b', key: 'k' };
const LONG_AGO = '2026-01-01T00:00:00.000Z';

beforeAll(quietTemporal);

function input(versionId?: string): CompleteInput {
  const ledger = new Ledger();
  ledger.set(1, { etag: '"part"' });
  const source = { kind: 'object' as const, ...KEY, ...(versionId === undefined ? {} : { versionId }) };
  return {
    again: false,
    upload: { id: 'u', nodeId: 'n', source, destination: KEY, options: {} },
    inspection: {
      source: { ...source, size: 5, etag: '"source"', crc32: null, serverSide: true },
      plan: {
        ...{ kind: 'parts', mode: 'copy', windows: [{ first: 1, last: 1 }], windowsAtOnce: 1 },
        parts: { size: 5, partSize: 5, count: 1, growEvery: null },
      },
      options: { contentType: 'a/b', checksum: false, concurrency: 1 },
      maxGenerations: 1,
    },
    created: {
      s3UploadId: 'm',
      token: { uploadId: 'upload/u', nonce: 'x' },
      before: { etag: '"before"', lastModified: LONG_AGO },
    },
    ledgers: [ledger.encode()],
    size: 5,
  };
}

/** A server whose key holds the object with this ETag, and that looks at the condition. */
async function completed(asked: CompleteInput, etag: string, looks: boolean | 'refuses' = true) {
  const requests: CompleteRequest[] = [];
  const store = {
    headObject: () => Promise.resolve({ size: 5, etag, lastModified: LONG_AGO, metadata: {} }),
    completeMultipartUpload: (request: CompleteRequest) => {
      requests.push(request);
      if (looks === 'refuses' && request.ifMatch !== undefined)
        return Promise.reject(new LongshoreError('InvalidRequest', 'which key?', { op: 'Complete' }));
      if (looks !== true || request.ifMatch === etag) return Promise.resolve({ etag: '"made"' });
      return Promise.reject(
        new LongshoreError('PreconditionFailed', 'no', { op: 'CompleteMultipartUpload' }),
      );
    },
  } as unknown as ObjectStore;
  const source = { check: () => Promise.resolve(), close: () => Promise.resolve() } as unknown as OpenSource;
  const sources = { open: () => Promise.resolve(source) } as unknown as Sources;
  const complete = createComplete({ store, sources, keysOf: NO_KEYS });
  const environment = new MockActivityEnvironment({ heartbeatTimeoutMs: 60_000 });
  const run: Promise<StoredObject> = environment.run(complete, asked);
  const answer = await run.then(
    ({ etag: made }) => ({ etag: made }),
    (error: unknown) => ({ code: (error as LongshoreError).code }),
  );
  return { answer, requests };
}

describe('an object made anew at its own key', () => {
  it('replaces its source, and nothing that came after it', async () => {
    const intact = await completed(input(), '"source"');
    expect(intact).toMatchObject({ answer: { etag: '"made"' }, requests: [{ ifMatch: '"source"' }] });
    // The source was looked at, and replaced before the request came to the server.
    expect((await completed(input(), '"newer"')).answer).toEqual({ code: 'SourceChanged' });
  });

  it('of an earlier version replaces what was there when it began, also where the server does not look', async () => {
    const intact = await completed(input('v1'), '"before"');
    expect(intact).toMatchObject({ answer: { etag: '"made"' }, requests: [{ ifMatch: '"before"' }] });
    const late = await completed(input('v1'), '"newer"', false);
    expect(late).toEqual({ answer: { code: 'SourceChanged' }, requests: [] });
  });

  it('of an earlier version does not replace what came between the first look and Create', async () => {
    const asked = input('v1');
    const inspection = {
      ...asked.inspection,
      before: { etag: '"earlier still"', lastModified: LONG_AGO },
    };
    const late = await completed({ ...asked, inspection }, '"before"', false);
    expect(late).toEqual({ answer: { code: 'SourceChanged' }, requests: [] });
  });

  it('is looked at once more where the server cannot tell what is there', async () => {
    const { answer, requests } = await completed(input(), '"source"', 'refuses');
    expect(answer).toEqual({ etag: '"made"' });
    expect(requests.map(({ ifMatch }) => ifMatch)).toEqual(['"source"', undefined]);
  });

  it('elsewhere is asked for without a condition', async () => {
    const asked = input();
    const destination = { ...KEY, key: 'other' };
    const { requests } = await completed(
      { ...asked, upload: { ...asked.upload, destination } },
      '"x"',
      false,
    );
    expect(requests).toMatchObject([{ key: 'other' }]);
    expect(requests[0]).not.toHaveProperty('ifMatch');
  });
});
