/** The relay of a sink over hours, on the server that skips them. */
import { randomUUID } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/common';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RelayActivities } from '../../src/activities/relay.js';
import { RELAY_WORKFLOW, type RelayAnswer } from '../../src/core/events.js';
import { startTimeSkipping, type TimeSkipping } from '../helpers/time-skipping.js';

let env: TimeSkipping;
beforeAll(async () => {
  env = await startTimeSkipping();
});
afterAll(() => env.teardown());

const KNOWN: RelayAnswer = { known: true, sent: 1, dead: 0 };
const UNKNOWN: RelayAnswer = { known: false, sent: 0, dead: 0 };

/** The activity answers as told, once for each go, until the workflow ends. */
async function relay(answer: (go: number) => RelayAnswer | Error) {
  let goes = 0;
  const relayEvents: RelayActivities['relayEvents'] = () => {
    goes += 1;
    const given = answer(goes);
    return given instanceof Error ? Promise.reject(given) : Promise.resolve(given);
  };
  const taskQueue = 'orchestration';
  const worker = await Worker.create({
    ...{ connection: env.nativeConnection, namespace: env.namespace, taskQueue },
    ...{ workflowBundle: env.bundle, activities: { relayEvents } },
  });
  return await worker.runUntil(async () => {
    const workflowId = `relay/${randomUUID()}`;
    const handle = await env.client.workflow.start(RELAY_WORKFLOW, {
      ...{ workflowId, taskQueue, args: [{ sink: 'kafka' }] },
    });
    await handle.result();
    const first = env.client.workflow.getHandle(workflowId, handle.firstExecutionRunId);
    const last = await env.client.workflow.getHandle(workflowId).describe();
    return { goes, first: (await first.describe()).status.name, last };
  });
}

it('goes on for days in short histories, and ends an hour after the last worker that knew the sink', async () => {
  const { goes, first, last } = await relay((go) => (go <= 200 ? KNOWN : UNKNOWN));
  expect(goes).toBe(200 + 60);
  expect(first).toBe('CONTINUED_AS_NEW');
  expect(last.status.name).toBe('COMPLETED');
  expect(last.historyLength).toBeLessThan(1_600);
});

it('comes back to its sink whatever becomes of a go, and counts only strange workers that follow each other', async () => {
  const broken = ApplicationFailure.nonRetryable('the tables are missing', 'InvalidConfig');
  const story = [broken, KNOWN, ...Array<RelayAnswer>(59).fill(UNKNOWN), KNOWN, broken];
  const { goes, last } = await relay((go) => story[go - 1] ?? UNKNOWN);
  expect(goes).toBe(story.length + 60);
  expect(last.status.name).toBe('COMPLETED');
});
