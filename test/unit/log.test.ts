import { ActivityFailure, ApplicationFailure, RetryState } from '@temporalio/common';
import { describe, expect, test } from 'vitest';
import { LongshoreError } from '../../src/core/errors.js';
import { createLogger, describeError, scrub } from '../../src/infra/telemetry/log.js';

const H = 'hush-hush';

function capture() {
  const lines: string[] = [];
  const log = createLogger({
    level: 'debug',
    name: 'test',
    destination: { write: (line) => lines.push(line) },
  });
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? '') as Record<string, unknown> };
}

describe('scrub', () => {
  test.each([
    [`https://b.s3.amazonaws.com/k?X-Amz-Credential=${H}&X-Amz-Signature=${H}&X-Amz-Security-Token=${H}`],
    [`https://h/p?a=1&sig=${H}&b=2`],
    [`https://h/p?access_token=${H}`],
    [`postgres://user:${H}@host/db`],
    [`postgres://user:p@${H}@host/db`],
    [`Authorization: AWS4-HMAC-SHA256 Credential=${H}/x, SignedHeaders=host, Signature=${H}`],
    [`authorization: Bearer ${H}`],
    [`{"secretAccessKey":"${H}"}`],
    [JSON.stringify(JSON.stringify({ sessionToken: H }))],
    [`{"password":"a\\"${H}"}`],
    [`AWS_SECRET_ACCESS_KEY=${H} node`],
    [`x-amz-security-token: ${H}`],
    [`x-amz-server-side-encryption-customer-key: ${H}`],
    [`password=${H}`],
    [`-----BEGIN PRIVATE KEY-----\n${H}\n-----END PRIVATE KEY-----`],
  ])('%s', (text) => {
    expect(scrub(text)).not.toContain(H);
    expect(scrub(text)).toContain('[redacted]');
  });

  test.each([
    's3://bucket/key?with=query',
    'https://h/p?partNumber=3&uploadId=u',
    'the password is wrong',
    'part 3 of 12',
    'a@b.example',
  ])('leaves %s', (text) => expect(scrub(text)).toBe(text));

  test('keeps what is around', () => {
    expect(scrub(`https://h/p?a=1&X-Amz-Signature=${H}&b=2`)).toBe(
      'https://h/p?a=1&X-Amz-Signature=[redacted]&b=2',
    );
  });
});

describe('the logger', () => {
  const url = `https://h/p?X-Amz-Signature=${H}`;

  test.each<[string, (log: ReturnType<typeof capture>['log']) => void]>([
    ['message', (log) => log.info(`get ${url}`)],
    ['format argument', (log) => log.info('get %s and %o', url, { password: H })],
    ['field', (log) => log.info({ url }, 'x')],
    ['named secret', (log) => log.info({ s3: { secretAccessKey: H } }, 'x')],
    [
      'deep',
      (log) =>
        log.info(
          { a: [{ b: { SSECustomerKey: H, headers: { 'x-amz-security-token': H, Authorization: H } } }] },
          'x',
        ),
    ],
    ['secret that is no text', (log) => log.info({ password: { value: H }, apiKey: [H] }, 'x')],
    ['map', (log) => log.info({ map: new Map([['sessionToken', H]]) }, 'x')],
    ['bytes', (log) => log.info({ sealingKey: Buffer.from(H), other: Buffer.from(H) }, 'x')],
    ['child', (log) => log.child({ apiKey: H, url }).info('x')],
    ['error alone', (log) => log.error(new Error(`get ${url}`))],
    ['error as err', (log) => log.error({ err: new Error(`get ${url}`, { cause: new Error(url) }) }, 'x')],
    [
      'error elsewhere',
      (log) => log.error({ failure: Object.assign(new Error(url), { client: { password: H } }) }, 'x'),
    ],
  ])('hides a secret in a %s', (_where, write) => {
    const { log, lines, last } = capture();
    write(log);
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toContain(H);
    expect(lines[0]).not.toContain(JSON.stringify([...Buffer.from(H)]).slice(1, -1));
    expect(last()).toMatchObject({ name: 'test' });
  });

  test('keeps harmless fields, and bears circles and bigints', () => {
    const { log, last } = capture();
    const circle: Record<string, unknown> = { n: 1n };
    circle['self'] = circle;
    log.info({ id: 'a', bytes: 3, at: new Date(0), circle, accessKeyId: 'AKIA' }, 'sent');
    expect(last()).toMatchObject({
      msg: 'sent',
      id: 'a',
      bytes: 3,
      at: '1970-01-01T00:00:00.000Z',
      accessKeyId: 'AKIA',
      circle: { n: '1', self: '[circular]' },
    });
  });
});

describe('errors', () => {
  test('stand in the record with type, code, stack and cause', () => {
    const { log, last } = capture();
    const cause = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
    log
      .child({ part: 1 })
      .error({ err: new LongshoreError('CatalogUnavailable', 'away', { op: 'o', cause }) }, 'x');
    const { err } = last() as { err: { stack: string } };
    expect(err).toMatchObject({
      type: 'LongshoreError',
      code: 'CatalogUnavailable',
      cause: { code: 'ECONNREFUSED' },
    });
    expect(err.stack).toContain('log.test.ts');
  });

  test('a LongshoreError with its causes', () => {
    const cause = Object.assign(new Error('refused'), { code: 'ECONNREFUSED', client: { password: H } });
    const error = new LongshoreError('CatalogUnavailable', 'away', {
      op: 'getUpload',
      key: 'k',
      cause,
      hint: 'wait',
    });
    const shown = describeError(error);
    expect(shown).toMatchObject({
      type: 'LongshoreError',
      code: 'CatalogUnavailable',
      op: 'getUpload',
      key: 'k',
      hint: 'wait',
    });
    expect(shown.cause).toEqual({ type: 'Error', message: 'refused', code: 'ECONNREFUSED' });
  });

  test('failures of Temporal', () => {
    const cause = ApplicationFailure.nonRetryable('denied', 'AccessDenied', { password: H });
    const failure = new ActivityFailure(
      'failed',
      'uploadParts',
      '7',
      RetryState.NON_RETRYABLE_FAILURE,
      'w',
      cause,
    );
    const shown = describeError(failure);
    expect(shown).toMatchObject({ type: 'ActivityFailure', activityType: 'uploadParts', activityId: '7' });
    expect(shown.cause).toMatchObject({ message: 'denied', failureType: 'AccessDenied', nonRetryable: true });
    expect(JSON.stringify(shown)).not.toContain(H);
  });

  test('a cause that is its own cause ends, as does what is no error', () => {
    const error = new Error('round');
    error.cause = error;
    expect(JSON.stringify(describeError(error)).length).toBeLessThan(5000);
    expect(describeError('text')).toEqual({ type: 'string', message: 'text' });
    expect(describeError(undefined)).toEqual({ type: 'undefined', message: 'undefined' });
  });
});
