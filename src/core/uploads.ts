/**
 * The contract of an object upload: what it is asked, what its activities exchange, what it answers.
 * Everything here travels through Temporal's history, so it is small, holds no bytes, no lists and no secrets.
 */
import type { QueryDefinition, SignalDefinition } from '@temporalio/common';
import type { FailureView } from './errors.js';
import type { PartPlan } from './part-plan.js';
import type { UploadState } from './states.js';

// ── What is asked ────────────────────────────────────────────────────────────────────────────────────────────────

/** A file under a named root. `path` is relative to it, with `/` between its parts. */
export interface FileSource {
  kind: 'file';
  root: string;
  path: string;
}

/**
 * An HTTP(S) resource. `url` has neither credentials, query nor fragment; an address that needs them is sealed in the
 * catalog and `sealed` names it, for a presigned address is a secret.
 */
export interface UrlSource {
  kind: 'url';
  url: string;
  sealed?: string;
}

/** An object in the same store, or in the store that configuration knows under `store`. */
export interface ObjectSource {
  kind: 'object';
  store?: string;
  bucket: string;
  key: string;
  versionId?: string;
}

export type Source = FileSource | UrlSource | ObjectSource;

export interface Destination {
  bucket: string;
  key: string;
}

export type Encryption = { type: 'SSE_S3' } | { type: 'SSE_KMS'; kmsKeyId?: string };

/** `full` > `server` > `size`; see the glossary in docs/architecture.md. */
export const VERIFICATION_LEVELS = ['size', 'server', 'full'] as const;
export type Verification = (typeof VERIFICATION_LEVELS)[number];

export interface UploadOptions {
  /** Bytes. */
  partSize?: number;
  /** Parts in flight at once. */
  concurrency?: number;
  contentType?: string;
  cacheControl?: string;
  metadata?: Record<string, string>;
  tags?: Record<string, string>;
  storageClass?: string;
  /** Only `*`: fail when an object is at the key already. */
  ifNoneMatch?: '*';
  /** Default true. */
  checksum?: boolean;
  encryption?: Encryption;
  /** The least level of verification that counts as success. */
  demand?: Verification;
  /** Bytes; a source of another size fails before anything is sent. */
  expectedSize?: number;
}

export interface UploadObjectInput {
  id: string;
  source: Source;
  destination: Destination;
  options: UploadOptions;
}

// ── What the activities exchange ─────────────────────────────────────────────────────────────────────────────────

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
    });

/** The result of `inspectSource`: everything that limits and configuration decide, so that a replay reads neither. */
export interface Inspection {
  source: PinnedSource;
  plan: TransferPlan;
  /** The options with configured defaults filled in. */
  options: ResolvedOptions;
  /** How many multipart uploads the workflow may begin. */
  maxGenerations: number;
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
  /** `copy` parts are UploadPartCopy; `sequential` sources can only be read from their start, so they are one window. */
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

// ── What it answers ──────────────────────────────────────────────────────────────────────────────────────────────

export interface UploadResult {
  bucket: string;
  key: string;
  size: number;
  etag: string;
  versionId?: string;
  /** `crc32:<base64>`; absent with checksums off. */
  checksum?: string;
  verification: Verification;
  bytesSent: number;
  parts: number;
  /** Multipart uploads begun; more than 1 when one was lost on the way. */
  generations: number;
}

/** Also the shape of the memo `progress`, which answers when no worker lives. */
export interface UploadProgress extends WindowProgress {
  /** null while the source's length is unknown. */
  bytesTotal: number | null;
  partsTotal: number | null;
  /** Windows that were stopped half-way, by their first part. Their live heartbeats replace these figures. */
  open?: Record<string, WindowProgress>;
}

export interface WindowProgress {
  /** Parts and bytes that are in S3. */
  partsDone: number;
  bytesDone: number;
  /** Body bytes handed to the network by all attempts, counted when a part starts. */
  bytesSent: number;
}

export interface UploadStatus {
  state: UploadState;
  /** Why it is BLOCKED, or why it failed. */
  failure?: FailureView;
}

/** The catalog's row as the workflow reports it; repeated reports are harmless. */
export interface UploadReport {
  id: string;
  workflowId: string;
  runId: string;
  /** Start of the run, ISO 8601; with `sequence` it orders reports. */
  runStartedAt: string;
  /** Rises within a run. */
  sequence: number;
  state: UploadState;
  destination: Destination;
  source: { kind: Source['kind']; label: string };
  s3UploadId?: string;
  size?: number | null;
  partSize?: number;
  parts?: number;
  generations?: number;
  result?: UploadResult;
  failure?: FailureView;
}

// ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────

// Plain definitions, so that a client need not load the workflow library to speak to a workflow.
const signal = (name: string): SignalDefinition => ({ type: 'signal', name }) as SignalDefinition;
const query = <T>(name: string): QueryDefinition<T> => ({ type: 'query', name }) as QueryDefinition<T>;

export const UPLOAD_WORKFLOW = 'uploadObject';
export const cancelSignal = signal('cancel');
export const pauseSignal = signal('pause');
export const resumeSignal = signal('resume');
export const progressQuery = query<UploadProgress>('progress');
export const stateQuery = query<UploadStatus>('state');

/** Memo fields of an upload's workflow. */
export interface UploadMemo {
  /** SHA-256 of the canonical input: the same id with another fingerprint is a conflict. */
  fingerprint: string;
  progress?: UploadProgress;
  failure?: FailureView;
}

/** A source as people read it: never a secret. */
export function sourceLabel(source: Source): string {
  switch (source.kind) {
    case 'file':
      return `${source.root}:${source.path}`;
    case 'url':
      return source.url;
    case 'object':
      return `${source.store === undefined ? 's3' : source.store}://${source.bucket}/${source.key}`;
  }
}
