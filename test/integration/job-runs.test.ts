/** Runs of a job as a client asks for them, on a Temporal without a worker: each stands where the test puts it. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JobsClient } from '../../src/client/jobs.js';
import { jobWorkflowId } from '../../src/core/ids.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { definition as anyDefinition } from '../helpers/catalog-jobs.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';
import { testNamespace, type TestNamespace } from '../helpers/temporal.js';
import { stays } from '../helpers/wait.js';

const definition = { ...anyDefinition, destination: { bucket: 'bucket', prefix: 'p/' } };

let temporal: TestNamespace;
let db: TestSchema;
let jobs: JobsClient;

beforeAll(async () => {
  temporal = await testNamespace();
  db = await testSchema();
  await migrate(db.pool);
  const { address, namespace } = temporal;
  jobs = new JobsClient(
    { address, namespace, apiKey: undefined, tls: undefined, metadata: undefined, ui: undefined },
    temporal.client,
  );
});
afterAll(async () => {
  await temporal.close();
  await db.drop();
});

/** A job whose run stands still, with this in its row. */
async function standing(state: string, runId?: string): Promise<{ id: string; runId: string }> {
  const id = randomUUID();
  const started = await jobs.startJob({ id, definition, db: db.pool });
  await db.pool.query('UPDATE upload_jobs SET state = $2, run_id = $3 WHERE id = $1', [
    id,
    state,
    runId ?? started.runId,
  ]);
  return { id, runId: started.runId };
}

const terminate = (id: string) => temporal.client.workflow.getHandle(jobWorkflowId(id)).terminate();

describe('another run', () => {
  it('joins one that is under way', async () => {
    const { id, runId } = await standing('IN_PROGRESS');
    expect(await jobs.runAgain(id, 'sync', db.pool)).toMatchObject({ fresh: false, runId });
    await terminate(id);
  });

  it('joins one that has only been started', async () => {
    const { id, runId } = await standing('COMPLETED', 'the one before');
    expect(await jobs.runAgain(id, 'sync', db.pool)).toMatchObject({ fresh: false, runId });
    await terminate(id);
  });

  it.each(['COMPLETED', 'FAILED'])('does not join one that is %s and about to close', async (state) => {
    const { id, runId } = await standing(state);
    let again: Awaited<ReturnType<JobsClient['runAgain']>> | undefined;
    const asked = jobs.runAgain(id, 'sync', db.pool).then((run) => (again = run));
    await stays(() => again === undefined, 500, 'waiting for it to close');
    await terminate(id);
    await asked;
    expect(again).toMatchObject({ fresh: true });
    expect(again?.runId).not.toBe(runId);
    await terminate(id);
  });
});
