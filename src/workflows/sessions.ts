/** An upload whose bytes a client brings: a session. The workflow waits; chunks go past it, from the API to S3. */
import {
  allHandlersFinished,
  CancellationScope,
  condition,
  defineUpdate,
  isCancellation,
  proxyActivities,
  setHandler,
  workflowInfo,
  type ApplicationFailure,
} from '@temporalio/workflow';
import type { SessionCatalogActivities } from '../activities/sessions.js';
import { LongshoreError, type FailureView } from '../core/errors.js';
import { planFacts } from '../core/part-plan.js';
import {
  begunSignal,
  COMPLETE_UPDATE,
  lostSignal,
  OPENED_UPDATE,
  type CompleteAsk,
  type CompletionAnswer,
  type OpenedSession,
  type OpeningOrder,
  type SessionCompletion,
  type SessionOpening,
} from '../core/sessions.js';
import type { ClientSource, UploadObjectInput, UploadResult } from '../core/uploads.js';
import type { Inspection, PartsPlan, StoredObject, TruthToken } from '../core/upload-steps.js';
import { differenceOf, validateAsk } from '../core/validate-sessions.js';
import { CATALOG, URGENT } from './activity-options.js';
import { failureOf, toApplicationFailure, view } from './failures.js';
import { ObjectUpload } from './object-upload.js';

const catalog = proxyActivities<SessionCatalogActivities>(CATALOG);

const opened = defineUpdate<OpenedSession>(OPENED_UPDATE);
const complete = defineUpdate<CompletionAnswer, [CompleteAsk]>(COMPLETE_UPDATE);

/** Each ask leaves some events; a client that asks more often than this does so for nothing. */
const MAX_ASKS = 300;
/** By so much longer it waits each time it was prolonged. */
const PATIENCE_MS = 50;

/** Somebody wants the session complete. Repetitions of the same ask wait for the same answer. */
export interface Asked {
  ask: CompleteAsk;
  answer?: Refusal;
}

type Refusal = Exclude<SessionCompletion, { stored: StoredObject }>;

export abstract class ClientUpload extends ObjectUpload {
  protected override readonly haste = URGENT;
  protected readonly asked: Asked[] = [];
  private asks = 0;
  protected opened: OpenedSession | undefined;
  /** S3 knows the multipart upload of this generation no more. */
  protected lostGeneration = 0;
  /** When the session's time is over, as far as is known here; ms. */
  private deadline = 0;
  private prolonged = 0;
  /** How often it was closed or opened: a late attempt of one changes nothing. */
  protected turns = 0;
  private over: { result: UploadResult } | { failure: FailureView } | undefined;

  constructor(
    input: UploadObjectInput,
    protected readonly source: ClientSource,
  ) {
    super(input);
    setHandler(opened, () => this.onOpened());
    setHandler(complete, (ask) => this.onComplete(ask), {
      validator: (ask: CompleteAsk) => this.mayAsk(ask),
    });
    setHandler(begunSignal, () => this.onBegun());
    setHandler(lostSignal, (generation) => {
      this.lostGeneration = Math.max(this.lostGeneration, generation);
      // Whoever asks from now on waits for the fresh one.
      if (this.opened !== undefined && this.opened.generation <= generation) this.opened = undefined;
    });
  }

  override async run(): Promise<UploadResult> {
    try {
      const result = await super.run();
      this.over = { result };
      return result;
    } catch (error) {
      const cancelled = view('Cancelled', `the session ${this.input.id} was cancelled`);
      this.over = { failure: isCancellation(error) ? cancelled : failureOf(error) };
      throw error;
    } finally {
      // Whoever waits for an answer gets it before the run closes.
      await CancellationScope.nonCancellable(() => condition(allHandlersFinished));
    }
  }

  // ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────

  private async onOpened(): Promise<OpenedSession> {
    await this.until(() => this.opened !== undefined);
    if (this.opened === undefined || this.over !== undefined) throw this.closed();
    return this.opened;
  }

  private mayAsk(ask: CompleteAsk): void {
    if (this.asks >= MAX_ASKS) {
      throw toApplicationFailure(view('TooManyRequests', `${MAX_ASKS} times it was asked to be complete`));
    }
    try {
      validateAsk(ask);
    } catch (error) {
      if (!(error instanceof LongshoreError)) throw error;
      throw toApplicationFailure(view(error.code, error.message));
    }
  }

  private async onComplete(ask: CompleteAsk): Promise<CompletionAnswer> {
    this.asks += 1;
    const same = this.asked.find((one) => JSON.stringify(one.ask) === JSON.stringify(ask));
    const asked: Asked = same ?? { ask };
    if (same === undefined) this.asked.push(asked);
    await this.until(() => asked.answer !== undefined);
    const { answer } = asked;
    if (answer !== undefined && 'refused' in answer) throw toApplicationFailure(answer.refused);
    if (answer !== undefined) return answer;
    if (this.over === undefined || !('result' in this.over)) throw this.closed();
    const { result } = this.over;
    const refused = differenceOf(ask, { ...result, crc32: result.checksum?.slice('crc32:'.length) });
    if (refused !== undefined) throw toApplicationFailure(refused);
    return { result };
  }

  private onBegun(): void {
    if (this.phase === 'PENDING') this.report('UPLOADING');
  }

  /** Also when the run was cancelled: then `over` says so. */
  private async until(holds: () => boolean): Promise<void> {
    await CancellationScope.nonCancellable(() => condition(() => holds() || this.over !== undefined));
  }

  private closed(): ApplicationFailure {
    if (this.over !== undefined && 'failure' in this.over) return toApplicationFailure(this.over.failure);
    return toApplicationFailure(view('AlreadyCompleted', 'the session is complete'));
  }

  protected expect(inspection: Inspection): void {
    const { parts } = inspection.plan as PartsPlan;
    this.progress.expect(parts.size, parts.count);
    this.record.note(planFacts(parts));
  }

  // ── Its life ─────────────────────────────────────────────────────────────────────────────────────────────────

  protected async open(
    inspection: Inspection,
    token: TruthToken,
    s3UploadId: string | null,
  ): Promise<OpenedSession> {
    // The upload's row has to name the multipart upload too.
    this.report(this.phase);
    const opening = await catalog.openSession.executeWithOptions({ summary: 'open the session' }, [
      { ...{ upload: this.input, inspection, token, s3UploadId }, ...this.order },
    ]);
    return this.letIn(inspection, token, opening);
  }

  /** Clients hear from here on that chunks are taken. */
  protected letIn(inspection: Inspection, token: TruthToken, opening: SessionOpening): OpenedSession {
    const { partSize: chunkSize } = (inspection.plan as PartsPlan).parts;
    this.deadline = Date.now() + this.source.ttlMs;
    this.opened = { ...opening, chunkSize, token };
    return this.opened;
  }

  protected get order(): OpeningOrder {
    const { runId, runStartTime } = workflowInfo();
    return { runId, runStartedAt: runStartTime.toISOString(), runGeneration: this.generations };
  }

  /**
   * Until somebody asks for the end, `happened` holds, or `most` ms passed. Touches do not come here: when the time seems
   * over the catalog is asked how much is left. Throws SessionExpired.
   */
  protected async wait(happened: () => boolean, most = Infinity): Promise<void> {
    const told = (): boolean => this.asked.length > 0 || happened();
    const end = Date.now() + most;
    for (;;) {
      const next = Math.min(this.deadline, end);
      if (await condition(told, Math.max(1, next - Date.now()))) return;
      if (Date.now() >= this.deadline) await this.prolong();
      if (Date.now() >= end) return;
    }
  }

  private async prolong(): Promise<void> {
    const left = await catalog.lifeLeft.executeWithOptions({ summary: 'is its client still there?' }, [
      this.input.id,
    ]);
    if (left === 0) {
      const message = `nobody came back to the session within ${this.source.ttlMs / 1000} seconds`;
      throw toApplicationFailure(view('SessionExpired', message));
    }
    this.prolonged += 1;
    // A session of a short life that is touched for days must not fill its history.
    this.deadline = Date.now() + Math.max(left, this.prolonged * PATIENCE_MS);
  }

  /** The session goes on, and its client is alive. */
  protected answer(asked: Asked, answer: Refusal): void {
    this.asked.splice(this.asked.indexOf(asked), 1);
    asked.answer = answer;
    this.deadline = Date.now() + this.source.ttlMs;
  }

  protected taken(stored: StoredObject, parts: number): StoredObject {
    this.progress.expect(stored.size, parts);
    this.progress.recordWhole(stored.size, stored.bytesSent, parts);
    return stored;
  }

  /** We did not see its bytes: only a checksum that the client names says that they are the right ones. */
  protected override vouched(found: StoredObject, { checksum }: CompleteAsk = {}): StoredObject {
    const { crc32, ...seen } = found;
    if (crc32 !== undefined && checksum === `crc32:${crc32}`) return found;
    return { ...seen, checksumAccepted: false };
  }
}
