/** What the Web UI shows of a job, in Markdown. */
import type { ScanAnswer } from '../core/job-steps.js';
import type { JobStatus, JobTally } from '../core/jobs.js';

export function describeJob(status: JobStatus, scan: ScanAnswer, tally: JobTally): string {
  const lines = [`**${status.state}** ${status.phase}`];
  const known = `${scan.done ? '' : 'at least '}${grouped(scan.pending)} files`;
  if (scan.pending > 0) lines.push(`${grouped(tally.files)} of ${known} sent, ${grouped(tally.bytes)} bytes`);
  if (tally.failed > 0) lines.push(`${grouped(tally.failed)} failed`);
  if (scan.gone > 0) lines.push(`${grouped(scan.gone)} are gone from the folder`);
  if (status.failure !== undefined)
    lines.push(`${status.failure.code}: ${status.failure.message}`, status.failure.hint);
  return lines.join('\n\n');
}

/** 12,300. Not by the locale: what is shown must not depend on where the worker runs. */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}
