/**
 * The contract of a session: an upload whose bytes a client brings. Its life is one `uploadObject` workflow with a
 * `client` source; its parts are rows of the catalog, for lists do not belong in history.
 */
import type { SignalDefinition } from '@temporalio/common';
import type { FailureView } from './errors.js';
import { MAX_PARTS, MAX_PART_SIZE, MIN_PART_SIZE, MiB } from './limits.js';
import { planParts, planUnknown, S3_PROFILE, type ServerProfile } from './part-plan.js';
import type {
  CreatedUpload,
  CreateInput,
  Inspection,
  StoredObject,
  TruthToken,
  VerifiedObject,
} from './upload-steps.js';
import type { UploadObjectInput, UploadReport, UploadResult } from './uploads.js';

/** What clients are told to send; bytes. Chunk n, from 0, is part n + 1. */
export interface ChunkAdvice {
  recommendedChunkSize: number;
  minChunkSize: number;
  maxChunkSize: number;
  maxChunks: number;
}

/** Answer of the update `opened`: from here on chunks are taken. */
export interface OpenedSession {
  /** null in mode `whole`. */
  s3UploadId: string | null;
  /** As the catalog counts: it rises with every multipart upload of the session, over all its runs. */
  generation: number;
  chunkSize: number;
  token: TruthToken;
}

/** What `completeSession` is told: what the client says that it sent. All of it is compared with what is there. */
export interface CompleteAsk {
  /** Chunks in all. */
  chunks?: number;
  /** Bytes in all. */
  size?: number;
  /** Full-object CRC32, `crc32:<base64>`. */
  checksum?: string;
}

/** Why a session cannot be completed yet. Lists hold at most 100 chunk numbers, from 0. */
export interface Incomplete {
  missing: number[];
  /** How many there are in all. */
  missingCount: number;
  /** Chunks beyond the end, or that S3 has and nobody vouches for. */
  surplus: number[];
  message: string;
}

export type CompletionAnswer = { result: UploadResult } | { incomplete: Incomplete };

// ── Between the workflow and its activities ──────────────────────────────────────────────────────────────────────

/** The run, its start (ISO 8601), and how manieth multipart upload of the run: they order what is opened. */
export interface OpeningOrder {
  runId: string;
  runStartedAt: string;
  runGeneration: number;
}

export interface OpenSessionInput extends OpeningOrder {
  upload: UploadObjectInput;
  inspection: Inspection;
  token: TruthToken;
  /** null in mode `whole`. */
  s3UploadId: string | null;
}

export interface SessionOpening {
  /** As the catalog counts: it rises with every multipart upload of the session, over all its runs. */
  generation: number;
  /** Not always the one that was asked for: an attempt that was thought lost may have opened another before. */
  s3UploadId: string | null;
}

export interface BeginSessionInput
  extends Pick<OpeningOrder, 'runGeneration'>, Pick<CreateInput, 'upload' | 'token' | 'lost'> {
  /** Of an earlier multipart upload of this run. */
  inspection?: Inspection;
  /** What the upload's row is to say, and of which run; it and the number after it are this activity's. */
  report: UploadReport;
}

export interface BegunSession extends CreatedUpload {
  inspection: Inspection;
  /** Absent: the multipart upload is begun, but the session is not open yet. */
  generation?: number;
}

export interface SetOpenInput {
  id: string;
  /** As `openSession` answered. */
  generation: number;
  /** Rises over a run: a late attempt changes nothing. */
  turn: number;
  open: boolean;
}

export interface CompleteSessionInput {
  /** An earlier activity had begun with this; like a retry it looks first at what is there. */
  again: boolean;
  upload: UploadObjectInput;
  inspection: Inspection;
  created: CreatedUpload;
  /** As `openSession` answered. */
  generation: number;
  /** As in `SetOpenInput`. */
  turn: number;
  ask: CompleteAsk;
}

/** `refused`: what the client says contradicts what is there; like `incomplete`, the session goes on. */
export type SessionCompletion =
  /** `verified`: it was looked at right away. */
  | { stored: StoredObject; parts: number; verified?: VerifiedObject }
  | { incomplete: Incomplete }
  | { refused: FailureView };

// ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────

// Plain definitions, so that a client need not load the workflow library.
const signal = (name: string): SignalDefinition => ({ type: 'signal', name }) as SignalDefinition;

/** The first byte has come: PENDING becomes UPLOADING. */
export const begunSignal = signal('begun');
/** The multipart upload of this generation is gone; args: [generation]. A fresh one is begun, and all chunks are asked for again. */
export const lostSignal = { type: 'signal', name: 'lost' } as SignalDefinition<[number]>;
/** Update; answers OpenedSession once chunks are taken, or throws why they never will be. */
export const OPENED_UPDATE = 'opened';
/** Update; args: [CompleteAsk], answers CompletionAnswer. Joined by repetitions while it runs. */
export const COMPLETE_UPDATE = 'complete';

/** Chunks up to this size; larger ones mean that a broken line costs too much. */
export const MAX_ADVISED_CHUNK = 500 * MiB;

/** Chunk sizes for an object of `size` bytes (null: unknown, at most `expectedMax`). Throws PlanImpossible. */
export function adviseChunks(
  size: number | null,
  preferred: number,
  expectedMax: number,
  profile: ServerProfile = S3_PROFILE,
): ChunkAdvice {
  const plan =
    size === null ? planUnknown(expectedMax, preferred, profile) : planParts(size, preferred, profile);
  return {
    recommendedChunkSize: plan.partSize,
    minChunkSize: Math.max(MIN_PART_SIZE, profile.minPartSize),
    maxChunkSize: Math.min(Math.max(MAX_ADVISED_CHUNK, plan.partSize), profile.maxPartSize, MAX_PART_SIZE),
    maxChunks: Math.min(profile.maxParts, MAX_PARTS),
  };
}

/**
 * The bytes that chunk `chunk` (from 0) must have: exactly so many where the size is known; where it is not, all but
 * the last have `most`, and the last at least one, unless it is the only one of an empty object.
 */
export function chunkLength(
  chunk: number,
  { chunkSize, size }: { chunkSize: number; size: number | null },
): { least: number; most: number } {
  if (size === null) return { least: chunk === 0 ? 0 : 1, most: chunkSize };
  const length = Math.min(chunkSize, size - chunk * chunkSize);
  return { least: length, most: length };
}

/** Chunks of an object of `size` bytes. */
export function chunkCount(size: number, chunkSize: number): number {
  return Math.max(1, Math.ceil(size / chunkSize));
}
