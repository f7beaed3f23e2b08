/** Single objects as requests ask for them and as answers show them. */
import * as z from 'zod';
import { MAX_CONCURRENCY, MAX_PART_SIZE, MIN_PART_SIZE } from '../../core/limits.js';
import { UPLOAD_STATES } from '../../core/states.js';
import { VERIFICATION_LEVELS } from '../../core/uploads.js';
import * as v from './values.js';

const FileSource = z.strictObject({
  kind: z.literal('file'),
  root: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/),
  path: v.text(4096).min(1).meta({ description: 'Below the root' }),
});

const UrlSource = z.strictObject({
  kind: z.literal('url'),
  url: z
    .string()
    .max(8192)
    .regex(/^https?:\/\/[a-z0-9[][!-~]*$/)
    .meta({ description: 'http(s); a query or credentials in it are sealed and shown nowhere' }),
});

const ObjectSource = z.strictObject({
  kind: z.literal('object'),
  store: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,62}$/)
    .optional()
    .meta({ description: 'A store of the configuration; default: the one that is written to' }),
  bucket: v.Bucket,
  key: v.Key,
  version_id: v.HeaderText.optional(),
});

export const CreateObject = z
  .strictObject({
    object_id: v.Id.nullish(),
    source: z.discriminatedUnion('kind', [FileSource, UrlSource, ObjectSource]),
    destination: z.strictObject({ bucket: v.Bucket, key: v.Key }),
    ...v.objectFields,
    part_size: z.int().min(MIN_PART_SIZE).max(MAX_PART_SIZE).optional(),
    concurrency: z.int().min(1).max(MAX_CONCURRENCY).optional().meta({ description: 'Parts in flight' }),
    if_none_match: z
      .literal('*')
      .optional()
      .meta({ description: 'Fail when an object is at the key already' }),
    demand: z
      .enum(VERIFICATION_LEVELS)
      .optional()
      .meta({ description: 'The least verification that counts as success' }),
    expected_size: v.Bytes.optional(),
  })
  .meta({ id: 'CreateObject' });

export type CreateObjectBody = z.infer<typeof CreateObject>;

export const ObjectCreated = z
  .object({ object_id: z.string(), status: z.literal('created') })
  .meta({ id: 'ObjectCreated' });

export const ObjectAccepted = z
  .object({ object_id: z.string(), status: z.enum(['cancelling', 'pausing', 'resuming']) })
  .meta({ id: 'ObjectAccepted' });

export const ObjectView = z
  .object({
    object_id: z.string(),
    state: z.enum(UPLOAD_STATES),
    progress: z.number().min(0).max(1).nullable().meta({ description: 'null while the size is unknown' }),
    bytes_done: z.int().nullable(),
    bytes_total: z.int().nullable(),
    bucket: z.string(),
    key: z.string(),
    source: z.string().meta({ description: 'As people read it; never a secret' }),
    etag: z.string().nullable(),
    version_id: z.string().nullable(),
    checksum: z.string().nullable().meta({ description: '`crc32:` and base64' }),
    verification: z.enum(VERIFICATION_LEVELS).nullable(),
    failure: v.Failure.nullable(),
    created_at: v.Time,
    updated_at: v.Time,
    finished_at: v.Time.nullable(),
    web_ui: z.string().nullable(),
  })
  .meta({ id: 'Object' });

export const ObjectList = z
  .object({ objects: z.array(ObjectView), next_cursor: z.string().nullable() })
  .meta({ id: 'ObjectList' });

export const ObjectParams = z.object({ object_id: v.Id });

export const ListObjectsQuery = z.strictObject({
  state: z.enum(UPLOAD_STATES).optional(),
  bucket: v.Bucket.optional(),
  ...v.PageQuery,
});
