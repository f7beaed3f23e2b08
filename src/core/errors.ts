/**
 * Every failure that Longshore names. One table maps a code to what the outside sees of it; nothing else decides
 * whether a failure is worth another try.
 */

/**
 * - `never`: another try cannot help; the upload fails.
 * - `retry`: passing; tried again with backoff.
 * - `park`: a person can repair it; the workflow waits as BLOCKED until it is told to resume.
 * - `restart`: the multipart upload is gone or spoilt; the workflow begins a fresh one.
 */
export type Retry = 'never' | 'retry' | 'park' | 'restart';

interface ErrorRow {
  readonly http: number;
  readonly exit: number;
  readonly retry: Retry;
  /** What a person can do. */
  readonly hint: string;
}

/** Exit codes of the CLI. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  cancelled: 3,
  unreachable: 4,
  conflict: 5,
  detached: 6,
  /** A job that is complete but for files that failed. */
  partial: 7,
} as const;

const never = (http: number, hint: string, exit: number = EXIT.failed): ErrorRow => ({
  http,
  exit,
  retry: 'never',
  hint,
});
const retry = (http: number, hint: string, exit: number = EXIT.unreachable): ErrorRow => ({
  http,
  exit,
  retry: 'retry',
  hint,
});
const park = (http: number, hint: string): ErrorRow => ({ http, exit: EXIT.failed, retry: 'park', hint });
const restart = (http: number, hint: string): ErrorRow => ({
  http,
  exit: EXIT.failed,
  retry: 'restart',
  hint,
});

export const ERRORS = {
  // What was asked for
  InvalidInput: never(400, 'Correct the request and send it again.', EXIT.usage),
  InvalidConfig: never(500, 'Correct the setting that the message names.', EXIT.usage),
  Contradictory: never(422, 'Correct what the message says; each field alone is right.', EXIT.usage),
  KeyTooLong: never(422, 'Choose a key of at most 1,024 bytes in UTF-8.', EXIT.usage),
  PlanImpossible: never(422, 'Raise the part size, or split the object.', EXIT.usage),
  Conflict: never(409, 'Choose another id, or send the same input.', EXIT.conflict),
  AlreadyCompleted: never(
    409,
    'The upload with this id is complete; choose another id to send it again.',
    EXIT.conflict,
  ),
  NotFound: never(404, 'Check the id with `longshore list`.'),
  NotRunning: never(409, 'The upload has ended; `longshore status` shows how.', EXIT.conflict),

  // Sessions
  SessionExpired: never(410, 'Nobody came back to the session in time; begin another.'),
  PartsMissing: never(409, 'Send the chunks that the message names, then complete again.', EXIT.conflict),
  WrongChunkSize: never(422, 'Send the chunk with the size that the message names.'),
  ChunkDamaged: never(400, 'The bytes are not those of the checksum; send the chunk again.'),
  ChunkSuperseded: never(409, 'A newer request brings this chunk; that one counts.', EXIT.conflict),
  LengthRequired: never(411, 'Send a Content-Length with the body.'),
  InsecureTransport: never(403, 'Keys of customers are taken over TLS or loopback only.'),

  // Who asks, and how
  Unauthenticated: never(401, 'Send `Authorization: Bearer <key>`; `longshore keys add` makes a key.'),
  NotGranted: never(
    403,
    'Use a key with a grant for this bucket and prefix; `longshore keys add` makes one.',
  ),
  OriginRefused: never(403, 'Call the API by its loopback address and without a foreign page’s Origin.'),
  MethodNotAllowed: never(405, 'Use one of the methods that the Allow header lists.'),
  RequestTooLarge: never(413, 'Send a smaller request.'),
  UnsupportedMediaType: never(415, 'Send JSON, with `Content-Type: application/json`.'),
  TooManyRequests: retry(429, 'Wait as long as the Retry-After header says.'),

  // The source
  SourceNotFound: never(404, 'Check that the source exists and is spelled right.'),
  SourceDenied: never(403, 'Let the worker’s user read the source.'),
  SourceOutsideRoot: never(403, 'The path leaves its root; name a root that holds it.'),
  SourceNotAllowed: never(
    403,
    'The address is refused by configuration; see LONGSHORE_URL_ALLOW in the configuration guide.',
  ),
  SourceChanged: never(409, 'The source changed while it was sent; start the upload again.'),
  SourceTooLarge: never(413, 'Raise the limit that the message names, or send less.'),
  SourceInvalid: never(400, 'The source cannot be read as asked; the message says why.'),
  SizeMismatch: never(409, 'The source has not the expected size; check it, then start again.'),
  SourceUnavailable: retry(502, 'The source does not answer; it is tried again.'),
  RootUnavailable: park(503, 'Mount the root again, then `longshore resume`.'),
  TooManyDeletions: park(
    409,
    'Look at the folder; `longshore approve` lets the deletions go, `longshore cancel` ends the run without them.',
  ),
  NoWorkerForSource: park(503, 'Start a worker that has this root, then `longshore resume`.'),

  // S3
  NoSuchBucket: never(404, 'Create the bucket, or correct its name.'),
  AccessDenied: never(403, 'Give the credentials the S3 permissions that the operations guide lists.'),
  BadCredentials: never(401, 'Check the access key and the secret key that the worker uses.'),
  ExpiredCredentials: park(401, 'Renew the worker’s credentials, then `longshore resume`.'),
  StorageFull: park(507, 'Make room in the bucket, then `longshore resume`.'),
  SlowDown: retry(503, 'The S3 server asks for fewer requests; the worker slows down by itself.'),
  S3Unavailable: retry(
    503,
    'The S3 server does not answer; it is tried again. `longshore doctor` checks it.',
  ),
  BadDigest: retry(502, 'The bytes were damaged on the way; they are sent again.'),
  InvalidRequest: never(400, 'The S3 server refused the request; the message says why.'),
  NotSupported: never(501, 'The S3 server lacks this; leave the option out, or use another server.'),
  EncryptionNotApplied: never(
    502,
    'The S3 server ignores the encryption asked for; use one that has it, or leave it out.',
  ),
  WrongCustomerKey: never(
    403,
    'The object has another encryption than the key says; give the key that it was encrypted with, and only then.',
  ),
  VerificationFailed: never(502, 'The object is not what was sent; do not use it, and check the S3 server.'),
  VerificationTooWeak: never(
    409,
    'The server cannot prove the level demanded; demand `server` or `size`, or turn checksums on.',
  ),
  PreconditionFailed: never(
    412,
    'An object is at the key already; choose another key, or leave If-None-Match out.',
  ),
  OutcomeUnknown: never(
    409,
    'Someone else wrote to the key meanwhile; look at the object before you send again.',
  ),
  NoSuchUpload: restart(409, 'Someone aborted the multipart upload; a fresh one is started.'),
  UploadConflict: restart(409, 'Another write to the key was in progress; a fresh upload is started.'),

  // Our own parts
  Cancelled: never(409, 'The upload was cancelled.', EXIT.cancelled),
  Terminated: never(
    409,
    'Its multipart upload may be left: the next `longshore sweep` ends it. Start the upload again.',
  ),
  ParkedTooLong: never(409, 'The upload waited longer than it may; start it again.'),
  AttemptFenced: retry(503, 'This attempt was stopped too long; a newer one goes on.'),
  CatalogUnavailable: retry(
    503,
    'PostgreSQL does not answer; it is tried again. `longshore doctor` checks it.',
  ),
  SchemaTooNew: never(500, 'The database belongs to a newer Longshore; upgrade this one.'),
  KeyServiceUnavailable: retry(503, 'The key service does not answer; it is tried again.'),
  SecretUnavailable: never(409, 'The sealed value expired or its key changed; start the upload again.'),
  TemporalUnavailable: retry(
    503,
    'Temporal does not answer. `longshore doctor` checks it; `longshore dev` starts one.',
  ),
  ApiUnavailable: retry(
    503,
    'The API does not answer. `longshore api` starts one; --api or LONGSHORE_API_URL says where it is.',
  ),
  SinkUnavailable: retry(
    503,
    'Events wait in the catalog until their sink answers; check its address, its rights and that it runs.',
  ),
  EventRefused: never(502, 'The sink refuses this event; what it says tells why.'),
  ToolMissing: never(500, 'Install the tool in one of the ways that the message lists.', EXIT.unreachable),
  Internal: retry(500, 'This is a defect; please report it with the message.', EXIT.failed),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorContext {
  /** What was being done, in the field's own term: `UploadPart`, `open`, `migrate`. */
  op: string;
  /** What it was done to: `s3://bucket/key`, a path under its root, an address without secrets. */
  key?: string | undefined;
  cause?: unknown;
  /** A better hint than the table's. */
  hint?: string | undefined;
}

export class LongshoreError extends Error {
  override readonly name = 'LongshoreError';
  readonly op: string;
  readonly key: string | undefined;
  readonly hint: string;

  constructor(
    readonly code: ErrorCode,
    message: string,
    context: ErrorContext,
  ) {
    super(message, context.cause === undefined ? undefined : { cause: context.cause });
    this.op = context.op;
    this.key = context.key;
    this.hint = context.hint ?? ERRORS[code].hint;
  }

  get retry(): Retry {
    return ERRORS[this.code].retry;
  }
}

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERRORS, value);
}

/** What a failure looks like wherever it is shown: `--json`, the catalog, an API answer. */
export interface FailureView {
  code: ErrorCode;
  message: string;
  op?: string | undefined;
  key?: string | undefined;
  hint: string;
}
