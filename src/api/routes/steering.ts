/** What can be asked of a job that is there: stop, go on, run again, other limits, monitoring. */
import type { FastifyRequest } from 'fastify';
import type { LongshoreClient } from '../../client/longshore-client.js';
import { handOver, setLimits, type JobRow } from '../../infra/catalog/jobs.js';
import { given } from '../definition.js';
import type { ApiDeps, Routes } from '../deps.js';
import { writes } from '../schemas/problem.js';
import * as s from '../schemas/uploads.js';
import { IdempotencyHeaders } from '../schemas/values.js';
import { findUpload } from './uploads.js';

const tags = ['uploads'];

interface Action {
  name: string;
  summary: string;
  status: 'cancelling' | 'pausing' | 'resuming' | 'approved' | 'started';
  act: (client: LongshoreClient, id: string, db: ApiDeps['db']) => Promise<unknown>;
}

const ACTIONS: readonly Action[] = [
  {
    name: 'cancel',
    summary: 'Stop; what is in the bucket stays, what is half-way is undone',
    status: 'cancelling',
    act: ({ jobs }, id) => jobs.cancel(id),
  },
  {
    name: 'pause',
    summary: 'Stop sending; nothing is lost',
    status: 'pausing',
    act: ({ jobs }, id) => jobs.pause(id),
  },
  {
    name: 'resume',
    summary: 'Go on after a pause, or after a repair',
    status: 'resuming',
    act: ({ jobs }, id) => jobs.resume(id),
  },
  {
    name: 'approve',
    summary: 'Let a run delete more than its guard lets through',
    status: 'approved',
    act: ({ jobs }, id) => jobs.approve(id),
  },
  {
    name: 'retry',
    summary: 'Send again what had failed, without looking at the folder',
    status: 'started',
    act: ({ jobs }, id, db) => jobs.runAgain(id, 'retry', db),
  },
  {
    name: 'sync',
    summary: 'Look at the folder again, and send what changed',
    status: 'started',
    act: ({ jobs }, id, db) => jobs.runAgain(id, 'sync', db),
  },
];

export function steeringRoutes(app: Routes, deps: ApiDeps): void {
  const { db, temporal } = deps;
  for (const { name, summary, status, act } of ACTIONS) {
    app.post(
      `/uploads/:upload_id/${name}`,
      {
        schema: {
          tags,
          operationId: `${name}Upload`,
          summary,
          params: s.UploadParams,
          headers: IdempotencyHeaders,
          response: writes(s.Accepted, 'It is asked for'),
        },
      },
      async (request) => {
        const row = await findUpload(deps, request, request.params.upload_id);
        const { id } = row;
        if (status === 'started') await answerFor(deps, request, row);
        await temporal.use((client) => act(client, id, db));
        return { upload_id: id, status };
      },
    );
  }
  limitsRoute(app, deps);
  monitorRoutes(app, deps);
}

/** Runs are judged by the key that asked for the last one: keys are renewed, jobs stay. */
async function answerFor({ db }: ApiDeps, { apiKey }: FastifyRequest, row: JobRow): Promise<void> {
  if (apiKey !== null) await handOver(db, row, apiKey.id);
}

function limitsRoute(app: Routes, deps: ApiDeps): void {
  app.patch(
    '/uploads/:upload_id/limits',
    {
      schema: {
        tags,
        operationId: 'limitUpload',
        summary:
          'Change the limits, also of a running job; they hold within seconds, for all workers together',
        params: s.UploadParams,
        body: s.LimitsBody,
        response: writes(s.Accepted, 'It holds from now on'),
      },
    },
    async (request) => {
      const { id } = await findUpload(deps, request, request.params.upload_id);
      await setLimits(deps.db, id, given(request.body));
      return { upload_id: id, status: 'changed' as const };
    },
  );
}

function monitorRoutes(app: Routes, deps: ApiDeps): void {
  const { config, db, temporal } = deps;
  const response = writes(s.Accepted, 'It holds from now on');
  app.put(
    '/uploads/:upload_id/monitor',
    {
      schema: {
        tags,
        operationId: 'monitorUpload',
        summary: 'Check the folder for changes from now on',
        params: s.UploadParams,
        body: s.MonitorBody,
        response,
      },
    },
    async (request) => {
      const row = await findUpload(deps, request, request.params.upload_id);
      const { id, definition } = row;
      await answerFor(deps, request, row);
      const { interval = definition.monitor.interval ?? config.monitor.interval } = request.body;
      await temporal.use((client) => client.jobs.setMonitor(id, { enabled: true, interval }, db));
      return { upload_id: id, status: 'changed' as const };
    },
  );
  app.delete(
    '/uploads/:upload_id/monitor',
    {
      schema: {
        tags,
        operationId: 'unmonitorUpload',
        summary: 'Check the folder no more',
        params: s.UploadParams,
        response,
      },
    },
    async (request) => {
      const { id } = await findUpload(deps, request, request.params.upload_id);
      await temporal.use((client) => client.jobs.setMonitor(id, { enabled: false }, db));
      return { upload_id: id, status: 'changed' as const };
    },
  );
}
