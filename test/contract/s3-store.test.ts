/** The contract of ObjectStore, held against both implementations on both servers. */
import { randomBytes, randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { createAdaptiveLimiter } from '../../src/infra/s3/aimd.js';
import { createCredentialSource } from '../../src/infra/s3/credentials.js';
import { createObjectStore } from '../../src/infra/s3/index.js';
import { createLeanStore } from '../../src/infra/s3/lean-store.js';
import { createSdkStore } from '../../src/infra/s3/sdk-store.js';
import { carriesToken, tokenMetadata } from '../../src/infra/s3/store.js';
import type { ObjectStore, StoreConfig, UploadRef } from '../../src/infra/s3/store.js';
import { s3Servers } from '../helpers/s3-servers.js';

const KINDS = {
  sdk: (config: StoreConfig): ObjectStore => createSdkStore(config),
  lean: (config: StoreConfig): ObjectStore =>
    createLeanStore(config, createSdkStore(config), {
      credentials: createCredentialSource(config),
      limiter: createAdaptiveLimiter({ max: config.maxConnections }),
    }),
  production: (config: StoreConfig): ObjectStore => createObjectStore(config),
};

const KEYS = {
  'spaces and reserved characters': `a b/+&?#%;=:@$,!'()*[]{}|^~"<>.txt`,
  'percent sequences': '100%25/%2F%20.txt',
  emoji: 'ship 🚢/⚓️.bin',
  'a newline and a tab': 'line\nbreak\tand tab',
  'composed accents': 'caf\u00e9.txt',
  'decomposed accents': 'cafe\u0301.txt',
  // Segments of at most 255 bytes, which is what a folder behind a server can hold.
  '1,024 bytes': [...Array.from({ length: 4 }, () => 'é'.repeat(102)), 'x'.repeat(204)].join('/'),
} as const;

const live = (): AbortSignal => new AbortController().signal;
const crcOf = (...chunks: Uint8Array[]): string => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(chunks.reduce((crc, chunk) => crc32(chunk, crc), 0));
  return bytes.toString('base64');
};

async function bytesOf(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** The store again; notes the multipart uploads that it begins, so that none is left behind. */
function recording(store: ObjectStore, begun: UploadRef[]): ObjectStore {
  return {
    ...store,
    async createMultipartUpload(request, signal) {
      const created = await store.createMultipartUpload(request, signal);
      begun.push({ bucket: request.bucket, key: request.key, ...created });
      return created;
    },
  };
}

for (const { name, skipped, config } of await s3Servers()) {
  for (const [kind, create] of Object.entries(KINDS)) {
    describe.skipIf(skipped)(`${kind} store on ${name}`, () => contract(name, config, create));
  }
}

function contract(server: string, config: StoreConfig, create: (config: StoreConfig) => ObjectStore): void {
  const bucket = `contract-${randomUUID()}`;
  const begun: UploadRef[] = [];
  let store: ObjectStore;
  const at = (key: string = randomUUID()) => ({ bucket, key });
  const put = (key: string, body: Buffer) =>
    store.putObject({ ...at(key), body, crc32: crcOf(body) }, live());

  beforeAll(async () => {
    store = recording(create(config), begun);
    await store.createBucket(bucket, live());
  });
  afterEach(async () => {
    for (const upload of begun.splice(0)) await store.abortMultipartUpload(upload, live());
  });
  afterAll(() => store.close());

  describe('objects', () => {
    it.each([0, 1, 5 * MiB - 1, 5 * MiB, 5 * MiB + 1])('carries %i bytes there and back', async (size) => {
      const body = randomBytes(size);
      const ref = at();
      const answer = await store.putObject({ ...ref, body, crc32: crcOf(body) }, live());
      expect(answer.checksumAccepted).toBe(true);
      const head = await store.headObject(ref, live());
      expect(head).toMatchObject({ size, etag: answer.etag, crc32: crcOf(body) });
      const back = await bytesOf(await store.getObject({ ...ref, ifMatch: answer.etag }, live()));
      expect(back.equals(body)).toBe(true);
    });

    it('sends a body without a checksum when none is given', async () => {
      const answer = await store.putObject({ ...at(), body: Buffer.from('plain') }, live());
      expect(answer.checksumAccepted).toBe(false);
    });

    it.each(Object.entries(KEYS))('takes a key with %s', async (_what, key) => {
      const body = Buffer.from(key);
      await put(key, body);
      expect((await bytesOf(await store.getObject(at(key), live()))).toString()).toBe(key);
    });

    it('keeps composed and decomposed names apart', async () => {
      await put('apart/\u00e9', Buffer.from('composed'));
      await put('apart/e\u0301', Buffer.from('decomposed'));
      expect((await bytesOf(await store.getObject(at('apart/\u00e9'), live()))).toString()).toBe('composed');
    });

    it('keeps content type, cache control, metadata, tags and the token', async () => {
      const token = { uploadId: 'upload/some id', nonce: randomUUID() };
      const ref = at();
      const tags = { team: 'quay + crane/@:', 'a+b': 'c=d' };
      const metadata = { ...tokenMetadata(token), Colour: 'sea  green' };
      const request = { ...ref, contentType: 'text/x-longshore', cacheControl: 'max-age=60', metadata, tags };
      await store.putObject({ ...request, body: Buffer.from('x') }, live());
      const head = await store.headObject(ref, live());
      expect(head?.contentType).toBe('text/x-longshore');
      expect(head && carriesToken(head, token)).toBe(true);
      expect(head?.metadata['colour']).toMatch(/^sea {1,2}green$/);
    });

    it('refuses metadata that no header can carry', async () => {
      const request = {
        ...at(),
        body: Buffer.from('x'),
        metadata: { name: 'naïve\r\nx-amz-acl: public-read' },
      };
      await expect(store.putObject(request, live())).rejects.toMatchObject({ code: 'InvalidInput' });
    });

    it('refuses bytes that are not those of the checksum', async () => {
      const ref = at();
      const request = { ...ref, body: Buffer.from('these'), crc32: crcOf(Buffer.from('those')) };
      await expect(store.putObject(request, live())).rejects.toMatchObject({ code: 'BadDigest' });
      expect(await store.headObject(ref, live())).toBeUndefined();
    });

    it('writes only once with if-none-match', async () => {
      const request = { ...at(), body: Buffer.from('first'), ifNoneMatch: '*' as const };
      await store.putObject(request, live());
      await expect(store.putObject(request, live())).rejects.toMatchObject({ code: 'PreconditionFailed' });
    });

    it('sends a stream, and again after it failed', async () => {
      const body = randomBytes(3 * MiB);
      const ref = at();
      let opened = 0;
      const open = (): Readable => {
        opened += 1;
        return Readable.from([body.subarray(0, MiB), body.subarray(MiB)], { objectMode: false });
      };
      for (let round = 0; round < 2; round += 1) {
        await store.putObject({ ...ref, body: { length: body.length, open }, crc32: crcOf(body) }, live());
      }
      expect(opened).toBe(2);
      expect((await bytesOf(await store.getObject(ref, live()))).equals(body)).toBe(true);
    });

    it('reads a range, and says when the object has changed', async () => {
      const ref = at();
      const { etag } = await put(ref.key, Buffer.from('0123456789'));
      const range = { ...ref, ifMatch: etag, offset: 3, length: 4 };
      expect((await bytesOf(await store.getObject(range, live()))).toString()).toBe('3456');
      await put(ref.key, Buffer.from('something else'));
      await expect(store.getObject(range, live())).rejects.toMatchObject({ code: 'SourceChanged' });
      await store.deleteObject(ref, live());
      await expect(store.getObject(range, live())).rejects.toMatchObject({ code: 'SourceChanged' });
    });

    it('finds nothing where nothing is, and deletes it twice', async () => {
      const ref = at();
      expect(await store.headObject(ref, live())).toBeUndefined();
      await store.deleteObject(ref, live());
      await store.deleteObject(ref, live());
    });
  });

  describe('many objects', () => {
    const fill = (keys: readonly string[]): Promise<unknown> =>
      Promise.all(keys.map((key) => put(key, Buffer.from(key))));
    const inOrder = (keys: readonly string[]): string[] =>
      [...keys].sort((a, b) => Buffer.from(a).compare(Buffer.from(b)));
    const listed = async (prefix: string, max: number): Promise<string[]> => {
      const keys: string[] = [];
      for (let next: string | undefined; ;) {
        const request = { bucket, prefix, max, ...(next === undefined ? {} : { next }) };
        const page = await store.listObjects(request, live());
        expect(page.objects.length).toBeLessThanOrEqual(max);
        keys.push(...page.objects.map(({ key }) => key));
        if (page.next === undefined) return keys;
        next = page.next;
      }
    };

    it('lists them by pages, in the order of their bytes', async () => {
      const base = `many-${randomUUID()}/`;
      const names = [
        'b',
        'a b',
        'a+b',
        'a%20b',
        'a/1',
        'a/2/x',
        'a-1',
        'a.b',
        'é',
        'e\u0301',
        '🚢',
        '\uff5e',
        'Z',
        'z',
      ];
      const keys = names.map((name) => `${base}${name}`);
      await fill(keys);
      await fill([`${base.slice(0, -1)}-not`]);
      for (const max of [1, 3, 1000]) {
        expect(await listed(base, max), `${max} a page`).toEqual(inOrder(keys));
      }
      const head = await store.headObject(at(`${base}b`), live());
      const [found] = (await store.listObjects({ bucket, prefix: `${base}b` }, live())).objects;
      expect(found).toEqual({ key: `${base}b`, size: head?.size, etag: head?.etag });
    });

    it('finds none where none are', async () => {
      const page = await store.listObjects({ bucket, prefix: `none-${randomUUID()}` }, live());
      expect(page).toEqual({ objects: [] });
    });

    it('deletes them together, those that are not there too', async () => {
      const base = `gone-${randomUUID()}/`;
      const keys = Object.values(KEYS)
        .filter((key) => key.length < 200)
        .map((key) => `${base}${key}`);
      await fill([...keys, `${base}stays`]);
      expect(await store.deleteObjects({ bucket, keys: [...keys, `${base}never`] }, live())).toEqual([]);
      expect(await listed(base, 1000)).toEqual([`${base}stays`]);
      expect(await store.deleteObjects({ bucket, keys }, live())).toEqual([]);
      expect(await store.deleteObjects({ bucket, keys: [] }, live())).toEqual([]);
    });
  });

  describe('multipart', () => {
    const begin = async (key: string = randomUUID(), extra: object = {}) => {
      const { s3UploadId } = await store.createMultipartUpload(
        { ...at(key), checksum: true, ...extra },
        live(),
      );
      return { ...at(key), s3UploadId };
    };
    const send = async (upload: Awaited<ReturnType<typeof begin>>, partNumber: number, body: Buffer) => {
      const sent = await store.uploadPart({ ...upload, partNumber, body, crc32: crcOf(body) }, live());
      return { partNumber, etag: sent.etag, crc32: crcOf(body) };
    };
    const completing = async (upload: Awaited<ReturnType<typeof begin>>, bodies: Buffer[]) => {
      const parts = [];
      for (const [index, body] of bodies.entries()) parts.push(await send(upload, index + 1, body));
      const size = bodies.reduce((sum, body) => sum + body.length, 0);
      return { ...upload, parts, crc32: crcOf(...bodies), size };
    };

    it('ends in one object with the checksum of the whole', async () => {
      const bodies = [randomBytes(5 * MiB), randomBytes(5 * MiB), randomBytes(1)];
      const token = { uploadId: 'upload/multi', nonce: randomUUID() };
      const upload = await begin('multi/part', { metadata: tokenMetadata(token), contentType: 'text/plain' });
      const answer = await store.completeMultipartUpload(await completing(upload, bodies), live());
      const head = await store.headObject(upload, live());
      expect(head).toMatchObject({
        size: 10 * MiB + 1,
        etag: answer.etag,
        crc32: crcOf(...bodies),
        contentType: 'text/plain',
      });
      expect(head && carriesToken(head, token)).toBe(true);
      expect((await bytesOf(await store.getObject(upload, live()))).equals(Buffer.concat(bodies))).toBe(true);
    });

    it('refuses a part, and a whole, that are not those of their checksums', async () => {
      const upload = await begin();
      const wrong = {
        ...upload,
        partNumber: 1,
        body: Buffer.from('these'),
        crc32: crcOf(Buffer.from('those')),
      };
      await expect(store.uploadPart(wrong, live())).rejects.toMatchObject({ code: 'BadDigest' });
      const request = {
        ...(await completing(upload, [Buffer.from('right')])),
        crc32: crcOf(Buffer.from('wrong')),
      };
      await expect(store.completeMultipartUpload(request, live())).rejects.toMatchObject({
        code: 'BadDigest',
      });
      await store.abortMultipartUpload(upload, live());
    });

    it('pages through more than 1,000 parts', async () => {
      const upload = await begin();
      const body = Buffer.alloc(1024, 7);
      const numbers = Array.from({ length: 1005 }, (_, index) => index + 1);
      const lanes = Array.from({ length: 16 }, async () => {
        for (let next = numbers.shift(); next !== undefined; next = numbers.shift())
          await send(upload, next, body);
      });
      await Promise.all(lanes);
      const all = await store.listParts(upload, live());
      expect(all.map((part) => part.partNumber)).toEqual(
        Array.from({ length: 1005 }, (_, index) => index + 1),
      );
      expect(all[1004]).toMatchObject({ size: 1024, crc32: crcOf(body) });
      const some = await store.listParts({ ...upload, after: 2, max: 3 }, live());
      expect(some.map((part) => part.partNumber)).toEqual([3, 4, 5]);
      expect(await store.listParts({ ...upload, after: 1005 }, live())).toEqual([]);
      await store.abortMultipartUpload(upload, live());
    });

    it('lists uploads in progress until they are aborted, twice if need be', async () => {
      const key = `listed/${randomUUID()}`;
      const upload = await begin(key);
      // Some servers list only by the whole key.
      const listed = await store.listMultipartUploads({ bucket, prefix: key }, live());
      expect(listed).toMatchObject([{ key, s3UploadId: upload.s3UploadId }]);
      expect(Date.now() - Date.parse(listed[0]?.initiated ?? '')).toBeLessThan(60_000);
      await store.abortMultipartUpload(upload, live());
      await store.abortMultipartUpload(upload, live());
      expect(await store.listMultipartUploads({ bucket, prefix: key }, live())).toEqual([]);
    });

    it('says NoSuchUpload once the upload is gone', async () => {
      const upload = await begin();
      const request = await completing(upload, [Buffer.from('part')]);
      await store.abortMultipartUpload(upload, live());
      const gone = { code: 'NoSuchUpload' };
      await expect(store.completeMultipartUpload(request, live())).rejects.toMatchObject(gone);
      await expect(store.listParts(upload, live())).rejects.toMatchObject(gone);
      await expect(send(upload, 1, Buffer.from('late'))).rejects.toMatchObject(gone);
    });

    it('completes only over nothing with if-none-match', async () => {
      const key = randomUUID();
      await put(key, Buffer.from('mine'));
      const upload = await begin(key);
      const request = { ...(await completing(upload, [Buffer.from('yours')])), ifNoneMatch: '*' as const };
      await expect(store.completeMultipartUpload(request, live())).rejects.toMatchObject({
        code: 'PreconditionFailed',
      });
      expect((await bytesOf(await store.getObject(at(key), live()))).toString()).toBe('mine');
    });

    it('completes only over the object that is named, with if-match', async () => {
      const key = randomUUID();
      const { etag: before } = await put(key, Buffer.from('before'));
      const upload = await begin(key);
      const request = { ...(await completing(upload, [Buffer.from('made of it')])), ifMatch: before };
      await put(key, Buffer.from('newer'));
      await expect(store.completeMultipartUpload(request, live())).rejects.toMatchObject({
        code: 'PreconditionFailed',
      });
      expect((await bytesOf(await store.getObject(at(key), live()))).toString()).toBe('newer');
      const { etag: ifMatch } = await put(key, Buffer.from('before'));
      await store.completeMultipartUpload({ ...request, ifMatch }, live());
      expect((await bytesOf(await store.getObject(at(key), live()))).toString()).toBe('made of it');
    });

    it('copies an object onto itself while it is the one that is named', async () => {
      const key = randomUUID();
      const { etag } = await put(key, Buffer.from('as it was'));
      const request = { ...at(key), metadata: { again: 'yes' }, ifMatch: etag };
      await store.copyObject({ ...request, source: { ...at(key), ifMatch: etag } }, live());
      expect(await store.headObject(at(key), live())).toMatchObject({ metadata: { again: 'yes' } });
      await put(key, Buffer.from('newer'));
      const late = store.copyObject({ ...request, source: { ...at(key), ifMatch: etag } }, live());
      await expect(late).rejects.toMatchObject({ code: 'SourceChanged' });
      expect((await bytesOf(await store.getObject(at(key), live()))).toString()).toBe('newer');
    });

    it('asks for a fresh upload when a part is not there', async () => {
      const upload = await begin();
      const { parts, ...request } = await completing(upload, [Buffer.alloc(5 * MiB, 'there')]);
      const claimed = {
        ...request,
        parts: [...parts, { partNumber: 2, etag: '"00000000000000000000000000000000"' }],
      };
      await expect(store.completeMultipartUpload(claimed, live())).rejects.toMatchObject({
        retry: 'restart',
      });
    });

    it('sends a part as a stream', async () => {
      const body = randomBytes(6 * MiB);
      const upload = await begin();
      const stream = { length: body.length, open: () => Readable.from([body], { objectMode: false }) };
      const { etag } = await store.uploadPart(
        { ...upload, partNumber: 1, body: stream, crc32: crcOf(body) },
        live(),
      );
      expect(await store.listParts(upload, live())).toMatchObject([
        { etag, size: body.length, crc32: crcOf(body) },
      ]);
    });
  });

  describe('copies', () => {
    it('copies an object whole, with attributes of its own', async () => {
      const source = at('copy/source é+ ?.txt');
      const { etag } = await put(source.key, Buffer.from('copied'));
      const target = at();
      const metadata = tokenMetadata({ uploadId: 'copy', nonce: 'n' });
      const request = { ...target, metadata, contentType: 'text/copy', source: { ...source, ifMatch: etag } };
      const answer = await store.copyObject(request, live());
      const head = await store.headObject(target, live());
      expect(head).toMatchObject({ etag: answer.etag, size: 6, metadata, contentType: 'text/copy' });
    });

    it('copies ranges into parts', async () => {
      const body = randomBytes(6 * MiB);
      const source = at('copy/range #1');
      const { etag } = await put(source.key, body);
      const target = at();
      const { s3UploadId } = await store.createMultipartUpload({ ...target, checksum: false }, live());
      const upload = { ...target, s3UploadId };
      const from = { ...source, ifMatch: etag };
      const first = await store.uploadPartCopy(
        { ...upload, partNumber: 1, source: from, offset: 0, length: 5 * MiB },
        live(),
      );
      const rest = { partNumber: 2, source: from, offset: 5 * MiB, length: MiB };
      const second = await store.uploadPartCopy({ ...upload, ...rest }, live());
      const parts = [
        { partNumber: 1, etag: first.etag },
        { partNumber: 2, etag: second.etag },
      ];
      await store.completeMultipartUpload({ ...upload, parts, size: body.length }, live());
      expect((await bytesOf(await store.getObject(target, live()))).equals(body)).toBe(true);
    });

    it('refuses a source that has changed or gone', async () => {
      const source = at();
      const { etag } = await put(source.key, Buffer.from('before'));
      await put(source.key, Buffer.from('after'));
      const from = { ...source, ifMatch: etag };
      const changed = { code: 'SourceChanged' };
      await expect(store.copyObject({ ...at(), source: from }, live())).rejects.toMatchObject(changed);
      const target = at();
      const { s3UploadId } = await store.createMultipartUpload({ ...target, checksum: false }, live());
      const part = { ...target, s3UploadId, partNumber: 1, source: from, offset: 0, length: 1 };
      await expect(store.uploadPartCopy(part, live())).rejects.toMatchObject(changed);
      await store.deleteObject(source, live());
      await expect(store.copyObject({ ...at(), source: from }, live())).rejects.toMatchObject(changed);
    });
  });

  describe('refusals', () => {
    const request = { key: 'refused', body: Buffer.alloc(8 * MiB) };

    it('names a missing bucket', async () => {
      const missing = { bucket: `missing-${randomUUID()}`, key: 'k' };
      const wanted = { code: 'NoSuchBucket', key: expect.stringContaining(missing.bucket) as string };
      await expect(store.putObject({ ...missing, body: Buffer.from('x') }, live())).rejects.toMatchObject(
        wanted,
      );
      await expect(store.createMultipartUpload({ ...missing, checksum: true }, live())).rejects.toMatchObject(
        wanted,
      );
      expect(await store.headBucket(missing.bucket, live())).toBe(false);
      expect(await store.headBucket(bucket, live())).toBe(true);
      await store.createBucket(bucket, live());
    });

    it.each([
      ['access key', { accessKeyId: 'nobody-knows-this-key' }],
      ['secret key', { secretAccessKey: 'not-the-secret-of-this-key' }],
    ])('names a wrong %s, and quotes no secret', async (_what, wrong) => {
      const stranger = create({ ...config, ...wrong });
      const failures = await Promise.all([
        stranger.putObject({ bucket, ...request }, live()).catch((error: unknown) => error),
        stranger.createMultipartUpload({ ...at(), checksum: true }, live()).catch((error: unknown) => error),
      ]);
      for (const failure of failures) {
        expect(failure).toMatchObject({ code: 'BadCredentials' });
        const { message } = failure as Error;
        expect(message).not.toMatch(/Signature=|Credential=/);
        expect(message).not.toContain(Object.values(wrong)[0]);
      }
      stranger.close();
    });

    // versitygw takes the header and does nothing about it.
    const ignored = (): void =>
      it('does not take encryption for granted', async () => {
        const encryption = { type: 'SSE_S3' } as const;
        const failure = { code: 'EncryptionNotApplied' };
        const target = at();
        const create = store.createMultipartUpload({ ...target, checksum: true, encryption }, live());
        await expect(create).rejects.toMatchObject(failure);
        expect(await store.listMultipartUploads({ bucket, prefix: target.key }, live())).toEqual([]);
        const put = store.putObject({ ...at(), body: Buffer.from('x'), encryption }, live());
        await expect(put).rejects.toMatchObject(failure);
      });

    const applied = (): void =>
      it.each([{ type: 'SSE_S3' }, { type: 'SSE_KMS' }] as const)(
        'takes $type where it is real',
        async (encryption) => {
          const body = Buffer.from('sealed');
          const whole = at();
          await store.putObject({ ...whole, body, encryption }, live());
          expect((await store.headObject(whole, live()))?.encryption).toMatchObject(encryption);
          for (const checksum of [true, false]) {
            const target = at();
            const upload = {
              ...target,
              ...(await store.createMultipartUpload({ ...target, checksum, encryption }, live())),
            };
            const crc = checksum ? { crc32: crcOf(body) } : {};
            const { etag } = await store.uploadPart({ ...upload, partNumber: 1, body, ...crc }, live());
            const parts = [{ partNumber: 1, etag, ...crc }];
            await store.completeMultipartUpload({ ...upload, parts, ...crc, size: body.length }, live());
            expect((await store.headObject(target, live()))?.encryption).toMatchObject(encryption);
            expect((await bytesOf(await store.getObject(target, live()))).equals(body)).toBe(true);
          }
        },
      );

    if (server === 'versitygw') ignored();
    else applied();
  });

  describe('aborts', () => {
    it('ends a part in the middle, with the reason of the signal', async () => {
      const target = at();
      const { s3UploadId } = await store.createMultipartUpload({ ...target, checksum: true }, live());
      const controller = new AbortController();
      const reason = new Error('the person changed their mind');
      const bytes = randomBytes(4 * MiB);
      const step = bytes.length / 64;
      let read = 0;
      async function* slowly(): AsyncGenerator<Buffer> {
        for (; read < 64; read += 1) {
          yield bytes.subarray(read * step, (read + 1) * step);
          if (read === 4) controller.abort(reason);
          await sleep(5);
        }
      }
      const body = { length: bytes.length, open: () => Readable.from(slowly(), { objectMode: false }) };
      const crc32 = crcOf(bytes);
      const started = performance.now();
      const sent = store.uploadPart({ ...target, s3UploadId, partNumber: 1, body, crc32 }, controller.signal);
      await expect(sent).rejects.toBe(reason);
      expect(performance.now() - started).toBeLessThan(2000);
      expect(read).toBeLessThan(32);
      expect(await store.listParts({ ...target, s3UploadId }, live())).toEqual([]);
    });

    it('does nothing under a signal that is aborted already', async () => {
      const reason = new Error('too late');
      const signal = AbortSignal.abort(reason);
      const ref = at();
      await expect(store.putObject({ ...ref, body: Buffer.from('x') }, signal)).rejects.toBe(reason);
      await expect(store.headObject(ref, signal)).rejects.toBe(reason);
      expect(await store.headObject(ref, live())).toBeUndefined();
    });
  });
}
