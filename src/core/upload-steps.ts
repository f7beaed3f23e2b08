/**
 * What the workflow and the activities of an object upload tell each other. It all lies in Temporal's history, and
 * changing a shape has to stay readable to runs that began before.
 */
import type { PartPlan } from './part-plan.js';
import type {
  ClientSource,
  Destination,
  FileSource,
  ObjectSource,
  UploadObjectInput,
  UploadOptions,
  UrlSource,
  Verification,
  WindowProgress,
} from './uploads.js';

/** A source and what identified its bytes when they were first looked at. */
export type PinnedSource =
  | (FileSource & { size: number; mtimeNs: string; inode: string })
  | (UrlSource & {
      /** null while unknown: the server names no length. */
      size: number | null;
      etag: string | null;
      lastModified: string | null;
      /** The server answers byte ranges. */
      ranges: boolean;
    })
  | (ObjectSource & {
      size: number;
      etag: string;
      /** Full-object CRC32 that the source's server holds, base64. */
      crc32: string | null;
      /** Same endpoint and credentials as the destination, so the server copies by itself. */
      serverSide: boolean;
    })
  /** null while nobody knows how much the client will bring. */
  | (ClientSource & { size: number | null });

/** The result of `inspectSource`: everything that limits and configuration decide, so that a replay reads neither. */
export interface Inspection {
  source: PinnedSource;
  plan: TransferPlan;
  /** The options with configured defaults filled in. */
  options: ResolvedOptions;
  /** How many multipart uploads the workflow may begin. */
  maxGenerations: number;
  /** What was at the key, where an earlier version of it is to be made its newest. Runs that began before lack it. */
  before?: KeyHolder;
}

export interface ResolvedOptions extends UploadOptions {
  contentType: string;
  checksum: boolean;
  concurrency: number;
}

/**
 * - `put`: one PutObject.   - `copy`: one CopyObject.   - `parts`: a multipart upload with its windows.
 */
export type TransferPlan = { kind: 'put'; size: number } | { kind: 'copy'; size: number } | PartsPlan;

export interface PartsPlan {
  kind: 'parts';
  parts: PartPlan;
  /**
   * `copy` parts are UploadPartCopy; `sequential` sources can only be read from their start, so they are one window.
   * What a client brings has no window: nothing of it is fetched.
   */
  mode: 'random' | 'sequential' | 'copy';
  windows: Window[];
  windowsAtOnce: number;
}

/** Parts `first` to `last`, both included, numbered from 1. */
export interface Window {
  first: number;
  last: number;
}

/** Who an object belongs to, written into its metadata: `longshore-upload-id` and `longshore-nonce`. */
export interface TruthToken {
  uploadId: string;
  nonce: string;
}

/** What was at a key: `absent`, `unknown` (we may not look), or the object's ETag and modification time. */
export type KeyHolder = 'absent' | 'unknown' | { etag: string; lastModified: string };

export interface CreatedUpload {
  s3UploadId: string;
  token: TruthToken;
  /** What was at the key before. */
  before: KeyHolder;
}

export interface CreateInput {
  upload: UploadObjectInput;
  inspection: Inspection;
  token: TruthToken;
  /** The multipart upload that was lost: what the key held when it began must be there still. */
  lost?: { before: KeyHolder; completing: boolean };
}

export interface PutInput {
  /** An earlier activity had begun with this; like a retry it looks first at what is there. */
  again: boolean;
  upload: UploadObjectInput;
  inspection: Inspection;
  token: TruthToken;
}

export interface AbortInput {
  destination: Destination;
  s3UploadId: string;
}

export interface SettleInput {
  upload: UploadObjectInput;
  inspection: Inspection;
  token: TruthToken;
}

export interface VerifyInput {
  upload: UploadObjectInput;
  inspection: Inspection;
  stored: StoredObject;
}

export interface WindowInput {
  /** An earlier activity had begun with this; like a retry it looks first at what is there. */
  again: boolean;
  upload: UploadObjectInput;
  inspection: Inspection;
  created: CreatedUpload;
  window: Window;
  /** What an earlier activity of this window returned when it was told to stop. */
  known?: WindowResult;
}

export interface WindowResult extends WindowProgress {
  /** Ledger slice: an opaque string of activities/ledger. */
  ledger: string;
  /** False when it was asked to stop first. */
  finished: boolean;
  /** Number of parts and bytes once a source of unknown length came to its end. */
  ended?: { parts: number; size: number };
}

/** Heartbeat details of `uploadParts`. */
export interface TransferHeartbeat extends WindowProgress {
  first: number;
  /** Of the whole object, for who has nothing but heartbeats to look at. */
  bytesTotal: number | null;
  partsTotal: number | null;
  /** Ledger slice so far; left out when it would be large. */
  ledger?: string;
}

export interface CompleteInput {
  /** An earlier activity had begun with this; like a retry it looks first at what is there. */
  again: boolean;
  upload: UploadObjectInput;
  inspection: Inspection;
  created: CreatedUpload;
  ledgers: string[];
  /** Bytes of the whole object. */
  size: number;
}

/** An object that S3 confirmed. */
export interface StoredObject {
  etag: string;
  versionId?: string;
  size: number;
  /** Full-object CRC32 of what we sent, base64; absent when nothing was computed. */
  crc32?: string;
  /** S3 accepted a checksum with each request. */
  checksumAccepted: boolean;
  token: TruthToken;
  /** Body bytes handed to the network; zero for multipart, whose windows count. */
  bytesSent: number;
}

export interface VerifiedObject {
  verification: Verification;
  size: number;
  etag: string;
  versionId?: string;
}
