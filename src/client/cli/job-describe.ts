/** One job as `status`, `jobs` and `watch` show it. */
import type { FailureView } from '../../core/errors.js';
import type { JobCounts } from '../../core/jobs.js';
import { isTerminal, type JobState } from '../../core/states.js';
import type { JobRow } from '../../infra/catalog/jobs.js';
import type { JobView } from '../jobs.js';
import { jsonError } from './failure.js';
import type { Io } from './io.js';
import type { FoundJob } from './job-find.js';
import { countsJson } from './job-progress.js';
import { destinationOf, secondsOf, wayOut } from './job-watching.js';
import { rounded } from './outcome.js';
import { bytes, clean, duration, fields, grouped, localTime } from './text.js';

/** A stable shape, documented in docs/cli.md. null: not known (yet). */
export function jobJson(found: FoundJob, counts: JobCounts | undefined) {
  const { view, row } = found;
  const state = stateOf(found);
  const failure = failureOf(found);
  return {
    id: view?.id ?? row?.id ?? '',
    state,
    phase: view?.phase ?? row?.phase ?? null,
    folder: row?.sourceFolder ?? null,
    destination: row === undefined ? null : destinationOf(row),
    generation: row?.generation ?? null,
    monitored: row?.monitored ?? null,
    limits: row?.limits ?? null,
    counts: counts === undefined ? null : countsJson(counts),
    error: failure === undefined ? null : jsonError(failure),
    createdAt: row?.createdAt ?? null,
    startedAt: row?.startedAt ?? view?.startedAt ?? null,
    endedAt: isTerminal(state) ? (row?.finishedAt ?? view?.closedAt ?? null) : null,
    checkedAt: row?.checkedAt ?? null,
    seconds: secondsFor(view, row),
    historyEvents: view?.historyEvents ?? null,
    unclaimed: view?.unclaimed ?? null,
    webUi: view?.webUi ?? null,
    from: view === undefined ? ('catalog' as const) : ('temporal' as const),
  };
}

export type JobJson = ReturnType<typeof jobJson>;

function stateOf({ view, row }: FoundJob): JobState {
  return view?.state ?? row?.state ?? 'PENDING';
}

/** Temporal's word on why, else the catalog's, when both speak of the same end. */
function failureOf({ view, row }: FoundJob): FailureView | undefined {
  if (view?.failure !== undefined) return view.failure;
  return view === undefined || view.state === row?.state ? (row?.failure ?? undefined) : undefined;
}

function secondsFor(view: JobView | undefined, row: JobRow | undefined): number {
  if (row !== undefined && row.startedAt !== null) return rounded(secondsOf(row));
  if (view === undefined) return 0;
  const end = view.closedAt === undefined ? Date.now() : Date.parse(view.closedAt);
  return rounded(Math.max(0, (end - Date.parse(view.startedAt)) / 1000));
}

export function printJob(io: Io, job: JobJson): void {
  const { id, state, phase, counts, error, limits, seconds } = job;
  const running = !isTerminal(state);
  const some = (count: number | undefined): string | undefined =>
    count === undefined || count === 0 ? undefined : grouped(count);
  const rows = fields([
    ['Job', id],
    ['State', running && job.unclaimed !== null ? `${state}, and no worker takes its task` : state],
    ['Phase', running && phase !== null ? phase : undefined],
    ['From', job.folder],
    ['To', job.destination],
    ['Files', counts === null ? 'not known yet' : `${grouped(counts.files)}, ${bytes(counts.bytes)}`],
    [
      'In the bucket',
      counts === null ? undefined : `${grouped(counts.completed)}, ${bytes(counts.completedBytes)}`,
    ],
    ['Sent', counts === null ? undefined : `${grouped(counts.sent)}, ${bytes(counts.sentBytes)} by this run`],
    ['Unchanged', some(counts?.unchanged)],
    ['Skipped', some(counts?.skipped)],
    ['Deleted', some(counts?.deleted)],
    ['Failed', some(counts?.failed)],
    ['Limits', limits === null ? undefined : limitsText(limits)],
    ['Monitored', monitorText(job)],
    ['Reason', error === null ? undefined : `${error.message} (${error.code})`],
    ['Hint', error === null ? undefined : error.hint],
    ['Started', job.startedAt === null ? undefined : localTime(job.startedAt)],
    ['Ended', job.endedAt === null ? undefined : `${localTime(job.endedAt)}, after ${duration(seconds)}`],
    ['Web UI', job.webUi],
    ['Known from', job.from === 'catalog' ? 'the catalog; Temporal has forgotten it' : undefined],
    ['Next', nextStep(job)],
  ]);
  for (const each of rows) io.out(each);
}

export function limitsText({ bandwidth, concurrency }: NonNullable<JobJson['limits']>): string {
  const parts = [
    ...(bandwidth === null ? [] : [`${bytes(bandwidth)}/s`]),
    ...(concurrency === null ? [] : [`${grouped(concurrency)} files in flight`]),
  ];
  return parts.length === 0 ? 'none' : parts.join(', ');
}

function monitorText({ monitored, checkedAt }: JobJson): string | undefined {
  if (monitored !== true) return monitored === null ? undefined : 'no';
  return checkedAt === null ? 'yes' : `yes, looked at ${localTime(checkedAt)}`;
}

function nextStep({ id, state, error, counts, unclaimed }: JobJson): string | undefined {
  const name = clean(id);
  if (state === 'BLOCKED') return `longshore ${wayOut(error?.code)} ${name}`;
  if (state === 'PAUSED') return `longshore resume ${name}`;
  if (!isTerminal(state)) {
    return unclaimed === null ? `longshore watch ${name}` : `longshore worker (nothing polls ${unclaimed})`;
  }
  return counts !== null && counts.failed > 0 ? `longshore files ${name} --state failed` : undefined;
}
