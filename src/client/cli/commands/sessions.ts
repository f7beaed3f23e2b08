/** `longshore sessions`: uploads whose bytes clients bring, as the API tells of them. */
import { EXIT } from '../../../core/errors.js';
import { ID_PATTERN } from '../../../core/ids.js';
import { isTerminal, UPLOAD_STATES } from '../../../core/states.js';
import { failureOf, type ChunkRange, type HttpSession, type HttpSessions } from '../../http/sessions.js';
import { jsonError } from '../failure.js';
import type { Io } from '../io.js';
import { badUsage, count, type Common } from '../options.js';
import { connect } from '../put-ask.js';
import { configure } from '../session.js';
import { bytes, bytesOf, duration, fields, grouped, localTime, plural, table } from '../text.js';

export interface SessionsOptions extends Common {
  api?: string;
  state?: string;
  connector?: string;
  bucket?: string;
  limit: string;
  cursor?: string;
}

/** Of one call and its repetitions. */
const TIMEOUT_MS = 60_000;

/** Nothing: a list. An id: that one. `cancel` and an id. */
export async function run(
  io: Io,
  options: SessionsOptions,
  first?: string,
  second?: string,
): Promise<number> {
  const config = configure(io, options, { apiUrl: options.api });
  const act = actionOf(options, first, second);
  const api = connect(io, config, () => undefined);
  try {
    return await act(io, api, AbortSignal.timeout(TIMEOUT_MS));
  } finally {
    await api.close();
  }
}

type Act = (io: Io, api: HttpSessions, signal: AbortSignal) => Promise<number>;

function actionOf(options: SessionsOptions, first?: string, second?: string): Act {
  if (first === undefined) return list(options);
  if (second === undefined && first !== 'cancel') return show(idOf(first));
  if (first !== 'cancel' || second === undefined)
    throw badUsage('give no argument, an id, or `cancel` and an id');
  return cancel(idOf(second));
}

function idOf(text: string): string {
  if (ID_PATTERN.test(text)) return text;
  throw badUsage(`${JSON.stringify(text)} is no id: 1 to 200 of A-Z a-z 0-9 . _ : -`);
}

function list(options: SessionsOptions): Act {
  const { connector, bucket, cursor } = options;
  const state = stateOf(options.state);
  const ask = { state, connectorId: connector, bucket, cursor, limit: count('--limit', options.limit) };
  return async (io, api, signal) => {
    const { sessions, nextCursor } = await api.list(ask, signal);
    if (io.json) {
      io.outJson({ sessions: sessions.map(sessionJson), nextCursor });
      return EXIT.ok;
    }
    if (sessions.length === 0) io.err('No sessions. Next: `longshore put - s3://bucket/key`');
    else for (const line of table(HEAD, sessions.map(cells))) io.out(line);
    if (nextCursor !== null) io.err(`More: add --cursor ${nextCursor}`);
    return EXIT.ok;
  };
}

function show(id: string): Act {
  return async (io, api, signal) => {
    const session = await api.get(id, signal);
    if (io.json) io.outJson(sessionJson(session));
    else for (const line of lines(session)) io.out(line);
    return EXIT.ok;
  };
}

function cancel(id: string): Act {
  return async (io, api, signal) => {
    await api.cancel(id, signal);
    const { state } = await api.get(id, signal);
    if (io.json) io.outJson({ id, op: 'cancel', state, arrived: isTerminal(state) });
    else if (isTerminal(state)) io.out(`Cancelled ${id}; nothing of it is left.`);
    else io.out(`Cancel of ${id} is asked for. Next: \`longshore sessions ${id}\``);
    return EXIT.ok;
  };
}

/** A stable shape, in docs/cli.md. */
function sessionJson(session: HttpSession): object {
  const { id, nodeId, connectorId, name, state, bucket, key, contentType, metadata, mode } = session;
  const { chunkSize, expectedSize, size, receivedBytes, received, missing } = session;
  const { etag, versionId, checksum, verification, location, createdAt, expiresAt, completedAt } = session;
  const failure = failureOf(session);
  return {
    ...{ id, nodeId, connectorId, name, state, bucket, key, contentType, metadata, mode },
    ...{ chunkSize, expectedSize, size, receivedBytes, received, missing },
    ...{ etag, versionId, checksum, verification, location, createdAt, expiresAt, completedAt },
    ...{ error: failure === undefined ? null : jsonError(failure), webUi: session.webUi },
  };
}

const HEAD = ['ID', 'STATE', 'RECEIVED', 'CREATED', 'EXPIRES', 'NAME', 'DESTINATION'];

function cells(session: HttpSession): string[] {
  const { id, state, errorCode, createdAt, expiresAt, name, bucket, key } = session;
  return [
    ...[id, errorCode === null ? state : `${state} ${errorCode}`, receivedOf(session), localTime(createdAt)],
    ...[expiresAt === null || isTerminal(state) ? '-' : localTime(expiresAt), name, `s3://${bucket}/${key}`],
  ];
}

function receivedOf({ state, size, expectedSize, receivedBytes }: HttpSession): string {
  return state === 'COMPLETED' && size !== null ? bytes(size) : bytesOf(receivedBytes, expectedSize);
}

function lines(session: HttpSession): string[] {
  const { id, state, bucket, key, received, missing, expiresAt, completedAt } = session;
  const failure = failureOf(session);
  const open = !isTerminal(state);
  return [
    id,
    ...fields(
      [
        ['state', state],
        ['object', `s3://${bucket}/${key}`],
        ['name', session.name],
        ['node', session.nodeId],
        ['connector', session.connectorId],
        [
          'received',
          `${receivedOf(session)}${open ? `, ${plural(received.count, 'chunk')}${named(received.ranges)}` : ''}`,
        ],
        [
          'missing',
          open && missing !== null ? `${plural(missing.count, 'chunk')}${named(missing.ranges)}` : null,
        ],
        ['chunk size', session.mode === 'chunks' ? bytes(session.chunkSize) : null],
        ['created', localTime(session.createdAt)],
        ['expires', open && expiresAt !== null ? `${localTime(expiresAt)}, ${fromNow(expiresAt)}` : null],
        ['completed', completedAt === null ? null : localTime(completedAt)],
        ['etag', session.etag],
        ['version', session.versionId],
        ['checksum', session.checksum],
        ['error', failure === undefined ? null : `${failure.message} (${failure.code})`],
        ['Web UI', session.webUi],
      ],
      '  ',
    ),
  ];
}

function fromNow(iso: string): string {
  const seconds = (Date.parse(iso) - Date.now()) / 1000;
  return seconds > 0 ? `in ${duration(seconds)}` : 'any moment';
}

const MOST_RANGES = 20;

/** `: 0–3, 5, 7–14`. */
function named(ranges: readonly ChunkRange[]): string {
  if (ranges.length === 0) return '';
  const shown = ranges.slice(0, MOST_RANGES).map(([first, last]) => {
    return first === last ? grouped(first) : `${grouped(first)}–${grouped(last)}`;
  });
  return `: ${shown.join(', ')}${ranges.length > MOST_RANGES ? ', …' : ''}`;
}

function stateOf(text: string | undefined): string | undefined {
  const state = UPLOAD_STATES.find((each) => each === text?.toUpperCase());
  if (text === undefined || state !== undefined) return state;
  throw badUsage(`--state takes ${UPLOAD_STATES.join(', ')}, not ${JSON.stringify(text)}`);
}
