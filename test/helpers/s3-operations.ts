/** Which S3 operation a path-style HTTP request is. */
import type { IncomingHttpHeaders } from 'node:http';

export type Operation =
  | 'ListBuckets'
  | 'CreateBucket'
  | 'HeadBucket'
  | 'DeleteBucket'
  | 'ListObjectsV2'
  | 'DeleteObjects'
  | 'ListMultipartUploads'
  | 'PutObject'
  | 'CopyObject'
  | 'GetObject'
  | 'HeadObject'
  | 'DeleteObject'
  | 'CreateMultipartUpload'
  | 'UploadPart'
  | 'UploadPartCopy'
  | 'ListParts'
  | 'CompleteMultipartUpload'
  | 'AbortMultipartUpload'
  | 'Other';

export interface S3Request {
  op: Operation;
  bucket?: string;
  /** Decoded. */
  key?: string;
  /** UploadPart and UploadPartCopy. */
  part?: number;
  uploadId?: string;
  query: URLSearchParams;
}

/** @param target the request line's path and query, as the client wrote it */
export function recognise(method: string, target: string, headers: IncomingHttpHeaders): S3Request {
  const cut = target.indexOf('?');
  const path = cut < 0 ? target : target.slice(0, cut);
  const query = new URLSearchParams(cut < 0 ? '' : target.slice(cut + 1));
  // Not `new URL`: it would resolve a key's `..` away.
  const [bucket = '', ...rest] = path.slice(1).split('/');
  const key = decodeURIComponent(rest.join('/'));
  const part = query.get('partNumber');
  const uploadId = query.get('uploadId');
  const copies = headers['x-amz-copy-source'] !== undefined;
  return {
    op:
      bucket === ''
        ? 'ListBuckets'
        : key === ''
          ? bucketOperation(method, query)
          : objectOperation(method, query, copies),
    ...(bucket === '' ? {} : { bucket: decodeURIComponent(bucket) }),
    ...(key === '' ? {} : { key }),
    ...(part === null ? {} : { part: Number(part) }),
    ...(uploadId === null ? {} : { uploadId }),
    query,
  };
}

function bucketOperation(method: string, query: URLSearchParams): Operation {
  if (method === 'GET' && query.has('uploads')) return 'ListMultipartUploads';
  if (method === 'GET' && query.get('list-type') === '2') return 'ListObjectsV2';
  if (method === 'POST' && query.has('delete')) return 'DeleteObjects';
  if ([...query.keys()].some((name) => name !== 'x-id')) return 'Other';
  const byMethod: Record<string, Operation> = {
    PUT: 'CreateBucket',
    HEAD: 'HeadBucket',
    DELETE: 'DeleteBucket',
  };
  return byMethod[method] ?? 'Other';
}

/** Parameters that make a request about something beside the object's bytes. */
const SUBRESOURCES = [
  'tagging',
  'acl',
  'retention',
  'legal-hold',
  'attributes',
  'torrent',
  'restore',
  'select',
];

function objectOperation(method: string, query: URLSearchParams, copies: boolean): Operation {
  if (SUBRESOURCES.some((name) => query.has(name))) return 'Other';
  if (method === 'POST') {
    if (query.has('uploads')) return 'CreateMultipartUpload';
    return query.has('uploadId') ? 'CompleteMultipartUpload' : 'Other';
  }
  const ofUpload = query.has('uploadId');
  switch (method) {
    case 'PUT':
      if (ofUpload) return copies ? 'UploadPartCopy' : 'UploadPart';
      return copies ? 'CopyObject' : 'PutObject';
    case 'GET':
      return ofUpload ? 'ListParts' : 'GetObject';
    case 'DELETE':
      return ofUpload ? 'AbortMultipartUpload' : 'DeleteObject';
    case 'HEAD':
      return 'HeadObject';
    default:
      return 'Other';
  }
}

export function escapeXml(text: string): string {
  return text.replace(/[<>&"\r\n]/g, (character) => `&#${character.charCodeAt(0)};`);
}

export function errorXml(code: string, message: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${escapeXml(code)}</Code><Message>${escapeXml(message)}</Message></Error>`;
}
