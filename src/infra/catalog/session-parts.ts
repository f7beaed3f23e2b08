/** The parts of sessions. Here they are the truth about what was acknowledged; S3 is the truth about bytes. */
import { LongshoreError } from '../../core/errors.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';
import { getSession } from './sessions.js';
import { numberOrNull } from './values.js';

export interface PartRef {
  session: string;
  generation: number;
  /** From 1. */
  partNumber: number;
}

/**
 * Says that a request brings this part, and answers its number: whoever claims it later supersedes this one. What is
 * known of the part stays until the new bytes are there. Throws NotFound, NotRunning or SessionExpired when the session
 * takes nothing, NoSuchUpload when its parts belong to another generation by now.
 */
export async function claimPart(db: Queryable, part: PartRef): Promise<number> {
  const { rows } = await query<{ claim: number }>(db, 'claimPart', {
    name: 'claim-part',
    text: `INSERT INTO session_parts AS p (session, part_number, generation)
           SELECT id, $3, generation FROM sessions WHERE id = $1 AND generation = $2 AND open
           ON CONFLICT (session, part_number) DO UPDATE SET claim = p.claim + 1, generation = EXCLUDED.generation,
             etag = CASE WHEN p.generation = EXCLUDED.generation THEN p.etag END,
             crc32 = CASE WHEN p.generation = EXCLUDED.generation THEN p.crc32 END,
             size = CASE WHEN p.generation = EXCLUDED.generation THEN p.size END,
             vouched = p.vouched AND p.generation = EXCLUDED.generation, updated_at = now()
           RETURNING claim`,
    values: [part.session, part.generation, part.partNumber],
  });
  if (rows[0] === undefined) throw await refusal(db, part, 'claimPart');
  return rows[0].claim;
}

/** Why a part was not settled; undefined: the session takes parts, so a newer request brings this one. */
export async function whyUnsettled(db: Queryable, part: PartRef): Promise<LongshoreError | undefined> {
  const row = await getSession(db, part.session);
  if (row?.open === true && row.generation === part.generation) return undefined;
  return await refusal(db, part, 'settlePart');
}

/** Why a session takes nothing. */
async function refusal(
  db: Queryable,
  { session: id, generation }: Omit<PartRef, 'partNumber'>,
  op: string,
): Promise<LongshoreError> {
  const row = await getSession(db, id);
  const because = (code: 'NotFound' | 'SessionExpired' | 'NotRunning' | 'NoSuchUpload', message: string) =>
    new LongshoreError(code, message, { op, key: id });
  if (row === undefined) return because('NotFound', `there is no session ${id}`);
  if (row.state === 'EXPIRED') return because('SessionExpired', `the session ${id} has expired`);
  if (row.endedAt !== null) return because('NotRunning', `the session ${id} has ended: ${row.state}`);
  if (row.generation !== generation) {
    return because('NoSuchUpload', `the multipart upload of the session ${id} was lost, and another begun`);
  }
  return Date.parse(row.expiresAt) <= Date.now()
    ? because('SessionExpired', `the session ${id} has expired`)
    : because('NotRunning', `the session ${id} is being completed`);
}

export interface SettledPart extends PartRef {
  /** As `claimPart` answered. */
  claim: number;
  etag: string;
  /** Four bytes, the most significant first. */
  crc32: Buffer | null;
  size: number;
}

export interface PartWriter {
  /** Answers once the row is committed. False: a newer claim counts, or the session takes no more. Safe to repeat. */
  settle(part: SettledPart): Promise<boolean>;
  /** Waits for what was begun. */
  close(): Promise<void>;
}

interface Waiting {
  part: SettledPart;
  resolve: (settled: boolean) => void;
  reject: (error: unknown) => void;
}

/** Rows of one statement at most. */
const GROUP = 500;

/**
 * Writes what comes while a statement is under way with the next one, so that many parts share a commit and a lone one
 * waits for nothing.
 */
export function createPartWriter(db: Queryable): PartWriter {
  const waiting: Waiting[] = [];
  let writing: Promise<void> | undefined;

  const drain = async (): Promise<void> => {
    for (;;) {
      const group = waiting.splice(0, GROUP);
      if (group.length === 0) return;
      try {
        const settled = await settleAll(
          db,
          group.map(({ part }) => part),
        );
        for (const { part, resolve } of group) resolve(settled.has(claimOf(part)));
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
    }
  };
  const start = (): void => {
    writing ??= drain().finally(() => {
      writing = undefined;
      if (waiting.length > 0) start();
    });
  };
  return {
    settle: (part) =>
      new Promise((resolve, reject) => {
        waiting.push({ part, resolve, reject });
        start();
      }),
    async close() {
      while (writing !== undefined) await writing;
    },
  };
}

function claimOf({ session, partNumber, claim }: Omit<SettledPart, 'etag' | 'crc32' | 'size'>): string {
  return JSON.stringify([session, partNumber, claim]);
}

async function settleAll(db: Queryable, parts: SettledPart[]): Promise<Set<string>> {
  const { rows } = await query<{ session: string; partNumber: number; claim: number; generation: number }>(
    db,
    'settlePart',
    {
      name: 'settle-parts',
      text: `UPDATE session_parts AS p
              SET etag = v.etag, crc32 = v.crc32, size = v.size, vouched = false, updated_at = now()
             FROM unnest($1::text[], $2::int[], $3::int[], $4::int[], $5::text[], $6::bytea[], $7::bigint[])
               AS v (session, generation, part_number, claim, etag, crc32, size), sessions s
            WHERE (p.session, p.part_number, p.generation, p.claim) = (v.session, v.part_number, v.generation, v.claim)
              AND s.id = p.session AND s.open AND s.generation = p.generation
           RETURNING p.session, p.part_number AS "partNumber", p.claim, p.generation`,
      values: [
        parts.map(({ session }) => session),
        parts.map(({ generation }) => generation),
        parts.map(({ partNumber }) => partNumber),
        parts.map(({ claim }) => claim),
        parts.map(({ etag }) => etag),
        parts.map(({ crc32 }) => crc32),
        parts.map(({ size }) => size),
      ],
    },
  );
  return new Set(rows.map(claimOf));
}

export interface VouchedPart {
  partNumber: number;
  etag: string;
  size?: number | undefined;
}

/**
 * Parts that the client says it put into S3 by itself; completing looks whether they are there. One that we brought
 * and whose ETag is the same stays ours. Throws as `claimPart` does.
 */
export async function vouchParts(
  db: Queryable,
  session: string,
  generation: number,
  parts: readonly VouchedPart[],
): Promise<void> {
  // One statement cannot write a row twice; what was said last counts.
  const last = [...new Map(parts.map((part) => [part.partNumber, part])).values()];
  if (last.length === 0) return;
  const { rows } = await query<{ open: boolean }>(db, 'vouchParts', {
    name: 'vouch-parts',
    text: `WITH at AS (SELECT id, generation FROM sessions WHERE id = $1 AND generation = $2 AND open),
             said AS (
               INSERT INTO session_parts AS p (session, part_number, generation, etag, size, vouched)
               SELECT at.id, v.part_number, at.generation, v.etag, v.size, true
                 FROM at, unnest($3::int[], $4::text[], $5::bigint[]) AS v (part_number, etag, size)
               ON CONFLICT (session, part_number) DO UPDATE SET claim = p.claim + 1, generation = EXCLUDED.generation,
                 etag = EXCLUDED.etag, crc32 = NULL, size = EXCLUDED.size, vouched = true, updated_at = now()
               WHERE p.generation <> EXCLUDED.generation OR p.etag IS NULL
                 OR btrim(p.etag, '"') <> btrim(EXCLUDED.etag, '"'))
           SELECT true AS open FROM at`,
    values: [
      session,
      generation,
      last.map(({ partNumber }) => partNumber),
      last.map(({ etag }) => etag),
      last.map(({ size }) => size ?? null),
    ],
  });
  if (rows.length === 0) throw await refusal(db, { session, generation }, 'vouchParts');
}

export interface SessionPart {
  partNumber: number;
  /** null while it was never there: its first request is under way, or broke. */
  etag: string | null;
  crc32: Buffer | null;
  size: number | null;
  /** The client says so: the bytes did not pass through us. */
  vouched: boolean;
  /** The request that brings it last, as `claimPart` answered. */
  claim: number;
}

/**
 * Acknowledges no more what S3 does not have: the chunk is missing for everyone who asks. A part for which another request
 * has come meanwhile stays as it is.
 */
export async function takeBackParts(
  db: Queryable,
  session: string,
  generation: number,
  parts: readonly Pick<SessionPart, 'partNumber' | 'claim' | 'etag'>[],
): Promise<void> {
  if (parts.length === 0) return;
  await query(db, 'takeBackParts', {
    name: 'take-back-parts',
    text: `UPDATE session_parts AS p
              SET etag = NULL, crc32 = NULL, size = NULL, vouched = false, updated_at = now()
             FROM unnest($3::int[], $4::int[], $5::text[]) AS v (part_number, claim, etag)
            WHERE p.session = $1 AND p.generation = $2
              AND (p.part_number, p.claim, p.etag) = (v.part_number, v.claim, v.etag)`,
    values: [
      session,
      generation,
      parts.map(({ partNumber }) => partNumber),
      parts.map(({ claim }) => claim),
      parts.map(({ etag }) => etag),
    ],
  });
}

export interface PartPage {
  /** Only parts after this number. */
  after?: number | undefined;
  limit: number;
}

/** In rising order. */
export async function readParts(
  db: Queryable,
  session: string,
  generation: number,
  { after = 0, limit }: PartPage,
): Promise<SessionPart[]> {
  const { rows } = await query<Omit<SessionPart, 'size'> & { size: string | null }>(db, 'readParts', {
    name: 'read-parts',
    text: `SELECT part_number AS "partNumber", etag, crc32, size, vouched, claim FROM session_parts
            WHERE session = $1 AND generation = $2 AND part_number > $3 ORDER BY part_number LIMIT $4`,
    values: [session, generation, after, limit],
  });
  return rows.map((row) => ({ ...row, size: numberOrNull(row.size) }));
}

/** Parts and bytes that are there, as far as the catalog knows. */
export async function sessionProgress(
  db: Queryable,
  session: string,
  generation: number,
): Promise<{ parts: number; bytes: number }> {
  const { rows } = await query<{ parts: number; bytes: string }>(db, 'sessionProgress', {
    name: 'session-progress',
    text: `SELECT count(*)::int AS parts, coalesce(sum(size), 0)::bigint AS bytes FROM session_parts
            WHERE session = $1 AND generation = $2 AND etag IS NOT NULL`,
    values: [session, generation],
  });
  return { parts: rows[0]?.parts ?? 0, bytes: Number(rows[0]?.bytes ?? 0) };
}
