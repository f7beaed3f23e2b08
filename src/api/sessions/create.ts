/** SessionService on the catalog, Temporal and S3. */
import { uuidv7 } from 'uuidv7';
import { LongshoreError } from '../../core/errors.js';
import type { CompleteAsk, CompletionAnswer } from '../../core/sessions.js';
import { isTerminal } from '../../core/states.js';
import type { UploadResult } from '../../core/uploads.js';
import { differenceOf } from '../../core/validate-sessions.js';
import { createPartWriter } from '../../infra/catalog/session-parts.js';
import { getSession, type SessionRow } from '../../infra/catalog/sessions.js';
import type { Pool } from '../../infra/catalog/pool.js';
import type { Config } from '../../infra/config.js';
import { customerKey, mustBeTrusted, type KeyStore } from '../../infra/keys/index.js';
import type { ObjectStore } from '../../infra/s3/store.js';
import type { Logger } from '../../infra/telemetry/log.js';
import { mayTake, nodeOf, uploadOf } from './ask.js';
import { Gate } from './gate.js';
import { Lanes } from './lanes.js';
import { Lines, shareOf } from './line.js';
import { incompleteBy, partsMissing, partsThere } from './missing.js';
import { completeWith, putWhole, sameAgain } from './put.js';
import { receiveChunk, type ReceiveDeps } from './receive.js';
import { completedBefore, mustBeSame } from './reuse.js';
import { endedError, keyLifeMs, maySee, mustFit, mustGrant, mustTake, resultOf } from './rules.js';
import type { Caller, SessionAsk, SessionService } from './service.js';
import { Signs } from './signs.js';
import type { TemporalLink } from '../temporal-link.js';

export interface SessionDeps {
  config: Config;
  log: Logger;
  db: Pool;
  temporal: TemporalLink;
  store: ObjectStore;
  keys: KeyStore;
  /** Requests that wait for a connection to S3. */
  waiting: () => number;
}

/** A worker that is busy, and a server that takes its time to begin a multipart upload. */
const OPEN_MS = 30_000;
/** More at once only take each other's time: a workflow whose first step takes too long takes it again. */
const BEGIN_AT_ONCE = 16;
const TURN_MS = 60_000;
/** S3 may take minutes to put an object together: whoever asks again joins what runs. */
const COMPLETE_MS = 55_000;
const CANCEL_MS = 10_000;

export function createSessionService(deps: SessionDeps): SessionService & { close(): Promise<void> } {
  const { config, db, keys, log, store } = deps;
  const writer = createPartWriter(db);
  const signs = new Signs(deps);
  const share = shareOf(config.s3.maxConnections);
  const gate = new Gate(BEGIN_AT_ONCE);
  const receiving: ReceiveDeps = {
    ...{ db, log, store, signs, writer, idleMs: config.sessions.idleMs },
    lanes: new Lanes(Math.min(config.sessions.chunksAtOnce, share)),
    lines: new Lines(share, config.sessions.floorRate, deps.waiting),
    customerKey: async ({ id, encryption }, op) =>
      encryption?.type === 'SSE_C'
        ? { customerKey: await keys.use(encryption.keyRef, { upload: id, op }) }
        : {},
  };
  const service: SessionService = {
    begin: (caller, ask) => inTurn(gate, () => begin(deps, caller, ask)),
    find: (caller, id) => find(db, caller, id),
    touch: (row) => signs.touch(row),
    async receive(caller, row, chunk, signal) {
      mustGrant(caller, row);
      mustTake(row);
      mustFit(row, chunk);
      return await receiveChunk(receiving, row, chunk, signal);
    },
    async put(caller, row, whole, signal) {
      mustGrant(caller, row);
      if (row.state === 'COMPLETED') return await sameAgain(receiving, row, whole, signal);
      mustTake(row);
      const put = await putWhole(receiving, row, whole, signal);
      return await completeWith(put, row.id, (ask) => complete(deps, row, ask));
    },
    async complete(caller, id, ask) {
      const row = await find(db, caller, id);
      mustGrant(caller, row);
      if (isTerminal(row.state)) return endOf(row, ask);
      if (row.mode === 'chunks' && row.open) await mustBeThere(row, ask);
      // Without a byte there is still a part.
      return await complete(deps, row, ask.chunks === 0 ? { ...ask, chunks: 1 } : ask);
    },
    cancel: (caller, id) => cancel(deps, caller, id),
  };

  /** Throws PartsMissing for what the rows alone show, so that nothing is asked of Temporal and S3. */
  const mustBeThere = async (row: SessionRow, ask: CompleteAsk): Promise<void> => {
    const parts = await partsThere(db, row);
    const incomplete = incompleteBy(parts, row, ask);
    if (incomplete === undefined && parts.length > 0) return;
    const size = row.expectedSize ?? ask.size ?? (ask.chunks === 0 ? 0 : undefined);
    if (parts.length > 0 || size !== 0) throw partsMissing(row.id, incomplete ?? NOTHING);
    // S3 wants a part also of an object without a byte.
    const empty = { partNumber: 1, length: 0, body: Buffer.alloc(0) };
    await receiveChunk(receiving, row, empty, AbortSignal.timeout(COMPLETE_MS));
  };

  return { ...service, close: () => writer.close() };
}

const NOTHING = { missing: [0], missingCount: 1, surplus: [], message: 'no chunk is there' };

/** Throws TemporalUnavailable when so many are before it that its turn does not come. */
async function inTurn<T>(gate: Gate, work: () => Promise<T>): Promise<T> {
  const late = new AbortController();
  const busy = () =>
    late.abort(
      new LongshoreError('TemporalUnavailable', 'too many sessions are being begun', { op: 'begin' }),
    );
  const timer = setTimeout(busy, TURN_MS);
  try {
    return await gate.run(late.signal, work);
  } finally {
    clearTimeout(timer);
  }
}

async function begin(
  deps: SessionDeps,
  caller: Caller,
  ask: SessionAsk,
): ReturnType<SessionService['begin']> {
  const { config, db, keys, temporal } = deps;
  const id = ask.id ?? uuidv7();
  const done = ask.id === undefined ? undefined : await completedBefore(db, caller, ask.id);
  const node = await nodeOf(db, caller, ask.nodeId);
  if (node === undefined && ask.id !== undefined) await mayTake(db, caller, ask.id);
  const { encryption } = ask;
  if (encryption?.type === 'SSE_C') {
    mustBeTrusted(caller.trusted, 'begin');
    customerKey(encryption.key, encryption.keyMd5);
  }
  const context = { config, node, apiKey: caller.apiKey?.id };
  const asked = uploadOf({ ...ask, id }, { ...context, sealed: undefined });
  mustGrant(caller, asked.upload.destination);
  if (done !== undefined) {
    mustBeSame(done, ask, asked);
    return { row: done, advice: asked.advice, fresh: false };
  }
  const ttlMs = ask.ttlMs ?? config.sessions.ttlMs;
  const sealed =
    encryption?.type === 'SSE_C'
      ? await keys.seal(encryption.key, { upload: id, ttlMs: keyLifeMs(ttlMs) })
      : undefined;
  const { upload, advice } = uploadOf({ ...ask, id }, { ...context, sealed });
  let keep = false;
  try {
    const { fresh } = await temporal.use((client) => client.sessions.start(upload), OPEN_MS);
    keep = fresh;
    await temporal.use((client) => client.sessions.opened(id, { timeoutMs: OPEN_MS }), OPEN_MS);
    return { row: await find(db, caller, id), advice, fresh };
  } catch (error) {
    // Without an answer it may have started, and would need its key.
    keep ||= error instanceof LongshoreError && error.code === 'TemporalUnavailable';
    if (hasCode(error, 'AlreadyCompleted')) return { row: await find(db, caller, id), advice, fresh: false };
    throw error;
  } finally {
    if (sealed !== undefined && !keep) await keys.wipe(sealed);
  }
}

async function find(db: Pool, caller: Caller, id: string): Promise<SessionRow> {
  const row = await getSession(db, id);
  if (row !== undefined && maySee(caller, row)) return row;
  throw new LongshoreError('NotFound', `there is no session ${id}`, {
    op: 'request',
    key: id,
    hint: 'GET /api/v1/sessions/ lists those that there are.',
  });
}

async function complete(
  { db, temporal }: SessionDeps,
  { id }: SessionRow,
  ask: CompleteAsk,
): Promise<UploadResult> {
  let answer: CompletionAnswer;
  try {
    answer = await temporal.use(
      (client) => client.sessions.complete(id, ask, { timeoutMs: COMPLETE_MS }),
      COMPLETE_MS,
    );
  } catch (error) {
    // It ended meanwhile: how, the catalog says.
    const row = hasCode(error, 'NotRunning', 'NotFound') ? await getSession(db, id) : undefined;
    if (row === undefined || !isTerminal(row.state)) throw error;
    return endOf(row, ask);
  }
  if ('incomplete' in answer) throw partsMissing(id, answer.incomplete);
  return answer.result;
}

function endOf(row: SessionRow, ask: CompleteAsk): UploadResult {
  if (row.state !== 'COMPLETED') throw endedError(row);
  const result = resultOf(row);
  const refused = differenceOf(ask, { ...result, crc32: result.checksum?.slice('crc32:'.length) });
  if (refused === undefined) return result;
  throw new LongshoreError(refused.code, refused.message, { op: 'complete', key: row.id });
}

async function cancel({ db, temporal }: SessionDeps, caller: Caller, id: string): Promise<void> {
  const row = await find(db, caller, id);
  mustGrant(caller, row);
  if (row.state === 'CANCELLED') return;
  if (row.state === 'COMPLETED') {
    throw new LongshoreError('AlreadyCompleted', `the session ${id} is complete`, {
      op: 'cancel',
      key: id,
      hint: 'The object is in the bucket: delete it there.',
    });
  }
  if (isTerminal(row.state)) throw endedError(row);
  await temporal.use((client) => client.sessions.cancel(id, { timeoutMs: CANCEL_MS }), CANCEL_MS);
}

function hasCode(error: unknown, ...codes: LongshoreError['code'][]): boolean {
  return error instanceof LongshoreError && codes.includes(error.code);
}
