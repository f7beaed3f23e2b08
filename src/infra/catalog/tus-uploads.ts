/** What the tus protocol asks to be remembered of an upload beside its session. */
import { query } from './pool.js';
import type { Queryable } from './pool.js';
import { numberOrNull } from './values.js';

export interface TusUpload {
  session: string;
  /** `Upload-Metadata` as its client wrote it. */
  metadata: string | null;
  /** Bytes in all; null until its client says. */
  length: number | null;
  /** `Upload-Concat`; null for an upload that is neither partial nor final. */
  concat: string | null;
}

/** Repeating it changes nothing. */
export async function addTusUpload(db: Queryable, upload: TusUpload): Promise<void> {
  await query(db, 'addTusUpload', {
    name: 'add-tus-upload',
    text: `INSERT INTO tus_uploads (session, metadata, length, concat) VALUES ($1, $2, $3, $4)
           ON CONFLICT (session) DO NOTHING`,
    values: [upload.session, upload.metadata, upload.length, upload.concat],
  });
}

export async function getTusUpload(db: Queryable, session: string): Promise<TusUpload | undefined> {
  const { rows } = await query<Omit<TusUpload, 'length'> & { length: string | null }>(db, 'getTusUpload', {
    name: 'get-tus-upload',
    text: 'SELECT session, metadata, length, concat FROM tus_uploads WHERE session = $1',
    values: [session],
  });
  return rows[0] === undefined ? undefined : { ...rows[0], length: numberOrNull(rows[0].length) };
}

/** What was said first counts; answers what counts. */
export async function declareLength(db: Queryable, session: string, length: number): Promise<number | null> {
  const { rows } = await query<{ length: string | null }>(db, 'declareLength', {
    name: 'declare-tus-length',
    text: 'UPDATE tus_uploads SET length = coalesce(length, $2) WHERE session = $1 RETURNING length',
    values: [session, length],
  });
  return numberOrNull(rows[0]?.length ?? null);
}

/** The number of a request that begins to send: every earlier one is refused from now on. */
export async function takeWriter(db: Queryable, session: string): Promise<number> {
  const { rows } = await query<{ writer: string }>(db, 'takeWriter', {
    name: 'take-tus-writer',
    text: 'UPDATE tus_uploads SET writer = writer + 1 WHERE session = $1 RETURNING writer',
    values: [session],
  });
  return Number(rows[0]?.writer ?? 0);
}
