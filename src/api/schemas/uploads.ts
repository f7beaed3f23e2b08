/** Upload jobs as requests ask for them and as answers show them. */
import * as z from 'zod';
import { JOB_PHASES } from '../../core/jobs.js';
import { FILE_STATES, JOB_STATES } from '../../core/states.js';
import { MAX_KEY_BYTES } from '../../core/limits.js';
import { MAX_GLOBS, MAX_INTERVAL_S } from '../../core/validate-jobs.js';
import * as v from './values.js';

const Globs = z.array(v.Glob).max(MAX_GLOBS);

const Limits = z.strictObject({
  bandwidth: z.int().min(1).nullable().optional().meta({ description: 'Bytes a second; null: no limit' }),
  concurrency: z
    .int()
    .min(1)
    .max(100_000)
    .nullable()
    .optional()
    .meta({ description: 'Files in flight; null: no limit' }),
});

const Monitor = z.strictObject({
  interval: z.int().min(1).max(MAX_INTERVAL_S).optional().meta({ description: 'Seconds between checks' }),
  stability: z
    .int()
    .min(0)
    .max(MAX_INTERVAL_S)
    .optional()
    .meta({ description: 'Seconds that a file must have been left alone before a change counts' }),
});

const folder = {
  source_folder: v
    .text(4096, /^\/[^\x00]*$/)
    .meta({ description: 'Absolute; under one of the roots that workers may read', examples: ['/data/in'] }),
  pattern: z
    .union([v.Glob, Globs])
    .nullish()
    .meta({
      description: 'Globs on the path below the folder; a file must match one of them',
      examples: ['*.txt'],
    }),
  exclude: Globs.optional(),
  hidden: z.boolean().optional(),
  min_size: v.Bytes.optional(),
  max_size: v.Bytes.optional(),
  min_age: z.int().min(0).optional().meta({ description: 'Seconds' }),
  max_age: z.int().min(0).optional().meta({ description: 'Seconds' }),
  symlinks: z.enum(['skip', 'follow']).optional(),
  empty_folders: z.boolean().optional(),
};

export const CreateUpload = z
  .strictObject({
    upload_id: v.Id.nullish(),
    ...folder,
    destination_bucket: v.Bucket,
    destination_prefix: v
      .text(MAX_KEY_BYTES - 1)
      .optional()
      .meta({ description: 'Put before every key as it is' }),
    key_template: z
      .string()
      .max(MAX_KEY_BYTES)
      .regex(/^(?:[^{}\x00]|\{\{|\}\}|\{(?:path|dir|name|stem|ext|yyyy|mm|dd)\})+$/)
      .optional()
      .meta({ description: 'Makes a key of a file; default `{path}`', examples: ['{yyyy}/{mm}/{name}'] }),
    ...v.objectFields,
    monitor: z.union([z.boolean(), Monitor]).optional().meta({ description: 'Default true' }),
    compare: z.enum(['mtime', 'checksum']).optional(),
    verify: z.boolean().optional(),
    deletions: z.strictObject({ max_share: z.number().min(0).max(1).optional() }).optional(),
    dry_run: z.boolean().optional(),
    limits: Limits.optional(),
  })
  .meta({ id: 'CreateUpload' });

export type CreateUploadBody = z.infer<typeof CreateUpload>;

export const Created = z
  .object({ upload_id: z.string(), status: z.literal('created') })
  .meta({ id: 'UploadCreated' });

export const Accepted = z
  .object({
    upload_id: z.string(),
    status: z.enum(['cancelling', 'pausing', 'resuming', 'approved', 'started', 'changed', 'deleted']),
  })
  .meta({ id: 'UploadAccepted' });

export const UploadView = z
  .object({
    upload_id: z.string(),
    progress: z.number().min(0).max(1).meta({ description: 'Completed files of all files' }),
    state: z.enum(JOB_STATES),
    total_files: z.int(),
    completed_files: z.int(),
    created_at: v.Time,
    updated_at: v.Time,
    failed_files: z.int(),
    skipped_files: z.int(),
    deleted_files: z.int(),
    unchanged_files: z.int(),
    sent_files: z.int(),
    total_bytes: z.int(),
    completed_bytes: z.int(),
    sent_bytes: z.int(),
    phase: z.enum(JOB_PHASES),
    generation: z.int().meta({ description: 'Runs so far' }),
    failure: v.Failure.nullable(),
    source_folder: z.string(),
    destination_bucket: z.string(),
    destination_prefix: z.string(),
    pattern: z.array(z.string()),
    monitor: z.object({
      enabled: z.boolean(),
      interval: z.number(),
      stability: z.number(),
      checked_at: v.Time.nullable(),
    }),
    limits: z.object({ bandwidth: z.number().nullable(), concurrency: z.number().nullable() }),
    started_at: v.Time.nullable(),
    finished_at: v.Time.nullable(),
    web_ui: z.string().nullable().meta({ description: 'Its page in Temporal’s Web UI' }),
  })
  .meta({ id: 'Upload' });

export const UploadList = z
  .object({ uploads: z.array(UploadView), next_cursor: z.string().nullable() })
  .meta({ id: 'UploadList' });

export const ListUploadsQuery = z.strictObject({
  state: z.enum(JOB_STATES).optional(),
  bucket: v.Bucket.optional(),
  monitored: v.Flag.optional(),
  ...v.PageQuery,
});

export const UploadParams = z.object({ upload_id: v.Id });

export const FileView = z
  .object({
    path: z.string(),
    state: z.enum(FILE_STATES),
    key: z.string().nullable(),
    size: z.int().nullable(),
    mtime: v.Time.nullable(),
    attempts: z.int(),
    failure_code: z.string().nullable(),
    failure_reason: z.string().nullable(),
    checksum: z.string().nullable(),
    etag: z.string().nullable(),
    version_id: z.string().nullable(),
    created_at: v.Time,
    updated_at: v.Time,
  })
  .meta({ id: 'File' });

export const FileList = z
  .object({ files: z.array(FileView), next_cursor: z.string().nullable() })
  .meta({ id: 'FileList' });

export const ListFilesQuery = z.strictObject({
  state: z.enum(FILE_STATES).optional(),
  prefix: v.text(4096).optional().meta({ description: 'Only paths that begin so' }),
  ...v.PageQuery,
});

export const LimitsBody = Limits.meta({ id: 'Limits' });
export const MonitorBody = Monitor.pick({ interval: true }).meta({ id: 'Monitoring' });
