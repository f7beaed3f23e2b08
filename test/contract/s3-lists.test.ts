/** The lists that maintenance and versions stand on: unfinished multipart uploads page by page, versions of one object. */
import { randomUUID } from 'node:crypto';
import { DeleteObjectCommand, PutBucketVersioningCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { UploadMarker } from '../../src/core/maintenance.js';
import { createObjectStore } from '../../src/infra/s3/index.js';
import type { ObjectStore, ObjectVersion } from '../../src/infra/s3/store.js';
import { testBucket, type TestBucket } from '../helpers/buckets.js';
import { s3Servers } from '../helpers/s3-servers.js';

const live = (): AbortSignal => new AbortController().signal;

for (const { name: server, skipped, config } of await s3Servers()) {
  describe.skipIf(skipped)(`lists of ${server}`, () => {
    let store: ObjectStore;
    beforeAll(() => {
      store = createObjectStore(config);
    });
    afterAll(() => store.close());

    /** Ends them all, for a bucket with unfinished uploads is not let go. */
    async function withUploads(
      keys: readonly string[],
      body: (bucket: TestBucket, ids: readonly string[]) => Promise<void>,
    ): Promise<void> {
      const bucket = await testBucket(server);
      const ids: string[] = [];
      const waiting = [...keys.entries()];
      const worker = async (): Promise<void> => {
        for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
          const [at, key] = next;
          const request = { bucket: bucket.name, key, checksum: true };
          ids[at] = (await store.createMultipartUpload(request, live())).s3UploadId;
        }
      };
      await Promise.all(Array.from({ length: 16 }, worker));
      try {
        await body(bucket, ids);
      } finally {
        for (const [at, key] of keys.entries())
          await store.abortMultipartUpload({ bucket: bucket.name, key, s3UploadId: ids[at] ?? '' }, live());
      }
    }

    async function everyUpload(bucket: string, prefix?: string): Promise<{ pages: number; ids: string[] }> {
      const ids: string[] = [];
      let pages = 0;
      for (let after: UploadMarker | undefined, more = true; more; pages++) {
        const where = {
          ...(prefix === undefined ? {} : { prefix }),
          ...(after === undefined ? {} : { after }),
        };
        const { uploads, next } = await store.listUploadsPage({ bucket, ...where }, live());
        ids.push(...uploads.map(({ s3UploadId }) => s3UploadId));
        after = next;
        more = next !== undefined;
      }
      return { pages, ids };
    }

    it('name every unfinished upload of a bucket, and of one key', async () => {
      const keys = ['a', 'a/b', 'a/b', 'c d/é+'];
      await withUploads(keys, async ({ name }, ids) => {
        expect((await everyUpload(name)).ids.sort()).toEqual([...ids].sort());
        const { uploads } = await store.listUploadsPage({ bucket: name, prefix: 'a/b' }, live());
        const ofKey = uploads.filter(({ key }) => key === 'a/b').map(({ s3UploadId }) => s3UploadId);
        expect(ofKey.sort()).toEqual([ids[1], ids[2]].sort());
        for (const { initiated } of uploads)
          expect(Math.abs(Date.now() - Date.parse(initiated))).toBeLessThan(60_000);
      });
    });

    // MinIO gives a whole bucket at once.
    it.skipIf(server === 'minio')(
      'go on where a page of a thousand ended',
      async () => {
        const keys = Array.from({ length: 1_005 }, (_, n) => `many/${String(n).padStart(4, '0')}`);
        await withUploads(keys, async ({ name }, ids) => {
          const { pages, ids: listed } = await everyUpload(name);
          expect(listed.sort()).toEqual([...ids].sort());
          expect(pages).toBe(2);
        });
      },
      180_000,
    );

    it('say that there is no such bucket', async () => {
      const gone = { bucket: `t-${randomUUID()}` };
      await expect(store.listUploadsPage(gone, live())).rejects.toMatchObject({ code: 'NoSuchBucket' });
      const versions = store.listVersions({ ...gone, key: 'k' }, live());
      await expect(versions).rejects.toMatchObject({ code: 'NoSuchBucket' });
    });

    async function versionsOf(bucket: string, key: string, max?: number): Promise<ObjectVersion[]> {
      const found: ObjectVersion[] = [];
      for (let after: string | undefined, more = true; more;) {
        const page = { ...(after === undefined ? {} : { after }), ...(max === undefined ? {} : { max }) };
        const { versions, next } = await store.listVersions({ bucket, key, ...page }, live());
        found.push(...versions);
        after = next;
        more = next !== undefined;
      }
      return found;
    }

    it('hold the versions of one object, newest first, deletions among them, however they are paged', async () => {
      const { client, name: bucket } = await testBucket(server);
      const Status = 'Enabled' as const;
      await client.send(
        new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration: { Status } }),
      );
      const put = async (Key: string, Body: string): Promise<string | undefined> =>
        (await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body }))).VersionId;
      const ids = [await put('a/key', '1'), await put('a/key', '22'), await put('a/key', '333')];
      await put('a/key.more', 'x');
      await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'a/key' }));

      const all = await versionsOf(bucket, 'a/key');
      expect(all.map(({ deleted, latest }) => [deleted, latest])).toEqual([
        [true, true],
        [false, false],
        [false, false],
        [false, false],
      ]);
      expect(all.slice(1).map(({ versionId, size }) => [versionId, size])).toEqual([
        [ids[2], 3],
        [ids[1], 2],
        [ids[0], 1],
      ]);
      for (const max of [1, 2, 3, 4]) expect(await versionsOf(bucket, 'a/key', max)).toEqual(all);
      expect(await versionsOf(bucket, 'nothing')).toEqual([]);
    });

    it('hold one version where none are kept', async () => {
      const { client, name: bucket } = await testBucket(server);
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'plain', Body: 'x' }));
      expect(await versionsOf(bucket, 'plain')).toMatchObject([
        { versionId: 'null', size: 1, latest: true, deleted: false },
      ]);
    });
  });
}
