/** What an upload that makes a node anew (an earlier version of it, or the same under another key) leaves in the catalog. */
import type { UploadReport } from '../../core/uploads.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';

/** Within the transaction of the last report. A failure leaves the node as it was, for its object is there still. */
export async function renewNode(tx: Queryable, report: UploadReport): Promise<void> {
  const { id, nodeId, result, encryption } = report;
  if (nodeId === undefined || result === undefined) return;
  await query(tx, 'renewNode', {
    name: 'renew-node',
    text: `UPDATE nodes SET status = 'ACTIVE', upload_id = $2, s3_etag = $3, size = $4, version_id = $5, checksum = $6,
        encryption_type = $7, kms_key_id = $8, customer_key_md5 = $9, updated_at = now()
      WHERE node_id = $1`,
    values: [
      nodeId,
      id,
      result.etag,
      result.size,
      result.versionId ?? null,
      result.checksum ?? null,
      encryption?.type ?? null,
      encryption?.type === 'SSE_KMS' ? (encryption.kmsKeyId ?? null) : null,
      encryption?.type === 'SSE_C' ? encryption.keyMd5 : null,
    ],
  });
}
