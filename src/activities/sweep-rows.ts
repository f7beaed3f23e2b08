/** What a sweep does with rows that say of themselves that they go on. */
import { WorkflowFailedError, type WorkflowExecutionDescription } from '@temporalio/client';
import { ERRORS, LongshoreError, type FailureView } from '../core/errors.js';
import type { OpenMultipart, SweepRowsInput } from '../core/maintenance.js';
import type { UploadState } from '../core/states.js';
import type { UploadMemo, UploadReport, UploadResult } from '../core/uploads.js';
import { noteFinding, silentRows, type KeyOwner } from '../infra/catalog/maintenance.js';
import { reportUpload } from '../infra/catalog/uploads.js';
import { temporalError } from '../infra/temporal/connection.js';
import { refusal, settleUploads, type SweepPass } from './sweep-uploads.js';

/** Rows of one activity: each is a question to Temporal. */
const ROWS_AT_ONCE = 200;

/** One page of silent rows; answers the last id, or null after the last page. Safe to repeat. */
export async function sweepSilentRows(pass: SweepPass, input: SweepRowsInput): Promise<string | null> {
  const { deps, scope, signal } = pass;
  const { installation } = deps;
  const { after, bucket } = input;
  const ask = { installation, cutoff: scope.cutoff, after, bucket, limit: ROWS_AT_ONCE };
  const rows = await silentRows(deps.db, ask);
  for (const row of rows) {
    signal.throwIfAborted();
    await settleRow(pass, row);
  }
  return rows.length < ROWS_AT_ONCE ? null : (rows.at(-1)?.id ?? null);
}

async function settleRow(pass: SweepPass, row: KeyOwner): Promise<void> {
  const { deps, scope, owners } = pass;
  const standing = await owners.standingOf(row);
  if (standing === 'running') return;
  const { bucket, key, id } = row;
  const finding = { kind: 'row' as const, bucket, key, subject: id, owner: id, since: row.updatedAt };
  const note = (outcome: 'kept' | 'closing' | 'closed' | 'failed', reason: string): Promise<void> =>
    noteFinding(deps.db, scope.sweep, { ...finding, outcome, reason });
  if (standing === 'unknown') return await note('kept', 'unknown');
  const described = await owners.describe(row.workflowId);
  const reason = described === undefined ? 'forgotten' : described.status.name.toLowerCase();
  try {
    // First, for once the row has ended nobody would look under its key any more.
    await settleUploads(pass, bucket, await uploadsAt(pass, row));
  } catch (error) {
    const refused = refusal(error);
    if (refused === undefined) throw error;
    return await note('failed', refused);
  }
  await note('closing', reason);
  if (scope.dryRun) return;
  await reportUpload(deps.db, deps.installation, await endOf(pass, row, described));
  await note('closed', reason);
}

/** Also those that a list of the whole bucket leaves out, and those that it may not show us but that we know. */
async function uploadsAt(
  { deps, scope, signal }: SweepPass,
  row: KeyOwner,
): Promise<(OpenMultipart & { key: string })[]> {
  const { bucket, key } = row;
  const listed = await listedAt(deps, { bucket, key }, signal);
  const known = [row.s3UploadId, row.sessionUploadId].filter(
    (id): id is string => id !== null && !listed.some(({ s3UploadId }) => s3UploadId === id),
  );
  for (const s3UploadId of new Set(known)) {
    if (await isThere(deps, { bucket, key, s3UploadId }, signal))
      listed.push({ key, s3UploadId, initiated: row.updatedAt });
  }
  return listed.filter(({ initiated }) => initiated < scope.cutoff);
}

async function listedAt(
  { store }: SweepPass['deps'],
  { bucket, key }: { bucket: string; key: string },
  signal: AbortSignal,
): Promise<(OpenMultipart & { key: string })[]> {
  try {
    // What only begins with the key comes after it.
    const { uploads } = await store.listUploadsPage({ bucket, prefix: key }, signal);
    return uploads.filter((upload) => upload.key === key);
  } catch (error) {
    if (!(error instanceof LongshoreError)) throw error;
    if (error.code === 'NoSuchBucket' || error.code === 'AccessDenied' || error.code === 'NotSupported')
      return [];
    throw error;
  }
}

async function isThere(
  { store }: SweepPass['deps'],
  ref: { bucket: string; key: string; s3UploadId: string },
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await store.listParts({ ...ref, max: 1 }, signal);
    return true;
  } catch (error) {
    if (!(error instanceof LongshoreError)) throw error;
    if (error.code === 'NoSuchUpload' || error.code === 'NoSuchBucket') return false;
    // Parts under a customer's key are listed only with the key. It is there, and can be aborted without.
    if (error.code === 'InvalidRequest') return true;
    throw error;
  }
}

/** The report that the workflow could not make. */
async function endOf(
  pass: SweepPass,
  row: KeyOwner,
  described: WorkflowExecutionDescription | undefined,
): Promise<UploadReport> {
  // What the row has of its run orders reports; Temporal may round the same time otherwise.
  const newer = described !== undefined && described.runId !== row.runId ? described : undefined;
  return {
    id: row.id,
    workflowId: row.workflowId,
    runId: newer?.runId ?? row.runId,
    runStartedAt: newer?.startTime.toISOString() ?? row.runStartedAt,
    sequence: newer === undefined ? row.sequence + 1 : 1,
    destination: { bucket: row.bucket, key: row.key },
    source: { kind: row.sourceKind, label: row.sourceLabel },
    ...(await outcomeOf(pass, row, described)),
  };
}

type Outcome = { state: UploadState } & Partial<Pick<UploadReport, 'failure' | 'result'>>;

async function outcomeOf(
  { deps }: SweepPass,
  row: KeyOwner,
  described: WorkflowExecutionDescription | undefined,
): Promise<Outcome> {
  switch (described?.status.name) {
    case 'COMPLETED':
      return { state: 'COMPLETED', result: await resultOf(deps, described) };
    case 'CANCELLED':
      return { state: 'CANCELLED' };
    case 'FAILED': {
      const failure = (described.memo as Partial<UploadMemo> | undefined)?.failure ?? died(row);
      return { state: failure.code === 'SessionExpired' ? 'EXPIRED' : 'FAILED', failure };
    }
    default:
      return { state: 'FAILED', failure: died(row) };
  }
}

async function resultOf(
  { client, temporal }: SweepPass['deps'],
  { workflowId, runId }: WorkflowExecutionDescription,
): Promise<UploadResult> {
  try {
    return (await client.workflow.getHandle(workflowId, runId).result()) as UploadResult;
  } catch (error) {
    throw error instanceof WorkflowFailedError ? error : temporalError(temporal, 'result', error);
  }
}

function died({ id }: KeyOwner): FailureView {
  const message = `the workflow of ${id} ended without a word; a sweep cleared up after it`;
  return { code: 'Terminated', message, op: 'sweep', key: id, hint: ERRORS.Terminated.hint };
}
