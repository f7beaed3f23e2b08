/** The end of a job in words and as JSON. The shapes are stable and documented in docs/cli.md. */
import { EXIT, type LongshoreError } from '../../core/errors.js';
import type { JobCounts, JobFile, JobResult } from '../../core/jobs.js';
import { exitCodeOf, jsonError, printFailure } from './failure.js';
import type { Io } from './io.js';
import { countsJson } from './job-progress.js';
import { rounded } from './outcome.js';
import { bytes, clean, fields, grouped, plural } from './text.js';

/** What is known of a job besides its end. */
export interface EndedJob {
  id: string;
  /** `s3://bucket/prefix`. */
  to: string | undefined;
  webUi: string | undefined;
}

/** Failures that are listed at the end; `files` lists them all. */
export const LISTED_FAILURES = 20;

export type FailedFile = Pick<JobFile, 'path' | 'failureCode' | 'failureReason'>;

/** Prints the end of a job that is complete; some of its files may have failed. */
export function printJobResult(
  io: Io,
  job: EndedJob,
  result: JobResult,
  failures: readonly FailedFile[],
  seconds: number,
): number {
  const code = result.failedFiles > 0 ? EXIT.partial : EXIT.ok;
  if (io.json) {
    io.outJson({
      ...{ type: 'result', id: job.id, state: result.state, generation: result.generation },
      ...countsJson(result),
      failures: failures.map(failureJson),
      seconds: rounded(seconds),
      webUi: job.webUi ?? null,
    });
    return code;
  }
  if (job.to !== undefined) io.out(job.to);
  for (const line of fields(resultRows(job, result, seconds), '  ')) io.out(line);
  printFailures(io, job.id, result.failedFiles, failures);
  return code;
}

function resultRows(
  { id, webUi }: EndedJob,
  result: JobCounts,
  seconds: number,
): (readonly [string, string | undefined])[] {
  const { totalFiles, totalBytes, sentFiles, sentBytes, unchangedFiles } = result;
  const some = (count: number, text = grouped(count)): string | undefined => (count > 0 ? text : undefined);
  const rate =
    sentFiles > 0 && seconds > 0
      ? `, ${bytes(Math.round(sentBytes / seconds))}/s, ${grouped(sentFiles / seconds)} files/s`
      : '';
  return [
    ['job', id],
    ['files', `${grouped(totalFiles)}, ${bytes(totalBytes)}`],
    ['sent', sentFiles > 0 ? `${grouped(sentFiles)}, ${bytes(sentBytes)}` : 'nothing'],
    ['unchanged', some(unchangedFiles)],
    ['skipped', some(result.skippedFiles)],
    ['deleted', some(result.deletedFiles)],
    ['failed', some(result.failedFiles)],
    ['took', `${seconds.toFixed(2)} s${rate}`],
    ['Web UI', webUi],
  ];
}

function printFailures(io: Io, id: string, failed: number, listed: readonly FailedFile[]): void {
  if (failed === 0) return;
  io.err(`${plural(failed, 'file')} failed:`);
  for (const { path, failureCode, failureReason } of listed) {
    io.err(`  ${path}: ${failureReason ?? 'no reason was recorded'} (${failureCode ?? 'Internal'})`);
  }
  if (failed > listed.length) io.err(`  and ${grouped(failed - listed.length)} more`);
  const name = clean(id);
  io.err(
    `All of them: \`longshore files ${name} --state failed\`; once repaired: \`longshore retry ${name}\``,
  );
}

export function failureJson({ path, failureCode, failureReason }: FailedFile) {
  return { path, code: failureCode, reason: failureReason };
}

/** Prints the end of a job that failed or was cancelled; what went before that stays in the bucket. */
export function printJobFailed(
  io: Io,
  job: EndedJob,
  error: LongshoreError,
  counts: JobCounts | undefined,
  seconds: number,
): number {
  const cancelled = error.code === 'Cancelled';
  if (io.json) {
    io.outJson({
      ...{ type: 'result', id: job.id, state: cancelled ? 'CANCELLED' : 'FAILED', error: jsonError(error) },
      ...(counts === undefined ? {} : countsJson(counts)),
      ...{ seconds: rounded(seconds), webUi: job.webUi ?? null },
    });
    return exitCodeOf(error);
  }
  if (cancelled) {
    io.err(`The job ${job.id} was cancelled; what it had sent stays in the bucket.`);
  } else {
    printFailure(io, error);
    if (job.webUi !== undefined) io.err(`Web UI: ${job.webUi}`);
  }
  if (counts !== undefined) {
    io.err(`It had sent ${plural(counts.sentFiles, 'file')}, ${bytes(counts.sentBytes)}.`);
  }
  return exitCodeOf(error);
}
