/** What the end of a session leaves in the catalog: a node that is an object or is none, and no parts. */
import type { UploadReport } from '../../core/uploads.js';
import { query } from './pool.js';
import type { PoolClient } from './pool.js';
import { forgetParts } from './sessions.js';

/** Within the transaction of the last report. Nothing to do for a session that failed before it was opened. */
export async function endSession(tx: PoolClient, report: UploadReport): Promise<void> {
  const { rows } = await query<{ node_id: string }>(tx, 'endSession', {
    name: 'end-session',
    text: `UPDATE sessions SET open = false, ended_at = now() WHERE id = $1 RETURNING node_id`,
    values: [report.id],
  });
  const nodeId = rows[0]?.node_id;
  if (nodeId === undefined) return;
  if (report.result === undefined) await failNode(tx, nodeId, report);
  else await activateNode(tx, nodeId, report);
  await forgetParts(tx, report.id);
}

/** Where the object is the session knows: a node without one may have been given another key meanwhile. */
async function activateNode(tx: PoolClient, nodeId: string, { id, result }: UploadReport): Promise<void> {
  await query(tx, 'endSession', {
    name: 'activate-node',
    text: `UPDATE nodes AS n SET status = 'ACTIVE', upload_id = s.id, name = s.name, content_type = s.content_type,
             bucket = s.bucket, key = s.key, s3_etag = $3, size = $4, version_id = $5, checksum = $6, encryption_type = s.encryption ->> 'type',
             kms_key_id = s.encryption ->> 'kmsKeyId', customer_key_md5 = s.encryption ->> 'keyMd5', updated_at = now()
            FROM sessions s WHERE s.id = $2 AND n.node_id = $1`,
    values: [
      nodeId,
      id,
      result?.etag ?? null,
      result?.size ?? null,
      result?.versionId ?? null,
      result?.checksum ?? null,
    ],
  });
}

/** An object that was there is there still, whatever became of its next version. */
async function failNode(tx: PoolClient, nodeId: string, { state }: UploadReport): Promise<void> {
  await query(tx, 'endSession', {
    name: 'fail-node',
    text: `UPDATE nodes SET status = $2, updated_at = now() WHERE node_id = $1 AND status = 'PENDING'`,
    values: [nodeId, state === 'CANCELLED' ? 'CANCELLED' : 'FAILED'],
  });
}
