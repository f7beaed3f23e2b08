/** The concatenation extension: partial uploads, each an object by itself, become one. */
import { createHash } from 'node:crypto';
import { LongshoreError } from '../../core/errors.js';
import { chunkCount } from '../../core/sessions.js';
import { readExtent } from '../../infra/catalog/session-tails.js';
import { addTusUpload, takeWriter } from '../../infra/catalog/tus-uploads.js';
import type { SessionRow } from '../../infra/catalog/sessions.js';
import type { ObjectStore } from '../../infra/s3/store.js';
import type { Caller } from '../sessions/service.js';
import type { UploadLocks } from './locks.js';
import { askedBy } from './names.js';
import { begin, maxUpload, standingOf, type TusDeps } from './uploads.js';
import { UploadWriter } from './writer.js';

export interface ConcatDeps extends TusDeps {
  store: Pick<ObjectStore, 'getObject'>;
  locks: UploadLocks;
}

const MAX_PARTIALS = 1000;
/** All bytes of one partial upload come within this time. */
const READ_MS = 6 * 3600 * 1000;

/** Ids of the uploads that `final;…` names, or `partial`; undefined without the header. Throws InvalidInput. */
export function parseConcat(header: string | undefined, path: string): 'partial' | string[] | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  if (text === 'partial') return 'partial';
  const urls = /^final;(.+)$/.exec(text)?.[1]?.trim().split(/ +/) ?? [];
  const ids = urls.map((url) => idOf(url, path));
  if (ids.length > 0 && ids.length <= MAX_PARTIALS && ids.every((id) => id !== undefined)) return ids;
  throw new LongshoreError(
    'InvalidInput',
    `Upload-Concat is neither partial nor final; and 1 to ${MAX_PARTIALS} uploads`,
    {
      op: 'tus',
    },
  );
}

/** Addresses may be absolute or relative; what counts is the end of their path. */
function idOf(url: string, path: string): string | undefined {
  const base = `http://localhost${path}/`;
  if (!URL.canParse(url, base)) return undefined;
  const id = /\/([A-Za-z0-9._:-]+)\/?$/.exec(new URL(url, base).pathname)?.[1];
  return id;
}

/**
 * Makes one object of the partial uploads, in their order, and answers its id. The same caller asking for the same again is
 * given the same upload, gone on with where it stopped. Throws InvalidInput when one of them is not complete.
 */
export async function concatenate(
  deps: ConcatDeps,
  ask: { caller: Caller; ids: string[]; metadata: string | undefined; path: string },
): Promise<string> {
  const { caller, ids, metadata } = ask;
  const partials: SessionRow[] = [];
  for (const id of ids) partials.push(await partial(deps, caller, id));
  const length = partials.reduce((sum, { size }) => sum + (size ?? 0), 0);
  if (length > maxUpload(deps)) {
    throw new LongshoreError('RequestTooLarge', `an upload has at most ${maxUpload(deps)} bytes`, {
      op: 'tus',
    });
  }
  const id = finalId(ask);
  const held = await deps.locks.take(id, 'send', { isActive: () => true, stop: () => undefined });
  try {
    const row = await begin(deps, caller, { id, ...askedBy(metadata, id) }, length);
    const concat = `final;${ids.map((each) => `${ask.path}/${each}`).join(' ')}`;
    await addTusUpload(deps.db, { session: id, metadata: metadata ?? null, length, concat });
    if (row.state === 'COMPLETED') return id;
    await copy(deps, caller, row, partials);
    await deps.sessions.complete(caller, id, { size: length, chunks: chunkCount(length, row.chunkSize) });
    return id;
  } finally {
    deps.locks.release(id, held);
  }
}

function finalId({
  caller,
  ids,
  metadata,
}: {
  caller: Caller;
  ids: string[];
  metadata: string | undefined;
}): string {
  const what = JSON.stringify([caller.apiKey?.id ?? null, ids, metadata ?? null]);
  return `tus-${createHash('sha256').update(what, 'utf8').digest('hex').slice(0, 32)}`;
}

async function partial(deps: TusDeps, caller: Caller, id: string): Promise<SessionRow> {
  const { row, upload } = await standingOf(deps, caller, id);
  if (upload.concat !== 'partial') throw refused(`${id} is no partial upload`);
  if (row.state !== 'COMPLETED') throw refused(`the partial upload ${id} is not complete`);
  return row;
}

function refused(message: string): LongshoreError {
  return new LongshoreError('InvalidInput', message, {
    op: 'tus',
    hint: 'Finish all partial uploads first.',
  });
}

/** Through this process: partial uploads may be smaller than a part, and all parts are to be equal. */
async function copy(
  deps: ConcatDeps,
  caller: Caller,
  row: SessionRow,
  partials: SessionRow[],
): Promise<void> {
  const number = await takeWriter(deps.db, row.id);
  const extent = await readExtent(deps.db, { session: row.id, generation: row.generation });
  const stop = new AbortController().signal;
  const writer = new UploadWriter({ ...deps, caller, row, writer: number, stop }, extent);
  try {
    let start = 0;
    for (const { bucket, key, versionId, etag, size } of partials) {
      const length = size ?? 0;
      const offset = Math.max(0, writer.offset - start);
      if (offset < length) {
        const body = await deps.store.getObject(
          {
            bucket,
            key,
            ...(versionId === null ? {} : { versionId }),
            ...(etag === null ? {} : { ifMatch: etag }),
            offset,
            length: length - offset,
          },
          AbortSignal.timeout(READ_MS),
        );
        for await (const bytes of body) await writer.accept(bytes as Buffer);
      }
      start += length;
    }
    await writer.settle(true);
  } finally {
    writer.forget();
  }
}
