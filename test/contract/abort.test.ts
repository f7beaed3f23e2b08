/** Aborts, and what servers make of parts that were broken off at their last byte. */
import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { abortForGood } from '../../src/activities/abort.js';
import { MiB } from '../../src/core/limits.js';
import { createSdkStore } from '../../src/infra/s3/sdk-store.js';
import type { ObjectStore, UploadRef } from '../../src/infra/s3/store.js';
import { testBucket } from '../helpers/buckets.js';
import { s3Servers } from '../helpers/s3-servers.js';
import { eventually } from '../helpers/wait.js';

const BODY = randomBytes(8 * MiB);
const live = (): AbortSignal => new AbortController().signal;

/** Sends four parts at once and breaks them off after so long. */
async function brokenOff(store: ObjectStore, bucket: string, afterMs: number): Promise<UploadRef> {
  const at = { bucket, key: randomUUID() };
  const upload = { ...at, ...(await store.createMultipartUpload({ ...at, checksum: false }, live())) };
  const stop = new AbortController();
  const parts = [1, 2, 3, 4].map((partNumber) =>
    store.uploadPart({ ...upload, partNumber, body: BODY }, stop.signal),
  );
  await sleep(afterMs);
  stop.abort(new Error('enough'));
  await Promise.allSettled(parts);
  return upload;
}

describe.each(await s3Servers())('aborting on $name', ({ name, skipped, config }) => {
  it.skipIf(skipped)('leaves nothing, whenever the last parts were broken off', async () => {
    const store = createSdkStore(config);
    onTestFinished(() => store.close());
    const bucket = await testBucket(name);
    const uploads: UploadRef[] = [];
    const ends: Promise<unknown>[] = [];
    for (let afterMs = 20; afterMs < 180; afterMs += 4) {
      const upload = await brokenOff(store, bucket.name, afterMs);
      uploads.push(upload);
      // As the workflow does: versitygw answers 500 to an abort that a part comes between.
      const gone = (): Promise<boolean> => abortForGood(store, upload, live()).then(() => true);
      ends.push(eventually(gone, { timeout: 30_000, what: 'the end of the upload' }));
      // The server has nothing else to do while it ends what it had begun.
      await sleep(80);
    }
    await Promise.all(ends);
    // A list of uploads has no word of one that came back, on versitygw.
    for (const upload of uploads) {
      await expect(store.listParts({ ...upload, max: 1 }, live())).rejects.toMatchObject({
        code: 'NoSuchUpload',
      });
    }
  });
});
