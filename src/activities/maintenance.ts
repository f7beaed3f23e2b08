/** The activities of a sweep. Each takes a page, and each can be repeated. */
import type {
  PurgeCounts,
  SweepBucketInput,
  SweepBucketResult,
  SweepCounts,
  SweepRowsInput,
} from '../core/maintenance.js';
import { purgeAnswers } from '../infra/catalog/idempotency.js';
import { bucketsAfter, countFindings, purgeFindings } from '../infra/catalog/maintenance.js';
import { pruneOutbox } from '../infra/catalog/outbox.js';
import { attempting } from './attempt.js';
import { mapFailures } from './failures.js';
import { sweepSilentJobs } from './sweep-jobs.js';
import { sweepSilentRows } from './sweep-rows.js';
import { beginPass, sweepPage, type SweepDeps } from './sweep-uploads.js';

export interface MaintenanceDeps extends SweepDeps {
  /** Places of secrets; each removes what expired and answers how many. */
  secrets: readonly { purgeExpired(): Promise<number> }[];
  /** How long events are kept after every sink has had them, ms. */
  keepEventsMs: number;
}

export interface MaintenanceActivities {
  /** Names of buckets after this one, at most 100; none after the last. */
  sweepBuckets(input: { after: string | null }): Promise<string[]>;
  /** A page of the rows that say that they go on: closes those of dead owners, with what they left. The last id, or null. */
  sweepRows(input: SweepRowsInput): Promise<string | null>;
  /** The same for jobs. */
  sweepJobs(input: SweepRowsInput): Promise<string | null>;
  /** A page of a bucket's unfinished multipart uploads: aborts those whose owner is gone. */
  sweepBucket(input: SweepBucketInput): Promise<SweepBucketResult>;
  /** Removes secrets, kept answers and findings whose time is over. */
  purgeExpired(): Promise<PurgeCounts>;
  countFindings(input: { sweep: string }): Promise<SweepCounts>;
}

/** A month of sweeps can be looked up. */
const KEEP_FINDINGS_MS = 30 * 24 * 3600 * 1000;

export function createMaintenanceActivities(deps: MaintenanceDeps): MaintenanceActivities {
  const { db, installation } = deps;
  return mapFailures<MaintenanceActivities>({
    sweepBuckets: ({ after }) => bucketsAfter(db, installation, after),
    sweepRows: (input) => attempting(({ signal }) => sweepSilentRows(beginPass(deps, input, signal), input)),
    sweepJobs: (input) => attempting(({ signal }) => sweepSilentJobs(beginPass(deps, input, signal), input)),
    sweepBucket: (input) => attempting(({ signal }) => sweepPage(beginPass(deps, input, signal), input)),
    purgeExpired: () => purgeExpired(deps),
    countFindings: ({ sweep }) => countFindings(db, sweep),
  });
}

async function purgeExpired({
  db,
  installation,
  secrets,
  keepEventsMs,
}: MaintenanceDeps): Promise<PurgeCounts> {
  let sealed = 0;
  for (const place of secrets) sealed += await place.purgeExpired();
  return {
    secrets: sealed,
    answers: await purgeAnswers(db),
    events: await pruneOutbox(db, installation, keepEventsMs),
    findings: await purgeFindings(db, KEEP_FINDINGS_MS),
  };
}
