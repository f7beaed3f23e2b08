/** lib-storage-child.mjs FILE BUCKET KEY, with the usual AWS variables. */
import { createReadStream } from 'node:fs';
import { S3Client } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';

const [file = '', bucket = '', key = ''] = process.argv.slice(2);
const client = new S3Client({ forcePathStyle: true });
const upload = new Upload({ client, params: { Bucket: bucket, Key: key, Body: createReadStream(file) } });
await upload.done();
client.destroy();
