/** Nodes under other keys. */
import { uuidv7 } from 'uuidv7';
import { checkRotation, rotationUpload } from '../../client/rotation.js';
import { mustBeIdle } from '../../client/idle-node.js';
import { AlreadyCompleted } from '../../client/longshore-client.js';
import { LongshoreError } from '../../core/errors.js';
import { MAX_PARKED_MS } from '../../core/limits.js';
import type { Encryption, SealedKey } from '../../core/uploads.js';
import type { NodeRow } from '../../infra/catalog/nodes.js';
import { customerKeyFromBase64, mustBeTrusted, type CustomerKey } from '../../infra/keys/index.js';
import { given } from '../definition.js';
import type { ApiDeps, Routes } from '../deps.js';
import { findNode, lastRunBy } from '../node-request.js';
import { mustGrant } from '../plugins/auth.js';
import { derivedId } from '../plugins/idempotency.js';
import { sensible } from '../refusals.js';
import { writes } from '../schemas/problem.js';
import * as s from '../schemas/rotation.js';
import { IdempotencyHeaders } from '../schemas/values.js';
import { callerOf } from '../sessions/caller.js';
import { broughtBefore } from '../sessions/reuse.js';

/** Longer than the upload may be parked, for the keys are needed after that. */
const KEY_LIFE_MS = 2 * MAX_PARKED_MS;

type Asked = { key: CustomerKey } | { encryption: Encryption };

export function rotationRoutes(app: Routes, deps: ApiDeps): void {
  app.post(
    '/nodes/:node_id/rotate',
    {
      schema: {
        tags: ['nodes'],
        operationId: 'rotateNode',
        summary: 'Encrypt a node’s object anew; the server copies it onto itself',
        description: 'Customers’ keys are taken over TLS or loopback only, and kept only wrapped.',
        params: s.NodeParams,
        body: s.RotateNode,
        headers: IdempotencyHeaders,
        response: writes(s.RotationStarted, 'The upload that does it is there, and runs or has run'),
      },
    },
    async (request, reply) => {
      const { body, params } = request;
      const node = await findNode(deps, request, params.node_id);
      mustGrant(request, node);
      const from = body.old_key && keyOf(body.old_key);
      const to = askedOf(body.encryption);
      if (from !== undefined || 'key' in to) mustBeTrusted(callerOf(request).trusted, 'rotate');
      const id = body.upload_id ?? derivedId(request) ?? uuidv7();
      const brought = await broughtBefore(deps, request, id, rotationUpload({ id, node }));
      // The same request again finds the node where it brought it, or where others have brought it since.
      if (!brought && node.uploadId !== id) {
        checkRotation(node, { from: from?.md5, to: 'key' in to ? to.key.md5 : undefined });
        await mustBeIdle(deps.db, lastRunBy(deps), node, 'rotate');
      }
      if (!brought) await start(deps, { id, node, from, to, apiKey: request.apiKey?.id });
      reply.header('location', `/api/v1/objects/${id}`);
      return { upload_id: id, node_id: node.nodeId, status: 'created' as const };
    },
  );
}

interface Start {
  id: string;
  node: NodeRow;
  from: CustomerKey | undefined;
  to: Asked;
  apiKey: string | undefined;
}

async function start({ keys, temporal }: ApiDeps, { id, node, from, to, apiKey }: Start): Promise<void> {
  const sealed: string[] = [];
  const seal = async ({ key, md5 }: CustomerKey): Promise<SealedKey> => {
    const keyRef = await keys.seal(key, { upload: id, ttlMs: KEY_LIFE_MS });
    sealed.push(keyRef);
    return { keyRef, keyMd5: md5 };
  };
  let keep = false;
  try {
    const upload = rotationUpload({
      ...{ id, node, apiKey },
      from: from && (await seal(from)),
      to: 'key' in to ? { type: 'SSE_C', ...(await seal(to.key)) } : to.encryption,
    });
    keep = await sensible(() => temporal.use(async (client) => (await client.startUpload(upload)).fresh));
  } catch (error) {
    // The same request again, long done: that it is there is the answer.
    if (error instanceof AlreadyCompleted) return;
    // Without an answer it may have started, and would need the keys.
    keep = error instanceof LongshoreError && error.code === 'TemporalUnavailable';
    throw error;
  } finally {
    if (!keep) for (const ref of sealed) await keys.wipe(ref);
  }
}

function askedOf(encryption: s.RotateBody['encryption']): Asked {
  if (encryption.type === 'SSE_C') return { key: keyOf(encryption) };
  if (encryption.type === 'SSE_S3') return { encryption: { type: 'SSE_S3' } };
  return { encryption: { type: 'SSE_KMS', ...given({ kmsKeyId: encryption.kms_key_id }) } };
}

function keyOf(given: { customer_key_b64: string; customer_key_md5: string }): CustomerKey {
  return customerKeyFromBase64(given.customer_key_b64, given.customer_key_md5);
}
