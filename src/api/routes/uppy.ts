/**
 * What `@uppy/aws-s3` asks of a Companion, so that it works with nothing but our address. Its `uploadId` is a session’s id;
 * the bytes go straight to S3. Left out of the document: the protocol is Companion’s.
 */
import type { FastifyRequest } from 'fastify';
import * as z from 'zod';
import { LongshoreError } from '../../core/errors.js';
import { MAX_PARTS, MiB } from '../../core/limits.js';
import type { SessionRow } from '../../infra/catalog/sessions.js';
import type { ListedPart } from '../../infra/s3/store.js';
import { given } from '../definition.js';
import type { ApiDeps, Routes } from '../deps.js';
import { findToSend, partsInS3, reportParts, signForm, signParts } from '../presigned.js';
import * as v from '../schemas/values.js';
import { callerOf } from '../sessions/caller.js';
import { sessionAskOf } from '../uppy/ask.js';

const FileName = v.text(1024).min(1);
const ContentType = v.HeaderText.or(z.literal(''));

/** `metadata[name]=value` are fields of their own here. */
const ParamsQuery = z.looseObject({ filename: FileName, type: ContentType.optional() });
const CreateBody = z.looseObject({
  filename: FileName,
  type: ContentType.nullish(),
  metadata: z.record(z.string().max(128), z.unknown()).nullish(),
});
const UploadParams = z.object({ uploadId: v.Id });
const KeyQuery = z.looseObject({ key: v.Key });
const PartParams = z.object({ uploadId: v.Id, partNumber: z.string().regex(/^[1-9]\d{0,4}$/) });
const BatchQuery = z.looseObject({
  key: v.Key,
  partNumbers: z.string().regex(/^[1-9]\d{0,4}(,[1-9]\d{0,4}){0,999}$/),
});
const CompleteBody = z.looseObject({
  parts: z
    .array(
      z.looseObject({
        PartNumber: z.int().min(1).max(MAX_PARTS),
        ETag: z.string().regex(/^"?[\x21\x23-\x7e]{1,256}"?$/),
      }),
    )
    .min(1)
    .max(MAX_PARTS),
});

/** 10,000 parts, each with its ETag. */
const COMPLETE_LIMIT = 4 * MiB;

const hide = true;

export function uppyRoutes(app: Routes, deps: ApiDeps): void {
  beginRoutes(app, deps);
  partRoutes(app, deps);
  endRoutes(app, deps);
}

function beginRoutes(app: Routes, deps: ApiDeps): void {
  app.get('/params', { schema: { hide, querystring: ParamsQuery } }, async (request, reply) => {
    const { filename, type, ...rest } = request.query;
    const ask = sessionAskOf({ filename, type, metadata: bracketed(rest) }, 'whole');
    const { row } = await deps.sessions.begin(callerOf(request), ask);
    reply.header('cache-control', 'no-store');
    const { expiresAt, ...signed } = await signWhole(deps, row);
    return { ...signed, expires: secondsTo(expiresAt) };
  });
  app.post('/multipart', { schema: { hide, body: CreateBody } }, async (request) => {
    const { filename, type, metadata } = request.body;
    const ask = sessionAskOf({ filename, type: type ?? undefined, metadata: metadata ?? {} }, 'chunks');
    const { row } = await deps.sessions.begin(callerOf(request), ask);
    return { key: row.key, uploadId: row.id, bucket: row.bucket };
  });
}

/** As plug-ins take it whose server has no forms: a PUT, with headers in the place of fields. */
async function signWhole(deps: ApiDeps, row: SessionRow) {
  if (deps.config.s3.forms !== false) {
    const { method, url, fields, expiresAt } = await signForm(deps, row);
    return { method, url, fields, headers: {}, expiresAt };
  }
  const [signed] = await signParts(deps, row, [{ partNumber: 1 }]);
  const { method, url, headers, expiresAt } = demandOne(signed);
  return { method, url, fields: {}, headers, expiresAt };
}

function demandOne<T>(signed: T | undefined): T {
  if (signed !== undefined) return signed;
  throw new LongshoreError('Internal', 'no part was signed', { op: 'signParts' });
}

function partRoutes(app: Routes, deps: ApiDeps): void {
  app.get(
    '/multipart/:uploadId',
    { schema: { hide, params: UploadParams, querystring: KeyQuery } },
    async (request) => {
      const row = await find(deps, request, request.params.uploadId, request.query.key);
      const parts = row.state === 'COMPLETED' ? allParts(row) : await partsInS3(deps, row);
      return parts.map(({ partNumber, etag, size }) => ({ PartNumber: partNumber, ETag: etag, Size: size }));
    },
  );
  app.get(
    '/multipart/:uploadId/batch',
    { schema: { hide, params: UploadParams, querystring: BatchQuery } },
    async (request, reply) => {
      const { key, partNumbers } = request.query;
      const row = await find(deps, request, request.params.uploadId, key);
      const asks = [...new Set(partNumbers.split(','))].map((text) => ({ partNumber: Number(text) }));
      const signed = await signParts(deps, row, asks);
      reply.header('cache-control', 'no-store');
      return { presignedUrls: Object.fromEntries(signed.map(({ partNumber, url }) => [partNumber, url])) };
    },
  );
  app.get(
    '/multipart/:uploadId/:partNumber',
    { schema: { hide, params: PartParams, querystring: KeyQuery } },
    async (request, reply) => {
      const { uploadId, partNumber } = request.params;
      const row = await find(deps, request, uploadId, request.query.key);
      const [signed] = await signParts(deps, row, [{ partNumber: Number(partNumber) }]);
      if (signed === undefined)
        throw new LongshoreError('Internal', 'no part was signed', { op: 'signParts' });
      reply.header('cache-control', 'no-store');
      return { url: signed.url, headers: signed.headers, expires: secondsTo(signed.expiresAt) };
    },
  );
}

/**
 * A page that was reloaded before it heard of the end asks what is left to send. Nothing is; it completes again, and is
 * told that all is well.
 */
function allParts({ parts, etag }: SessionRow): Pick<ListedPart, 'partNumber' | 'etag' | 'size'>[] {
  return Array.from({ length: parts ?? 0 }, (_, index) => ({
    partNumber: index + 1,
    etag: etag ?? '',
    size: 0,
  }));
}

function endRoutes(app: Routes, deps: ApiDeps): void {
  app.post(
    '/multipart/:uploadId/complete',
    {
      bodyLimit: COMPLETE_LIMIT,
      schema: { hide, params: UploadParams, querystring: KeyQuery, body: CompleteBody },
    },
    async (request) => {
      const row = await find(deps, request, request.params.uploadId, request.query.key);
      const { parts } = request.body;
      // A repetition, whose first answer was lost, has nothing to report any more.
      if (row.open) {
        await reportParts(
          deps,
          row,
          parts.map(({ PartNumber, ETag }) => ({ partNumber: PartNumber, etag: ETag })),
        );
      }
      const { bucket, key } = await deps.sessions.complete(callerOf(request), row.id, {
        chunks: parts.length,
      });
      return { location: deps.presigner.location({ bucket, key }), key, bucket };
    },
  );
  app.delete(
    '/multipart/:uploadId',
    { schema: { hide, params: UploadParams, querystring: KeyQuery } },
    async (request) => {
      const row = await find(deps, request, request.params.uploadId, request.query.key);
      await deps.sessions.cancel(callerOf(request), row.id);
      return {};
    },
  );
}

/** Throws NotFound also where the key is that of another object: then the caller means another upload. */
async function find(deps: ApiDeps, request: FastifyRequest, id: string, key: string): Promise<SessionRow> {
  const row = await findToSend(deps, callerOf(request), id);
  if (row.key === key) return row;
  throw new LongshoreError('NotFound', `the upload ${id} is not one to this key`, { op: 'request', key: id });
}

/** `metadata[name]` as a form writes it. */
function bracketed(query: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return given(
    Object.fromEntries(
      Object.entries(query).flatMap(([field, value]) => {
        const name = /^metadata\[([^\]]{1,128})\]$/.exec(field)?.[1];
        return name === undefined ? [] : [[name, value]];
      }),
    ),
  );
}

function secondsTo(time: string): number {
  return Math.max(0, Math.round((Date.parse(time) - Date.now()) / 1000));
}
