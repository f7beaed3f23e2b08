/** From what a caller asks to the upload that is begun. */
import type { StartUpload } from '../../client/longshore-client.js';
import { LongshoreError } from '../../core/errors.js';
import { adviseChunks, type ChunkAdvice } from '../../core/sessions.js';
import type { ClientSource, Destination, Encryption } from '../../core/uploads.js';
import { getNode, type NodeRow } from '../../infra/catalog/nodes.js';
import type { Queryable } from '../../infra/catalog/pool.js';
import type { Config } from '../../infra/config.js';
import { given } from '../definition.js';
import { taken } from './reuse.js';
import { mayWrite } from './rules.js';
import type { Caller, SessionAsk } from './service.js';

const CONNECTOR = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** Bytes of the name in the object's metadata, which has 2 KiB for everything. */
const MAX_NAME = 512;

/** A node that the caller may write; undefined when none is named. Throws NotFound, also for one that is another's. */
export async function nodeOf(
  db: Queryable,
  caller: Caller,
  nodeId: string | undefined,
): Promise<NodeRow | undefined> {
  if (nodeId === undefined) return undefined;
  const node = await getNode(db, nodeId);
  if (node !== undefined && mayWrite(caller, node)) return node;
  throw new LongshoreError('NotFound', `there is no node ${nodeId}`, { op: 'request', key: nodeId });
}

/** A session that names no node makes the node of its own id. Throws Conflict when that is there, and another's. */
export async function mayTake(db: Queryable, caller: Caller, id: string): Promise<void> {
  const node = await getNode(db, id);
  if (node !== undefined && !mayWrite(caller, node)) throw taken(id);
}

/** What is advised for an object of this size. Throws PlanImpossible. */
export function adviceFor(
  { upload, sessions, serverProfile }: Pick<Config, 'upload' | 'sessions' | 'serverProfile'>,
  size: number | null,
  chunkSize = sessions.chunkSize,
): ChunkAdvice {
  return adviseChunks(size, chunkSize, Math.max(upload.expectedMax, chunkSize), serverProfile);
}

/** `sealed`: where the customer's key is kept, if there is one. Throws InvalidInput, Contradictory, Conflict, PlanImpossible. */
export function uploadOf(
  ask: SessionAsk & { id: string },
  {
    config,
    node,
    sealed,
    apiKey,
  }: { config: Config; node: NodeRow | undefined; sealed: string | undefined; apiKey: string | undefined },
): { upload: StartUpload & { id: string; source: ClientSource }; advice: ChunkAdvice } {
  const { sessions } = config;
  const advice = adviceFor(config, ask.size ?? null, ask.chunkSize);
  const ttlMs = ask.ttlMs ?? sessions.ttlMs;
  if (ttlMs > sessions.maxTtlMs) {
    const message = `a session lives ${sessions.maxTtlMs / 1000} s at most without a sign, not ${ttlMs / 1000} s`;
    throw new LongshoreError('Contradictory', message, { op: 'request' });
  }
  const connectorId = ask.connectorId ?? node?.connectorId ?? undefined;
  if (connectorId !== undefined && !CONNECTOR.test(connectorId)) {
    throw invalid(`the connector id ${JSON.stringify(connectorId)} is not 1 to 128 of A-Z a-z 0-9 . _ -`);
  }
  const nodeId = node?.nodeId ?? ask.id;
  const source: ClientSource = {
    ...{ kind: 'client', name: ask.name, nodeId, mode: ask.mode ?? 'chunks', ttlMs },
    ...given({ connectorId }),
  };
  const destination = destinationOf({ ...ask, connectorId }, nodeId, node, config);
  const options = {
    ...given({
      contentType: ask.contentType,
      tags: ask.tags,
      ifNoneMatch: ask.ifNoneMatch,
      expectedSize: ask.size,
    }),
    ...given({ encryption: encryptionOf(ask, sealed) }),
    ...given({ checksum: ask.checksum }),
    partSize: advice.recommendedChunkSize,
    metadata: { ...ask.metadata, ...ownMetadata(source) },
  };
  return { upload: { ...given({ apiKey }), id: ask.id, source, destination, options }, advice };
}

/** A node keeps its key: its versions are versions of one object. */
export function destinationOf(
  ask: Pick<SessionAsk, 'bucket' | 'key' | 'name' | 'connectorId'> & { id: string },
  nodeId: string,
  node: NodeRow | undefined,
  { sessions }: Pick<Config, 'sessions'>,
): Destination {
  if (node !== undefined) {
    const { bucket, key } = node;
    if ((ask.bucket ?? bucket) === bucket && (ask.key ?? key) === key) return { bucket, key };
    throw new LongshoreError('Conflict', `the node ${nodeId} is at s3://${bucket}/${key}`, {
      op: 'request',
      key: nodeId,
      hint: 'Leave bucket and key out, or begin a node of its own.',
    });
  }
  const bucket = ask.bucket ?? sessions.bucket;
  if (bucket === undefined) {
    throw new LongshoreError('InvalidInput', 'the request names no bucket, and there is none by default', {
      op: 'request',
      hint: 'Name a bucket, or set LONGSHORE_SESSION_BUCKET.',
    });
  }
  if (ask.key !== undefined) return { bucket, key: ask.key };
  if (ask.connectorId !== undefined) return { bucket, key: `connectors/${ask.connectorId}/${nodeId}.pb` };
  const values: Record<string, string> = { node_id: nodeId, upload_id: ask.id, name: safeName(ask.name) };
  const key = sessions.keyTemplate.replace(
    /\{(node_id|upload_id|name)\}/g,
    (_, name: string) => values[name] ?? '',
  );
  return { bucket, key };
}

/** The last step of what may be a path, without what a key should not hold. */
export function safeName(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? '';
  const clean = last.replace(/[\p{Cc}\p{Surrogate}]/gu, '').trim();
  return clean === '' || clean === '.' || clean === '..' ? 'unnamed' : clean;
}

/** As the coordination service writes it. Headers hold ASCII, so anything else is percent-encoded, and so is `%`. */
function ownMetadata({ nodeId, connectorId, name }: ClientSource): Record<string, string> {
  let encoded = '';
  for (const character of name.replace(/\p{Surrogate}/gu, '\ufffd')) {
    const next = /^[\x20-\x24\x26-\x7e]$/.test(character) ? character : encodeURIComponent(character);
    if (encoded.length + next.length > MAX_NAME) break;
    encoded += next;
  }
  return {
    'node-id': nodeId,
    ...(connectorId === undefined ? {} : { 'connector-id': connectorId }),
    'original-name': encoded.trim(),
  };
}

function encryptionOf({ encryption }: SessionAsk, sealed: string | undefined): Encryption | undefined {
  if (encryption === undefined) return undefined;
  if (encryption.type === 'SSE_S3') return { type: 'SSE_S3' };
  if (encryption.type === 'SSE_KMS') return { type: 'SSE_KMS', ...given({ kmsKeyId: encryption.kmsKeyId }) };
  return { type: 'SSE_C', keyRef: sealed ?? '', keyMd5: encryption.keyMd5 };
}

function invalid(message: string): LongshoreError {
  return new LongshoreError('InvalidInput', message, { op: 'request' });
}
