/** What an API key may touch: whole buckets, or what begins with a prefix in one. Pure. */
import { LongshoreError } from './errors.js';
import { MAX_KEY_BYTES } from './limits.js';

export interface Grant {
  /** A bucket's name, or `*` for every bucket. */
  bucket: string;
  /** Keys begin with it, compared as they stand; '' is the whole bucket. A folder-like prefix ends in `/`. */
  prefix: string;
}

/** One object, or everything whose key begins with a prefix. */
export type GrantTarget = { bucket: string; key: string } | { bucket: string; prefix: string };

const BUCKET = /^(\*|[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])$/;

/** `bucket`, `bucket/prefix` or `*`. Throws InvalidInput. */
export function parseGrant(text: string): Grant {
  const slash = text.indexOf('/');
  const bucket = slash === -1 ? text : text.slice(0, slash);
  const prefix = slash === -1 ? '' : text.slice(slash + 1);
  const why = !BUCKET.test(bucket)
    ? 'it begins with no name of a bucket, nor with *'
    : prefix.includes('\0')
      ? 'its prefix holds a NUL'
      : prefix.length > MAX_KEY_BYTES
        ? `its prefix is longer than a key of ${MAX_KEY_BYTES} bytes`
        : undefined;
  if (why === undefined) return { bucket, prefix };
  throw new LongshoreError('InvalidInput', `${JSON.stringify(text)} is no grant: ${why}`, {
    op: 'parseGrant',
    hint: 'Write bucket, bucket/prefix/ or * for every bucket.',
  });
}

export function formatGrant({ bucket, prefix }: Grant): string {
  return prefix === '' ? bucket : `${bucket}/${prefix}`;
}

/** Whether one of the grants holds all of the target. */
export function isGranted(grants: readonly Grant[], target: GrantTarget): boolean {
  const path = 'key' in target ? target.key : target.prefix;
  return grants.some(
    ({ bucket, prefix }) => (bucket === '*' || bucket === target.bucket) && path.startsWith(prefix),
  );
}

/** Whether the grants hold everything, other stores included. */
export function isUnlimited(grants: readonly Grant[]): boolean {
  return grants.some(({ bucket, prefix }) => bucket === '*' && prefix === '');
}

export function describeTarget(target: GrantTarget): string {
  return 'key' in target ? `s3://${target.bucket}/${target.key}` : `s3://${target.bucket}/${target.prefix}*`;
}
