/** What a test run left behind: processes, and multipart uploads that nobody will finish. */
import { S3Client, ListBucketsCommand, ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import { livingProcesses } from './registry.js';
import type { PartName, S3Address, Stack } from './stack.js';

/** Buckets of tests begin like this; in a server that is not ours nothing else is looked at. */
export const TEST_BUCKET_PREFIX = 't-';

export function s3Client({ endpoint, region, accessKeyId, secretAccessKey }: S3Address): S3Client {
  return new S3Client({
    endpoint,
    region,
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    credentials: { accessKeyId, secretAccessKey },
  });
}

export async function findLeaks(stack: Stack, { ours }: { ours: readonly PartName[] }): Promise<string[]> {
  const leaks = livingProcesses(stack.registry).map(
    ({ pid, label }) => `process ${pid} (${label}) still runs`,
  );
  for (const name of ['versitygw', 'minio'] as const) {
    const address = stack[name];
    if (address !== undefined) leaks.push(...(await leftoverUploads(name, address, ours.includes(name))));
  }
  return leaks;
}

async function leftoverUploads(name: string, address: S3Address, all: boolean): Promise<string[]> {
  const client = s3Client(address);
  try {
    const { Buckets = [] } = await client.send(new ListBucketsCommand({}));
    const names = Buckets.map((bucket) => bucket.Name ?? '').filter(
      (bucket) => all || bucket.startsWith(TEST_BUCKET_PREFIX),
    );
    const found: string[] = [];
    for (const bucket of names) {
      for (const key of await unfinishedUploads(client, bucket))
        found.push(`multipart upload of s3://${bucket}/${key} on ${name}`);
    }
    return found;
  } finally {
    client.destroy();
  }
}

/** Keys of multipart uploads in progress; the first thousand tell enough. */
export async function unfinishedUploads(client: S3Client, bucket: string): Promise<string[]> {
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
  return Uploads.map(({ Key, UploadId }) => `${Key} (${UploadId})`);
}
