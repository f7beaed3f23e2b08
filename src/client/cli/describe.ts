/** One upload as `status` and the steering commands show it: from Temporal while it remembers, else from the catalog. */
import { LongshoreError, type FailureView } from '../../core/errors.js';
import { isTerminal, type UploadState } from '../../core/states.js';
import type { UploadProgress } from '../../core/uploads.js';
import type { UploadRow } from '../../infra/catalog/uploads.js';
import type { UploadView } from '../longshore-client.js';
import { jsonError, type JsonError } from './failure.js';
import type { Io } from './io.js';
import { rounded } from './outcome.js';
import { progressLine } from './progress-line.js';
import { bytes, duration, fields, grouped, localTime, plural } from './text.js';

/** A stable shape, documented in docs/cli.md. null: not known (yet). */
export interface UploadStatusJson {
  id: string;
  state: UploadState;
  bucket: string | null;
  key: string | null;
  source: string | null;
  size: number | null;
  etag: string | null;
  versionId: string | null;
  checksum: string | null;
  verification: string | null;
  bytesSent: number | null;
  parts: number | null;
  generations: number | null;
  progress: Omit<UploadProgress, 'open'> | null;
  error: JsonError | null;
  startedAt: string;
  endedAt: string | null;
  seconds: number;
  historyEvents: number | null;
  unclaimed: string | null;
  webUi: string | null;
  from: 'temporal' | 'catalog';
}

/** What Temporal says of its run; the row adds what only it knows. */
export function fromView(view: UploadView, row: UploadRow | undefined): UploadStatusJson {
  const { result, progress, failure } = view;
  const same = row?.runId === view.runId ? row : undefined;
  const { open: _, ...figures } = progress;
  return {
    id: view.id,
    state: view.state,
    bucket: result?.bucket ?? view.bucket ?? row?.bucket ?? null,
    key: result?.key ?? row?.key ?? null,
    source: row?.sourceLabel ?? null,
    size: result?.size ?? progress.bytesTotal ?? same?.size ?? null,
    etag: result?.etag ?? null,
    versionId: result?.versionId ?? null,
    checksum: result?.checksum ?? null,
    verification: result?.verification ?? null,
    bytesSent: result?.bytesSent ?? progress.bytesSent,
    parts: result?.parts ?? progress.partsTotal ?? same?.parts ?? null,
    generations: result?.generations ?? same?.generations ?? null,
    progress: figures,
    error: errorOf(failure ?? same?.failure ?? undefined),
    startedAt: view.startedAt,
    endedAt: view.closedAt ?? null,
    seconds: secondsBetween(view.startedAt, view.closedAt),
    historyEvents: view.historyEvents,
    unclaimed: view.unclaimed ?? null,
    webUi: view.webUi ?? null,
    from: 'temporal',
  };
}

export function fromRow(row: UploadRow): UploadStatusJson {
  const {
    id,
    state,
    bucket,
    key,
    size,
    etag,
    versionId,
    checksum,
    verification,
    bytesSent,
    parts,
    generations,
  } = row;
  return {
    ...{ id, state, bucket, key, source: row.sourceLabel, size, etag, versionId, checksum, verification },
    ...{ bytesSent, parts, generations, progress: null, error: errorOf(row.failure ?? undefined) },
    startedAt: row.runStartedAt,
    endedAt: row.finishedAt,
    seconds: secondsBetween(row.runStartedAt, row.finishedAt ?? undefined),
    historyEvents: null,
    unclaimed: null,
    webUi: null,
    from: 'catalog',
  };
}

/** A failure that the catalog kept, thrown as it was. */
export function failureOfRow(row: UploadRow): LongshoreError {
  const { id, state, failure } = row;
  if (state === 'CANCELLED')
    return new LongshoreError('Cancelled', `the upload ${id} was cancelled`, { op: 'upload', key: id });
  const { code, message, op, key, hint } = failure ?? {
    ...{
      code: 'Internal' as const,
      message: 'no reason was recorded',
      op: 'upload',
      key: id,
      hint: undefined,
    },
  };
  return new LongshoreError(code, message, { op: op ?? 'upload', key: key ?? id, hint });
}

function errorOf(failure: FailureView | undefined): JsonError | null {
  return failure === undefined ? null : jsonError(failure);
}

function secondsBetween(start: string, end: string | undefined): number {
  const to = end === undefined ? Date.now() : new Date(end).getTime();
  return Math.max(0, rounded((to - new Date(start).getTime()) / 1000));
}

export function printStatus(io: Io, status: UploadStatusJson): void {
  const { id, state, bucket, key, size, error, progress, startedAt, endedAt, seconds } = status;
  const place = bucket === null ? undefined : key === null ? `s3://${bucket}/…` : `s3://${bucket}/${key}`;
  const running = !isTerminal(state);
  const line =
    progress !== null && running ? progressLine('UPLOADING', progress, undefined).trim() : undefined;
  const rows = fields([
    ['Upload', id],
    ['State', running && status.unclaimed !== null ? `${state}, and no worker takes its task` : state],
    ['From', status.source],
    ['To', place],
    [
      'Size',
      size === null
        ? 'not known yet'
        : `${size < 1024 ? '' : `${bytes(size)}, `}${grouped(size)} bytes${status.parts === null ? '' : ` in ${plural(status.parts, 'part')}`}`,
    ],
    ['Progress', line],
    ['ETag', status.etag],
    ['Version', status.versionId],
    [
      'Checksum',
      status.checksum === null ? undefined : `${status.checksum} (verification: ${status.verification})`,
    ],
    ['Reason', error === null ? undefined : `${error.message} (${error.code})`],
    ['Hint', error === null ? undefined : error.hint],
    ['Started', localTime(startedAt)],
    ['Ended', endedAt === null ? undefined : `${localTime(endedAt)}, after ${duration(seconds)}`],
    ['Web UI', status.webUi],
    ['Known from', status.from === 'catalog' ? 'the catalog; Temporal has forgotten it' : undefined],
    ['Next', nextStep(status)],
  ]);
  for (const each of rows) io.out(each);
}

export function nextStep({ id, state, unclaimed }: UploadStatusJson): string | undefined {
  if (isTerminal(state)) return undefined;
  if (state === 'PAUSED' || state === 'BLOCKED') return `longshore resume ${id}`;
  return unclaimed === null
    ? `longshore watch ${id}`
    : `longshore worker (nothing polls the queue ${unclaimed})`;
}
