/** A presigned address is a secret: it does its work, and stands nowhere but sealed. */
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { uploadWorkflowId } from '../../src/core/ids.js';
import { createPool } from '../../src/infra/catalog/pool.js';
import { testBucket } from '../helpers/buckets.js';
import { historyToText, withPayloadsDecoded } from '../helpers/histories.js';
import { lastJson, longshore, startWorker } from '../helpers/processes.js';
import { objectSha256, startRig, type Rig } from '../helpers/rig.js';
import { isSkipped, part, type S3Address } from '../helpers/stack.js';

const SIZE = 11 * MiB;

describe.skipIf(isSkipped('minio'))('a presigned address', () => {
  let rig: Rig;

  beforeAll(async () => {
    rig = await startRig({
      worker: false,
      env: {
        LONGSHORE_THRESHOLD: '5MiB',
        LONGSHORE_SEALING_KEY: randomBytes(32).toString('base64'),
        LONGSHORE_URL_ALLOW: new URL(part('minio').endpoint).host,
        LONGSHORE_LOG_LEVEL: 'trace',
      },
    });
  });
  afterAll(() => rig.close());

  it.each([
    ['that works', 'there', 'COMPLETED'],
    ['whose object is gone', 'gone', 'FAILED'],
    ['whose signature is wrong', 'forged', 'FAILED'],
  ])('%s is nowhere to be read', async (_what, key, state) => {
    const [from, to] = await Promise.all([testBucket('minio'), rig.bucket()]);
    const body = randomBytes(SIZE);
    if (key !== 'gone')
      await from.client.send(new PutObjectCommand({ Bucket: from.name, Key: key, Body: body }));
    const address = presigned(part('minio'), `/${from.name}/${key}`);
    if (key === 'forged') address.searchParams.set('X-Amz-Signature', randomBytes(32).toString('hex'));
    const secrets = ['X-Amz-Signature', 'X-Amz-Credential', part('minio').secretAccessKey].concat(
      ['X-Amz-Signature', 'X-Amz-Credential', 'X-Amz-Date'].map(
        (name) => address.searchParams.get(name) ?? '-',
      ),
    );

    const worker = await startWorker(rig.surroundings);
    const destination = `s3://${to.name}/copy`;
    const put = await longshore(
      ['put', address.href, destination, '--part-size', '5MiB', '--json'],
      rig.surroundings,
    );
    expect(put.code, put.stderr).toBe(state === 'COMPLETED' ? 0 : 1);
    const outcome = lastJson(put.stdout);
    expect(outcome).toMatchObject({ state });
    if (state === 'COMPLETED') expect(await objectSha256(to, 'copy')).toBe(sha256(body));
    const id = String(outcome['id']);
    const status = await longshore(['status', id], rig.surroundings);
    const list = await longshore(['list', '--json'], rig.surroundings);
    await worker.end();

    const places = {
      history: await historyOf(rig, id),
      described: await describedAs(rig, id),
      catalog: await catalogOf(rig),
      worker: worker.stdout + worker.stderr,
      commands: [put, status, list].map(({ stdout, stderr }) => stdout + stderr).join('\n'),
    };
    // Each place was really looked at: what may be known of the address is in it.
    for (const [place, text] of Object.entries(places)) {
      if (place !== 'worker' || state === 'FAILED') expect(text, place).toContain(`${from.name}/${key}`);
      for (const secret of secrets) expect(text, `${place} with ${secret}`).not.toContain(secret);
    }
    expect(places.history).toMatch(/"sealed":"[0-9a-f-]{36}"/);
  });
});

async function historyOf(rig: Rig, id: string): Promise<string> {
  const history = await rig.temporal.client.workflow.getHandle(uploadWorkflowId(id)).fetchHistory();
  return withPayloadsDecoded(historyToText(history));
}

/** Memo, search attributes, summary: what lists and the Web UI show. */
async function describedAs(rig: Rig, id: string): Promise<string> {
  const description = await rig.temporal.client.workflow.getHandle(uploadWorkflowId(id)).describe();
  const { memo, raw } = description;
  return JSON.stringify([memo, raw, await description.staticSummary()], readable);
}

/** Every row of every table. */
async function catalogOf({ config }: Rig): Promise<string> {
  const pool = createPool(config.postgresUrl ?? '', { max: 1 });
  try {
    const { rows: tables } = await pool.query<{ name: string }>(
      `SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = current_schema()`,
    );
    const texts: string[] = [];
    for (const { name } of tables) {
      const { rows } = await pool.query(`SELECT * FROM ${name}`);
      texts.push(JSON.stringify(rows, readable));
    }
    return texts.join('\n');
  } finally {
    await pool.end();
  }
}

/** For JSON: bytes as the text that they may be. Buffers have become lists of numbers by then. */
function readable(_name: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
  const { type, data } = (value ?? {}) as { type?: unknown; data?: number[] };
  return type === 'Buffer' && Array.isArray(data) ? Buffer.from(data).toString('latin1') : value;
}

function sha256(body: Buffer): string {
  return createHash('sha256').update(body).digest('hex');
}

/** Signature version 4 in the query, for an hour, for GET. */
function presigned({ endpoint, region, accessKeyId, secretAccessKey }: S3Address, path: string): URL {
  const address = new URL(path, endpoint);
  const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const scope = `${stamp.slice(0, 8)}/${region}/s3/aws4_request`;
  address.search = new URLSearchParams({
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${accessKeyId}/${scope}`,
    'X-Amz-Date': stamp,
    'X-Amz-Expires': '3600',
    'X-Amz-SignedHeaders': 'host',
  }).toString();
  const canonical = [
    'GET',
    path,
    address.search.slice(1),
    `host:${address.host}\n`,
    'host',
    'UNSIGNED-PAYLOAD',
  ];
  const hash = createHash('sha256').update(canonical.join('\n')).digest('hex');
  const hmac = (key: string | Buffer, text: string): Buffer =>
    createHmac('sha256', key).update(text).digest();
  const key = scope.split('/').reduce<string | Buffer>(hmac, `AWS4${secretAccessKey}`);
  const signature = hmac(key, ['AWS4-HMAC-SHA256', stamp, scope, hash].join('\n')).toString('hex');
  address.searchParams.set('X-Amz-Signature', signature);
  return address;
}
