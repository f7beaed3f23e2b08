/** `longshore sweep`: ends multipart uploads that nobody finishes, now; or says which it would end. */
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT } from '../../../core/errors.js';
import type { SweepResult } from '../../../core/maintenance.js';
import { listFindings, type Finding } from '../../../infra/catalog/maintenance.js';
import type { Pool } from '../../../infra/catalog/pool.js';
import { parseTime } from '../../../infra/config.js';
import type { MaintenanceClient, StartedSweep } from '../../maintenance.js';
import type { Io } from '../io.js';
import { badUsage, type Connections } from '../options.js';
import { configure, withCatalog, withClient } from '../session.js';
import { grouped, localTime, plural, table } from '../text.js';

export interface SweepOptions extends Connections {
  dryRun?: boolean;
  olderThan?: string;
  bucket?: string;
}

const POLL_MS = 300;
/** Findings of one page of output. */
const PAGE = 500;

export async function run(io: Io, options: SweepOptions): Promise<number> {
  const config = configure(io, options);
  const olderThanMs = ageOf(options.olderThan) ?? config.maintenance.sweepAgeMs;
  const { bucket, dryRun = false } = options;
  return await withCatalog(config, async (pool) => {
    const { started, result } = await withClient(config, async ({ maintenance }) => {
      const begun = await maintenance.sweep({ olderThanMs, dryRun, bucket });
      if (!io.json) announce(io, begun);
      await untilClosed(io, maintenance, begun.id);
      return { started: begun, result: await maintenance.result(begun.id) };
    });
    await printFindings(io, pool, started.workflowId, result);
    printResult(io, started, result);
    return result.failed > 0 || result.troubles > 0 ? EXIT.partial : EXIT.ok;
  });
}

function ageOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const age = parseTime(text);
  if (age !== undefined) return age;
  throw badUsage(`--older-than takes a time such as 30m, 1h or 2d, not ${JSON.stringify(text)}`);
}

function announce(io: Io, { workflowId, webUi }: StartedSweep): void {
  io.err(`${workflowId} runs; it goes on if this command is stopped.`);
  if (webUi !== undefined) io.err(webUi);
}

async function untilClosed(io: Io, maintenance: MaintenanceClient, id: string): Promise<void> {
  let warned: string | undefined;
  for (;;) {
    const { closed, unclaimed } = await maintenance.view(id);
    if (closed) return;
    if (unclaimed !== undefined && unclaimed !== warned)
      io.err(`No worker takes what lies on the queue ${unclaimed}. Next: \`longshore worker\``);
    warned = unclaimed;
    await sleep(POLL_MS);
  }
}

async function printFindings(io: Io, pool: Pool, sweep: string, { dryRun }: SweepResult): Promise<void> {
  for (let next: string | undefined; ;) {
    const page = await listFindings(pool, { sweep, limit: PAGE, next });
    if (io.json) for (const finding of page.findings) io.outJson({ type: 'finding', ...finding });
    else if (page.findings.length > 0)
      for (const line of table(
        HEAD,
        page.findings.map((finding) => cells(finding, dryRun)),
      ))
        io.out(line);
    if (page.next === null) return;
    next = page.next;
  }
}

const HEAD = ['WHAT', 'SINCE', 'WHY', 'UPLOAD', 'WHERE', 'MULTIPART UPLOAD'];

function cells(
  { outcome, reason, since, owner, bucket, key, kind, subject }: Finding,
  dryRun: boolean,
): string[] {
  const what = dryRun ? (WOULD[outcome] ?? outcome) : (DID[outcome] ?? outcome);
  const multipart = kind === 'multipart' ? subject : '-';
  return [what, localTime(since), REASONS[reason] ?? reason, owner, `s3://${bucket}/${key}`, multipart];
}

type Words = Partial<Record<string, string>>;

const WOULD: Words = { aborting: 'would abort', closing: 'would close' };
/** Also what was cut off after the deed. */
const DID: Words = { aborting: 'aborted', closing: 'closed' };
const REASONS: Words = {
  ended: 'its upload has ended',
  superseded: 'a newer one took its place',
  lost: 'S3’s answer was lost',
  running: 'its upload runs',
  unknown: 'nobody knows whether it runs',
  hidden: 'S3 does not show what is in it',
  forgotten: 'Temporal forgot its workflow',
  terminated: 'its workflow was terminated',
  timed_out: 'its workflow ran out of time',
  failed: 'its workflow failed',
  cancelled: 'its workflow was cancelled',
  completed: 'its workflow completed',
};

function printResult(io: Io, { workflowId }: StartedSweep, result: SweepResult): void {
  if (io.json) {
    io.outJson({ type: 'result', sweep: workflowId, ...result });
    return;
  }
  const { aborted, closed, kept, failed, strangers, young, failures, troubles, dryRun, cutoff, purged } =
    result;
  const would = dryRun ? 'would be ' : '';
  io.err(`Older than ${localTime(cutoff)}:`);
  io.err(`  ${plural(aborted, 'multipart upload')} ${would}aborted, ${plural(closed, 'row')} ${would}closed`);
  io.err(`  ${grouped(kept)} kept, ${grouped(strangers)} of others left alone, ${grouped(young)} too young`);
  if (!dryRun) io.err(`  ${plural(purged.secrets, 'expired secret')} removed`);
  if (failed > 0) io.err(`  ${grouped(failed)} could not be dealt with`);
  for (const { what, code, message } of failures) io.err(`warning: ${what}: ${message} (${code})`);
  if (troubles > failures.length) io.err(`warning: and ${grouped(troubles - failures.length)} more`);
}
