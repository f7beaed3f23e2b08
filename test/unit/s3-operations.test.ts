import { describe, expect, it } from 'vitest';
import { recognise } from '../helpers/s3-operations.js';

const copy = { 'x-amz-copy-source': '/b/k' };

describe('recognise', () => {
  it.each([
    ['GET', '/', {}, 'ListBuckets'],
    ['PUT', '/b', {}, 'CreateBucket'],
    ['HEAD', '/b/', {}, 'HeadBucket'],
    ['DELETE', '/b', {}, 'DeleteBucket'],
    ['GET', '/b?uploads=&prefix=x', {}, 'ListMultipartUploads'],
    ['GET', '/b?list-type=2', {}, 'ListObjectsV2'],
    ['POST', '/b?delete', {}, 'DeleteObjects'],
    ['GET', '/b?versioning', {}, 'Other'],
    ['PUT', '/b/k?x-id=PutObject', {}, 'PutObject'],
    ['PUT', '/b/k', copy, 'CopyObject'],
    ['GET', '/b/k', {}, 'GetObject'],
    ['HEAD', '/b/k', {}, 'HeadObject'],
    ['DELETE', '/b/k', {}, 'DeleteObject'],
    ['PUT', '/b/k?tagging', {}, 'Other'],
    ['POST', '/b/k?uploads', {}, 'CreateMultipartUpload'],
    ['PUT', '/b/k?partNumber=7&uploadId=u', {}, 'UploadPart'],
    ['PUT', '/b/k?partNumber=7&uploadId=u', copy, 'UploadPartCopy'],
    ['GET', '/b/k?uploadId=u&part-number-marker=3', {}, 'ListParts'],
    ['POST', '/b/k?uploadId=u', {}, 'CompleteMultipartUpload'],
    ['DELETE', '/b/k?uploadId=u', {}, 'AbortMultipartUpload'],
  ] as const)('%s %s', (method, target, headers, op) => {
    expect(recognise(method, target, headers).op).toBe(op);
  });

  it('gives bucket, decoded key, part and upload id', () => {
    const { query: _, ...seen } = recognise('PUT', '/b/a%20b/..%2Fc%26?partNumber=12&uploadId=a%2Fb', {});
    expect(seen).toEqual({ op: 'UploadPart', bucket: 'b', key: 'a b/../c&', part: 12, uploadId: 'a/b' });
  });
});
