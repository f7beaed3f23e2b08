/** From the body of a request to the definition of a job. */
import type * as z from 'zod';
import { defineJob, type JobSpec } from '../client/job-spec.js';
import type { JobDefinition, JobFilter, JobMonitoring, JobObjectOptions } from '../core/jobs.js';
import type { Encryption as CoreEncryption } from '../core/uploads.js';
import type { Config } from '../infra/config.js';
import type { CreateUploadBody } from './schemas/uploads.js';
import type { Encryption, ObjectBody } from './schemas/values.js';

/** What share of a job's objects may be deleted without asking, where the request does not say. */
const DEFAULT_MAX_SHARE = 0.1;

/** Throws SourceOutsideRoot for a folder that is under no root. */
export function definitionOf(
  body: CreateUploadBody,
  config: Config,
  apiKey: string | undefined,
): JobDefinition {
  const { deletions } = body;
  const spec: JobSpec = {
    folder: body.source_folder,
    destination: {
      bucket: body.destination_bucket,
      prefix: body.destination_prefix ?? '',
      ...given({ keyTemplate: body.key_template }),
    },
    filter: filterOf(body),
    objects: objectOptions(body),
    monitor: monitoringOf(body.monitor ?? true),
    ...(deletions === undefined ? {} : { deletions: { maxShare: deletions.max_share ?? DEFAULT_MAX_SHARE } }),
    ...given({ compare: body.compare, verify: body.verify, dryRun: body.dry_run, apiKey }),
  };
  return defineJob(spec, { roots: config.api.roots, cwd: '/' });
}

function filterOf(body: CreateUploadBody): JobFilter {
  const { pattern } = body;
  const include = pattern === undefined || pattern === null ? undefined : [pattern].flat();
  return given({
    include: include?.length === 0 ? undefined : include,
    exclude: body.exclude,
    hidden: body.hidden,
    minSize: body.min_size,
    maxSize: body.max_size,
    minAge: body.min_age,
    maxAge: body.max_age,
    symlinks: body.symlinks,
    emptyFolders: body.empty_folders,
  });
}

/** What jobs and single objects have in common. */
export function objectOptions(body: ObjectBody): JobObjectOptions {
  return given({
    contentType: body.content_type,
    cacheControl: body.cache_control,
    metadata: body.metadata,
    tags: body.tags,
    storageClass: body.storage_class,
    checksum: body.checksum,
    encryption: body.encryption === undefined ? undefined : encryptionOf(body.encryption),
  });
}

function encryptionOf(encryption: z.infer<typeof Encryption>): CoreEncryption {
  if (encryption.type === 'SSE_S3') return { type: 'SSE_S3' };
  return { type: 'SSE_KMS', ...given({ kmsKeyId: encryption.kms_key_id }) };
}

/** Times that nobody asked for are no part of it: with other settings the same request is still the same job. */
function monitoringOf(asked: NonNullable<CreateUploadBody['monitor']>): JobMonitoring {
  return typeof asked === 'boolean' ? { enabled: asked } : { enabled: true, ...given(asked) };
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the fields that nobody gave. */
export function given<T extends object>(fields: T): Given<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Given<T>;
}
