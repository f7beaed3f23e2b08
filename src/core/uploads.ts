/**
 * The contract of an object upload: what it is asked, what its activities exchange, what it answers.
 * Everything here travels through Temporal's history, so it is small, holds no bytes, no lists and no secrets.
 */
import type { QueryDefinition, SignalDefinition } from '@temporalio/common';
import type { FailureView } from './errors.js';
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

/** A customer's key, which never travels here: it is sealed in the catalog under `keyRef`. `keyMd5`: base64, as S3 has it. */
export interface SealedKey {
  keyRef: string;
  keyMd5: string;
}

/** An object in the same store, or in the store that configuration knows under `store`. */
export interface ObjectSource {
  kind: 'object';
  store?: string;
  bucket: string;
  key: string;
  versionId?: string;
  /** What it is encrypted with, where that is SSE-C. */
  sealedKey?: SealedKey;
}

/** Bytes that a client brings, part by part; see core/sessions. */
export interface ClientSource {
  kind: 'client';
  /** As the client calls it; for people, and the object's metadata. */
  name: string;
  /** The object that the catalog knows under this id; the session's own id unless it is a new version of one. */
  nodeId: string;
  connectorId?: string;
  /** How its bytes come: chunks of a multipart upload, or one whole object that somebody puts at the key. */
  mode: 'chunks' | 'whole';
  /** How long it lives after the last sign of its client, ms. */
  ttlMs: number;
}

export type Source = FileSource | UrlSource | ObjectSource | ClientSource;

export interface Destination {
  bucket: string;
  key: string;
}

export type Encryption =
  { type: 'SSE_S3' } | { type: 'SSE_KMS'; kmsKeyId?: string } | ({ type: 'SSE_C' } & SealedKey);

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
  /** Of an `object` source: its content type, cache control, metadata and tags too, but for what is named here. */
  keepAttributes?: boolean;
  /** Bytes; a source of another size fails before anything is sent. */
  expectedSize?: number;
}

export interface UploadObjectInput {
  id: string;
  source: Source;
  destination: Destination;
  options: UploadOptions;
  /** The object of the catalog that this makes anew at its key: an earlier version of it, or the same under another key. */
  nodeId?: string;
  /** Number of the job it belongs to: its bytes count against that job's limits. */
  job?: number;
  /** The API key that asked; what it may write to is looked at again by the worker. */
  apiKey?: string;
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
  /** As in the input; its row follows the result. */
  nodeId?: string;
  /** Configured defaults filled in; only where there is a `nodeId`. */
  encryption?: Encryption;
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
  /** Made anew by each call that starts: tells who began the run. */
  startedBy?: string;
  /** What is known before the catalog's row is there. */
  destination?: Destination;
  /** As `sourceLabel` has it. */
  source?: string;
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
    case 'client':
      return `client:${source.name}`;
  }
}
