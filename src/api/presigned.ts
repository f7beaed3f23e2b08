/** Parts that do not pass through us: addresses for them, what S3 has of them, and what the client says that it sent. */
import { LongshoreError } from '../core/errors.js';
import { MAX_PARTS } from '../core/limits.js';
import { chunkCount, chunkLength } from '../core/sessions.js';
import { vouchParts } from '../infra/catalog/session-parts.js';
import { markBegun, type SessionRow } from '../infra/catalog/sessions.js';
import type { PresignedForm, PresignedRequest, SignedBody } from '../infra/s3/presign.js';
import type { CustomerKey } from '../infra/keys/index.js';
import { tokenMetadata, type ListedPart } from '../infra/s3/store.js';
import { uploadWorkflowId } from '../core/ids.js';
import { given } from './definition.js';
import type { ApiDeps } from './deps.js';
import { mustGrant, mustTake } from './sessions/rules.js';
import type { Caller } from './sessions/service.js';

type Deps = Pick<ApiDeps, 'db' | 'temporal' | 'store' | 'presigner' | 'sessions' | 'keys'>;

export interface PartToSign extends SignedBody {
  /** From 1. */
  partNumber: number;
}

export interface SignedPart extends PresignedRequest {
  partNumber: number;
}

const LIST_MS = 60_000;

/** A session that this caller may send to. Throws NotFound, NotGranted. */
export async function findToSend(deps: Deps, caller: Caller, id: string): Promise<SessionRow> {
  const row = await deps.sessions.find(caller, id);
  mustGrant(caller, row);
  return row;
}

/**
 * One request a part; a session of mode `whole` has one, which puts the object. Throws NotRunning, SessionExpired,
 * WrongChunkSize, Contradictory for a part beyond the end.
 */
export async function signParts(
  deps: Deps,
  row: SessionRow,
  asks: readonly PartToSign[],
  lifetimeMs?: number,
): Promise<SignedPart[]> {
  mustTake(row);
  const bodies = asks.map((ask) => ({ ...ask, ...bodyOf(row, ask) }));
  const customerKey = await customerKeyOf(deps, row, 'PresignUploadPart');
  await awake(deps, row);
  const terms = { ...given({ customerKey }), lifetimeMs: Math.min(lifetimeMs ?? Infinity, row.ttlMs) };
  return await Promise.all(
    bodies.map(async ({ partNumber, ...body }) => ({
      partNumber,
      ...(row.s3UploadId === null
        ? await deps.presigner.put({ ...objectOf(row), ...body, ...terms })
        : await deps.presigner.part({
            ...{ bucket: row.bucket, key: row.key, s3UploadId: row.s3UploadId, partNumber },
            ...{ ...body, ...terms },
          })),
    })),
  );
}

/** A form that puts the object of a session of mode `whole`. Throws as `signParts`, and NotSupported. */
export async function signForm(deps: Deps, row: SessionRow): Promise<PresignedForm> {
  mustTake(row);
  await awake(deps, row);
  const length = given({ length: row.expectedSize ?? undefined });
  return await deps.presigner.form({ ...objectOf(row), ...length, lifetimeMs: row.ttlMs });
}

/** What S3 has of the session. A multipart upload that is gone is begun anew, and has nothing. Throws NotRunning, SessionExpired. */
export async function partsInS3(deps: Deps, row: SessionRow): Promise<ListedPart[]> {
  mustTake(row);
  const { id, bucket, key, s3UploadId, generation } = row;
  if (s3UploadId === null) return [];
  await deps.sessions.touch(row);
  const customerKey = await customerKeyOf(deps, row, 'ListParts');
  const ref = { bucket, key, s3UploadId, ...given({ customerKey }) };
  try {
    return await deps.store.listParts(ref, AbortSignal.timeout(LIST_MS));
  } catch (error) {
    if (!(error instanceof LongshoreError) || error.code !== 'NoSuchUpload') throw error;
    await deps.temporal.use(async ({ sessions }) => {
      await sessions.lost(id, generation);
      await sessions.opened(id);
    });
    return [];
  }
}

/** The client says that it sent these. Repeating it changes nothing. Throws NotRunning, SessionExpired. */
export async function reportParts(
  deps: Deps,
  row: SessionRow,
  parts: readonly { partNumber: number; etag: string; size?: number | undefined }[],
): Promise<void> {
  mustTake(row);
  if (row.mode === 'whole') {
    throw new LongshoreError('Contradictory', 'the session takes one whole object, which has no parts', {
      op: 'reportParts',
      key: row.id,
    });
  }
  await awake(deps, row);
  const told = parts.map(({ partNumber, etag, size }) => ({
    partNumber,
    etag: quoted(etag),
    ...given({ size }),
  }));
  await vouchParts(deps.db, row.id, row.generation, told);
}

/** As S3 answers it: pages often hand it on without its quotes. */
function quoted(etag: string): string {
  return `"${etag.replaceAll('"', '')}"`;
}

/** Whoever asks for addresses is about to send. The signal goes first: repeated it is harmless, forgotten it is not. */
async function awake({ sessions, temporal, db }: Deps, row: SessionRow): Promise<void> {
  await sessions.touch(row);
  if (row.begun) return;
  await temporal.use((client) => client.sessions.begun(row.id));
  await markBegun(db, row.id);
}

/** The length is signed where it is known: of a part whose object’s size is known, and where the client says it. */
function bodyOf(row: SessionRow, { partNumber, length, crc32, md5 }: PartToSign): SignedBody {
  const { expectedSize: size } = row;
  const whole = row.mode === 'whole';
  const chunkSize = whole ? (size ?? Infinity) : row.chunkSize;
  const last = whole ? 1 : size === null ? MAX_PARTS : chunkCount(size, chunkSize);
  if (partNumber > last) {
    const message = `the session has ${last} chunks, 0 to ${last - 1}, and none ${partNumber - 1}`;
    throw new LongshoreError('Contradictory', message, { op: 'signParts', key: row.id });
  }
  const known =
    size === null ? undefined : chunkLength(partNumber - 1, { chunkSize: Math.max(1, chunkSize), size }).most;
  if (known !== undefined && length !== undefined && length !== known) {
    const message = `chunk ${partNumber - 1} has ${known} bytes, not ${length}`;
    throw new LongshoreError('WrongChunkSize', message, { op: 'signParts', key: row.id });
  }
  return given({ length: length ?? known, crc32, md5 });
}

/** What an object of mode `whole` carries, the token with it: by that its workflow knows it again. */
function objectOf(row: SessionRow) {
  const { id, bucket, key, contentType, metadata, encryption, nonce } = row;
  const token = tokenMetadata({ uploadId: uploadWorkflowId(id), nonce });
  return {
    bucket,
    key,
    contentType,
    metadata: { ...metadata, ...token },
    ...given({ encryption: encryption ?? undefined }),
  };
}

async function customerKeyOf({ keys }: Deps, row: SessionRow, op: string): Promise<CustomerKey | undefined> {
  if (row.encryption?.type !== 'SSE_C') return undefined;
  return await keys.use(row.encryption.keyRef, { upload: row.id, op });
}
