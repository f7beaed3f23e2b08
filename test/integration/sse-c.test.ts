/**
 * A customer's key from a file and over the API, on a server where SSE-C is real: it does its work, opens the object as
 * nothing else does, is exchanged for another, and stands nowhere.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { GetObjectCommand, HeadObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { uploadWorkflowId } from '../../src/core/ids.js';
import { MiB } from '../../src/core/limits.js';
import { startGuard, type Guard } from '../../src/dev/guard.js';
import { startTemporal, type TemporalPart } from '../../src/dev/parts/temporal.js';
import { pickPorts } from '../../src/dev/ports.js';
import { createPool, type Pool } from '../../src/infra/catalog/pool.js';
import { getNode } from '../../src/infra/catalog/nodes.js';
import { createLogger } from '../../src/infra/telemetry/log.js';
import { startTestApi, type TestApi } from '../helpers/api.js';
import { historyToText, withPayloadsDecoded } from '../helpers/histories.js';
import { startMinioTls, type TlsServer } from '../helpers/minio-tls.js';
import { environmentOf, lastJson, longshore, startProcess, type TestProcess } from '../helpers/processes.js';
import { startRig, type Rig } from '../helpers/rig.js';
import { isSkipped, requireBuilt } from '../helpers/stack.js';
import { eventually } from '../helpers/wait.js';

const CHUNK = 5 * MiB;
const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

interface Key {
  name: string;
  bytes: Buffer;
  b64: string;
  md5: string;
  file: string;
}

describe.skipIf(isSkipped('minio'))('a customer’s key', () => {
  let folder: string;
  let guard: Guard;
  let temporal: TemporalPart;
  let tls: TlsServer;
  let rig: Rig;
  let db: Pool;
  let api: TestApi;
  let worker: TestProcess;
  let bucket: string;
  let apiLog = '';
  let said = '';
  const keys: Key[] = [];
  const workflows: string[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'longshore-sse-c-'));
    guard = startGuard();
    const [port = 0, uiPort = 0] = await pickPorts([[], []]);
    const dynamicConfig = ['system.namespaceCacheRefreshInterval="200ms"'];
    const common = { dataDir: folder, env: process.env, log: () => undefined, guard };
    [tls, temporal] = await Promise.all([
      startMinioTls(),
      startTemporal({ ...common, port, uiPort, dynamicConfig }),
    ]);
    const { endpoint, accessKeyId, secretAccessKey } = tls.s3;
    rig = await startRig({
      ...{ worker: false, server: 'minio', temporal: temporal.address },
      env: {
        ...tls.env,
        ...{
          AWS_ENDPOINT_URL: endpoint,
          AWS_ACCESS_KEY_ID: accessKeyId,
          AWS_SECRET_ACCESS_KEY: secretAccessKey,
        },
        LONGSHORE_SEALING_KEY: randomBytes(32).toString('base64'),
        LONGSHORE_LOG_LEVEL: 'trace',
        LONGSHORE_HEALTH_PORT: '0',
      },
    });
    db = createPool(rig.config.postgresUrl ?? '', { max: 2 });
    ({ name: bucket } = await tls.bucket());
    requireBuilt('programs');
    worker = startProcess(
      process.execPath,
      [CLI, 'worker'],
      environmentOf(rig.surroundings),
      'longshore worker',
    );
    await worker.said(/the worker is ready/, { timeout: 60_000 });
    const destination = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        apiLog += chunk.toString();
        done();
      },
    });
    const log = createLogger({ level: 'trace', name: 'api', destination });
    api = await startTestApi(rig.surroundings, { env: { LONGSHORE_SESSION_BUCKET: bucket }, log });
  }, 120_000);

  afterAll(async () => {
    await api.close();
    await worker.end();
    await db.end();
    await rig.close();
    const left = await tls.leftovers();
    await Promise.all([tls.close(), temporal.stop()]);
    await guard.close();
    await rm(folder, { recursive: true, force: true });
    expect(left).toEqual([]);
  }, 60_000);

  it('of a file encrypts the upload of a file', async () => {
    const [key, file] = [await newKey('file'), await rig.file(11 * MiB + 7)];
    const put = await run('put', file.path, `s3://${bucket}/file`, '--sse-c-key-file', key.file, '--json');
    expect(put.code, put.stderr).toBe(0);
    expect(put.stderr).not.toContain('warning');
    workflows.push(String(lastJson(put.stdout)['id']));
    expect(lastJson(put.stdout)).toMatchObject({ state: 'COMPLETED', verification: 'full' });
    await opensWithAlone('file', key, file.sha256);
  });

  it('in a file that others can read is warned of; one that is none is refused, and not shown', async () => {
    const [key, file] = [await newKey('loose', 0o644), await rig.file(10)];
    const loose = await run('put', file.path, `s3://${bucket}/loose`, '--sse-c-key-file', key.file, '--json');
    expect(loose.code, loose.stderr).toBe(0);
    expect(loose.stderr).toMatch(/warning: .*can be read by others.*chmod 600/);
    await opensWithAlone('loose', key, file.sha256);
    const short = join(folder, 'short.key');
    const secret = randomBytes(31).toString('base64');
    await writeFile(short, secret, { mode: 0o600 });
    const refused = await run('put', file.path, `s3://${bucket}/short`, '--sse-c-key-file', short);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/a key file holds 32 bytes/);
    expect(refused.stderr).not.toContain(secret);
  });

  it('encrypts an object again under another, copied by the server', async () => {
    const [from, to] = [await newKey('copy-from'), await newKey('copy-to')];
    const file = await rig.file(6 * MiB);
    const first = await run('put', file.path, `s3://${bucket}/from`, '--sse-c-key-file', from.file, '--json');
    expect(first.code, first.stderr).toBe(0);
    const args = ['--source-sse-c-key-file', from.file, '--sse-c-key-file', to.file, '--json'];
    const copy = await run('put', `s3://${bucket}/from`, `s3://${bucket}/to`, ...args);
    expect(copy.code, copy.stderr).toBe(0);
    workflows.push(String(lastJson(copy.stdout)['id']));
    expect(lastJson(copy.stdout)).toMatchObject({ bytesSent: 0 });
    await opensWithAlone('to', to, file.sha256);
    const wrong = ['--source-sse-c-key-file', to.file, '--sse-c-key-file', to.file, '--json'];
    const denied = await run('put', `s3://${bucket}/from`, `s3://${bucket}/never`, ...wrong);
    expect(denied.code).toBe(1);
    expect(lastJson(denied.stdout)).toMatchObject({ error: { code: 'SourceDenied' } });
    workflows.push(String(lastJson(denied.stdout)['id']));
  });

  it('over the API encrypts a session, chunk by chunk, and is exchanged for others', async () => {
    const [first, second, third] = [await newKey('session'), await newKey('rotated'), await newKey('last')];
    const body = randomBytes(2 * CHUNK + 99);
    const id = await session(first, body);
    const { node_id: nodeId, key: at } = (await api.get(`/api/v1/sessions/${id}`)).body as Record<
      string,
      string
    >;
    const node = String(nodeId);
    const key = String(at);
    await opensWithAlone(key, first, sha256(body));
    expect(await getNode(db, node)).toMatchObject({ encryptionType: 'SSE_C', customerKeyMd5: first.md5 });

    const wrong = await run('keys', 'rotate', node, '--key-file', second.file, '--new-key-file', third.file);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toMatch(/another key than the old one/);
    const rotate = [
      'keys',
      'rotate',
      node,
      '--key-file',
      first.file,
      '--new-key-file',
      second.file,
      '--json',
    ];
    const rotated = await run(...rotate);
    expect(rotated.code, rotated.stderr).toBe(0);
    workflows.push(String(lastJson(rotated.stdout)['id']));
    await opensWithAlone(key, second, sha256(body), first);
    expect(await getNode(db, node)).toMatchObject({ encryptionType: 'SSE_C', customerKeyMd5: second.md5 });

    await rotateBy(node, {
      old_key: spelled(second),
      encryption: { type: 'SSE_KMS', kms_key_id: tls.kmsKeyId },
    });
    const head = await tls.client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }));
    expect(head).toMatchObject({ ServerSideEncryption: 'aws:kms' });
    expect(head.Metadata).toMatchObject({ 'node-id': node, 'original-name': 'a session' });
    expect(await getNode(db, node)).toMatchObject({ encryptionType: 'SSE_KMS', customerKeyMd5: null });
    const last = { encryption: { type: 'SSE_C', ...spelled(third) }, upload_id: `last-of-${node}` };
    await rotateBy(node, last);
    await opensWithAlone(key, third, sha256(body));
    // Its answer was lost, so it is sent again: the object is encrypted as was asked, and that is the answer.
    await rotateBy(node, last);
    expect(await getNode(db, node)).toMatchObject({ customerKeyMd5: third.md5, size: body.length });
  }, 180_000);

  it('whose MD5 is wrong is refused', async () => {
    const [key, other] = [await newKey('refused'), await newKey('other')];
    const encryption = { type: 'SSE_C', customer_key_b64: key.b64, customer_key_md5: other.md5 };
    const answer = await api.send('POST', '/api/v1/sessions/', { name: 'x', expected_size: 3, encryption });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.status).toBeLessThan(500);
    said += answer.text;
    const odd = { ...encryption, customer_key_b64: key.b64.replace('=', '==') };
    const refused = await api.send('POST', '/api/v1/sessions/', {
      name: 'x',
      expected_size: 3,
      encryption: odd,
    });
    expect(refused.status).toBe(400);
    said += refused.text;
  });

  it('is written down with every use, and gone from the catalog at every end', async () => {
    const cancelled = await newKey('cancelled');
    const { body } = await api.send('POST', '/api/v1/sessions/', {
      ...{
        name: 'cancelled',
        expected_size: 3 * CHUNK,
        encryption: { type: 'SSE_C', ...spelled(cancelled) },
      },
    });
    const id = String(body['upload_id']);
    workflows.push(id);
    expect((await api.send('POST', `/api/v1/sessions/${id}/cancel`)).status).toBe(200);
    await eventually(async () => (await rowsOf('customer_keys')).length === 0, {
      timeout: 30_000,
      what: 'a catalog without keys',
    });
    const { rows } = await db.query<{ op: string; outcome: string; uses: string }>(
      'SELECT op, outcome, count(*) AS uses FROM key_uses GROUP BY 1, 2',
    );
    const uses = new Map(rows.map(({ op, outcome, uses: n }) => [`${op} ${outcome}`, Number(n)]));
    for (const op of ['CreateMultipartUpload', 'uploadParts', 'CompleteMultipartUpload', 'verifyObject'])
      expect(uses.get(`${op} ok`), op).toBeGreaterThan(0);
    expect(uses.get('seal ok')).toBe(uses.get('wipe ok'));
  });

  it('is nowhere to be found', async () => {
    await api.close();
    const metrics = await fetch(
      `http://127.0.0.1:${/"health":(\d+)/.exec(worker.stderr)?.[1] ?? ''}/metrics`,
    );
    const places: Record<string, Buffer> = {
      metrics: Buffer.from(await metrics.text()),
      'the worker’s log': Buffer.from(worker.stdout + worker.stderr),
      'the API’s log': Buffer.from(apiLog),
      'what commands and the API said': Buffer.from(said),
      'the catalog': Buffer.from(await dump(), 'latin1'),
    };
    for (const id of workflows) {
      const history = await rig.temporal.client.workflow.getHandle(uploadWorkflowId(id)).fetchHistory();
      places[`the history of ${id}`] = Buffer.from(withPayloadsDecoded(historyToText(history)));
    }
    for (const file of await readdir(join(folder, 'temporal'))) {
      if (/\.(?:db|sqlite)/.test(file)) places[file] = await readFile(join(folder, 'temporal', file));
    }
    // Each place was really looked at: which key it was may be known, and is.
    const known = (place: string): boolean => keys.some(({ md5 }) => places[place]?.includes(md5) === true);
    expect(known('the catalog')).toBe(true);
    const ofTemporal = Object.keys(places).filter((place) => /\.(?:db|sqlite)/.test(place));
    expect(ofTemporal.some(known), ofTemporal.join(', ')).toBe(true);
    expect(known(`the history of ${workflows[0]}`)).toBe(true);
    expect(places['the worker’s log']?.length).toBeGreaterThan(1000);
    for (const [place, content] of Object.entries(places)) {
      for (const key of keys)
        for (const form of formsOf(key))
          expect(content.includes(form), `${key.name} in ${place}`).toBe(false);
    }
  });

  async function newKey(name: string, mode = 0o600): Promise<Key> {
    const bytes = randomBytes(32);
    const file = join(folder, `${name}.key`);
    await writeFile(file, keys.length % 2 === 0 ? bytes : `${bytes.toString('base64')}\n`, { mode });
    const md5 = createHash('md5').update(bytes).digest('base64');
    const key = { name, bytes, b64: bytes.toString('base64'), md5, file };
    keys.push(key);
    return key;
  }

  async function run(...args: string[]) {
    const ended = await longshore(args, rig.surroundings);
    said += ended.stdout + ended.stderr;
    return ended;
  }

  async function session(key: Key, body: Buffer): Promise<string> {
    const begun = await api.send('POST', '/api/v1/sessions/', {
      ...{ name: 'a session', expected_size: body.length, chunk_size: CHUNK },
      encryption: { type: 'SSE_C', ...spelled(key) },
    });
    expect(begun.status, begun.text).toBe(200);
    said += begun.text;
    const id = String(begun.body['upload_id']);
    workflows.push(id);
    for (let chunk = 0; chunk * CHUNK < body.length; chunk++) {
      const sent = await fetch(`${api.url}/api/v1/sessions/${id}/chunks/${chunk}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/octet-stream' },
        body: body.subarray(chunk * CHUNK, (chunk + 1) * CHUNK),
      });
      const text = await sent.text();
      expect(sent.status, text).toBe(200);
      said += text;
    }
    const completed = await api.send('POST', `/api/v1/sessions/${id}/complete`, {});
    expect(completed.status, completed.text).toBe(200);
    said += completed.text;
    return id;
  }

  async function rotateBy(node: string, body: object): Promise<void> {
    const started = await api.send('POST', `/api/v1/nodes/${node}/rotate`, body);
    expect(started.status, started.text).toBe(200);
    said += started.text;
    const id = String(started.body['upload_id']);
    workflows.push(id);
    await rig.client.result(id);
  }

  async function opensWithAlone(key: string, own: Key, sha: string, former?: Key): Promise<void> {
    const at = { Bucket: bucket, Key: key };
    const { Body } = await tls.client.send(new GetObjectCommand({ ...at, ...asSdk(own) }));
    const hash = createHash('sha256');
    for await (const chunk of Body as AsyncIterable<Buffer>) hash.update(chunk);
    expect(hash.digest('hex')).toBe(sha);
    await expect(tls.client.send(new GetObjectCommand(at))).rejects.toThrow();
    if (former !== undefined)
      await expect(tls.client.send(new GetObjectCommand({ ...at, ...asSdk(former) }))).rejects.toThrow();
  }

  async function rowsOf(table: string): Promise<unknown[]> {
    return (await db.query<Record<string, unknown>>(`SELECT * FROM ${table}`)).rows;
  }

  /** Every row of every table; bytes as the text that they may be. */
  async function dump(): Promise<string> {
    const { rows: tables } = await db.query<{ name: string }>(
      `SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = current_schema()`,
    );
    const texts: string[] = [];
    for (const { name } of tables) {
      for (const row of await rowsOf(name))
        for (const value of Object.values(row as object))
          texts.push(Buffer.isBuffer(value) ? value.toString('latin1') : JSON.stringify(value));
    }
    return texts.join('\n');
  }
});

function spelled({ b64, md5 }: Key) {
  return { customer_key_b64: b64, customer_key_md5: md5 };
}

function asSdk({ b64 }: Key) {
  return { SSECustomerAlgorithm: 'AES256', SSECustomerKey: b64 };
}

/** As it is, and as texts may spell it. */
function formsOf({ bytes }: Key): Buffer[] {
  const texts = [
    bytes.toString('base64'),
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    bytes.toString('hex'),
    bytes.toString('hex').toUpperCase(),
    JSON.stringify([...bytes]),
  ];
  return [bytes, ...texts.map((text) => Buffer.from(text))];
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
