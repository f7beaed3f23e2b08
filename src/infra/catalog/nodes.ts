/** The table of nodes: objects that somebody registered, and what is there of each. */
import type { NodeState } from '../../core/states.js';
import type { Encryption } from '../../core/uploads.js';
import { readPage, type Page, type PageAsk } from './paging.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';
import { numberOrNull } from './values.js';

/** Sizes in bytes, times ISO 8601 in UTC; null where nothing is known (yet). */
export interface NodeRow {
  nodeId: string;
  connectorId: string | null;
  name: string;
  contentType: string | null;
  bucket: string;
  key: string;
  status: NodeState;
  /** The session that made what is there now. */
  uploadId: string | null;
  etag: string | null;
  size: number | null;
  versionId: string | null;
  /** `crc32:<base64>` */
  checksum: string | null;
  encryptionType: Encryption['type'] | null;
  kmsKeyId: string | null;
  /** MD5 of the customer's key, base64. */
  customerKeyMd5: string | null;
  createdAt: string;
  updatedAt: string;
}

export async function getNode(db: Queryable, nodeId: string): Promise<NodeRow | undefined> {
  const { rows } = await query<RawRow>(db, 'getNode', {
    name: 'get-node',
    text: 'SELECT * FROM nodes WHERE node_id = $1',
    values: [nodeId],
  });
  return rows[0] === undefined ? undefined : toRow(rows[0]);
}

/** Sessions that make a version of the node, and whose rows are not closed; the newest first. */
export async function openSessionsOf(db: Queryable, nodeId: string): Promise<string[]> {
  const { rows } = await query<{ id: string }>(db, 'openSessionsOf', {
    name: 'open-sessions-of',
    text: 'SELECT id FROM sessions WHERE node_id = $1 AND ended_at IS NULL ORDER BY created_at DESC',
    values: [nodeId],
  });
  return rows.map(({ id }) => id);
}

export interface ListNodes extends PageAsk {
  status?: NodeState | undefined;
  connectorId?: string | undefined;
  bucket?: string | undefined;
}

export type NodePage = Page<NodeRow>;

/** Newest first. Throws InvalidInput for a bad cursor or limit. */
export async function listNodes(db: Queryable, ask: ListNodes): Promise<NodePage> {
  const { status, connectorId, bucket } = ask;
  const filters = { status, connector_id: connectorId, bucket };
  const idOf = ({ nodeId }: NodeRow): string => nodeId;
  return await readPage(db, { op: 'listNodes', from: 'nodes', id: 'node_id', filters, toRow, idOf }, ask);
}

/** As pg gives it: bigint as text, times as Date. */
interface RawRow {
  [column: string]: string | Date | null;
}

function toRow(raw: RawRow): NodeRow {
  const text = (column: string) => raw[column] as string;
  const maybe = (column: string) => raw[column] as string | null;
  return {
    nodeId: text('node_id'),
    connectorId: maybe('connector_id'),
    name: text('name'),
    contentType: maybe('content_type'),
    bucket: text('bucket'),
    key: text('key'),
    status: text('status') as NodeState,
    uploadId: maybe('upload_id'),
    etag: maybe('s3_etag'),
    size: numberOrNull(maybe('size')),
    versionId: maybe('version_id'),
    checksum: maybe('checksum'),
    encryptionType: maybe('encryption_type') as NodeRow['encryptionType'],
    kmsKeyId: maybe('kms_key_id'),
    customerKeyMd5: maybe('customer_key_md5'),
    createdAt: (raw['created_at'] as Date).toISOString(),
    updatedAt: (raw['updated_at'] as Date).toISOString(),
  };
}
