/** A bucket for one test. */
import { randomUUID } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectsCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
} from '@aws-sdk/client-s3';
import type { S3Client } from '@aws-sdk/client-s3';
import { onTestFinished } from 'vitest';
import { s3Client, TEST_BUCKET_PREFIX, unfinishedUploads } from './leaks.js';
import { part } from './stack.js';

export interface TestBucket {
  name: string;
  /** Straight to the server, past any proxy. */
  client: S3Client;
  /** Empties and removes it. Throws when a multipart upload is left, after aborting it. */
  remove(): Promise<void>;
}

/**
 * Creates `t-<random>`. Inside a test it is removed, with its check for leftovers, when the test ends; in a hook say
 * `{ manual: true }` and call `remove` yourself.
 */
export async function testBucket(
  server: 'versitygw' | 'minio' = 'versitygw',
  options: { manual?: boolean } = {},
): Promise<TestBucket> {
  const client = s3Client(part(server));
  const name = `${TEST_BUCKET_PREFIX}${randomUUID()}`;
  await client.send(new CreateBucketCommand({ Bucket: name }));
  const bucket = { name, client, remove: () => remove(client, name) };
  if (options.manual !== true) onTestFinished(bucket.remove);
  return bucket;
}

async function remove(client: S3Client, bucket: string): Promise<void> {
  try {
    const leftovers = await unfinishedUploads(client, bucket);
    await abortAll(client, bucket);
    await empty(client, bucket);
    await client.send(new DeleteBucketCommand({ Bucket: bucket }));
    if (leftovers.length > 0) throw new Error(`multipart uploads were left: ${leftovers.join(', ')}`);
  } finally {
    client.destroy();
  }
}

/** The test that left one fails; the end of the run is not to fail for it once more. */
async function abortAll(client: S3Client, bucket: string): Promise<void> {
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
  for (const { Key, UploadId } of Uploads) {
    await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key, UploadId }));
  }
}

async function empty(client: S3Client, bucket: string): Promise<void> {
  for (;;) {
    const { Versions = [], DeleteMarkers = [] } = await client.send(
      new ListObjectVersionsCommand({ Bucket: bucket }),
    );
    const Objects = [...Versions, ...DeleteMarkers].map(({ Key, VersionId }) => ({ Key, VersionId }));
    if (Objects.length === 0) return;
    const { Errors = [] } = await client.send(
      new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } }),
    );
    if (Errors.length > 0)
      throw new Error(`s3://${bucket} cannot be emptied: ${Errors[0]?.Code} ${Errors[0]?.Message}`);
  }
}
