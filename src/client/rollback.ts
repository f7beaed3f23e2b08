/** A node back at an earlier version: the server copies that version onto the key, as an upload like any other. */
import { LongshoreError } from '../core/errors.js';
import type { Encryption } from '../core/uploads.js';
import type { NodeRow } from '../infra/catalog/nodes.js';
import type { StartUpload } from './longshore-client.js';

/** Throws Conflict when the node is at that version already, NotSupported where only its customer could read it. */
export function checkRollback(node: NodeRow, versionId: string): void {
  const { nodeId, encryptionType } = node;
  if (node.versionId === versionId) {
    const message = `the node ${nodeId} is at the version ${versionId} already`;
    throw new LongshoreError('Conflict', message, {
      op: 'rollback',
      key: nodeId,
      hint: 'Choose an earlier version; GET /api/v1/nodes/{node_id}/versions lists them.',
    });
  }
  if (encryptionType === 'SSE_C') {
    const message = `the node ${nodeId} is encrypted with a customer’s key, without which no version of it can be copied`;
    throw new LongshoreError('NotSupported', message, {
      op: 'rollback',
      key: nodeId,
      hint: 'Read the version with its key, and send it as a new one.',
    });
  }
}

export interface Rollback {
  /** Of the upload that does it; a fresh one is made when left out. */
  id?: string | undefined;
  node: NodeRow;
  versionId: string;
  apiKey?: string | undefined;
}

export function rollbackUpload({ id, node, versionId, apiKey }: Rollback): StartUpload {
  const { nodeId, bucket, key } = node;
  const encryption = encryptionOf(node);
  return {
    ...(id === undefined ? {} : { id }),
    source: { kind: 'object', bucket, key, versionId },
    destination: { bucket, key },
    options: { keepAttributes: true, ...(encryption === undefined ? {} : { encryption }) },
    nodeId,
    ...(apiKey === undefined ? {} : { apiKey }),
  };
}

function encryptionOf({ encryptionType, kmsKeyId }: NodeRow): Encryption | undefined {
  if (encryptionType === 'SSE_S3') return { type: 'SSE_S3' };
  if (encryptionType === 'SSE_KMS') return { type: 'SSE_KMS', ...(kmsKeyId === null ? {} : { kmsKeyId }) };
  return undefined;
}
