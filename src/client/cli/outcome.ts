/** The end of an upload in words and as JSON. The shapes are stable and documented in docs/cli.md. */
import { EXIT, type ErrorCode, type FailureView, type LongshoreError } from '../../core/errors.js';
import type { UploadState } from '../../core/states.js';
import type { UploadResult } from '../../core/uploads.js';
import { exitCodeOf, jsonError, printFailure } from './failure.js';
import type { Io } from './io.js';
import { bytes, fields, plural } from './text.js';

/** What is known of an upload besides its end. */
export interface Ended {
  id: string;
  bucket: string | undefined;
  key: string | undefined;
  webUi: string | undefined;
}

export function resultJson(ended: Ended, result: UploadResult, seconds: number): object {
  return {
    type: 'result',
    id: ended.id,
    state: 'COMPLETED',
    bucket: result.bucket,
    key: result.key,
    size: result.size,
    etag: result.etag,
    versionId: result.versionId ?? null,
    checksum: result.checksum ?? null,
    verification: result.verification,
    bytesSent: result.bytesSent,
    parts: result.parts,
    generations: result.generations,
    seconds: rounded(seconds),
    webUi: ended.webUi ?? null,
  };
}

export function printResult(io: Io, ended: Ended, result: UploadResult, seconds: number): number {
  if (io.json) {
    io.outJson(resultJson(ended, result, seconds));
    return EXIT.ok;
  }
  const rate = seconds > 0 ? `, ${bytes(Math.round(result.size / seconds))}/s` : '';
  const more = [
    ['took', `${seconds.toFixed(2)} s${rate}`],
    ['Web UI', ended.webUi],
  ] as const;
  for (const line of resultLines(result, more)) io.out(line);
  return EXIT.ok;
}

/** What S3 holds now, a line each. */
export function resultLines(
  result: UploadResult,
  more: readonly (readonly [string, string | undefined])[] = [],
): string[] {
  const size = result.size < 1024 ? '' : `${bytes(result.size)}, `;
  const again = result.bytesSent - result.size;
  const rows = [
    ['size', `${size}${plural(result.size, 'byte')} in ${plural(result.parts, 'part')}`],
    ['etag', result.etag],
    ['version', result.versionId],
    ['checksum', `${result.checksum ?? 'none'} (${VERIFIED[result.verification]})`],
    ['sent again', again > 0 ? plural(again, 'byte') : undefined],
    ...more,
  ] as const;
  return [`s3://${result.bucket}/${result.key}`, ...fields(rows, '  ')];
}

const VERIFIED = {
  full: 'verified in full',
  server: 'verified by the server, request by request',
  size: 'only size and count verified',
} as const;

/** Ends that have a state of their own. */
const ENDS: Partial<Record<ErrorCode, UploadState>> = { Cancelled: 'CANCELLED', SessionExpired: 'EXPIRED' };

export function failedJson(ended: Ended, error: FailureView, seconds: number): object {
  return {
    type: 'result',
    id: ended.id,
    state: ENDS[error.code] ?? 'FAILED',
    bucket: ended.bucket ?? null,
    key: ended.key ?? null,
    error: jsonError(error),
    seconds: rounded(seconds),
    webUi: ended.webUi ?? null,
  };
}

export function printFailed(io: Io, ended: Ended, error: LongshoreError, seconds: number): number {
  if (io.json) io.outJson(failedJson(ended, error, seconds));
  else if (error.code === 'Cancelled') io.err(`The upload ${ended.id} was cancelled; nothing of it is left.`);
  else {
    printFailure(io, error);
    if (ended.webUi !== undefined) io.err(`Web UI: ${ended.webUi}`);
  }
  return exitCodeOf(error);
}

export function rounded(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}
