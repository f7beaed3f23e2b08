/** The S3 server: reached, its clock, our credentials, and a bucket. */
import { randomUUID } from 'node:crypto';
import { LongshoreError } from '../../core/errors.js';
import type { Config } from '../../infra/config.js';
import { createObjectStore } from '../../infra/s3/index.js';
import type { ObjectStore } from '../../infra/s3/store.js';
import { failed, fromError, ok, skipped, unreachable, warning, within, type Check } from './checks.js';
import { duration } from './text.js';

const PART = 'S3';
const LIMIT_MS = 8_000;
/** S3 refuses signatures that are 15 minutes off. */
const SKEW_REFUSED_S = 15 * 60;
const SKEW_NOTED_S = 30;

export async function checkStorage(config: Config, bucket: string | undefined): Promise<Check[]> {
  const address = config.s3.endpoint ?? `https://s3.${config.s3.region}.amazonaws.com`;
  let date: string | null;
  try {
    const answer = await fetch(address, {
      method: 'HEAD',
      redirect: 'manual',
      signal: AbortSignal.timeout(LIMIT_MS),
    });
    date = answer.headers.get('date');
  } catch (error) {
    const why = 'the S3 server is not reached';
    return [
      unreachable(
        PART,
        `${address} does not answer: ${rootOf(error)}`,
        'Start it (`longshore dev`), or correct --s3-endpoint (AWS_ENDPOINT_URL).',
      ),
      ...['Clock', 'S3 credentials', 'Bucket'].map((part) => skipped(part, why)),
    ];
  }
  const store = createObjectStore(config.s3);
  try {
    const reached = ok(PART, `${address}, region ${config.s3.region}`);
    return [reached, checkClock(date, Date.now()), ...(await checkAccess(config, store, bucket))];
  } finally {
    store.close();
  }
}

/** fetch hides what happened in causes. */
function rootOf(error: unknown): string {
  let at = error;
  while (at instanceof Error && at.cause instanceof Error) at = at.cause;
  return at instanceof Error ? at.message || at.name : String(at);
}

export function checkClock(date: string | null, now: number): Check {
  const part = 'Clock';
  const theirs = date === null ? NaN : Date.parse(date);
  if (Number.isNaN(theirs))
    return warning(part, 'the S3 server names no time', 'Nothing to do, unless signatures are refused.');
  const off = Math.round((now - theirs) / 1000);
  const said = `${duration(Math.abs(off))} ${off < 0 ? 'behind' : 'ahead of'} the S3 server`;
  if (Math.abs(off) >= SKEW_REFUSED_S)
    return failed(part, said, 'Set the clock of this machine, or of the S3 server; signatures are refused.');
  if (Math.abs(off) >= SKEW_NOTED_S)
    return warning(part, said, 'Set the clocks by NTP; beyond 15 minutes signatures are refused.');
  return ok(part, 'agrees with the S3 server');
}

/**
 * Listing multipart uploads is the cheapest signed call whose refusal comes with a reason (HEAD has none), and workers
 * need the permission anyway.
 */
async function checkAccess(config: Config, store: ObjectStore, asked: string | undefined): Promise<Check[]> {
  // A bucket that cannot be there: the answer that it is missing shows that the signature was accepted.
  const bucket = asked ?? `longshore-doctor-${randomUUID()}`;
  const signal = AbortSignal.timeout(LIMIT_MS);
  const who = credentialsName(config);
  try {
    await within(
      LIMIT_MS,
      PART,
      store.listMultipartUploads({ bucket, prefix: `longshore-doctor-${randomUUID()}` }, signal),
    );
    return [ok('S3 credentials', who), ok('Bucket', bucket)];
  } catch (error) {
    if (error instanceof LongshoreError && error.code === 'NoSuchBucket') {
      const accepted = ok('S3 credentials', who);
      if (asked === undefined) return [accepted, skipped('Bucket', 'none was named; --bucket checks one')];
      return [
        accepted,
        fromError('Bucket', new LongshoreError('NoSuchBucket', `${bucket} is not there`, { op: 'doctor' })),
      ];
    }
    return [refusedBy(error, asked), skipped('Bucket', 'the credentials were not accepted for this check')];
  }
}

function refusedBy(error: unknown, asked: string | undefined): Check {
  const check = fromError('S3 credentials', error);
  // Narrow policies deny buckets that nobody named; that proves the key good, and says nothing about its buckets.
  if (check.code === 'AccessDenied' && asked === undefined) {
    return warning(
      'S3 credentials',
      `accepted, but they may not look at every bucket`,
      'Name one of theirs: --bucket NAME.',
    );
  }
  return check;
}

function credentialsName({ s3 }: Config): string {
  if (s3.accessKeyId !== undefined) return `accepted, access key ${s3.accessKeyId.slice(0, 4)}…`;
  return s3.profile === undefined
    ? 'accepted, from the AWS chain'
    : `accepted, from the profile ${s3.profile}`;
}
