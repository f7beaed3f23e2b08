/** Nodes: objects that somebody registered, and their versions. */
import * as z from 'zod';
import { NODE_STATES } from '../../core/states.js';
import { ConnectorId } from './sessions.js';
import * as v from './values.js';

export const NodeParams = z.object({ node_id: v.Id });

export const NodeView = z
  .object({
    node_id: z.string(),
    connector_id: z.string().nullable(),
    name: z.string(),
    content_type: z.string().nullable(),
    bucket: z.string(),
    key: z.string(),
    status: z.enum(NODE_STATES),
    upload_id: z.string().nullable().meta({ description: 'The upload that made what is there now' }),
    location: z.string().nullable(),
    etag: z.string().nullable(),
    size: z.int().nullable(),
    version_id: z.string().nullable().meta({ description: 'null where the bucket keeps no versions' }),
    checksum: z.string().nullable().meta({ description: '`crc32:` and base64' }),
    encryption: z
      .object({
        type: z.enum(['SSE_S3', 'SSE_KMS', 'SSE_C']),
        kms_key_id: z.string().nullable(),
        customer_key_md5: z.string().nullable(),
      })
      .nullable(),
    created_at: v.Time,
    updated_at: v.Time,
  })
  .meta({ id: 'Node' });

export const NodeList = z
  .object({ nodes: z.array(NodeView), next_cursor: z.string().nullable() })
  .meta({ id: 'NodeList' });

export const ListNodesQuery = z.strictObject({
  status: z.enum(NODE_STATES).optional(),
  connector_id: ConnectorId.optional(),
  bucket: v.Bucket.optional(),
  ...v.PageQuery,
});

export const VersionList = z
  .object({
    versions: z.array(
      z.object({
        version_id: z.string(),
        etag: z.string().nullable(),
        size: z.int(),
        last_modified: v.Time,
        latest: z.boolean().meta({ description: 'What S3 answers to who names no version' }),
        deleted: z.boolean().meta({ description: 'Says that the object was deleted' }),
        current: z.boolean().meta({ description: 'What the node is' }),
      }),
    ),
    next_cursor: z.string().nullable(),
  })
  .meta({ id: 'NodeVersionList' });

export const ListVersionsQuery = z.strictObject(v.PageQuery);

const VersionId = z.string().regex(/^[\x21-\x7e]{1,1024}$/);

export const RollbackNode = z
  .strictObject({
    version_id: VersionId,
    upload_id: v.Id.optional().meta({ description: 'Of the upload that does it; made when left out' }),
  })
  .meta({ id: 'RollbackNode' });

export const RollbackStarted = z
  .object({
    upload_id: z.string().meta({ description: 'GET /api/v1/objects/{upload_id} tells how it goes' }),
    node_id: z.string(),
    version_id: z.string().meta({ description: 'The version that the node goes back to' }),
    status: z.literal('started'),
  })
  .meta({ id: 'RollbackStarted' });
