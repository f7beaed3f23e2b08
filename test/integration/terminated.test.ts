/** A workflow that was terminated could undo nothing, and whoever asks for it is told so. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/core/errors.js';
import { lastJson, longshore } from '../helpers/processes.js';
import { failureOf, startRig, type Rig } from '../helpers/rig.js';

let rig: Rig;
beforeAll(async () => {
  rig = await startRig({ worker: false });
});
afterAll(() => rig.close());

describe('an upload terminated in Temporal', () => {
  it('is FAILED as Terminated for everyone who asks, and its id is free again', async () => {
    const [bucket, file] = [await rig.bucket(), await rig.file(10)];
    const { id, workflowId } = await rig.start(file, bucket, { id: 'to-be-terminated' });
    await rig.temporal.client.workflow.getHandle(workflowId).terminate('by hand');
    const told = {
      code: 'Terminated',
      message: expect.stringContaining('terminated') as unknown,
      hint: expect.stringMatching(/multipart upload may be left/) as unknown,
    };
    expect(await failureOf(rig.client, id)).toMatchObject(told);
    expect(await rig.client.view(id)).toMatchObject({ state: 'FAILED', failure: told });

    const status = await longshore(['status', id, '--json'], rig.surroundings);
    expect(lastJson(status.stdout)).toMatchObject({ state: 'FAILED', error: told });
    const watch = await longshore(['watch', id, '--json'], rig.surroundings);
    expect(watch.code).toBe(EXIT.failed);
    expect(lastJson(watch.stdout)).toMatchObject({ type: 'result', state: 'FAILED', error: told });

    const again = await rig.start(file, bucket, { id });
    expect(again.fresh).toBe(true);
    await rig.temporal.client.workflow.getHandle(again.workflowId).terminate();
  });
});
