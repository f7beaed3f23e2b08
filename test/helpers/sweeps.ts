/** Multipart uploads that somebody left, and what sweeps say of them. */
import { randomUUID } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import type { SweepResult } from '../../src/core/maintenance.js';
import { listFindings, type Finding } from '../../src/infra/catalog/maintenance.js';
import type { Pool } from '../../src/infra/catalog/pool.js';
import { reportUpload } from '../../src/infra/catalog/uploads.js';
import type { UploadReport } from '../../src/core/uploads.js';
import type { TestBucket } from './buckets.js';
import type { Rig } from './rig.js';

export interface Sweep {
  result: SweepResult;
  findings: Finding[];
}

/** Sweeps one bucket, to the end. */
export async function sweepBucket(
  { client }: Rig,
  pool: Pool,
  bucket: TestBucket,
  { dryRun = false, olderThanMs = 0 }: { dryRun?: boolean; olderThanMs?: number } = {},
): Promise<Sweep> {
  const { id, workflowId } = await client.maintenance.sweep({ olderThanMs, dryRun, bucket: bucket.name });
  const result = await client.maintenance.result(id);
  return { result, findings: (await listFindings(pool, { sweep: workflowId, limit: 1000 })).findings };
}

/** A multipart upload that Longshore knows nothing of; with or without a part. */
export async function strangersUpload(bucket: TestBucket, key: string, bytes = 0): Promise<string> {
  const at = { Bucket: bucket.name, Key: key };
  const { UploadId = '' } = await bucket.client.send(new CreateMultipartUploadCommand(at));
  if (bytes > 0) {
    const part = { ...at, UploadId, PartNumber: 1, Body: Buffer.alloc(bytes) };
    await bucket.client.send(new UploadPartCommand(part));
  }
  return UploadId;
}

export async function openUploads(bucket: TestBucket): Promise<string[]> {
  const { Uploads = [] } = await bucket.client.send(new ListMultipartUploadsCommand({ Bucket: bucket.name }));
  return Uploads.map(({ UploadId = '' }) => UploadId).sort();
}

export async function abortStrangers(bucket: TestBucket): Promise<void> {
  const { Uploads = [] } = await bucket.client.send(new ListMultipartUploadsCommand({ Bucket: bucket.name }));
  for (const { Key, UploadId } of Uploads)
    await bucket.client.send(new AbortMultipartUploadCommand({ Bucket: bucket.name, Key, UploadId }));
}

/** An upload whose workflow Temporal has forgotten, and that left a multipart upload with a part. Gives its S3 id. */
export async function leftBehind(
  pool: Pool,
  bucket: TestBucket,
  key: string,
  change: Partial<UploadReport> = {},
): Promise<string> {
  const s3UploadId = await strangersUpload(bucket, key, 1024);
  const id = `left-${randomUUID()}`;
  await reportUpload(pool, 'default', {
    ...{ id, workflowId: `upload/${id}`, runId: randomUUID(), runStartedAt: new Date().toISOString() },
    ...{ sequence: 1, state: 'FAILED', destination: { bucket: bucket.name, key }, s3UploadId },
    source: { kind: 'file', label: `files:${key}` },
    ...change,
  });
  return s3UploadId;
}
