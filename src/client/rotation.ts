/**
 * A node under another key: the server copies its object onto itself, from the old encryption to the new one, as an upload
 * like any other, so that it is durable, resumable for large objects, and verified before the old key is forgotten.
 */
import { LongshoreError } from '../core/errors.js';
import type { Encryption, SealedKey } from '../core/uploads.js';
import type { NodeRow } from '../infra/catalog/nodes.js';
import type { StartUpload } from './longshore-client.js';

/** What is said of a key before it is sealed: which one it is. MD5, base64. */
export interface RotationKeys {
  /** Of the key that the object is encrypted with now. */
  from: string | undefined;
  /** Of the key that it is to be encrypted with; undefined where that is not a customer's. */
  to: string | undefined;
}

/** Throws Conflict when the node holds no object, WrongCustomerKey for another key than its own, InvalidInput. */
export function checkRotation(node: NodeRow, { from, to }: RotationKeys): void {
  const { nodeId, status, encryptionType, customerKeyMd5 } = node;
  const refuse = (code: 'Conflict' | 'WrongCustomerKey' | 'InvalidInput', message: string): LongshoreError =>
    new LongshoreError(code, `${nodeId}: ${message}`, { op: 'rotate', key: nodeId });
  if (status !== 'ACTIVE') throw refuse('Conflict', `the node is ${status}, and holds no object`);
  if (encryptionType === 'SSE_C') {
    if (from === undefined)
      throw refuse('InvalidInput', 'the key that the object is encrypted with is missing');
    if (customerKeyMd5 !== null && from !== customerKeyMd5)
      throw refuse(
        'WrongCustomerKey',
        'the object is encrypted with another key than the old one that was given',
      );
  } else if (from !== undefined)
    throw refuse(
      'InvalidInput',
      'an old key was given, and the object is not encrypted with a customer’s key',
    );
  if (from !== undefined && from === to) throw refuse('InvalidInput', 'the new key is the old one');
}

export interface Rotation {
  id: string;
  node: NodeRow;
  /** Left out where it is to be sealed yet. */
  from?: SealedKey | undefined;
  to?: Encryption | undefined;
  apiKey?: string | undefined;
}

export function rotationUpload({ id, node, from, to, apiKey }: Rotation): StartUpload & { id: string } {
  const { nodeId, bucket, key, size } = node;
  return {
    id,
    source: { kind: 'object', bucket, key, ...(from === undefined ? {} : { sealedKey: from }) },
    destination: { bucket, key },
    options: {
      ...(to === undefined ? {} : { encryption: to }),
      keepAttributes: true,
      ...(size === null ? {} : { expectedSize: size }),
    },
    nodeId,
    ...(apiKey === undefined ? {} : { apiKey }),
  };
}
