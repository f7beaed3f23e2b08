/** Sessions as requests ask for them and as answers show them. */
import * as z from 'zod';
import { MAX_PART_SIZE, MAX_PARTS, MIN_PART_SIZE } from '../../core/limits.js';
import { UPLOAD_STATES } from '../../core/states.js';
import { VERIFICATION_LEVELS } from '../../core/uploads.js';
import * as v from './values.js';

export const ConnectorId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/)
  .meta({ description: 'Its objects lie below `connectors/{connector_id}/`' });

const Name = v
  .text(512)
  .min(1)
  .meta({ description: 'As the client calls it; also in the object’s metadata' });

/** A customer's key, as requests carry it. */
export const CustomerKeyFields = {
  customer_key_b64: z
    .string()
    .regex(/^[A-Za-z0-9+/]{43}=$/)
    .meta({ description: '32 bytes in base64; over TLS or loopback only, and kept only wrapped' }),
  customer_key_md5: z
    .string()
    .regex(/^[A-Za-z0-9+/]{22}==$/)
    .meta({ description: 'MD5 of the key, in base64' }),
};

export const SessionEncryption = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('SSE_S3') }),
  z.strictObject({ type: z.literal('SSE_KMS'), kms_key_id: v.HeaderText.optional() }),
  z.strictObject({ type: z.literal('SSE_C'), ...CustomerKeyFields }),
]);

const Base64 = z.string().regex(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/);

export const CreateSession = z
  .strictObject({
    upload_id: v.Id.nullish(),
    name: Name,
    connector_id: ConnectorId.optional(),
    node_id: v.Id.optional().meta({ description: 'A node that is there: this is its next version' }),
    bucket: v.Bucket.optional().meta({ description: 'Default: the configured one' }),
    key: v.Key.optional().meta({
      description: 'Default: `connectors/{connector_id}/{node_id}.pb`, or what configuration says',
    }),
    content_type: v.HeaderText.optional(),
    expected_size: v.Bytes.nullish().meta({ description: 'Bytes; left out while unknown' }),
    chunk_size: z
      .int()
      .min(MIN_PART_SIZE)
      .max(MAX_PART_SIZE)
      .optional()
      .meta({ description: 'Bytes of every chunk but the last; default: the recommendation' }),
    metadata: v.Metadata.optional(),
    tags: v.Tags.optional(),
    encryption: SessionEncryption.optional(),
    if_none_match: z
      .literal('*')
      .optional()
      .meta({ description: 'Fail when an object is at the key already' }),
    checksum: z.boolean().optional().meta({
      description: 'Default true; false for parts that go straight to S3 without a CRC32 of their own',
    }),
    ttl: z
      .int()
      .min(1)
      .optional()
      .meta({ description: 'Seconds that it lives after the last sign of its client' }),
    payload: Base64.optional().meta({
      description: 'The whole object, in base64: then it is complete with this answer',
    }),
  })
  .meta({ id: 'CreateSession' });

export type CreateSessionBody = z.infer<typeof CreateSession>;

/** Of a payload that is the body: what else is to be said goes into the query. */
export const PayloadQuery = z.strictObject({
  upload_id: v.Id.optional(),
  name: Name,
  connector_id: ConnectorId.optional(),
  node_id: v.Id.optional(),
  bucket: v.Bucket.optional(),
  key: v.Key.optional(),
});

/** First and last of a run, both included. (A tuple is spelled otherwise in OpenAPI 3.1 than it is generated.) */
const Range = z.array(z.int().min(0)).length(2);

const Chunks = z.object({
  count: z.int(),
  ranges: z.array(Range).meta({ description: 'Runs of chunk numbers from 0, first and last included' }),
});

export const SessionView = z
  .object({
    upload_id: z.string(),
    node_id: z.string(),
    state: z.enum(UPLOAD_STATES),
    name: z.string(),
    connector_id: z.string().nullable(),
    content_type: z.string(),
    metadata: z.record(z.string(), z.string()),
    bucket: z.string(),
    key: z.string(),
    mode: z
      .enum(['chunks', 'whole'])
      .meta({ description: '`whole`: one object that somebody puts at the key' }),
    expected_size: z.int().nullable(),
    chunk_size: z.int().meta({ description: 'Bytes of every chunk but the last' }),
    recommended_chunk_size: z.int(),
    min_chunk_size: z.int(),
    max_chunk_size: z.int(),
    max_chunks: z.int(),
    generation: z
      .int()
      .meta({ description: 'Rises when the multipart upload was lost: then every chunk is asked for again' }),
    received: Chunks,
    received_bytes: z.int(),
    missing: Chunks.nullable().meta({ description: 'null while the size is unknown' }),
    size: z.int().nullable().meta({ description: 'Bytes of the object, once it is COMPLETED' }),
    location: z.string().nullable(),
    etag: z.string().nullable(),
    version_id: z.string().nullable(),
    checksum: z.string().nullable().meta({ description: '`crc32:` and base64' }),
    verification: z.enum(VERIFICATION_LEVELS).nullable(),
    encryption: z
      .object({
        type: z.enum(['SSE_S3', 'SSE_KMS', 'SSE_C']),
        kms_key_id: z.string().nullable(),
        customer_key_md5: z.string().nullable(),
      })
      .nullable(),
    error_code: z.string().nullable(),
    error_message: z.string().nullable(),
    created_at: v.Time,
    touched_at: v.Time,
    expires_at: v.Time.nullable().meta({
      description: 'Without another sign of its client; null once it has ended',
    }),
    completed_at: v.Time.nullable(),
    ended_at: v.Time.nullable(),
    web_ui: z.string().nullable(),
  })
  .meta({ id: 'Session' });

export const SessionList = z
  .object({ sessions: z.array(SessionView), next_cursor: z.string().nullable() })
  .meta({ id: 'SessionList' });

export const SessionParams = z.object({ upload_id: v.Id });

export const ChunkParams = z.object({
  upload_id: v.Id,
  chunk: z
    .string()
    .regex(/^(0|[1-9]\d{0,3})$/)
    .transform(Number)
    .meta({ type: 'integer', minimum: 0, maximum: MAX_PARTS - 1, description: 'From 0, in any order' }),
});

const Base64Of = (bytes: number) =>
  z
    .string()
    .regex(new RegExp(`^[A-Za-z0-9+/]{${Math.ceil((bytes * 8) / 6)}}${'='.repeat((3 - (bytes % 3)) % 3)}$`));

/** What came is compared with each that is given. */
export const BodyHeaders = z.object({
  'content-md5': Base64Of(16).optional(),
  'content-digest': z
    .string()
    .max(1024)
    .optional()
    .meta({ description: 'RFC 9530; sha-256, sha-512 and md5 are looked at' }),
  'x-amz-checksum-crc32': Base64Of(4).optional(),
  'x-amz-checksum-crc32c': Base64Of(4).optional(),
  'x-amz-checksum-sha1': Base64Of(20).optional(),
  'x-amz-checksum-sha256': Base64Of(32).optional(),
});

export const Chunk = z
  .object({
    upload_id: z.string(),
    chunk: z.int(),
    size: z.int(),
    etag: z.string(),
    checksum: z.string().meta({ description: '`crc32:` and base64' }),
  })
  .meta({ id: 'Chunk' });

export const CompleteSession = z
  .strictObject({
    chunks: z.int().min(0).max(MAX_PARTS).optional().meta({ description: 'Chunks in all' }),
    size: v.Bytes.optional().meta({ description: 'Bytes in all' }),
    checksum: z
      .string()
      .regex(/^crc32:[A-Za-z0-9+/]{6}==$/)
      .optional()
      .meta({ description: 'Of the whole object: `crc32:` and base64' }),
  })
  .meta({ id: 'CompleteSession' });

export const SessionCancelled = z
  .object({ upload_id: z.string(), status: z.enum(['cancelled', 'cancelling']) })
  .meta({ id: 'SessionCancelled' });

export const ListSessionsQuery = z.strictObject({
  state: z.enum(UPLOAD_STATES).optional(),
  connector_id: ConnectorId.optional(),
  bucket: v.Bucket.optional(),
  ...v.PageQuery,
});
