/** Presigned parts on real servers: what a signature allows, and what it does not. */
import { createHash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { addApiKey } from '../../src/infra/catalog/api-keys.js';
import type { Json } from '../helpers/api.js';
import { objectSha256, startRig, type Rig } from '../helpers/rig.js';
import { catalogOf, sessionScene, type SessionScene } from '../helpers/sessions-api.js';
import { isSkipped } from '../helpers/stack.js';

interface Signed {
  chunk: number;
  part_number: number;
  method: string;
  url: string;
  headers: Record<string, string>;
  secret_headers: string[];
  expires_at: string;
}

const CHUNK = 5 * MiB;
const PIECES = [randomBytes(CHUNK), randomBytes(CHUNK), randomBytes(1000)] as const;
const SIZE = 2 * CHUNK + 1000;
const SHA256 = createHash('sha256').update(Buffer.concat(PIECES)).digest('hex');

const crcOf = (bytes: Buffer): string => {
  const value = Buffer.alloc(4);
  value.writeUInt32BE(crc32(bytes));
  return value.toString('base64');
};

/** fetch sets the length by itself, as browsers do. */
async function put({ url, headers }: Pick<Signed, 'url' | 'headers'>, body: Buffer) {
  const { 'content-length': _, ...rest } = headers;
  const answer = await fetch(url, { method: 'PUT', headers: rest, body });
  return { status: answer.status, etag: answer.headers.get('etag') ?? '', text: await answer.text() };
}

describe.each(['versitygw', 'minio'] as const)('presigned parts on %s', (server) => {
  describe.skipIf(isSkipped(server))('with a worker', () => {
    let rig: Rig;
    beforeAll(async () => {
      rig = await startRig({ server });
    });
    afterAll(() => rig.close());

    const sign = async ({ api }: SessionScene, id: string, parts: Json[], status = 200) => {
      const answer = await api.send('POST', `/api/v1/sessions/${id}/parts/sign`, { parts });
      expect(answer).toMatchObject({ status });
      return answer.body['parts'] as Signed[];
    };
    const report = (scene: SessionScene, id: string, parts: Json[]) =>
      scene.api.send('PUT', `/api/v1/sessions/${id}/parts`, { parts });

    test('bytes go past us, and the object is what was sent', async () => {
      const scene = await sessionScene(rig);
      const { upload_id: id } = (await scene.begin({
        ...{ name: 'straight.bin', expected_size: SIZE, chunk_size: CHUNK, checksum: false },
      })) as { upload_id: string };
      const signed = await sign(scene, id, [{ chunk: 2 }, { chunk: 0 }, { chunk: 1 }]);
      expect(signed.map(({ chunk, part_number: part }) => [chunk, part])).toEqual([
        [2, 3],
        [0, 1],
        [1, 2],
      ]);
      const parts: Json[] = [];
      for (const each of signed) {
        const { status, etag, text } = await put(each, PIECES[each.chunk] as Buffer);
        expect({ status, text }).toMatchObject({ status: 200 });
        parts.push({ chunk: each.chunk, etag });
      }
      const early = await scene.api.send('POST', `/api/v1/sessions/${id}/complete`, {});
      expect(early).toMatchObject({ status: 409, body: { code: 'PartsMissing' } });
      expect(await report(scene, id, parts)).toMatchObject({ status: 200, body: { recorded: 3 } });
      expect(await scene.session(id)).toMatchObject({ state: 'UPLOADING', received: { ranges: [[0, 2]] } });
      const done = await scene.api.send('POST', `/api/v1/sessions/${id}/complete`, {});
      expect(done).toMatchObject({ status: 200 });
      const view = await scene.ends(id);
      expect(view).toMatchObject({ size: SIZE, verification: 'size', checksum: null });
      expect(await objectSha256(scene.bucket, String(view['key']))).toBe(SHA256);
      // Once it has ended nothing more is signed.
      await sign(scene, id, [{ chunk: 0 }], 409);
    });

    test('a signature holds to its part, its length and its checksum', async () => {
      const scene = await sessionScene(rig);
      const { upload_id: id } = (await scene.begin({
        ...{ name: 'held.bin', expected_size: SIZE, chunk_size: CHUNK },
      })) as { upload_id: string };
      const [piece] = PIECES;
      const [signed] = await sign(scene, id, [{ chunk: 0, crc32: crcOf(piece), length: CHUNK }]);
      if (signed === undefined) throw new Error('nothing was signed');
      const refused = async (change: Partial<Signed>, body: Buffer): Promise<void> => {
        // A server may answer before it has the body, and break the connection off.
        const broken = (error: unknown) => {
          if (error instanceof TypeError && error.message === 'fetch failed') return { status: 499 };
          throw error;
        };
        const { status } = await put({ ...signed, ...change }, body).catch(broken);
        expect(status).toBeGreaterThanOrEqual(400);
      };
      await refused({ url: signed.url.replace('partNumber=1', 'partNumber=2') }, piece);
      await refused({}, piece.subarray(1));
      await refused({}, Buffer.concat([piece.subarray(1), Buffer.from([(piece[0] ?? 0) ^ 1])]));
      await refused({ headers: { ...signed.headers, 'x-amz-checksum-crc32': crcOf(PIECES[1]) } }, PIECES[1]);
      const ending = await fetch(signed.url, { method: 'POST', body: '<CompleteMultipartUpload/>' });
      expect(ending.status).toBeGreaterThanOrEqual(400);
      expect((await put(signed, piece)).status).toBe(200);
      // Without a checksum the length alone holds, here that of the chunk.
      const bare = (await scene.begin({
        ...{ name: 'bare.bin', expected_size: SIZE, chunk_size: CHUNK, checksum: false },
      })) as { upload_id: string };
      const [unchecked] = await sign(scene, bare.upload_id, [{ chunk: 0 }]);
      if (unchecked === undefined) throw new Error('nothing was signed');
      await refused(unchecked, piece.subarray(1));
      expect((await put(unchecked, piece)).status).toBe(200);
      // A length that the chunk cannot have, and a chunk beyond the end, are refused before anything is signed.
      await sign(scene, id, [{ chunk: 0, length: 1 }], 422);
      await sign(scene, id, [{ chunk: 3 }], 422);
      await sign(scene, id, [{ chunk: 1 }, { chunk: 1 }], 422);
    });

    test('it lives as long as was asked, and not past 15 minutes', async () => {
      const scene = await sessionScene(rig);
      const { upload_id: id } = (await scene.begin({ name: 'x', checksum: false })) as { upload_id: string };
      const ask = async (more: Json): Promise<number> => {
        const { body } = await scene.api.send('POST', `/api/v1/sessions/${id}/parts/sign`, {
          parts: [{ chunk: 0 }],
          ...more,
        });
        const [signed] = body['parts'] as Signed[];
        return Number(new URL(signed?.url ?? '').searchParams.get('X-Amz-Expires'));
      };
      expect(await ask({})).toBe(900);
      expect(await ask({ expires_in: 3 * 3600 })).toBe(900);
      expect(await ask({ expires_in: 30 })).toBe(30);
      const short = (await scene.begin({ name: 'x', checksum: false, ttl: 60 })) as { upload_id: string };
      const [signed] = await sign(scene, short.upload_id, [{ chunk: 0 }]);
      expect(Date.parse(signed?.expires_at ?? '') - Date.now()).toBeLessThanOrEqual(60_000);
    });

    test('it is kept nowhere, also where the request could be repeated by its key', async () => {
      const scene = await sessionScene(rig);
      const { upload_id: id } = (await scene.begin({ name: 'kept', checksum: false })) as {
        upload_id: string;
      };
      const ask = () =>
        scene.api.send(
          ...(['POST', `/api/v1/sessions/${id}/parts/sign`, { parts: [{ chunk: 0 }] }] as const),
          { 'idempotency-key': id },
        );
      expect(await ask()).toMatchObject({ status: 200 });
      const again = await ask();
      expect(again).toMatchObject({ status: 200 });
      expect(again.headers.get('idempotency-replayed')).toBeNull();
      const db = catalogOf(rig);
      const { rows } = await db.query('SELECT FROM idempotency_keys WHERE key = $1', [id]);
      await db.end();
      expect(rows).toEqual([]);
    });

    test('what the client says and S3 has not is asked for again', async () => {
      const scene = await sessionScene(rig);
      const { upload_id: id } = (await scene.begin({
        ...{ name: 'y', expected_size: SIZE, chunk_size: CHUNK, checksum: false },
      })) as { upload_id: string };
      const signed = await sign(scene, id, [{ chunk: 0 }, { chunk: 2 }]);
      const parts: Json[] = [{ chunk: 1, etag: '"0123456789abcdef0123456789abcdef"' }];
      for (const each of signed)
        parts.push({ chunk: each.chunk, etag: (await put(each, PIECES[each.chunk] as Buffer)).etag });
      expect((await report(scene, id, parts)).status).toBe(200);
      const refused = await scene.api.send('POST', `/api/v1/sessions/${id}/complete`, {});
      expect(refused).toMatchObject({ status: 409, body: { code: 'PartsMissing' } });
      expect(refused.body['detail']).toMatch(/: 1$|: 1\b/);
    });

    test('only those with a grant are handed signatures', async () => {
      const db = catalogOf(rig);
      const grants = (bucket: string) => [{ bucket, prefix: '' }];
      const other = await addApiKey(db, { name: 'other', grants: grants('some-other-bucket') });
      const scene = await sessionScene(rig, { LONGSHORE_API_KEYS_REQUIRED: 'true' });
      const own = await addApiKey(db, { name: 'own', grants: grants(scene.bucket.name) });
      await db.end();
      const bearer = ({ token }: { token: string }) => ({ authorization: `Bearer ${token}` });
      const begun = await scene.api.send(
        'POST',
        '/api/v1/sessions/',
        { name: 'z', checksum: false },
        bearer(own),
      );
      const path = `/api/v1/sessions/${String(begun.body['upload_id'])}`;
      const ask = { parts: [{ chunk: 0 }] };
      expect((await scene.api.send('POST', `${path}/parts/sign`, ask, bearer(own))).status).toBe(200);
      expect((await scene.api.send('POST', `${path}/parts/sign`, ask, bearer(other))).status).toBe(404);
      expect((await scene.api.send('POST', `${path}/parts/sign`, ask)).status).toBe(401);
      expect((await scene.api.send('POST', `${path}/cancel`, undefined, bearer(own))).status).toBe(200);
    });
  });
});
