/**
 * Maintenance: what a sweep is asked and answers, and the rules by which a multipart upload that nobody finishes is known
 * for ours. What it finds, upload by upload, are rows of the catalog, for lists do not belong in history.
 */

/** Ends multipart uploads whose owner is gone, and closes the rows of such owners. */
export const SWEEP_WORKFLOW = 'sweepAbandonedUploads';
/**
 * At a job's prefix and this name a multipart upload is begun, and ended at once, to see whether encryption is applied:
 * an empty one that is old was cut off in between.
 */
export const PROBE_NAME = '.longshore-probe';
/** The activities that begin multipart uploads, and whose results name them. */
export const CREATES: ReadonlySet<string> = new Set(['createMultipartUpload', 'beginSession']);

export interface SweepInput {
  /** Multipart uploads begun (as S3 tells it) or rows written within so many ms are left alone. */
  olderThanMs: number;
  /** Writes down what it would do, and does nothing of it. */
  dryRun: boolean;
  /** Only there; default: every bucket of this installation's uploads. */
  bucket?: string;
  /** Activities of one run before it continues as new. */
  steps: number;
  /** Where the run before this one stopped. */
  carried?: SweepState;
}

/** Where a sweep is. */
export interface SweepState {
  /** Nothing later than this is touched, ISO 8601. */
  cutoff: string;
  stage: 'rows' | 'jobs' | 'buckets' | 'purge';
  /** Of rows and jobs: the last id that was looked at. Of buckets: the last one that is done. */
  after: string | null;
  /** The page of `bucket` to go on with. */
  bucket?: string;
  marker?: UploadMarker;
  strangers: number;
  young: number;
  failed: SweepTrouble[];
  /** Including those that `failed` has no room for. */
  failures: number;
}

/** What could not be swept, and why. */
export interface SweepTrouble {
  /** A bucket, `rows` or `jobs`. */
  what: string;
  code: string;
  message: string;
}

/** A place in the list of a bucket's multipart uploads. */
export interface UploadMarker {
  key: string;
  s3UploadId?: string;
}

/** What a sweep is about: every activity of it is told. */
export interface SweepScope {
  /** Workflow id; findings are kept under it. */
  sweep: string;
  cutoff: string;
  olderThanMs: number;
  dryRun: boolean;
}

export interface SweepBucketInput extends SweepScope {
  bucket: string;
  marker?: UploadMarker;
}

export interface SweepBucketResult {
  /** Absent after the last page. */
  next?: UploadMarker;
  /** Multipart uploads that are none of ours. */
  strangers: number;
  /** Not looked at: begun too recently. */
  young: number;
}

export interface SweepRowsInput extends SweepScope {
  after: string | null;
  bucket?: string;
}

export interface PurgeCounts {
  /** Sealed addresses and keys whose time is over. */
  secrets: number;
  /** Kept answers to repeated requests. */
  answers: number;
  /** Events that every sink has had. */
  events: number;
  /** What earlier sweeps found. */
  findings: number;
}

export interface SweepCounts {
  /** Multipart uploads that were aborted; of a dry run: that would have been. */
  aborted: number;
  /** Ours, and left: their owner runs, or nobody knows whether it does. */
  kept: number;
  /** Rows of dead owners that were closed, or would have been. */
  closed: number;
  /** Uploads and rows that could not be dealt with. */
  failed: number;
}

export interface SweepResult extends SweepCounts {
  dryRun: boolean;
  cutoff: string;
  strangers: number;
  young: number;
  purged: PurgeCounts;
  /** At most 20 of `troubles`. */
  failures: SweepTrouble[];
  troubles: number;
}

export const MAX_TROUBLES = 20;

// ── Whose is it? ─────────────────────────────────────────────────────────────────────────────────────────────────

/** `unknown`: Temporal does not know the workflow, though it may have been alive too recently to be forgotten. */
export type Standing = 'running' | 'closed' | 'unknown';

/** A row that has the key of a multipart upload, and what Temporal says of its workflow. Times are ms since 1970. */
export interface Owner {
  /** Of the object upload. */
  id: string;
  /** False for rows of another installation. */
  ours: boolean;
  standing: Standing;
  from: number;
  /** Infinity while it may go on. */
  until: number;
  /** Multipart uploads that it is known to have begun. */
  begun: ReadonlySet<string>;
  /** Those of `begun` that it may work with now. */
  current: ReadonlySet<string>;
  /** A Create of it is on its way: what is listed may be its. */
  creating: boolean;
  /** A Create of it was begun whose answer may not have come, or nobody remembers whether one was. */
  mayHaveLost: boolean;
}

export interface OpenMultipart {
  s3UploadId: string;
  /** ISO 8601, as the server has it; some servers have whole seconds. */
  initiated: string;
}

export type Verdict =
  | { act: 'abort'; why: 'ended' | 'superseded'; owner: string }
  /** An answer of S3 that was lost on its way, or one that was to be aborted at once: nobody sends to it what is to stay. */
  | { act: 'abort-if-empty'; why: 'lost'; owner: string }
  | { act: 'keep'; why: 'running' | 'unknown'; owner: string }
  | { act: 'ignore' };

const STRANGER: Verdict = { act: 'ignore' };

/**
 * What to do with a multipart upload at a key that `owners` have. Of those whose id nobody wrote down only such are ours
 * as were begun while one of ours was at work that may have lost an answer, and they must be empty.
 * In doubt it is a stranger's.
 */
export function judge(upload: OpenMultipart, owners: readonly Owner[]): Verdict {
  const named = owners.filter(({ begun }) => begun.has(upload.s3UploadId));
  if (named.some(({ ours }) => !ours)) return STRANGER;
  if (named.length > 0) return judgeNamed(upload, named);
  const present = owners.filter((owner) => covers(owner, upload.initiated));
  if (present.some(({ ours }) => !ours)) return STRANGER;
  const unsure = present.find(({ standing, creating }) => standing === 'unknown' || creating);
  if (unsure !== undefined)
    return { act: 'keep', why: unsure.standing === 'unknown' ? 'unknown' : 'running', owner: unsure.id };
  const loser = present.find(({ mayHaveLost }) => mayHaveLost);
  return loser === undefined ? STRANGER : { act: 'abort-if-empty', why: 'lost', owner: loser.id };
}

function judgeNamed({ s3UploadId }: OpenMultipart, named: readonly Owner[]): Verdict {
  const unknown = named.find(({ standing }) => standing === 'unknown');
  if (unknown !== undefined) return { act: 'keep', why: 'unknown', owner: unknown.id };
  const running = named.filter(({ standing }) => standing === 'running');
  const user = running.find(({ current, creating }) => creating || current.has(s3UploadId));
  if (user !== undefined) return { act: 'keep', why: 'running', owner: user.id };
  const [owner] = running.length > 0 ? running : named;
  if (owner === undefined) return STRANGER;
  return { act: 'abort', why: owner.standing === 'running' ? 'superseded' : 'ended', owner: owner.id };
}

const SECOND = 1000;

function covers({ from, until }: Owner, initiated: string): boolean {
  const at = Date.parse(initiated);
  // A time in whole seconds was rounded down.
  const begin = at % SECOND === 0 ? Math.floor(from / SECOND) * SECOND : from;
  return at >= begin && at <= until;
}
