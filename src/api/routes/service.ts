/** Whether the service lives, and whether it can work. */
import * as z from 'zod';
import { query } from '../../infra/catalog/pool.js';
import type { ApiDeps, Routes } from '../deps.js';
import { asLongshoreError } from '../problem.js';
import { ProblemSchema } from '../schemas/problem.js';

const Health = z.object({ status: z.literal('ok'), version: z.string() }).meta({ id: 'Health' });
const Check = z.object({ ok: z.boolean(), code: z.string().nullable() });
const Ready = z
  .object({
    status: z.enum(['ready', 'not ready']),
    checks: z.object({ temporal: Check, postgres: Check, s3: Check }),
  })
  .meta({ id: 'Ready' });

/** A probe asks again soon, and must not pile up behind a server that hangs. */
const CHECK_MS = 4_000;

const tags = ['service'];
const refused = {
  description: 'Any failure',
  content: { 'application/problem+json': { schema: ProblemSchema } },
};
const ready = (description: string) => ({ description, content: { 'application/json': { schema: Ready } } });

export function serviceRoutes(app: Routes, deps: ApiDeps): void {
  const { db, temporal, checkStorage, version } = deps;
  app.get(
    '/health',
    {
      schema: {
        tags,
        operationId: 'health',
        summary: 'Whether the process lives',
        security: [],
        response: {
          200: { description: 'It lives', content: { 'application/json': { schema: Health } } },
          default: refused,
        },
      },
    },
    () => ({ status: 'ok' as const, version }),
  );
  app.get(
    '/ready',
    {
      schema: {
        tags,
        operationId: 'ready',
        summary: 'Whether Temporal, PostgreSQL and S3 answer',
        security: [],
        response: { 200: ready('All answer'), 503: ready('One does not'), default: refused },
      },
    },
    async (_request, reply) => {
      const [toTemporal, toPostgres, toS3] = await Promise.all([
        check(() => temporal.use(({ connection }) => connection.workflowService.getSystemInfo({}))),
        check(() => query(db, 'ready', { text: 'SELECT 1', query_timeout: CHECK_MS })),
        check(checkStorage),
      ]);
      const checks = { temporal: toTemporal, postgres: toPostgres, s3: toS3 };
      const ok = Object.values(checks).every((each) => each.ok);
      if (!ok) reply.code(503).header('retry-after', 5);
      return { status: ok ? ('ready' as const) : ('not ready' as const), checks };
    },
  );
}

/** Says which code, not why: the reason names hosts. */
async function check(ask: () => Promise<unknown>): Promise<z.infer<typeof Check>> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => (timer = setTimeout(resolve, CHECK_MS, 'late')));
  try {
    const answer = await Promise.race([ask(), late]);
    return answer === 'late' ? { ok: false, code: 'Timeout' } : { ok: true, code: null };
  } catch (error) {
    return { ok: false, code: asLongshoreError(error).code };
  } finally {
    clearTimeout(timer);
  }
}
