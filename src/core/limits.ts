/** Limits of Longshore, each with where it comes from. Sizes are bytes, times are milliseconds unless the name says otherwise. */

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

/** Amazon S3, "Multipart upload limits": 5 MiB a part, except the last. */
export const MIN_PART_SIZE = 5 * MiB;
/** Amazon S3, "Multipart upload limits". Also the largest object that one PutObject or CopyObject may carry. */
export const MAX_PART_SIZE = 5 * GiB;
/** Amazon S3, "Multipart upload limits": part numbers 1 to 10,000. */
export const MAX_PARTS = 10_000;
/** Amazon S3: 10,000 parts of 5 GiB, 48.8 TiB. */
export const MAX_OBJECT_SIZE = MAX_PARTS * MAX_PART_SIZE;
/** Amazon S3, "Object key naming": 1,024 bytes of UTF-8. */
export const MAX_KEY_BYTES = 1024;
/** Amazon S3: user metadata of one object, names and values together, 2 KB. */
export const MAX_METADATA_BYTES = 2 * KiB;
/** Amazon S3: ten tags an object. */
export const MAX_TAGS = 10;
/** Amazon S3 pages ListParts and ListMultipartUploads at 1,000. */
export const LIST_PAGE_SIZE = 1000;

/** Measured: 8 MiB × 4 in flight keeps a kill's loss at 3 % of a GiB and a worker's memory under 300 MiB. */
export const DEFAULT_PART_SIZE = 8 * MiB;
export const DEFAULT_CONCURRENCY = 4;
export const MAX_CONCURRENCY = 64;
/** Bytes of one object that may be in flight at once, unless its parts alone are larger. */
export const MAX_IN_FLIGHT_BYTES = 48 * MiB;
/** Objects smaller than this go as one PutObject. */
export const DEFAULT_MULTIPART_THRESHOLD = 16 * MiB;
/** Parts up to this size are held in a Buffer; larger ones are streamed twice (checksum first, then the body). */
export const MAX_BUFFERED_PART = 64 * MiB;

/** At most this many windows whatever the size, so that history stays in bounds (Temporal: 51,200 events, warning at 10,240). */
export const MAX_WINDOWS = 100;
/** A window is at least this many parts: 1 GiB of default parts is one window. */
export const MIN_WINDOW_PARTS = 128;
/** Windows of one object that run at once. */
export const WINDOWS_AT_ONCE = 2;

/** The seed's limits of the S3 client. */
export const S3_CONNECT_TIMEOUT_MS = 10_000;
export const S3_SOCKET_TIMEOUT_MS = 60_000;
export const S3_MAX_CONNECTIONS = 50;
export const MAX_BACKOFF_MS = 60_000;

/** PAUSED and BLOCKED do not last for ever: parts that wait cost money. */
export const MAX_PARKED_MS = 7 * 24 * 3600 * 1000;
/** A session lives at least this long after its client's last sign of life. */
export const MIN_SESSION_TTL_MS = 1000;
/** A workflow begins afresh after NoSuchUpload at most this often. */
export const MAX_GENERATIONS = 5;

/** Files of a job that are larger get an upload of their own; the others are sent in batches. */
export const LARGE_FILE = 64 * MiB;
/** A batch is one activity: enough files that history stays short, few enough that a kill loses little. */
export const JOB_BATCH_FILES = 500;
export const JOB_BATCH_BYTES = 64 * MiB;
/** The first batch of a scan; each next one is twice as large up to the limit, so that sending begins at once. */
export const JOB_FIRST_BATCH_FILES = 64;
