/** The bucket that is there from the start. */
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import type { DevState } from '../infra/dev-state.js';

/** Success also when it is there. */
export async function ensureBucket(s3: DevState['s3'], bucket: string): Promise<void> {
  const { endpoint, region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true });
  try {
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
  } catch (error) {
    const there = ['BucketAlreadyOwnedByYou', 'BucketAlreadyExists'];
    if (!(error instanceof Error) || !there.includes(error.name)) throw error;
  } finally {
    client.destroy();
  }
}
