/** The way to Temporal: made at the first use and again after a failure, so that the API starts and lives without it. */
import type { WorkflowClientInterceptor } from '@temporalio/client';
import { LongshoreClient } from '../client/longshore-client.js';
import type { TemporalConfig } from '../infra/config.js';

/** Shorter than people wait, longer than a busy server takes for a start. */
const DEADLINE_MS = 5_000;

export class TemporalLink {
  #client: Promise<LongshoreClient> | undefined;
  #closed = false;

  constructor(
    private readonly config: TemporalConfig,
    private readonly interceptors: WorkflowClientInterceptor[] = [],
    private readonly deadlineMs = DEADLINE_MS,
  ) {}

  /** Runs `work`, all of whose calls have one deadline. Throws TemporalUnavailable instead of waiting on. */
  async use<T>(work: (client: LongshoreClient) => Promise<T>, deadlineMs = this.deadlineMs): Promise<T> {
    const client = await this.#connect();
    return await client.connection.withDeadline(Date.now() + deadlineMs, () => work(client));
  }

  async #connect(): Promise<LongshoreClient> {
    const connecting = (this.#client ??= LongshoreClient.connect(this.config, this.interceptors));
    try {
      return await connecting;
    } catch (error) {
      if (this.#client === connecting) this.#client = undefined;
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const [outcome] = await Promise.allSettled([this.#client]);
    if (outcome.status === 'fulfilled') await outcome.value?.close();
  }
}
