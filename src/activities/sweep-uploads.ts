/** What a sweep does with the multipart uploads of one key. */
import { LongshoreError } from '../core/errors.js';
import {
  judge,
  PROBE_NAME,
  type OpenMultipart,
  type Owner,
  type SweepBucketInput,
  type SweepBucketResult,
  type SweepScope,
  type Verdict,
} from '../core/maintenance.js';
import type { Destination } from '../core/uploads.js';
import {
  begunFindings,
  jobsUnder,
  noteFinding,
  ownersOf,
  type Finding,
} from '../infra/catalog/maintenance.js';
import type { Pool } from '../infra/catalog/pool.js';
import type { ObjectStore } from '../infra/s3/store.js';
import { scrub } from '../infra/telemetry/log.js';
import { abortUntilGone } from './abort.js';
import { Owners, type OwnersDeps } from './sweep-owners.js';

export interface SweepDeps extends OwnersDeps {
  db: Pool;
  store: ObjectStore;
}

/** One activity's look at what is open. */
export interface SweepPass {
  deps: SweepDeps;
  scope: SweepScope;
  owners: Owners;
  signal: AbortSignal;
}

export function beginPass(deps: SweepDeps, scope: SweepScope, signal: AbortSignal): SweepPass {
  const { olderThanMs } = scope;
  return { deps, scope, owners: new Owners(deps, { olderThanMs, now: Date.now() }), signal };
}

interface Listed extends OpenMultipart {
  key: string;
}

/** One page of a bucket's unfinished multipart uploads. Safe to repeat. */
export async function sweepPage(pass: SweepPass, input: SweepBucketInput): Promise<SweepBucketResult> {
  const { deps, scope, signal } = pass;
  const { bucket, marker } = input;
  if (!scope.dryRun) await finishBegun(pass, bucket);
  const after = marker === undefined ? {} : { after: marker };
  const { uploads, next } = await deps.store.listUploadsPage({ bucket, ...after }, signal);
  const old = uploads.filter(({ initiated }) => initiated < scope.cutoff);
  const strangers = await settleUploads(pass, bucket, old);
  const young = uploads.length - old.length;
  return { strangers, young, ...(next === undefined ? {} : { next }) };
}

/** What an earlier attempt had begun to abort is listed no more, perhaps; it is ended, and counted, all the same. */
async function finishBegun({ deps, scope, signal }: SweepPass, bucket: string): Promise<void> {
  for (const finding of await begunFindings(deps.db, scope.sweep, bucket)) {
    const ref = { bucket, key: finding.key, s3UploadId: finding.subject };
    await abortUntilGone(deps.store, ref, signal);
    await noteFinding(deps.db, scope.sweep, { ...finding, outcome: 'aborted' });
  }
}

/** Answers how many of them are strangers'. */
export async function settleUploads(
  pass: SweepPass,
  bucket: string,
  uploads: readonly Listed[],
): Promise<number> {
  if (uploads.length === 0) return 0;
  const times = uploads.map(({ initiated }) => initiated).sort();
  const rows = await ownersOf(pass.deps.db, {
    bucket,
    keys: [...new Set(uploads.map(({ key }) => key))],
    s3UploadIds: uploads.map(({ s3UploadId }) => s3UploadId),
    from: times[0] ?? '',
    until: times.at(-1) ?? '',
  });
  const [byKey, rowsByKey] = [groupByKey(uploads), groupByKey(rows)];
  const jobs = await probersOf(pass, bucket, [...byKey.keys()]);
  let strangers = 0;
  for (const [key, listed] of byKey) {
    const owners = (rowsByKey.get(key) ?? []).map((row) => pass.owners.of(row, listed));
    const all = [...(await Promise.all(owners)), ...(jobs.get(key) ?? [])];
    strangers += await settleKey(pass, { bucket, key }, listed, all);
  }
  return strangers;
}

/** By key: jobs that begin and end an empty multipart upload there again and again. */
async function probersOf(
  { deps }: SweepPass,
  bucket: string,
  keys: readonly string[],
): Promise<Map<string, Owner[]>> {
  const prefixes = keys
    .filter((key) => key.endsWith(PROBE_NAME))
    .map((key) => key.slice(0, -PROBE_NAME.length));
  const probers = new Map<string, Owner[]>();
  if (prefixes.length === 0) return probers;
  const none = new Set<string>();
  for (const job of await jobsUnder(deps.db, { installation: deps.installation, bucket, prefixes })) {
    const [key, from] = [job.prefix + PROBE_NAME, Date.parse(job.createdAt)];
    const known = { begun: none, current: none, creating: false, mayHaveLost: true };
    const owner: Owner = { id: job.id, ours: true, standing: 'closed', from, until: Infinity, ...known };
    probers.set(key, [...(probers.get(key) ?? []), owner]);
  }
  return probers;
}

async function settleKey(
  pass: SweepPass,
  at: Destination,
  uploads: readonly OpenMultipart[],
  owners: readonly Owner[],
): Promise<number> {
  let strangers = 0;
  for (const upload of uploads) {
    pass.signal.throwIfAborted();
    if (!(await settle(pass, at, upload, judge(upload, owners)))) strangers += 1;
  }
  return strangers;
}

/** False for a stranger's. */
async function settle(
  pass: SweepPass,
  at: Destination,
  upload: OpenMultipart,
  verdict: Verdict,
): Promise<boolean> {
  if (verdict.act === 'ignore') return false;
  const { db } = pass.deps;
  const { sweep, dryRun } = pass.scope;
  const { s3UploadId: subject, initiated: since } = upload;
  const { owner, why: reason } = verdict;
  const finding = { kind: 'multipart' as const, ...at, subject, owner, since, reason };
  if (verdict.act === 'keep') {
    await noteFinding(db, sweep, { ...finding, outcome: 'kept' });
    return true;
  }
  if (verdict.act === 'abort-if-empty') {
    const content = await contentOf(pass, at, upload);
    if (content === 'hidden') await noteFinding(db, sweep, { ...finding, outcome: 'kept', reason: 'hidden' });
    if (content !== 'empty') return content !== 'bytes';
  }
  await noteFinding(db, sweep, { ...finding, outcome: 'aborting' });
  if (!dryRun) await abort(pass, finding);
  return true;
}

async function abort({ deps, scope, signal }: SweepPass, finding: Omit<Finding, 'outcome'>): Promise<void> {
  const { bucket, key, subject: s3UploadId } = finding;
  try {
    await abortUntilGone(deps.store, { bucket, key, s3UploadId }, signal);
    await noteFinding(deps.db, scope.sweep, { ...finding, outcome: 'aborted' });
  } catch (error) {
    const reason = refusal(error);
    if (reason === undefined) throw error;
    await noteFinding(deps.db, scope.sweep, { ...finding, outcome: 'failed', reason });
  }
}

/** Bytes of a part by which a server is tried. */
const TRIED = 1;

/** `hidden`: S3 does not let us look into it, as with a customer's key, which a sweep has not. */
type Content = 'empty' | 'bytes' | 'gone' | 'hidden';

/**
 * To an upload whose id nobody wrote down nothing was ever sent, but for one part by which a server is tried: an empty one
 * asks MinIO for its encryption, and one of a single byte whether checksums that follow a body are taken. One that holds
 * more is somebody else's.
 */
async function contentOf(
  { deps, signal }: SweepPass,
  at: Destination,
  { s3UploadId }: OpenMultipart,
): Promise<Content> {
  try {
    const parts = await deps.store.listParts({ ...at, s3UploadId, max: 2 }, signal);
    return parts.every(({ partNumber, size }) => partNumber === 1 && size <= TRIED) ? 'empty' : 'bytes';
  } catch (error) {
    if (error instanceof LongshoreError && ['NoSuchUpload', 'NoSuchBucket'].includes(error.code))
      return 'gone';
    if (refusal(error) === undefined) throw error;
    return 'hidden';
  }
}

/** What the server says for good; undefined for what may pass. */
export function refusal(error: unknown): string | undefined {
  if (!(error instanceof LongshoreError) || error.retry === 'retry') return undefined;
  return `${error.code}: ${scrub(error.message)}`;
}

function groupByKey<T extends { key: string }>(items: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(item.key);
    if (group === undefined) groups.set(item.key, [item]);
    else group.push(item);
  }
  return groups;
}
