/** An id that is there already: whose it is, and whether what is asked for under it is what was done. */
import { canonical } from '../../core/canonical.js';
import { LongshoreError } from '../../core/errors.js';
import { isGranted } from '../../core/grants.js';
import type { ChunkAdvice } from '../../core/sessions.js';
import { sourceLabel, type ClientSource, type Encryption } from '../../core/uploads.js';
import type { StartUpload } from '../../client/longshore-client.js';
import type { Queryable } from '../../infra/catalog/pool.js';
import { getSession, type SessionRow } from '../../infra/catalog/sessions.js';
import { getUpload } from '../../infra/catalog/uploads.js';
import { printable } from '../../infra/catalog/values.js';
import type { TemporalLink } from '../temporal-link.js';
import { maySee, mustGrant } from './rules.js';
import type { Caller, SessionAsk } from './service.js';

/**
 * The session of this id if it is complete: Temporal forgets it long before the catalog does, and would begin it again.
 * Throws Conflict for an id that is no session, or one that is not the caller's to begin anew; NotGranted.
 */
export async function completedBefore(
  db: Queryable,
  caller: Caller,
  id: string,
): Promise<SessionRow | undefined> {
  const row = await getSession(db, id);
  if (row !== undefined) {
    if (!maySee(caller, row)) throw taken(id);
    mustGrant(caller, row);
    return row.state === 'COMPLETED' ? row : undefined;
  }
  const upload = await getUpload(db, id);
  if (upload === undefined) return undefined;
  if (upload.sourceKind !== 'client') throw taken(id);
  mustOwn(caller, upload);
  return undefined;
}

/**
 * For an object that workers bring: whether it was brought, and Temporal has forgotten it, and would bring it again over what
 * came since. What Temporal knows it judges itself, for it knows all of the ask. Throws Conflict for an id that is a session,
 * an upload out of the caller's grants, or one that brought something else.
 */
export async function broughtBefore(
  { db, temporal }: { db: Queryable; temporal: Pick<TemporalLink, 'use'> },
  caller: Pick<Caller, 'apiKey'>,
  id: string,
  { source, destination }: Pick<StartUpload, 'source' | 'destination'>,
): Promise<boolean> {
  const row = await getUpload(db, id);
  if (row === undefined) return false;
  if (row.sourceKind === 'client') throw taken(id);
  mustOwn(caller, row);
  if (row.state !== 'COMPLETED') return false;
  const run = await temporal.use((client) => client.lastRun(id));
  if (run === 'open' || run === 'completed') return false;
  const { bucket, key } = destination;
  const same = row.bucket === bucket && row.key === key && row.sourceLabel === printable(sourceLabel(source));
  if (same) return true;
  throw new LongshoreError('Conflict', `the upload ${id} is complete, and brought something else`, {
    op: 'start',
    key: id,
    hint: 'Choose another id, or leave it out.',
  });
}

function mustOwn({ apiKey }: Pick<Caller, 'apiKey'>, row: { id: string; bucket: string; key: string }): void {
  if (apiKey !== null && !isGranted(apiKey.grants, row)) throw taken(row.id);
}

/** What is there is nobody else's business. */
export function taken(id: string): LongshoreError {
  return new LongshoreError('Conflict', `the id ${id} is taken`, {
    op: 'begin',
    key: id,
    hint: 'Choose another, or leave it out.',
  });
}

/** Throws Conflict for what the row says otherwise. What the ask leaves to defaults may have had others then. */
export function mustBeSame(
  row: SessionRow,
  ask: SessionAsk,
  { upload, advice }: { upload: StartUpload & { source: ClientSource }; advice: ChunkAdvice },
): void {
  const { source, destination, options } = upload;
  const maybe = <T>(asked: T | undefined, is: T): boolean => asked === undefined || asked === is;
  const same = {
    bucket: destination.bucket === row.bucket,
    key: destination.key === row.key,
    'node id': source.nodeId === row.nodeId,
    'connector id': (source.connectorId ?? null) === row.connectorId,
    name: printable(source.name) === row.name,
    mode: source.mode === row.mode,
    size: (ask.size ?? null) === row.expectedSize,
    metadata: canonical(options.metadata ?? {}) === canonical(row.metadata),
    'content type': maybe(ask.contentType, row.contentType),
    'chunk size': ask.chunkSize === undefined || advice.recommendedChunkSize === row.chunkSize,
    'time to live': maybe(ask.ttlMs, row.ttlMs),
    encryption: isSameEncryption(options.encryption, row.encryption),
  };
  const other = Object.entries(same).filter(([, is]) => !is);
  if (other.length === 0) return;
  const what = other.map(([name]) => name).join(', ');
  throw new LongshoreError('Conflict', `the session ${row.id} is complete, and had another ${what}`, {
    op: 'begin',
    key: row.id,
  });
}

function isSameEncryption(asked: Encryption | undefined, is: Encryption | null): boolean {
  if (asked === undefined) return is?.type !== 'SSE_C';
  if (asked.type === 'SSE_C') return is?.type === 'SSE_C' && is.keyMd5 === asked.keyMd5;
  if (asked.type === 'SSE_KMS')
    return is?.type === 'SSE_KMS' && (asked.kmsKeyId === undefined || asked.kmsKeyId === is.kmsKeyId);
  return is?.type === asked.type;
}
