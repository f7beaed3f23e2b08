/** The files of a job. */
import { isUtf8 } from 'node:buffer';
import { LongshoreError } from '../../core/errors.js';
import { listFiles } from '../../infra/catalog/files.js';
import type { ApiDeps, Routes } from '../deps.js';
import { page } from '../refusals.js';
import { reads } from '../schemas/problem.js';
import * as s from '../schemas/uploads.js';
import { fileView } from '../views.js';
import { findUpload } from './uploads.js';

export function fileRoutes(app: Routes, deps: ApiDeps): void {
  app.get(
    '/uploads/:upload_id/files',
    {
      schema: {
        tags: ['uploads'],
        operationId: 'listFiles',
        summary: 'List the files of a job, by path',
        params: s.UploadParams,
        querystring: s.ListFilesQuery,
        response: reads(s.FileList, 'One page of files'),
      },
    },
    async (request) => {
      const { cursor, ...ask } = request.query;
      const job = await findUpload(deps, request, request.params.upload_id);
      const { rows, next } = await page(cursor, async () => {
        const after = cursor === undefined ? undefined : decode(cursor);
        return await listFiles(deps.db, job.no, { ...ask, after });
      });
      return {
        files: rows.map((row) => fileView(row, job)),
        next_cursor: next === undefined ? null : Buffer.from(next, 'utf8').toString('base64url'),
      };
    },
  );
}

/** Where the page before ended: a path. */
function decode(cursor: string): string {
  const bytes = Buffer.from(cursor, 'base64url');
  if (isUtf8(bytes) && !bytes.includes(0)) return bytes.toString('utf8');
  throw new LongshoreError('InvalidInput', 'the cursor is not one that a list answered', { op: 'request' });
}
