/** What a sweep does with jobs that say of themselves that they go on. Their large uploads end by themselves. */
import { ERRORS, LongshoreError } from '../core/errors.js';
import type { SweepRowsInput } from '../core/maintenance.js';
import { finishJob } from '../infra/catalog/jobs.js';
import { noteFinding, silentJobs, type SilentJob } from '../infra/catalog/maintenance.js';
import type { SweepPass } from './sweep-uploads.js';

/** Jobs of one activity: each is a question to Temporal. */
const JOBS_AT_ONCE = 200;

/** One page of silent jobs; answers the last id, or null after the last page. Safe to repeat. */
export async function sweepSilentJobs(pass: SweepPass, input: SweepRowsInput): Promise<string | null> {
  const { deps, scope, signal } = pass;
  const { installation } = deps;
  const { after, bucket } = input;
  const ask = { installation, cutoff: scope.cutoff, after, bucket, limit: JOBS_AT_ONCE };
  const jobs = await silentJobs(deps.db, ask);
  for (const job of jobs) {
    signal.throwIfAborted();
    await settleJob(pass, job);
  }
  return jobs.length < JOBS_AT_ONCE ? null : (jobs.at(-1)?.id ?? null);
}

async function settleJob({ deps, scope, owners }: SweepPass, job: SilentJob): Promise<void> {
  const standing = await owners.standingOf(job);
  const reason = (await owners.describe(job.workflowId))?.status.name.toLowerCase() ?? 'forgotten';
  // One that has completed was about to say so as its row was read.
  if (standing === 'running' || reason === 'completed') return;
  const { id, bucket, prefix: key, updatedAt: since } = job;
  const finding = { kind: 'row' as const, bucket, key, subject: id, owner: id, since };
  if (standing === 'unknown') {
    await noteFinding(deps.db, scope.sweep, { ...finding, outcome: 'kept', reason: 'unknown' });
    return;
  }
  await noteFinding(deps.db, scope.sweep, { ...finding, outcome: 'closing', reason });
  if (scope.dryRun) return;
  await close(deps.db, job, reason);
  await noteFinding(deps.db, scope.sweep, { ...finding, outcome: 'closed', reason });
}

async function close(db: SweepPass['deps']['db'], job: SilentJob, reason: string): Promise<void> {
  const message = `the workflow of ${job.id} ended without a word; a sweep cleared up after it`;
  const failure = {
    code: 'Terminated',
    message,
    op: 'sweep',
    key: job.id,
    hint: ERRORS.Terminated.hint,
  } as const;
  const end =
    reason === 'cancelled' ? { state: 'CANCELLED' as const } : { state: 'FAILED' as const, failure };
  try {
    await finishJob(db, { job: job.no, generation: job.generation }, end);
  } catch (error) {
    // Somebody has begun it anew since: that run speaks for it.
    if (!(error instanceof LongshoreError) || error.code !== 'AttemptFenced') throw error;
  }
}
