/** What a session lets be done to it, and by whom. */
import { LongshoreError } from '../../core/errors.js';
import { describeTarget, isGranted, type GrantTarget } from '../../core/grants.js';
import { MAX_PARKED_MS, MAX_PARTS } from '../../core/limits.js';
import { chunkCount, chunkLength } from '../../core/sessions.js';
import { isTerminal } from '../../core/states.js';
import type { UploadResult } from '../../core/uploads.js';
import type { SessionRow } from '../../infra/catalog/sessions.js';
import type { Caller, ChunkRequest } from './service.js';

export function mayWrite({ apiKey }: Caller, target: GrantTarget): boolean {
  return apiKey === null || isGranted(apiKey.grants, target);
}

/** Throws NotGranted. */
export function mustGrant(caller: Caller, target: GrantTarget): void {
  if (mayWrite(caller, target)) return;
  throw new LongshoreError('NotGranted', `the API key has no grant for ${describeTarget(target)}`, {
    op: 'request',
    key: describeTarget(target),
  });
}

/** It lies in their grants, or they began it. */
export function maySee({ apiKey }: Caller, row: SessionRow): boolean {
  return apiKey === null || row.apiKey === apiKey.id || isGranted(apiKey.grants, row);
}

/** Throws NotRunning or SessionExpired unless the session takes bytes. */
export function mustTake(row: SessionRow): void {
  if (isTerminal(row.state)) throw endedError(row);
  if (row.open) return;
  throw new LongshoreError('NotRunning', `the session ${row.id} is being completed`, {
    op: 'receive',
    key: row.id,
    hint: 'Look at the session: should chunks be missing, it takes them again.',
  });
}

/**
 * How long a customer's key is kept after the client's last sign, ms: the session needs it, and once it is being completed
 * the upload may be parked longer than any session lives.
 */
export function keyLifeMs(ttlMs: number): number {
  return 2 * Math.max(ttlMs, MAX_PARKED_MS);
}

/** How a session ended that did not complete, or that completed while more was to come. */
export function endedError({ id, state, failure }: SessionRow): LongshoreError {
  if (state === 'EXPIRED')
    return new LongshoreError('SessionExpired', `the session ${id} has expired`, { op: 'session', key: id });
  if (state === 'CANCELLED')
    return new LongshoreError('NotRunning', `the session ${id} was cancelled`, { op: 'session', key: id });
  const why = failure === null ? state : `${failure.code}, ${failure.message}`;
  const said = state === 'COMPLETED' ? 'is complete' : `has failed: ${why}`;
  return new LongshoreError('NotRunning', `the session ${id} ${said}`, { op: 'session', key: id });
}

/** Throws WrongChunkSize, which names the right size, or InvalidInput for a session without chunks. */
export function mustFit(
  row: SessionRow,
  { partNumber, length }: Pick<ChunkRequest, 'partNumber' | 'length'>,
): void {
  if (row.mode !== 'chunks')
    throw new LongshoreError('InvalidInput', `the session ${row.id} takes one whole object, no chunks`, {
      op: 'receive',
      key: row.id,
    });
  const { expectedSize: size, chunkSize } = row;
  const chunk = partNumber - 1;
  const count = size === null ? MAX_PARTS : chunkCount(size, chunkSize);
  if (chunk >= count) throw wrongSize(row, `there is no chunk ${chunk}: it has ${count}, numbered from 0`);
  const { least, most } = chunkLength(
    chunk,
    row.expectedSize === null ? { chunkSize, size: null } : { chunkSize, size },
  );
  // Of an object without a byte one empty chunk is sent.
  const empty = length === 0 && chunk === 0 && size === null;
  if (empty || (length >= least && length <= most)) return;
  const right = least === most ? `${most}` : `${least} to ${most}`;
  throw wrongSize(row, `chunk ${chunk} has ${right} bytes, not ${length}`);
}

function wrongSize({ id }: SessionRow, message: string): LongshoreError {
  return new LongshoreError('WrongChunkSize', message, { op: 'receive', key: id });
}

/** Of a session that is COMPLETED. */
export function resultOf(row: SessionRow): UploadResult {
  const { bucket, key, size, etag, versionId, checksum, verification, bytesSent, parts, generation } = row;
  return {
    ...{ bucket, key, size: size ?? 0, etag: etag ?? '', verification: verification ?? 'size' },
    ...(versionId === null ? {} : { versionId }),
    ...(checksum === null ? {} : { checksum }),
    ...{ bytesSent: bytesSent ?? 0, parts: parts ?? 0, generations: generation },
  };
}
