import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { EVENT_TYPES, eventSchemaId, jobEvent, uploadEvent, type EndedJob } from '../../src/core/events.js';
import { JOB_STATES, UPLOAD_STATES } from '../../src/core/states.js';
import type { UploadReport } from '../../src/core/uploads.js';
import { signWebhook } from '../../src/infra/events/webhook.js';
import { firstOfEach } from '../../src/infra/events/publisher.js';
import { faultsOf, schemaOf } from '../helpers/event-schemas.js';
import { completedReport, testEvent } from '../helpers/events.js';

const failure = { code: 'S3Unavailable', message: 'no answer', op: 'UploadPart', hint: 'wait' } as const;
const job: EndedJob = {
  ...{ id: 'j', workflowId: 'job/j', runId: 'r', generation: 2, state: 'COMPLETED', dryRun: false },
  ...{ sourceFolder: '/data', bucket: 'b', prefix: 'p/' },
  counts: {
    ...{ totalFiles: 3, totalBytes: 30, completedFiles: 2, completedBytes: 20, failedFiles: 1 },
    ...{ skippedFiles: 0, sentFiles: 2, sentBytes: 20, unchangedFiles: 0, deletedFiles: 0 },
  },
};

function report(state: UploadReport['state']): UploadReport {
  const { result, ...rest } = completedReport('a');
  if (state === 'COMPLETED') return { ...rest, ...(result && { result }) };
  return { ...rest, state, ...(state === 'CANCELLED' ? {} : { failure }) };
}

describe('events', () => {
  it('tell of every end, and of nothing else', () => {
    const uploads = UPLOAD_STATES.map((state) => uploadEvent('i', report(state))?.type);
    const jobs = JOB_STATES.map((state) => jobEvent('i', { ...job, state })?.type);
    expect([...uploads, ...jobs].filter((type) => type !== undefined)).toEqual(EVENT_TYPES);
  });

  it.each(['COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED'] as const)(
    'of an upload that is %s are as their schema says',
    (state) => {
      for (const node of [undefined, { nodeId: 'n', connectorId: 'c', name: 'x.bin' }]) {
        const event = uploadEvent('i', report(state), node);
        expect(event && faultsOf(event)).toEqual([]);
        expect(event?.subject).toBe(node?.nodeId ?? 'a');
      }
    },
  );

  it.each(['COMPLETED', 'FAILED', 'CANCELLED'] as const)(
    'of a job that is %s are as their schema says',
    (state) => {
      const event = jobEvent('i', { ...job, state, ...(state === 'FAILED' ? { failure } : {}) });
      expect(event && faultsOf(event)).toEqual([]);
    },
  );

  it('are found wanting by their schema when something is missing, or is more than it says', () => {
    const event = testEvent('n');
    expect(faultsOf({ ...event, data: { ...event.data, surprise: 1 } as never })).not.toEqual([]);
    expect(faultsOf({ ...event, subject: '' })).not.toEqual([]);
    expect(faultsOf({ ...event, type: 'upload.failed' })).not.toEqual([]);
  });

  it('have the same id however often they are made, and another for another run', () => {
    const first = uploadEvent('i', report('COMPLETED'));
    expect(uploadEvent('i', report('COMPLETED'))?.id).toBe(first?.id);
    expect(uploadEvent('i', { ...report('COMPLETED'), runId: 'another' })?.id).not.toBe(first?.id);
    expect(uploadEvent('i', report('FAILED'))?.id).not.toBe(first?.id);
  });

  it('carry no more of a long message than brokers take', () => {
    const long = uploadEvent('i', { ...report('FAILED'), failure: { ...failure, message: 'x'.repeat(1e6) } });
    expect(JSON.stringify(long).length).toBeLessThan(5_000);
  });
});

describe('schemas', () => {
  it('are there for every type, under the id that events name', () => {
    const files = readdirSync(new URL('../../docs/events/', import.meta.url));
    expect(files.sort()).toEqual(EVENT_TYPES.map((type) => `${type}.schema.json`).sort());
    for (const type of EVENT_TYPES) expect(schemaOf(type).$id).toBe(eventSchemaId(type));
  });
});

describe('what may be sent at once', () => {
  it('ends before the first subject that comes again', () => {
    const events = ['a', 'b', 'a', 'c'].map((subject, n) => testEvent(subject, n));
    expect(firstOfEach(events, 10)).toEqual(events.slice(0, 2));
    expect(firstOfEach(events.slice(1), 10)).toEqual(events.slice(1));
    expect(firstOfEach(events.slice(1), 2)).toEqual(events.slice(1, 3));
  });
});

describe('signatures of webhooks', () => {
  it('are those of Standard Webhooks', () => {
    // The example of its specification.
    const signed = signWebhook('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', {
      id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      timestamp: 1614265330,
      body: '{"test": 2432232314}',
    });
    expect(signed).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
  });
});
