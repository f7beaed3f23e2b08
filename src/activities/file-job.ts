/** What the files of a job have in common: looked up once for its many batches. */
import { lookup as mimeOf } from 'mime-types';
import { LongshoreError } from '../core/errors.js';
import { jobWorkflowId } from '../core/ids.js';
import { keyOf } from '../core/job-keys.js';
import { PROBE_NAME } from '../core/maintenance.js';
import type { JobDefinition } from '../core/jobs.js';
import type { JobRef } from '../core/job-steps.js';
import type { Encryption } from '../core/uploads.js';
import { getJobByNumber } from '../infra/catalog/jobs.js';
import type { Pool } from '../infra/catalog/pool.js';
import { TOKEN_METADATA, type ObjectAttributes, type ObjectStore } from '../infra/s3/store.js';

export interface FileJobDeps {
  db: Pool;
  store: ObjectStore;
  /** What holds where the job says nothing. */
  defaults: { encryption?: Encryption | undefined };
}

export interface FileJob {
  definition: JobDefinition;
  /** Throws KeyTooLong. */
  keyOf(file: { path: string; mtimeNs: string | null; marker: boolean }): string;
  attributesOf(path: string): ObjectAttributes;
  /** When this process last saw a file of it arrive, whatever its batch; milliseconds of `performance.now()`. */
  lastArrival: number;
}

export type FileJobs = (ref: JobRef, signal: AbortSignal) => Promise<FileJob>;

/** Jobs whose batches this process moves alternately. */
const KEPT = 64;
const DEFAULT_TYPE = 'application/octet-stream';

/** Throws NotFound for a job that is gone, EncryptionNotApplied before any file goes to a server that ignores it. */
export function createFileJobs(deps: FileJobDeps): FileJobs {
  const known = new Map<string, FileJob>();
  return async (ref, signal) => {
    const name = `${ref.job}/${ref.generation}`;
    const kept = known.get(name);
    if (kept !== undefined) return kept;
    const loaded = await loadJob(deps, ref, signal);
    // Batches that begin together load it each, and share one all the same.
    const job = known.get(name) ?? loaded;
    if (known.size >= KEPT) known.delete([...known.keys()][0] ?? '');
    known.set(name, job);
    return job;
  };
}

async function loadJob(deps: FileJobDeps, ref: JobRef, signal: AbortSignal): Promise<FileJob> {
  const row = await getJobByNumber(deps.db, ref.job);
  if (row === undefined) {
    throw new LongshoreError('NotFound', `job number ${ref.job} is not in the catalog`, {
      op: 'uploadFiles',
    });
  }
  const { definition } = row;
  const { destination, objects } = definition;
  const common = commonAttributes(row.id, definition, deps.defaults);
  if (common.encryption !== undefined) await proveEncryption(deps.store, definition, common, signal);
  const byType = new Map<string, ObjectAttributes>();
  return {
    definition,
    lastArrival: -Infinity,
    keyOf({ path, mtimeNs, marker }) {
      const key = keyOf(destination, path, mtimeNs ?? undefined);
      return marker && !key.endsWith('/') ? `${key}/` : key;
    },
    attributesOf(path) {
      const contentType = objects.contentType ?? (mimeOf(path) || DEFAULT_TYPE);
      const made = byType.get(contentType) ?? { ...common, contentType };
      byType.set(contentType, made);
      return made;
    },
  };
}

function commonAttributes(
  id: string,
  { objects }: JobDefinition,
  defaults: FileJobDeps['defaults'],
): ObjectAttributes {
  const { cacheControl, tags, storageClass } = objects;
  const encryption = objects.encryption ?? defaults.encryption;
  return {
    metadata: { ...objects.metadata, [TOKEN_METADATA.uploadId]: jobWorkflowId(id) },
    ...(cacheControl === undefined ? {} : { cacheControl }),
    ...(tags === undefined ? {} : { tags }),
    ...(storageClass === undefined ? {} : { storageClass }),
    ...(encryption === undefined ? {} : { encryption }),
  };
}

/** A multipart upload is answered before anything is at its key; one that ignores encryption is refused there. */
async function proveEncryption(
  store: ObjectStore,
  { destination: { bucket, prefix } }: JobDefinition,
  attributes: ObjectAttributes,
  signal: AbortSignal,
): Promise<void> {
  const at = { bucket, key: `${prefix}${PROBE_NAME}` };
  const upload = await store.createMultipartUpload({ ...at, ...attributes, checksum: true }, signal);
  await store.abortMultipartUpload({ ...at, ...upload }, signal);
}
