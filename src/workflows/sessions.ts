/** An upload whose bytes a client brings: a session. The workflow waits; chunks go past it, from the API to S3. */
import {
  allHandlersFinished,
  CancellationScope,
  condition,
  defineUpdate,
  isCancellation,
  proxyActivities,
  setHandler,
  sleep,
  workflowInfo,
  type ApplicationFailure,
} from '@temporalio/workflow';
import type { SessionActivities, SessionCatalogActivities } from '../activities/sessions.js';
import type { TransferActivities } from '../activities/uploads.js';
import { LongshoreError, type FailureView } from '../core/errors.js';
import {
  begunSignal,
  COMPLETE_UPDATE,
  lostSignal,
  OPENED_UPDATE,
  type CompleteAsk,
  type CompletionAnswer,
  type Incomplete,
  type OpenedSession,
  type SessionCompletion,
} from '../core/sessions.js';
import type { ClientSource, UploadObjectInput, UploadResult } from '../core/uploads.js';
import type { Inspection, PartsPlan, StoredObject, TruthToken } from '../core/upload-steps.js';
import { differenceOf, validateAsk } from '../core/validate-sessions.js';
import { CATALOG, CONTROL, URGENT } from './activity-options.js';
import { onceMore } from './control.js';
import { failureOf, toApplicationFailure, view } from './failures.js';
import { ObjectUpload } from './object-upload.js';

const catalog = proxyActivities<SessionCatalogActivities>(CATALOG);
const transfer = proxyActivities<SessionActivities & TransferActivities>(CONTROL);

const opened = defineUpdate<OpenedSession>(OPENED_UPDATE);
const complete = defineUpdate<CompletionAnswer, [CompleteAsk]>(COMPLETE_UPDATE);

/** Each ask leaves some events; a client that asks more often than this does so for nothing. */
const MAX_ASKS = 300;
/** In mode `whole` nobody may tell that the object is there. Each look is half as far again from the last, ms. */
const FIRST_LOOK_MS = 2_000;
const LAST_LOOK_MS = 3_600_000;
/** By so much longer it waits each time it was prolonged. */
const PATIENCE_MS = 50;

/** Somebody wants the session complete. Repetitions of the same ask wait for the same answer. */
interface Asked {
  ask: CompleteAsk;
  answer?: Refusal;
}

type Refusal = Exclude<SessionCompletion, { stored: StoredObject }>;

const NOTHING: Incomplete = {
  missing: [0],
  missingCount: 1,
  surplus: [],
  message: 'no object of this session is at the key, or it has another size',
};

export class ClientUpload extends ObjectUpload {
  protected override readonly haste = URGENT;
  private readonly asked: Asked[] = [];
  private asks = 0;
  private opened: OpenedSession | undefined;
  private lost = 0;
  /** When the session's time is over, as far as is known here; ms. */
  private deadline = 0;
  private prolonged = 0;
  /** The generation in which one whole object is taken. */
  private whole: number | undefined;
  /** How often it was closed or opened: a late attempt of one changes nothing. */
  private turns = 0;
  private over: { result: UploadResult } | { failure: FailureView } | undefined;

  constructor(
    input: UploadObjectInput,
    private readonly source: ClientSource,
  ) {
    super(input);
    setHandler(opened, () => this.onOpened());
    setHandler(complete, (ask) => this.onComplete(ask), {
      validator: (ask: CompleteAsk) => this.mayAsk(ask),
    });
    setHandler(begunSignal, () => this.onBegun());
    setHandler(lostSignal, (generation) => {
      this.lost = Math.max(this.lost, generation);
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

  // ── Its life ─────────────────────────────────────────────────────────────────────────────────────────────────

  protected async transfer(inspection: Inspection): Promise<StoredObject> {
    const { size, partSize, count } = (inspection.plan as PartsPlan).parts;
    this.progress.expect(size, count);
    this.record.note({ size, partSize, ...(count === null ? {} : { parts: count }) });
    if (this.source.mode === 'whole') return await this.takeWhole(inspection);
    return await this.freshly(inspection, () => this.takeChunks(inspection));
  }

  private async takeChunks(inspection: Inspection): Promise<StoredObject> {
    this.opened = undefined;
    const created = await this.create(inspection);
    const { generation } = await this.open(inspection, created.token, created.s3UploadId);
    const begun = { again: false };
    for (;;) {
      await this.wait(() => this.lost >= generation);
      const [asked] = this.asked;
      if (asked === undefined) {
        throw toApplicationFailure(view('NoSuchUpload', 'the multipart upload of the session is gone'));
      }
      this.mayExist = { token: created.token, inspection };
      const answer = await this.placement.run((options) =>
        transfer.completeSession.executeWithOptions(
          { ...options, ...this.haste, summary: 'complete the session' },
          [
            {
              ...{ upload: this.input, inspection, created, generation, ask: asked.ask },
              ...{ turn: ++this.turns, ...onceMore(begun) },
            },
          ],
        ),
      );
      if ('stored' in answer) return this.taken(answer.stored, answer.parts);
      // Nothing was completed, and the client is alive.
      this.mayExist = undefined;
      this.answer(asked, answer);
    }
  }

  private async takeWhole(inspection: Inspection): Promise<StoredObject> {
    const token = this.nextToken();
    await this.record.flush();
    this.record.note({ generations: this.generations });
    this.mayExist = { token, inspection };
    this.whole = (await this.open(inspection, token, null)).generation;
    for (let pause = FIRST_LOOK_MS; ; pause = Math.min(pause * 1.5, LAST_LOOK_MS)) {
      const over = await this.wait(() => false, pause).then(
        () => undefined,
        (error: unknown) => {
          if (isCancellation(error)) throw error;
          return { error };
        },
      );
      let seen = await this.compare(inspection, token);
      if (seen.fits !== undefined) {
        // Whoever puts it again meanwhile replaces what was seen: only what is there once nobody does counts.
        await this.letIn(false);
        seen = await this.compare(inspection, token);
        if (seen.fits !== undefined) return this.taken(this.vouched(seen.fits, seen.asked?.ask), 1);
        if (over === undefined) await this.letIn(true);
      }
      if (over !== undefined) throw over.error;
      const { asked, refused } = seen;
      if (asked !== undefined)
        this.answer(asked, refused === undefined ? { incomplete: NOTHING } : { refused });
    }
  }

  /** The object at the key, if it is ours and what its client says of it. */
  private async compare(
    inspection: Inspection,
    token: TruthToken,
  ): Promise<{ fits?: StoredObject; asked?: Asked | undefined; refused?: FailureView }> {
    const found = await this.look(inspection, token);
    const [asked] = this.asked;
    if (found === null) return { asked };
    const refused = differenceOf(asked?.ask ?? {}, found);
    return refused === undefined ? { fits: found, asked } : { refused, asked };
  }

  /** Once nobody may send it again, this waits for what was sent before. */
  private async letIn(open: boolean): Promise<void> {
    if (this.whole === undefined) return;
    const summary = open ? 'let it be sent again' : 'let nobody send it again';
    const left = await catalog.setSessionOpen.executeWithOptions({ summary }, [
      { id: this.input.id, generation: this.whole, turn: ++this.turns, open },
    ]);
    if (left > 0) await sleep(left, { summary: 'let arrive what was sent before' });
  }

  protected override async abort(): Promise<void> {
    await CancellationScope.nonCancellable(() => this.letIn(false));
    await super.abort();
  }

  private async open(
    inspection: Inspection,
    token: TruthToken,
    s3UploadId: string | null,
  ): Promise<OpenedSession> {
    // The upload's row has to name the multipart upload too.
    this.report(this.phase);
    const { generation } = await catalog.openSession.executeWithOptions({ summary: 'open the session' }, [
      {
        ...{ upload: this.input, inspection, token, s3UploadId },
        runStartedAt: workflowInfo().runStartTime.toISOString(),
        runGeneration: this.generations,
      },
    ]);
    const { partSize: chunkSize } = (inspection.plan as PartsPlan).parts;
    this.deadline = Date.now() + this.source.ttlMs;
    this.opened = { s3UploadId, generation, chunkSize, token };
    return this.opened;
  }

  /**
   * Until somebody asks for the end, `happened` holds, or `most` ms passed. Touches do not come here: when the time seems
   * over the catalog is asked how much is left. Throws SessionExpired.
   */
  private async wait(happened: () => boolean, most = Infinity): Promise<void> {
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

  private look(inspection: Inspection, token: TruthToken): Promise<StoredObject | null> {
    return this.placement.run((options) =>
      transfer.settleObject.executeWithOptions(
        { ...options, ...this.haste, summary: 'is the object there?' },
        [{ upload: this.input, inspection, token }],
      ),
    );
  }

  /** The session goes on, and its client is alive. */
  private answer(asked: Asked, answer: Refusal): void {
    this.asked.splice(this.asked.indexOf(asked), 1);
    asked.answer = answer;
    this.deadline = Date.now() + this.source.ttlMs;
  }

  private taken(stored: StoredObject, parts: number): StoredObject {
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
