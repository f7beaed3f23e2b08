/** What a steering command acts on: an upload or a job, which understand the same signals. */
import type { JobState, UploadState } from '../../core/states.js';
import type { UploadView, LongshoreClient } from '../longshore-client.js';
import type { JobView } from '../jobs.js';
import type { Looks } from './follow.js';
import { oneOf, readId } from './job-find.js';

export type AnyView = UploadView | JobView;
export type AnyState = UploadState | JobState;
export type Signal = 'pause' | 'resume' | 'cancel';

export interface Target {
  noun: 'upload' | 'job';
  id: string;
  send(signal: Signal): Promise<void>;
  /** The result is a sentence: what there is although it was to be cancelled. */
  looks: Looks<[AnyView], string>;
}

/** Throws InvalidInput, NotFound, TemporalUnavailable. */
export async function targetOf(client: LongshoreClient, text: string): Promise<Target> {
  const { kind = await kindOf(client, text), id } = readId(text);
  return kind === 'job' ? jobTarget(client, id) : uploadTarget(client, id);
}

async function kindOf(client: LongshoreClient, id: string): Promise<'upload' | 'job'> {
  const [upload, job] = await Promise.allSettled([client.view(id), client.jobs.viewJob(id)]);
  return oneOf(id, upload, job).kind;
}

function uploadTarget(client: LongshoreClient, id: string): Target {
  return {
    ...{ noun: 'upload', id, send: (signal) => client[signal](id) },
    looks: {
      look: async () => [await client.view(id)],
      result: async () => {
        const { bucket, key } = await client.result(id);
        return `s3://${bucket}/${key} is complete`;
      },
    },
  };
}

function jobTarget(client: LongshoreClient, id: string): Target {
  return {
    ...{ noun: 'job', id, send: (signal) => client.jobs[signal](id) },
    looks: {
      look: async () => [await client.jobs.viewJob(id)],
      result: async () => {
        await client.jobs.result(id);
        return `the job ${id} is complete`;
      },
    },
  };
}
