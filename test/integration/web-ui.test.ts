/** What the Temporal Web UI shows of an upload, without our own tools. */
import { defaultPayloadConverter } from '@temporalio/common';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { uploadWorkflowId } from '../../src/core/ids.js';
import { MiB } from '../../src/core/limits.js';
import { SEARCH_ATTRIBUTES } from '../../src/core/states.js';
import { startRig, type Rig } from '../helpers/rig.js';
import { eventually } from '../helpers/wait.js';

let rig: Rig;

beforeAll(async () => {
  rig = await startRig();
});
afterAll(() => rig.close());

it('an upload is found by bucket and state, says what it is, and names each of its steps', async () => {
  const bucket = await rig.bucket();
  const file = await rig.file(24 * MiB);
  const { id, webUi } = await rig.start(file, bucket);
  await rig.client.result(id);
  const { workflow } = rig.temporal.client;
  const query = `${SEARCH_ATTRIBUTES.bucket} = '${bucket.name}' AND ${SEARCH_ATTRIBUTES.state} = 'COMPLETED' AND ${SEARCH_ATTRIBUTES.kind} = 'upload'`;
  await eventually(async () => {
    const found: string[] = [];
    for await (const info of workflow.list({ query })) found.push(info.workflowId);
    return found.length === 1 && found[0] === uploadWorkflowId(id);
  });
  const handle = workflow.getHandle(uploadWorkflowId(id));
  expect(await (await handle.describe()).staticSummary()).toBe(
    `files:${file.name} → s3://${bucket.name}/${file.name}`,
  );
  const { events } = await handle.fetchHistory();
  const summaries = (events ?? []).flatMap(({ userMetadata, activityTaskScheduledEventAttributes }) =>
    !activityTaskScheduledEventAttributes || !userMetadata?.summary
      ? []
      : [defaultPayloadConverter.fromPayload<string>(userMetadata.summary)],
  );
  expect(summaries).toEqual(
    expect.arrayContaining([
      'look at the source',
      'parts 1–3 of 3',
      'complete the multipart upload',
      'catalog: COMPLETED',
    ]),
  );
  expect(events?.length).toBeLessThanOrEqual(60);
  const details = await handle.query<{ currentDetails?: string }>('__temporal_workflow_metadata');
  expect(details.currentDetails).toContain('**COMPLETED**');
  expect(webUi).toBeUndefined();
});
