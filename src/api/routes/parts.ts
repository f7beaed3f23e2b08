/** Parts that clients send to S3 themselves, by requests that we sign. */
import { LongshoreError } from '../../core/errors.js';
import { MiB } from '../../core/limits.js';
import { given } from '../definition.js';
import type { ApiDeps, Routes } from '../deps.js';
import { findToSend, reportParts, signParts } from '../presigned.js';
import * as s from '../schemas/parts.js';
import { SessionParams } from '../schemas/sessions.js';
import { writes } from '../schemas/problem.js';
import { callerOf } from '../sessions/caller.js';

const tags = ['sessions'];

/** 10,000 parts, each with its ETag. */
const REPORT_LIMIT = 4 * MiB;

export function partRoutes(app: Routes, deps: ApiDeps): void {
  signRoute(app, deps);
  reportRoute(app, deps);
}

function signRoute(app: Routes, deps: ApiDeps): void {
  app.post(
    '/sessions/:upload_id/parts/sign',
    {
      schema: {
        tags,
        operationId: 'signParts',
        summary: 'Sign requests that send parts straight to S3',
        description:
          'One request a part, each for a short while. Report the ETags that S3 answers, or name them at complete. ' +
          'A session whose parts come without checksums is to be begun with `checksum: false`.',
        params: SessionParams,
        body: s.SignParts,
        response: writes(s.SignedParts, 'The requests; send each as it says'),
      },
    },
    async (request, reply) => {
      const { upload_id: id } = request.params;
      const { parts, expires_in: seconds } = request.body;
      once(parts);
      const row = await findToSend(deps, callerOf(request), id);
      const asks = parts.map(({ chunk, length, crc32, md5 }) => ({
        partNumber: chunk + 1,
        ...given({ length, crc32, md5 }),
      }));
      const signed = await signParts(deps, row, asks, seconds === undefined ? undefined : seconds * 1000);
      reply.header('cache-control', 'no-store');
      return {
        upload_id: id,
        parts: signed.map(({ partNumber, method, url, headers, secretHeaders, expiresAt }) => ({
          ...{ chunk: partNumber - 1, part_number: partNumber, method, url, headers },
          ...{ secret_headers: secretHeaders, expires_at: expiresAt },
        })),
      };
    },
  );
}

function reportRoute(app: Routes, deps: ApiDeps): void {
  app.put(
    '/sessions/:upload_id/parts',
    {
      bodyLimit: REPORT_LIMIT,
      schema: {
        tags,
        operationId: 'reportParts',
        summary: 'Say which parts were sent to S3',
        description: 'What S3 does not have under that ETag is asked for again at complete.',
        params: SessionParams,
        body: s.ReportParts,
        response: writes(s.PartsReported, 'They are written down'),
      },
    },
    async (request) => {
      const { upload_id: id } = request.params;
      const { parts } = request.body;
      once(parts);
      const row = await findToSend(deps, callerOf(request), id);
      const told = parts.map(({ chunk, etag, size }) => ({
        partNumber: chunk + 1,
        etag,
        ...given({ size }),
      }));
      await reportParts(deps, row, told);
      return { upload_id: id, recorded: parts.length };
    },
  );
}

function once(parts: readonly { chunk: number }[]): void {
  const seen = new Set<number>();
  for (const { chunk } of parts) {
    if (seen.has(chunk)) {
      throw new LongshoreError('Contradictory', `chunk ${chunk} is named twice`, { op: 'request' });
    }
    seen.add(chunk);
  }
}
