/**
 * `longshore put` by way of the API: the bytes are read here and sent as chunks of a session, so that neither a worker nor
 * Temporal, S3 or PostgreSQL has to be reached from this machine.
 */
import { setMaxListeners } from 'node:events';
import { basename, resolve } from 'node:path';
import { EXIT, LongshoreError } from '../../core/errors.js';
import type { Destination, UploadResult } from '../../core/uploads.js';
import { validateDestination, validateOptions } from '../../core/validate.js';
import type { Config } from '../../infra/config.js';
import { resultOf, type BeginAsk, type HttpSession, type HttpSessions } from '../http/sessions.js';
import { parseDestination } from '../source-spec.js';
import type { PutOptions } from './commands/put.js';
import { asLongshoreError, exitCodeOf, jsonError, printFailure } from './failure.js';
import { Detached, Interrupts } from './interrupts.js';
import type { Io } from './io.js';
import { count, pairs } from './options.js';
import { printFailed, printResult, resultJson, resultLines, type Ended } from './outcome.js';
import { askOf, connect, encryptionOf, refuseWhatWorkersDo } from './put-ask.js';
import { fileOf } from './put-session.js';
import { stdinOf } from './put-stdin.js';
import { createSessionScreen, type SessionScreen } from './session-screen.js';

/** What one way of sending needs; it answers when the session is complete. */
export interface Sending {
  io: Io;
  api: HttpSessions;
  options: PutOptions;
  ask: Omit<BeginAsk, 'size'>;
  lanes: number;
  screen: SessionScreen;
  signal: AbortSignal;
  /** To be called once, before anything is sent. */
  announce: (session: HttpSession, fresh: boolean) => void;
}

/** A source of bytes on this machine. */
export interface LocalSource {
  /** As the object's metadata has it. */
  name: string;
  label: string;
  /** Whether the same command again can go on where this one stopped. */
  resumable: boolean;
  send: (sending: Sending) => Promise<{ session: HttpSession; bytesSent: number }>;
}

const DEFAULT_LANES = 4;
/** Chunks of one session that the API takes at once. */
const MAX_LANES = 10;
/** Characters that the API takes. */
const MAX_NAME = 512;
/** For a last word to the API once a command is to end. */
const LAST_WORD_MS = 15_000;

/** `from` is a path, or `-`. */
export async function putFromHere(
  io: Io,
  config: Config,
  options: PutOptions,
  from: string,
  to: string,
): Promise<number> {
  const isStdin = from === '-';
  const path = resolve(io.cwd, from);
  const destination = parseDestination(to, isStdin ? undefined : { kind: 'file', root: '', path });
  const source = isStdin ? stdinOf(io.stdin, basename(destination.key).slice(0, MAX_NAME)) : fileOf(path);
  const { metadata, tags } = {
    metadata: pairs('--metadata', options.metadata),
    tags: pairs('--tag', options.tag),
  };
  validateDestination(destination);
  validateOptions({
    ...(metadata === undefined ? {} : { metadata }),
    ...(tags === undefined ? {} : { tags }),
  });
  const asked = await encryptionOf(io, config, options);
  return await new Run(io, config, options, source, destination, asked).toEnd();
}

class Run {
  private readonly began = performance.now();
  private readonly interrupts = new Interrupts();
  private readonly stop = new AbortController();
  private readonly screen: SessionScreen;
  private readonly api: HttpSessions;
  private readonly ask: Omit<BeginAsk, 'size'>;
  private readonly lanes: number;
  private session: HttpSession | undefined;
  private warned = false;

  constructor(
    private readonly io: Io,
    config: Config,
    private readonly options: PutOptions,
    private readonly source: LocalSource,
    private readonly destination: Destination,
    encrypted: BeginAsk['encryption'],
  ) {
    refuseWhatWorkersDo(options);
    const { concurrency } = config.uploadAsked;
    const asked =
      options.concurrency === undefined ? concurrency : count('--concurrency', options.concurrency);
    this.lanes = Math.min(asked ?? DEFAULT_LANES, MAX_LANES);
    this.ask = { ...askOf(config, options, source.name, destination), encryption: encrypted };
    this.screen = createSessionScreen(io, options);
    this.api = connect(io, config, (line) => this.warn(line));
  }

  async toEnd(): Promise<number> {
    this.arm();
    try {
      return await this.outcome();
    } finally {
      this.interrupts.release();
      await this.api.close();
    }
  }

  private async outcome(): Promise<number> {
    const { io, api, options, ask, lanes, screen } = this;
    const announce = (session: HttpSession, fresh: boolean): void => this.announce(session, fresh);
    const sending: Sending = { io, api, options, ask, lanes, screen, announce, signal: this.stop.signal };
    try {
      const { session, bytesSent } = await this.source.send(sending);
      screen.end();
      this.session = session;
      return printResult(io, this.ended, resultOf(session, bytesSent), this.seconds);
    } catch (error) {
      screen.end();
      if (error instanceof SentBefore) return sentBefore(io, this.ended, error, this.seconds);
      if (error instanceof Detached && this.source.resumable) return this.left();
      return await this.failed(asLongshoreError(error));
    }
  }

  private get ended(): Ended {
    const { bucket, key } = this.destination;
    return { id: this.ask.id, bucket, key, webUi: this.session?.webUi ?? undefined };
  }

  private get seconds(): number {
    return (performance.now() - this.began) / 1000;
  }

  /** Ctrl-C: what can go on later is left, pressed again it is cancelled; what cannot is cancelled at once. */
  private arm(): void {
    const { interrupts, source, screen } = this;
    // Each request on its way listens.
    setMaxListeners(0, this.stop.signal);
    interrupts.signal.addEventListener('abort', () => this.stop.abort(interrupts.signal.reason), {
      once: true,
    });
    this.io.onBrokenPipe = () => this.stop.abort(new Detached());
    if (!source.resumable) return interrupts.arm({});
    interrupts.arm({
      warn: (ms) =>
        screen.say(
          `Stopping; the same command with --id ${this.ask.id} goes on later. ` +
            `Press Ctrl-C again within ${ms / 1000} s to cancel it.`,
        ),
      cancel: () => {
        screen.say('Cancelling …');
        this.stop.abort(new LongshoreError('Cancelled', 'cancelled', { op: 'put', key: this.ask.id }));
      },
    });
  }

  private announce(session: HttpSession, fresh: boolean): void {
    this.session = session;
    const { io, source, options } = this;
    const { id, bucket, key, webUi } = session;
    if (io.json) {
      const workflow = { workflowId: `upload/${id}`, runId: null };
      io.outJson({ type: 'started', id, ...workflow, fresh, bucket, key, webUi });
      return;
    }
    if (options.quiet === true) return;
    io.err(`${source.label} → s3://${bucket}/${key}`);
    io.err(fresh ? `Upload ${id}` : `Upload ${id} was begun already; going on where it was`);
    if (webUi !== null) io.err(`Web UI ${webUi}`);
  }

  private warn(why: string): void {
    if (this.warned) return;
    this.warned = true;
    this.screen.say(`warning: ${why}; still trying`);
  }

  /** What was sent waits for the same command. */
  private left(): number {
    const { io, session } = this;
    const { id } = this.ask;
    if (session === undefined) {
      const message = 'stopped before anything was sent';
      return printFailed(
        io,
        this.ended,
        new LongshoreError('Cancelled', message, { op: 'put' }),
        this.seconds,
      );
    }
    if (io.json) io.outJson({ type: 'detached', id, webUi: session.webUi });
    io.err(`Stopped; what was sent of ${id} is kept until ${session.expiresAt ?? 'it expires'}.`);
    io.err(`  the same command with --id ${id}   goes on`);
    io.err(`  longshore sessions cancel ${id}    leaves nothing of it`);
    return EXIT.detached;
  }

  private async failed(error: LongshoreError): Promise<number> {
    const { io, session, source } = this;
    const cancelled = error instanceof Detached || error.code === 'Cancelled';
    const hopeless = !source.resumable || error.code === 'SourceChanged';
    let end = error;
    if (cancelled || (hopeless && session !== undefined)) end = (await this.cancel(cancelled)) ?? error;
    if (cancelled && end === error) {
      end = new LongshoreError('Cancelled', `the upload ${this.ask.id} was cancelled`, { op: 'put' });
    }
    const code = printFailed(io, this.ended, end, this.seconds);
    if (session !== undefined && !cancelled && !hopeless && !io.json)
      io.err(`The same command with --id ${this.ask.id} goes on where it was.`);
    return code;
  }

  /** Why it could not be cancelled; what failed otherwise is the better thing to say. */
  private async cancel(asked: boolean): Promise<LongshoreError | undefined> {
    try {
      await this.api.cancel(this.ask.id, AbortSignal.timeout(LAST_WORD_MS));
      return undefined;
    } catch (error) {
      const failure = asLongshoreError(error);
      // There was nothing yet, or it has ended by itself.
      if (failure.code === 'NotFound' || failure.code === 'NotRunning') return undefined;
      if (!asked)
        this.io.err(`warning: the session ${this.ask.id} could not be cancelled: ${failure.message}`);
      return asked ? failure : undefined;
    }
  }
}

/** The same id, long done: its result is the answer, but nothing was sent now. */
export class SentBefore extends LongshoreError {
  constructor(
    id: string,
    readonly result: UploadResult,
  ) {
    super('AlreadyCompleted', `the upload ${id} is complete`, { op: 'put', key: id });
  }
}

function sentBefore(io: Io, ended: Ended, error: SentBefore, seconds: number): number {
  if (io.json) {
    const workflow = { workflowId: `upload/${ended.id}`, runId: null };
    io.outJson({ ...resultJson(ended, error.result, seconds), ...workflow, error: jsonError(error) });
  } else {
    printFailure(io, error);
    for (const line of resultLines(error.result)) io.out(line);
  }
  return exitCodeOf(error);
}
