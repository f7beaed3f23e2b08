/** Recorded histories, and what workflow code makes of them. */
import { readdirSync, readFileSync } from 'node:fs';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { historyFromText } from './histories.js';

const FOLDER = new URL('../replay/histories/', import.meta.url);

/** Names of all that are recorded. */
export function recorded(): string[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length));
}

/** What is to fail says so aloud; call it before the first replay. */
export function silenceReplays(): void {
  Runtime.install({ logger: new DefaultLogger('ERROR', () => undefined) });
}

/** 'replayed', or the error that the replay ended with. */
export async function replayNamed(code: string, name: string): Promise<unknown> {
  const history = historyFromText(readFileSync(new URL(`${name}.json`, FOLDER), 'utf8'));
  const workflowId = history.events?.[0]?.workflowExecutionStartedEventAttributes?.workflowId ?? '';
  for await (const { error } of Worker.runReplayHistories({ workflowBundle: { code } }, [
    { workflowId, history },
  ]))
    return error ?? 'replayed';
  throw new Error(`${name} was not replayed`);
}
