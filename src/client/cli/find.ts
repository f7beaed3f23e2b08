/** Looks an upload up where it may be known. */
import { LongshoreError } from '../../core/errors.js';
import { isTerminal } from '../../core/states.js';
import type { JobRow } from '../../infra/catalog/jobs.js';
import type { UploadRow } from '../../infra/catalog/uploads.js';
import type { Config } from '../../infra/config.js';
import { ID_PATTERN } from '../../core/ids.js';
import type { UploadView } from '../longshore-client.js';
import { asLongshoreError } from './failure.js';
import type { Io } from './io.js';
import { badUsage } from './options.js';
import { withCatalog, withClient } from './session.js';

export type Found = { view: UploadView; row: UploadRow | undefined } | { view: undefined; row: UploadRow };

/**
 * Temporal's word, and the catalog's beside it. The catalog's alone when Temporal has forgotten the upload, or is away
 * and the row says that it has ended. Throws NotFound, TemporalUnavailable.
 */
export async function findUpload(io: Pick<Io, 'err'>, config: Config, id: string): Promise<Found> {
  checkId(id);
  return await bothWords(io, id, {
    view: withClient(config, (client) => client.view(id)),
    row: rowOf(config, id),
  });
}

/** What Temporal says of work and what the catalog does, weighed as `findUpload` says. */
export async function bothWords<View, Row extends { state: UploadRow['state'] | JobRow['state'] }>(
  io: Pick<Io, 'err'>,
  id: string,
  asking: { view: Promise<View>; row: Promise<Row | undefined> },
): Promise<{ view: View; row: Row | undefined } | { view: undefined; row: Row }> {
  const [asked, listed] = await Promise.allSettled([asking.view, asking.row]);
  const row = listed.status === 'fulfilled' ? listed.value : undefined;
  if (asked.status === 'fulfilled') {
    if (listed.status === 'rejected') io.err(`warning: ${asLongshoreError(listed.reason).message}`);
    return { view: asked.value, row };
  }
  const error = asLongshoreError(asked.reason);
  const forgotten = error.code === 'NotFound';
  if (row !== undefined && (forgotten || (error.code === 'TemporalUnavailable' && isTerminal(row.state)))) {
    return { view: undefined, row };
  }
  if (forgotten && listed.status === 'rejected') {
    throw new LongshoreError('NotFound', `${error.message}, and the catalog could not be asked`, {
      op: 'status',
      key: id,
      cause: listed.reason,
    });
  }
  throw error;
}

/** undefined also where no PostgreSQL is configured. */
export async function rowOf(config: Config, id: string): Promise<UploadRow | undefined> {
  if (config.postgresUrl === undefined) return undefined;
  const { getUpload } = await import('../../infra/catalog/uploads.js');
  return await withCatalog(config, (pool) => getUpload(pool, id));
}

export function checkId(id: string): void {
  if (!ID_PATTERN.test(id)) throw badUsage(`${JSON.stringify(id)} cannot be the id of an upload or a job`);
}
