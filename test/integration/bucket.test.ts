/** `longshore bucket` on a server that has the rules (moto), and on those that have not. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import {
  CreateBucketCommand,
  GetBucketCorsCommand,
  GetBucketLifecycleConfigurationCommand,
  PutBucketCorsCommand,
  PutBucketLifecycleConfigurationCommand,
} from '@aws-sdk/client-s3';
import type { S3Client } from '@aws-sdk/client-s3';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RuleReport } from '../../src/client/cli/commands/bucket.js';
import { Io } from '../../src/client/cli/io.js';
import { runProgram } from '../../src/client/cli/program.js';
import { EXIT } from '../../src/core/errors.js';
import { pickPort } from '../../src/dev/ports.js';
import { testBucket } from '../helpers/buckets.js';
import { s3Client } from '../helpers/leaks.js';
import { environmentOf, startProcess, type TestProcess } from '../helpers/processes.js';
import { pythonProgram } from '../helpers/python.js';
import { isSkipped, part, type S3Address } from '../helpers/stack.js';
import { eventually } from '../helpers/wait.js';

const ORIGIN = 'https://app.example';
/** Its `server` extra brings far more than a server of S3 needs. */
const MOTO = ['moto[s3]==5.2.5', 'flask', 'flask-cors'] as const;

let folder: string;
let moto: TestProcess;
let address: S3Address;
let client: S3Client;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'longshore-bucket-'));
  const program = await pythonProgram('moto_server', ...MOTO);
  const port = await pickPort();
  moto = startProcess(
    program,
    ['-H', '127.0.0.1', '-p', String(port)],
    { PATH: process.env['PATH'] ?? '', HOME: folder },
    'moto',
  );
  const endpoint = `http://127.0.0.1:${port}`;
  address = { endpoint, region: 'us-east-1', accessKeyId: 'test', secretAccessKey: 'test' };
  client = s3Client(address);
  await eventually(async () => (await fetch(endpoint)).status > 0, { timeout: 60_000, what: 'moto' });
}, 600_000);
afterAll(async () => {
  client.destroy();
  await moto.end();
  await rm(folder, { recursive: true, force: true });
});

interface Answer {
  code: number;
  rules: RuleReport[];
  text: string;
}

async function longshore(server: S3Address, ...argv: string[]): Promise<Answer> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const env = environmentOf({ s3: server, dataDir: join(folder, 'data') });
  const io = new Io({
    ...{ stdout, stderr, env, cwd: folder, entry: join(folder, 'cli.js'), json: argv.includes('--json') },
    exit: () => {
      throw new Error('exit');
    },
  });
  const code = await runProgram(io, argv, '0.0.0');
  const text = ((stdout.read() as Buffer | null) ?? '').toString();
  const rules = argv.includes('--json') ? ((JSON.parse(text) as { rules?: RuleReport[] }).rules ?? []) : [];
  return { code, text, rules };
}

async function motoBucket(): Promise<string> {
  const name = `rules-${randomUUID()}`;
  await client.send(new CreateBucketCommand({ Bucket: name }));
  return name;
}

const statuses = ({ rules }: Answer) => Object.fromEntries(rules.map(({ rule, status }) => [rule, status]));

describe('where the server has the rules', () => {
  test('check names what is missing, apply sets it, and check is content', async () => {
    const bucket = await motoBucket();
    const args = [`s3://${bucket}`, '--cors-origin', ORIGIN, '--json'];
    const before = await longshore(address, 'bucket', 'check', ...args);
    expect(before.code).toBe(EXIT.failed);
    expect(statuses(before)['abort-incomplete-uploads']).toBe('missing');
    const applied = await longshore(address, 'bucket', 'apply', ...args);
    expect(applied).toMatchObject({ code: EXIT.ok });
    // Seven days are enough for a session that is sent, not for one that is paused for as long as it may be.
    expect(statuses(applied)).toEqual({ 'abort-incomplete-uploads': 'warning', cors: 'ok' });
    expect(applied.rules[0]?.detail).toContain('8 d');
    expect(applied.rules[0]?.fix).toContain('--abort-days 9');
    const { Rules } = await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket: bucket }));
    expect(Rules).toMatchObject([
      { Status: 'Enabled', AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 } },
    ]);
    const { CORSRules } = await client.send(new GetBucketCorsCommand({ Bucket: bucket }));
    expect(CORSRules?.[0]).toMatchObject({ AllowedOrigins: [ORIGIN] });
    expect(CORSRules?.[0]?.ExposeHeaders).toContain('ETag');
    expect((await longshore(address, 'bucket', 'check', ...args)).code).toBe(EXIT.ok);
    const roomy = await longshore(address, 'bucket', 'apply', ...args, '--abort-days', '9');
    expect(statuses(roomy)['abort-incomplete-uploads']).toBe('ok');
    const after = await longshore(address, 'bucket', 'check', ...args);
    expect(after.rules[0]).toMatchObject({ status: 'ok', fix: null });
    // Fewer days are asked for than the rule gives.
    const stricter = await longshore(address, 'bucket', 'check', ...args, '--abort-days', '3');
    expect(statuses(stricter)['abort-incomplete-uploads']).toBe('missing');
  });

  test('a rule that aborts what sessions still fill is not well, and is not set', async () => {
    const bucket = await motoBucket();
    const args = [`s3://${bucket}`, '--cors-origin', ORIGIN, '--json'];
    const refused = await longshore(address, 'bucket', 'apply', ...args, '--abort-days', '2');
    expect(refused.code).toBe(EXIT.usage);
    expect(refused.text).toContain('--abort-days 9');
    const theirs = {
      ID: 'theirs',
      Status: 'Enabled',
      Filter: { Prefix: '' },
      AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 },
    } as const;
    const set = new PutBucketLifecycleConfigurationCommand({
      Bucket: bucket,
      LifecycleConfiguration: { Rules: [theirs] },
    });
    await client.send(set);
    const seen = await longshore(address, 'bucket', 'check', ...args);
    expect(seen.code).toBe(EXIT.failed);
    expect(statuses(seen)['abort-incomplete-uploads']).toBe('early');
    // Ours does not take back what another rule says.
    const applied = await longshore(address, 'bucket', 'apply', ...args);
    expect(applied.code).toBe(EXIT.failed);
    expect(applied.rules[0]).toMatchObject({ status: 'early' });
    expect(applied.rules[0]?.fix).toContain('Another rule');
  });

  test('rules of others stay, and its own are not doubled', async () => {
    const bucket = await motoBucket();
    const theirs = {
      ID: 'theirs',
      Status: 'Enabled',
      Filter: { Prefix: 'old/' },
      Expiration: { Days: 30 },
    } as const;
    await client.send(
      new PutBucketLifecycleConfigurationCommand({
        Bucket: bucket,
        LifecycleConfiguration: { Rules: [theirs] },
      }),
    );
    const other = { AllowedOrigins: ['https://other.example'], AllowedMethods: ['GET'] };
    await client.send(
      new PutBucketCorsCommand({ Bucket: bucket, CORSConfiguration: { CORSRules: [other] } }),
    );
    for (const days of ['9', '5']) {
      const argv = ['bucket', 'apply', `s3://${bucket}`, '--cors-origin', ORIGIN, '--abort-days', days];
      expect((await longshore(address, ...argv)).code).toBe(EXIT.ok);
    }
    const { Rules = [] } = await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket: bucket }));
    expect(Rules.map(({ ID }) => ID).sort()).toEqual(['longshore-abort-incomplete', 'theirs']);
    expect(Rules.find(({ ID }) => ID !== 'theirs')?.AbortIncompleteMultipartUpload?.DaysAfterInitiation).toBe(
      5,
    );
    const { CORSRules = [] } = await client.send(new GetBucketCorsCommand({ Bucket: bucket }));
    expect(CORSRules.flatMap(({ AllowedOrigins }) => AllowedOrigins).sort()).toEqual([
      ORIGIN,
      'https://other.example',
    ]);
  });

  test('a bucket that is not there is an error, and a bad word bad usage', async () => {
    const missing = await longshore(address, 'bucket', 'check', 's3://not-there-at-all', '--json');
    expect(missing.code).toBe(EXIT.failed);
    expect(missing.text).toContain('NoSuchBucket');
    for (const argv of [
      ['bucket', 'repair', 's3://abc'],
      ['bucket', 'check', 'abc'],
      ['bucket', 'check', 's3://abc/key'],
      ['bucket', 'check', 's3://abc', '--abort-days', '0'],
      ['bucket', 'check', 's3://abc', '--cors-origin', 'app.example'],
    ]) {
      expect((await longshore(address, ...argv)).code).toBe(EXIT.usage);
    }
  });
});

describe.each(['versitygw', 'minio'] as const)('on %s', (name) => {
  test.skipIf(isSkipped(name))('what it has not is said, with what to do', async () => {
    const bucket = await testBucket(name);
    const args = [`s3://${bucket.name}`, '--cors-origin', ORIGIN];
    const applied = await longshore(part(name), 'bucket', 'apply', ...args, '--json');
    expect(applied.code).toBe(EXIT.failed);
    const rule = applied.rules.find((each) => each.rule === 'abort-incomplete-uploads');
    expect(rule).toMatchObject({ status: 'unsupported' });
    expect(rule?.fix).toContain('sweep');
    // Pages may send: by a rule, or since the server lets all of them.
    expect(statuses(applied)['cors']).toBe('ok');
    const text = await longshore(part(name), 'bucket', 'check', ...args);
    expect(text.text).toMatch(/^abort-incomplete-uploads: (?:NOT SUPPORTED|MISSING): /m);
  });
});
