/** The API with a worker behind it, for tests of sessions: a bucket, and how a session stands. */
import { onTestFinished } from 'vitest';
import { apiOfTest, type Json, type TestApi } from './api.js';
import type { TestBucket } from './buckets.js';
import { createPool, type Pool } from '../../src/infra/catalog/pool.js';
import type { Rig } from './rig.js';
import { eventually } from './wait.js';

/** The catalog of a rig; whoever opens it ends it. */
export function catalogOf({ config }: Rig): Pool {
  return createPool(config.postgresUrl ?? '', { max: 2 });
}

export interface SessionScene {
  api: TestApi;
  bucket: TestBucket;
  /** Begins a session in the bucket; cancelled at the end of the test unless it has ended. */
  begin(body: Json): Promise<Json>;
  /** As the API shows it. */
  session(id: string): Promise<Json>;
  /** Waits for the state. */
  ends(id: string, state?: string): Promise<Json>;
}

export async function sessionScene(rig: Rig, env: Record<string, string> = {}): Promise<SessionScene> {
  const bucket = await rig.bucket();
  const api = await apiOfTest(rig.surroundings, {
    env: { LONGSHORE_SESSION_BUCKET: bucket.name, ...env },
  });
  const session = async (id: string): Promise<Json> => {
    const { status, body, text } = await api.get(`/api/v1/sessions/${id}`);
    if (status !== 200) throw new Error(`session ${id}: HTTP ${status}, ${text}`);
    return body;
  };
  const ends = (id: string, state = 'COMPLETED'): Promise<Json> =>
    eventually(
      async () => {
        const now = await session(id);
        return now['state'] === state ? now : false;
      },
      { timeout: 60_000, what: `${state} of session ${id}` },
    );
  return {
    ...{ api, bucket, session, ends },
    begin: async (body) => {
      const answer = await api.send('POST', '/api/v1/sessions/', body);
      if (answer.status !== 200) throw new Error(`no session: HTTP ${answer.status}, ${answer.text}`);
      const id = String(answer.body['upload_id']);
      onTestFinished(() => endUnlessEnded(api, id));
      return answer.body;
    },
  };
}

/** Its multipart upload must not outlive the test. */
export async function endUnlessEnded(api: TestApi, id: string): Promise<void> {
  const { body } = await api.get(`/api/v1/sessions/${id}`);
  if (body['ended_at'] === null) await api.send('POST', `/api/v1/sessions/${id}/cancel`);
  await eventually(async () => (await api.get(`/api/v1/sessions/${id}`)).body['ended_at'] !== null, {
    timeout: 30_000,
    what: `the end of session ${id}`,
  });
}
