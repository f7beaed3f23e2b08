/**
 * The one place that turns what an S3 server, the SDK or the network says into a LongshoreError. Nothing else decides
 * by a status or a server's code.
 */
import { LongshoreError } from '../../core/errors.js';
import type { ErrorCode } from '../../core/errors.js';

/** What a call was about; `bucket` alone for calls on a bucket. */
export interface CallSite {
  op: string;
  bucket: string;
  key?: string | undefined;
}

/** What the server said. `code` and `message` are absent where the answer had no body (HEAD, proxies). */
export interface ServerAnswer {
  status: number;
  code?: string | undefined;
  message?: string | undefined;
}

interface Mapping {
  code: ErrorCode;
  hint?: string;
}

/** By the server's own code, which says more than the status. */
const BY_CODE: Readonly<Record<string, Mapping>> = {
  NoSuchBucket: { code: 'NoSuchBucket' },
  AccessDenied: { code: 'AccessDenied' },
  AllAccessDisabled: { code: 'AccessDenied' },
  InvalidAccessKeyId: { code: 'BadCredentials' },
  // versitygw's word for an unknown access key, under 404.
  XAdminUserNotFound: { code: 'BadCredentials' },
  SignatureDoesNotMatch: { code: 'BadCredentials' },
  InvalidToken: { code: 'BadCredentials' },
  ExpiredToken: { code: 'ExpiredCredentials' },
  ExpiredTokenException: { code: 'ExpiredCredentials' },
  RequestExpired: { code: 'ExpiredCredentials' },
  TokenRefreshRequired: { code: 'ExpiredCredentials' },
  // Both are seen only after the clock was corrected once by the server's Date.
  RequestTimeTooSkewed: {
    code: 'InvalidRequest',
    hint: 'Set the clock of this machine, or of the S3 server.',
  },
  RequestInTheFuture: { code: 'InvalidRequest', hint: 'Set the clock of this machine, or of the S3 server.' },
  SlowDown: { code: 'SlowDown' },
  SlowDownRead: { code: 'SlowDown' },
  SlowDownWrite: { code: 'SlowDown' },
  ServiceUnavailable: { code: 'SlowDown' },
  TooManyRequests: { code: 'SlowDown' },
  TooManyRequestsException: { code: 'SlowDown' },
  RequestLimitExceeded: { code: 'SlowDown' },
  Throttling: { code: 'SlowDown' },
  ThrottlingException: { code: 'SlowDown' },
  // A 400 by status, yet it only says that the body came too slowly.
  RequestTimeout: { code: 'S3Unavailable' },
  // The body stopped short of its length on the way.
  IncompleteBody: { code: 'S3Unavailable' },
  InternalError: { code: 'S3Unavailable' },
  BadDigest: { code: 'BadDigest' },
  InvalidDigest: { code: 'BadDigest' },
  XAmzContentChecksumMismatch: { code: 'BadDigest' },
  XAmzContentSHA256Mismatch: { code: 'BadDigest' },
  ContentSHA256Mismatch: { code: 'BadDigest' },
  ChecksumMismatch: { code: 'BadDigest' },
  InsufficientStorage: { code: 'StorageFull' },
  QuotaExceeded: { code: 'StorageFull' },
  XMinioStorageFull: { code: 'StorageFull' },
  XMinioAdminBucketQuotaExceeded: { code: 'StorageFull' },
  NotEnoughSpace: { code: 'StorageFull' },
  PreconditionFailed: { code: 'PreconditionFailed' },
  ConditionalRequestConflict: { code: 'UploadConflict' },
  OperationAborted: { code: 'UploadConflict' },
  // The ledger names parts that the server does not hold (any more), and no repetition of Complete brings them back:
  // only sending every part to a fresh upload does.
  InvalidPart: { code: 'UploadConflict' },
  NoSuchUpload: { code: 'NoSuchUpload' },
  NotImplemented: { code: 'NotSupported' },
  NoSuchKey: { code: 'SourceNotFound' },
  NoSuchVersion: { code: 'SourceNotFound' },
  PermanentRedirect: {
    code: 'InvalidRequest',
    hint: 'The bucket is in another region; correct the region or the endpoint.',
  },
  AuthorizationHeaderMalformed: {
    code: 'InvalidRequest',
    hint: 'Correct the region that the settings name.',
  },
};

/** What the server passes on from its key service: `KMS.NotFoundException` (AWS, 400), `kms:KeyNotFound` (MinIO, 404). */
const KMS_REFUSAL = /^kms[.:](?!.*(?:throttling|internal|timeout|unavailable))/i;
const KMS: Mapping = {
  code: 'InvalidRequest',
  hint: 'Correct the KMS key, see that it is enabled, and let the worker’s credentials use it.',
};

const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  401: 'BadCredentials',
  403: 'AccessDenied',
  404: 'SourceNotFound',
  408: 'S3Unavailable',
  409: 'UploadConflict',
  412: 'PreconditionFailed',
  429: 'SlowDown',
  501: 'NotSupported',
  // Whatever is behind a bare 503, fewer requests are the right answer to it.
  503: 'SlowDown',
  507: 'StorageFull',
};

/** Credentials and signatures that a server may quote back at us. */
const SECRETS = /(X-Amz-(?:Signature|Credential|Security-Token)=|Signature=|Credential=)[^\s&,<]+/gi;
const FULL = /no space left on device|disk quota exceeded|ENOSPC|EDQUOT/i;

export function s3Name(site: CallSite): string {
  return site.key === undefined ? `s3://${site.bucket}` : `s3://${site.bucket}/${site.key}`;
}

function mappingOf(answer: ServerAnswer): Mapping {
  if (answer.message !== undefined && answer.status >= 500 && FULL.test(answer.message))
    return { code: 'StorageFull' };
  const byCode =
    answer.code !== undefined && Object.hasOwn(BY_CODE, answer.code) ? BY_CODE[answer.code] : undefined;
  if (byCode !== undefined) return byCode;
  if (answer.status >= 400 && answer.status < 500 && KMS_REFUSAL.test(answer.code ?? '')) return KMS;
  const byStatus = BY_STATUS[answer.status];
  if (byStatus !== undefined) return { code: byStatus };
  // A success with an error in its body, or without what it must carry, is worth another try unless its code says otherwise.
  return { code: answer.status >= 500 || answer.status < 300 ? 'S3Unavailable' : 'InvalidRequest' };
}

/** An error for an answer of the server. */
export function answerError(site: CallSite, answer: ServerAnswer, cause?: unknown): LongshoreError {
  const { code, hint } = mappingOf(answer);
  const said = [answer.code, answer.message?.replace(SECRETS, '$1…').trim()].filter(
    (part) => part !== undefined && part !== '',
  );
  const what = said.length > 0 ? said.join(': ') : 'no reason given';
  const message = `${site.op} ${s3Name(site)}: HTTP ${answer.status}, ${what}`;
  return new LongshoreError(code, message, { op: site.op, key: s3Name(site), cause, hint });
}

/** An error for a call that got no answer: refused, reset, timed out, cut in the middle. */
export function networkError(site: CallSite, cause: unknown): LongshoreError {
  const message = `${site.op} ${s3Name(site)}: no answer from the server (${briefly(cause)})`;
  return new LongshoreError('S3Unavailable', message, { op: site.op, key: s3Name(site), cause });
}

/**
 * An error for whatever an SDK call threw. When `signal` is aborted its reason comes back untouched, so that a
 * cancellation is never taken for a failure of S3.
 */
export function sdkError(site: CallSite, error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof LongshoreError) return error;
  const { name, message, status } = sdkFields(error);
  if (name === 'CredentialsProviderError' || name === 'TokenProviderError') {
    const code = /expired|refresh/i.test(message) ? 'ExpiredCredentials' : 'BadCredentials';
    return new LongshoreError(code, `${site.op} ${s3Name(site)}: ${message}`, {
      op: site.op,
      key: s3Name(site),
      cause: error,
    });
  }
  if (status === undefined) return networkError(site, error);
  // Without a body the SDK invents a name from the status, or `Unknown`; neither is the server's word.
  const own = name !== 'Unknown' && name !== 'UnknownError' && name !== String(status);
  return answerError(
    site,
    { status, code: own ? name : undefined, message: own ? message : undefined },
    withoutRequest(error),
  );
}

/**
 * The SDK hangs the answer on its errors for good, and by it the request with every header, customers' keys and signatures
 * among them; whoever printed the error would print those too. Gives one that says the same without.
 */
export function withoutRequest(error: unknown): unknown {
  if (!(error instanceof Error) || !('$response' in error)) return error;
  const { name, message, stack } = error;
  const { Code, RequestId, $metadata } = error as Error & Record<string, unknown>;
  return Object.assign(new Error(message), { name, stack, Code, RequestId, $metadata });
}

function sdkFields(error: unknown): { name: string; message: string; status: number | undefined } {
  if (!(error instanceof Error)) return { name: '', message: String(error), status: undefined };
  const metadata = (error as { $metadata?: { httpStatusCode?: number } }).$metadata;
  const code = (error as { Code?: string }).Code;
  return { name: code ?? error.name, message: error.message, status: metadata?.httpStatusCode };
}

function briefly(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const code = (cause as NodeJS.ErrnoException).code;
  return code === undefined || cause.message.includes(code) ? cause.message : `${code}: ${cause.message}`;
}

/** `Code` and `Message` of an S3 error document, in any casing; undefined when the text is not one. */
export function readErrorDocument(
  text: string,
): { code: string | undefined; message: string | undefined } | undefined {
  if (!/^\s*(?:<\?xml[^>]*\?>\s*)?<error[\s>/]/i.test(text)) return undefined;
  return { code: element(text, 'code'), message: element(text, 'message') };
}

function element(text: string, name: string): string | undefined {
  const match = new RegExp(`<${name}>([^<]*)</${name}>`, 'i').exec(text);
  return match?.[1] === undefined ? undefined : unescapeXml(match[1]);
}

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };

function unescapeXml(text: string): string {
  return text.replace(/&(lt|gt|quot|apos|amp);/g, (whole, name: string) => ENTITIES[name] ?? whole);
}
